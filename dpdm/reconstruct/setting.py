"""A plan with all that it names, opened and found to fit: a reconstruction that can begin."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm import __version__
from dpdm.adjust import Adjustment, adjustment
from dpdm.assimilate import guide_sampler, observations, screen
from dpdm.fields.store import sha256
from dpdm.fields.time import MONTHS, bounds_of, intervals, period_of
from dpdm.prior import check_earth, find, load
from dpdm.reconstruct.drawer import Drawer, Work, drawer_of
from dpdm.reconstruct.plan import Plan, assimilation_of, file_of, found, options_of, read_plan
from dpdm.reconstruct.series import Series, open_series
from dpdm.reconstruct.units import Unit, plan_of_work, units_of
from dpdm.reconstruct.words import planned
from dpdm.request import COVERAGE, AssimilationFiles
from dpdm.skill import warn_of
from dpdm.states.domain import make_space
from dpdm.states.fields import FieldSpace


@dataclass(frozen=True)
class Setting:
    """A reconstruction that can begin.

    Attributes:
        path: The plan's file.
        plan: The plan.
        prior: The prior's file.
        series: The coarse series.
        space: The series and the prior, that fit each other.
        adjusted: The series, whole, as the prior gets it.
        table: All observations, checked, or nothing.
        observations: Their files.
    """

    path: Path
    plan: Plan
    prior: Path
    series: Series
    space: FieldSpace
    adjusted: Adjustment
    table: pd.DataFrame | None
    observations: tuple[Path, ...]

    @cached_property
    def units(self) -> list[Unit]:
        """List the units of work."""
        return plan_of_work(self.series.labels, self.plan.draw.members, self.plan.run.member_block)

    def units_of(self, label: str) -> list[Unit]:
        """List the units of one step."""
        return units_of(label, self.plan.draw.members, self.plan.run.member_block)

    @property
    def drawer(self) -> Drawer:
        """Give what draws the units; it carries no files to the workers."""
        first = self.space.coarse.isel(time=[0]).compute()
        return drawer_of(
            replace(self.space, coarse=first),
            None if self.table is None else assimilation_of(self.said),
        )

    @property
    def said(self) -> Any:
        """Give what the plan says of observations."""
        return self.plan.observations

    @planned()
    def work(self, unit: Unit) -> Work:
        """Return a unit with the fields and the observations of its step, read and checked."""
        step = self.series.step(unit.label)
        fields = self.adjusted.step(self.series.offset + step)
        coarse = fields if "time" in fields.dims else fields.expand_dims("time")
        if self.bounds is not None:
            coarse = coarse.assign_coords(time_bnds=self.bounds.isel(time=[step]))
        return Work(unit, coarse, self.rows(step))

    @cached_property
    def bounds(self) -> xr.DataArray | None:
        """Give the bounds of all steps: without them, a lone step shows no month or year."""
        time, bounds = self.space.coarse["time"], bounds_of(self.space.coarse)
        if bounds is not None or period_of(time) not in MONTHS:
            return bounds
        return xr.DataArray(np.stack(intervals(time), axis=1), dims=("time", "bnds"))

    def rows(self, step: int) -> pd.DataFrame | None:
        """Return the observations of a step."""
        if self.table is None:
            return None
        return self.table[self.table["step"] == step].assign(step=0).reset_index(drop=True)

    def digest(self, work: Work) -> str:
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
        if seen["coverage"] == COVERAGE:  # ledgers of earlier versions do not know it
            del seen["coverage"]
        if not plan.observations.missing:
            del seen["missing"]  # ledgers of earlier versions lack it
        sections = {"draw": asdict(plan.draw), "adjust": asdict(plan.adjust), "output": output}
        sections |= {"observations": seen} if self.table is not None else {}
        sections |= {"input": {"missing": plan.input.missing}} if plan.input.missing else {}
        flat = {f"{s}.{key}": v for s, keys in sections.items() for key, v in keys.items()}
        return {key: list(v) if isinstance(v, tuple) else v for key, v in (marks | flat).items()}


@planned()
def prepare(path: Path) -> Setting:
    """Return the reconstruction of a plan.

    Raises:
        DpdmError: When the plan or its files are wrong, or do not fit each other.
    """
    plan, folder = read_plan(path), path.resolve().parent
    own = folder / plan.prior.name
    prior_file = own if own.is_file() else find(plan.prior.name)
    prior = load(prior_file)
    check_earth(prior)
    warn_of(prior.contract, prior_file.stem)
    options = options_of(plan, f"dpdm reconstruct {path.name}")
    inputs = found(plan.input.files, folder, f"{path}, input, files")
    series = open_series(
        inputs, prior, options.rename, plan.input.units, plan.input.period, options.missing
    )
    grid, statics = (file_of(n, folder) for n in (plan.output.grid, plan.output.statics))
    space = make_space(series.fields, prior, options, grid, statics, inputs[0])
    seen = found(plan.observations.files, folder, f"{path}, observations, files")
    space, table = observed(space, plan, tuple(seen)) if seen else (space, None)
    adjusted = adjustment(series.whole, prior, plan.adjust.method, plan.adjust.reference)
    return Setting(path, plan, prior_file, series, space, adjusted, table, tuple(seen))


def observed(
    space: FieldSpace, plan: Plan, paths: tuple[Path, ...]
) -> tuple[FieldSpace, pd.DataFrame]:
    """Return the space as observations pull, and the observations, checked against the fields."""
    said = assimilation_of(plan.observations)
    space = replace(space, sampler=guide_sampler(space.sampler, space.prior, said))
    table = observations(AssimilationFiles(paths, None, None, None, Path()), said)
    return space, screen(table, space, said)


def coarse_of(setting: Setting, labels: list[str]) -> xr.Dataset:
    """Return the lazy coarse fields of some steps, in order of time."""
    where = sorted(setting.series.step(label) for label in labels)
    return setting.series.fields.isel(time=where)
