"""Observations and a prior in, an ensemble of analyses out, with a report on every observation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.coarse_error import CoarseError, coarse_error
from dpdm.diffusion.guide import Guide, dps, mmps, sda
from dpdm.draw import How
from dpdm.ensemble import Report, template_of
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.evaluate.innovations import USED, doubts, report, summary
from dpdm.evaluate.table import Row
from dpdm.fields.cf import finish
from dpdm.fields.grid import grid_of
from dpdm.fields.observations import read_observations
from dpdm.fields.stations import check, withhold
from dpdm.fields.store import sha256
from dpdm.fields.write import Writer, check_output, write_text
from dpdm.prior import find, load
from dpdm.seeing import Sights
from dpdm.task import Task, Wish, plan


@dataclass(frozen=True)
class Seeing:
    """What the user says of observations, and of how they pull.

    Attributes:
        errors: Standard deviations by variable, in canonical units, where a file has none.
        coarse_error: Standard deviations of the coarse field's errors by variable, in canonical
            units.
        coarse_length: Length of their correlation, km.
        reject: Innovation, in standard deviations of prior and observation, beyond which an
            observation is not believed; 0 believes all.
        withhold: Share of the stations kept back to score the analysis.
        guidance: "sda", "mmps" or "dps".
        gamma: SDA's Gamma.
        iterations: MMPS's conjugate gradient steps.
        zeta: Length of DPS's pull.
        obs_var: Variables' names in the observation files, by canonical name.
        obs_units: Units of the observations declared by the user, by variable.
        corrections: Langevin corrections a step.
        tau: Their length.
    """

    errors: Mapping[str, float] = field(default_factory=dict)
    coarse_error: Mapping[str, float] = field(default_factory=dict)
    coarse_length: float = 300.0
    reject: float = 5.0
    withhold: float = 0.0
    guidance: str = "mmps"
    gamma: float = 1e-2
    iterations: int = 3
    zeta: float = 1.0
    corrections: int = 0
    tau: float = 0.5
    obs_var: Mapping[str, str] = field(default_factory=dict)
    obs_units: Mapping[str, str] = field(default_factory=dict)

    @property
    def guide(self) -> Guide:
        """Give the guidance with its number."""
        known: dict[str, Guide] = {
            "sda": partial(sda, gamma=self.gamma),
            "mmps": partial(mmps, iterations=self.iterations),
            "dps": partial(dps, zeta=self.zeta),
        }
        return known[self.guidance]


@dataclass(frozen=True)
class Files:
    """The files of an analysis: what is read, then what is written.

    Attributes:
        observations: Tables, stations or fields that were observed.
        coarse: The coarse fields, or nothing.
        grid: A file on the grid to write, or nothing.
        statics: The user's own statics, or nothing.
        analysis: The ensemble to write.
        report: The table of observations to write, or nothing.
    """

    observations: Sequence[Path]
    coarse: Path | None
    grid: Path | None
    statics: Path | None
    analysis: Path
    report: Path | None = None

    @property
    def read(self) -> list[Path]:
        """List all files that are read."""
        return [*self.observations, *(p for p in (self.coarse, self.grid, self.statics) if p)]


def assimilate(
    files: Files,
    prior: str = "default",
    wish: Wish = Wish(),
    seeing: Seeing = Seeing(),
    overwrite: bool = False,
    progress: Report = lambda done, total: None,
) -> list[Row]:
    """Write the ensemble of analyses, step by step, and return scores at the observations.

    Raises:
        DpdmError: When the files do not fit each other, or no observation can be used.
    """
    check_output(files.analysis, files.read, overwrite)
    if files.report is not None:
        check_output(files.report, [*files.read, files.analysis], overwrite, suffixes=(".csv",))
    path = find(prior)
    task = plan(files.coarse, load(path), wish, files.grid, files.statics)
    task = replace(task, how=guided(task.how, seeing))
    table = believed(files, task, seeing)
    seen = Sights(task, table, seeing.reject, doubted(task, seeing))
    observed = ", ".join(p.name for p in files.observations)
    title = f"Analyses of {observed} with the prior {path.stem}"
    made = provenance(task, path, files, seeing)
    template = finish(template_of(task), title, made, wish.history)
    with Writer(files.analysis, template, overwrite) as writer:
        done, total = 0, wish.members * task.steps
        for step in range(task.steps):
            for block in seen.analyse(step):
                writer.write(block)
                done += 1
                progress(min(done, total), total)
        departures = report(seen.table, seen.prior, seen.analysis)
        if files.report is not None:
            write_text(files.report, departures.to_csv(index=False))
    rows = summary(seen.table, seen.prior, seen.analysis)
    for sentence in doubts(rows):
        warnings.warn(sentence, DpdmWarning, stacklevel=2)
    return rows


def guided(how: How, seeing: Seeing) -> How:
    """Return how to sample, pulled by observations."""
    return replace(how, guide=seeing.guide, corrections=seeing.corrections, tau=seeing.tau)


def believed(files: Files, task: Task, seeing: Seeing) -> pd.DataFrame:
    """Return the observations, checked against the field and partly withheld."""
    wish, coarse = task.wish, task.coarse
    table = read_observations(files.observations, seeing.errors, seeing.obs_var, seeing.obs_units)
    known = table["variable"].isin(task.prior.normaliser.names)
    table.loc[~known & (table["status"] == ""), "status"] = "not a variable of the prior"
    statics = dict(zip(("topography", "land_fraction"), task.statics, strict=True))
    ground = xr.Dataset({n: (("lat", "lon"), v) for n, v in statics.items()}, task.grid.coords())
    time = coarse["time"] if "time" in coarse.dims else None
    period = "month" if 27 < task.prior.contract.cadence < 32 else ""
    table = check(table, task.grid, time, coarse.get("time_bnds"), period, ground)
    table = withhold(table, seeing.withhold, wish.seed)
    return table.assign(status=table["status"].replace("", USED))


def doubted(task: Task, seeing: Seeing) -> CoarseError | None:
    """Return the law of the coarse field's error, if the user states one."""
    stated = seeing.coarse_error
    if task.blind and stated:
        raise DpdmError("--coarse-error is stated, and there is no --coarse.", "Leave it out.")
    for name, std in stated.items():
        if not (std >= 0 and math.isfinite(std)):
            raise DpdmError(f"The coarse error of {name} is {std:g}.", "Give 0 or more.")
    names, source = task.prior.normaliser.names, grid_of(task.coarse)
    return coarse_error(names, source, task.grid, stated, seeing.coarse_length)


def provenance(task: Task, prior: Path, files: Files, seeing: Seeing) -> dict[str, str]:
    """Return what the analyses were made from."""
    inputs = {p.name: sha256(p) for p in files.read}
    drawn = {
        "prior": prior.stem, "prior_sha256": sha256(prior), "input": " ".join(inputs),
        "input_sha256": " ".join(inputs.values()), "seed": task.wish.seed,
        "members": task.wish.members, "sampler": task.how.sampler, "steps": task.how.steps,
    }  # fmt: skip
    drawn |= {k: v for k, v in asdict(seeing).items() if not isinstance(v, dict)}
    for word in ("errors", "coarse_error"):
        drawn |= {f"{word}_{name}": value for name, value in getattr(seeing, word).items()}
    return {key: str(value) for key, value in drawn.items()}
