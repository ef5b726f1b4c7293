"""Send signals to commands at moments drawn by chance, and count what goes wrong.

A command must end within `LIMIT` seconds with the signal's exit code and one sentence, and leave
nothing half-written. After ``kill -9`` the same command is run again, and must leave nothing of
the killed one.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dpdm.fields.grid import Grid
from dpdm.fields.regrid import interpolate_bilinear
from tests.helpers.commands import Child, Nursery
from tests.helpers.reconstruction import plan, series
from tests.helpers.small_world import TOML, Taught, coarse_world, world

LIMIT = 20.0  # seconds
SAID = "Interrupted: nothing half-written is left.\n"
# A job that a shell has put into the background ignores Ctrl-C: these do not.
HEARD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL), signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""
KEPT = {"out.safetensors", "out.safetensors.resume", "out.jsonl"}
PRIOR = ("--prior", "../prior.safetensors")
CASES: dict[str, tuple[str, ...]] = {
    "lerp": ("lerp", "../coarse.nc", "out.nc", "--factor", "150"),
    "lerp, Zarr": ("lerp", "../coarse.nc", "out.zarr", "--factor", "80"),
    "downscale": ("downscale", "../coarse.nc", "out.nc", *PRIOR, "--members", "60"),
    "downscale, Zarr": ("downscale", "../coarse.nc", "out.zarr", *PRIOR, "--members", "60"),
    "train": (
        "train", "../fine.nc", "--factor", "4", "--config", "../long.toml", "--out",
        "out.safetensors",
    ),
    "reconstruct": ("reconstruct", "../plan.toml", "out"),
    "reconstruct, workers": ("reconstruct", "../plan.toml", "out", "--workers", "2"),
    "reconstruct, Zarr": ("reconstruct", "../cube.toml", "out"),
    "export": ("export", "../large.nc", "out.nc"),
    "export, GeoTIFF": ("export", "../large.nc", "out.tif", "--variable", "t2m"),
    "export, GeoTIFFs": (
        "export", "../large.nc", "out.tif", "--variable", "t2m", "--split", "time",
    ),
}  # fmt: skip


@dataclass
class Count:
    """What a campaign has seen.

    Attributes:
        shots: Runs that a signal was sent to.
        hit: Those that it ended.
        hangs: Those that were not gone within the limit.
        tracebacks: Those that said anything but the sentence, or had another exit code.
        left: Those that left a file behind.
        slowest: The longest time from signal to end, seconds.
        faults: What went wrong, in words.
    """

    shots: int = 0
    hit: int = 0
    hangs: int = 0
    tracebacks: int = 0
    left: int = 0
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def site(folder: Path, taught: Taught, months: int = 6, members: int = 20) -> Path:
    """Write the files that all commands but exports need."""
    (folder / "prior.safetensors").write_bytes(taught.prior.read_bytes())
    coarse_world(months).to_netcdf(folder / "coarse.nc")
    world(months).to_netcdf(folder / "fine.nc")
    (folder / "long.toml").write_text(TOML.replace("steps = 12", "steps = 120"))
    series(folder, months)
    plan(folder, keep="all", members=members)
    plan(folder, "cube.toml", keep="all", members=members, layout="zarr")
    return folder


def large(folder: Path) -> None:
    """Write the field that is exported."""
    fine = Grid(20.5 + 0.05 * np.arange(600.0), 100.5 + 0.05 * np.arange(900.0))
    interpolate_bilinear(world(12), fine).astype("f4").to_netcdf(folder / "large.nc")


def fire(
    nursery: Nursery, folder: Path, name: str, dice: random.Random, usual: float, count: Count
) -> None:
    """Disturb one run of a command, and count what it does."""
    number = dice.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
    twice = dice.random() < 0.3
    here = folder / "shot"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    os.chdir(here)
    child = nursery.start(*CASES[name], before=HEARD)
    time.sleep(dice.uniform(0, usual))
    begun = time.monotonic()
    send(child, number)
    if twice:
        time.sleep(dice.uniform(0, 1))
        send(child, number)
    hung = ended(child)
    count.shots += 1
    count.slowest = max(count.slowest, time.monotonic() - begun)
    said = f"{name}, {number.name}{' twice' if twice else ''}"
    judge(child, number, hung, said, count)
    whole = finished(child) or published(here)
    if number == signal.SIGKILL:
        again = nursery.run(*CASES[name], before=HEARD)
        fine = again.returncode == (0 if not whole or "exists" not in again.stderr else 1)
        tell(fine, count, "tracebacks", f"{said}: again {again.stderr[-300:]}")
        whole = True
    found = strays(here, whole)
    tell(not found, count, "left", f"{said}: left {found[:5]}")


def judge(child: Child, number: signal.Signals, hung: bool, said: str, count: Count) -> None:
    """Count a hang, another exit code, or other words than the sentence."""
    tell(not hung, count, "hangs", f"{said}: hangs")
    count.hit += not finished(child)
    if hung or number == signal.SIGKILL or finished(child):
        return
    quiet = [x for x in child.stderr.splitlines(True) if "Z " not in x and "steps/s" not in x]
    fine = child.returncode == 128 + number and quiet == [SAID]
    words = f"{said}: exit {child.returncode}, {child.stderr[-300:]!r}"
    tell(fine, count, "tracebacks", words)


def finished(child: Child) -> bool:
    """Tell whether a command had done its work before the signal came."""
    return "Wrote " in child.stderr or "is done" in child.stderr


def published(folder: Path) -> bool:
    """Tell whether a whole output is there."""
    return any(not p.name.startswith(".") and p.name not in KEPT for p in folder.iterdir())


def tell(fine: bool, count: Count, what: str, words: str) -> None:
    """Count a fault, if it is one."""
    if not fine:
        setattr(count, what, getattr(count, what) + 1)
        count.faults.append(words)


def send(child: Child, number: int) -> None:
    """Send a signal to a command, if it has not ended."""
    if child.poll() is None:
        os.kill(child.pid, number)


def ended(child: Child) -> bool:
    """Wait for a command; end one that hangs, and return whether it did."""
    limit = time.monotonic() + LIMIT
    while child.poll() is None and time.monotonic() < limit:
        time.sleep(0.02)
    if child.poll() is not None:
        return False
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    return True


def strays(folder: Path, whole: bool) -> list[str]:
    """Return what should not be there: temporary files, and any output of a run that was ended."""
    there = [str(p.relative_to(folder)) for p in folder.rglob("*")]
    hidden = [name for name in there if ".tmp" in name or ".old" in name or ".raw" in name]
    outputs = [n for n in there if "/" not in n and n not in {*KEPT, "out"}]
    return hidden if whole else hidden + outputs


def campaign(
    nursery: Nursery, folder: Path, names: Sequence[str], shots: int, seed: int
) -> dict[str, Count]:
    """Send so many signals to each command, and return what was seen."""
    dice, seen = random.Random(seed), {}
    for name in names:
        usual = undisturbed(nursery, folder, name)
        seen[name] = Count()
        for _ in range(shots):
            fire(nursery, folder, name, dice, usual, seen[name])
        shutil.rmtree(folder / "shot")
    return seen


def undisturbed(nursery: Nursery, folder: Path, name: str) -> float:
    """Return the seconds that a command takes where nothing disturbs it."""
    here = folder / "shot"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    os.chdir(here)
    begun = time.monotonic()
    child = nursery.run(*CASES[name], before=HEARD)
    assert child.returncode == 0, child.stderr
    return time.monotonic() - begun
