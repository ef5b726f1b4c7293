"""Reconstruct at the published size, for a stretch that fits the machine, and bill 180 years.

The published job: 40 x 70 coarse cells to 400 x 700, monthly, 33 members, 1836 to 2015. Here the
driver is made up (no reanalysis ships with any package) and the network is the bundled one, whose
2.5 to 0.25 degrees make the same numbers of cells. Each case is the public command in a process of
its own, on one thread a worker, with units of one member.

``overhead`` compares the command to a loop that draws the same units in one process and throws
them away: plan, reading, ledger, parts, products and their compression are what is between. Both
by the wall clock and by processor time, which a busy machine does not disturb. ``two workers``
compares the units an hour, from the first to the last line of the ledger. Memory is resident, of
the largest process, sampled twice a second; ``flat`` is that of the last third of the run over the
second third.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import xarray as xr

from benchmarks import common
from benchmarks.common import target
from dpdm.reconstruct.setup import prepare_reconstruction

PLAN = """
[input]
files = ["driver.nc"]
period = ["1836-01", "{last}"]
[prior]
name = "{prior}"
[draw]
members = {members}
[output]
bbox = [0, 175, {south}, {north}]
keep = "{keep}"
[run]
workers = {workers}
member_block = 1
"""
YEARS, MEMBERS = 180, 33
SIZE = (40, 70)


@dataclass(frozen=True)
class Case:
    """A reconstruction to be timed.

    Attributes:
        name: What it is called.
        months: Steps.
        members: Members.
        rows: Coarse rows, of 70 cells each.
        workers: Processes.
        keep: What is kept.
    """

    name: str
    months: int = 4
    members: int = 2
    rows: int = 40
    workers: int = 1
    keep: str = "stats"

    @property
    def units(self) -> int:
        """Count the units of work."""
        return self.months * self.members


@dataclass
class Taken:
    """What a process took.

    Attributes:
        seconds: By the wall clock.
        processor: Of processor time, with its children's.
        memory: Resident megabytes of the largest process, with the time.
    """

    seconds: float = 0.0
    processor: float = 0.0
    memory: list[tuple[float, float]] = field(default_factory=list)

    @property
    def peak(self) -> float:
        """Give the most memory, in megabytes."""
        return max(m for _, m in self.memory)

    @property
    def flat(self) -> float:
        """Give the memory of the last third of the run over that of the second."""
        sizes = np.array([m for _, m in self.memory])
        third = len(sizes) // 3
        return float(sizes[2 * third :].mean() / sizes[third : 2 * third].mean())


CASES = (
    Case("as published, short"), Case("twice the months", months=8),
    Case("twice the members", members=4), Case("half the cells", rows=20),
    Case("two workers", months=8, workers=2),
    Case("one worker", months=8), Case("members kept", keep="all"),
)  # fmt: skip


def main() -> None:
    """Time all cases, and print tables."""
    parser = common.parser(__doc__)
    parser.add_argument("--loop", type=Path, help="only draw the units of a plan, and forget them")
    options = parser.parse_args()
    if options.loop:
        loop(options.loop)
        return
    with tempfile.TemporaryDirectory() as folder:
        judge(options, Path(folder))


def driver(path: Path, months: int) -> None:
    """Write a coarse series of temperature and rain, from 1836 on."""
    rng = np.random.default_rng(0)
    lat, lon = (np.arange(n) * 2.5 + at for n, at in zip(SIZE, (-48.75, 1.25), strict=True))
    time = xr.date_range("1836-01-16", periods=months, freq="MS", use_cftime=False)
    season = np.cos(2 * np.pi * (np.arange(months) - 6.5) / 12)[:, None, None]
    warm = 300 - 40 * np.sin(np.radians(lat))[:, None] ** 2 + 8 * season * np.sign(lat)[:, None]
    rain = 3 + 2 * np.sin(np.radians(3 * lon)) * np.cos(np.radians(4 * lat))[:, None]
    dims, shape = ("time", "lat", "lon"), (months, *SIZE)
    fields = {
        "t2m": (dims, (warm + rng.normal(0, 1, shape)).astype("f4"), {"units": "K"}),
        "tp": (dims, (rain * rng.gamma(4, 0.25, shape)).astype("f4"), {"units": "mm day-1"}),
    }
    xr.Dataset(fields, {"time": time, "lat": lat, "lon": lon}).to_netcdf(path)


def plan(case: Case, folder: Path, prior: str) -> Path:
    """Write the plan of a case."""
    last = f"{1836 + (case.months - 1) // 12}-{(case.months - 1) % 12 + 1:02d}"
    half = case.rows * 1.25
    words = {k: getattr(case, k) for k in ("members", "workers", "keep")}
    path = folder / f"{case.name.replace(' ', '_')}.toml"
    path.write_text(PLAN.format(last=last, prior=prior, south=-half, north=half, **words))
    return path


def taken(words: Sequence[object]) -> Taken:
    """Run a process to its end, and tell what it took."""
    begun, ran = time.perf_counter(), Taken()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    before = sum(os.times()[2:4])
    child = psutil.Popen([*map(str, words)], env=environment, stderr=-3)
    watcher = threading.Thread(target=watch, args=(child, ran, begun), daemon=True)
    watcher.start()
    if child.wait():
        raise SystemExit(f"{' '.join(map(str, words))} ended with exit {child.returncode}.")
    watcher.join()
    ran.seconds, ran.processor = time.perf_counter() - begun, sum(os.times()[2:4]) - before
    return ran


def watch(child: psutil.Popen, ran: Taken, begun: float) -> None:
    """Note the largest process, twice a second."""
    while child.is_running():
        try:
            sizes = [p.memory_info().rss for p in (child, *child.children(recursive=True))]
        except psutil.Error:
            break
        ran.memory.append((time.perf_counter() - begun, max(sizes) / 1e6))
        time.sleep(0.5)


def loop(path: Path) -> None:
    """Draw the units of a plan, and forget them."""
    setting = prepare_reconstruction(path)
    drawer = setting.unit_sampler
    for unit in setting.units:
        drawer(setting.read_unit_input(unit))


def drawn(out: Path) -> list[dict[str, Any]]:
    """Return the entries of a ledger that tell of units."""
    lines = (out / "ledger.jsonl").read_text().splitlines()
    return [e for e in map(json.loads, lines) if e["event"] == "drawn"]


def rate(out: Path) -> float:
    """Return units an hour, from the first to the last in a ledger."""
    times = [datetime.fromisoformat(entry["at"]) for entry in drawn(out)]
    return 3600 * (len(times) - 1) / (times[-1] - times[0]).total_seconds()


def cost(out: Path) -> float:
    """Return the seconds that a unit takes to draw, by the ledger: the median."""
    return float(np.median([entry["seconds"] for entry in drawn(out)]))


def judge(options: Namespace, folder: Path) -> None:
    """Time every case, and the bare loop."""
    driver(folder / "driver.nc", max(case.months for case in CASES))
    found, rates, costs, rows = {}, {}, {}, []
    for case in CASES:
        path, out = plan(case, folder, options.prior), folder / "out"
        found[case.name] = taken([*common.COMMAND, "reconstruct", path, out])
        rates[case.name], costs[case.name] = rate(out), cost(out)
        shutil.rmtree(out)
        rows.append(row(case, found[case.name], rates[case.name], costs[case.name]))
        print("  ".join(map(common.written, rows[-1])), file=sys.stderr)
    bare = taken([*common.this_benchmark(), "--loop", plan(CASES[0], folder, options.prior)])
    rows.append(
        ("bare loop", CASES[0].units, bare.seconds, bare.processor, "-", "-", bare.peak, "-")
    )
    head = ("case", "units", "seconds", "processor s", "s/unit", "units/h", "peak MB", "flat")
    print(common.table(head, rows))
    close(found, rates, costs, bare)


def row(case: Case, ran: Taken, pace: float, each: float) -> tuple[object, ...]:
    """Return a line of the table."""
    return case.name, case.units, ran.seconds, ran.processor, each, pace, ran.peak, ran.flat


def close(
    found: dict[str, Taken], rates: dict[str, float], costs: dict[str, float], bare: Taken
) -> None:
    """Print the bill and the targets."""
    once, each = found["as published, short"], costs["as published, short"]
    hours = YEARS * 12 * MEMBERS * each / 3600
    ahead = rates["two workers"] / rates["one worker"]
    print(
        f"\n{YEARS} years, {MEMBERS} members: {hours:.0f} hours of one processor, "
        f"{hours / 24 / ahead:.1f} days of two"
    )
    figures = {
        "seconds_a_unit": costs, "hours": hours,
        "peak_MB": {name: ran.peak for name, ran in found.items()},
    }  # fmt: skip
    common.close("reconstruction", figures, {
        "overhead, wall": target(once.seconds / bare.seconds - 1, most=0.10),
        "overhead, processor": target(once.processor / bare.processor - 1, most=0.10),
        "two workers": target(ahead, least=1.7),
        "peak (MB)": target(max(ran.peak for ran in found.values()), most=1500),
        "flat": target(found["twice the months"].flat, most=1.05),
        "a unit, twice the months": target(costs["twice the months"] / each, 0.9, 1.1),
        "a unit, twice the members": target(costs["twice the members"] / each, 0.9, 1.1),
        "a unit, half the cells": target(costs["half the cells"] / each, 0.4, 0.6),
    })  # fmt: skip


if __name__ == "__main__":
    main()
