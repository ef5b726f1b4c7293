"""A plan with all that it names, opened and found to fit: a reconstruction that can begin.

Notice what changed since the last run, before it mixes with what is done.

A fingerprint is a flat mapping of all that decides values. Where it differs from the ledger's, or
the input of a step that is done does, or a product is gone, the run is refused and the difference
named; the user may accept it, which the ledger records, unless it would not fit the products that
there are. What is gone is then drawn again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from dpdm import __version__
from dpdm.assimilate import guide_sampler, read_all_observations, screen
from dpdm.errors import DpdmError
from dpdm.fields.time import MONTHS_PER_PERIOD, period_of, step_intervals, time_bounds
from dpdm.prior import check_field_prior, find_prior, load_prior
from dpdm.prior.skill import warn_if_unskilled
from dpdm.reconstruct.bias_adjustment import BiasAdjustment, fit_bias_adjustment
from dpdm.reconstruct.draw_unit import UnitInput, UnitSampler, build_unit_sampler
from dpdm.reconstruct.ledger import Ledger, WorkUnit, list_work_units, step_units
from dpdm.reconstruct.plan import (
    Plan,
    find_plan_file,
    find_plan_files,
    plan_assimilation_options,
    plan_ensemble_options,
    read_plan,
    translate_errors,
)
from dpdm.reconstruct.series import CoarseSeries, open_series
from dpdm.states.field_domain import make_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.request import DEFAULT_COVERAGE, AssimilationFiles
from dpdm.system import sha256


@dataclass(frozen=True)
class ReconstructionSetup:
    """A reconstruction that can begin.

    Attributes:
        path: The plan's file.
        plan: The plan.
        prior: The prior's file.
        series: The coarse series.
        space: The series and the prior, that fit each other.
        adjustment: The series, whole, as the prior gets it.
        table: All observations, checked, or nothing.
        observations: Their files.
    """

    path: Path
    plan: Plan
    prior: Path
    series: CoarseSeries
    space: FieldSpace
    adjustment: BiasAdjustment
    table: pd.DataFrame | None
    observations: tuple[Path, ...]

    @cached_property
    def units(self) -> list[WorkUnit]:
        """List the units of work."""
        return list_work_units(
            self.series.labels, self.plan.draw.members, self.plan.run.member_block
        )

    def units_of(self, label: str) -> list[WorkUnit]:
        """List the units of one step."""
        return step_units(label, self.plan.draw.members, self.plan.run.member_block)

    @property
    def unit_sampler(self) -> UnitSampler:
        """Give what draws the units; it carries no files to the workers."""
        first = self.space.coarse.isel(time=[0]).compute()
        return build_unit_sampler(
            replace(self.space, coarse=first),
            None if self.table is None else plan_assimilation_options(self.assimilation_options),
        )

    @property
    def assimilation_options(self) -> Any:
        """Give what the plan says of observations."""
        return self.plan.observations

    @translate_errors()
    def read_unit_input(self, unit: WorkUnit) -> UnitInput:
        """Return a unit with the fields and the observations of its step, read and checked."""
        step = self.series.step(unit.label)
        fields = self.adjustment.step(self.series.offset + step)
        coarse = fields if "time" in fields.dims else fields.expand_dims("time")
        if self.bounds is not None:
            coarse = coarse.assign_coords(time_bnds=self.bounds.isel(time=[step]))
        return UnitInput(unit, coarse, self.rows(step))

    @cached_property
    def bounds(self) -> xr.DataArray | None:
        """Give the bounds of all steps: without them, a lone step shows no month or year."""
        time, bounds = self.space.coarse["time"], time_bounds(self.space.coarse)
        if bounds is not None or period_of(time) not in MONTHS_PER_PERIOD:
            return bounds
        return xr.DataArray(np.stack(step_intervals(time), axis=1), dims=("time", "bnds"))

    def rows(self, step: int) -> pd.DataFrame | None:
        """Return the observations of a step."""
        if self.table is None:
            return None
        return self.table[self.table["step"] == step].assign(step=0).reset_index(drop=True)

    def digest(self, work: UnitInput) -> str:
        """Return the SHA-256 of what is known of a step."""
        digest = hashlib.sha256()
        for name in sorted(map(str, work.coarse.data_vars)):
            digest.update(name.encode() + work.coarse[name].values.tobytes())
        if work.rows is not None and len(work.rows):
            digest.update(work.rows.drop(columns=["source", "row"]).to_csv().encode())
        return digest.hexdigest()

    def inputs(self) -> dict[str, str]:
        """Return the SHA-256 of every file of input and observations."""
        return {str(path): sha256(path) for path in (*self.series.paths, *self.observations)}

    def fingerprint(self) -> dict[str, Any]:
        """Return all that decides the values of the products, but for the inputs' values."""
        plan, grid = self.plan, self.space.shown
        axes = hashlib.sha256(grid.lat.tobytes() + grid.lon.tobytes()).hexdigest()
        ground = hashlib.sha256(self.space.statics.tobytes()).hexdigest()
        units = {str(n): a.attrs.get("source_units") for n, a in self.space.coarse.items()}
        marks: dict[str, Any] = {
            "dpdm": __version__, "prior_sha256": sha256(self.prior), "grid": axes,
            "statics": ground, "variables": units,
        }  # fmt: skip
        output = {key: asdict(plan.output)[key] for key in ("layout", "keep", "quantiles")}
        seen = {k: v for k, v in asdict(plan.observations).items() if k != "files"}
        if seen["coverage"] == DEFAULT_COVERAGE:  # ledgers of earlier versions do not know it
            del seen["coverage"]
        if not plan.observations.missing:
            del seen["missing"]  # ledgers of earlier versions lack it
        sections = {"draw": asdict(plan.draw), "adjust": asdict(plan.adjust), "output": output}
        sections |= {"observations": seen} if self.table is not None else {}
        sections |= {"input": {"missing": plan.input.missing}} if plan.input.missing else {}
        flat = {f"{s}.{key}": v for s, keys in sections.items() for key, v in keys.items()}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in (marks | flat).items()}


