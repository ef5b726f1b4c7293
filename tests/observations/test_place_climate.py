"""The climatology at stations: that of the cells around, at the height of the station."""

import numpy as np
import pytest

from dpdm.constants import LAPSE_RATE
from dpdm.fields.grid import Grid
from dpdm.fields.reference_climatology import bundled_climatology, open_bundled_climatology
from dpdm.fields.statics import make_statics, read_bundled_statics
from dpdm.observations.place_climate import station_climate

CELLS = Grid(np.array([35.0, 35.25]), np.array([137.0, 137.25]))


@pytest.mark.parametrize("variable", ["t2m", "tp"])
def test_in_the_middle_of_a_cell_it_is_that_of_the_cell(variable: str) -> None:
    bundled = open_bundled_climatology(CELLS, [variable])
    assert bundled is not None
    relief = make_statics(CELLS)["topography"].values
    found = station_climate(variable, CELLS.lat, CELLS.lon - 360, np.diag(relief))
    expected = bundled.fields[variable].values[:, [0, 1], [0, 1]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("variable", ["t2m", "tp"])
def test_between_cells_it_is_their_weighted_mean(variable: str) -> None:
    bundled = open_bundled_climatology(CELLS, [variable])
    assert bundled is not None
    found = station_climate(variable, np.array([35.1]), np.array([137.05]), np.array([np.nan]))
    expected = bundled.fields[variable].interp(lat=35.1, lon=137.05).values
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


def test_temperature_falls_with_height_and_rain_does_not() -> None:
    place = np.full(2, 35.1), np.full(2, 137.05), np.array([100.0, 1100.0])
    low, high = station_climate("t2m", *place).T
    np.testing.assert_allclose(low - high, 1000 * LAPSE_RATE)
    wet, dry = station_climate("tp", *place).T
    assert (wet == dry).all()


def test_it_goes_around_the_earth_and_ends_at_the_poles() -> None:
    lat, lon = np.array([51.5, 51.5, 90.0, -90.0]), np.array([-0.1, 359.9, 0.0, 359.99])
    found = station_climate("t2m", lat, lon, np.full(4, np.nan))
    assert (found[:, 0] == found[:, 1]).all()
    assert np.isfinite(found).all()
    assert found[6, 2] > found[0, 2]  # the North Pole is warmer in July
    assert found[6, 3] < found[0, 3]


def test_what_is_not_bundled_is_unknown() -> None:
    assert np.isnan(station_climate("sp", CELLS.lat, CELLS.lon, np.zeros(2))).all()


def test_relief_and_climatology_have_the_same_cells() -> None:
    relief, grid = read_bundled_statics(), bundled_climatology().grid
    np.testing.assert_allclose(relief["lat"], grid.lat)
    np.testing.assert_allclose(relief["lon"], grid.lon)
