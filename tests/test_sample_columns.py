"""The bundled columns of air."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

COLUMNS = Path(__file__).parents[1] / "sample_data" / "nam_columns.nc"


@pytest.fixture(scope="module")
def columns() -> xr.Dataset:
    return xr.load_dataset(COLUMNS)


def test_the_columns_hang_together(columns: xr.Dataset) -> None:
    assert dict(columns.sizes) == {"column": 6045, "level": 19}
    assert columns["level"].attrs["units"] == "Pa"
    assert COLUMNS.stat().st_size < 600_000
    # Below ground there is nothing, above it everything.
    assert (columns["t"].notnull() == (columns["level"] <= columns["sp"])).all()


def test_pressure_and_altitude_of_the_ground_agree(columns: xr.Dataset) -> None:
    # By the hypsometric equation, with the lapse rate of the standard atmosphere.
    middle = columns["t2m"] + 0.0065 * columns["orography"] / 2
    sea = columns["sp"] * np.exp(9.80665 * columns["orography"] / (287.05 * middle))
    # The weather of the day lies between a hurricane remnant and a high.
    assert 98500 < float(sea.min()) < float(sea.max()) < 104000


def test_the_air_near_the_ground_is_like_that_above(columns: xr.Dataset) -> None:
    lowest = columns["t"].bfill("level").isel(level=0)
    assert float(np.abs(lowest - columns["t2m"]).median()) < 3.0


def test_the_parts_are_apart(columns: xr.Dataset) -> None:
    kind = columns["split"].values.reshape(65, 93)
    assert columns["split"].attrs["flag_meanings"] == "train validation test gap"
    assert np.bincount(kind.ravel()).tolist() == [3255, 399, 1302, 1089]
    for down, along in ((0, 1), (1, 0), (1, 1), (1, -1)):
        moved = np.roll(kind, (down, along), (0, 1))[1:, 1:-1]
        pairs = {frozenset(p) for p in zip(kind[1:, 1:-1].flat, moved.flat, strict=True)}
        assert all(3 in pair for pair in pairs if len(pair) > 1)
