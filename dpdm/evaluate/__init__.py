"""Score a forecast against the truth, next to reference methods.

A score means little alone: an RMSE of half a kelvin is good where bilinear interpolation has one
kelvin and poor where the delta method has a tenth. So each table holds the reference
methods of ``baselines``, single members, ensemble means and the ensemble, on the same cells and
times, with ratios to bilinear interpolation ("lerp" in JSON).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import xarray as xr

from dpdm.choices import load_plugins
from dpdm.constants import LAPSE_RATE
from dpdm.errors import DpdmError, variables_not_found
from dpdm.evaluate.bootstrap import RESAMPLES, TILE_DEGREES
from dpdm.evaluate.comparison import (
    MAX_SINGLE_MEMBERS,
    Comparison,
    Snapshot,
    prepare_comparison,
    read_rivals,
    read_snapshot,
)
from dpdm.evaluate.metrics import (
    FIELDS,
    MEMBERS,
    SCORES,
    Row,
    ScoredField,
    Scores,
    compute_statistics,
    level_family_rows,
    metric_notes,
    variable_rows,
)
from dpdm.evaluate.sections import SectionChoice, start_sections
from dpdm.evaluate.table import Table
from dpdm.fields.grid import extend_grid, grid_of
from dpdm.fields.level_names import statistic_name
from dpdm.fields.levels import group_families
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import FileOptions, open_fields, select_member_hint
from dpdm.fields.reference_climatology import (
    NAMED_CHOICES,
    ReferenceClimatology,
    open_climatology,
)
from dpdm.fields.statics import make_statics
from dpdm.fields.value_checks import common_missing_codes
from dpdm.file_group import Source
from dpdm.interrupt import check_interrupt

CLIMATOLOGY_MARGIN = 1.5  # coarse cells, those between whose centres the truth's edge may lie

Watch = Callable[[Comparison, Snapshot, Scores], None]


def ignore_scores(comparison: Comparison, snapshot: Snapshot, scores: Scores) -> None:
    """Do nothing with the scores of a time step."""


def evaluate_files(
    forecast: Source,
    truth: Source,
    coarse: Source | None = None,
    climatology: str = "",
    also: Mapping[str, Path] = {},
    statics: Path | None = None,
    options: FileOptions = FileOptions(),
    watch: Watch = ignore_scores,
    climatology_period: tuple[str, str] | None = None,
    sections: SectionChoice = SectionChoice(),
) -> Table:
    """Score a forecast file as `evaluate` does.

    Args:
        forecast: The forecast.
        truth: What it is scored against.
        coarse: Input of the forecast, if known.
        climatology: Name or file of a climatology, or "none"; by default the bundled if it fits.
        also: Further files to score, by the name of their row.
        statics: The user's topography, for the lapse rate.
        options: Options of all files.
        watch: As of `evaluate`.
        climatology_period: First and last month or year of a climatology that is a series.
        sections: As of `evaluate`.
    """
    load_plugins()
    names = [*map(str, options.open(truth).data_vars)]
    true = open_compared(truth, names, options)
    check_one_truth(truth, true)
    opened = {
        path: open_compared(path, names, options)
        for path in (forecast, coarse, *also.values())
        if path
    }
    rough = None if coarse is None else opened[coarse]
    topography = None if rough is None else read_topography(true, rough, statics, options.missing)
    rivals = {name: opened[path] for name, path in also.items()}
    known = open_reference(climatology, true, rough, climatology_period, options)
    return evaluate(opened[forecast], true, rough, known, topography, rivals, watch, sections)


def open_compared(path: Source, names: list[str], options: FileOptions) -> xr.Dataset:
    """Return the variables that a file shares with the truth, as means where it has no members."""
    fields = options.open(path)
    means = {statistic_name(n, "mean"): n for n in names if n not in fields}
    fields = fields.rename({old: new for old, new in means.items() if old in fields})
    shared = [n for n in names if n in fields]
    if not shared:
        raise variables_not_found(path, "the truth's", names, fields.data_vars)
    return fields.drop_vars([n for n in fields.data_vars if n not in shared])  # with time_bnds


def check_one_truth(path: Source, truth: xr.Dataset) -> None:
    """Refuse a truth that is an ensemble."""
    members = truth.sizes.get("realization", 1)
    if members > 1:
        raise DpdmError(
            f"{path} holds {members} members, and the truth is one field at each time.",
            select_member_hint(truth),
        )


def read_topography(
    truth: xr.Dataset, coarse: xr.Dataset, statics: Path | None, missing: MissingCodes = {}
) -> xr.DataArray | None:
    """Return the topography of the truth's cells, with a margin of a coarse cell if possible."""
    own = None if statics is None else open_fields(statics, missing=common_missing_codes(missing))
    grid = grid_of(truth)
    for target in (extend_grid(grid, *margin_cells(truth, coarse)), grid):
        try:
            return make_statics(target, own)["topography"]
        except DpdmError:
            continue
    return None


def margin_cells(
    truth: xr.Dataset, coarse: xr.Dataset, coarse_cells: float = 1.0
) -> tuple[int, int]:
    """Return the rows and columns of the truth's grid in a margin of some coarse cells."""
    pairs = zip(grid_of(coarse).spacing, grid_of(truth).spacing, strict=True)
    rows, columns = (math.ceil(coarse_cells * c / f) for c, f in pairs)
    return rows, columns


