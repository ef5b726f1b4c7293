"""Which trajectories there are: those of a file, or those that observations are of."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.trajectories import (
    open_trajectories,
    stack_trajectories,
)
from dpdm.observations.sounder import SounderChannels
from dpdm.prior import Prior, check_trajectory_length
from dpdm.states.options import EnsembleOptions, FieldConditioning
from dpdm.states.requirements import (
    check_components,
    check_like,
    check_state_count,
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
        # A prior of single states does not know how far apart they are.
        check_like(ds if prior.contract.states > 1 else ds.isel(time=[0]), prior, path)
        check_field_memory(ds)
        values = stack_trajectories(ds, path)
        like = number_trajectories(ds.drop_vars(ds.data_vars).load(), len(values))
        words = {str(n): dict(a.attrs) for n, a in ds.data_vars.items()}
    check_components(values.shape[2], prior, path)
    check_trajectory_length(prior, values.shape[1], path)
    # Corrections wander, and would forget the state at any level.
    sampler = replace(choose_sampler_config(options, prior), corrections=0)
    inner = {n: like.coords.get(n, axis) for n, axis in file_axes(like, prior).items()}
    return TrajectorySpace(
        prior, options, sampler, trajectory_times(like, prior), inner,
        tuple(like["trajectory"].values.tolist()), None, StateFile(path, values, like, words),
    )  # fmt: skip


def observed_trajectories(
    prior: Prior,
    table: pd.DataFrame,
    grid: Path | None,
    named: str,
    options: EnsembleOptions = EnsembleOptions(),
    sounder: SounderChannels | None = None,
) -> TrajectorySpace:
    """Return the trajectories to estimate: on a file's axes, or from the first time to the last.

    Args:
        prior: A prior of trajectories.
        table: Observations.
        grid: A file of trajectories whose axes are to be taken, or nothing.
        named: What a message calls the observations.
        options: What the user asks.
        sounder: Channels of brightness temperatures, if their weights are known.
    """
    with ExitStack() as stack:
        like = None if grid is None else stack.enter_context(open_trajectories(grid))
        if like is not None:
            check_like(like, prior, grid)
        time = (
            observed_times(prior, table, named) if like is None else trajectory_times(like, prior)
        )
        check_trajectory_length(prior, time.size, named if grid is None else grid)
        inner = prior_axes(prior) if like is None else file_axes(like, prior)
    numbers: tuple[int, ...] = ()
    if "trajectory" in table and (there := table["trajectory"].dropna()).size:
        numbers = tuple(sorted(map(int, there.unique())))
    sampler = choose_sampler_config(options, prior)
    return TrajectorySpace(prior, options, sampler, time, inner, numbers, sounder)


def observed_times(prior: Prior, table: pd.DataFrame, named: str) -> xr.DataArray:
    """Return evenly spaced times from the first observed to the last."""
    stamps = table["time"].dropna()
    if stamps.empty or not pd.api.types.is_numeric_dtype(stamps):
        raise DpdmError(
            f"The times of {named} are {'missing' if stamps.empty else 'dates'}: they do not "
            "say which states are wanted.",
            "Give --grid with a file of trajectories on the wanted times.",
        )
    step, first = prior.contract.cadence, float(stamps.min())
    count = round((float(stamps.max()) - first) / step) + 1
    check_state_count(count, prior, named)
    values = first + step * np.arange(count)
    return xr.DataArray(values, dims="time", attrs={"long_name": "model time", "units": "1"})


def trajectory_times(like: xr.Dataset, prior: Prior) -> xr.DataArray:
    """Return the times of a file of trajectories; numbers where it has none."""
    if "time" in like.coords:
        return like["time"].load().reset_coords(drop=True)
    values = prior.contract.cadence * np.arange(like.sizes["time"])
    return xr.DataArray(values, dims="time", attrs={"long_name": "model time", "units": "1"})


def file_axes(like: xr.Dataset, prior: Prior) -> dict[str, xr.DataArray]:
    """Return the coordinates of a file's states, or those that the prior implies."""
    own = prior_axes(prior)
    return {n: like[n].load() if n in like.coords and n != "component" else own[n] for n in own}


def prior_axes(prior: Prior) -> dict[str, xr.DataArray]:
    """Return the coordinates of the prior's states."""
    said = prior.contract
    if not said.plane:
        names = np.array(prior.normaliser.names)
        words = {"long_name": "component"}
        return {"component": xr.DataArray(names, dims="component", attrs=words)}
    axes = zip(("y", "x"), said.plane, said.spacing, strict=True)
    return {
        n: xr.DataArray((np.arange(size) + 0.5) * (step or 1.0), dims=n, attrs={"units": "1"})
        for n, size, step in axes
    }


def number_trajectories(axes: xr.Dataset, count: int) -> xr.Dataset:
    """Return axes whose trajectories have numbers."""
    if "trajectory" in axes.coords:
        return axes
    return axes.assign_coords(
        trajectory=("trajectory", np.arange(count, dtype=np.int32), TRAJECTORY_AXIS)
    )
