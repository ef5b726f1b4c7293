"""Write synthetic observations of a known truth, with known errors.

The truth is a file of trajectories of a test bed, or of fields on latitude and longitude. The
settings define quantity, locations, times and errors,

    value = operator(truth) + error * noise,        noise ~ N(0, 1),

with the observation operators of dpdm assimilate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dpdm.config import read_settings
from dpdm.errors import DpdmError
from dpdm.fields.metadata import exact_time_unit, file_attributes
from dpdm.fields.read import FileOptions
from dpdm.fields.write import Writer
from dpdm.observations.columns import IDENTITY_OPERATORS
from dpdm.observations.nature_run import NatureRun, Network, open_nature_run
from dpdm.observations.synthetic import (
    ObservedQuantity,
    SyntheticObservation,
    synthetic_observations,
)
from dpdm.paths import check_output
from dpdm.system import sha256

Array = np.ndarray
COORDINATE_UNITS = {"lat": "degrees_north", "lon": "degrees_east", "y": "1", "x": "1"}


@dataclass(frozen=True)
class Schedule:
    """Section ``[when]``: the observed steps.

    Attributes:
        every: Interval in steps,
        first: from this step, counted from 0,
        last: to this step; -1 is the last.
        steps: Or a list of steps.
    """

    every: int = 1
    first: int = 0
    last: int = -1
    steps: tuple[int, ...] = ()


@dataclass(frozen=True)
class ErrorSettings:
    """Section ``[error]``.

    Attributes:
        std: Standard deviation, in the unit of the values: one, or one for each variable, each
            variable and pressure, or each channel; that of channels may be in their file.
    """

    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class SyntheticConfig:
    """All settings; the seed is that of random locations and of the noise."""

    what: ObservedQuantity = field(default_factory=ObservedQuantity)
    where: Network = field(default_factory=Network)
    when: Schedule = field(default_factory=Schedule)
    error: ErrorSettings = field(default_factory=ErrorSettings)
    seed: int = 0


def observe(truth: Path, target: Path, config: Path, options: FileOptions = FileOptions()) -> None:
    """Write synthetic observations of a file after a configuration."""
    settings = read_settings(config, SyntheticConfig)
    channels = config.parent / settings.what.channels if settings.what.channels else None
    check_output(target, [truth, config, channels], options.overwrite)
    nature_run = open_nature_run(truth, options, settings.what.operator in IDENTITY_OPERATORS)
    table = simulate_observations(nature_run, settings, str(config), options.progress)
    if not len(table["value"]):
        raise DpdmError(f"{truth} is missing at all locations.", "Choose others in [where].")
    provenance = {"input": truth.name, "input_sha256": sha256(truth), "seed": str(settings.seed)}
    out = observation_dataset(table, nature_run)
    out.attrs = file_attributes(
        nature_run.attrs, f"Synthetic observations of {truth.name}", provenance, options.history
    ) | ({"featureType": "point"} if {"lat", "time"} <= table.keys() else {})
    with Writer(target, out, options.overwrite):
        pass  # the layout holds all values


def simulate_observations(
    nature_run: NatureRun,
    settings: SyntheticConfig,
    where: str,
    report: Callable[[int, int], None],
) -> dict[str, Array]:
    """Return the columns of all observations, in order of time, without missing ones."""
    instruments = synthetic_observations(
        nature_run, settings.what, settings.where, settings.error.std, settings.seed, where
    )
    steps = select_observed_steps(settings.when, nature_run.steps, where)
    numbers = select_trajectories(settings.what, nature_run, where)
    noise = np.random.default_rng((settings.seed, 1))
    parts: list[dict[str, Array]] = []
    for done, number in enumerate(numbers, 1):
        for step in steps:
            parts += observe_step(nature_run, instruments, number, step, noise)
        report(done, len(numbers))
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    finite = np.isfinite(table["value"])
    return {name: column[finite] for name, column in table.items()}


def observe_step(
    nature_run: NatureRun,
    instruments: Sequence[SyntheticObservation],
    number: int,
    step: int,
    noise: np.random.Generator,
) -> Iterator[dict[str, Array]]:
    """Yield the columns of each instrument at one step."""
    fields = nature_run.read(number, step)
    for instrument in instruments:
        exact = instrument.operator(fields)[0].numpy()
        columns: dict[str, Any] = {
            "value": exact + instrument.errors(noise.standard_normal(exact.shape)),
            "error": instrument.std,
            "variable": instrument.variable,
            "units": instrument.units,
            **instrument.extra_columns,
            **nature_run.labels(number, step),
        }
        yield {name: np.broadcast_to(column, exact.shape) for name, column in columns.items()}


def select_observed_steps(when: Schedule, count: int, where: str) -> list[int]:
    """Return the observed ones of a number of steps, in order."""
    if when.every < 1:
        raise DpdmError(f"{where} observes every {when.every} steps.", "Give 1 or more.")
    for step in (when.first, when.last, *when.steps):
        if not -count <= step < count:
            raise DpdmError(
                f"{where} asks for step {step}, but there are {count}, from 0.",
                f"Give -{count} to {count - 1}.",
            )
    first, last = when.first % count, when.last % count
    steps = sorted({s % count for s in when.steps}) or list(range(first, last + 1, when.every))
    if not steps:
        raise DpdmError(
            f"{where} observes from step {first} to {last}.", "Exchange first and last."
        )
    return steps


def select_trajectories(
    what: ObservedQuantity, nature_run: NatureRun, where: str
) -> tuple[int, ...]:
    """Return the numbers of the observed trajectories."""
    known = nature_run.trajectories
    for number in what.trajectories:
        if number not in known:
            raise DpdmError(
                f"{where} asks for trajectory {number}, which is not in {nature_run.path}.",
                f"It holds {len(known)}, from {min(known, default=0)}.",
            )
    return what.trajectories or known or (0,)


def observation_dataset(table: dict[str, Array], nature_run: NatureRun) -> xr.Dataset:
    """Return the columns as a dataset along ``obs``, with their metadata."""
    attrs = {
        "value": {"long_name": "observed value", "ancillary_variables": "error"},
        "error": {"long_name": "standard deviation of the error of the value"},
        "variable": {"long_name": "observed variable"},
        "units": {"long_name": "unit of value and error"},
        "operator": {"long_name": "observation operator"},
        "trajectory": {"long_name": "number of the trajectory"},
        "channel": {"long_name": "channel of the sounder"},
        "pressure": {"standard_name": "air_pressure", "long_name": "pressure", "units": "Pa"},
        "radius": {"long_name": "radius of the disc that is seen", "units": "m"},
        "time": nature_run.time_attrs,
    }
    names = {"lat": "latitude", "lon": "longitude"}
    attrs |= {a: {"units": u, "long_name": names.get(a, a)} for a, u in COORDINATE_UNITS.items()}
    attrs |= {a: {**attrs[a], "standard_name": s} for a, s in names.items()}
    units = sorted(set(table["units"]))
    attrs |= {n: {**attrs[n], "units": units[0]} for n in ("value", "error") if len(units) == 1}
    out = xr.Dataset({n: ("obs", np.array(c), attrs.get(n, {})) for n, c in table.items()})
    for column in out.variables.values():
        # Characters, not strings, which take 40 bytes each; no fill where nothing is missing.
        column.encoding = {"dtype": "S1"} if column.dtype.kind == "U" else {"_FillValue": None}
    if nature_run.calendar:
        dates = {
            "units": exact_time_unit(out["time"]),
            "calendar": nature_run.calendar,
            "dtype": "float64",
        }
        out["time"].encoding = dates | {"_FillValue": None}
    coords = [n for n in ("time", "lat", "lon", "y", "x", "component", "trajectory") if n in out]
    return out.set_coords(coords)
