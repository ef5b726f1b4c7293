"""Times in every way that files count them: the right date, or a sentence."""

import shutil
import subprocess
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.read import open_fields
from dpdm.fields.time_decoding import decode_time_variable
from dpdm.fields.value_checks import load_checked_fields
from dpdm.regrid import coarsen_file
from tests.helpers.time_axes import months

MONTHLY = ("2000-01-15", "2000-02-15", "2000-03-15")


def words(time: xr.DataArray | xr.Variable) -> list[str]:
    """Return dates of any calendar without what is zero."""
    return [str(value).replace("T", " ").split(".")[0].removesuffix(" 00:00:00")
            for value in time.values]  # fmt: skip


def read(values: list[float], units: str = "", calendar: str = "") -> list[str]:
    attrs = {k: v for k, v in (("units", units), ("calendar", calendar)) if v}
    return words(decode_time_variable("time", xr.Variable("time", np.array(values), attrs)))


@pytest.mark.parametrize(
    ("values", "units", "calendar", "expected"),
    [
        ([0, 1, 2], "months since 2000-01-15", "standard", list(MONTHLY)),
        ([0, 1, 13], "months since 2000-01-31", "", ["2000-01-31", "2000-02-29", "2001-02-28"]),
        ([0.5, 1.5], "months since 1960-01-01", "360", ["1960-01-16", "1960-02-16"]),
        ([-1], "month since 2000-01-01", "noleap", ["1999-12-01"]),
        ([0, 1.5], "years since 1850", "", ["1850-01-01", "1851-07-02 12:00:00"]),
        ([1], "common_years since 1999-01-01", "", ["2000-01-01"]),
        ([1], "weeks since 1900-1-1 00:00:0.0", "", ["1900-01-08"]),
        ([1e6], "microseconds since 2000-01-01", "", ["2000-01-01 00:00:01"]),
        ([24], "hours since 1900-01-01 00:00 +1:00", "", ["1900-01-01 23:00:00"]),
        ([0], "days since 15-JAN-1901", "", ["1901-01-15"]),
        ([1], "days since 20000101", "Gregorian", ["2000-01-02"]),
        ([0], "Days Since 2000-02-30T00:00:00Z", "360_days", ["2000-02-30"]),
        ([15, 45], "days since 0000-01-01", "standard", ["0000-01-16", "0000-02-15"]),
        ([17067072], "hours since 1-1-1 00:00:0.0", "standard", ["1948-01-01"]),
        ([2451545], "days since -4713-01-01 12:00", "", ["2000-01-01 12:00:00"]),
        ([0], "days since 9999-12-31", "", ["9999-12-31"]),
        ([1], "days since -21000-01-01", "noleap", ["-21000-01-02"]),
        ([0, np.nan], "days since 2000-01-01", "noleap", ["2000-01-01", "None"]),
        ([201201, 201202], "", "", ["2012-01-01", "2012-02-01"]),
        ([20120131, 20120229], "YYYYMMDD", "", ["2012-01-31", "2012-02-29"]),
        ([20120115.5], "day as %Y%m%d.%f", "proleptic_gregorian", ["2012-01-15 12:00:00"]),
        ([201202.5], "month as %Y%m.%f", "", ["2012-02-15 12:00:00"]),
        ([2012.5], "year A.D.", "", ["2012-07-02"]),
    ],
)  # fmt: skip
def test_numbers_become_the_dates_that_they_stand_for(values, units, calendar, expected):
    assert read(values, units, calendar) == expected


@pytest.mark.parametrize("values", [[1, 2, 3], [201213, 201214], [2001, 2002], [20120230 * 10]])
def test_numbers_that_may_be_anything_are_left_alone(values):
    assert read(values) == [str(value) for value in values]


@pytest.mark.parametrize(
    ("values", "units", "calendar", "what"),
    [
        ([0], "fortnights since 2000-01-01", "", "counts 'fortnights'"),
        ([0], "days since yesterday", "", "since 'yesterday'"),
        ([0], "days since 2001-02-29", "", "which standard does not have"),
        ([0, 1e20], "days since 2000-01-01", "", r"0 to 1e\+20"),
        ([0], "days since 2000-01-01", "lunar", "calendar 'lunar'"),
        ([730485], "days since 0000-01-01", "standard", "two days off"),
        ([20121301], "day as %Y%m%d.%f", "", r"is not a date"),
    ],
)
def test_what_cannot_be_read_is_named(values, units, calendar, what):
    with pytest.raises(DpdmError, match=what):
        read(values, units, calendar)


