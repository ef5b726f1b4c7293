"""The climatology of a target grid: whose it is, of which time, and files that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.climatology_grid import average_covered
from dpdm.fields.grid import Grid
from dpdm.fields.reference_climatology import (
    ReferenceClimatology,
    bundled_climatology,
    month_weights,
    open_climatology,
)
from dpdm.fields.regrid import average_conservative
from tests.helpers.small_world import close_files

NAMES = ["t2m", "tp"]
GRID = Grid(np.arange(20.0, 24, 0.25), np.arange(100.0, 106, 0.25))  # Indochina, all land
NUMBERS = np.arange(1, 13)
DIMS = ("time", "lat", "lon")


def bundled(grid: Grid) -> dict[str, np.ndarray]:
    """Return the bundled fields of cells of the bundled grid, straight from the file."""
    packed = bundled_climatology()
    rows = np.round((grid.lat + 90) / 0.25).astype(int)
    columns = np.round(grid.lon / 0.25).astype(int) % 1440
    return {name: packed.read(name, rows, columns) for name in packed.names}


def monthly(grid: Grid = GRID, years: int = 1, first: str = "2001-01") -> xr.Dataset:
    """Return months whose t2m is 280 K, the month's number, and the year's number over 100."""
    count = 12 * years
    time = xr.date_range(first, periods=count, freq="MS")
    step = np.arange(count)
    value = 280 + time.month.to_numpy() + step // 12 / 100
    t2m = value[:, None, None] + np.zeros((count, *grid.shape))
    t2m = t2m + grid.lat[:, None] / 100 + grid.lon / 1000
    return xr.Dataset({"t2m": (DIMS, t2m, {"units": "K"})}, grid.coords() | {"time": time})


def expected(grid: Grid = GRID) -> np.ndarray:
    return 280 + NUMBERS[:, None, None] + grid.lat[:, None] / 100 + grid.lon / 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "normals.nc"


def read(path: Path, given: xr.Dataset, grid: Grid = GRID, **rest: Any) -> ReferenceClimatology:
    close_files()
    given.to_netcdf(path)
    found = open_climatology(str(path), grid, NAMES, **rest)
    assert found is not None
    return found


def refused(path: Path, given: xr.Dataset, what: str, grid: Grid = GRID, **rest: Any) -> DpdmError:
    with pytest.raises(DpdmError, match=what) as fault:
        read(path, given, grid, **rest)
    assert fault.value.hint
    assert str(path) in fault.value.what
    return fault.value


# The bundled one


def test_a_part_of_its_grid_takes_its_cells():
    found = open_climatology("", GRID, ["tp", "t2m", "sp"])
    assert found is not None
    assert (found.name, found.period) == ("era5", "2000-01 to 2025-12")
    assert list(found.fields) == ["tp", "t2m"]
    assert found.fields["month"].values.tolist() == NUMBERS.tolist()
    for name, values in bundled(GRID).items():
        np.testing.assert_array_equal(found.fields[name].values, values)
    assert found.fields["t2m"].attrs["units"] == "K"


@pytest.mark.parametrize("west", [-190.0, 170.0, -10.0, 350.0])
def test_it_goes_across_the_dateline_and_greenwich(west):
    grid = Grid(np.arange(20.0, 24, 0.25), np.arange(west, west + 20, 0.25))
    found = open_climatology("", grid, NAMES)
    assert found is not None
    np.testing.assert_array_equal(found.fields["t2m"].values, bundled(grid)["t2m"])
    np.testing.assert_array_equal(found.fields["lon"].values, grid.lon)


def test_another_phase_is_interpolated_bilinearly():
    shifted = Grid(GRID.lat[:-1] + 0.125, GRID.lon[:-1] + 0.125)
    found = open_climatology("", shifted, ["t2m"])
    assert found is not None
    own = bundled(GRID)["t2m"].astype(float)
    corners = (own[:, i : i + 15, j : j + 23] for i in (0, 1) for j in (0, 1))
    np.testing.assert_allclose(found.fields["t2m"].values, sum(corners) / 4, rtol=1e-6)


def test_the_poles_and_the_whole_circle_are_covered():
    grid = Grid(np.arange(-89.875, 90, 0.25)[[0, 1]], np.arange(-180, 180, 0.25))
    found = open_climatology("", grid, ["t2m"])
    assert found is not None
    assert bool(found.fields["t2m"].notnull().all())


@pytest.mark.parametrize(("spacing", "used"), [(0.125, False), (0.2, True), (0.5, False)])
def test_by_default_it_serves_grids_of_about_its_spacing(spacing, used):
    grid = Grid(20 + spacing * np.arange(8), 100 + spacing * np.arange(8))
    assert (open_climatology("", grid, NAMES) is not None) == used
    asked = open_climatology("era5", grid, NAMES)
    assert asked is not None
    assert bool(asked.fields["t2m"].notnull().all())


def test_larger_cells_have_its_area_means():
    grid = Grid(np.arange(20.375, 23, 1.0), np.arange(100.375, 105, 1.0))
    found = open_climatology("era5", grid, ["t2m"])
    assert found is not None
    fine = Grid(np.arange(20.0, 23, 0.25), np.arange(100.0, 105, 0.25))
    own = xr.Dataset({"t2m": (("month", "lat", "lon"), bundled(fine)["t2m"])}, fine.coords())
    wanted = average_conservative(own, grid)["t2m"].values
    np.testing.assert_allclose(found.fields["t2m"].values, wanted, rtol=1e-6)


def test_other_variables_have_none():
    assert open_climatology("", GRID, ["sp"]) is None
    with pytest.raises(DpdmError, match="era5 has t2m, tp, and none of sp"):
        open_climatology("era5", GRID, ["sp"])


def test_none_is_none_and_an_unknown_name_is_refused():
    assert open_climatology("none", GRID, NAMES) is None
    with pytest.raises(DpdmError, match="no climatology era6") as fault:
        open_climatology("era6", GRID, NAMES)
    assert fault.value.hint == "Did you mean era5?"


@pytest.mark.parametrize("choice", ["", "era5", "none"])
def test_a_period_needs_a_file(choice):
    with pytest.raises(DpdmError, match="names none") as fault:
        open_climatology(choice, GRID, NAMES, period=("1991-01", "2020-12"))
    assert fault.value.code == 2


def test_a_period_has_a_year_or_more(path):
    with pytest.raises(DpdmError, match="shorter than a year") as fault:
        open_climatology(str(path), GRID, NAMES, period=("1991-01", "1991-11"))
    assert fault.value.code == 2


# The climate of a step


def weights(time: Any, step: int = 0, bounds: Any = None) -> np.ndarray:
    return month_weights(xr.DataArray(time, dims="time"), bounds, step)


def test_a_month_has_its_own_climate():
    time = xr.date_range("1999-11", periods=4, freq="MS")
    assert weights(time, 3).tolist() == [0, 1, *[0] * 10]
    assert weights(time[:1]).tolist() == [*[0] * 10, 1, 0]


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_months_of_other_calendars_too(calendar):
    time = xr.date_range("1999-11", periods=4, freq="MS", calendar=calendar, use_cftime=True)
    assert weights(time, 3).tolist() == [0, 1, *[0] * 10]


def test_a_season_has_that_of_its_months_by_days():
    ends = np.array([["2000-12", "2001-03"], ["2001-03", "2001-06"]], "M8[ns]")
    bounds = xr.DataArray(ends, dims=("time", "bnds"))
    found = weights(np.array(["2001-01-15", "2001-04-15"], "M8[ns]"), 0, bounds)
    np.testing.assert_allclose(found * 90.25, [31, 28.25, *[0] * 9, 31])


def test_a_year_and_no_date_have_the_annual_mean():
    year = weights(xr.date_range("2001-07-01", periods=3, freq="YS-JUL"), 1)
    np.testing.assert_allclose(year * 365.25, [31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    np.testing.assert_allclose(month_weights(None, None, 0), year)


def test_days_lie_between_the_middles_of_months():
    time = xr.date_range("2001-01-01", periods=365, freq="D")
    found = np.array([weights(time, step) for step in range(365)])
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[15].argmax() == 0
    assert found[15, 0] == pytest.approx(1)  # 16 January, noon
    assert found[0, [11, 0]] == pytest.approx([15 / 31, 16 / 31])
    assert found[150:180] @ np.arange(0.5, 12) == pytest.approx(
        np.interp(np.arange(150.5, 180), [135.5, 166, 196.5], [4.5, 5.5, 6.5])
    )


def test_hours_follow_one_another():
    time = xr.date_range("2001-01-20", periods=9, freq="6h")
    found = np.array([weights(time, step) for step in range(9)])
    np.testing.assert_allclose(np.diff(found[:, 1]), 0.25 / 29.625)


def test_the_state_is_the_mean_of_the_fields_and_keeps_gaps():
    values = np.arange(24.0).reshape(12, 1, 2)
    values[3, 0, 1] = np.nan
    fields = xr.Dataset({"t2m": (("month", "lat", "lon"), values)}, {"month": NUMBERS})
    climate = ReferenceClimatology("a", "", fields)
    april = xr.date_range("2001-04", periods=2, freq="MS")
    state = climate.state(xr.DataArray(april, dims="time"), None, 0)["t2m"]
    assert state.dims == ("lat", "lon")
    np.testing.assert_array_equal(state.values, [[6, np.nan]])
    assert np.isnan(climate.state(None, None, 0)["t2m"].values[0, 1])


# Files


@pytest.mark.filterwarnings("ignore::dpdm.errors.DpdmWarning")
def test_twelve_dated_months_in_any_order(path):
    given = monthly(first="2000-07")
    found = read(path, given)
    np.testing.assert_allclose(found.fields["t2m"].values, expected(), rtol=1e-7)
    shuffled = given.isel(time=np.random.default_rng(0).permutation(12))
    np.testing.assert_array_equal(read(path, shuffled).fields["t2m"].values, found.fields["t2m"])
    assert (found.name, found.period, len(found.sha256)) == ("normals.nc", "", 64)
    assert found.provenance["climatology"] == "normals.nc"


@pytest.mark.parametrize(
    ("dim", "numbers"),
    [
        *(("time", numbers) for numbers in (None, NUMBERS, NUMBERS - 1, NUMBERS[::-1])),
        *(("month", numbers) for numbers in (None, NUMBERS, NUMBERS[::-1])),
    ],
)
def test_twelve_undated_months_are_january_to_december(path, dim, numbers):
    given = monthly().drop_vars("time").rename(time=dim)
    if numbers is not None:
        order = np.argsort(np.argsort(numbers))
        given = given.isel({dim: order}).assign_coords({dim: numbers})
    with pytest.warns(DpdmWarning, match="monthly means are not stated"):
        found = read(path, given)
    np.testing.assert_allclose(found.fields["t2m"].values, expected(), rtol=1e-7)
    assert found.period == ""


def test_the_bounds_of_a_climatology_tell_its_years(path):
    given = monthly()
    starts = xr.date_range("1991-01", periods=12, freq="MS")
    ends = xr.date_range("2020-02", periods=12, freq="MS")
    given["climatology_bounds"] = (("time", "bnds"), np.stack([starts, ends], axis=1))
    given["time"].attrs["climatology"] = "climatology_bounds"
    given["time"].encoding["units"] = "days since 1990-01-01"
    assert read(path, given).period == "1991-01 to 2020-12"
    assert read(path, given, period=("1991", "2020")).period == "1991-01 to 2020-12"
    refused(path, given, "holds means of 1991-01 to 2020-12", period=("1981-01", "2010-12"))


def test_a_series_is_averaged_over_the_period(path):
    given = monthly(years=4)
    with pytest.warns(DpdmWarning, match="mean of all its months, 2001-01 to 2004-12"):
        whole = read(path, given)
    np.testing.assert_allclose(whole.fields["t2m"].values, expected() + 0.015, rtol=1e-7)
    assert whole.period == "2001-01 to 2004-12"
    part = read(path, given, period=("2002-01", "2003-12"))  # and no warning
    np.testing.assert_allclose(part.fields["t2m"].values, expected() + 0.015, rtol=1e-7)
    last = read(path, given, period=("2004", "2004"))
    np.testing.assert_allclose(last.fields["t2m"].values, expected() + 0.03, rtol=1e-7)
    assert last.period == "2004-01 to 2004-12"


def test_days_are_averaged_to_months(path):
    small = Grid(GRID.lat[:2], GRID.lon[:2])
    time = xr.date_range("2001-01-01", periods=365, freq="D")
    t2m = 280 + time.day.to_numpy()[:, None, None] + np.zeros((365, 2, 2))
    given = xr.Dataset({"tas": (DIMS, t2m, {"units": "K"})}, small.coords() | {"time": time})
    found = read(path, given, small, period=("2001-01", "2001-12"))
    means = 280 + (np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) + 1) / 2
    np.testing.assert_allclose(found.fields["t2m"].values[:, 0, 0], means, rtol=1e-7)


@pytest.mark.parametrize("dated", [True, False])
def test_one_field_serves_all_months(path, dated):
    given = monthly().isel(time=[6] if dated else 6, drop=not dated)
    with pytest.warns(DpdmWarning, match="its one field is used for all months"):
        found = read(path, given)
    np.testing.assert_allclose(found.fields["t2m"].values, np.repeat(expected()[6:7], 12, 0))
    refused(path, given, "holds one field", period=("1991", "2020"))


def test_units_names_and_codes_are_honoured(path):
    given = monthly(years=2).rename(t2m="warmth")
    given["warmth"] = (given["warmth"] - 273.15).assign_attrs(units="degC")
    given["warmth"][:, 0, 0] = -99
    given["warmth"].attrs["long_name"] = "temperature"
    chosen: dict[str, Any] = {
        "rename": {"t2m": "warmth", "tp": "rain"},  # rain is in the coarse file
        "units": {"tp": "mm/month"},
        "missing": {"": (-99.0,), "tp": (-1.0,)},
        "period": ("2001", "2002"),
    }
    fault = refused(path, given, "missing in 1 cells of land", **chosen)
    assert "latitude 20, longitude 100" in fault.what
    found = read(path, given.isel(lat=slice(1, None)), Grid(GRID.lat[1:], GRID.lon), **chosen)
    wanted = expected()[:, 1:] + 0.005
    np.testing.assert_allclose(found.fields["t2m"].values, wanted, rtol=1e-6)


def test_a_declared_unit_does_not_replace_that_of_the_file(path):
    found = read(path, monthly(years=2), units={"t2m": "degF"}, period=("2001", "2002"))
    np.testing.assert_allclose(found.fields["t2m"].values, expected() + 0.005, rtol=1e-7)
    bare = monthly(years=2)
    bare["t2m"] = (bare["t2m"] - 273.15).drop_attrs()
    found = read(path, bare, units={"t2m": "degC"}, period=("2001", "2002"))
    np.testing.assert_allclose(found.fields["t2m"].values, expected() + 0.005, rtol=1e-7)


def test_finer_files_are_averaged_and_shifted_ones_interpolated(path):
    fine = Grid(np.arange(19.9, 24.1, 0.05), np.arange(99.9, 106.1, 0.05))
    kept = {"period": ("2001", "2002")}
    found = read(path, monthly(fine, 2), **kept)
    own = xr.Dataset({"t2m": (("month", "lat", "lon"), expected(fine) + 0.005)}, fine.coords())
    wanted = average_conservative(own, GRID)["t2m"].values
    np.testing.assert_allclose(found.fields["t2m"].values, wanted, rtol=1e-6)
    shifted = Grid(np.arange(19.85, 24.2, 0.25), np.arange(99.85, 106.2, 0.25))
    found = read(path, monthly(shifted, 2), **kept)
    np.testing.assert_allclose(found.fields["t2m"].values, expected() + 0.005, rtol=1e-6)


def test_the_margin_is_read_as_far_as_the_file_reaches(path):
    inner = Grid(GRID.lat[2:-3], GRID.lon[4:-4])
    given = monthly(years=2)
    given.to_netcdf(path)
    found = open_climatology(str(path), inner, NAMES, period=("2001", "2002"), margin=(3, 3))
    assert found is not None
    wide = Grid(GRID.lat, GRID.lon[1:-1])
    assert Grid(found.fields["lat"].values, found.fields["lon"].values).is_same(wide)
    np.testing.assert_allclose(found.fields["t2m"].values, expected(wide) + 0.005, rtol=1e-7)


def test_missing_values_at_sea_stay_missing(path):
    coast = Grid(np.arange(8.0, 12, 0.25), np.arange(106.0, 112, 0.25))  # south of Vietnam
    given = monthly(coast, 2)
    sea = given["lon"] > 110
    found = read(path, given.where(~sea), coast, period=("2001", "2002"))
    np.testing.assert_array_equal(
        found.fields["t2m"].isnull().all("month").values[0], coast.lon > 110
    )
    refused(path, given.where(sea), "in \\d+ cells of land", coast, period=("2001", "2002"))


# Files that are refused


def test_another_variable_only(path):
    given = monthly().rename(t2m="msl")
    given["msl"] = (given["msl"] + 101000).assign_attrs(units="Pa")
    refused(path, given, "has none of the required variables t2m, tp; it has msl")


def test_anomalies(path):
    given = monthly(years=2)
    given["t2m"] = (given["t2m"] - 285).assign_attrs(units="K", long_name="temperature anomaly")
    refused(path, given, "t2m holds anomalies")


def test_a_smaller_grid_names_both_extents(path):
    given = monthly(Grid(GRID.lat, GRID.lon[:10]))
    fault = refused(path, given, "longitudes 99.875 to 102.375, and the target")
    assert "longitudes 99.875 to 105.875" in fault.what


def test_a_coarser_grid(path):
    coarse = Grid(np.arange(18.0, 27, 0.5), np.arange(98.0, 109, 0.5))
    refused(path, monthly(coarse), "latitude spacing of 0.5 degrees, the target of 0.25")


def test_an_unreadable_unit(path):
    given = monthly()
    given["t2m"].attrs["units"] = "warmish"
    refused(path, given, "warmish")


def test_implausible_values(path):
    given = monthly()
    given["t2m"].attrs["units"] = "degC"
    refused(path, given, "t2m")


def test_eleven_months(path):
    refused(path, monthly().isel(time=slice(11)), "it has no December")
    gaps = monthly(years=3).isel(time=np.isin(np.arange(36) % 12, [5, 6], invert=True))
    refused(path, gaps, "it has no June, July", period=("2001", "2003"))


@pytest.mark.parametrize(("freq", "word"), [("YS", "years"), ("QS-DEC", "seasons")])
def test_years_and_seasons(path, freq, word):
    given = monthly(years=2).isel(time=slice(8))
    given["time"] = xr.date_range("2000-12-01" if freq != "YS" else "2001", periods=8, freq=freq)
    refused(path, given, f"its steps are {word}")


def test_a_period_that_is_not_covered(path):
    given = monthly(years=2)
    fault = refused(path, given, "2001-01 to 2002-12", period=("1991-01", "2002-12"))
    assert "asks for 1991-01 to 2002-12" in fault.what
    unknown = monthly()
    refused(path, unknown, "twelve months of unknown years", period=("1991-01", "2020-12"))


def test_several_members(path):
    given = xr.concat([monthly(years=2)] * 2, "realization")
    refused(path, given, "holds 2 members")


def test_a_region_without_a_value(path):
    sea = Grid(np.arange(20.0, 24, 0.25), np.arange(160.0, 164, 0.25))
    given = monthly(sea, 2)
    fault = refused(path, given * np.nan, "no value|without", sea, period=("2001", "2002"))
    assert "t2m" in fault.what


def test_covered_means_are_missing_beyond_the_fields():
    own = xr.Dataset({"t2m": (("lat", "lon"), np.ones(GRID.shape))}, GRID.coords())
    coarse = Grid(np.arange(16.375, 28, 1.0), np.arange(98.375, 110, 1.0))
    found = average_covered(own, coarse)["t2m"].values
    np.testing.assert_allclose(found[np.isfinite(found)], 1)
    assert np.isfinite(found).sum() == 4 * 6
