"""Axes of whole periods: contiguous, of the standard calendar, in any year."""

import cftime
import numpy as np
import pytest
import xarray as xr

from dpdm.fields.step_axis import number_periods, period_axis
from dpdm.fields.time import period_of, step_intervals
from dpdm.observations.collocation import date_components

PERIODS = {"month": 30.5, "season": 91.3, "year": 365.2, "day": 1.0, "hour": 0.25}


@pytest.mark.parametrize("year", [1200, 1581, 1677, 1900, 2261, 2999])
@pytest.mark.parametrize("period", PERIODS)
def test_periods_follow_each_other_and_hold_their_stamps(period: str, year: int) -> None:
    days = PERIODS[period]
    stamp = np.array([cftime.datetime(year, 12, 30, 13, calendar="standard")], object)
    (first,) = number_periods(date_components(stamp), period, days)
    axis = period_axis(np.arange(first, first + 8), period, days)
    time, bounds = axis["time"], axis["time_bnds"]
    parts = date_components(time.values)
    np.testing.assert_array_equal(number_periods(parts, period, days), np.arange(first, first + 8))
    np.testing.assert_array_equal(bounds.values[1:, 0], bounds.values[:-1, 1])
    np.testing.assert_array_equal(time - bounds[:, 0], bounds[:, 1] - time)
    assert time.dt.calendar in ("standard", "proleptic_gregorian")
    if year != 1581:  # in October 1582 ten days are left out
        assert period_of(time, bounds) == period


def test_months_are_those_of_the_calendar() -> None:
    axis = period_axis(np.arange(12 * 1872, 12 * 1872 + 24), "month", 30.5)
    months = xr.date_range("1872-01", periods=25, freq="MS")
    np.testing.assert_array_equal(axis["time_bnds"][:, 0], months[:-1])
    np.testing.assert_array_equal(axis["time_bnds"][:, 1], months[1:])
    starts, ends = step_intervals(axis["time"])
    np.testing.assert_array_equal(np.stack([starts, ends], 1), axis["time_bnds"])


def test_one_calendar_reaches_across_the_years_that_numpy_has() -> None:
    plain, wide = (period_axis([12 * y for y in years], "month", 0) for years in
                   ((1678, 2261), (1677, 2000)))  # fmt: skip
    assert plain["time"].dtype.kind == "M"
    assert [str(date)[:10] for date in wide["time"].values] == ["1677-01-16", "2000-01-16"]
