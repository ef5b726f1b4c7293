"""Stations that are only scored: blocks of a lattice, and those of other files."""

import numpy as np
import pandas as pd
import pytest

from dpdm.config import parse_kilometres
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.observations.quality_control import merge_colocated
from dpdm.observations.stations import station_names
from dpdm.observations.withholding import (
    choose_blocks,
    keep_for_verification,
    number_blocks,
    withhold_stations,
)
from tests.helpers.station_tables import table

ALSO = "also in the files for verification"


def network(count: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return table(rng.uniform(31, 39, count), rng.uniform(121, 129, count))


def test_whole_blocks_are_withheld_near_the_share() -> None:
    with pytest.warns(DpdmWarning, match=r"of 300 stations \(0\.\d+\) are withheld, in \d+ of"):
        drawn = withhold_stations(network(), 0.2, 3, 100)
    withheld = (drawn["status"] == "withheld").to_numpy()
    blocks = number_blocks(drawn["lat"].to_numpy(), drawn["lon"].to_numpy(), 100)
    shares = pd.Series(withheld).groupby([*blocks.T]).mean()
    assert set(shares) == {0.0, 1.0}
    smallest = pd.Series(withheld).groupby([*blocks.T]).size().min()
    assert abs(withheld.sum() - 60) <= smallest  # no block is left that brings it nearer


@pytest.mark.filterwarnings("ignore::dpdm.errors.DpdmWarning")
def test_the_order_of_blocks_depends_on_the_seed_and_their_places_alone() -> None:
    """A station more in a far block, which is not taken, changes nothing elsewhere."""
    drawn = withhold_stations(network(), 0.2, 3, 100)
    shuffled = network().sample(frac=1, random_state=0)
    again = withhold_stations(shuffled, 0.2, 3, 100)["status"].sort_index()
    assert again.equals(drawn["status"])
    turned = network().assign(lon=network()["lon"] - 360)
    assert withhold_stations(turned, 0.2, 3, 100)["status"].equals(drawn["status"])
    assert not withhold_stations(network(), 0.2, 4, 100)["status"].equals(drawn["status"])


def test_blocks_are_as_large_as_stated_anywhere() -> None:
    """Each holds about the same area: random places of the sphere fill them evenly."""
    rng = np.random.default_rng(0)
    lat, lon = np.degrees(np.arcsin(rng.uniform(-1, 1, 200_000))), rng.uniform(-180, 180, 200_000)
    blocks = number_blocks(lat, lon, 2000)
    rows, counts = np.unique(blocks, axis=0, return_counts=True)
    inner = (rows[:, 0] > 0) & (rows[:, 0] < rows[:, 0].max())
    area = 4 * np.pi * 6371.0**2 / 200_000
    np.testing.assert_allclose(np.sqrt(counts[inner] * area), 2000, rtol=0.1)


@pytest.mark.parametrize(
    ("sizes", "share", "expected"),
    [([8, 1, 1], 0.2, [1, 2]), ([8, 2], 0.01, [1]), ([5, 5], 0.9, [0]), ([10], 0.5, [])],
)
def test_blocks_come_as_near_to_the_share_as_they_can(
    sizes: list[int], share: float, expected: list[int]
) -> None:
    ranks = np.arange(len(sizes)).astype(float)
    assert choose_blocks(np.array(sizes), ranks, share).tolist() == expected


def test_blocks_that_hold_all_stations_are_refused() -> None:
    with pytest.raises(DpdmError, match="All 2 stations lie in one block of 900 km"):
        withhold_stations(table([35, 35.1], 125.0), 0.5, 0, 900)
    spaceless = table(np.full(4, np.nan), np.nan, component="x", time=np.arange(4.0))
    with pytest.raises(DpdmError, match="latitudes and longitudes"):
        withhold_stations(spaceless, 0.5, 0, 100)


def test_a_length_needs_its_unit() -> None:
    assert parse_kilometres(" 12.5 km") == 12.5
    for text in ("100", "100m", "km", "-5km", "0km", "1e3km"):
        with pytest.raises(ValueError, match="as in 100km"):
            parse_kilometres(text)


def both(**rest: object) -> pd.DataFrame:
    """Rows 0 to 3 of one file, and row 4 of a file that is only scored."""
    rows = table([35, 35.05, 35.05, 36, 35.0001], 125.0, step=0, **rest)
    return rows.assign(station=["A", "A", "B", "C", "A"], verify=[False] * 4 + [True])


def test_what_both_files_have_is_scored_only() -> None:
    """The same name within 10 km, or any within one."""
    with pytest.warns(DpdmWarning, match="2 observations of 1 stations are also"):
        kept = keep_for_verification(both())
    assert list(kept["status"]) == [ALSO, ALSO, "", "", "verification"]
    assert "verify" not in kept


@pytest.mark.parametrize("change", [{"step": [0, 0, 0, 0, 1]}, {"variable": ["t2m"] * 4 + ["tp"]}])
def test_other_steps_and_variables_stay(change: dict[str, list[object]]) -> None:
    kept = keep_for_verification(both().assign(**change))
    assert list(kept["status"]) == ["", "", "", "", "verification"]


def test_nothing_is_left_to_assimilate() -> None:
    rows = both().iloc[[0, 1, 4]]
    with pytest.warns(DpdmWarning), pytest.raises(DpdmError, match="Every observation is also"):
        keep_for_verification(rows)


def test_rows_for_verification_are_neither_merged_nor_withheld() -> None:
    rows = both().iloc[[0, 3, 4]].assign(lat=[35, 36, 35])
    assert (merge_colocated(rows)["status"] == "").all()
    drawn = withhold_stations(both(), 0.99, 0)
    held = set(station_names(drawn[drawn["status"] == "withheld"]))
    assert drawn["status"].iloc[4] == ""
    assert len(held) == 2  # of three: one is left to assimilate
