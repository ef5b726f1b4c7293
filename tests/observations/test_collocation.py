"""What an observation is a mean over, in space and time, and whether the domain holds it."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.observations.collocation import footprint_reach, footprints_in_domain
from dpdm.observations.quality_control import check_observations, count_statuses
from dpdm.operators.geometry import globe_layout
from tests.helpers.station_tables import GLOBE, GRID, axis, relief, table

DEGREE = np.radians(EARTH_RADIUS)  # m


@pytest.mark.parametrize(
    ("lat", "lon", "factor", "held"),
    [
        (32, 122, 4, True),
        (31.999, 122, 4, False),
        (32, 121.999, 4, False),
        (38, 128, 4, True),
        (38.001, 128, 4, False),
        (35, 125, 10, True),
        (35, 125 - 360, 10, True),
        (35, 125, 11, False),
    ],
)
def test_a_block_ends_at_the_edge_or_before(lat, lon, factor, held):
    rows = table([lat, 35], [lon, 125], operator=["coarse", ""], factor=[factor, np.nan])
    assert footprints_in_domain(rows, GRID).tolist() == [held, True]


def test_a_disc_reaches_as_far_as_its_circle_does():
    """Oracle: a thousand points on the circle, by the formula of a great circle's end."""
    lat, lon, arc = 50.0, 10.0, np.radians(9.0)
    bearing = np.linspace(0, 2 * np.pi, 1001)
    phi = np.radians(lat)
    ends = np.arcsin(np.sin(phi) * np.cos(arc) + np.cos(phi) * np.sin(arc) * np.cos(bearing))
    beside = np.arctan2(
        np.sin(bearing) * np.sin(arc) * np.cos(phi), np.cos(arc) - np.sin(phi) * np.sin(ends)
    )
    rows = table([lat], [lon], operator="mean", radius=arc * EARTH_RADIUS)
    south, north, along = (each[0] for each in footprint_reach(rows, np.array([lat]), GRID))
    # A thousandth of the circle from its extreme, a circle of 9 degrees is off by 5e-5 degrees.
    found = np.degrees([ends.min(), ends.max(), beside.max()])
    np.testing.assert_allclose([south, north, along], found, atol=1e-3)


def test_discs_need_all_of_their_domain():
    rows = table([35, 35, 39.5], 125.0, operator="mean", radius=[2 * DEGREE, 6 * DEGREE, DEGREE])
    assert list(check_observations(rows, GRID)["status"]) == ["", *["outside the domain"] * 2]


def test_a_disc_may_lie_over_a_pole_that_the_domain_holds():
    rows = table([89, -85], [12, 359], operator="mean", radius=8 * DEGREE)
    assert footprints_in_domain(rows, GLOBE).all()
    assert not footprints_in_domain(rows, Grid(GLOBE.lat[:-1], GLOBE.lon))[0]
    assert not footprints_in_domain(rows, GRID).any()


def test_blocks_that_are_said_to_lie_inside_can_be_built():
    """The rule and the operator agree at every place of a domain's rim."""
    from dpdm.operators.interpolation import block_mean_operator

    layout = globe_layout(GRID.lat, GRID.lon)
    for lat in np.arange(30.5, 40, 0.5):
        for factor in (1, 3, 4):
            rows = table([lat], [125.0], operator="coarse", factor=factor)
            if footprints_in_domain(rows, GRID)[0]:
                assert block_mean_operator(layout, [lat], [125.0], factor).count == 1
            else:
                with pytest.raises(DpdmError, match="exceeds the domain"):
                    block_mean_operator(layout, [lat], [125.0], factor)


def test_land_and_relief_are_asked_of_points_alone():
    rows = table([35] * 3, 125.0, elevation=900.0, operator=["", "point", "mean"], radius=1e4)
    found = check_observations(rows, GRID, statics=relief(0.0, 0.0), relief=500.0)["status"]
    assert list(found) == ["no land grid cell nearby"] * 2 + [""]


@pytest.mark.parametrize(
    ("begin", "end", "status"),
    [
        ("2012-07-01", "2012-08-01", ""),
        ("2012-07-01", "2012-07-31T23:00", ""),
        ("2012-07-15", "2012-07-15", ""),
        ("2012-07-01", None, ""),
        ("2012-07-01", "2012-08-02", "a mean over several steps"),
        ("2012-12-01", "2013-02-01", "a mean over several steps"),
        ("2013-07-01", "2013-08-01", "no step at that time"),
    ],
)
def test_a_mean_over_time_belongs_to_one_step(begin, end, status):
    when = {"time": pd.to_datetime([begin, "2012-07-01"]), "end": pd.to_datetime([end, None])}
    found = check_observations(table([35, 36], 125.0, **when), GRID, axis("2012-01-01", 12, "MS"))
    assert list(found["status"]) == [status, ""]


def test_trajectories_may_be_seen_over_several_steps():
    rows = table([np.nan] * 3, np.nan, time=[0.0, 0.1, 0.0], end=[0.3, np.nan, 0.2])
    found = check_observations(
        rows.assign(component="x"), time=xr.DataArray(np.arange(5) / 10, dims="time")
    )
    assert list(found["last"]) == [3, 1, 2]
    assert count_statuses(found) == {"used": 3}


@pytest.mark.parametrize(
    ("end", "what"), [("2012-06-01", "row 1 is a mean from 2012-07-01"), (3.0, "ends at 3.0")]
)
def test_an_end_that_makes_no_sense_is_refused(end, what):
    ends = pd.Series([end]) if isinstance(end, float) else pd.to_datetime([end])
    rows = table([35], 125.0, time=pd.to_datetime(["2012-07-01"])).assign(end=ends)
    with pytest.raises(DpdmError, match=what):
        check_observations(rows, GRID, axis("2012-01-01", 12, "MS"))


def test_only_what_has_a_mean_is_merged():
    """Two directions around north have none; blocks of other sizes are not the same."""
    operator = ["", "point", "coarse", "coarse", "coarse", "direction", "direction"]
    factor = [np.nan, np.nan, 2, 2, 4, np.nan, np.nan]
    found = check_observations(table([35] * 7, 125.0, operator=operator, factor=factor), GRID)
    assert [status == "" for status in found["status"]] == [True, True, True, False, *[True] * 3]
