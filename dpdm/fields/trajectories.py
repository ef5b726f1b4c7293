"""Read trajectories: time series of states of a dynamical system.

A file holds one variable of components, ``state(trajectory, time, component)``, or variables on
one plane, ``u, v(trajectory, time, y, x)``. Their time is that of the model, not of the Earth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, prefix_file_name
from dpdm.fields.formats import detect_engine, open_raw
from dpdm.fields.time import days_between

COMPONENT_DIMS = ("trajectory", "time", "component")
PLANE_DIMS = ("trajectory", "time", "y", "x")


def holds_trajectories(path: Path) -> bool:
    """Tell whether a file holds trajectories; GRIB, slow to open, has none."""
    if detect_engine(path) == "cfgrib":
        return False
    with open_raw(path) as ds:
        return "trajectory" in ds.dims


@contextmanager
def open_trajectories(path: Path) -> Iterator[xr.Dataset]:
    """Open a file's trajectories while they are read."""
    with open_raw(path) as ds:
        yield select_trajectory_variables(ds, path)


def select_trajectory_variables(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """Return all variables on the dimensions of trajectories, in their usual order."""
    kinds = (frozenset(COMPONENT_DIMS), frozenset(PLANE_DIMS))
    names = [n for n in ds.data_vars if frozenset(ds[n].dims) in kinds]
    found = {frozenset(ds[n].dims) for n in names}
    if len(found) != 1 or (kinds[0] in found and len(names) > 1):
        raise DpdmError(
            f"{path} holds no variable, or several that do not fit together, on (trajectory, "
            f"time, component) or (trajectory, time, y, x).",
            "dpdm testbed writes such files: one of components, or variables on one plane.",
        )
    return ds[names].transpose(*(COMPONENT_DIMS if is_component_state(ds[names]) else PLANE_DIMS))


def is_component_state(ds: xr.Dataset) -> bool:
    """Tell whether a state consists of components, not fields."""
    return "component" in ds.dims


def stack_trajectories(ds: xr.Dataset, path: Path) -> NDArray[np.float32]:
    """Return all values (N, T, C, ...) in memory."""
    with prefix_file_name(path):
        arrays = [ds[name].values for name in ds.data_vars]
    values = arrays[0] if is_component_state(ds) else np.stack(arrays, axis=2)
    if not np.isfinite(values).all():
        raise DpdmError(f"{path} holds missing or infinite values.", "Remove those trajectories.")
    out: NDArray[np.float32] = values.astype(np.float32)
    return out


def plane_spacing(ds: xr.Dataset, plane: tuple[int, ...]) -> tuple[float, float]:
    """Return the spacing of a plane's rows and columns, 0 where unknown."""
    axes = [ds[n].values for n in ("y", "x")] if plane and {"y", "x"} <= set(ds.coords) else []
    steps = [float(np.diff(axis).mean()) if len(axis) > 1 else 0.0 for axis in axes]
    return (steps[0], steps[1]) if steps else (0.0, 0.0)


def trajectory_cadence(ds: xr.Dataset) -> float:
    """Return the time between two states, in the units of the file; 1 where unknown."""
    steps = trajectory_time_steps(ds)
    return float(f"{steps.mean():.9g}") if len(steps) else 1.0


def trajectory_time_steps(ds: xr.Dataset) -> NDArray[np.float64]:
    """Return the times between all states, in days where they are dates."""
    if "time" not in ds.coords:
        return np.zeros(0)
    steps = np.diff(ds["time"].values)
    if ds["time"].dtype.kind in "fiu":
        return steps.astype(float)
    return days_between(ds["time"].values[:-1], ds["time"].values[1:])


def check_times(ds: xr.Dataset, path: Path | str) -> None:
    """Refuse states at irregular times."""
    steps = trajectory_time_steps(ds)
    if len(steps) and (steps.min() <= 0 or np.ptp(steps) > 1e-3 * steps.max()):
        raise DpdmError(
            f"The states of {path} are {steps.min():g} to {steps.max():g} apart in time.",
            "A window has one time step: interpolate to regular times, or cut the file.",
        )
