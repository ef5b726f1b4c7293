"""Open a plan with its files, and compare it with the last run.

A fingerprint is a flat mapping of all settings that determine values. If it differs from that of
the ledger, if the input of a step that is done has changed, or if an output file is missing, the
run is refused. The user may accept such a change unless it changes the shape of the output; the
ledger records it, and missing output is drawn again.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr

from dpdm import __version__
from dpdm.assimilate.analysis import Analysis, guide_space, screen
from dpdm.assimilate.anomaly_law import laws_as_json
from dpdm.assimilate.background import BackgroundError
from dpdm.assimilate.background_error import (
    build_background_error,
    restore_background_error,
    set_station_errors,
)
from dpdm.assimilate.check import pass_notes
from dpdm.choices import FAST
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.driver_climate import select_stencil
from dpdm.fields.file_names import file_name
from dpdm.fields.time import MONTHS_PER_PERIOD, period_of, step_intervals, time_bounds
from dpdm.observations.status import IN_USE, has_status
from dpdm.observations.table import read_observations
from dpdm.prior import check_field_prior, find_prior, load_prior
from dpdm.prior.model_card import warn_if_unskilled
from dpdm.reconstruct.ledger import Ledger
from dpdm.reconstruct.outputs import OUTPUT_LAYOUTS, OutputLayout, OutputSource
from dpdm.reconstruct.plan import (
    ObservationSection,
    Plan,
    plan_assimilation_options,
    plan_ensemble_options,
    read_plan,
)
from dpdm.reconstruct.plan_keys import translate_errors
from dpdm.reconstruct.series import CoarseSeries
from dpdm.reconstruct.sources import PlanFiles, open_source
from dpdm.reconstruct.units import UnitInput, UnitResult
from dpdm.reconstruct.work_units import WorkUnit, list_work_units, step_units
from dpdm.states.bias_adjustment import (
    BiasAdjustment,
    fit_anomalies,
    fit_bias_adjustment,
)
from dpdm.states.driver_adjustment import space_climatology
from dpdm.states.ensemble import ensemble_provenance
from dpdm.states.fields import FieldSpace
from dpdm.states.options import AssimilationOptions
from dpdm.states.sampling import choose_unguided_sampler
from dpdm.system import sha256

SHORT_STEPS = (
    "Some steps of guidance would have overshot, and were shortened to less than half. Set "
    'guidance = "law" in [observations].'
)
UNSTABLE_COLUMNS = ["source", "row", "note"]  # which may change where files of observations grow


@dataclass(frozen=True)
class UnitSampler:
    """A function that draws units.

    Attributes:
        space: The space of fields; the coarse fields of a step come with its work.
        options: Options of observations, or None without observations.
        error: Error of the background, or None where it is exact.
    """

    space: FieldSpace
    options: AssimilationOptions | None = None
    error: BackgroundError | None = None

    def __call__(self, work: UnitInput) -> UnitResult:
        """Draw a unit."""
        space = replace(self.space, coarse=work.coarse)
        numbers = list(work.unit.numbers)
        if self.options is None or work.rows is None:
            return UnitResult(np.stack([m.astype(np.float32) for m in space.members(0, numbers)]))
        analysis = Analysis(space, work.rows, self.options.reject, self.error)
        members = np.stack([m.astype(np.float32) for m in analysis.members(0, numbers)])
        if space.sampler.steps_taken.short:
            warnings.warn(SHORT_STEPS, DpdmWarning, stacklevel=2)
        equivalents = np.ascontiguousarray(analysis.analysis[:, numbers])
        status = tuple(analysis.table["status"])
        return UnitResult(members, analysis.prior, equivalents, status)

    def use_device(self, worker: int | None, threads: int) -> None:
        """Set threads and device of a worker process; numbered workers share the GPUs in turn."""
        torch.set_num_threads(threads)
        device = self.space.sampler.device
        if device == "cuda" and worker is not None:
            torch.cuda.set_device(worker % torch.cuda.device_count())
        self.space.prior.denoiser.to(device)


@dataclass(frozen=True)
class ReconstructionSetup:
    """A plan with all its files opened.

    Attributes:
        path: The plan's file.
        plan: The plan.
        prior: The prior's file.
        series: The coarse series.
        space: The space of fine fields.
        adjustment: Bias adjustment of the complete series.
        table: All observations after quality control, or None.
        options: Options of the observations, or None.
        observations: Observation files and lists of stations.
        laws: Laws of the background's error that an earlier run has estimated, or None.
    """

    path: Path
    plan: Plan
    prior: Path
    series: CoarseSeries
    space: FieldSpace
    adjustment: BiasAdjustment
    table: pd.DataFrame | None = None
    options: AssimilationOptions | None = None
    observations: tuple[Path, ...] = ()
    laws: Mapping[str, Any] | None = None

    @cached_property
    def units(self) -> list[WorkUnit]:
        """Return the units of work."""
        return list_work_units(
            self.series.labels, self.plan.draw.members, self.plan.run.member_block
        )

    def units_of(self, label: str) -> list[WorkUnit]:
        """Return the units of one step."""
        return step_units(label, self.plan.draw.members, self.plan.run.member_block)

    @property
    def unit_sampler(self) -> UnitSampler:
        """Return the function that draws units; it holds one step and no open files."""
        space = replace(self.space, coarse=self.space.coarse.isel(time=[0]).compute())
        return UnitSampler(space, self.options, self.background_error)

    @cached_property
    def background_error(self) -> BackgroundError | None:
        """Return the error of the background, the same for all steps."""
        if self.table is None or self.options is None:
            return None
        if self.laws:
            return restore_background_error(self.space, self.laws, self.options)
        return build_background_error(self.space, self.table, self.options)

    @cached_property
    def network(self) -> pd.DataFrame | None:
        """Return the observations, with the errors of the estimated law where they have none."""
        if self.table is None:
            return None
        table = self.table.copy()
        set_station_errors(table, self.space, self.background_error)
        return table

    def adopt_laws(self, ledger: Ledger) -> ReconstructionSetup:
        """Return the setup with the laws that the first run has estimated, if there are any.

        Files of observations may grow, and what is drawn must not depend on when.
        """
        before = ledger.fingerprint
        if before.get("observations.coarse_error") != self.plan.observations.coarse_error:
            return self
        laws = before.get("background_error")
        return replace(self, laws=laws) if laws else self

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
        """Return the bounds of all steps, from which the period of a single step is known."""
        time, bounds = self.space.coarse["time"], time_bounds(self.space.coarse)
        if bounds is not None or period_of(time) not in MONTHS_PER_PERIOD:
            return bounds
        return xr.DataArray(np.stack(step_intervals(time), axis=1), dims=("time", "bnds"))

    def rows(self, step: int) -> pd.DataFrame | None:
        """Return the observations of a step."""
        if self.network is None:
            return None
        return self.network[self.network["step"] == step].assign(step=0).reset_index(drop=True)

    def digest(self, work: UnitInput) -> str:
        """Return the SHA-256 of the input of a step."""
        digest = hashlib.sha256()
        for name in sorted(map(str, work.coarse.data_vars)):
            digest.update(name.encode() + work.coarse[name].values.tobytes())
        if work.rows is not None and len(work.rows):
            used = work.rows[has_status(work.rows, *IN_USE)]
            used = used.drop(columns=UNSTABLE_COLUMNS, errors="ignore")
            digest.update(used.to_csv(index=False).encode())
        return digest.hexdigest()

    def inputs(self) -> dict[str, str]:
        """Return the SHA-256 of every input and observation file."""
        return {str(path): sha256(path) for path in (*self.series.paths, *self.observations)}

    def output_layout(self, folder: Path, fingerprint: Mapping[str, object]) -> OutputLayout:
        """Return the layout of the output files in a folder, made with a fingerprint."""
        mean = "Ensemble means of fine fields"
        content = "Fine fields" if self.space.options.members else mean
        title = f"{content} reconstructed after {self.path.name} with the prior {self.prior.stem}"
        source = OutputSource(self.series, self.space, title, self.provenance(fingerprint))
        return OUTPUT_LAYOUTS[self.plan.output.layout](source, folder)

    def provenance(self, fingerprint: Mapping[str, object]) -> dict[str, str]:
        """Return the provenance of the output files."""
        draw = {
            k.removeprefix("draw."): v for k, v in fingerprint.items() if k.startswith("draw.")
        }
        observed = {
            k.replace("observations.", "observations_"): v
            for k, v in fingerprint.items()
            if k.startswith("observations.") and v not in ({}, "")
        }
        before = draw | observed | self.space.notes | {"plan": self.path.name}
        if self.background_error is not None:
            before |= self.background_error.notes(self.space.prior.normaliser.channels)
        settings = {
            "prior_sha256": fingerprint["prior_sha256"], "sampler": self.space.sampler.sampler,
            "steps": self.space.sampler.steps, "adjustment": self.adjustment.describe(),
        }  # fmt: skip
        return ensemble_provenance(self.prior, (), settings, before)

    def observed_settings(self) -> dict[str, Any]:
        """Return the settings of the observations that determine the output."""
        observed, usual = asdict(self.plan.observations), asdict(ObservationSection())
        names = observed.pop("var")
        observed["rename"] = {old: new for new, old in names.items()}  # as in earlier ledgers
        for key in ("files", "verify", "stations"):
            del observed[key]
        for key in ("coverage", "missing", "withhold_blocks", "qc"):
            if observed[key] == usual[key]:  # not in ledgers of earlier versions
                del observed[key]
        return observed

    def fingerprint(self) -> dict[str, Any]:
        """Return all settings that determine the output, except the values of the input."""
        plan, grid = self.plan, self.space.shown
        axes = hashlib.sha256(grid.lat.tobytes() + grid.lon.tobytes()).hexdigest()
        statics = hashlib.sha256(self.space.statics.tobytes()).hexdigest()
        units = {str(n): a.attrs.get("source_units") for n, a in self.space.coarse.items()}
        digests: dict[str, Any] = {
            "dpdm": __version__, "prior_sha256": sha256(self.prior), "grid": axes,
            "statics": statics, "variables": units,
        }  # fmt: skip
        names = {str(n): file_name(a) for n, a in self.space.coarse.items()}
        if any(new != old for old, new in names.items()):
            digests["names"] = names
        if self.space.climatology is not None:
            digests["climatology"] = self.space.climatology.provenance
        if self.space.background:
            digests["background"] = self.space.background
        if self.background_error is not None and self.background_error.estimated:
            digests["background_error"] = laws_as_json(self.background_error.laws)
        output = {key: asdict(plan.output)[key] for key in ("layout", "keep", "quantiles")}
        output |= {"units": plan.output.units} if plan.output.units else {}
        sections = {"draw": asdict(plan.draw), "adjust": asdict(plan.adjust), "output": output}
        sections |= {"observations": self.observed_settings()} if self.table is not None else {}
        sections |= {"input": {"missing": plan.input.missing}} if plan.input.missing else {}
        if self.space.sampler.sampler == FAST:  # also where the prior chooses it
            sections["draw"]["sampler"] = FAST
        flat = {f"{s}.{key}": v for s, keys in sections.items() for key, v in keys.items()}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in (digests | flat).items()}


@translate_errors()
def prepare_reconstruction(
    path: Path, notify: Callable[[str], None] = lambda line: None
) -> ReconstructionSetup:
    """Return the setup of a plan; what is assumed of observation files is passed to ``notify``."""
    files = PlanFiles(read_plan(path), path)
    plan, folder = files.plan, files.folder
    local = folder / plan.prior.name
    prior_file = local if local.is_file() else find_prior(plan.prior.name)
    prior = load_prior(prior_file)
    check_field_prior(prior)
    warn_if_unskilled(prior.contract, prior_file.stem)
    ensemble = plan_ensemble_options(plan, folder, f"dpdm reconstruct {path.name}")
    if not plan.observations.files:
        ensemble = choose_unguided_sampler(ensemble, prior)
        series, space = open_source(files, prior, ensemble, None)
        adjusted = fit_adjustment(series.complete, space, plan)
        return ReconstructionSetup(path, plan, prior_file, series, space, adjusted)
    options = plan_assimilation_options(plan.observations, folder)
    observed, only_scored = (files.find("observations", key) for key in ("files", "verify"))
    raw = read_plan_observations(observed, only_scored, options, notify)
    series, space = open_source(files, prior, ensemble, raw)
    space = guide_space(space, options)
    table = screen(raw, space, options)
    adjusted = fit_adjustment(series.complete, space, plan)
    lists = [options.stations] if options.stations else []
    return ReconstructionSetup(
        path, plan, prior_file, series, space, adjusted, table, options,
        (*observed, *only_scored, *lists),
    )  # fmt: skip


def fit_adjustment(complete: xr.Dataset, space: FieldSpace, plan: Plan) -> BiasAdjustment:
    """Return the adjustment of the complete series that a plan asks for."""
    method, reference = plan.adjust.method, plan.adjust.reference
    if method == "anomalies":
        return fit_anomalies(
            select_stencil(complete, space.grid),
            space.prior,
            space.grid,
            space_climatology(space),
            reference,
        )
    return fit_bias_adjustment(complete, space.prior, method, reference)


def read_plan_observations(
    paths: Sequence[Path],
    only_scored: Sequence[Path],
    options: AssimilationOptions,
    notify: Callable[[str], None],
) -> pd.DataFrame:
    """Return the observations of files, as read."""
    return read_observations(
        paths, options.errors, options.obs_var, options.obs_units, missing=options.obs_missing,
        stations=options.stations, on_layout=pass_notes(notify), verification=only_scored,
    )  # fmt: skip


FIXED_KEYS = (
    "grid", "variables", "names", "draw.members", "output.layout", "output.keep",
    "output.quantiles",
)  # fmt: skip
KEY_LABELS = {
    "dpdm": "the version of dpdm", "prior_sha256": "the prior", "grid": "the grid",
    "statics": "the relief or land mask", "variables": "the variables or their units",
    "names": "the names of the variables", "climatology": "the climatology",
    "background": "the background",
    "background_error": "the law of the background's error",
}  # fmt: skip


def describe_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the differences of two fingerprints, a clause each.

    Example:
        >>> describe_changes({"draw.seed": 0, "dpdm": "1"}, {"draw.seed": 7, "dpdm": "1"})
        ['draw.seed was 0 and is 7']
    """
    keys = [*before, *(k for k in after if k not in before)]
    return [
        f"{KEY_LABELS.get(key, key)} was {_shorten(before.get(key))} and is "
        f"{_shorten(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _shorten(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:12]}..."


def check_changes(setup: ReconstructionSetup, ledger: Ledger, accept: bool) -> dict[str, Any]:
    """Return the fingerprint; refuse it if it or the input has changed, unless accepted."""
    fingerprint = setup.fingerprint()
    before, lost = ledger.fingerprint, find_missing_products(ledger)
    changed = describe_changes(before, fingerprint) if before else []
    fixed = [key for key in FIXED_KEYS if before and before.get(key) != fingerprint.get(key)]
    if fixed:
        listed = _list_differences(
            describe_changes(*({k: m.get(k) for k in fixed} for m in (before, fingerprint)))
        )
        raise DpdmError(
            f"{listed}, which changes the shape of the output in {ledger.path.parent}.",
            "Reconstruct into another folder.",
        )
    inputs = setup.inputs()
    changed += find_changed_inputs(setup, ledger, inputs) + [
        f"{product} is missing" for product in lost
    ]
    if changed and not accept:
        raise DpdmError(
            f"Since {ledger.path.parent} was started, {_list_differences(changed)}.",
            "Undo that, use another folder, or use --accept-change: finished steps stay as they "
            "are, the others follow the change, and the ledger records it.",
        )
    if changed:
        ledger.append("change", differences=changed)
    if lost:
        ledger.append("lost", products=lost)
    if inputs != ledger.inputs:
        ledger.append("inputs", sha256=inputs)
    return fingerprint


def find_missing_products(ledger: Ledger) -> list[str]:
    """Return the output files that no longer exist; of a store, all of its steps or none."""
    folder = ledger.path.parent
    if not ledger.path.exists() and any(folder.glob("fine[_.]*")):
        raise DpdmError(
            f"{folder} holds output files, and its {ledger.path.name} is missing.",
            "Restore it from a backup, or reconstruct into another folder.",
        )
    fields = (product for product in ledger.products if product.startswith("fine"))
    return [product for product in fields if not (folder / product.split("/")[0]).exists()]


def _list_differences(differences: list[str]) -> str:
    some = "; ".join(differences[:3])
    return f"{some}; and {len(differences) - 3} more" if len(differences) > 3 else some


def find_changed_inputs(
    setup: ReconstructionSetup, ledger: Ledger, inputs: Mapping[str, str]
) -> list[str]:
    """Return the finished steps whose input has changed; it is read only if a file has changed."""
    if not ledger.digests or inputs == ledger.inputs:
        return []
    changes = []
    for label, digest in ledger.digests.items():
        if label in setup.series.labels:
            new = setup.digest(setup.read_unit_input(setup.units_of(label)[0]))
            if new != digest:
                changes.append(f"the input of {label} was {_shorten(digest)}, is {_shorten(new)}")
                ledger.digests[label] = new
    return changes