@pytest.mark.parametrize(
    "axis",
    [
        {"values": np.arange(3), "units": "months since 2000-01-15"},
        {"values": [200001.5, 200002.5, 200003.5], "units": "month as %Y%m.%f"},
        {"values": np.array([20000115, 20000215, 20000315])},
        {"values": list(MONTHLY)},
    ],
)
def test_a_file_keeps_its_months_and_writes_them_in_days(tmp_path, axis):
    given = months(tmp_path / "in.nc", **axis)
    coarsen_file(given, tmp_path / "out.nc", 2)
    for path in (given, tmp_path / "out.nc"):
        fields = load_checked_fields(open_fields(path))
        assert [word[:7] for word in words(fields["time"])] == ["2000-01", "2000-02", "2000-03"]
        assert fields["t2m"][:, 0, 0].values.tolist() == [280, 281, 282]
    with netCDF4.Dataset(tmp_path / "out.nc") as file:
        assert file["time"].units == "days since 1850-01-01"


@pytest.mark.parametrize(
    ("units", "calendar", "written"),
    [
        ("hours since 2000-01-01", "noleap", "hours since 1850-01-01"),
        ("minutes since 2000-01-01", "360_day", "minutes since 1850-01-01"),
        ("days since 0000-01-01", "standard", "days since 1850-01-01"),
        ("years since 9990-01-01", "julian", "days since 1850-01-01"),
    ],
)
def test_times_are_written_exactly_in_the_calendar_of_the_file(tmp_path, units, calendar, written):
    given = months(tmp_path / "in.nc", values=np.arange(3), units=units, calendar=calendar)
    coarsen_file(given, tmp_path / "out.nc", 2)
    with netCDF4.Dataset(tmp_path / "out.nc") as file:
        assert file["time"].units == written
    before, after = (open_fields(p)["time"] for p in (given, tmp_path / "out.nc"))
    assert words(before) == words(after)
    assert before.dt.calendar == after.dt.calendar


@pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")
def test_cdo_reads_the_dates_that_were_meant(tmp_path):
    given = months(tmp_path / "in.nc", values=np.arange(3), units="months since 2000-01-15")
    coarsen_file(given, tmp_path / "out.nc", 2)
    command = ["cdo", "-s", "showdate", tmp_path / "out.nc"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.split() == list(MONTHLY)


def test_steps_without_times_are_refused(tmp_path):
    with pytest.raises(DpdmError, match="its 3 steps have no times"):
        open_fields(months(tmp_path / "in.nc"))


def test_one_step_without_a_time_is_a_field_without_time(tmp_path):
    months(tmp_path / "in.nc")
    with xr.open_dataset(tmp_path / "in.nc") as ds:
        ds.isel(time=[0]).to_netcdf(tmp_path / "one.nc")
    assert open_fields(tmp_path / "one.nc")["t2m"].dims == ("lat", "lon")


def forecast(starts: list[str], hours: list[float]) -> xr.Dataset:
    shape = (len(starts), len(hours), 4, 6)
    values = np.broadcast_to(280 + np.arange(len(starts) * len(hours)).reshape((*shape[:2], 1, 1)),
                             shape)  # fmt: skip
    reference = {"standard_name": "forecast_reference_time"}
    lead = {"standard_name": "forecast_period", "units": "hours"}
    return xr.Dataset(
        {"tas": (("reftime", "leadtime", "lat", "lon"), values.astype("f4"), {"units": "K"})},
        {
            "reftime": ("reftime", np.array(starts, "M8[ns]"), reference),
            "leadtime": ("leadtime", hours, lead),
            "lat": np.arange(4.0), "lon": np.arange(6.0),
        },
    )  # fmt: skip


@pytest.mark.parametrize("calendar", ["standard", "noleap"])
def test_a_forecast_is_dated_by_when_it_is_valid(tmp_path, calendar):
    ds = forecast(["2000-02-28"], [24.0, 48.0]).isel(reftime=0)
    ds.to_netcdf(
        tmp_path / "a.nc", encoding={"reftime": {"dtype": "f8", "units": "days since 2000-01-01"}}
    )
    with netCDF4.Dataset(tmp_path / "a.nc", "a") as file:
        file["reftime"].calendar = calendar
    last = "2000-03-01" if calendar == "standard" else "2000-03-02"
    first = "2000-02-29" if calendar == "standard" else "2000-03-01"
    assert words(open_fields(tmp_path / "a.nc")["time"]) == [first, last]


def test_starts_and_leads_that_do_not_overlap_are_one_series(tmp_path):
    forecast(["2000-01-01T12", "2000-01-01T00"], [6.0, 12.0]).to_netcdf(tmp_path / "a.nc")
    fields = load_checked_fields(open_fields(tmp_path / "a.nc"))
    hours = [word[5:] for word in words(fields["time"])]
    assert hours == ["01-01 06:00:00", "01-01 12:00:00", "01-01 18:00:00", "01-02"]
    assert fields["t2m"][:, 0, 0].values.tolist() == [282, 283, 280, 281]


def test_lead_times_without_a_unit_are_refused(tmp_path):
    ds = forecast(["2000-01-01"], [6.0, 12.0]).isel(reftime=0)
    ds["leadtime"].attrs["units"] = "1"
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError, match="leadtime is in '1'"):
        open_fields(tmp_path / "a.nc")


