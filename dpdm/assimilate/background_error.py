"""Choose the law of the background's error: as the user states it, or estimated from stations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import sparse
from scipy.ndimage import gaussian_filter

from dpdm.assimilate.anomaly_law import (
    ALL_YEAR,
    SEASONS,
    AnomalyLaw,
    default_law,
    laws_of_json,
    season_of,
    stated_law,
)
from dpdm.assimilate.background import BackgroundError
from dpdm.assimilate.law_estimation import StepDepartures, estimate_law
from dpdm.assimilate.law_record import sample_record, spread
from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.fields.time import is_dated, step_months
from dpdm.observations.observation_operator import operator_names
from dpdm.observations.stations import unit_vectors
from dpdm.observations.status import IN_USE, has_status
from dpdm.operators.geometry import globe_layout
from dpdm.operators.interpolation import point_operator
from dpdm.states.fields import FieldSpace
from dpdm.states.options import ESTIMATED, AssimilationOptions

Array = NDArray[np.float64]
COAST_KM = 40.0  # scale over which the contrast of land and sea changes
MAX_CELLS = 250_000


def build_background_error(
    space: FieldSpace, table: pd.DataFrame, options: AssimilationOptions
) -> BackgroundError | None:
    """Return the error of the background, None where it is exact.

    Args:
        space: The fields of all steps.
        table: Their observations, screened.
        options: Options of the analysis.
    """
    stated = state_errors(space, options.coarse_error)
    if not stated or not any(value != 0 for value in stated.values()):
        return None
    check_size(space)
    land = smooth_land(space)
    estimated = any(math.isnan(value) for value in stated.values())
    record = sample_record(space, table) if estimated else (space, table)
    laws: dict[str, list[AnomalyLaw]] = {}
    for season in find_seasons(space):
        laws[season] = [
            estimate_variable(*record, land, season, name)
            if math.isnan(stated[name]) else stated_law(stated[name], options.coarse_length)
            for name in space.names
        ]  # fmt: skip
    return BackgroundError(space.grid, land, laws, is_stated(stated))


def restore_background_error(
    space: FieldSpace, laws: Mapping[str, object], options: AssimilationOptions
) -> BackgroundError:
    """Return the error of the background with laws of `BackgroundError.as_json`."""
    stated = state_errors(space, options.coarse_error)
    return BackgroundError(space.grid, smooth_land(space), laws_of_json(laws), is_stated(stated))


def is_stated(stated: Mapping[str, float]) -> tuple[bool, ...]:
    """Tell for which variables a standard deviation in physical units is stated."""
    return tuple(not math.isnan(value) for value in stated.values())


def find_seasons(space: FieldSpace) -> list[str]:
    """Return the seasons that steps may have: all four if dated, for a period may be extended."""
    return [ALL_YEAR] if season_of_step(space, 0) == ALL_YEAR else list(SEASONS)


def state_errors(space: FieldSpace, stated: Mapping[str, float]) -> dict[str, float]:
    """Return the standard deviation of each variable, NaN for one to estimate; empty for none.

    It is estimated by default where the climatology is the background.
    """
    if stated and space.coarse_grid is None:
        raise DpdmError("--coarse-error is stated, and there is no --coarse.", "Leave it out.")
    for name, value in stated.items():
        if value < 0 or math.isinf(value):
            raise DpdmError(f"The coarse error of {name} is {value:g}.", "Give 0 or more.")
        if name and name not in space.names:
            raise DpdmError(
                f"--coarse-error names {name}, which is not a variable of the prior.",
                f"Its variables are {', '.join(space.names)}.",
            )
    if not stated and not space.background:
        return {}
    usual = ESTIMATED if space.background else 0.0
    return {name: stated.get(name, stated.get("", usual)) for name in space.names}


def check_size(space: FieldSpace) -> None:
    """Refuse domains of more cells than smooth fields are computed for."""
    cells = math.prod(space.grid.shape)
    if cells > MAX_CELLS:
        raise DpdmError(
            f"The error of the background is for regions of up to {MAX_CELLS} cells, and this has "
            f"{cells}.",
            "Select a region with --bbox.",
        )


def smooth_land(space: FieldSpace) -> Array:
    """Return the land fraction (H, W), smoothed over the width of coasts."""
    spacing = np.radians(space.grid.spacing[0]) * EARTH_RADIUS / 1e3
    mode = ("nearest", "wrap" if space.grid.cyclic else "nearest")
    out: Array = gaussian_filter(space.statics[1], COAST_KM / spacing, mode=mode)
    return out


def step_seasons(space: FieldSpace) -> list[str]:
    """Return the season of each step, that of the whole year for steps without a date."""
    time = space.coarse.get("time")
    if time is None or not is_dated(time):
        return [ALL_YEAR] * len(space.steps)
    time = time if time.ndim else time.expand_dims("time")
    return [season_of(int(month)) for month in step_months(time, space.coarse.get("time_bnds"))]


def season_of_step(space: FieldSpace, step: int) -> str:
    """Return the season of a step."""
    return step_seasons(space)[step]


def steps_of_season(space: FieldSpace, season: str) -> NDArray[np.int64]:
    """Return the steps of a season."""
    return np.flatnonzero(np.array(step_seasons(space)) == season)


def estimate_variable(
    space: FieldSpace, table: pd.DataFrame, land: Array, season: str, name: str
) -> AnomalyLaw:
    """Return the law of a variable in a season, estimated from its stations."""
    channel = space.prior.normaliser.channels[space.names.index(name)]
    lat = float(space.grid.lat.mean())
    rows = table[(table["variable"] == name).to_numpy() & (operator_names(table) == "point")]
    seen = rows["step"].isin(steps_of_season(space, season))
    if seen.any():
        lat = float(rows.loc[seen, "lat"].mean())
    return estimate_law(
        list(season_departures(space, rows[seen], land)), default_law(channel, lat, season)
    )


def season_departures(
    space: FieldSpace, rows: pd.DataFrame, land: Array
) -> Iterator[StepDepartures]:
    """Yield the departures of up to `MAX_STEPS` steps, spread over those with observations."""
    for step in spread(np.unique(rows["step"])):
        yield step_departures(space, rows[rows["step"] == step], land, int(step))


def step_departures(
    space: FieldSpace, rows: pd.DataFrame, land: Array, step: int
) -> StepDepartures:
    """Return the departures of one step from the background, without the network."""
    modelled, value, error = space.modelled_observation(rows)
    background = space.prior.normaliser.inverse(space.base(step))
    departure = (value - modelled(background[None])[0]).numpy()
    lat, lon = (rows[n].to_numpy(float, copy=True) for n in ("lat", "lon"))
    links = point_operator(globe_layout(space.grid.lat, space.grid.lon), lat, lon)
    near = links(torch.from_numpy(land)[None, None])[0].numpy()
    stated = np.where(has_usual_error(rows), np.nan, error.numpy())
    known = np.isfinite(departure)
    parts = (departure, unit_vectors(lat, lon), space.heights(rows) / 1e3, near, stated)
    return StepDepartures(*(part[known] for part in parts))


def has_usual_error(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows have no error of their own, but the usual one of their variable."""
    if "usual_error" not in table:
        return np.zeros(len(table), dtype=bool)
    marked: NDArray[np.bool_] = table["usual_error"].fillna(False).to_numpy(bool)
    return marked


