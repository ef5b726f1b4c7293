"""Grids by name are those of CDO, as are its descriptions; a global one is cut to the input."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, refine_grid
from dpdm.fields.named_grids import fit_grid, grid_of_spacing, read_grid
from dpdm.fields.read import open_fields

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")
REGION = """
gridtype = lonlat
xsize = 8  # columns
ysize = 4
xname = lon
xfirst = -10.5
xinc = 0.5
yfirst = 45
yinc = -0.5
"""


def cdo(*words: str) -> str:
    return subprocess.run(["cdo", *words], check=True, capture_output=True, text=True).stdout


@needs_cdo
@pytest.mark.parametrize("name", ["r36x18", "r36x19", "global_10", "region.txt"])
def test_grids_are_those_of_cdo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("region.txt").write_text(REGION)
    cdo("-f", "nc", "-remapnn," + name, "-topo,r36x18", "out.nc")
    fields = open_fields(Path("out.nc"))
    Path("described").write_text(cdo("-s", "griddes", "out.nc"))
    for found in (read_grid(name), read_grid("described")):
        assert isinstance(found, Grid)
        np.testing.assert_allclose(found.lat, fields["lat"], atol=1e-9)
        np.testing.assert_allclose(found.lon, fields["lon"], atol=1e-9)


@pytest.mark.parametrize("west", [-22.5, 337.5, 100.0])
@pytest.mark.parametrize("side", [2.5, 1.0])
def test_a_spacing_gives_the_cells_into_which_a_prior_splits_the_input(
    west: float, side: float
) -> None:
    source = Grid(20 + side * (np.arange(8) + 0.5), west + side * (np.arange(12) + 0.5))
    split, found = refine_grid(source, (0.25, 0.25)), fit_grid(grid_of_spacing(0.25), source)
    np.testing.assert_allclose(found.lat, split.lat, atol=1e-9)
    np.testing.assert_allclose(found.lon, split.lon, atol=1e-9)


def test_a_file_of_fields_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "r8x4").write_bytes(b"CDF\x01")
    assert read_grid(str(tmp_path / "r8x4")) == tmp_path / "r8x4"
    assert read_grid("absent.nc") == Path("absent.nc")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (REGION.replace("lonlat", "gaussian"), "type 'gaussian'"),
        (REGION.replace("xinc = 0.5", ""), "no xinc"),
        (REGION.replace("-10.5", "west"), "unreadable number"),
        (REGION.replace("yfirst = 45", "yvals = 1 2 4 8"), "no regular axis y"),
        (REGION.replace("yfirst = 45", "yfirst = 91"), "beyond 90"),
    ],
)
def test_other_descriptions_are_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "grid").write_text(text)
    with pytest.raises(DpdmError, match=what):
        read_grid(str(tmp_path / "grid"))


def test_spacings_that_do_not_divide_the_globe_are_refused() -> None:
    for degrees in (0.7, 120.0, 1e-9):
        with pytest.raises(DpdmError, match="no whole number of cells"):
            grid_of_spacing(degrees)


def test_grid_of_an_empty_overlap_is_refused() -> None:
    source = Grid(np.array([0.0, 1.0]), np.array([0.0, 1.0]))
    with pytest.raises(DpdmError, match="fewer than two by two"):
        fit_grid(grid_of_spacing(10.0), source)
