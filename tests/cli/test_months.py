"""Which month, day or year a step is: wherever it is stamped, whatever its calendar."""

import json
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.alignment import match_times
from dpdm.fields.read import open_fields
from dpdm.fields.regrid import coarsen_fields
from dpdm.fields.time import month_numbers, period_of, time_bounds, year_fractions
from tests.helpers.small_world import FACTOR, coarse_world, done, refused, world

MONTHS = 12
STAMPS = ("start", "middle", "end")


def edges(calendar: str = "standard") -> xr.DataArray:
    """Return the bounds of the months of 2012."""
    first = xr.date_range("2012-01-01", periods=MONTHS + 1, freq="MS", calendar=calendar)
    ends = np.stack([first[:-1].values, first[1:].values], axis=1)
    return xr.DataArray(ends, dims=("time", "bnds"))


def year(stamp: str, bounds: bool = True, calendar: str = "standard") -> xr.Dataset:
    """Return twelve months of the small world, stamped somewhere, with or without bounds."""
    ends = edges(calendar)
    first, last = ends.values.T
    stamps = {"start": first, "end": last, "middle": first + (last - first) / 2}[stamp]
    out = world(MONTHS, calendar=calendar).assign_coords(time=stamps)
    if not bounds:
        return out
    return stored(out.assign(time_bnds=ends))


def stored(ds: xr.Dataset) -> xr.Dataset:
    """Return a dataset whose times and bounds go to disk in one unit."""
    ds["time"].attrs["bounds"] = "time_bnds"
    ds["time"].encoding["units"] = "hours since 1990-01-01"
    return ds


def coarse_year(stamp: str) -> xr.Dataset:
    """Return what a coarse grid sees of the twelve months."""
    fine = year(stamp)
    return stored(coarsen_fields(fine[["t2m", "tp"]], FACTOR).assign(time_bnds=fine["time_bnds"]))


def cesm(path: Path, name: str = "time_bound", days: int = 31) -> Path:
    """Write two months as CESM does: noleap, days since the year 1, stamped at their end."""
    with netCDF4.Dataset(path, "w") as file:
        for dim, size in (("time", None), ("lat", 3), ("lon", 4), ("nbnd", 2)):
            file.createDimension(dim, size)
        time = file.createVariable("time", "f8", ("time",))
        time.setncatts({"units": "days since 0001-01-01 00:00:00", "calendar": "noleap",
                        "long_name": "time", "bounds": name})  # fmt: skip
        first = 2011 * 365.0
        time[:] = [first + days, first + days + 28]
        file.createVariable(name, "f8", ("time", "nbnd"))[:] = [
            [first, first + days], [first + days, first + days + 28]
        ]  # fmt: skip
        for axis, unit, values in (("lat", "degrees_north", [10.0, 20.0, 30.0]),
                                   ("lon", "degrees_east", [0.0, 10.0, 20.0, 30.0])):  # fmt: skip
            file.createVariable(axis, "f8", (axis,))[:] = values
            file[axis].units = unit
        field = file.createVariable("TREFHT", "f4", ("time", "lat", "lon"))
        field.setncatts({"units": "K", "long_name": "Reference height temperature",
                         "cell_methods": "time: mean"})  # fmt: skip
        field[:] = 280.0 + np.arange(24).reshape(2, 3, 4)
    return path


@pytest.fixture
def months(here: Path) -> Path:
    for stamp in STAMPS:
        year(stamp).to_netcdf(f"{stamp}.nc")
        year(stamp, bounds=False).to_netcdf(f"{stamp}_bare.nc")
    return here


@pytest.mark.parametrize("one", STAMPS)
@pytest.mark.parametrize("other", STAMPS)
def test_the_same_months_have_no_error_wherever_they_are_stamped(
    months: Path, one: str, other: str
) -> None:
    found = json.loads(done("evaluate", f"{one}.nc", f"{other}.nc", "--json").stdout)["rows"]
    assert {row["variable"]: row["rmse"] for row in found} == {"t2m": 0.0, "tp": 0.0}
    assert shared_times(f"{one}.nc", f"{other}.nc") == MONTHS


def shared_times(one: str, other: str) -> int:
    pair = {name: open_fields(Path(name)) for name in (one, other)}
    return match_times({str(n): ds for n, ds in enumerate(pair.values())})["0"].sizes["time"]


