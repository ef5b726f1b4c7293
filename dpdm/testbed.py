"""Test beds: trajectories of systems with known equations, for training and verification."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields import levels
from dpdm.fields.metadata import FILL_VALUE, add_cf_metadata, file_attributes
from dpdm.fields.write import Writer
from dpdm.paths import check_output
from dpdm.system import check_required_memory
from dpdm.testbeds import kolmogorov, lorenz63, speedy

TRAJECTORY_BATCH = 64  # trajectories of lorenz63 at once
MAX_LORENZ_INTERVAL = 0.05  # time, beyond which a Runge-Kutta step of lorenz63 is unstable
SPEEDY_SOURCE = "SPEEDY (jcm), T31, 8 levels, climatological sea, ice and soil"
WEATHER_ATTRS = {
    "t": {
        "standard_name": "air_temperature",
        "long_name": "air temperature",
        "units": "K",
        "comment": "linear in log pressure between the model's levels; below the lowest, and "
        "below ground, extrapolated with the standard lapse rate of 6.5 K km-1",
    },
    "t2m": {"comment": "air temperature near the surface, as the model's surface fluxes see it"},
    "sp": {},
}
KOLMOGOROV_REFERENCE = "Rozet and Louppe (2023), arXiv 2306.10574"


@dataclass(frozen=True)
class TruthOptions:
    """Options of trajectories of lorenz63 and kolmogorov.

    Attributes:
        trajectories: Number of trajectories.
        length: States of each.
        seed: Seed, for all trajectories.
        burn_in: Skipped initial states; None for the default of the system.
        interval: Time between the states of lorenz63.
        deterministic: Whether lorenz63 has no noise.
        size: Cells along each axis of the block means of kolmogorov.
        resolution: Cells along each axis of the model of kolmogorov.
    """

    trajectories: int
    length: int
    seed: int = 0
    burn_in: int | None = None
    interval: float = lorenz63.DT
    deterministic: bool = False
    size: int = kolmogorov.OUTPUT_SIZE
    resolution: int = kolmogorov.RESOLUTION


def write_truth(
    system: str,
    target: Path,
    truth: TruthOptions,
    history: str = "dpdm",
    overwrite: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write trajectories of ``lorenz63`` or ``kolmogorov``, one after the other."""
    check_output(target, overwrite=overwrite)
    _check_truth(truth, system)
    _check_truth_memory(truth, system)
    template, blocks = SYSTEMS[system](truth)
    attributes = {
        "system": system,
        "seed": str(truth.seed),
        "burn_in": str(_default_burn_in(truth, system)),
    }
    if system == "kolmogorov":
        attributes |= {"resolution": str(truth.resolution)}
    else:
        attributes |= {
            "interval": f"{truth.interval:g}",
            "deterministic": str(truth.deterministic).lower(),
        }
    template.attrs = file_attributes(
        {"references": KOLMOGOROV_REFERENCE}, f"Trajectories of {system}", attributes, history
    )
    with Writer(target, template, overwrite) as writer:
        for block in blocks:
            writer.write(block)
            report(int(block["trajectory"][-1]) + 1, truth.trajectories)


