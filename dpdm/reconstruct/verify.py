"""Check what was reconstructed: nothing lacks, nothing was touched, and it can be drawn again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.levels import joined
from dpdm.fields.store import check_values, open_fields
from dpdm.fields.time import labels
from dpdm.reconstruct.changes import differences
from dpdm.reconstruct.drawer import Drawer
from dpdm.reconstruct.layouts import layout_of
from dpdm.reconstruct.ledger import Ledger, open_ledger
from dpdm.reconstruct.lock import held
from dpdm.reconstruct.products import Layout, made_from, values
from dpdm.reconstruct.setting import Setting, coarse_of, prepare
from dpdm.reconstruct.yearly import opened

REDRAWN = 3
ROUNDING = 1e-4  # of a field's standard deviation
BACKUP = "Take it from a backup."
AGAIN = " The command without --verify, with --accept-change, draws it again."
Report = Callable[[int, int], None]


def verify(
    path: Path, folder: Path, report: Report = lambda done, total: None, seed: int | None = None
) -> Iterator[str]:
    """Yield what was found in a folder, line by line.

    Args:
        path: The plan.
        folder: What was reconstructed after it.
        report: What to tell of how far it is.
        seed: Which units are drawn again; by chance if it is not given.

    Raises:
        DpdmError: At the first thing that is wrong.
    """
    setting = prepare(path)
    with held(folder):
        ledger = open_ledger(folder)
        if not ledger.starts:
            raise DpdmError(f"{folder} holds no reconstruction.", "Run the plan first.")
        check_plan(setting, ledger)
        layout = layout_of(setting, folder, made_from(setting, ledger.fingerprint))
        yield complete(setting, ledger)
        products = list(dict.fromkeys(ledger.kept[n] for n in setting.series.labels))
        for number, product in enumerate(products, 1):
            check_product(layout, ledger, product)
            report(number, len(products))
        yield f"{len(products)} products have the checksums of the ledger"
        yield sound(setting, folder)
        yield from redrawn(setting, ledger, layout, random.Random(seed))


def check_plan(setting: Setting, ledger: Ledger) -> None:
    """Refuse a plan or a prior that is not the one of the last run.

    Raises:
        DpdmError: When one is not; another version of dpdm is none of this, what it draws tells.
    """
    version = {"dpdm": ledger.fingerprint["dpdm"]}
    if changed := differences(ledger.fingerprint, setting.fingerprint() | version):
        raise DpdmError(
            f"Since the last run into {ledger.path.parent}, {'; '.join(changed)}.",
            "Verify it with the plan and the prior that made it.",
        )


def complete(setting: Setting, ledger: Ledger) -> str:
    """Say that every step of the series is in a product.

    Raises:
        DpdmError: When one is not.
    """
    lacking = [n for n in setting.series.labels if n not in ledger.kept]
    if lacking:
        some = ", ".join(lacking[:6]) + (" ..." if len(lacking) > 6 else "")
        raise DpdmError(
            f"{len(lacking)} of {len(setting.series.labels)} steps are not done: {some}.",
            "Give the command without --verify, which goes on; dpdm status tells of faults.",
        )
    said = f"{len(setting.series.labels)} steps are there"
    absent = setting.series.missing
    return f"{said}; the input lacks {', '.join(absent)}" if absent else said


def check_product(layout: Layout, ledger: Ledger, product: str) -> None:
    """Refuse a product that is not what was written.

    Raises:
        DpdmError: When it is gone or has another digest.
    """
    try:
        same = layout.digest(product) == ledger.products[product]
    except FileNotFoundError as fault:
        raise DpdmError(f"{product} is gone.", BACKUP + AGAIN) from fault
    if not same:
        remove = "" if "/" in product else f" Or remove it:{AGAIN}"
        raise DpdmError(f"{product} was changed since it was written.", BACKUP + remove)


def sound(setting: Setting, folder: Path) -> str:
    """Say that the products make one series of finite and possible values.

    Raises:
        DpdmError: When they do not.
    """
    paths = sorted(folder.glob("fine_*.nc")) or [folder / "fine.zarr"]
    found: list[str] = []
    for path in paths:
        with open_fields(path) as ds:
            for step in range(ds.sizes["time"]):
                check_values(own(ds).isel(time=[step]).load(), path)
            found += labels(ds)
    wanted = labels(setting.series.fields)
    if [n for n in found if n in set(wanted)] != wanted:
        raise DpdmError(f"The time axis of {folder} is not that of the input.", "Begin anew.")
    return f"values are finite and possible, time rises from {found[0]} to {found[-1]}"


def own(ds: xr.Dataset) -> xr.Dataset:
    """Return the variables of a product that are fields, not what says how they vary."""
    return ds[[n for n in ds.data_vars if not str(n).endswith("_spread")]]


def redrawn(
    setting: Setting, ledger: Ledger, layout: Layout, dice: random.Random
) -> Iterator[str]:
    """Draw some units again, and say that they are what they were.

    Raises:
        DpdmError: When one is not.
    """
    recent = [unit for unit in ledger.drawn if unit not in ledger.older]
    recent = [unit for unit in recent if unit.label in setting.series.labels]
    drawer = setting.drawer
    for unit in dice.sample(recent, min(REDRAWN, len(recent))):
        same = drawer(setting.work(unit)).digest == ledger.drawn[unit]["sha256"]
        yield f"{unit.name} drawn again: " + (
            "the same to the bit" if same else near(setting, drawer, layout, unit.label)
        )


def near(setting: Setting, drawer: Drawer, layout: Layout, label: str) -> str:
    """Say how near a step drawn again is to its product, as other processors give it.

    Raises:
        DpdmError: When it is farther than rounding explains.
    """
    units = setting.units_of(label)
    members = (member for u in units for member in drawer(setting.work(u)).fields)
    space = replace(setting.space, coarse=coarse_of(setting, [label]))
    with opened(layout.path(label)) as ds:
        there = ds.isel(time=[[n[: len(label)] for n in labels(ds)].index(label)])
        worst = max(far(block, there) for block in values(space, 0, members))
    if worst > ROUNDING:
        raise DpdmError(
            f"{label} drawn again differs by {worst:.1e} of its standard deviation.",
            "The prior, the input or the machine is not what it was.",
        )
    return f"the same to {worst:.0e} of its standard deviation, as other processors give it"


def far(block: xr.Dataset, there: xr.Dataset) -> float:
    """Return the greatest difference between fields, in their standard deviations.

    A field without values, as the spread of one member, must have none; one without variance, as
    rain of a dry month, counts in its units.
    """
    found = [0.0]
    for name, array in joined(block).data_vars.items():
        stored = there[name]
        if "realization" in stored.dims:
            stored = stored.isel(realization=array["realization"].values)
        one, other = array.values.ravel(), stored.transpose(*array.dims).values.ravel()
        known = np.isfinite(one)
        if not np.array_equal(known, np.isfinite(other)):
            return math.inf
        if known.any():
            gap = np.abs(one - other)[known].max()
            found.append(float(gap / (one[known].std() or 1.0)))
    return max(found)
