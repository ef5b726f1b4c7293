"""Assimilate observations into an ensemble, with a report on every observation."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict
from math import isnan

import numpy as np
import pandas as pd

from dpdm.assimilate.analysis import Analysis, guide_space, screen
from dpdm.assimilate.background_error import build_background_error, set_station_errors
from dpdm.assimilate.check import describe_files, describe_use, pass_notes
from dpdm.assimilate.controls import add_controls, describe_controls
from dpdm.assimilate.departures import departures, misfit_warnings, summarise_departures
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.evaluate.metrics import Row
from dpdm.fields.csv_cells import guard_formulas
from dpdm.fields.time import is_within
from dpdm.fields.write import Writer, write_text
from dpdm.observations.collocation import date_components
from dpdm.observations.layout import LayoutCallback, ignore_layout
from dpdm.observations.sounder import SounderChannels, read_channels
from dpdm.observations.status import ObsStatus, has_status, overrule_status
from dpdm.observations.table import read_observations
from dpdm.paths import check_output
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.states import open_observed_states
from dpdm.states.cost import CostNotice, describe_cost, describe_ensemble
from dpdm.states.ensemble import ProgressCallback, ensemble_provenance, finish_layout
from dpdm.states.fields import FieldSpace
from dpdm.states.options import AssimilationFiles, AssimilationOptions, EnsembleOptions, Request
from dpdm.states.sampling import StateSpace, short_step_warning
from dpdm.system import sha256

REPORT_FLOAT_FORMAT = "%.9g"  # the digits of float32, without rounding errors of conversions


def assimilate(
    files: AssimilationFiles,
    prior: str = "default",
    ensemble: EnsembleOptions = EnsembleOptions(),
    options: AssimilationOptions = AssimilationOptions(),
    overwrite: bool = False,
    progress: ProgressCallback = lambda done, total: None,
    notify: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Write the ensemble of analyses, and return scores at the observations.

    What is assumed of the observation files is passed to ``notify``, a line each.
    """
    path = find_prior(prior)
    inputs = [files.inputs, options, ensemble, ensemble.climatology_file, path]
    check_output(files.analysis, inputs, overwrite)
    if files.report is not None:
        check_output(files.report, [*inputs, files.analysis], overwrite, suffixes=(".csv",))
    loaded = load_prior(path)
    request = Request(files, path.stem, ensemble, options, read_sounder(options, loaded))
    analysis = prepare_analysis(loaded, request, pass_notes(notify))
    settings = analysis_settings(analysis.space, request)
    if analysis.error is not None:
        settings |= analysis.error.notes(loaded.normaliser.channels)
        for line in analysis.error.describe(loaded.normaliser.channels):
            notify(line)
    provenance = ensemble_provenance(path, files.inputs, settings)
    observed = ", ".join(p.name for p in files.observations)
    title = f"Analyses of {observed} with the prior {path.stem}"
    template = finish_layout(analysis.space.template(), title, provenance, ensemble.history)
    progress = CostNotice(analysis.space, template, notify, progress)
    with Writer(files.analysis, template, overwrite) as writer:
        for done, block in enumerate(analysis.blocks(), 1):
            writer.write(block)
            progress(min(done, analysis.total), analysis.total)
        if files.report is not None:
            report = departures(analysis.table, analysis.prior, analysis.analysis)
            report = add_controls(report, analysis.controls, loaded.normaliser.names)
            lines = guard_formulas(report).to_csv(index=False, float_format=REPORT_FLOAT_FORMAT)
            write_text(files.report, lines, overwrite)
    for line in describe_controls(analysis.controls, loaded.normaliser.channels):
        notify(line)
    rows = summarise_departures(analysis.table, analysis.prior, analysis.analysis)
    for sentence in (*short_step_warning(analysis.space.sampler), *misfit_warnings(rows)):
        warnings.warn(sentence, DpdmWarning, stacklevel=2)
    return rows


def check_assimilation(
    files: AssimilationFiles,
    prior: str,
    ensemble: EnsembleOptions,
    options: AssimilationOptions,
    say: Callable[[str], None],
) -> None:
    """Say what columns were taken for, what will be used, and its cost; refuse it if nothing."""
    path = find_prior(prior)
    loaded = load_prior(path)
    request = Request(files, path.stem, ensemble, options, read_sounder(options, loaded))
    space, table = prepare_observations(loaded, request, describe_files(say))
    if "operator" in table:
        Analysis(space, table)  # refuses operators that cannot be used
    for line in describe_use(table, len(space.steps)):
        say(line)
    analysis = add_background_error(space, table, options)
    for line in describe_ensemble(space):
        say(line)
    for line in describe_cost(space, analysis.members, files.analysis):
        say(line)


