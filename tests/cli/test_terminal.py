"""Whatever files call their contents, a terminal shows it and obeys none of it."""

import json
import unicodedata
from pathlib import Path

import pytest
import xarray as xr

from dpdm.errors import escape_controls
from tests.helpers.forged_headers import forge, said_of
from tests.helpers.reconstruction import plan, series
from tests.helpers.small_world import coarse_world, dpdm, world

EVIL = "\x1b[2J\x1b]0;mine\x07\x9b31m\u202egnp.exe\r\x00"
NAME = "in\x1b[31m\u202e.nc"


def evil(ds: xr.Dataset) -> xr.Dataset:
    """Return a world whose attributes would rule a terminal."""
    out = ds.assign_attrs(title=EVIL[:-1], history=EVIL[:-1], source=EVIL[:-1])
    for array in out.data_vars.values():
        array.attrs["long_name"] = EVIL[:-1]
    return out


@pytest.fixture
def place(here: Path) -> Path:
    evil(coarse_world()).to_netcdf("a.nc")
    Path("a.nc").rename(NAME)
    evil(world()).to_netcdf("truth.nc")
    said = said_of(Path("prior.safetensors"))
    said["channels"][0]["long_name"] = said["contract"]["training"]["source"] = EVIL
    forge(Path("prior.safetensors"), json.dumps(said), Path("evil.safetensors"))
    return here


COMMANDS: dict[str, tuple[str, ...]] = {
    "data": ("info", NAME),
    "prior": ("info", "evil.safetensors"),
    "json": ("info", "evil.safetensors", "--json"),
    "data as json": ("info", NAME, "--json"),
    "missing": ("info", f"no{NAME}"),
    "no prior": ("info", f"no{NAME}.safetensors"),
    "downscale": ("downscale", NAME, "out\x1b.nc", "--mean", "--prior", "evil.safetensors"),
    "unit": ("downscale", NAME, "out.nc", "--mean", "--units", f"tp={EVIL[:-1]}"),
    "unknown": ("downscale", NAME, "out.nc", "--mean", "--var", f"{EVIL[:-1]}=tp"),
    "usage": ("downscale", NAME, "out.nc", "--keep", EVIL[:-1]),
    "command": (EVIL[:-1],),
    "evaluate": ("evaluate", "truth.nc", "truth.nc", "--also", f"{EVIL[:-1]}=truth.nc"),
    "scores as json": ("evaluate", "truth.nc", "truth.nc", "--also", "\x1b=truth.nc", "--json"),
    "report": ("evaluate", "truth.nc", "truth.nc", "--report", "out\x1b.html", "--also",
               "<script>alert(1)</script>=truth.nc"),
    "export": ("export", "truth.nc", "out\x1b.tif", "--variable", "t2m"),
    "plot": ("plot", "truth.nc", "out\x1b.png", "--variable", "t2m"),
    "train": ("train", "truth.nc", "--out", "o\x1b.safetensors", "--factor", "4", "--config",
              "small.toml"),
}  # fmt: skip


def tame(text: str) -> bool:
    """Tell whether a text holds no control, surrogate or turn of direction but line ends."""
    rude = ("Cc", "Cs", "Zl", "Zp")
    turned = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    return not any(
        (unicodedata.category(c) in rude and c not in "\n\t")
        or unicodedata.bidirectional(c) in turned
        for c in text
    )


@pytest.mark.parametrize("case", COMMANDS)
def test_no_command_lets_a_file_rule_the_terminal(place: Path, case: str) -> None:
    result = dpdm(*COMMANDS[case])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert result.stdout + result.stderr != ""
    assert tame(result.stdout), result.stdout
    assert tame(result.stderr), result.stderr
    if case == "report":
        assert "<script" not in Path("out\x1b.html").read_text()
    if "json" in case:
        assert "\\u001b" in json.dumps(json.loads(result.stdout))


def test_reconstruct_and_status_show_what_a_terminal_would_obey(place: Path) -> None:
    folder = "out\x1b[31m"
    series(place)
    plan(place)
    for path in place.glob("in_*.nc"):
        path.write_bytes(path.read_bytes()[:3000])
        path.rename(path.with_name(f"\x1b{path.name}"))
    plan(place, files='"?in_*.nc"')
    for words in (("reconstruct", "plan.toml", folder), ("status", folder)):
        result = dpdm(*words)
        assert result.exit_code == 1
        assert tame(result.output), result.output


def test_a_name_that_is_no_text_is_shown_as_its_bytes() -> None:
    assert escape_controls("station \udcff\n\tend") == "station \\udcff\n\tend"