@pytest.mark.parametrize("names", [np.arange(1, 13), list("DJF")])
def test_twelve_months_of_no_year_are_months(tmp_path, names):
    dims = ("month", "lat", "lon")
    rain = np.full((12, 4, 6), 31.0, "f4")
    ds = xr.Dataset(
        {"pr": (dims, rain, {"units": "mm"})}, {"lat": np.arange(4.0), "lon": np.arange(6.0)}
    )
    if len(names) == 12:
        ds = ds.assign_coords(month=names[::-1])
        ds["pr"][0] = 62.0  # December, which comes first
    ds.to_netcdf(tmp_path / "a.nc")
    with pytest.warns(DpdmWarning, match="dated 2001"):
        fields = load_checked_fields(open_fields(tmp_path / "a.nc"))
    assert fields["time"].dt.month.values.tolist() == list(range(1, 13))
    days = fields["time"].dt.days_in_month.values
    rain = np.where((np.arange(12) == 11) & (len(names) == 12), 62.0, 31.0)
    np.testing.assert_allclose(fields["tp"][:, 0, 0], rain / days, rtol=1e-6)


def climatology(path: Path) -> xr.Dataset:
    """Write the seasons of 1960 to 1990 as example 7.12 of CF-1.11 has them, in mm a season."""
    ends = ["1960-03-01", "1960-06-01", "1960-09-01", "1960-12-01"]
    last = ["1990-06-01", "1990-09-01", "1990-12-01", "1991-03-01"]
    mid = ["1960-04-16", "1960-07-16", "1960-10-16", "1961-01-16"]
    methods = "time: sum within years time: mean over years"
    rain = np.full((4, 4, 6), 92.0, "f4")
    ds = xr.Dataset(
        {
            "pr": (("time", "lat", "lon"), rain, {"units": "kg m-2", "cell_methods": methods}),
            "climatology_bounds": (("time", "nv"), np.array([ends, last], "M8[ns]").T),
        },
        {
            "time": ("time", np.array(mid, "M8[ns]"), {"climatology": "climatology_bounds"}),
            "lat": np.arange(4.0), "lon": np.arange(6.0),
        },
    )  # fmt: skip
    ds.to_netcdf(path, encoding={"time": {"units": "days since 1960-01-01"}})
    return ds


def test_a_climatology_keeps_its_years_and_measures_a_season(tmp_path):
    given = climatology(tmp_path / "in.nc")
    coarsen_file(tmp_path / "in.nc", tmp_path / "out.nc", 2)
    with xr.open_dataset(tmp_path / "out.nc") as out:
        assert out["time"].attrs["climatology"] == "climatology_bnds"
        assert "bounds" not in out["time"].attrs
        assert out["pr"].attrs["cell_methods"] == given["pr"].attrs["cell_methods"]
        np.testing.assert_array_equal(out["climatology_bnds"], given["climatology_bounds"])
        np.testing.assert_allclose(out["pr"], 92.0, rtol=1e-6)
    fields = load_checked_fields(open_fields(tmp_path / "out.nc"))
    np.testing.assert_allclose(fields["tp"][:, 0, 0], 92 / np.array([92, 92, 91, 90]), rtol=1e-6)