@pytest.mark.parametrize(("one", "other"), [("start", "middle"), ("middle", "start")])
def test_months_without_bounds_are_the_same_on_their_first_day_and_in_their_middle(
    months: Path, one: str, other: str
) -> None:
    found = json.loads(done("evaluate", f"{one}_bare.nc", f"{other}_bare.nc", "--json").stdout)
    assert all(row["rmse"] == 0 for row in found["rows"])
    assert shared_times(f"{one}_bare.nc", f"{other}_bare.nc") == MONTHS


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_an_amount_of_a_month_is_the_same_rate_wherever_the_month_is_stamped(
    calendar: str, tmp_path: Path
) -> None:
    ends = edges(calendar)
    lengths = [(b - a) / np.timedelta64(1, "D") if calendar == "standard" else (b - a).days
               for a, b in ends.values]  # fmt: skip
    for stamp in STAMPS:
        ds = year(stamp, calendar=calendar)[["tp", "time_bnds"]]
        ds["tp"] = (ds["tp"] * 0 + 1).assign_attrs(units="mm/month")
        ds.to_netcdf(tmp_path / f"{stamp}.nc")
        rate = open_fields(tmp_path / f"{stamp}.nc")["tp"].isel(lat=0, lon=0)
        np.testing.assert_allclose(rate, 1 / np.array(lengths, dtype=float), rtol=1e-6)


@pytest.mark.parametrize("name", ["time_bound", "time_bnds"])
def test_raw_cesm_months_are_those_before_their_stamp(tmp_path: Path, name: str) -> None:
    ds = open_fields(cesm(tmp_path / "cesm.nc", name))
    assert month_numbers(ds["time"]).tolist() == [2012 * 12, 2012 * 12 + 1]
    assert period_of(ds["time"], time_bounds(ds)) == "month"
    assert year_fractions(ds["time"], ds["time_bnds"]) == [0.5 / 12, 1.5 / 12]


def test_bounds_that_the_axis_does_not_name_are_found_by_their_name(tmp_path: Path) -> None:
    with netCDF4.Dataset(cesm(tmp_path / "cesm.nc"), "a") as file:
        file["time"].delncattr("bounds")
    assert month_numbers(open_fields(tmp_path / "cesm.nc")["time"]).tolist() == [24144, 24145]


def test_bounds_apart_from_their_stamps_are_refused_with_both(tmp_path: Path) -> None:
    with netCDF4.Dataset(cesm(tmp_path / "cesm.nc"), "a") as file:
        file["time_bound"][:] = file["time_bound"][:] + 90
    with pytest.raises(DpdmError, match=r"cesm.nc: time 2012-02-01 .* outside of its time_bound"):
        open_fields(tmp_path / "cesm.nc")


@pytest.mark.parametrize("stamp", STAMPS)
def test_every_command_takes_the_same_month(months: Path, stamp: str) -> None:
    done("export", f"{stamp}.nc", "out.tif", "--variable", "t2m", "--time", "2012-01")
    done("export", "start.nc", "first.tif", "--variable", "t2m", "--time", "2012-01")
    import rasterio

    with rasterio.open("out.tif") as out, rasterio.open("first.tif") as first:
        np.testing.assert_array_equal(out.read(), first.read())
    done("plot", f"{stamp}.nc", "out.png", "--variable", "t2m", "--time", "2012-12")


@pytest.mark.parametrize("stamp", STAMPS)
def test_a_reconstruction_files_each_month_under_its_year(here: Path, stamp: str) -> None:
    coarse_year(stamp).to_netcdf("in.nc")
    Path("plan.toml").write_text(
        '[input]\nfiles = ["in.nc"]\nperiod = ["2012-11", "2012-12"]\n'
        '[prior]\nname = "prior.safetensors"\n[draw]\nmembers = 1\n'
    )
    done("reconstruct", "plan.toml", "out")
    assert [p.name for p in sorted(Path("out").glob("*.nc"))] == ["fine_2012.nc"]
    with xr.open_dataset("out/fine_2012.nc") as out:
        assert pd.DatetimeIndex(out["time"].values).month.tolist() == [11, 12]


@pytest.mark.parametrize("stamp", STAMPS)
def test_an_observation_of_a_month_reaches_that_month(here: Path, stamp: str) -> None:
    coarse_year(stamp).to_netcdf("in.nc")
    at = year(stamp)["t2m"].isel(lat=10, lon=12)
    frame = pd.DataFrame({
        "lat": float(at["lat"]), "lon": float(at["lon"]), "t2m_error": 0.5,
        "time": [f"2012-{month:02d}-01" for month in range(1, 13)], "t2m [K]": at.values,
    })  # fmt: skip
    frame.to_csv("stations.csv", index=False)
    done("assimilate", "stations.csv", "out.nc", "--coarse", "in.nc", "--prior",
         "prior.safetensors", "--members", 2, "--steps", 2, "--report", "report.csv")  # fmt: skip
    report = pd.read_csv("report.csv")
    assert (report["status"] == "assimilated").all()
    with xr.open_dataset("out.nc") as out:
        assert pd.DatetimeIndex(out["time"].values).month.tolist() == list(range(1, 13))