@translate_errors()
def prepare_reconstruction(path: Path) -> ReconstructionSetup:
    """Return the reconstruction of a plan."""
    plan, folder = read_plan(path), path.resolve().parent
    own = folder / plan.prior.name
    prior_file = own if own.is_file() else find_prior(plan.prior.name)
    prior = load_prior(prior_file)
    check_field_prior(prior)
    warn_if_unskilled(prior.contract, prior_file.stem)
    options = plan_ensemble_options(plan, f"dpdm reconstruct {path.name}")
    inputs = find_plan_files(plan.input.files, folder, f"{path}, input, files")
    series = open_series(
        inputs, prior, options.rename, plan.input.units, plan.input.period, options.missing
    )
    grid, statics = (find_plan_file(n, folder) for n in (plan.output.grid, plan.output.statics))
    space = make_field_space(series.fields, prior, options, grid, statics, inputs[0])
    seen = find_plan_files(plan.observations.files, folder, f"{path}, observations, files")
    space, table = read_plan_observations(space, plan, tuple(seen)) if seen else (space, None)
    adjusted = fit_bias_adjustment(series.whole, prior, plan.adjust.method, plan.adjust.reference)
    return ReconstructionSetup(path, plan, prior_file, series, space, adjusted, table, tuple(seen))


def read_plan_observations(
    space: FieldSpace, plan: Plan, paths: tuple[Path, ...]
) -> tuple[FieldSpace, pd.DataFrame]:
    """Return the space as observations pull, and the observations, checked against the fields."""
    said = plan_assimilation_options(plan.observations)
    space = replace(space, sampler=guide_sampler(space.sampler, space.prior, said))
    table = read_all_observations(AssimilationFiles(paths, None, None, None, Path()), said)
    return space, screen(table, space, said)


