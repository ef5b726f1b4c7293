"""Judge a forecast against the truth, beside what can be had without it.

A method's score means little alone: an RMSE of half a kelvin is good where lerp has one and poor
where the mean of past years has a tenth. So each table holds the baselines, the single member, the
ensemble means and the ensemble, on the same cells and times, with ratios to lerp.

The scores themselves are in ``scores``, ``ensemble`` and ``spectra``, and can be used alone; what
the table compares with is in ``baselines``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import xarray as xr

from dpdm.constants import LAPSE_RATE
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
    METRICS,
    Row,
    ScoredField,
    compute_statistics,
    level_family_rows,
    mean_over_time,
    method_rows,
)
from dpdm.evaluate.table import Table
from dpdm.fields.levels import group_families
from dpdm.interrupt import check_interrupt

Scores = dict[str, xr.Dataset]
Watch = Callable[[Comparison, Snapshot, Scores], None]


def ignore_scores(case: Comparison, moment: Snapshot, scores: Scores) -> None:
    """Let a moment pass."""


def evaluate(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    coarse: xr.Dataset | None = None,
    climatology: xr.Dataset | None = None,
    topography: xr.DataArray | None = None,
    also: Mapping[str, xr.Dataset] = MappingProxyType({}),
    watch: Watch = ignore_scores,
) -> Table:
    """Score a forecast and its baselines, one time step in memory at a time.

    Args:
        forecast: Canonical fields, with dimension ``realization`` where there are members; it may
            cover more cells and times than the truth.
        truth: Canonical fields; their cells, and the times that all files share, are scored.
        coarse: What the forecast was made from; needed for lerp and all that is compared with it.
        climatology: Fine fields of other years, for anomalies and the residual climatology.
        topography: Surface altitude (m), for the lapse rate, on the truth's cells; with a margin
            of a coarse cell around them, the outermost half coarse cell is right too.
        also: Further forecasts, by the name of their row.
        watch: Shown each variable at each time while it is in memory, with its scores.
    """
    case = prepare_comparison(forecast, truth, coarse, climatology, topography, also)
    found: dict[str, list[Scores]] = {name: [] for name in case.names}
    for step in range(case.steps):
        rivals = read_rivals(case, step)
        for name in case.names:
            check_interrupt()
            moment = read_snapshot(case, name, step, rivals)
            found[name].append(score_step(case, moment))
            watch(case, moment, found[name][-1])
    rows = [row for name in case.names for row in variable_rows(case, name, found[name])]
    return Table(rows, score_notes(case), level_family_rows(rows, group_families(case.truth)))


def score_step(case: Comparison, moment: Snapshot) -> Scores:
    """Return the statistics of one variable at one time, of the methods and of the ensemble.

    Only cells count that no method misses, so that all methods are judged on the same ones.
    """
    here = None if case.coarse is None else case.coarse.isel(time=moment.step, drop=True)
    coarse = None if here is None else here.compute()
    name, normal = moment.name, case.climatology_at(moment.name, moment.step)
    truth, weights, span = moment.valid_truth, case.weights, case.value_range[name]
    alone = ScoredField(name, moment.fields, truth.astype(float), normal, weights, span, coarse)
    found = {FIELDS: compute_statistics(alone, FIELDS)}
    if moment.ensemble.sizes.get("realization", 1) > 1:
        together = replace(alone, fields=moment.ensemble, truth=truth)
        found[MEMBERS] = compute_statistics(together, MEMBERS)
    return found


def variable_rows(case: Comparison, name: str, steps: list[Scores]) -> list[Row]:
    """Return the rows of one variable from the scores of some time steps."""
    units = case.truth[name].attrs.get("units", "1")
    rows = method_rows(mean_over_time(steps), case.value_range[name])
    return [{"variable": name, "units": units, **row} for row in rows]


def score_notes(case: Comparison) -> list[str]:
    """Say how the scores were taken, a sentence each."""
    height, width = case.truth.sizes["lat"], case.truth.sizes["lon"]
    normal = (
        "the truth over time" if case.climatology is None else "the climatology file, by month"
    )
    said = [
        f"{case.steps} times, {height} x {width} cells, weighted by area.",
        "A cell that one method misses is left out for all.",
        "RMSE and PSNR come from the squared error averaged over time, the rest are time means.",
        "PSNR and SSIM take the range of the truth.",
        f"ACC is centred, of anomalies from the mean of {normal}.",
        "CRPS of a single field is its mean absolute error, of an ensemble the fair CRPS.",
        "fine power: variance over the truth's in the smallest-scale third of the wavenumbers.",
    ]
    if "realization" in case.forecast.dims:
        said.append(
            f"one member: scores averaged over the first {MAX_SINGLE_MEMBERS} members at most."
        )
    if case.coarse is not None:
        said.append(
            f"95% interval of the RMSE ratio: paired bootstrap, {RESAMPLES} draws of times and of "
            f"tiles of about {TILE_DEGREES:g} degrees."
        )
        said.append("consistency: RMS difference of means over coarse cells to the coarse file.")
    if case.height is not None:
        said.append(
            f"lapse rate: {1e3 * LAPSE_RATE:g} K/km, for pressure the hypsometric equation."
        )
    return said + [metric.note for metric in METRICS.values() if metric.note]
