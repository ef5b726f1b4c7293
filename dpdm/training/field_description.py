"""Describe the data of a training on fields, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dpdm.training import count_files

if TYPE_CHECKING:
    from dpdm.training.field_series import FieldTrainingSet


def describe_fields(task: FieldTrainingSet, files: Sequence[Path]) -> Iterator[str]:
    """Yield the variables, the steps, the held-out data, the cells and the windows."""
    yield f"variables: {', '.join(task.normaliser.names)}, from {count_files(files)}"
    yield from describe_steps(task)
    yield describe_held_out(task)
    yield from describe_cells(task)
    least, most = task.archive.factors
    coarse = "your coarse fields" if task.archive.coarse is not None else "block means"
    yield f"factor: {least}" + (f" to {most}" if most > least else "") + f", of {coarse}"
    height, width = task.places.size
    count = len(task.steps) * (task.places.cumulative_probability > 0).sum()
    yield f"windows: {height} x {width} cells, sampled from {count} positions and steps"
    yield f"reference climatology: {describe_reference(task)}"


def describe_steps(task: FieldTrainingSet) -> Iterator[str]:
    """Yield the steps, and those that are learnt from."""
    labels, period = task.labels, task.contract.period or "step"
    if not labels:
        yield "steps: one, without a date"
        return
    yield f"steps: {len(labels)} {period}s, {labels[0]} to {labels[-1]}"
    first, last = labels[task.steps[0]], labels[task.steps[-1]]
    yield f"training steps: {len(task.steps)}, {first} to {last}"


def describe_held_out(task: FieldTrainingSet) -> str:
    """Name the data that only measure progress."""
    box = task.recipe.data.validation_box
    count = len(task.labels) - len(task.steps)
    if box:
        return f"held out: the windows of {', '.join(f'{edge:g}' for edge in box)}"
    if count < 1:
        return "held out: none; the series has fewer than 24 steps"
    return f"held out: the last {count}, {task.labels[-count]} to {task.labels[-1]}"


def describe_cells(task: FieldTrainingSet) -> Iterator[str]:
    """Yield the extent of the grid, and the share of missing values of each variable."""
    grid = task.archive.grid
    (height, width), (lat, lon) = grid.shape, grid.spacing
    west, east = grid.lon_edges[[0, -1]]
    south, north = grid.lat_edges[[0, -1]]
    yield (
        f"grid: {height} x {width} cells of {lat:.4g} x {lon:.4g} degrees, longitude {west:g} to "
        f"{east:g}, latitude {south:g} to {north:g}"
    )
    missing = np.isnan(task.archive.fine[task.steps[0]]).mean((1, 2))
    named = zip(task.normaliser.names, missing, strict=True)
    if gaps := [f"{name} {share:.0%}" for name, share in named if share > 0]:
        yield f"missing values, which are ignored: {', '.join(gaps)}"


def describe_reference(task: FieldTrainingSet) -> str:
    """Name the state that fields are referred to."""
    if task.archive.pseudo is not None:
        return "pseudo-years made of the twelve months"
    if task.archive.climatology is not None:
        return "the mean of the same month in the other years; it is stored in the prior"
    return "none; it needs three years of monthly data"
