"""Checks of observations against a field: places, steps, merging, withholding, and Korea."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.statics import make_statics
from dpdm.observations.collocation import match_steps
from dpdm.observations.quality_control import (
    check_observations,
    count_statuses,
    merge_colocated,
)
from dpdm.observations.stations import station_names
from dpdm.observations.table import read_observations
from dpdm.observations.withholding import withhold_stations
from tests.helpers.station_tables import GLOBE, GRID, axis, relief, table

SAMPLES = Path(__file__).parents[2] / "sample_data"
EXACT = 1e-13  # sums of a few terms in float64


def test_only_what_lies_in_the_domains_cells_is_used():
    lat = [29.9, 30.0, 40.0, 40.1, 35, 35, 35]
    lon = [125, 120.0, 130.0, 125, 119.9, 130.1, 125 - 360]
    outside = (
        check_observations(table(lat, lon), GRID)["status"] == "outside the domain"
    ).tolist()
    assert outside == [True, False, False, True, True, True, False]


def test_the_globe_has_no_edge():
    used = check_observations(table([0, 10, 20, -89.9], [-0.1, 359.9, 180, -179.9]), GLOBE)
    assert (used["status"] == "").all()


def test_swapped_places_are_named():
    with pytest.raises(DpdmError, match="latitude and longitude look swapped"):
        check_observations(
            table([60.5, 62], [35, 36]), Grid(np.arange(30.5, 40), np.arange(55.5, 70))
        )
    with pytest.raises(DpdmError, match="2 outside the domain"):
        check_observations(
            table([60.5, 12], [35, 36]), Grid(np.arange(30.5, 40), np.arange(55.5, 70))
        )


def test_a_station_on_land_needs_land_within_a_cell():
    land = np.zeros(GRID.shape)
    land[5, 5] = 0.06
    places = table([35.5, 34.5, 33.4, 35.5, 33.4], [125.5, 126.5, 125.5, 123.9, 125.5])
    places["elevation"] = [10, 10, 10, 10, 0]
    found = check_observations(places, GRID, statics=relief(0.0, land))["status"]
    assert list(found) == ["", "", *["no land grid cell nearby"] * 2, ""]


def test_land_is_sought_across_the_seam():
    land = np.zeros(GLOBE.shape)
    land[18, 0] = 1.0
    fields = xr.Dataset({"land_fraction": (("lat", "lon"), land)})
    fields["topography"] = fields["land_fraction"] * 0
    places = table([2.5, 2.5], [-2.5, -7.6], elevation=5.0)
    found = check_observations(places, GLOBE, statics=fields)["status"]
    assert list(found) == ["", "no land grid cell nearby"]


def test_a_station_far_above_the_relief_is_marked():
    heights = [1990, 2510, 100, np.nan]
    places = table([35, 35, 36, 37], 125.0, elevation=heights)
    found = check_observations(places, GRID, statics=relief(1000.0, 1.0), relief=1000.0)["status"]
    assert list(found) == ["", "height off the relief", "", ""]


@pytest.mark.parametrize(
    ("stamps", "field", "expected"),
    [
        (["2012-01-31", "2012-02-01", "2013-01-01"], axis("2012-01-16", 12, "MS"), [-1, 0, 11]),
        (["2012-01-31T23", "2012-12-01", "2011-12-31"], axis("2012-01-01", 12, "MS"), [0, 11, -1]),
        (["2012-02-28", "2012-02-29"], axis("2012-01-01", 12, "MS", "noleap"), [1, 1]),
        (["2012-01-31", "2012-07-31"], axis("2012-01-16", 12, "30D", "360_day"), [0, 6]),
        (["2012-02-27T01", "2012-02-29T12"], axis("2012-02-26", 5, "D", "standard"), [1, 3]),
        (["2012-02-28T23", "2012-02-29"], axis("2012-02-27", 5, "D", "noleap"), [1, -1]),
        (["2012-01-01T02:59", "2012-01-01T03:01", "2012-01-02T22"],
         axis("2012-01-01", 8, "6h"), [0, 1, -1]),
        (["2012-07-15", "2012-07-16"], axis("2012-07-15", 1, "D"), [0, -1]),
        (["1999-05-01", "2001-12-31"], axis("1999-07-01", 4, "YS-JUL"), [0, 2]),
    ],
)  # fmt: skip
def test_a_stamp_finds_its_step(stamps, field, expected):
    assert (
        match_steps(pd.Series(pd.to_datetime(stamps, format="ISO8601")), field).tolist()
        == expected
    )


def test_a_lone_step_can_be_said_to_be_a_month():
    stamp = pd.Series(pd.to_datetime(["2012-07-03", "2012-08-01"]))
    assert match_steps(stamp, axis("2012-07-15", 1, "D"), period="month").tolist() == [0, -1]


def test_bounds_hold_their_start_and_not_their_end():
    ends = pd.to_datetime(["2012-01-01", "2012-01-11", "2012-01-21"])
    bounds = xr.DataArray(np.stack([ends[:-1], ends[1:]], 1), dims=("time", "bnds"))
    said = ["2011-12-31T23:59", "2012-01-01", "2012-01-10T23:59", "2012-01-11", "2012-01-21"]
    stamps = pd.Series(pd.to_datetime(said, format="ISO8601"))
    found = match_steps(stamps, axis("2012-01-06", 2, "10D"), bounds)
    assert found.tolist() == [-1, 0, 0, 1, -1]


def test_numbers_must_agree():
    model = xr.DataArray(0.025 * np.arange(65), dims="time")
    stamps = pd.Series([0.0, 0.2, 0.21, 1.6, np.nan, -0.025])
    assert match_steps(stamps, model).tolist() == [0, 8, -1, 64, -1, -1]
    with pytest.raises(DpdmError, match=r"numbers.*dates"):
        match_steps(stamps, axis("2012-01-01", 3, "D"))


def test_what_fits_no_step_is_marked():
    when = pd.to_datetime(["2012-07-01", "2013-07-01", None])
    found = check_observations(
        table([35, 36, 37], 125.0, time=when), GRID, axis("2012-01-01", 12, "MS")
    )
    assert list(found["status"]) == ["", "no step at that time", "no time"]
    assert list(found["step"]) == [6, -1, -1]
    lone = check_observations(table([35], 125.0, time=when[2:]), GRID, axis("2012-07-01", 1, "D"))
    assert list(lone["step"]) == [0]


def test_equal_errors_shrink_by_the_square_root_of_their_number():
    days = pd.date_range("2012-07-01", periods=4)
    values = table([35] * 4, 125.0, value=[280, 282, 284, 286], error=2.0, time=days)
    found = check_observations(values, GRID, axis("2012-07-01", 2, "MS"))
    assert found.loc[0, ["value", "error", "status"]].tolist() == [283.0, 1.0, ""]
    assert list(found["status"][1:]) == ["merged into row 1 of a.csv"] * 3
    assert count_statuses(found) == {"used": 1, "merged": 3}


def test_merging_is_the_optimal_update_one_by_one():
    """Oracle: the scalar Kalman filter with no prior, in sequence."""
    rng = np.random.default_rng(0)
    values, errors = rng.normal(280, 5, 6), rng.uniform(0.5, 3, 6)
    mean, variance = values[0], errors[0] ** 2
    for y, e in zip(values[1:], errors[1:], strict=True):
        gain = variance / (variance + e**2)
        mean, variance = mean + gain * (y - mean), (1 - gain) * variance
    found = merge_colocated(table([35] * 6, 125.0, value=values, error=errors))
    np.testing.assert_allclose(found.loc[0, "value"], mean, rtol=EXACT)
    np.testing.assert_allclose(found.loc[0, "error"], variance**0.5, rtol=EXACT)


def test_only_the_same_place_step_and_variable_merge():
    rows = table([35, 35.00001, 35.01, 35, 35], [125, 485, 125, 125, 125])
    rows["variable"] = ["t2m", "t2m", "t2m", "tp", "t2m"]
    rows.loc[4, "time"] = np.datetime64("2012-08-15")
    found = check_observations(rows, GRID, axis("2012-01-01", 12, "MS"))
    assert count_statuses(found) == {"used": 4, "merged": 1}
    assert found["status"][1] == "merged into row 1 of a.csv"


def test_components_and_trajectories_do_not_merge():
    rows = table([np.nan] * 4, np.nan, time=[0.0, 0.0, 0.0, 0.0])
    rows = rows.assign(component=["x", "y", "x", "x"], trajectory=[0, 0, 1, 0])
    found = check_observations(rows, time=xr.DataArray([0.0, 0.1], dims="time"))
    assert [status == "" for status in found["status"]] == [True, True, True, False]


def test_the_given_table_is_left_alone_and_checking_twice_changes_nothing():
    rows = table([35, 35, 60], 125.0, value=[280.0, 282, 284])
    before = rows.copy()
    once = check_observations(rows, GRID)
    pd.testing.assert_frame_equal(rows, before)
    pd.testing.assert_frame_equal(check_observations(once, GRID), once)


def test_why_nothing_is_left():
    rows = table([50, 51, 35], 125.0, time=np.datetime64("2020-01-01"))
    rows.loc[0, "status"] = "missing"
    reasons = "(?=.*1 missing)(?=.*1 outside the domain)(?=.*1 no step at that time)"
    with pytest.raises(DpdmError, match=f"is left of 3: {reasons}"):
        check_observations(rows, GRID, axis("2012-01-01", 12, "MS"))


def many() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    places = np.repeat(rng.uniform(31, 39, 40), 3)
    return table(places, places + 90, time=pd.date_range("2012-01-01", periods=120, freq="h"))


def test_stations_are_withheld_whole():
    drawn = withhold_stations(many(), 0.2, seed=3)
    by_station = drawn["status"].eq("withheld").groupby(station_names(drawn)).mean()
    assert set(by_station) == {0.0, 1.0}
    assert by_station.sum() == 8
    assert (withhold_stations(many(), 0.0, seed=3)["status"] == "").all()


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    drawn = withhold_stations(many(), 0.2, seed=3)
    shuffled = many().sample(frac=1, random_state=0)
    assert withhold_stations(shuffled, 0.2, seed=3)["status"].sort_index().equals(drawn["status"])
    assert not withhold_stations(many(), 0.2, seed=4)["status"].equals(drawn["status"])


def test_withholding_leaves_some_of_each():
    two = table([35, 36], 125.0)
    for share in (0.01, 0.99):
        assert count_statuses(withhold_stations(two, share, 0)) == {"used": 1, "withheld": 1}
    with pytest.raises(DpdmError, match="only one station"):
        withhold_stations(two.iloc[:1], 0.5, 0)
    with pytest.raises(DpdmError, match="share to withhold is 1"):
        withhold_stations(two, 1.0, 0)


def test_of_states_without_space_single_times_are_withheld():
    rows = table(np.full(10, np.nan), np.nan, component="x", trajectory=np.repeat([0.0, 1.0], 5))
    drawn = withhold_stations(rows.assign(time=np.tile(np.arange(5.0), 2)), 0.2, seed=3)
    assert count_statuses(drawn) == {"used": 8, "withheld": 2}


def test_where_nothing_is_left_the_hint_says_why():
    """The commonest reason has its own remedy; dates are shown where they never overlap."""
    early = pd.to_datetime(["1950-01-01", "1951-06-01"])
    with pytest.raises(DpdmError, match="2 no step") as fault:
        check_observations(table([35, 36], 125.0, time=early), GRID, axis("2000-01-01", 3, "MS"))
    assert "1950-01-01 to 1951-06-01, and the field is from 2000-01-01 to 2000-03-01" in (
        fault.value.hint
    )
    with pytest.raises(DpdmError, match="2 no time") as fault:
        check_observations(table([35, 36], 125.0, time=pd.NaT), GRID, axis("2000-01-01", 3, "MS"))
    assert "the column of times" in fault.value.hint


def test_a_name_tells_stations_apart_before_their_place():
    rows = table([35, 36, 37], 125.0, station=["A", "A", ""])
    assert list(station_names(rows)) == ["A", "A", "37.0 125.0"]


def test_korea_agrees_with_the_reanalysis():
    """46 stations' normals against ERA5's nearest cells: 1.2 K and 31 mm a month are relief's."""
    found = read_observations([SAMPLES / "korea_stations.csv"])
    assert found["station"].nunique() == 46
    assert len(found) == 46 * 12 * 2
    seoul = found[(found["station"] == "Seoul") & (found["time"].dt.month == 7)]
    assert seoul["lat"].unique().tolist() == [37.57]
    fine = open_fields(SAMPLES / "east_asia_fine.nc")
    grid = grid_of(fine)
    checked = check_observations(found, grid, fine["time"], statics=make_statics(grid))
    assert count_statuses(checked)["used"] >= 45 * 24
    assert list(checked["step"]) == list(checked["time"].dt.month - 1)
    for name, most in (("t2m", 1.3), ("tp", 1.1)):
        rows = checked[checked["variable"] == name]
        at = {dim: xr.DataArray(rows[dim], dims="obs") for dim in ("lat", "lon")}
        near = (
            fine[name].sel(at, method="nearest").isel(time=xr.DataArray(rows["step"], dims="obs"))
        )
        assert np.sqrt(np.mean((near.values - rows["value"]) ** 2)) < most