def test_variables_stamped_six_hours_apart_are_of_the_same_months(here: Path) -> None:
    ds = coarse_world()
    late = ds["time"] + np.timedelta64(6, "h")
    ds[["t2m"]].to_netcdf("t2m.nc")
    ds[["tp"]].assign_coords(time=late).to_netcdf("tp.nc")
    both = open_fields([Path("t2m.nc"), Path("tp.nc")])
    assert both.sizes["time"] == 3
    np.testing.assert_array_equal(both["tp"], ds["tp"])


@pytest.mark.parametrize(
    ("freq", "period"),
    [("D", "day"), ("MS", "month"), ("ME", "month"), ("YS", "year"), ("QS-DEC", "season"),
     ("6h", "hour"), ("653h", ""), ("10D", "")],
)  # fmt: skip
def test_the_distance_of_stamps_decides_what_a_step_is(freq: str, period: str) -> None:
    time = xr.DataArray(pd.date_range("2001-01-01", periods=15, freq=freq), dims="time")
    assert period_of(time) == period
    assert period_of(time[:1]) == ""


def test_a_series_that_lacks_months_is_one_of_months() -> None:
    time = xr.DataArray(pd.date_range("2001-01-01", periods=24, freq="MS"), dims="time")
    assert period_of(time.isel(time=[0, 1, 2, 7, 8, 11, 12, 20])) == "month"


def test_steps_of_four_weeks_are_no_months() -> None:
    time = xr.DataArray(pd.date_range("2001-01-01", periods=13, freq="28D"), dims="time")
    assert period_of(time) == ""


def rain(methods: str, path: Path, units: str = "mm", amount: float = 3.1, **attrs: str) -> Path:
    """Write a year of monthly precipitation with the cell methods of some publisher."""
    ds = year("middle")[["tp", "time_bnds"]].rename(tp="pr")
    named = {"units": units, "standard_name": "precipitation_amount", "cell_methods": methods}
    ds["pr"] = (ds["pr"] * 0 + amount).assign_attrs(
        {k: v for k, v in (named | attrs).items() if v}
    )
    ds.to_netcdf(path)
    return path


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        ("time: sum within days time: mean over days", 3.1),  # E-OBS, C3S Atlas
        ("area: mean time: sum within days time: mean over days", 3.1),
        ("time: mean (interval: 1 day)", 3.1),
        ("time: sum within hours time: mean over hours", 2.4),
        ("time: sum", 0.1),
        ("time: sum (interval: 1 hour)", 0.1),
        ("", 0.1),
    ],
)
def test_the_cell_methods_give_the_period_of_an_amount(
    methods: str, expected: float, tmp_path: Path
) -> None:
    amount = 0.1 if "hours" in methods else 3.1
    path = rain(methods, tmp_path / "pr.nc", amount=amount)
    rate = open_fields(path)["tp"].isel(time=0, lat=0, lon=0)
    assert float(rate) == pytest.approx(expected, rel=1e-6)


def test_daily_accumulations_of_ecmwf_are_per_day(tmp_path: Path) -> None:
    path = rain("", tmp_path / "tp.nc", "m", 0.004, standard_name="", GRIB_stepType="avgad")
    rate = open_fields(path, rename={"tp": "pr"})["tp"].isel(time=0, lat=0, lon=0)
    assert float(rate) == pytest.approx(4.0, rel=1e-6)


def test_a_mean_of_amounts_without_a_period_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DpdmError, match="mean of amounts") as refusal:
        open_fields(rain("time: mean", tmp_path / "pr.nc"))
    assert "--units tp=mm/day" in refusal.value.hint


@pytest.mark.parametrize("methods", ["time: sum within days time: mean over days", "time: sum"])
def test_what_is_written_of_an_amount_is_read_as_the_same_rate(
    methods: str, tmp_path: Path
) -> None:
    path = rain(methods, tmp_path / "pr.nc")
    done("coarsen", path, tmp_path / "coarse.nc", "--factor", FACTOR)
    done("coarsen", tmp_path / "coarse.nc", tmp_path / "again.nc", "--factor", 1)
    first, again = (open_fields(tmp_path / name)["tp"] for name in ("pr.nc", "again.nc"))
    at = {"time": 1, "lat": 0, "lon": 0}
    assert float(again.isel(at)) == pytest.approx(float(first.isel(at)), rel=1e-6)


def test_months_are_not_scored_against_years(here: Path) -> None:
    year("start").to_netcdf("months.nc")
    years = year("start", bounds=False)
    years.assign_coords(time=pd.date_range("2001", periods=MONTHS, freq="YS")).to_netcdf(
        "years.nc"
    )
    refused("evaluate months.nc years.nc", "are years, those of the|are months, those of the")
