"""Step changes of stations against their neighbours, and what is none."""

import numpy as np
import pytest

from dpdm.errors import DpdmWarning
from dpdm.observations.series import make_series
from dpdm.observations.series_checks import check_series
from dpdm.observations.step_changes import (
    find_step_changes,
    largest_step,
    noise_variance,
    split_at_steps,
)
from tests.helpers.station_networks import at, network


def test_a_station_that_moves_is_reported_and_used() -> None:
    rows = network(5)
    rows.loc[at(rows, 7, 90, 90), "value"] -= 1.5
    with pytest.warns(DpdmWarning, match=r"s7 199[67]-\d\d by -1.\d K\)"):
        checked = check_series(rows)
    noted = checked[checked["note"] != ""]
    assert set(noted["station"]) == {"s7"}
    assert len(noted) == 180
    assert (noted["status"] == "").mean() > 0.99
    np.testing.assert_array_equal(checked["value"], rows["value"])


def test_the_month_and_the_size_of_a_step_are_right() -> None:
    rows = network(5)
    rows.loc[at(rows, 7, 90, 90), "value"] += 2.0
    series = make_series(rows, "t2m")
    assert series is not None
    (step,) = find_step_changes(series, series.value)
    assert abs(step.month - (1997 * 12 + 6)) <= 3
    assert step.size == pytest.approx(2.0, abs=0.4)


def test_records_of_other_years_make_no_steps() -> None:
    """All warm by 3 K in 30 years, and half of the neighbours begin in the middle."""
    rows = network(8, 30, 20)
    rows["value"] += 3 * (rows["time"].dt.year - 1990) / 30
    late = rows["station"].str[1:].astype(int) % 2 == 1
    kept = rows[~late | (rows["time"].dt.year >= 2005)].reset_index(drop=True)
    series = make_series(kept, "t2m")
    assert series is not None
    assert find_step_changes(series, series.value) == []


def test_the_statistic_is_alexanderssons_where_months_are_independent() -> None:
    """T of differences in units of their standard deviation about the two means."""
    rng = np.random.default_rng(0)
    difference = rng.normal(size=2000) + np.repeat([0.0, 1.0], 1000)
    variance = noise_variance(difference)
    at_step, statistic = largest_step(difference, variance)
    z = (difference - difference.mean()) / rng.normal(size=2000).std()
    plain = at_step * z[:at_step].mean() ** 2 + (2000 - at_step) * z[at_step:].mean() ** 2
    assert variance == pytest.approx(1.0, rel=0.1)
    assert statistic == pytest.approx(plain, rel=0.1)
    assert abs(at_step - 1000) < 10


def test_autocorrelated_months_tell_less() -> None:
    """The variance of the mean of n values of an AR(1) process is (1 + r) / (1 - r) of 1 / n."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(5000)
    for month in range(1, 5000):
        noise[month] += 0.5 * noise[month - 1]
    assert noise_variance(noise) == pytest.approx(3 / 0.75, rel=0.15)
    assert noise_variance(np.zeros(60)) == 0


def test_few_series_without_a_step_have_one() -> None:
    """Of autocorrelated differences, fewer than 5 in 1000 here; the rate is about 1."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((1000, 170))
    for month in range(1, 170):
        noise[:, month] = 0.5 * noise[:, month - 1] + 0.87 * noise[:, month]
    assert sum(bool(split_at_steps(series[50:])) for series in noise) < 5


def test_several_steps_come_in_order_and_none_near_the_ends() -> None:
    rng = np.random.default_rng(2)
    series = rng.normal(0, 0.3, 300) + np.repeat([0.0, 2.0, -1.0], 100)
    found = split_at_steps(series)
    assert [abs(step[0] - place) < 4 for step, place in zip(found, (100, 200), strict=True)]
    assert [round(size) for _, size, _ in found] == [2, -3]
    assert split_at_steps(np.arange(47.0)) == []
    ends = np.r_[np.full(10, 5.0), rng.normal(0, 0.3, 200)]
    assert all(24 <= at_step <= 186 for at_step, _, _ in split_at_steps(ends))
