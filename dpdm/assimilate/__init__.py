"""Observations and a prior in, an ensemble of analyses out, with a report on every observation."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, replace
from typing import TypeVar

import pandas as pd

from dpdm.assimilate.analysis import Analysis
from dpdm.assimilate.background import CoarseError, build_coarse_error
from dpdm.assimilate.departures import departures, misfit_warnings, summarise_departures
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.evaluate.metrics import Row
from dpdm.fields.csv_cells import guard_formulas
from dpdm.fields.grid import grid_of
from dpdm.fields.write import Writer, check_output, write_text
from dpdm.observations.quality_control import withhold_stations
from dpdm.observations.sounder import SounderChannels, read_channels
from dpdm.observations.status import accept
from dpdm.observations.table import read_observations
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.states import find_state_kind
from dpdm.states.ensemble import (
    EnsembleOptions,
    ProgressCallback,
    ensemble_provenance,
    finish_layout,
)
from dpdm.states.fields import FieldSpace
from dpdm.states.request import AssimilationFiles, AssimilationOptions, Request
from dpdm.states.sampling import SamplerConfig, StateSpace
from dpdm.system import sha256

Space = TypeVar("Space", bound=StateSpace)
REPORT_FLOAT_FORMAT = (
    "%.9g"  # of the report: what float32 holds, and no rounding errors of conversions
)


def assimilate(
    files: AssimilationFiles,
    prior: str = "default",
    ensemble: EnsembleOptions = EnsembleOptions(),
    said: AssimilationOptions = AssimilationOptions(),
    overwrite: bool = False,
    progress: ProgressCallback = lambda done, total: None,
) -> list[Row]:
    """Write the ensemble of analyses, part by part, and return scores at the observations."""
    path = find_prior(prior)
    inputs = [files.read, said, ensemble, path]
    check_output(files.analysis, inputs, overwrite)
    if files.report is not None:
        check_output(files.report, [*inputs, files.analysis], overwrite, suffixes=(".csv",))
    known = load_prior(path)
    request = Request(files, path.stem, ensemble, said, read_sounder(said, known))
    work = prepare_analysis(known, request)
    made = ensemble_provenance(path, files.read, analysis_settings(work.space, request))
    template = finish_layout(
        work.space.template(), analysis_title(request), made, ensemble.history
    )
    with Writer(files.analysis, template, overwrite) as writer:
        for done, block in enumerate(work.blocks(), 1):
            writer.write(block)
            progress(min(done, work.total), work.total)
        if files.report is not None:
            found = departures(work.table, work.prior, work.analysis)
            lines = guard_formulas(found).to_csv(index=False, float_format=REPORT_FLOAT_FORMAT)
            write_text(files.report, lines, overwrite)
    rows = summarise_departures(work.table, work.prior, work.analysis)
    for sentence in misfit_warnings(rows):
        warnings.warn(sentence, DpdmWarning, stacklevel=2)
    return rows


def prepare_analysis(prior: Prior, request: Request) -> Analysis:
    """Return the analysis that is asked for, ready to be made."""
    said = request.observations
    table = read_all_observations(request.files, said, request.sounder)
    space = guide_space(find_state_kind(prior).of_observations(prior, table, request), said)
    error = stated_coarse_error(space, said) if isinstance(space, FieldSpace) else None
    return Analysis(space, screen(table, space, said), said.reject, error)


def analysis_title(request: Request) -> str:
    """Return one line on what is written."""
    observed = ", ".join(p.name for p in request.files.observations)
    return f"Analyses of {observed} with the prior {request.prior}"


def read_all_observations(
    files: AssimilationFiles, said: AssimilationOptions, sounder: SounderChannels | None = None
) -> pd.DataFrame:
    """Return the observations as they were read."""
    table = read_observations(
        files.observations, said.errors, said.obs_var, said.obs_units, sounder, said.obs_missing
    )
    if sounder is not None and not (table["variable"] == "tb").any():
        raise DpdmError(
            f"{said.channels} says what channels see, and no brightness temperature is observed.",
            "Leave --channels out, or give observations of tb.",
        )
    return table


def read_sounder(said: AssimilationOptions, prior: Prior) -> SounderChannels | None:
    """Return the channels of a sounder, if the user names their file."""
    if said.channels is None:
        return None
    if prior.contract.kind != "globe":
        raise DpdmError(
            "--channels says what is seen of columns of air, and this prior knows none.",
            "Leave it out, or choose another --prior: dpdm train --window makes one of levels.",
        )
    return read_channels(said.channels)


def guide_sampler(
    sampler: SamplerConfig, prior: Prior, said: AssimilationOptions
) -> SamplerConfig:
    """Return how to sample, pulled by observations: the prior's way, but for what is asked."""
    count = sampler.corrections if said.corrections is None else said.corrections
    if said.tau and not count:
        raise DpdmError(
            "--tau is the length of corrections, and there are none.",
            "Say --corrections too, or leave it out.",
        )
    guide = said.guide(said.guidance or prior.contract.sampling["guidance"])
    return replace(sampler, guide=guide, corrections=count, tau=said.tau or sampler.tau)


def guide_space(space: Space, said: AssimilationOptions) -> Space:
    """Return a space whose members observations pull."""
    sampler = guide_sampler(space.sampler, space.prior, said)
    return replace(space, sampler=sampler)  # type: ignore[type-var]


def screen(table: pd.DataFrame, space: StateSpace, said: AssimilationOptions) -> pd.DataFrame:
    """Return observations, checked against the states and partly withheld."""
    checked = space.screen(table, said.coverage)
    return accept(withhold_stations(checked, said.withhold, space.options.seed))


def stated_coarse_error(space: FieldSpace, said: AssimilationOptions) -> CoarseError | None:
    """Return the law of the coarse field's error, if the user states one."""
    stated = said.coarse_error
    if space.blind and stated:
        raise DpdmError("--coarse-error is stated, and there is no --coarse.", "Leave it out.")
    for name, std in stated.items():
        if not (std >= 0 and math.isfinite(std)):
            raise DpdmError(f"The coarse error of {name} is {std:g}.", "Give 0 or more.")
    source = grid_of(space.coarse)
    return build_coarse_error(space.names, source, space.grid, stated, said.coarse_length)


def analysis_settings(space: StateSpace, request: Request) -> dict[str, object]:
    """Return what decides the analyses beside the files."""
    options, contract = request.observations, space.prior.contract
    said: dict[str, object] = {"seed": space.options.seed, "members": space.options.members}
    stated = {k: v for k, v in asdict(options).items() if not isinstance(v, dict)}
    if options.channels:
        stated |= {"channels": options.channels.name, "channels_sha256": sha256(options.channels)}
    said |= {k: v for k, v in stated.items() if v is not None}
    said |= {n: getattr(space.sampler, n) for n in ("sampler", "steps", "corrections", "tau")}
    held = contract.code.get("reconstruction", {})
    said |= {f"code_rmse_{name}": f"{value:.4g}" for name, value in held.items()}
    said |= {"guidance": options.guidance or contract.sampling["guidance"]}
    for word in ("errors", "coarse_error"):
        said |= {f"{word}_{name}": value for name, value in getattr(options, word).items()}
    return said | space.notes