def set_station_errors(
    table: pd.DataFrame, space: FieldSpace, error: BackgroundError | None
) -> None:
    """Set the errors of rows without one, in place, to those of the estimated law.

    They are its noise, and what the interpolation between cells loses of its fields.
    """
    usual = has_usual_error(table) & (operator_names(table) == "point")
    usual &= has_status(table, *IN_USE)  # others may lie outside the grid
    if error is None or not error.estimated or not usual.any():
        return
    lost = pd.DataFrame(unresolved_shares(error, table[usual]), table.index[usual])
    for season, laws in error.laws.items():
        steps = steps_of_season(space, season)
        for channel, law in zip(space.prior.normaliser.channels, laws, strict=True):
            rows = usual & table["step"].isin(steps).to_numpy()
            rows &= (table["variable"] == channel.name).to_numpy()
            if law.noise and rows.any():
                unresolved = lost[rows[usual]].to_numpy() @ error.variances(law)
                value = table.loc[rows, "value"].to_numpy(float)
                scale = 1 + np.maximum(value, 0) if channel.transform == "log1p" else 1.0
                table.loc[rows, "error"] = np.sqrt(law.noise**2 + unresolved) * scale


def unresolved_shares(error: BackgroundError, rows: pd.DataFrame) -> Array:
    """Return the share of the variance of each length that interpolation loses, (N, L)."""
    lat, lon = (rows[n].to_numpy(float, copy=True) for n in ("lat", "lon"))
    places, back = np.unique(np.stack([lat, lon], axis=1), axis=0, return_inverse=True)
    links = point_operator(globe_layout(error.grid.lat, error.grid.lon), *places.T)
    weights = sparse.csr_matrix(
        (links.weight.numpy(), (links.row.numpy(), links.cell.numpy())),
        (len(places), math.prod(error.grid.shape)),
    )
    kept = [
        np.asarray((part := weights @ basis).multiply(part).sum(1)).ravel()
        for basis in error.smooth.parts
    ]
    out: Array = np.clip(1 - np.stack(kept, axis=1), 0, 1)[back.ravel()]
    return out