def write_weather(
    target: Path,
    days: int,
    seed: int = 0,
    burn_in: int | None = None,
    history: str = "dpdm",
    overwrite: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write daily states of ``speedy``.

    Args:
        target: The file.
        days: Number of days, from 2000-01-01 on.
        seed: Seed of the initial perturbation.
        burn_in: Skipped initial days; None for the default.
        history: The command line.
        overwrite: Whether an existing target is replaced.
        report: Called with the number of finished days and of all days.
    """
    check_output(target, overwrite=overwrite)
    burn_in = speedy.BURN_IN if burn_in is None else burn_in
    for name, number, low in (("days", days, 1), ("seed", seed, 0), ("burn_in", burn_in, 1)):
        _check_minimum(name, number, low)
    states = speedy.simulate_atmosphere(days, seed, burn_in)
    attributes = {"system": "speedy", "seed": str(seed), "burn_in": str(burn_in)}
    template, done = _weather_layout(days, attributes, history), 0
    with Writer(target, template, overwrite) as writer:
        for part in states:
            values = {"t": part.t, "t2m": part.t2m, "sp": part.sp}
            writer.write(_fill_part(template, "time", done, values))
            done += len(part.time)
            report(done, days)


def _weather_layout(days: int, attributes: Mapping[str, str], history: str) -> xr.Dataset:
    """Return the empty dataset of ``t`` on levels, ``t2m`` and ``sp``, one day a chunk."""
    place = {"level": speedy.PRESSURE_LEVELS, "lat": speedy.LAT, "lon": speedy.LON}
    time = speedy.FIRST_DAY + np.arange(days)
    coords = {"time": time.astype("datetime64[ns]"), **place}
    arrays = {}
    for name, attrs in WEATHER_ATTRS.items():
        dims = ["time", *(d for d in place if d != "level" or name == "t")]
        shape = tuple(len(coords[d]) for d in dims)
        empty = da.zeros(shape, dtype=np.float32, chunks=(1, *shape[1:]))
        arrays[name] = (dims, empty, attrs | {"cell_methods": "area: point time: point"})
    bare = xr.Dataset(
        arrays, coords, {"source": SPEEDY_SOURCE, "references": speedy.MODEL_REFERENCE}
    )
    out = add_cf_metadata(bare, "Daily states of the model SPEEDY", attributes, history)
    out["t"] = out["t"].transpose("time", "level", "lat", "lon")
    out["t"].encoding["chunksizes"] = (1, *out["t"].shape[1:])
    out["level"].attrs = levels.VERTICAL_AXIS_ATTRS["Pa"]
    out["level"].encoding = {"dtype": "float64", "_FillValue": None}
    return out


def _check_minimum(name: str, number: int, low: int) -> None:
    """Refuse a number below its least value."""
    if number < low:
        raise DpdmError(f"{name} is {number}.", f"Give a whole number of {low} or more.")


def _check_truth(truth: TruthOptions, system: str) -> None:
    """Refuse options out of range, and grids that do not nest."""
    least = {"trajectories": 1, "length": 1, "seed": 0, "burn_in": 0, "size": 2}
    for name, low in least.items():
        number = getattr(truth, name)
        if number is not None:
            _check_minimum(name, number, low)
    if not 0 < truth.interval <= MAX_LORENZ_INTERVAL:
        raise DpdmError(
            f"The interval is {truth.interval:g}, for which the integration is unstable.",
            f"Give a number above 0 and up to {MAX_LORENZ_INTERVAL:g}.",
        )
    coarse, fine = truth.size, truth.resolution
    if system == "kolmogorov" and (fine < kolmogorov.MIN_RESOLUTION or fine % coarse or fine % 2):
        raise DpdmError(
            f"The resolution {fine} cannot be averaged to {coarse} cells.",
            f"Give an even multiple of --size of at least {kolmogorov.MIN_RESOLUTION}, "
            f"as --resolution {coarse * max(2, math.ceil(128 / coarse))}.",
        )


def _check_truth_memory(truth: TruthOptions, system: str) -> None:
    """Refuse trajectories that do not fit into memory: one of a flow, or a batch of lorenz63."""
    steps = truth.length + _default_burn_in(truth, system)
    if system == "lorenz63":
        needed = steps * (min(TRAJECTORY_BATCH, truth.trajectories) * 96 + 500)
    else:
        needed = 16 * truth.length * truth.size**2 + 64 * truth.resolution**2
    check_required_memory(
        needed, "The states take", "Give a smaller --length, --burn-in or --size."
    )


def _default_burn_in(truth: TruthOptions, system: str) -> int:
    default = {"lorenz63": lorenz63.BURN_IN, "kolmogorov": kolmogorov.BURN_IN}[system]
    return default if truth.burn_in is None else truth.burn_in


def _simulate_lorenz63(truth: TruthOptions) -> tuple[xr.Dataset, Iterator[xr.Dataset]]:
    """Return the empty dataset of ``state``, and its blocks of trajectories."""
    burn_in = _default_burn_in(truth, "lorenz63")
    labels = {
        "component": ("component", list(lorenz63.LORENZ_COMPONENTS), {"long_name": "component"})
    }
    kind = "" if truth.deterministic else "stochastic "
    attrs = {"state": {"long_name": f"state of the {kind}Lorenz-63 system", "units": "1"}}
    template = _truth_layout(truth, truth.interval, attrs, labels, np.float64)

    def blocks() -> Iterator[xr.Dataset]:
        for first in range(0, truth.trajectories, TRAJECTORY_BATCH):
            count = min(TRAJECTORY_BATCH, truth.trajectories - first)
            state = lorenz63.simulate_lorenz(
                count, truth.length, truth.seed, burn_in, first, truth.interval,
                not truth.deterministic,
            )  # fmt: skip
            yield _fill_part(template, "trajectory", first, {"state": state.numpy()})

    return template, blocks()


def _simulate_kolmogorov(truth: TruthOptions) -> tuple[xr.Dataset, Iterator[xr.Dataset]]:
    """Return the empty dataset of ``u`` and ``v``, and its blocks of trajectories."""
    burn_in = _default_burn_in(truth, "kolmogorov")
    flow = kolmogorov.KolmogorovFlow(truth.resolution)
    centres = kolmogorov.cell_centres(truth.size).numpy()
    sides = {d: (d, centres, {"long_name": d, "units": "1"}) for d in ("y", "x")}
    attrs = {
        "u": {"long_name": "velocity along x", "units": "1", "cell_methods": "y: x: mean"},
        "v": {"long_name": "velocity along y", "units": "1", "cell_methods": "y: x: mean"},
    }
    template = _truth_layout(truth, kolmogorov.SNAPSHOT_INTERVAL, attrs, sides, np.float32)

    def blocks() -> Iterator[xr.Dataset]:
        for number in range(truth.trajectories):
            w = kolmogorov.simulate_flow(
                number, truth.length, truth.seed, burn_in, truth.size, flow
            )
            u, v = w.unbind(1)
            values = {"u": u.numpy()[None], "v": v.numpy()[None]}
            yield _fill_part(template, "trajectory", number, values)

    return template, blocks()


SYSTEMS = {"lorenz63": _simulate_lorenz63, "kolmogorov": _simulate_kolmogorov}


def _truth_layout(
    truth: TruthOptions,
    interval: float,
    attrs: Mapping[str, dict[str, str]],
    inner: Mapping[str, Any],
    kind: type,
) -> xr.Dataset:
    """Return the dataset of empty variables (trajectory, time, ...), chunked by trajectory."""
    number = np.arange(truth.trajectories, dtype=np.int32)
    time = np.arange(truth.length) * interval
    coords = {
        "trajectory": ("trajectory", number, {"long_name": "number of the trajectory"}),
        "time": ("time", time, {"long_name": "model time since the first state", "units": "1"}),
        **inner,
    }
    shape = tuple(len(value[1]) for value in coords.values())
    chunks = (1, *shape[1:])
    stored = {"dtype": kind, "_FillValue": kind(FILL_VALUE), "chunksizes": chunks}
    stored |= {"zlib": True, "complevel": 1, "shuffle": True}
    empty = da.zeros(shape, dtype=kind, chunks=chunks)
    arrays = {name: (list(coords), empty, each, stored) for name, each in attrs.items()}
    out = xr.Dataset(arrays, coords)
    for name in coords:
        out[name].encoding = {"_FillValue": None}
    return out


def _fill_part(
    template: xr.Dataset, dim: str, first: int, values: Mapping[str, Any]
) -> xr.Dataset:
    """Return a part of the template along its first dimension, with its values."""
    count = len(next(iter(values.values())))
    place = template[list(values)].isel({dim: slice(first, first + count)})
    return place.assign({name: (place[name].dims, array) for name, array in values.items()})
