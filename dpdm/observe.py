"""Synthetic observations: what instruments with known errors would have seen of a known truth.

Any file of fields is observed: a test bed's trajectories, or fields on latitude and longitude.
The settings say what is seen, where, when, and with which error,

    value = operator(truth) + error * noise,        noise ~ N(0, 1),

with the operators that assimilation uses, so what is assimilated is what was observed.
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
from dpdm.fields.write import Writer, check_output
from dpdm.observations.columns import IDENTITY_OPERATORS
from dpdm.observations.nature_run import NatureRun, Network, open_nature_run
from dpdm.observations.synthetic import (
    ObservedQuantity,
    SyntheticObservation,
    synthetic_observations,
)
from dpdm.system import sha256

Array = np.ndarray
COORDINATE_UNITS = {"lat": "degrees_north", "lon": "degrees_east", "y": "1", "x": "1"}


@dataclass(frozen=True)
class Schedule:
    """Section ``[when]``: which steps are seen.

    Attributes:
        every: Every so many steps,
        first: from this one, counted from 0,
        last: to this one; -1 is the last.
        steps: Or just these.
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
            variable and pressure, or each channel; of channels it may stand in their file.
    """

    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class SyntheticConfig:
    """All of it; the seed decides random places and the noise."""

    what: ObservedQuantity = field(default_factory=ObservedQuantity)
    where: Network = field(default_factory=Network)
    when: Schedule = field(default_factory=Schedule)
    error: ErrorSettings = field(default_factory=ErrorSettings)
    seed: int = 0


def observe(truth: Path, target: Path, config: Path, ask: FileOptions = FileOptions()) -> None:
    """Write observations of a file of fields, as a configuration says."""
    settings = read_settings(config, SyntheticConfig)
    channels = config.parent / settings.what.channels if settings.what.channels else None
    check_output(target, [truth, config, channels], ask.overwrite)
    scene = open_nature_run(truth, ask, settings.what.operator in IDENTITY_OPERATORS)
    table = simulate_observations(scene, settings, str(config), ask.progress)
    if not len(table["value"]):
        raise DpdmError(f"{truth} is missing at all the places.", "Choose others in [where].")
    said = {"input": truth.name, "input_sha256": sha256(truth), "seed": str(settings.seed)}
    out = observation_dataset(table, scene)
    out.attrs = file_attributes(
        scene.attrs, f"Synthetic observations of {truth.name}", said, ask.history
    ) | ({"featureType": "point"} if {"lat", "time"} <= table.keys() else {})
    with Writer(target, out, ask.overwrite):
        pass  # it is small, and laid out whole


def simulate_observations(
    scene: NatureRun, settings: SyntheticConfig, where: str, report: Callable[[int, int], None]
) -> dict[str, Array]:
    """Return the columns of all observations, time after time, without those that are missing."""
    said = settings
    looks = synthetic_observations(scene, said.what, said.where, said.error.std, said.seed, where)
    steps = select_observed_steps(settings.when, scene.steps, where)
    numbers = select_trajectories(settings.what, scene, where)
    noise = np.random.default_rng((settings.seed, 1))
    parts: list[dict[str, Array]] = []
    for done, number in enumerate(numbers, 1):
        for step in steps:
            parts += observe_step(scene, looks, number, step, noise)
        report(done, len(numbers))
    table = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    there = np.isfinite(table["value"])
    return {name: column[there] for name, column in table.items()}


def observe_step(
    scene: NatureRun,
    looks: Sequence[SyntheticObservation],
    number: int,
    step: int,
    noise: np.random.Generator,
) -> Iterator[dict[str, Array]]:
    """Yield the columns of each look at one step."""
    fields = scene.read(number, step)
    for look in looks:
        exact = look.operator(fields)[0].numpy()
        columns: dict[str, Any] = {
            "value": exact + look.errors(noise.standard_normal(exact.shape)),
            "error": look.std,
            "variable": look.variable,
            "units": look.units,
            **look.extra_columns,
            **scene.labels(number, step),
        }
        yield {name: np.broadcast_to(column, exact.shape) for name, column in columns.items()}


def select_observed_steps(when: Schedule, count: int, where: str) -> list[int]:
    """Return which of so many steps are seen, in order."""
    if when.every < 1:
        raise DpdmError(f"{where} looks every {when.every} steps.", "Give 1 or more.")
    for step in (when.first, when.last, *when.steps):
        if not -count <= step < count:
            raise DpdmError(
                f"{where} asks for step {step}, but there are {count}, from 0.",
                f"Give -{count} to {count - 1}.",
            )
    first, last = when.first % count, when.last % count
    steps = sorted({s % count for s in when.steps}) or list(range(first, last + 1, when.every))
    if not steps:
        raise DpdmError(f"{where} looks from step {first} to {last}.", "Give the first first.")
    return steps


def select_trajectories(what: ObservedQuantity, scene: NatureRun, where: str) -> tuple[int, ...]:
    """Return the numbers of the trajectories that are seen."""
    for number in what.trajectories:
        if number not in scene.trajectories:
            raise DpdmError(
                f"{where} asks for trajectory {number}, which {scene.path} lacks.",
                f"It holds {len(scene.trajectories)}, from {min(scene.trajectories, default=0)}.",
            )
    return what.trajectories or scene.trajectories or (0,)


def observation_dataset(table: dict[str, Array], scene: NatureRun) -> xr.Dataset:
    """Return the columns as a dataset along ``obs``, with their metadata."""
    words = {
        "value": {"long_name": "observed value", "ancillary_variables": "error"},
        "error": {"long_name": "standard deviation of the error of the value"},
        "variable": {"long_name": "observed variable"},
        "units": {"long_name": "unit of value and error"},
        "operator": {"long_name": "observation operator"},
        "trajectory": {"long_name": "number of the trajectory"},
        "channel": {"long_name": "channel of the sounder"},
        "pressure": {"standard_name": "air_pressure", "long_name": "pressure", "units": "Pa"},
        "radius": {"long_name": "radius of the disc that is seen", "units": "m"},
        "time": scene.time_attrs,
    }
    names = {"lat": "latitude", "lon": "longitude"}
    words |= {a: {"units": u, "long_name": names.get(a, a)} for a, u in COORDINATE_UNITS.items()}
    words |= {a: {**words[a], "standard_name": s} for a, s in names.items()}
    units = sorted(set(table["units"]))
    words |= {n: {**words[n], "units": units[0]} for n in ("value", "error") if len(units) == 1}
    out = xr.Dataset({n: ("obs", np.array(c), words.get(n, {})) for n, c in table.items()})
    for column in out.variables.values():
        # Characters, not strings, which take 40 bytes each; no fill where nothing is missing.
        column.encoding = {"dtype": "S1"} if column.dtype.kind == "U" else {"_FillValue": None}
    if scene.calendar:
        dates = {
            "units": exact_time_unit(out["time"]),
            "calendar": scene.calendar,
            "dtype": "float64",
        }
        out["time"].encoding = dates | {"_FillValue": None}
    places = [n for n in ("time", "lat", "lon", "y", "x", "component", "trajectory") if n in out]
    return out.set_coords(places)