def climatology_file(choice: str) -> Path | None:
    """Return the file of a climatology, None where it has none of its own."""
    return None if choice in NAMED_CHOICES else Path(choice)


def open_reference(
    choice: str,
    truth: xr.Dataset,
    coarse: xr.Dataset | None,
    period: tuple[str, str] | None,
    options: FileOptions,
) -> ReferenceClimatology | None:
    """Return the climatology of the truth's cells, with a margin of coarse cells if possible."""
    return open_climatology(
        choice,
        grid_of(truth),
        [*map(str, truth.data_vars)],
        period=period,
        rename=options.rename,
        units=options.units,
        missing=options.missing,
        margin=(0, 0) if coarse is None else margin_cells(truth, coarse, CLIMATOLOGY_MARGIN),
    )


def evaluate(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    coarse: xr.Dataset | None = None,
    climatology: ReferenceClimatology | None = None,
    topography: xr.DataArray | None = None,
    also: Mapping[str, xr.Dataset] = MappingProxyType({}),
    watch: Watch = ignore_scores,
    sections: SectionChoice = SectionChoice(),
) -> Table:
    """Score a forecast and the reference methods, one time step in memory at a time.

    Args:
        forecast: Canonical fields, with dimension ``realization`` where there are members; may
            cover more cells and times than the truth.
        truth: Canonical fields; scores are taken on its cells, at the times that all files share.
        coarse: Input of the forecast; needed for bilinear interpolation and ratios to it.
        climatology: Fine monthly climatology, for anomalies and the delta method, on the truth's
            cells, with a margin as of the topography.
        topography: Surface altitude (m), for the lapse rate, on the truth's cells; with a margin
            of a coarse cell around them, the outermost half coarse cell is correct as well.
        also: Further forecasts, by the name of their row.
        watch: Called for each variable at each time with the fields in memory and their scores.
        sections: The further scores: of variables together, and climate indices.
    """
    comparison = prepare_comparison(forecast, truth, coarse, climatology, topography, also)
    further = start_sections(comparison, sections)
    scores: dict[str, list[Scores]] = {name: [] for name in comparison.names}
    for step in range(comparison.steps):
        rivals = read_rivals(comparison, step)
        for name in comparison.names:
            check_interrupt()
            snapshot = read_snapshot(comparison, name, step, rivals)
            scores[name].append(score_step(comparison, snapshot))
            watch(comparison, snapshot, scores[name][-1])
            further.add(snapshot)
    rows = all_rows(comparison, scores)
    means = level_family_rows(rows, group_families(comparison.truth))
    return Table(rows, score_notes(comparison), means, further.close())


def all_rows(comparison: Comparison, scores: Mapping[str, list[Scores]]) -> list[Row]:
    """Return the rows of all variables from their scores at all times."""
    ranges = comparison.value_range
    return [
        row
        for name, steps in scores.items()
        for row in variable_rows(comparison.truth[name], steps, ranges[name])
    ]


def score_step(comparison: Comparison, snapshot: Snapshot) -> Scores:
    """Return the statistics of one variable at one time, of each method and of the ensemble.

    Only cells that no method misses count, so that all methods are scored on the same cells.
    """
    name, step, coarse = snapshot.name, snapshot.step, comparison.coarse
    truth = snapshot.valid_truth
    methods = ScoredField(
        name,
        snapshot.fields,
        truth.astype(float),
        comparison.climatology_at(name, step),
        comparison.weights,
        comparison.value_range[name],
        None if coarse is None else coarse.isel(time=step, drop=True).compute(),
    )
    scores = {FIELDS: compute_statistics(methods, FIELDS)}
    if snapshot.ensemble.sizes.get("realization", 1) > 1:
        members = replace(methods, fields=snapshot.ensemble, truth=truth)
        scores[MEMBERS] = compute_statistics(members, MEMBERS)
    return scores


def score_notes(comparison: Comparison) -> list[str]:
    """Return notes on how the scores were computed, a sentence each."""
    height, width = comparison.truth.sizes["lat"], comparison.truth.sizes["lon"]
    notes = [
        f"{comparison.steps} times, {height} x {width} cells, weighted by area.",
        "Cells that are missing in one method are left out for all.",
        "RMSE and PSNR are computed from the squared error averaged over time; other scores are "
        "averaged over time.",
        "PSNR and SSIM refer to the range of the truth.",
        *comparison.normals.notes(),
        "CRPS: the mean absolute error of a single field, the fair CRPS of an ensemble.",
        "fine power: variance relative to the truth in the highest third of the wavenumbers.",
    ]
    if "realization" in comparison.forecast.dims:
        notes.append(f"one member: scores averaged over up to {MAX_SINGLE_MEMBERS} members.")
    if comparison.coarse is not None:
        notes.append(
            f"95% interval of the RMSE ratio: paired bootstrap, {RESAMPLES} resamples of "
            f"times and of tiles of about {TILE_DEGREES:g} degrees."
        )
        notes.append("consistency: RMS difference between block means and the coarse file.")
    if comparison.height is not None:
        notes.append(
            f"lapse rate: {1e3 * LAPSE_RATE:g} K/km, for pressure the hypsometric equation."
        )
    return notes + metric_notes(SCORES)
