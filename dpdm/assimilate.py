"""Observations and a prior in, an ensemble of analyses out, with a report on every observation."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from dpdm.coarse_error import CoarseError, coarse_error
from dpdm.course import course_of
from dpdm.device import choose
from dpdm.draw import How
from dpdm.earth import earth_of
from dpdm.ensemble import EnsembleOptions, Report, finished, provenance
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.evaluate.innovations import departures, doubts, summary
from dpdm.evaluate.metrics import Row
from dpdm.fields.cells import guarded
from dpdm.fields.channels import Channels, read_channels
from dpdm.fields.grid import grid_of
from dpdm.fields.observations import read_observations
from dpdm.fields.stations import check, withhold
from dpdm.fields.status import ObsStatus, accepted, mark
from dpdm.fields.store import sha256
from dpdm.fields.time import period_of_length
from dpdm.fields.write import Writer, check_output, write_text
from dpdm.prior import Prior, find, load
from dpdm.request import Files, Seeing
from dpdm.seeing import Sights
from dpdm.skill import warn_of
from dpdm.smoother import Smoother
from dpdm.task import Task, how, plan

DIGITS = "%.9g"  # of the report: what float32 holds, and no rounding errors of conversions


class Noted(Protocol):
    """What notes the values of prior (N, P) and analysis (N, M) at a table of observations."""

    table: pd.DataFrame
    prior: NDArray[np.float64]
    analysis: NDArray[np.float64]


@dataclass(frozen=True)
class Work:
    """An analysis to be made.

    Attributes:
        noted: Who keeps the observations, and what is said of them as the work goes on.
        template: The layout of the file.
        blocks: Its parts, made as they are asked for.
        total: How many members there are, of all steps or trajectories.
    """

    noted: Noted
    template: xr.Dataset
    blocks: Iterator[xr.Dataset]
    total: int


def assimilate(
    files: Files,
    prior: str = "default",
    wish: EnsembleOptions = EnsembleOptions(),
    seeing: Seeing = Seeing(),
    overwrite: bool = False,
    progress: Report = lambda done, total: None,
) -> list[Row]:
    """Write the ensemble of analyses, part by part, and return scores at the observations.

    Raises:
        DpdmError: When the files do not fit each other, or no observation can be used.
    """
    path = find(prior)
    inputs = [files.read, seeing, wish, path]
    check_output(files.analysis, inputs, overwrite)
    if files.report is not None:
        check_output(files.report, [*inputs, files.analysis], overwrite, suffixes=(".csv",))
    known = load(path)
    work = (of_trajectories if known.contract.states else of_fields)(
        files, path, known, wish, seeing
    )
    with Writer(files.analysis, work.template, overwrite) as writer:
        for done, block in enumerate(work.blocks, 1):
            writer.write(block)
            progress(min(done, work.total), work.total)
        if files.report is not None:
            noted = work.noted
            found = departures(noted.table, noted.prior, noted.analysis)
            lines = guarded(found).to_csv(index=False, float_format=DIGITS)
            write_text(files.report, lines, overwrite)
    rows = summary(work.noted.table, work.noted.prior, work.noted.analysis)
    for sentence in doubts(rows):
        warnings.warn(sentence, DpdmWarning, stacklevel=2)
    return rows


def of_fields(
    files: Files, path: Path, prior: Prior, wish: EnsembleOptions, seeing: Seeing
) -> Work:
    """Return the analysis of fields on the Earth, step by step."""
    table = observations(files, seeing)
    refuse_states(table, path)
    sounder_of(seeing, prior)
    task = plan(files.coarse, prior, wish, files.grid, files.statics)
    warn_of(prior.contract, path.stem)
    task = replace(task, how=guided(task.how, prior, seeing))
    table = believed(table, task, seeing)
    seen = Sights(task, table, seeing.reject, doubted(task, seeing))
    said = said_of(prior, wish, task.how, seeing) | task.notes
    made = provenance(path, files.read, said)
    template = finished(task.template(), title_of(files, path), made, wish.history)
    blocks = (block for step in range(task.steps) for block in seen.analyse(step))
    return Work(seen, template, blocks, wish.members * task.steps)


def of_trajectories(
    files: Files, path: Path, prior: Prior, wish: EnsembleOptions, seeing: Seeing
) -> Work:
    """Return the analysis of trajectories, one after the other."""
    refuse_fields(files, wish, seeing)
    sounder = sounder_of(seeing, prior)
    table = observations(files, seeing, sounder)
    named = ", ".join(p.name for p in files.observations)
    find_course = earth_of if prior.contract.globe else course_of
    course = replace(find_course(prior, table, files.grid, named), sounder=sounder)
    table = course.checked(table)
    table = accepted(withhold(table, seeing.withhold, wish.seed))
    way = guided(how(wish, prior, choose(wish.device)), prior, seeing)
    prior.denoiser.to(way.device)
    seen = Smoother(course, table, wish, way, seeing.reject)
    made = provenance(path, files.read, said_of(prior, wish, way, seeing))
    template = finished(seen.template(), title_of(files, path), made, wish.history)
    return Work(seen, template, seen.blocks(), seen.total)


def refuse_fields(files: Files, wish: EnsembleOptions, seeing: Seeing) -> None:
    """Refuse what only fields on the Earth have.

    Raises:
        DpdmError: When something of it is stated.
    """
    said = {
        "--coarse": files.coarse, "--statics": files.statics, "--bbox": wish.bbox,
        "--var": wish.rename, "--units": wish.units, "--missing": wish.missing,
        "--coarse-error": seeing.coarse_error,
    }  # fmt: skip
    for option, value in said.items():
        if value:
            raise DpdmError(
                f"{option} says something of fields on the Earth, and this prior knows "
                "trajectories.",
                "Leave it out, or choose another --prior.",
            )


def refuse_states(table: pd.DataFrame, prior: Path) -> None:
    """Refuse observations of trajectories where the prior knows fields on the Earth.

    Raises:
        DpdmError: When no observation lies on the Earth, and some are of a test bed's states.
    """
    if table["lat"].isna().all() and not {"component", "y"}.isdisjoint(table):
        raise DpdmError(
            f"The observations are of trajectories, and the prior {prior.stem} knows fields on "
            "the Earth.",
            "Name a prior of trajectories with --prior: dpdm train --window makes one.",
        )


def title_of(files: Files, prior: Path) -> str:
    """Return one line on what is written."""
    observed = ", ".join(p.name for p in files.observations)
    return f"Analyses of {observed} with the prior {prior.stem}"


def observations(files: Files, seeing: Seeing, sounder: Channels | None = None) -> pd.DataFrame:
    """Return the observations as they were read.

    Raises:
        DpdmError: When channels of a sounder are given, and none is observed.
    """
    said = (seeing.errors, seeing.obs_var, seeing.obs_units)
    table = read_observations(files.observations, *said, sounder, seeing.obs_missing)
    if sounder is not None and not (table["variable"] == "tb").any():
        raise DpdmError(
            f"{seeing.channels} says what channels see, and no brightness temperature is "
            "observed.",
            "Leave --channels out, or give observations of tb.",
        )
    return table


def sounder_of(seeing: Seeing, prior: Prior) -> Channels | None:
    """Return the channels of a sounder, if the user names their file.

    Raises:
        DpdmError: When the prior knows no columns of air.
    """
    if seeing.channels is None:
        return None
    if not prior.contract.globe:
        raise DpdmError(
            "--channels says what is seen of columns of air, and this prior knows none.",
            "Leave it out, or choose another --prior: dpdm train --window makes one of levels.",
        )
    return read_channels(seeing.channels)


def guided(way: How, prior: Prior, seeing: Seeing) -> How:
    """Return how to sample, pulled by observations: the prior's way, but for what is asked.

    Raises:
        DpdmError: When a number is given that nothing would obey.
    """
    count = way.corrections if seeing.corrections is None else seeing.corrections
    if seeing.tau and not count:
        raise DpdmError(
            "--tau is the length of corrections, and there are none.",
            "Say --corrections too, or leave it out.",
        )
    guide = seeing.guide(seeing.guidance or prior.contract.sampling["guidance"])
    return replace(way, guide=guide, corrections=count, tau=seeing.tau or way.tau)


def believed(table: pd.DataFrame, task: Task, seeing: Seeing) -> pd.DataFrame:
    """Return observations, checked against the field and partly withheld."""
    wish, coarse = task.wish, task.coarse
    known = table["variable"].isin(task.prior.normaliser.names)
    mark(table, ~known, ObsStatus.NO_VARIABLE)
    statics = dict(zip(("topography", "land_fraction"), task.statics, strict=True))
    ground = xr.Dataset({n: (("lat", "lon"), v) for n, v in statics.items()}, task.grid.coords())
    time = coarse["time"] if "time" in coarse.dims else None
    period = period_of_length(task.prior.contract.cadence)
    table = check(
        table, task.grid, time, coarse.get("time_bnds"), period, ground, coverage=seeing.coverage
    )
    return accepted(withhold(table, seeing.withhold, wish.seed))


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


def said_of(prior: Prior, wish: EnsembleOptions, way: How, seeing: Seeing) -> dict[str, object]:
    """Return what decides the analyses beside the files."""
    said: dict[str, object] = {"seed": wish.seed, "members": wish.members}
    stated = {k: v for k, v in asdict(seeing).items() if not isinstance(v, dict)}
    if seeing.channels:
        stated |= {"channels": seeing.channels.name, "channels_sha256": sha256(seeing.channels)}
    said |= {k: v for k, v in stated.items() if v is not None}
    said |= {n: getattr(way, n) for n in ("sampler", "steps", "corrections", "tau")}
    held = prior.contract.code.get("reconstruction", {})
    said |= {f"code_rmse_{name}": f"{value:.4g}" for name, value in held.items()}
    said |= {"guidance": seeing.guidance or prior.contract.sampling["guidance"]}
    for word in ("errors", "coarse_error"):
        said |= {f"{word}_{name}": value for name, value in getattr(seeing, word).items()}
    return said