def select_coarse_steps(setting: ReconstructionSetup, labels: list[str]) -> xr.Dataset:
    """Return the lazy coarse fields of some steps, in order of time."""
    where = sorted(setting.series.step(label) for label in labels)
    return setting.series.fields.isel(time=where)


FIXED_KEYS = (
    "grid",
    "variables",
    "draw.members",
    "output.layout",
    "output.keep",
    "output.quantiles",
)
KEY_LABELS = {
    "dpdm": "the version of dpdm", "prior_sha256": "the prior", "grid": "the grid",
    "statics": "the relief or land mask", "variables": "the variables or their units",
}  # fmt: skip


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what two fingerprints differ in, a sentence each.

    Example:
        >>> differences({"draw.seed": 0, "dpdm": "1"}, {"draw.seed": 7, "dpdm": "1"})
        ['draw.seed was 0 and is 7']
    """
    keys = [*before, *(k for k in after if k not in before)]
    return [
        f"{KEY_LABELS.get(key, key)} was {_shorten(before.get(key))} and is "
        f"{_shorten(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _shorten(said: object) -> str:
    text = str(said)
    return text if len(text) < 60 else f"{text[:12]}..."


def check_changes(setting: ReconstructionSetup, ledger: Ledger, accept: bool) -> dict[str, Any]:
    """Return the fingerprint, if it and the inputs are what they were, or the user accepts."""
    mark = setting.fingerprint()
    before, lost = ledger.fingerprint, find_missing_products(ledger)
    changed = describe_changes(before, mark) if before else []
    fixed = [key for key in FIXED_KEYS if before and before.get(key) != mark.get(key)]
    if fixed:
        listed = _list_differences(
            describe_changes(*({k: m.get(k) for k in fixed} for m in (before, mark)))
        )
        raise DpdmError(
            f"{listed}; the products in {ledger.path.parent} are of another shape.",
            "Reconstruct into another folder.",
        )
    inputs = setting.inputs()
    changed += find_changed_inputs(setting, ledger, inputs) + [
        f"{product} is gone" for product in lost
    ]
    if changed and not accept:
        raise DpdmError(
            f"Since {ledger.path.parent} was begun, {_list_differences(changed)}.",
            "Undo that, take another folder, or say --accept-change: what is done then stays as "
            "it is, the rest follows the change, and the ledger says so.",
        )
    if changed:
        ledger.append("change", differences=changed)
    if lost:
        ledger.append("lost", products=lost)
    if inputs != ledger.inputs:
        ledger.append("inputs", sha256=inputs)
    return mark


def find_missing_products(ledger: Ledger) -> list[str]:
    """Return the products that are there no more; of a store, all of its steps or none."""
    folder = ledger.path.parent
    if not ledger.path.exists() and any(folder.glob("fine[_.]*")):
        raise DpdmError(
            f"{folder} holds products, and its {ledger.path.name} is gone.",
            "Take it from a backup, or reconstruct into another folder.",
        )
    fields = (product for product in ledger.products if product.startswith("fine"))
    return [product for product in fields if not (folder / product.split("/")[0]).exists()]


def _list_differences(differences: list[str]) -> str:
    some = "; ".join(differences[:3])
    return f"{some}; and {len(differences) - 3} more" if len(differences) > 3 else some


def find_changed_inputs(
    setting: ReconstructionSetup, ledger: Ledger, inputs: Mapping[str, str]
) -> list[str]:
    """Return the steps that are done and whose input is another now.

    They are read only where a file is another than it was.
    """
    if not ledger.digests or inputs == ledger.inputs:
        return []
    found = []
    for label, digest in ledger.digests.items():
        if label in setting.series.labels:
            now = setting.digest(setting.read_unit_input(setting.units_of(label)[0]))
            if now != digest:
                found.append(f"the input of {label} was {_shorten(digest)} and is {_shorten(now)}")
                ledger.digests[label] = now
    return found
