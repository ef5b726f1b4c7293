"""Check what was reconstructed: nothing lacks, nothing was touched, and it can be drawn again."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.levels import join_levels
from dpdm.fields.read import open_fields
from dpdm.fields.time import time_labels
from dpdm.fields.value_checks import check_values
from dpdm.reconstruct.draw_unit import UnitSampler
from dpdm.reconstruct.ledger import (
    LEDGER_NAME,
    Ledger,
    LedgerEntry,
    WorkUnit,
    hold_lock,
    lock_holder,
    open_ledger,
)
from dpdm.reconstruct.outputs import (
    OutputLayout,
    choose_layout,
    open_product,
    product_blocks,
    product_sources,
)
from dpdm.reconstruct.plan import format_hours
from dpdm.reconstruct.setup import (
    ReconstructionSetup,
    describe_changes,
    prepare_reconstruction,
    select_coarse_steps,
)

REDRAWN_UNITS = 3
REDRAW_TOLERANCE = 1e-4  # of a field's standard deviation
BACKUP_HINT = "Take it from a backup."
REDRAW_HINT = " The command without --verify, with --accept-change, draws it again."
VerifyCallback = Callable[[int, int], None]


def verify_products(
    path: Path,
    folder: Path,
    report: VerifyCallback = lambda done, total: None,
    seed: int | None = None,
) -> Iterator[str]:
    """Yield what was found in a folder, line by line.

    Args:
        path: The plan.
        folder: What was reconstructed after it.
        report: What to tell of how far it is.
        seed: Which units are drawn again; by chance if it is not given.
    """
    setting = prepare_reconstruction(path)
    with hold_lock(folder):
        ledger = open_ledger(folder)
        if not ledger.starts:
            raise DpdmError(f"{folder} holds no reconstruction.", "Run the plan first.")
        check_same_plan(setting, ledger)
        layout = choose_layout(setting, folder, product_sources(setting, ledger.fingerprint))
        yield check_complete(setting, ledger)
        products = list(dict.fromkeys(ledger.step_products[n] for n in setting.series.labels))
        for number, product in enumerate(products, 1):
            check_product_digest(layout, ledger, product)
            report(number, len(products))
        yield f"{len(products)} products have the checksums of the ledger"
        yield check_series_values(setting, folder)
        yield from redraw_units(setting, ledger, layout, random.Random(seed))


def check_same_plan(setting: ReconstructionSetup, ledger: Ledger) -> None:
    """Refuse a plan or a prior that is not the one of the last run."""
    version = {"dpdm": ledger.fingerprint["dpdm"]}
    if changed := describe_changes(ledger.fingerprint, setting.fingerprint() | version):
        raise DpdmError(
            f"Since the last run into {ledger.path.parent}, {'; '.join(changed)}.",
            "Verify it with the plan and the prior that made it.",
        )


def check_complete(setting: ReconstructionSetup, ledger: Ledger) -> str:
    """Say that every step of the series is in a product."""
    lacking = [n for n in setting.series.labels if n not in ledger.step_products]
    if lacking:
        some = ", ".join(lacking[:6]) + (" ..." if len(lacking) > 6 else "")
        raise DpdmError(
            f"{len(lacking)} of {len(setting.series.labels)} steps are not done: {some}.",
            "Give the command without --verify, which goes on; dpdm status tells of faults.",
        )
    said = f"{len(setting.series.labels)} steps are there"
    absent = setting.series.missing
    return f"{said}; the input lacks {', '.join(absent)}" if absent else said


def check_product_digest(layout: OutputLayout, ledger: Ledger, product: str) -> None:
    """Refuse a product that is not what was written."""
    try:
        same = layout.digest(product) == ledger.products[product]
    except FileNotFoundError as fault:
        raise DpdmError(f"{product} is gone.", BACKUP_HINT + REDRAW_HINT) from fault
    if not same:
        remove = "" if "/" in product else f" Or remove it:{REDRAW_HINT}"
        raise DpdmError(f"{product} was changed since it was written.", BACKUP_HINT + remove)


def check_series_values(setting: ReconstructionSetup, folder: Path) -> str:
    """Say that the products make one series of finite and possible values."""
    paths = sorted(folder.glob("fine_*.nc")) or [folder / "fine.zarr"]
    found: list[str] = []
    for path in paths:
        with open_fields(path) as ds:
            for step in range(ds.sizes["time"]):
                check_values(field_variables(ds).isel(time=[step]).load(), path)
            found += time_labels(ds)
    wanted = time_labels(setting.series.fields)
    if [n for n in found if n in set(wanted)] != wanted:
        raise DpdmError(f"The time axis of {folder} is not that of the input.", "Begin anew.")
    return f"values are finite and possible, time rises from {found[0]} to {found[-1]}"


def field_variables(ds: xr.Dataset) -> xr.Dataset:
    """Return the variables of a product that are fields, not what says how they vary."""
    return ds[[n for n in ds.data_vars if not str(n).endswith("_spread")]]


def redraw_units(
    setting: ReconstructionSetup, ledger: Ledger, layout: OutputLayout, dice: random.Random
) -> Iterator[str]:
    """Draw some units again, and say that they are what they were."""
    recent = [unit for unit in ledger.drawn if unit not in ledger.outdated_units]
    recent = [unit for unit in recent if unit.label in setting.series.labels]
    drawer = setting.unit_sampler
    for unit in dice.sample(recent, min(REDRAWN_UNITS, len(recent))):
        same = drawer(setting.read_unit_input(unit)).digest == ledger.drawn[unit]["sha256"]
        yield f"{unit.name} drawn again: " + (
            "the same to the bit"
            if same
            else compare_to_product(setting, drawer, layout, unit.label)
        )


def compare_to_product(
    setting: ReconstructionSetup, drawer: UnitSampler, layout: OutputLayout, label: str
) -> str:
    """Say how near a step drawn again is to its product, as other processors give it."""
    units = setting.units_of(label)
    members = (member for u in units for member in drawer(setting.read_unit_input(u)).fields)
    space = replace(setting.space, coarse=select_coarse_steps(setting, [label]))
    with open_product(layout.path(label)) as ds:
        there = ds.isel(time=[[n[: len(label)] for n in time_labels(ds)].index(label)])
        worst = max(
            max_scaled_difference(block, there) for block in product_blocks(space, 0, members)
        )
    if worst > REDRAW_TOLERANCE:
        raise DpdmError(
            f"{label} drawn again differs by {worst:.1e} of its standard deviation.",
            "The prior, the input or the machine is not what it was.",
        )
    return f"the same to {worst:.0e} of its standard deviation, as other processors give it"


def max_scaled_difference(block: xr.Dataset, there: xr.Dataset) -> float:
    """Return the greatest difference between fields, in their standard deviations.

    A field without values, as the spread of one member, must have none; one without variance, as
    rain of a dry month, counts in its units.
    """
    found = [0.0]
    for name, array in join_levels(block).data_vars.items():
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


@dataclass(frozen=True)
class ReconstructionStatus:
    """How far a reconstruction is.

    Attributes:
        start: The entry of its last start.
        done: Units that need no more work.
        total: All units, as of the last start.
        failed: Units that failed and were not drawn since, and the fault.
        units_per_hour: Units an hour, over the last; 0 if none is known.
        products: Names of the products.
        holder: Who works on it now, if somebody does.
    """

    start: LedgerEntry
    done: int
    total: int
    failed: dict[WorkUnit, str]
    units_per_hour: float
    products: tuple[str, ...]
    holder: str

    @property
    def left(self) -> int:
        """Count the units that are neither done nor failed."""
        return max(0, self.total - self.done - len(self.failed))

    def text(self) -> str:
        """Return it in lines."""
        hours = (
            f", {format_hours(self.left / self.units_per_hour)}"
            if self.units_per_hour and self.left
            else ""
        )
        lines = [
            f"series: {self.start['first']} to {self.start['last']}",
            f"done: {self.done} of {self.total} units",
            f"failed: {len(self.failed)}",
            f"left: {self.left}{hours}",
            f"rate: {self.units_per_hour:.1f} units an hour",
            f"products: {len(self.products)}",
            f"at work: {self.holder or 'nobody'}",
        ]
        if self.start["missing"]:
            lines.append(f"missing in the input: {', '.join(self.start['missing'])}")
        return "\n".join(lines + [f"{u.name} failed: {text}" for u, text in self.failed.items()])


def read_status(folder: Path) -> ReconstructionStatus:
    """Return how far the reconstruction in a folder is."""
    if not (folder / LEDGER_NAME).is_file():
        raise DpdmError(
            f"{folder} holds no ledger of a reconstruction.", "Name the folder OUT of one."
        )
    ledger = open_ledger(folder)
    if not ledger.starts:
        raise DpdmError(f"{folder} was locked, and nothing begun.", "Give the command again.")
    start = ledger.starts[-1]
    done = min(ledger.done, start["units"])
    failed = {unit: entry["error"] for unit, entry in ledger.faults.items()}
    names = tuple(n for n in ledger.products if not n.startswith("observations/"))
    return ReconstructionStatus(
        start, done, start["units"], failed, ledger.rate, names, lock_holder(folder)
    )
