"""Reference systems by code, PROJ string or WKT; never from a file or the network."""

import socket
import threading
from pathlib import Path

import pytest

from dpdm.errors import DpdmError
from dpdm.export.warp import parse_crs

MERCATOR = "+proj=merc +a=6378137 +b=6378137 +lat_ts=0 +lon_0=0 +k=1 +units=m +nadgrids=@null"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("EPSG:3035", 3035), ("3035", 3035), (" epsg:4326 ", 4326),
        ("+proj=utm +zone=33 +datum=WGS84", 32633),
    ],
)  # fmt: skip
def test_codes_and_proj_strings_are_read(text: str, expected: int) -> None:
    assert parse_crs(text).to_epsg() == expected


def test_other_authorities_and_wkt_are_read() -> None:
    assert parse_crs("ESRI:54030").is_projected
    assert not parse_crs("OGC:CRS84").is_projected
    assert parse_crs(MERCATOR).is_projected
    web = parse_crs("EPSG:3857")
    assert parse_crs(web.to_wkt()) == web


@pytest.fixture
def visits() -> list[str]:
    """Answer on a port of this machine, and note who comes."""
    seen: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)

        def answer() -> None:
            while not done.is_set():
                try:
                    seen.append(server.accept()[0].recv(100).decode(errors="replace"))
                except TimeoutError:
                    continue

        done = threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        seen.append(f"127.0.0.1:{server.getsockname()[1]}")
        yield seen
        done.set()
        thread.join()


def test_nothing_is_read_from_a_file_or_the_network(tmp_path: Path, visits: list[str]) -> None:
    grid, place = tmp_path / "grid.gsb", visits[0]
    (tmp_path / "3035.wkt").write_text(parse_crs("EPSG:3035").to_wkt())
    for text in (
        f"http://{place}/3035", f"http://{place}/def/crs/EPSG/0/3035", "file.prj",
        str(tmp_path / "3035.wkt"), f"/vsicurl/http://{place}/a", f"+init={grid}:1",
        f"+proj=longlat +nadgrids={grid}", f"+proj=longlat +nadgrids=http://{place}/a.gsb",
        "+proj=longlat +nadgrids=ntv2_0.gsb", "+proj=longlat +geoidgrids=a.tif", "", "moon",
        f'BOUNDCRS[PARAMETERFILE["x","http://{place}/a.gsb"]]', "EPSG:99999999", "x" * 10**6,
        "+a=" * 5000,
    ):  # fmt: skip
        with pytest.raises(
            DpdmError, match="is not a readable coordinate reference system"
        ) as refusal:
            parse_crs(text)
        assert len(refusal.value.what) < 200
    assert visits == [place]
