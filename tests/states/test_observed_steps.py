"""The steps that observations have, and those of a period."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.time import time_labels
from dpdm.prior.model_card import ModelCard
from dpdm.states.observed_steps import observed_axis, period_steps, steps_between
from tests.helpers.station_tables import GRID, table

DATES = ["1872-03-01", "1872-01-15", "1872-01-20", "1874-12-31"]


def card(cadence: float = 30.5, period: str = "") -> ModelCard:
    return ModelCard((1, 1), (4, 4), 32, cadence, (0.002, 80.0), {}, period=period)


def rows(dates: Any = DATES, **rest: Any) -> pd.DataFrame:
    made = table([35.0] * len(dates), 125.0)
    return made.assign(time=np.array(dates, "M8[ns]")).assign(**rest)


def labels(axis: xr.Dataset | None) -> list[str]:
    assert axis is not None
    return [label[:10] for label in time_labels(axis)]


def test_the_steps_are_the_months_with_an_observation() -> None:
    months = labels(observed_axis(rows(), card(), GRID))
    assert months == ["1872-01-16", "1872-03-16", "1874-12-16"]
    days = observed_axis(rows(), card(1.0), GRID)
    assert labels(days) == sorted(DATES)
    assert labels(observed_axis(rows(), card(365.2), GRID)) == ["1872-07-02", "1874-07-02"]


@pytest.mark.parametrize(
    "rest",
    [
        {"lat": [35.0, 50.0, 50.0, 35.0]},
        {"status": ["", "missing", "impossible value", ""]},
        {"verify": [False, True, True, False]},
    ],
    ids=["outside", "not usable", "only scored"],
)
def test_months_without_one_that_can_be_used_are_no_steps(rest: dict[str, Any]) -> None:
    assert labels(observed_axis(rows(**rest), card(), GRID)) == ["1872-03-16", "1874-12-16"]


def test_without_any_that_can_be_used_the_steps_are_those_of_all() -> None:
    assert len(labels(observed_axis(rows(status="missing"), card(), GRID))) == 3


def test_means_over_seasons_are_of_seasons() -> None:
    ends = np.array(["1872-06-01", "1872-04-15", "1872-04-20", "1875-03-31"], "M8[ns]")
    axis = observed_axis(rows(end=ends), card(), GRID)
    assert axis is not None
    assert str(axis["time_bnds"].values[0, 0])[:10] == "1871-12-01"
    assert labels(axis) == ["1872-01-15", "1872-04-16", "1875-01-15"]


def test_without_dates_there_is_no_axis() -> None:
    assert observed_axis(rows(time=np.datetime64("NaT", "ns")), card(), GRID) is None
    assert observed_axis(rows(), card(0.0), GRID) is None
    with pytest.raises(DpdmError, match=r"are numbers, as 3\.5 is"):
        observed_axis(rows(time=3.5), card(), GRID)


@pytest.mark.parametrize(
    ("dates", "cadence", "count"),
    [
        (("1872", "1873"), 30.5, 24), (("1872-02", "1872-02"), 1.0, 29),
        (("1872-02-28", "1872-03"), 1.0, 33), (("1500-12", "1501-01"), 30.5, 2),
        (("1872-01", "1874-12"), 365.2, 3), (("1872-01-01", "1872-01-01"), 0.25, 4),
    ],
)  # fmt: skip
def test_a_period_has_all_its_steps(dates: tuple[str, str], cadence: float, count: int) -> None:
    assert period_steps(dates, card(cadence)).sizes["time"] == count


def test_a_period_that_cannot_be_is_refused() -> None:
    with pytest.raises(DpdmError, match="1873-02-29 is not a date"):
        period_steps(("1873-02-29", "1874"), card())
    with pytest.raises(DpdmError, match="without dates"):
        period_steps(("1873", "1874"), card(0.0))
    with pytest.raises(DpdmError, match=r"there are .* steps of the prior"):
        period_steps(("0001", "9999"), card(0.25))


def test_dates_select_steps_and_refuse_none() -> None:
    fields = period_steps(("1872", "1873"), card())
    assert steps_between(fields, ("1872-12", "1873-01")).tolist() == [11, 12]
    assert steps_between(fields, ("1872-12-16", "1873")).tolist() == list(range(11, 24))
    with pytest.raises(DpdmError, match="from 1872-01-16 to 1873-12-16"):
        steps_between(fields, ("1900", "1901"))
    with pytest.raises(DpdmError, match="no dated ones"):
        steps_between(fields.isel(time=0, drop=True), ("1900", "1901"))
