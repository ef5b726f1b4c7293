"""The steps of a record from which laws are estimated.

A law belongs to the stations and to the season, not to the steps that are analysed: it is
estimated from steps that are spread over the whole record, so that the analysis of a month is the
same alone and among others.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from dpdm.assimilate.anomaly_law import SEASONS, season_of
from dpdm.assimilate.law_estimation import MAX_STEPS
from dpdm.fields.step_axis import number_periods
from dpdm.fields.time import is_dated, step_months
from dpdm.observations.collocation import date_components
from dpdm.observations.stations import is_for_verification, station_names
from dpdm.observations.status import ObsStatus, accept, has_status
from dpdm.states.climatological_background import climate_fields
from dpdm.states.fields import FieldSpace
from dpdm.states.observed_steps import observed_axis, observed_period

RECORD = (ObsStatus.ASSIMILATED, ObsStatus.NO_STEP, ObsStatus.OTHER_STEP)


def sample_record(space: FieldSpace, table: pd.DataFrame) -> tuple[FieldSpace, pd.DataFrame]:
    """Return steps spread over a record, each season's alike, and their observations.

    Where the background comes from a file they are its own steps.

    Args:
        space: The fields to analyse.
        table: All observations, screened; those withheld or of withheld stations are left out.
    """
    if not space.background or "time" not in space.coarse.dims:
        return space, table[has_status(table, ObsStatus.ASSIMILATED)]
    scored = has_status(table, ObsStatus.WITHHELD) | is_for_verification(table)
    names = pd.Series(station_names(table), table.index)
    known = has_status(table, *RECORD) & ~names.isin(names[scored].unique()).to_numpy()
    rows = table[known].assign(status=ObsStatus.USABLE.value)
    axis = observed_axis(rows, space.prior.contract, space.grid) if len(rows) else None
    if axis is None or not is_dated(axis["time"]):
        return space, table[has_status(table, ObsStatus.ASSIMILATED)]
    axis = axis.isel(time=spread_by_season(axis["time"]))
    part = space_at(space, axis)
    contract = space.prior.contract
    period = observed_period(rows, contract.step)
    dates = rows["time"].notna().to_numpy()
    numbers = np.full(len(rows), -1)
    numbers[dates] = number_periods(
        date_components(rows["time"].to_numpy()[dates]), period, contract.cadence
    )
    wanted = number_periods(date_components(axis["time"].values), period, contract.cadence)
    chosen = dates & np.isin(numbers, wanted)
    return part, accept(part.screen(rows[chosen].drop(columns="step", errors="ignore")))


def space_at(space: FieldSpace, axis: xr.Dataset) -> FieldSpace:
    """Return the space around the climatology at other steps."""
    assert space.coarse_climatology is not None
    assert space.coarse_grid is not None
    coarse = climate_fields(space.coarse_climatology, axis, space.prior, space.coarse_grid)
    return replace(space, coarse=coarse)


def spread_by_season(time: xr.DataArray) -> NDArray[np.int64]:
    """Return the positions of steps spread over each season's, in order."""
    seasons = np.array([season_of(int(month)) for month in step_months(time, None)])
    chosen = [spread(np.flatnonzero(seasons == season)) for season in SEASONS]
    return np.sort(np.concatenate(chosen))


def spread(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return some numbers spread over their order.

    Example:
        >>> spread(np.arange(100))[:4].tolist()
        [0, 8, 15, 23]
    """
    if len(numbers) <= MAX_STEPS:
        return numbers
    at = np.linspace(0, len(numbers) - 1, MAX_STEPS).round().astype(int)
    out: NDArray[np.int64] = numbers[at]
    return out
