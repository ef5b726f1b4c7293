"""What a step stands for: its interval, its period, its date and its label."""

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.time import (
    is_within,
    period_of,
    step_dates,
    step_days,
    step_intervals,
    step_labels,
    step_length,
    step_months,
    step_years,
)

CALENDARS = ("standard", "noleap", "360_day")
TWELVE = [f"2012-{month:02d}" for month in range(1, 13)]


def axis(first: str, count: int, freq: str, calendar: str = "standard") -> xr.DataArray:
    return xr.DataArray(
        xr.date_range(first, periods=count, freq=freq, calendar=calendar), dims="time"
    )


def cells(
    first: str, count: int, freq: str, at: float, calendar: str = "standard"
) -> tuple[xr.DataArray, xr.DataArray]:
    """Return stamps at a fraction of their intervals, and the bounds of those."""
    edges = axis(first, count + 1, freq, calendar).values
    starts, ends = edges[:-1], edges[1:]
    stamps = starts if at == 0 else ends if at == 1 else starts + (ends - starts) / 2
    bounds = xr.DataArray(np.stack([starts, ends], 1), dims=("time", "bnds"))
    return xr.DataArray(stamps, dims="time"), bounds


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("at", [0, 0.5, 1])
def test_with_bounds_a_step_is_of_its_interval_wherever_it_is_stamped(at, calendar):
    time, bounds = cells("2012-01-01", 12, "MS", at, calendar)
    assert period_of(time, bounds) == "month"
    assert step_labels(time, bounds) == TWELVE
    assert step_months(time, bounds).tolist() == list(range(1, 13))
    assert set(step_years(time, bounds)) == {2012}


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize("freq", ["MS", "ME"])
def test_without_bounds_stamps_are_taken_at_their_word(freq, calendar):
    time = axis("2012-01-01", 12, freq, calendar)
    assert (period_of(time), step_labels(time)) == ("month", TWELVE)


def test_the_middle_of_months_are_months():
    assert step_labels(cells("2012-01-01", 12, "MS", 0.5)[0]) == TWELVE


@pytest.mark.parametrize(
    ("first", "freq", "count", "expected"),
    [
        ("2012-01-01T03", "3h", 5, "hour"),
        ("2012-01-01T12", "D", 5, "day"),
        ("2012-01-01", "5D", 30, ""),
        ("2012-01-15", "653h", 30, ""),  # 27 days and 5 hours
        ("2012-01-15", "28D", 26, ""),
        ("2012-01-15", "30D", 30, ""),
        ("2012-01-16", "QS-JAN", 5, "season"),
        ("2012-01-01", "YS", 5, "year"),
        ("2012-07-01", "YS-JUL", 5, "year"),
        ("2012-12-31", "YE", 5, "year"),
        ("2012-10-01", "YS-OCT", 5, "month"),  # one month of each year
        ("2012-01-01", "10YS", 5, ""),
        ("2012-01-01", "MS", 1, ""),
    ],
)
def test_the_spacing_of_stamps_shows_the_period(first, freq, count, expected):
    assert period_of(axis(first, count, freq)) == expected


@pytest.mark.parametrize(
    ("freq", "expected"),
    [("h", "hour"), ("D", "day"), ("MS", "month"), ("QS-DEC", "season"), ("YS", "year"),
     ("YS-OCT", "year"), ("10D", ""), ("28D", ""), ("30D", ""), ("10YS", "")],
)  # fmt: skip
@pytest.mark.parametrize("count", [1, 6])
def test_bounds_show_the_period_of_a_lone_step_too(freq, expected, count):
    time, bounds = cells("2012-01-08", count, freq, 0.5)
    assert period_of(time, bounds) == expected


@pytest.mark.parametrize("calendar", CALENDARS)
def test_gaps_do_no_harm(calendar):
    months = axis("2000-01-16", 48, "MS", calendar)
    kept = [i for i in range(48) if i % 12 in (5, 6, 7) or i < 4]
    assert period_of(months[kept]) == "month"
    july = months[6::12]
    assert period_of(
        july, xr.DataArray(np.stack([july, months[7::12]], 1), dims=("time", "b"))
    ) == ("month")


def test_files_stamped_in_two_ways_are_still_months():
    first, middle = axis("2012-01-01", 6, "MS"), cells("2012-07-01", 6, "MS", 0.5)[0]
    both = xr.DataArray(np.concatenate([first.values, middle.values]), dims="time")
    assert (period_of(both), step_labels(both)) == ("month", TWELVE)


def test_a_stamp_within_its_interval_stays_the_date_of_the_step():
    time, bounds = cells("2012-01-01", 3, "MS", 0.5)
    assert step_dates(time, bounds).values.tolist() == time.values.tolist()
    start, bounds = cells("2011-12-31T18", 3, "D", 0)
    assert step_labels(start, bounds) == ["2011-12-31", "2012-01-01", "2012-01-02"]


def test_bounds_that_miss_midnight_or_the_last_day_are_months_all_the_same():
    time, bounds = cells("2012-01-01", 12, "MS", 0)
    for wrong in (bounds - np.timedelta64(6, "h"), bounds.copy(data=bounds.values - [
        np.timedelta64(0, "D"), np.timedelta64(1, "D")])):  # fmt: skip
        assert step_labels(time, wrong) == TWELVE
        assert step_days(time, wrong).values.tolist() == time.dt.days_in_month.values.tolist()


def test_a_winter_is_of_the_year_of_its_middle():
    time, bounds = cells("2011-12-01", 4, "QS-DEC", 0)
    assert step_labels(time, bounds) == ["2012-01", "2012-04", "2012-07", "2012-10"]
    assert step_days(time, bounds).values.tolist() == [91, 92, 92, 91]


@pytest.mark.parametrize("calendar", CALENDARS)
@pytest.mark.parametrize(
    ("first", "freq", "lengths"),
    [
        ("2012-01-16", "MS", [29, 31, 30]),
        ("2012-02-28T12", "D", [1, 1, 1]),
        ("2012-07-01", "YS-JUL", [366, 365, 365]),
        ("2012-03-01", "5D", [5, 5, 5]),
        ("2012-03-01", "6h", [0.25, 0.25, 0.25]),
    ],
)
def test_intervals_follow_from_stamps_where_there_are_no_bounds(first, freq, lengths, calendar):
    time = axis(first, 3, freq, calendar)
    starts, ends = step_intervals(time)
    assert ((starts <= time.values) & (time.values < ends)).all()
    assert (ends[:-1] == starts[1:]).all()
    if calendar == "standard":
        assert step_days(time).values.tolist() == lengths


def test_times_that_are_no_dates_have_no_period():
    assert period_of(xr.DataArray(np.arange(3.0), dims="time")) == period_of(None) == ""
    assert step_length(None) == 0.0


@pytest.mark.parametrize(
    ("last", "expected"), [("2012-02", True), ("2012", True), ("2012-01", False), ("", True)]
)
def test_periods_hold_their_ends(last, expected):
    assert is_within("2012-02", "2012-01", last) is expected
