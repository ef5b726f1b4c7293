"""Operators from weight files, against cdo."""

import shutil
import subprocess
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.operators.files import read_links
from dpdm.operators.layout import Layout, globe
from dpdm.operators.linear import adjoint

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")
LAT, LON = np.arange(20.5, 32), np.arange(100.5, 117)
REGION = globe(LAT, LON)
FIELD = np.random.default_rng(0).normal(280, 10, REGION.shape)
TARGET = "gridtype=lonlat\nxsize=4\nysize=3\nxfirst=102\nxinc=3.3\nyfirst=22\nyinc=3.1\n"


def cdo(*words: object) -> None:
    subprocess.run(["cdo", "-s", "-f", "nc", *map(str, words)], check=True)


def file_of(path: Path, flip: bool = False, turn: float = 0.0) -> Path:
    """Write the field, from north to south or on another turn if asked."""
    ds = xr.Dataset({"a": (("lat", "lon"), FIELD)}, {"lat": LAT, "lon": LON + turn})
    ds["lat"].attrs["units"], ds["lon"].attrs["units"] = "degrees_north", "degrees_east"
    (ds.isel(lat=slice(None, None, -1)) if flip else ds).to_netcdf(path)
    return path


def seen(path: Path, layout: Layout = REGION) -> np.ndarray:
    """Return what the operator of a weight file makes of the field."""
    values = read_links(path, layout)(torch.as_tensor(FIELD)[None, None])[0]
    return np.asarray(values)


@needs_cdo
@pytest.mark.parametrize("kind", ["con", "bil"])
@pytest.mark.parametrize(("flip", "turn"), [(False, 0.0), (True, -360.0)])
def test_scrip_weights_do_what_cdo_does(
    tmp_path: Path, kind: str, flip: bool, turn: float
) -> None:
    """Weights know their cells by place, so a file from north to south gives the same."""
    grid, path = tmp_path / "grid.txt", file_of(tmp_path / "a.nc", flip, turn)
    grid.write_text(TARGET)
    cdo(f"gen{kind},{grid}", path, tmp_path / "weights.nc")
    cdo("-b", "F64", f"remap,{grid},{tmp_path / 'weights.nc'}", path, tmp_path / "b.nc")
    expected = xr.open_dataset(tmp_path / "b.nc")["a"].values.ravel()
    # cdo's weights are of double precision; a sum of some 16 of them.
    np.testing.assert_allclose(seen(tmp_path / "weights.nc"), expected, rtol=1e-13)
    links = read_links(tmp_path / "weights.nc", REGION)
    x, v = torch.randn(2, 1, *REGION.shape), torch.randn(2, 12)
    one, other = (links(x) * v).sum(), (x * adjoint(links, x, v)).sum()
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert bool(links.reached.all())


@needs_cdo
def test_weights_of_a_globe_fit_it_however_it_is_cut(tmp_path: Path) -> None:
    grid, lat = tmp_path / "grid.txt", np.arange(-85, 90, 10.0)
    grid.write_text(TARGET)
    cdo(f"gencon,{grid}", "-random,r36x18,1", tmp_path / "weights.nc")
    whole = torch.randn(1, 1, 18, 36)
    one = read_links(tmp_path / "weights.nc", globe(lat, np.arange(0, 360, 10.0)))
    other = read_links(tmp_path / "weights.nc", globe(lat, np.arange(-180, 180, 10.0)))
    assert torch.equal(one(whole), other(whole.roll(18, -1)))


@needs_cdo
def test_weights_for_other_cells_or_of_second_order_are_refused(tmp_path: Path) -> None:
    grid, path = tmp_path / "grid.txt", file_of(tmp_path / "a.nc")
    grid.write_text(TARGET.replace("xfirst=102", "xfirst=112"))
    cdo(f"gencon,{grid}", path, tmp_path / "weights.nc")
    cdo(f"gencon2,{grid}", path, tmp_path / "second.nc")
    with pytest.raises(DpdmError, match=r"weights.nc is for fields of 204 cells.*17 x 17"):
        read_links(tmp_path / "weights.nc", globe(LON - 90, LON))
    with pytest.raises(DpdmError, match=r"a cell at latitude 31.5, but the field has no centre"):
        read_links(tmp_path / "weights.nc", globe(LAT - 1, LON))
    with pytest.raises(DpdmError, match="second order"):
        read_links(tmp_path / "second.nc", REGION)
    # The last of the four columns of targets lies to the east of all cells.
    reached = read_links(tmp_path / "weights.nc", REGION).reached.reshape(3, 4)
    assert reached.tolist() == [[True, True, True, False]] * 3


def links_file(path: Path, rows: int | None = 2, cols: int | None = 204, **arrays: object) -> Path:
    """Write the simple kind of weight file."""
    standard = {"row": [0, 1, 1], "col": [5, 0, 203], "weight": [1.0, 0.25, 0.75]}
    ds = xr.Dataset({k: (f"link_{k}", v) for k, v in (standard | arrays).items() if v is not None})
    if all(len(ds[k]) == 3 for k in ds):
        ds = xr.Dataset({k: ("link", ds[k].values) for k in ds})
    ds.attrs = {k: v for k, v in {"rows": rows, "cols": cols}.items() if v is not None}
    ds.to_netcdf(path)
    return path


def test_simple_links_are_what_they_say(tmp_path: Path) -> None:
    flat = FIELD.ravel()
    expected = [flat[5], 0.25 * flat[0] + 0.75 * flat[203]]
    np.testing.assert_allclose(seen(links_file(tmp_path / "a.nc")), expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"rows": None}, "does not say how many values"),
        ({"cols": 203}, "for fields of 203 cells, but these have 12 x 17"),
        ({"col": [0, 1, 204]}, "col: 204 is not between 0 and 203"),
        ({"row": [0, -1, 1]}, "row: -1 is not between 0 and 1"),
        ({"row": [0.0, 1.0, 1.0]}, "row: not whole numbers"),
        ({"weight": [1.0, np.nan, 1.0]}, "weight: a weight is not finite"),
        ({"weight": [1.0, 1.0]}, "different numbers: row 3, col 3, weight 2"),
        ({"weight": None}, "lacks the variable weight"),
    ],
)
def test_faulty_links_are_refused(tmp_path: Path, change: dict[str, object], what: str) -> None:
    path = links_file(tmp_path / "a.nc", **change)  # type: ignore[arg-type]
    with pytest.raises(DpdmError, match=f"a.nc.*{what}"):
        read_links(path, REGION)


@pytest.mark.parametrize(
    ("rows", "cols", "what"),
    [
        (2, 10**12, "fields of 1000000000000 cells"),
        (2, 204, "holds 1000000000000 links to 2 values"),
        (10**12, 204, "holds 1000000000000 links to 1000000000000 values"),
    ],
)
def test_sizes_are_checked_before_anything_is_allocated(
    tmp_path: Path, rows: int, cols: int, what: str
) -> None:
    """A file of a few kB may claim a thousand thousand million links."""
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as data:
        data.rows, data.cols = rows, cols
        data.createDimension("link", 10**12)
        for name, kind in (("row", "i8"), ("col", "i8"), ("weight", "f8")):
            data.createVariable(name, kind, "link", chunksizes=(1000,))
    with pytest.raises(DpdmError, match=what):
        read_links(tmp_path / "a.nc", REGION)


def test_what_is_no_netcdf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nc").write_text("row,col,weight")
    for name in ("a.nc", "missing.nc"):
        with pytest.raises(DpdmError, match=f"{name} cannot be read as NetCDF"):
            read_links(tmp_path / name, REGION)