def prepare_analysis(
    prior: Prior, request: Request, on_layout: LayoutCallback = ignore_layout
) -> Analysis:
    """Return the analysis of a request, with its observations screened."""
    space, table = prepare_observations(prior, request, on_layout)
    return add_background_error(space, table, request.observations)


def add_background_error(
    space: StateSpace, table: pd.DataFrame, options: AssimilationOptions
) -> Analysis:
    """Return the analysis of screened observations, with the error of its background."""
    error = None
    if isinstance(space, FieldSpace):
        error = build_background_error(space, table, options)
        set_station_errors(table, space, error)
    return Analysis(space, table, options.reject, error)


def prepare_observations(
    prior: Prior, request: Request, on_layout: LayoutCallback
) -> tuple[StateSpace, pd.DataFrame]:
    """Return the guided space of states of a request, and its observations screened."""
    options = request.observations
    table = read_all_observations(request.files, options, request.sounder, on_layout)
    space = guide_space(open_observed_states(prior, table, request), options)
    screened = screen(table, space, options)
    return space, screened if options.dates is None else mark_other_steps(screened, options.dates)


def mark_other_steps(table: pd.DataFrame, dates: tuple[str, str]) -> pd.DataFrame:
    """Mark observations of steps outside the dates that are analysed."""
    away = has_status(table, ObsStatus.NO_STEP) & table["time"].notna().to_numpy()
    if not away.any():
        return table
    days = date_components(table["time"].to_numpy()[away])[:, :3]
    unique, which = np.unique(days, axis=0, return_inverse=True)
    labels = [f"{y:04d}-{m:02d}-{d:02d}" for y, m, d in unique.tolist()]
    outside = np.array([not is_within(label, *dates) for label in labels])[which.ravel()]
    out = table.copy()
    overrule_status(out, np.flatnonzero(away)[outside], ObsStatus.OTHER_STEP)
    return out


def read_all_observations(
    files: AssimilationFiles,
    options: AssimilationOptions,
    sounder: SounderChannels | None = None,
    on_layout: LayoutCallback = ignore_layout,
) -> pd.DataFrame:
    """Return the observations of all files."""
    table = read_observations(
        files.observations, options.errors, options.obs_var, options.obs_units, sounder,
        options.obs_missing, options.stations, on_layout, files.verification,
    )  # fmt: skip
    if sounder is not None and not (table["variable"] == "tb").any():
        raise DpdmError(
            f"{options.channels} describes a sounder, and no brightness temperature is observed.",
            "Leave --channels out, or give observations of tb.",
        )
    return table


def read_sounder(options: AssimilationOptions, prior: Prior) -> SounderChannels | None:
    """Return the channels of a sounder, None without a file of them."""
    if options.channels is None:
        return None
    if prior.contract.kind != "globe":
        raise DpdmError(
            "--channels is for a prior with vertical levels, and this one has none.",
            "Leave it out, or choose another --prior: dpdm train --window makes one of levels.",
        )
    return read_channels(options.channels)


def analysis_settings(space: StateSpace, request: Request) -> dict[str, object]:
    """Return the settings of the analyses for their provenance."""
    options, contract = request.observations, space.prior.contract
    values = {k: v for k, v in asdict(options).items() if not isinstance(v, dict)}
    for name in ("channels", "stations"):
        if file := getattr(options, name):
            values |= {name: file.name, f"{name}_sha256": sha256(file)}
    settings: dict[str, object] = {"seed": space.options.seed, "members": space.options.members}
    settings |= {k: v for k, v in values.items() if v is not None}
    if request.files.verification:
        settings["verification"] = " ".join(path.name for path in request.files.verification)
    settings |= {n: getattr(space.sampler, n) for n in ("sampler", "steps", "corrections", "tau")}
    code_rmse = contract.code.get("reconstruction", {})
    settings |= {f"code_rmse_{name}": f"{value:.4g}" for name, value in code_rmse.items()}
    settings |= {"guidance": options.guidance or contract.sampling["guidance"]}
    for option in ("errors", "coarse_error"):
        stated = getattr(options, option)
        settings |= {
            f"{option}_{name or 'of_all'}": "auto" if isnan(value) else value
            for name, value in stated.items()
        }
    return settings | space.notes
