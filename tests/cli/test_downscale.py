"""What dpdm downscale promises, on small real files."""

import hashlib
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import coarsen_fields
from tests.helpers.small_world import FACTOR, GRID, Taught, coarse_world, done, summed, world

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    coarse_world().to_netcdf(tmp_path / "coarse.nc")
    return tmp_path / "coarse.nc"


def drawn(taught: Taught, source: Path, *words: object, to: str = "out.nc") -> xr.Dataset:
    """Downscale a file with the small prior, in few steps, and open what came out."""
    target = source.with_name(to)
    done("downscale", source, target, "--prior", taught.prior, "--steps", 4, "--overwrite", *words)
    with xr.open_dataset(target, engine="zarr" if to.endswith("zarr") else "netcdf4") as out:
        return out.load()


def same(a: xr.Dataset, b: xr.Dataset, names: tuple[str, ...] = ("t2m", "tp")) -> None:
    """Compare fields bit for bit."""
    for name in names:
        np.testing.assert_array_equal(a[name].values, b[name].values)


def test_axes_are_exact_and_the_file_says_what_it_is(coarse: Path, taught: Taught) -> None:
    out = drawn(taught, coarse, "--members", 2)
    for axis, exact in (("lat", GRID.lat), ("lon", GRID.lon)):
        assert out[axis].dtype == np.float64
        np.testing.assert_array_equal(out[axis], exact)
    assert out["t2m"].dims == ("time", "realization", "lat", "lon")
    assert (out["t2m"].attrs["units"], out["tp"].attrs["units"]) == ("K", "mm day-1")
    assert out["t2m"].attrs["standard_name"] == "air_temperature"
    assert out.attrs["Conventions"] == "CF-1.11, ACDD-1.3"
    assert re.search(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ: dpdm", out.attrs["history"])
    said = {
        "prior": "small", "input": "coarse.nc", "seed": "0", "members": "2", "steps": "4",
        "prior_sha256": hashlib.sha256(taught.prior.read_bytes()).hexdigest(),
        "input_sha256": hashlib.sha256(coarse.read_bytes()).hexdigest(),
    }  # fmt: skip
    assert said == {key: out.attrs[f"dpdm_{key}"] for key in said}
    assert [p.name for p in coarse.parent.iterdir() if p.name.startswith(".")] == []


def test_seed_and_members(coarse: Path, taught: Taught) -> None:
    three, again, five, other = (
        drawn(taught, coarse, "--members", n, "--seed", seed, "--keep", "members")
        for n, seed in ((3, 0), (3, 0), (5, 0), (3, 1))
    )
    same(three, again)
    same(three, five.isel(realization=slice(3)))
    for name in ("t2m", "tp"):
        assert (three[name].values[:, 0] != three[name].values[:, 1]).mean() > 0.3
        assert (three[name] != other[name]).mean() > 0.3


def test_no_member_is_the_mean(coarse: Path, taught: Taught) -> None:
    mean, none = drawn(taught, coarse, "--mean"), drawn(taught, coarse, "--members", 0)
    same(mean, none)
    assert mean["t2m"].dims == ("time", "lat", "lon")
    assert set(mean.data_vars) >= {"t2m", "tp"}
    assert "t2m_mean" not in mean


def test_statistics_are_those_of_the_members(coarse: Path, taught: Taught) -> None:
    every = drawn(taught, coarse, "--members", 4)
    members = drawn(taught, coarse, "--members", 4, "--keep", "members")
    stats = drawn(taught, coarse, "--members", 4, "--keep", "stats")
    same(every, members)
    assert "realization" not in stats.dims
    assert not {"t2m_mean", "tp_p50"} & set(members.data_vars)
    for name in ("t2m", "tp"):
        x = every[name].astype(float)
        expected = {"mean": x.mean("realization"), "spread": x.std("realization", ddof=1)}
        expected |= {f"p{q}": x.quantile(q / 100, "realization") for q in (10, 50, 90)}
        for kind, value in expected.items():
            same(every, stats, (f"{name}_{kind}",))
            # single precision of the file, and of members before they are averaged
            np.testing.assert_allclose(stats[f"{name}_{kind}"], value, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("members", [0, 3])
def test_consistent_means_equal_the_input(coarse: Path, taught: Taught, members: int) -> None:
    out = drawn(taught, coarse, "--members", members, "--consistent")
    known = xr.open_dataset(coarse)
    assert float(known["tp"].min()) == 0.0
    for name in ("t2m", "tp"):
        array = out[name].astype(float).rename(name)
        means = coarsen_fields(array.to_dataset(), FACTOR)[name]
        # a float32 of 300 K is good to 1.5e-5; a mean of rounded values to no more than one
        np.testing.assert_allclose(means, known[name].broadcast_like(means), rtol=1e-6, atol=1e-6)
    assert float(out["tp"].min()) >= 0.0
    dry = out["tp"].isel(lat=slice(8), lon=slice(8))
    assert float(dry.max()) == 0.0


def flipped(ds: xr.Dataset) -> xr.Dataset:
    return ds.isel(lat=slice(None, None, -1))


def renamed(ds: xr.Dataset) -> xr.Dataset:
    return ds.rename(lat="y", lon="longitude", t2m="tas", tp="pr").transpose("y", "time", ...)


def uneven(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(
        lat=ds["lat"].astype("f4") + np.float32(1e-6), lon=ds["lon"].astype("f4")
    )


@pytest.mark.parametrize("change", [flipped, renamed, uneven])
def test_the_same_fields_in_another_guise(
    coarse: Path, taught: Taught, change: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    plain = drawn(taught, coarse, "--members", 1)
    changed = coarse.with_name("changed.nc")
    change(coarse_world()).to_netcdf(changed)
    out = drawn(taught, changed, "--members", 1)
    names = {"t2m": "tas", "tp": "pr"} if change is renamed else {}
    same(plain.rename(names), out, (*names.values(),) or ("t2m", "tp"))


def test_longitudes_across_the_seam(coarse: Path, taught: Taught) -> None:
    grid = Grid(GRID.lat, GRID.lon - 120)  # -19.5 to 27.5
    west = coarse_world(grid=grid)
    west.to_netcdf(other := coarse.with_name("west.nc"))
    plain = drawn(taught, other, "--members", 1)
    east = west.assign_coords(lon=west["lon"] % 360).sortby("lon")
    changed = coarse.with_name("changed.nc")
    east.to_netcdf(changed)
    split = drawn(taught, changed, "--members", 1)
    same(plain, split)
    np.testing.assert_array_equal(plain["lon"] % 360, split["lon"] % 360)


@pytest.mark.parametrize("calendar", ["noleap", "360_day"])
def test_calendars_are_kept(coarse: Path, taught: Taught, calendar: str) -> None:
    coarse_world(calendar=calendar).to_netcdf(coarse)
    out = drawn(taught, coarse, "--mean")
    assert out["time"].dt.calendar == calendar
    assert [int(t.dt.month) for t in out["time"]] == [1, 2, 3]


@pytest.mark.parametrize("calendar", ["standard", "360_day"])
def test_amounts_are_rates_over_their_bounds(coarse: Path, taught: Taught, calendar: str) -> None:
    months = coarse_world(calendar=calendar)
    months.to_netcdf(coarse)
    rates = drawn(taught, coarse, "--members", 2)
    summed(months).to_netcdf(other := coarse.with_name("amounts.nc"))
    amounts = drawn(taught, other, "--members", 2)
    days = (amounts["time_bnds"][:, 1] - amounts["time_bnds"][:, 0]).dt.days
    for name in ("tp", "tp_mean", "tp_spread"):
        assert amounts[name].attrs["units"] == "mm"
        np.testing.assert_allclose(amounts[name], rates[name] * days, rtol=1e-4, atol=1e-4)


def test_no_time_at_all(coarse: Path, taught: Taught) -> None:
    coarse_world().isel(time=0, drop=True).to_netcdf(coarse)
    assert drawn(taught, coarse, "--members", 2)["t2m"].dims == ("realization", "lat", "lon")


def test_annual_means(coarse: Path, taught: Taught) -> None:
    years = xr.date_range("2000-07-01", periods=3, freq="YS-JUL")
    coarse_world().assign_coords(time=years).to_netcdf(coarse)
    out = drawn(taught, coarse, "--mean")
    np.testing.assert_array_equal(out["time"], years)
    assert bool(np.isfinite(out["t2m"]).all())


def test_one_variable_alone(coarse: Path, taught: Taught) -> None:
    coarse_world()[["tp"]].to_netcdf(coarse)
    out = drawn(taught, coarse, "--members", 1)
    assert "tp" in out
    assert "t2m" not in out
    assert bool(np.isfinite(out["tp"]).all())


def test_packed_integers(coarse: Path, taught: Taught) -> None:
    packed = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}
    coarse_world().to_netcdf(other := coarse.with_name("packed.nc"), encoding={"t2m": packed})
    out, exact = drawn(taught, other, "--mean"), drawn(taught, coarse, "--mean")
    assert float(abs(out["t2m"] - exact["t2m"]).max()) < 0.05  # packing rounds to 0.005 K
    assert out["t2m"].dtype == np.float32


def test_a_hole_spreads_no_further_than_the_lerp(coarse: Path, taught: Taught) -> None:
    whole = drawn(taught, coarse, "--members", 1)
    holed = coarse_world()
    holed["t2m"][1, 4, 6] = np.nan
    holed.to_netcdf(hole := coarse.with_name("hole.nc"))
    out = drawn(taught, hole, "--members", 1)
    done("lerp", hole, coarse.with_name("lerp.nc"), "--factor", FACTOR)
    base = xr.open_dataset(coarse.with_name("lerp.nc"))
    missing = out["t2m"].isel(realization=0).isnull().values
    np.testing.assert_array_equal(missing, base["t2m"].isnull().values)
    assert 0 < missing.sum() <= (2 * FACTOR) ** 2
    same(out.isel(time=[0, 2]), whole.isel(time=[0, 2]))


def test_units_come_back_as_they_went_in(coarse: Path, taught: Taught) -> None:
    kelvin = drawn(taught, coarse, "--members", 2)
    ds = coarse_world()
    ds["t2m"] = (ds["t2m"] - 273.15).assign_attrs(units="degC")
    ds["tp"] = (ds["tp"] / 86400).assign_attrs(units="kg m-2 s-1")
    ds.to_netcdf(other := coarse.with_name("celsius.nc"))
    out = drawn(taught, other, "--members", 2)
    assert {out[f"t2m{s}"].attrs["units"] for s in ("", "_mean", "_spread", "_p10")} == {"degC"}
    assert out["tp"].attrs["units"] == "kg m-2 s-1"
    for suffix, zero in (("", 273.15), ("_mean", 273.15), ("_p90", 273.15), ("_spread", 0.0)):
        off = out[f"t2m{suffix}"] + zero - kelvin[f"t2m{suffix}"]
        assert float(abs(off).max()) < 1e-3  # kelvin in single precision, and a trained net on it
        off = out[f"tp{suffix}"] * 86400 - kelvin[f"tp{suffix}"]
        assert float(abs(off).max()) < 1e-3


def test_zarr_in_and_out(coarse: Path, taught: Taught) -> None:
    plain = drawn(taught, coarse, "--members", 2)
    store = coarse.with_suffix(".zarr")
    coarse_world().to_zarr(store, zarr_format=2)
    same(plain, drawn(taught, store, "--members", 2, to="out.zarr"))
    same(plain, drawn(taught, store, "--members", 2, to="out.zarr"))  # a store is replaced whole


def test_another_target(coarse: Path, taught: Taught) -> None:
    target = coarse.with_name("target.nc")
    inner = world().isel(lat=slice(5, 21), lon=slice(7, 29))
    inner[["t2m"]].to_netcdf(target)
    out = drawn(taught, coarse, "--grid", target, "--mean")
    assert grid_of(out).is_same(grid_of(inner))
