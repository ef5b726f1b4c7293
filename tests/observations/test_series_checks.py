"""Observations compared with one another: what is wrong is found, and what is right is kept."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpdm.errors import DpdmWarning
from dpdm.observations.series import make_series, neighbour_values, row_median
from dpdm.observations.series_checks import (
    check_network,
    check_rows,
    check_series,
    least_run,
)
from dpdm.observations.status import status_reasons
from dpdm.observations.table import read_observations
from dpdm.observations.usual_difference import running_median
from tests.helpers.station_networks import at, network
from tests.helpers.station_tables import table


def reasons(rows: pd.DataFrame) -> list[str]:
    return list(status_reasons(rows))


@pytest.mark.parametrize("rain", [False, True])
@pytest.mark.parametrize("years", [1, 12])
def test_clean_networks_raise_fewer_than_one_alarm_in_a_thousand(rain: bool, years: int) -> None:
    checked = pd.concat(
        [check_network(network(seed, years, rain=rain), "all") for seed in range(3)]
    )
    assert (checked["status"] != "").mean() < 1e-3
    assert "note" not in checked or (checked["note"] == "").all()


def test_the_tropics_repeat_values_by_chance() -> None:
    """Monthly means that vary by a few tenths are often equal, and are no stuck instrument."""
    rng = np.random.default_rng(0)
    rows = network(0, 20, 10)
    rows["value"] = 300 + rng.normal(0, 0.25, len(rows)).round(1)
    four = check_series(rows)
    assert (four["status"] != "").mean() < 1e-3


def test_of_equal_rows_one_is_used_and_of_others_none() -> None:
    rows = table([35.0] * 6, 125.0, [280.0, 280.04, 281, 282, 282, 290]).assign(
        station=["A", "A", "B", "B", "B", "C"]
    )
    checked = check_rows(rows)
    assert list(checked["status"]) == [
        "", "duplicate of row 1 of a.csv", *["ambiguous: 281 and 282 at one time"] * 3, "",
    ]  # fmt: skip


def test_values_without_a_name_may_be_those_of_two_instruments() -> None:
    rows = table([35.0] * 3, 125.0, [280.0, 281.0, 280.0])
    assert reasons(check_rows(rows)) == ["", "", "duplicate"]


@pytest.mark.parametrize(
    "change",
    [
        {"time": pd.to_datetime(["2012-07-15", "2012-07-16"])},
        {"variable": ["t2m", "tp"]},
        {"lat": [35.0, 35.01]},
        {"pressure": [70000.0, 85000.0]},
        {"end": pd.to_datetime(["2012-07-16", "2012-08-01"])},
        {"operator": ["mean", "mean"]},
        {"verify": [False, True]},
    ],
)
def test_other_times_places_and_kinds_are_no_duplicates(change: dict[str, object]) -> None:
    rows = table([35.0] * 2, 125.0, station="A").assign(**change)
    assert reasons(check_rows(rows)) == ["", ""]


@pytest.mark.parametrize("rain", [False, True])
def test_a_value_that_is_repeated_is_marked(rain: bool) -> None:
    rows = network(1, rain=rain)
    rows.loc[at(rows, 3, 30, 6), "value"] = 5.0 if rain else 285.0
    checked = check_series(rows)
    assert list(checked.index[checked["status"] != ""]) == list(at(rows, 3, 30, 6))
    assert set(checked.loc[at(rows, 3, 30, 6), "status"]) == {"repeated value: 6 in succession"}


def test_four_equal_months_are_enough_in_a_cold_climate() -> None:
    rows = network(1)
    rows.loc[at(rows, 3, 30, 4), "value"] = 285.0
    assert reasons(check_series(rows.loc[at(rows, 3, 0, 180)])).count("repeated value") == 4
    rows.loc[at(rows, 3, 30, 4), "value"] = [285.0, 285.0, 285.0, 286.0]
    assert not reasons(check_series(rows.loc[at(rows, 3, 0, 180)])).count("repeated value")


def test_totals_of_months_are_equal_whatever_their_length() -> None:
    rows = network(1, rain=True)
    stuck = at(rows, 3, 30, 6)
    rows.loc[stuck, "value"] = 90 / rows.loc[stuck, "time"].dt.days_in_month
    assert reasons(check_series(rows).loc[stuck]) == ["repeated value"] * 6


def test_a_station_that_is_stuck_throughout_is_found() -> None:
    rows = network(1)
    rows.loc[at(rows, 3, 0, 180), "value"] = 285.0
    assert set(reasons(check_series(rows).loc[at(rows, 3, 0, 180)])) == {"repeated value"}


def test_zeros_are_marked_among_wet_neighbours_only() -> None:
    """A year of zeros of one station is false; a year of zeros of all is a drought."""
    rows = network(2, rain=True)
    rows.loc[at(rows, 3, 24, 12), "value"] = 0.0
    drought = rows["time"].dt.year == 1999
    rows.loc[drought, "value"] = 0.0
    checked = check_series(rows)
    marked = np.array(reasons(checked.loc[at(rows, 3, 24, 12)]))
    assert (marked == "dry among wet neighbours").sum() >= 8
    assert (checked.loc[drought, "status"] == "").all()
    assert (checked["status"] != "").sum() <= 13


@pytest.mark.parametrize(("rain", "size"), [(False, 10.0), (False, -10.0), (True, 120.0)])
def test_spikes_are_found(rain: bool, size: float) -> None:
    rows = network(3, rain=rain)
    wrong = np.random.default_rng(0).choice(len(rows), 40, replace=False)
    rows.loc[wrong, "value"] += size
    checked = check_series(rows)
    spikes = np.flatnonzero(status_reasons(checked) == "spike")
    assert np.isin(wrong, spikes).mean() >= 0.95
    assert len(set(spikes) - set(wrong)) <= 3
    assert checked["status"].iloc[spikes[0]].startswith(f"spike: {'-' if size < 0 else '+'}")


KOREA = Path(__file__).parents[2] / "sample_data" / "korea_stations.csv"


@pytest.mark.parametrize(("months", "size", "least"), [(12, 5, 0.6), (1, 10, 0.7)])
def test_spikes_of_short_records_are_found_by_the_climatology(
    months: int, size: float, least: float
) -> None:
    """Of a station's single year, and of a single month, no normals are known."""
    rows = read_observations([KOREA])
    rows = rows[(rows["variable"] == "t2m") & (rows["time"].dt.month <= months)]
    rows = rows.reset_index(drop=True)
    assert (check_series(rows)["status"] == "").all()
    rng = np.random.default_rng(0)
    wrong = rng.choice(len(rows), 4 * months, replace=False)
    rows.loc[wrong, "value"] += size * rng.choice([-1, 1], len(wrong))
    spikes = status_reasons(check_series(rows)) == "spike"
    assert spikes[wrong].mean() >= least
    assert spikes.sum() == spikes[wrong].sum()


