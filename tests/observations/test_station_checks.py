"""Stations that are wrong as a whole: moved, in another unit, without heights, or twice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.observations.series_checks import check_network, check_series
from dpdm.observations.status import status_reasons
from dpdm.observations.table import read_observations
from tests.helpers.station_networks import at, network

KOREA = Path(__file__).parents[2] / "sample_data" / "korea_stations.csv"


def test_a_station_that_moves_by_two_degrees_is_two_and_is_reported() -> None:
    rows = network(5)
    rows.loc[at(rows, 7, 90, 90), "lat"] += 2.0
    with pytest.warns(
        DpdmWarning, match=r"of 1 of 40 stations changes \(s7 by 222 km from 1997-08\)"
    ):
        checked = check_network(rows, "all")
    assert (checked["status"] == "").mean() > 0.999


def test_an_observatory_that_moves_down_the_road_and_a_ship_are_no_faults() -> None:
    rows = network(5)
    rows.loc[at(rows, 7, 90, 90), "lat"] += 0.05
    rows.loc[at(rows, 8, 0, 180), "lon"] += np.linspace(0, 2, 180)
    assert (check_network(rows, "all")["status"] == "").mean() > 0.99


@pytest.mark.parametrize("part", [slice(None), slice(0, 60)])
def test_a_station_in_fahrenheit_is_not_used(part: slice) -> None:
    """Frost keeps them below what is impossible in degC."""
    rows = network(3, 10)
    rows["value"] -= 25.0
    wrong = at(rows, 3, 0, 120)[part]
    rows.loc[wrong, "value"] = (rows.loc[wrong, "value"] - 273.15) * 1.8 + 32 + 273.15
    checked = check_network(rows, "all")
    marked = checked["status"].str.startswith("unlike its neighbours: by +")
    assert marked[wrong].mean() > 0.8
    assert set(checked.loc[marked, "station"]) == {"s3"}
    assert (checked["status"].drop(at(rows, 3, 0, 120)) == "").mean() > 0.999


@pytest.mark.parametrize("factor", [10.0, 30.0, 0.04])
def test_a_station_with_rain_in_another_unit_is_not_used(factor: float) -> None:
    rows = network(3, 4, rain=True)
    rows["value"] += 4.0
    wrong = at(rows, 3, 0, 48)
    rows.loc[wrong, "value"] *= factor
    reasons = status_reasons(check_network(rows, "all"))
    assert reasons[wrong].isin(["unlike its neighbours", "spike"]).mean() > 0.9
    assert (reasons.drop(wrong) == "").mean() > 0.998


def test_values_that_are_impossible_in_a_mixed_unit_are_named(tmp_path: Path) -> None:
    text = KOREA.read_text().splitlines()
    seoul = [i for i, line in enumerate(text) if line.startswith("Seoul,")]
    for i in seoul:
        cells = text[i].split(",")
        text[i] = ",".join([*cells[:5], f"{float(cells[5]) + 273.15:.2f}", *cells[6:]])
    (tmp_path / "mixed.csv").write_text("\n".join(text))
    with pytest.raises(DpdmError, match="12 faults") as fault:
        read_observations([tmp_path / "mixed.csv"])
    assert f"line {seoul[0] + 1}: t2m is 27" in fault.value.details[0]
    assert "as if it were in K" in fault.value.details[0]


def test_stations_without_heights_are_judged_at_the_relief_and_counted() -> None:
    rows = read_observations([KOREA])
    rows.loc[rows["station"].isin(["Seoul", "Busan"]), "elevation"] = np.nan
    spike = rows.index[(rows["station"] == "Seoul") & (rows["variable"] == "t2m")][5]
    rows.loc[spike, "value"] += 12.0
    with pytest.warns(DpdmWarning, match="height of 2 of 46 stations is missing"):
        checked = check_network(rows, "all")
    assert list(checked.index[status_reasons(checked) == "spike"]) == [spike]
    assert (checked["status"] == "").sum() == len(rows) - 1


@pytest.mark.parametrize("rain", [False, True])
@pytest.mark.parametrize("shift", [0.0, 0.02])
def test_a_station_under_two_names_is_used_once(rain: bool, shift: float) -> None:
    """At one position the two would else be averaged, as if they were independent."""
    rows = network(2, 8, rain=rain)
    twin = rows.loc[at(rows, 3, 12, 60)].assign(station="twin")
    twin["lat"] += shift
    twin["row"] += 10_000
    twin["value"] = (twin["value"] + 0.004).round(2)
    both = pd.concat([rows, twin], ignore_index=True)
    checked = check_series(both)
    of = checked["station"] == "twin"
    expected = [f"duplicate of row {row} of a.csv" for row in twin["row"] - 10_000]
    assert list(checked.loc[of, "status"]) == expected
    assert (checked.loc[~of, "status"] == "").mean() > 0.998


def test_two_instruments_of_one_place_are_both_used() -> None:
    rows = network(2, 8)
    other = rows.loc[at(rows, 3, 0, 96)].assign(station="other")
    other["value"] += np.random.default_rng(0).normal(0, 0.2, 96).round(1)
    checked = check_series(pd.concat([rows, other], ignore_index=True))
    assert (checked["status"] == "").mean() > 0.999
