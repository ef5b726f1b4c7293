"""What an ensemble costs: time, memory and disk space, estimated from the first members."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil, prod
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from dpdm.diffusion.sample import count_network_evaluations
from dpdm.fields.statistics import statistic_names
from dpdm.fields.time import is_dated, step_labels, time_bounds
from dpdm.states.sampling import StateSpace
from dpdm.system import available_memory, format_bytes, format_hours, free_disk, peak_memory

MEASURING_SECONDS = 5.0
LARGE_BYTES, LONG_SECONDS = 2e9, 600.0  # of an ensemble that is announced
COMPRESSED_SHARE = 0.8  # compressed over uncompressed size of a field of single precision
SINGLE, DOUBLE = 4, 8  # bytes
Draw = Callable[[Any, Sequence[int]], Iterator[Any]]  # of a step and numbers of members


@dataclass(frozen=True)
class DrawingTime:
    """Measured seconds of a block of members that are drawn together.

    The first block of a step takes longer than the others, since the step's conditioning fields
    are encoded for it.
    """

    first: float
    later: float

    def total(self, members: int, block: int, steps: int) -> float:
        """Return the seconds of all members of all steps."""
        return steps * (self.first + (ceil(max(1, members) / block) - 1) * self.later)


def measure_drawing(space: StateSpace, draw: Draw) -> DrawingTime:
    """Draw members for a few seconds, after a first one that is not counted."""
    steps, members = space.steps, range(max(1, space.options.members))
    next(draw(steps[0], members[:1]))
    start = time.perf_counter()
    marks = [start]
    for number, _ in enumerate(draw(steps[-1], members)):
        if number % space.sampler.block == 0:
            marks.append(time.perf_counter())
        if len(marks) > 2 and marks[-1] - start > MEASURING_SECONDS:
            break
    later = (marks[-1] - marks[1]) / max(1, len(marks) - 2)
    return DrawingTime(marks[1] - start, later)


def describe_ensemble(space: StateSpace) -> Iterator[str]:
    """Yield what is drawn: steps, variables, cells, members and evaluations of the network."""
    sampler, members, count = space.sampler, space.options.members, len(space.steps)
    layout = space.template()
    labels = [space.label(step) for step in space.steps]
    if is_dated(layout.get("time")):
        labels = step_labels(layout["time"], time_bounds(layout))
    span = f"{labels[0]} to {labels[-1]}" if count > 1 else labels[0]
    yield f"steps: {count}" + (f", {span}" if span else "")
    yield f"variables: {', '.join(space.names)}"
    if {"lat", "lon"} <= set(layout.sizes):
        yield f"cells: {layout.sizes['lat']} x {layout.sizes['lon']}"
    each = count_network_evaluations(sampler.sampler, sampler.steps, sampler.corrections)
    yield (
        f"members: {members}, each of {each} network evaluation{'s' if each > 1 else ''}"
        if members
        else "members: none; the ensemble mean, in 1 network evaluation"
    )


def describe_cost(space: StateSpace, draw: Draw, target: Path) -> Iterator[str]:
    """Yield time, memory and disk space of an ensemble, without writing it."""
    members, block, steps = space.options.members, space.sampler.block, len(space.steps)
    measured = measure_drawing(space, draw)
    step = measured.total(members, block, 1)
    yield from describe_time(step / max(1, members), steps * step, space.sampler.device)
    yield describe_memory(space)
    yield from describe_disk(stored_bytes(space.template()), 0.0, target)


def describe_time(each: float, total: float, device: str) -> Iterator[str]:
    """Yield the measured time of a member of a step, and the expected time, from seconds."""
    threads = torch.get_num_threads()
    where = device if device != "cpu" else f"{threads} thread" + "s" * (threads > 1)
    yield f"measured: {each:.2g} s per member and step on {where}"
    yield f"expected time: {format_hours(total / 3600)}"


def describe_memory(space: StateSpace) -> str:
    """Return the memory that members took, with those that wait for statistics, and the free."""
    needed, free = peak_memory() + waiting_bytes(space), available_memory()
    return f"memory: up to {format_bytes(needed)}, {format_bytes(free)} free"


def describe_disk(needed: float, meanwhile: float, target: Path) -> Iterator[str]:
    """Yield the disk space that is needed, also while an output is made, and that is free."""
    free, folder = free_disk(target)
    yield f"disk space needed: {format_bytes(needed)}" + (
        f", and {format_bytes(meanwhile)} of temporary files" if meanwhile else ""
    )
    yield f"disk space free: {format_bytes(free)} in {folder}"
    if needed + meanwhile > free:
        yield "Warning: the disk will be full."


def stored_bytes(layout: xr.Dataset) -> float:
    """Return the size on disk of a file with such a layout, compressed."""
    return COMPRESSED_SHARE * layout.nbytes


def waiting_bytes(space: StateSpace) -> int:
    """Return the size of the members that wait in memory for the statistics of their step."""
    if not space.options.members or space.options.keep == "members":
        return 0
    statistics = len(statistic_names(space.options.quantiles))
    return prod(space.shape) * (SINGLE * space.options.members + DOUBLE * statistics)


@dataclass
class CostNotice:
    """Say once that an ensemble takes long or much space, when some of its members are drawn.

    Attributes:
        space: The states.
        layout: The layout of the output.
        say: Print a line.
        report: Progress, which is passed on.
    """

    space: StateSpace
    layout: xr.Dataset
    say: Callable[[str], None]
    report: Callable[[int, int], None]
    _start: float = field(default_factory=time.perf_counter)
    _first: float = 0.0
    _open: bool = True

    def __call__(self, done: int, total: int) -> None:
        """Take note of a member that is drawn and written."""
        if self._open:
            self._note(done, total, time.perf_counter() - self._start)
        self.report(done, total)

    def _note(self, done: int, total: int, passed: float) -> None:
        """Estimate the time when a second block or step is done and some seconds have passed."""
        self._first = self._first or passed
        members, block = max(1, self.space.options.members), self.space.sampler.block
        if passed < MEASURING_SECONDS and done < total:
            return
        if done >= members:
            seconds = passed * total / done
        elif done > block:
            later = (passed - self._first) / (ceil(done / block) - 1)
            times = DrawingTime(self._first, later)
            seconds = times.total(members, block, total // members)
        else:
            return
        self._open = False
        if line := cost_line(seconds, stored_bytes(self.layout), self.space.options.keep):
            self.say(line)


def cost_line(seconds: float, stored: float, keep: str) -> str:
    """Return a line on an ensemble that takes long or much space; else an empty one.

    Example:
        >>> cost_line(2100, 4.1e9, "all")
        'About 35 minutes and 4.1 GB; see --check, and --keep stats for a smaller file.'
        >>> cost_line(500, 1e9, "all")
        ''
    """
    if seconds <= LONG_SECONDS and stored <= LARGE_BYTES:
        return ""
    less = ", and --keep stats for a smaller file" if keep != "stats" else ""
    return f"About {format_hours(seconds / 3600)} and {format_bytes(stored)}; see --check{less}."
