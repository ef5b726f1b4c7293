"""Describe the data and the cost of a training: ``dpdm train --check``.

Memory and speed are measured by a few steps. The published size is that of a prior from 1 to 0.1
degree with five variables and windows of 128 x 128 cells; one step of it is measured, too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from dpdm.fields.grid import Grid
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec, count_conditioning_channels
from dpdm.system import available_memory, format_bytes, free_disk, peak_memory
from dpdm.training.batches_ahead import BatchesAhead, count_threads
from dpdm.training.checkpoint import TrainingState
from dpdm.training.config import FieldRecipe, TrainSettings
from dpdm.training.field_windows import TrainingSeries, make_example
from dpdm.training.loop import autocast_context, begin_training, draw_step_batch, train_step
from dpdm.training.reference import SeriesClimatology

MEASURING_SECONDS = 6.0
PUBLISHED_WINDOW, PUBLISHED_VARIABLES = 128, 5
GPU_RATE = 3e13  # operations a second, assumed: about a tenth of the peak of an A100 in bfloat16
COPIES_IN_CHECKPOINT = 4  # weights, their average and two moments of the optimiser
SINGLE = 4  # bytes


def describe_training(
    task: Any, files: Sequence[Path], minutes: float, device: str, out: Path
) -> Iterator[str]:
    """Yield what is learnt from what, and the measured cost, line by line, without writing."""
    yield from task.describe(files)
    state, fit = begin_training(task, device), task.recipe.train
    count, began = count_weights(state.denoiser), task.contract.training.get("start", "")
    yield f"network: {count / 1e6:.2f} million weights, " + (
        f"starting from those of {began}" if began else "randomly initialised"
    )
    yield f"training step: {fit.batch} windows with {fit.draws} noise levels each"
    seconds = measure_step(task, state, device)
    yield from describe_cost(task, seconds, minutes, device)
    yield from describe_space(task, count, out)
    if isinstance(task.recipe, FieldRecipe):
        yield from describe_published_size(task, device)


def count_weights(network: torch.nn.Module) -> int:
    """Return the number of weights of a network."""
    return sum(weight.numel() for weight in network.parameters())


def measure_step(task: Any, state: TrainingState, device: str) -> float:
    """Return the measured seconds of a training step, after a first one that is not counted."""
    with BatchesAhead(partial(draw_step_batch, task, 0), count_threads(device)) as ahead:
        train_step(task, state, device, ahead.take(state.step), 0.5)
        start, first = time.perf_counter(), state.step
        while state.step == first or time.perf_counter() - start < MEASURING_SECONDS:
            train_step(task, state, device, ahead.take(state.step), 0.5)
        return (time.perf_counter() - start) / (state.step - first)


def describe_cost(task: Any, seconds: float, minutes: float, device: str) -> Iterator[str]:
    """Yield speed, the time of a thousand steps, and the length of the schedule."""
    fit = task.recipe.train
    cores = torch.get_num_threads()
    where = device if device != "cpu" else f"{cores} core" + "s" * (cores > 1)
    yield (
        f"measured: {fit.batch / seconds:.1f} windows/s on {where}; "
        f"1000 steps take {format_minutes(1000 * seconds)}"
    )
    whole = fit.steps * seconds
    if minutes and 60 * minutes < whole:
        yield f"schedule: {minutes:g} minutes, about {60 * minutes / seconds:.0f} steps"
    else:
        yield f"schedule: {fit.steps} steps, {format_minutes(whole)}"


def describe_space(task: Any, count: int, out: Path) -> Iterator[str]:
    """Yield the memory that the steps took, and the disk space of prior and checkpoint."""
    yield f"memory: up to {format_bytes(peak_memory())}, {format_bytes(available_memory())} free"
    weights = SINGLE * count
    stored = sum(
        tensor.numel() * tensor.element_size()
        for group in task.extra().values()
        if isinstance(group, dict)
        for tensor in group.values()
    )
    free, folder = free_disk(out)
    yield (
        f"disk space: {format_bytes(weights + stored)} for the prior, "
        f"{format_bytes(COPIES_IN_CHECKPOINT * weights)} for the checkpoint while training, "
        f"{format_bytes(free)} free in {folder}"
    )


def describe_published_size(task: Any, device: str) -> Iterator[str]:
    """Yield the hours of a whole schedule of the published size, here, on two cores and a GPU."""
    seconds, operations = measure_published_window(task.recipe.train, device)
    windows = TrainSettings.steps * TrainSettings.batch
    yield (
        f"for comparison, the published size (1 to 0.1 degree, {PUBLISHED_VARIABLES} variables, "
        f"windows of {PUBLISHED_WINDOW} x {PUBLISHED_WINDOW}), {windows} windows:"
    )
    hours = windows * seconds / 3600
    if device == "cpu":
        each = hours * torch.get_num_threads() / 2
        yield f"  {each:.0f} hours on two such cores, extrapolated from one step"
    else:
        yield f"  {hours:.1f} hours on {device}, extrapolated from one step"
    ready, drawn = measure_preparation(), windows * operations / GPU_RATE
    yield (
        f"  {max(drawn, windows * ready) / 3600:.1f} hours on a GPU: {drawn / 3600:.1f} for the "
        f"network at {GPU_RATE / 1e12:.0f} TFLOP/s (assumed, not measured), and at the same time "
        f"{windows * ready / 3600:.1f} to prepare windows on one core"
    )


def measure_preparation() -> float:
    """Return the processor seconds to cut a window of the published size, of random fields."""
    size, rng = PUBLISHED_WINDOW, np.random.default_rng(0)
    axis = np.linspace(0, 0.1 * (size + 19), size + 20)
    grid = Grid(axis, axis)
    months = np.arange(24) % 12
    fine = rng.standard_normal((24, PUBLISHED_VARIABLES, *grid.shape), dtype=np.float32)
    archive = TrainingSeries(
        fine, np.zeros((2, *grid.shape), np.float32), grid, list((months + 0.5) / 12), (10, 10),
        fixed_blocks=True, climatology=SeriesClimatology(months, np.arange(24)),
    )  # fmt: skip
    spec = VariableSpec("a", "", "", "", "identity", 0.0, 1.0, ((10.0, 1.0),))
    normaliser = Normaliser((replace(spec, reference=(1.0, 1.0, 1.0)),) * PUBLISHED_VARIABLES)
    cells = np.arange(10, size + 10)

    def cut() -> float:
        start = time.process_time()
        make_example(archive, normaliser, (cells, cells), 12, archive.view(rng), rng)
        return time.process_time() - start

    return min(cut() for _ in range(4))


def measure_published_window(fit: TrainSettings, device: str) -> tuple[float, float]:
    """Return seconds and floating-point operations of one window of the published size."""
    count = PUBLISHED_VARIABLES
    given = count_conditioning_channels(count, reference=True)
    net: dict[str, Any] = {"given": given}
    denoiser = new_denoiser(count, net).to(device)
    generator = torch.Generator().manual_seed(0)
    shape = (1, count, PUBLISHED_WINDOW, PUBLISHED_WINDOW)
    x = torch.randn(shape, generator=generator).to(device)
    known = torch.randn((1, given, *shape[2:]), generator=generator).to(device)
    noise = torch.randn((fit.draws, *shape[1:]), generator=generator).to(device)
    sigma = torch.linspace(0.5, 5.0, fit.draws, device=device)

    def step() -> None:
        with autocast_context(fit, device):
            error, nats = denoiser.loss(x, sigma, noise, known)
        torch.autograd.backward(error.mean() + fit.nats * nats.mean())
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    with FlopCounterMode(display=False) as counter:
        step()
    start = time.perf_counter()
    step()
    return time.perf_counter() - start, float(counter.get_total_flops())


def format_minutes(seconds: float) -> str:
    """Return a duration in minutes, or in hours from three hours on.

    Example:
        >>> format_minutes(90), format_minutes(36000)
        ('1.5 minutes', '10 hours')
    """
    if not math.isfinite(seconds):
        return "unknown"
    return f"{seconds / 60:.3g} minutes" if seconds < 10800 else f"{seconds / 3600:.3g} hours"
