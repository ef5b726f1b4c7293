"""Verify a reconstruction: complete, unchanged, plausible and reproducible."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.levels import join_levels
from dpdm.fields.read import open_fields
from dpdm.fields.time import time_labels
from dpdm.fields.value_checks import check_values
from dpdm.reconstruct.ledger import (
    Ledger,
    hold_lock,
    open_ledger,
)
from dpdm.reconstruct.outputs import OutputLayout, open_product
from dpdm.reconstruct.setup import (
    ReconstructionSetup,
    UnitSampler,
    describe_changes,
    prepare_reconstruction,
)
from dpdm.states.sampling import step_blocks

REDRAWN_UNITS = 3
REDRAW_TOLERANCE = 1e-4  # of the standard deviation of a field
BACKUP_HINT = "Restore it from a backup."
REDRAW_HINT = " The command without --verify, with --accept-change, draws it again."
VerifyCallback = Callable[[int, int], None]


def verify_products(
    path: Path,
    folder: Path,
    report: VerifyCallback = lambda done, total: None,
    seed: int | None = None,
) -> Iterator[str]:
    """Yield the results of the checks, line by line; the seed chooses redrawn units."""
    setup = prepare_reconstruction(path)
    with hold_lock(folder):
        ledger = open_ledger(folder)
        if not ledger.starts:
            raise DpdmError(f"{folder} holds no reconstruction.", "Run the plan first.")
        setup = setup.adopt_laws(ledger)
        check_same_plan(setup, ledger)
        layout = setup.output_layout(folder, ledger.fingerprint)
        yield check_complete(setup, ledger)
        products = list(dict.fromkeys(ledger.step_products[n] for n in setup.series.labels))
        for number, product in enumerate(products, 1):
            check_product_digest(layout, ledger, product)
            report(number, len(products))
        yield f"checksums of output files that agree with the ledger: {len(products)}"
        yield check_series_values(setup, folder)
        yield from redraw_units(setup, ledger, layout, random.Random(seed))


def check_same_plan(setup: ReconstructionSetup, ledger: Ledger) -> None:
    """Refuse a plan or a prior other than that of the last run."""
    version = {"dpdm": ledger.fingerprint["dpdm"]}
    if changed := describe_changes(ledger.fingerprint, setup.fingerprint() | version):
        raise DpdmError(
            f"Since the last run into {ledger.path.parent}, {'; '.join(changed)}.",
            "Verify it with the plan and the prior that made it.",
        )


def check_complete(setup: ReconstructionSetup, ledger: Ledger) -> str:
    """Return that all steps are written; refuse an incomplete reconstruction."""
    missing = [n for n in setup.series.labels if n not in ledger.step_products]
    if missing:
        listed = ", ".join(missing[:6]) + (" ..." if len(missing) > 6 else "")
        raise DpdmError(
            f"{len(missing)} of {len(setup.series.labels)} steps are not done: {listed}.",
            "Resume with the command without --verify; dpdm status lists failures.",
        )
    complete = f"complete steps: {len(setup.series.labels)}"
    gaps = setup.series.missing
    return f"{complete}; missing in the input: {', '.join(gaps)}" if gaps else complete


def check_product_digest(layout: OutputLayout, ledger: Ledger, product: str) -> None:
    """Refuse an output file that was changed or removed."""
    try:
        unchanged = layout.digest(product) == ledger.products[product]
    except FileNotFoundError as error:
        raise DpdmError(f"{product} is missing.", BACKUP_HINT + REDRAW_HINT) from error
    if not unchanged:
        remove = "" if "/" in product else f" Or remove it:{REDRAW_HINT}"
        raise DpdmError(f"{product} was changed since it was written.", BACKUP_HINT + remove)


def check_series_values(setup: ReconstructionSetup, folder: Path) -> str:
    """Check that the output is one series of finite and plausible values."""
    paths = sorted(folder.glob("fine_*.nc")) or [folder / "fine.zarr"]
    labels: list[str] = []
    for path in paths:
        with open_fields(path) as ds:
            for step in range(ds.sizes["time"]):
                check_values(field_variables(ds).isel(time=[step]).load(), path)
            labels += time_labels(ds)
    expected = time_labels(setup.series.fields)
    if [label for label in labels if label in set(expected)] != expected:
        raise DpdmError(
            f"The time axis of {folder} is not that of the input.",
            "Reconstruct into another folder.",
        )
    return f"values are finite and plausible, time increases from {labels[0]} to {labels[-1]}"


def field_variables(ds: xr.Dataset) -> xr.Dataset:
    """Return the variables of an output file other than spreads."""
    return ds[[n for n in ds.data_vars if not str(n).endswith("_spread")]]


def redraw_units(
    setup: ReconstructionSetup, ledger: Ledger, layout: OutputLayout, rng: random.Random
) -> Iterator[str]:
    """Draw some units again, and yield how they compare."""
    recent = [unit for unit in ledger.drawn if unit not in ledger.outdated_units]
    recent = [unit for unit in recent if unit.label in setup.series.labels]
    drawer = setup.unit_sampler
    for unit in rng.sample(recent, min(REDRAWN_UNITS, len(recent))):
        if drawer(setup.read_unit_input(unit)).digest == ledger.drawn[unit]["sha256"]:
            yield f"{unit.name} drawn again: bit-identical"
        else:
            difference = compare_to_product(setup, drawer, layout, unit.label)
            yield f"{unit.name} drawn again: {difference}"


def compare_to_product(
    setup: ReconstructionSetup, drawer: UnitSampler, layout: OutputLayout, label: str
) -> str:
    """Return the difference of a step drawn again from its output file, as on other processors."""
    units = setup.units_of(label)
    members = (member for u in units for member in drawer(setup.read_unit_input(u)).fields)
    space = replace(setup.space, coarse=setup.series.select([label]))
    with open_product(layout.path(label)) as ds:
        stored = ds.isel(time=[[n[: len(label)] for n in time_labels(ds)].index(label)])
        worst = max(
            max_scaled_difference(block, stored) for block in step_blocks(space, 0, members)
        )
    if worst > REDRAW_TOLERANCE:
        raise DpdmError(
            f"{label} drawn again differs by {worst:.1e} of its standard deviation.",
            "The prior, the input or the machine has changed.",
        )
    return f"equal to {worst:.0e} of its standard deviation, as on other processors"


def max_scaled_difference(block: xr.Dataset, output: xr.Dataset) -> float:
    """Return the largest difference between fields, in their standard deviations.

    A field without values, such as the spread of one member, must have none in the output; a field
    without variance, such as rain of a dry month, counts in its units.
    """
    differences = [0.0]
    for name, array in join_levels(block).data_vars.items():
        stored = output[name]
        if "realization" in stored.dims:
            stored = stored.isel(realization=array["realization"].values)
        new, old = array.values.ravel(), stored.transpose(*array.dims).values.ravel()
        finite = np.isfinite(new)
        if not np.array_equal(finite, np.isfinite(old)):
            return math.inf
        if finite.any():
            largest = np.abs(new - old)[finite].max()
            differences.append(float(largest / (new[finite].std() or 1.0)))
    return max(differences)
