"""Open spaces of trajectories: those of a file, or those to estimate from observations."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.trajectories import open_trajectories, stack_trajectories
from dpdm.observations.sounder import SounderChannels
from dpdm.prior import Prior, check_trajectory_length
from dpdm.states.options import EnsembleOptions, FieldConditioning
from dpdm.states.requirements import (
    check_components,
    check_state_count,
    check_trajectory_axes,
    refuse_field_options,
)
from dpdm.states.sampling import choose_sampler_config
from dpdm.states.trajectories import TRAJECTORY_AXIS, StateFile, TrajectorySpace
from dpdm.system import check_field_memory


def open_trajectory_file(
    path: Path,
    prior: Prior,
    options: EnsembleOptions,
    conditioning: FieldConditioning = FieldConditioning(),
) -> TrajectorySpace:
    """Return the trajectories of a file as states."""
    refuse_field_options(options, conditioning, bool(options.missing))
    with open_trajectories(path) as ds:
        # A prior of single states has no time step.
        check_trajectory_axes(ds if prior.contract.states > 1 else ds.isel(time=[0]), prior, path)
        check_field_memory(ds)
        values = stack_trajectories(ds, path)
        axes = number_trajectories(ds.drop_vars(ds.data_vars).load(), len(values))
        attrs = {str(n): dict(a.attrs) for n, a in ds.data_vars.items()}
    check_components(values.shape[2], prior, path)
    check_trajectory_length(prior, values.shape[1], path)
    # Corrections would lose the state at any noise level.
    sampler = replace(choose_sampler_config(options, prior), corrections=0)
    inner = {n: axes.coords.get(n, axis) for n, axis in file_axes(axes, prior).items()}
    return TrajectorySpace(
        prior, options, sampler, trajectory_times(axes, prior), inner,
        tuple(axes["trajectory"].values.tolist()), None, StateFile(path, values, axes, attrs),
    )  # fmt: skip


def observed_trajectories(
    prior: Prior,
    table: pd.DataFrame,
    grid: Path | None,
    source: str,
    options: EnsembleOptions = EnsembleOptions(),
    sounder: SounderChannels | None = None,
) -> TrajectorySpace:
    """Return the trajectories to estimate, on the axes of a file or over all observed times."""
    with ExitStack() as stack:
        axes = None if grid is None else stack.enter_context(open_trajectories(grid))
        if axes is not None:
            check_trajectory_axes(axes, prior, grid)
        time = (
            observed_times(prior, table, source) if axes is None else trajectory_times(axes, prior)
        )
        check_trajectory_length(prior, time.size, source if grid is None else grid)
        inner = prior_axes(prior) if axes is None else file_axes(axes, prior)
    numbers: tuple[int, ...] = ()
    if "trajectory" in table and (observed := table["trajectory"].dropna()).size:
        numbers = tuple(sorted(map(int, observed.unique())))
    sampler = choose_sampler_config(options, prior)
    return TrajectorySpace(prior, options, sampler, time, inner, numbers, sounder)


def observed_times(prior: Prior, table: pd.DataFrame, source: str) -> xr.DataArray:
    """Return evenly spaced times from the first observed to the last."""
    stamps = table["time"].dropna()
    if stamps.empty or not pd.api.types.is_numeric_dtype(stamps):
        raise DpdmError(
            f"The times of {source} are {'missing' if stamps.empty else 'dates'}: they do not "
            "determine the times of the states.",
            "Give --grid with a file of trajectories at these times.",
        )
    step, first = prior.contract.cadence, float(stamps.min())
    count = round((float(stamps.max()) - first) / step) + 1
    check_state_count(count, prior, source)
    values = first + step * np.arange(count)
    return xr.DataArray(values, dims="time", attrs={"long_name": "model time", "units": "1"})


def trajectory_times(axes: xr.Dataset, prior: Prior) -> xr.DataArray:
    """Return the times of a file of trajectories, multiples of the time step where it has none."""
    if "time" in axes.coords:
        return axes["time"].load().reset_coords(drop=True)
    values = prior.contract.cadence * np.arange(axes.sizes["time"])
    return xr.DataArray(values, dims="time", attrs={"long_name": "model time", "units": "1"})


def file_axes(axes: xr.Dataset, prior: Prior) -> dict[str, xr.DataArray]:
    """Return the coordinates of a file's states, else those of the prior."""
    default = prior_axes(prior)
    return {
        n: axes[n].load() if n in axes.coords and n != "component" else default[n] for n in default
    }


def prior_axes(prior: Prior) -> dict[str, xr.DataArray]:
    """Return the coordinates of the prior's states."""
    contract = prior.contract
    if not contract.plane:
        names = np.array(prior.normaliser.names)
        attrs = {"long_name": "component"}
        return {"component": xr.DataArray(names, dims="component", attrs=attrs)}
    axes = zip(("y", "x"), contract.plane, contract.spacing, strict=True)
    return {
        n: xr.DataArray((np.arange(size) + 0.5) * (step or 1.0), dims=n, attrs={"units": "1"})
        for n, size, step in axes
    }


def number_trajectories(axes: xr.Dataset, count: int) -> xr.Dataset:
    """Return axes with numbers of the trajectories."""
    if "trajectory" in axes.coords:
        return axes
    return axes.assign_coords(
        trajectory=("trajectory", np.arange(count, dtype=np.int32), TRAJECTORY_AXIS)
    )