def test_a_single_month_is_compared_at_one_height() -> None:
    """The lapse rate explains a mountain of 3000 m, and not a valley that is as cold."""
    rows = network(4, 1).iloc[:40]
    rows.loc[[0, 1], "elevation"] = [3000.0, 10.0]
    rows.loc[[0, 1], "value"] = rows["value"].median() - 0.0065 * 3000
    assert reasons(check_series(rows)) == ["", "spike"] + [""] * 38


def test_a_station_that_moves_is_not_marked_from_then_on() -> None:
    rows = network(5)
    rows.loc[at(rows, 7, 90, 90), "value"] += 4.0
    with pytest.warns(DpdmWarning, match="t2m of 1 of 40 stations changes by a step"):
        checked = check_series(rows)
    assert (checked["status"] != "").sum() <= 2


def test_too_few_neighbours_tell_nothing() -> None:
    rows = network(6, stations=4)
    rows.loc[at(rows, 0, 20), "value"] += 20
    assert (check_series(rows)["status"] == "").all()


def test_neighbours_are_the_nearest_that_have_a_value() -> None:
    rows = table([35, 35.1, 35.2, 35.3, 39.0], 125.0, [1.0, 2, 3, 4, 5])
    series = make_series(rows.assign(variable="tp"), "tp")
    assert series is not None
    value = np.where(series.value == 2, np.nan, series.value)
    near = neighbour_values(series, value, np.array([0, 4]))
    assert near[:, :3].tolist()[0] == [3.0, 4.0, pytest.approx(np.nan, nan_ok=True)]
    assert np.isnan(near[1]).all()  # 400 km away


def test_levels_of_checks() -> None:
    rows = network(7, 2)
    rows.loc[at(rows, 3, 5), "value"] += 60
    twice = pd.concat([rows, rows.iloc[:1]], ignore_index=True)
    assert check_network(twice, "none") is twice
    assert set(reasons(check_network(twice, "basic"))) == {"", "duplicate"}
    assert set(reasons(check_network(twice, "all"))) == {"", "duplicate", "spike"}


def test_rows_for_verification_are_neighbours_of_one_another_only() -> None:
    """What is only scored must not decide what is assimilated."""
    rows = network(7, 2)
    rows.loc[at(rows, 3, 5), "value"] += 60
    alone = rows.assign(verify=rows["station"] != "s3")
    assert (check_network(alone, "all")["status"] == "").all()
    assert list(check_network(alone, "all").index) == list(rows.index)


def test_what_has_no_date_or_place_is_left_alone() -> None:
    states = table([np.nan] * 3, np.nan, component="x", time=[0.0, 0.1, 0.1], trajectory=0.0)
    states["value"] = [1.0, 2.0, 3.0]
    assert (check_network(states, "all")["status"] == "").all()


@pytest.mark.parametrize("case", ["no heights", "no rain", "one station", "one cell", "one row"])
def test_poor_networks_are_left_alone(case: str) -> None:
    rows = network(9, 6, 12, rain=case == "no rain")
    if case == "no heights":
        rows["elevation"] = np.nan
    if case == "no rain":
        rows["value"] = 0.0
    if case == "one cell":
        rows[["lat", "lon"]] = 35.0
    if case == "one station":
        rows = rows[rows["station"] == "s0"]
    if case == "one row":
        rows = rows.iloc[:1]
    assert (check_network(rows, "all")["status"] == "").mean() > 0.999


def test_medians_are_numpys() -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random((50, 9)) < 0.4, np.nan, rng.normal(size=(50, 9)))
    values[0, 1:] = np.nan
    np.testing.assert_allclose(row_median(values), np.nanmedian(values, axis=1))
    assert np.isnan(row_median(np.full((2, 3), np.nan))).all()
    station, value = np.repeat([0, 2], [40, 30]), rng.normal(size=70)
    expected = [np.median(value[max(0, i - 12) : min(40, i + 13)]) for i in range(40)]
    np.testing.assert_allclose(running_median(station, value)[:40], expected)
    last = [np.median(value[max(40, i - 12) : i + 13]) for i in range(40, 70)]
    np.testing.assert_allclose(running_median(station, value)[40:], last)


def test_longer_runs_are_needed_where_values_repeat() -> None:
    assert least_run(np.array([1e-4, 0.01, 0.05, 0.2])).tolist() == [4, 4, 5, 9]
