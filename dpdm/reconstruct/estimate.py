"""Estimate the time of a plan, from a few seconds of drawing, and its disk space."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from dpdm.diffusion.sample import count_network_evaluations
from dpdm.evaluate.table import Table
from dpdm.fields.time import label_year
from dpdm.observations.status import status_reasons
from dpdm.reconstruct.executors import count_processors
from dpdm.reconstruct.setup import ReconstructionSetup, prepare_reconstruction
from dpdm.reconstruct.work_units import WorkUnit
from dpdm.states.cost import COMPRESSED_SHARE, describe_disk, describe_memory, describe_time
from dpdm.system import format_hours

MEASURING_SECONDS = 10.0
TIME_OVERHEAD = 1.1  # at most, time of a unit over the time to draw it


def estimate_cost(path: Path, folder: Path | None) -> Iterator[str]:
    """Yield the estimates of a plan, line by line, without writing."""
    assumptions: list[str] = []
    setup = prepare_reconstruction(path, assumptions.append)
    yield from assumptions
    yield from describe_work(setup)
    if setup.series.paths:
        yield from compare_climates(setup)
    yield from estimate_hours(setup)
    yield from estimate_disk(setup, folder or Path(path.stem))


def describe_work(setup: ReconstructionSetup) -> Iterator[str]:
    """Yield the size of the task."""
    series, space = setup.series, setup.space
    rows, columns = space.grid.shape
    names = ", ".join(map(str, space.coarse.data_vars))
    count = len(series.paths)
    source = f"{count} file{'s' * (count > 1)}" if count else "none"
    yield f"input: {source}, {series.labels[0]} to {series.labels[-1]}"
    if space.background:
        yield f"background: {space.notes['background']}"
    yield f"steps: {len(series.labels)}; missing: {', '.join(series.missing) or 'none'}"
    if series.repeated:
        yield f"repeated in the input, used once: {', '.join(series.repeated)}"
    yield f"variables: {names}"
    yield f"cells: {rows} x {columns}"
    yield f"units of work: {len(setup.units)}"
    yield f"network evaluations: {count_unit_evaluations(setup)} of the whole domain"
    if setup.table is not None:
        unused = status_reasons(setup.table).value_counts()
        yield "observations: " + ", ".join(f"{n} {status}" for status, n in unused.items())


def count_unit_evaluations(setup: ReconstructionSetup) -> int:
    """Return the number of network evaluations on the domain, without guidance."""
    sampler, members = setup.space.sampler, setup.plan.draw.members
    each = count_network_evaluations(sampler.sampler, sampler.steps, sampler.corrections)
    return len(setup.series.labels) * (members * each + 1)


def compare_climates(setup: ReconstructionSetup) -> Iterator[str]:
    """Yield the bias of the input relative to the prior, before and after the adjustment."""
    yield setup.adjustment.describe()
    if rows := setup.adjustment.table():
        yield Table(rows).text()


def estimate_hours(setup: ReconstructionSetup) -> Iterator[str]:
    """Yield the measured and the expected time."""
    each = measure_member_seconds(setup)
    total = TIME_OVERHEAD * each * len(setup.series.labels) * max(1, setup.plan.draw.members)
    workers = setup.plan.run.workers
    measured, expected = describe_time(each, total, setup.space.sampler.device)
    yield measured
    yield f"{expected} with one worker" + (
        f", {format_hours(total / 3600 / workers)} with {workers} if each has a processor core"
        * (workers > 1)
    )
    yield describe_memory(setup.space)


def measure_member_seconds(setup: ReconstructionSetup) -> float:
    """Return the measured time of a member of a step, seconds."""
    if setup.plan.run.workers > 1:
        torch.set_num_threads(max(1, count_processors() // setup.plan.run.workers))
    drawer, label = setup.unit_sampler, setup.series.labels[0]
    start, drawn = time.perf_counter(), 0
    for number in count():
        drawer(setup.read_unit_input(WorkUnit(label, number % max(1, setup.plan.draw.members), 1)))
        drawn += 1
        elapsed = time.perf_counter() - start
        if elapsed > MEASURING_SECONDS:
            break
    return elapsed / drawn


def estimate_disk(setup: ReconstructionSetup, folder: Path) -> Iterator[str]:
    """Yield the required and the free disk space."""
    out, members = setup.plan.output, setup.plan.draw.members
    rows, columns = setup.space.shown.shape
    field = 4 * rows * columns * len(setup.space.coarse.data_vars)
    stats = (2 + len(out.quantiles)) * (out.keep != "members")
    fields = (members * (out.keep != "stats") + stats) if members else 1
    products = COMPRESSED_SHARE * field * fields * len(setup.series.labels)
    units = field * max(1, members) * count_waiting_steps(setup)
    yield from describe_disk(products, units, folder)


def count_waiting_steps(setup: ReconstructionSetup) -> int:
    """Return the largest number of steps in an output file: those of a year, or 1 in a store."""
    if setup.plan.output.layout == "zarr":
        return 1
    years = [label_year(label) for label in setup.series.labels]
    return max(map(years.count, set(years)))
