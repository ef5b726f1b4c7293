"""What a plan will cost: hours, from a few seconds of drawing, and disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from dpdm.diffusion.sample import count_network_evaluations
from dpdm.evaluate.table import Table
from dpdm.fields.time import label_year
from dpdm.reconstruct.executors import count_processors
from dpdm.reconstruct.plan import format_hours
from dpdm.reconstruct.setup import ReconstructionSetup, prepare_reconstruction
from dpdm.reconstruct.units import WorkUnit

MEASURING_SECONDS = 10.0  # to measure for
TIME_OVERHEAD = 1.1  # of a unit over what it takes to draw it, at most
COMPRESSED_SHARE = 0.8  # of its bytes, a compressed field of single precision


def estimate_cost(path: Path, folder: Path | None) -> Iterator[str]:
    """Yield what a plan will cost, line by line; nothing is written."""
    setting = prepare_reconstruction(path)
    yield from describe_work(setting)
    yield from compare_climates(setting)
    yield from estimate_hours(setting)
    yield from estimate_disk(setting, folder or Path(path.stem))


def describe_work(setting: ReconstructionSetup) -> Iterator[str]:
    """Yield what is to be done."""
    series, space = setting.series, setting.space
    rows, columns = space.grid.shape
    names = ", ".join(map(str, space.coarse.data_vars))
    yield f"input: {len(series.paths)} files, {series.labels[0]} to {series.labels[-1]}"
    yield f"steps: {len(series.labels)}; missing: {', '.join(series.missing) or 'none'}"
    if series.repeated:
        yield f"twice in the input, used once: {', '.join(series.repeated)}"
    yield f"variables: {names}"
    yield f"cells: {rows} x {columns}"
    yield f"units of work: {len(setting.units)}"
    yield f"evaluations of the network: {count_unit_evaluations(setting)} of the whole domain"
    if setting.table is not None:
        unused = setting.table["status"].value_counts()
        yield "observations: " + ", ".join(f"{n} {status}" for status, n in unused.items())


def count_unit_evaluations(setting: ReconstructionSetup) -> int:
    """Count evaluations of the network, each of the whole domain, without guidance."""
    how, members = setting.space.sampler, setting.plan.draw.members
    each = count_network_evaluations(how.sampler, how.steps, how.corrections)
    return len(setting.series.labels) * (members * each + 1)


def compare_climates(setting: ReconstructionSetup) -> Iterator[str]:
    """Yield how the input's climate stands to the prior's, before and after the adjustment."""
    yield setting.adjustment.describe()
    if rows := setting.adjustment.table():
        yield Table(rows).text()


def estimate_hours(setting: ReconstructionSetup) -> Iterator[str]:
    """Yield how long it will take, measured."""
    each = measure_member_seconds(setting)
    total = TIME_OVERHEAD * each * len(setting.series.labels) * max(1, setting.plan.draw.members)
    workers = setting.plan.run.workers
    yield f"measured: {each:.2f} s a member of a step on {setting.space.sampler.device}"
    yield f"expected: {format_hours(total / 3600)} of one worker" + (
        f", {format_hours(total / 3600 / workers)} of {workers} if each has a processor"
        * (workers > 1)
    )


def measure_member_seconds(setting: ReconstructionSetup) -> float:
    """Return the seconds that a member of a step takes, measured for some seconds."""
    if setting.plan.run.workers > 1:
        torch.set_num_threads(max(1, count_processors() // setting.plan.run.workers))
    drawer, label = setting.unit_sampler, setting.series.labels[0]
    begun, drawn = time.perf_counter(), 0
    for number in count():
        drawer(
            setting.read_unit_input(WorkUnit(label, number % max(1, setting.plan.draw.members), 1))
        )
        drawn += 1
        passed = time.perf_counter() - begun
        if passed > MEASURING_SECONDS:
            break
    return passed / drawn


def estimate_disk(setting: ReconstructionSetup, folder: Path) -> Iterator[str]:
    """Yield the disk that it needs and that there is."""
    out, members = setting.plan.output, setting.plan.draw.members
    rows, columns = setting.space.shown.shape
    field = 4 * rows * columns * len(setting.space.coarse.data_vars)
    stats = (2 + len(out.quantiles)) * (out.keep != "members")
    fields = (members * (out.keep != "stats") + stats) if members else 1
    products = COMPRESSED_SHARE * field * fields * len(setting.series.labels)
    together = count_waiting_steps(setting)
    parts = field * max(1, members) * together
    where = next(p for p in (folder.resolve(), *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(where).free
    yield f"disk needed: {products / 1e9:.2f} GB, and {parts / 1e9:.2f} GB meanwhile"
    yield f"disk free: {free / 1e9:.2f} GB in {where}"
    if products + parts > free:
        yield "Warning: the disk will be full."


def count_waiting_steps(setting: ReconstructionSetup) -> int:
    """Count the steps that wait for each other: those of a year, or one in a store."""
    if setting.plan.output.layout == "zarr":
        return 1
    years = [label_year(label) for label in setting.series.labels]
    return max(map(years.count, set(years)))
