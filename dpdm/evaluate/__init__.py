"""Judge a forecast against the truth, beside what can be had without it.

A method's score means little alone: an RMSE of half a kelvin is good where lerp has one and poor
where the mean of past years has a tenth. So each table holds the baselines, the single member, the
ensemble means and the ensemble, on the same cells and times, with ratios to lerp.

The scores themselves are in ``scores``, ``ensemble`` and ``spectra``, and can be used alone; what
the table compares with is in ``baselines``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import xarray as xr

from dpdm.constants import LAPSE_RATE
from dpdm.evaluate.bootstrap import RESAMPLES, TILE
from dpdm.evaluate.case import SINGLES, Case, Moment, moment_at, prepare, rivals_at
from dpdm.evaluate.ensemble import crps, rank_histogram, ssr
from dpdm.evaluate.metrics import (
    FIELDS,
    MEMBERS,
    METRICS,
    Metric,
    Row,
    Sample,
    Statistic,
    family_rows,
    measure,
    method_rows,
    over_time,
    register,
)
from dpdm.evaluate.scores import acc, area_weights, bias, consistency, psnr, rmse, ssim
from dpdm.evaluate.spectra import spectrum, spectrum_ratio
from dpdm.evaluate.table import Table
from dpdm.fields.levels import families
from dpdm.interrupt import check

Scores = dict[str, xr.Dataset]
Watch = Callable[[Case, Moment, Scores], None]

__all__ = [
    "Case",
    "Metric",
    "Moment",
    "Sample",
    "Scores",
    "Statistic",
    "Table",
    "Watch",
    "acc",
    "area_weights",
    "bias",
    "consistency",
    "crps",
    "evaluate",
    "psnr",
    "rank_histogram",
    "register",
    "rmse",
    "spectrum",
    "spectrum_ratio",
    "ssim",
    "ssr",
]


def unseen(case: Case, moment: Moment, scores: Scores) -> None:
    """Let a moment pass."""


def evaluate(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    coarse: xr.Dataset | None = None,
    climatology: xr.Dataset | None = None,
    topography: xr.DataArray | None = None,
    also: Mapping[str, xr.Dataset] = MappingProxyType({}),
    watch: Watch = unseen,
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
    case = prepare(forecast, truth, coarse, climatology, topography, also)
    found: dict[str, list[Scores]] = {name: [] for name in case.names}
    for step in range(case.steps):
        rivals = rivals_at(case, step)
        for name in case.names:
            check()
            moment = moment_at(case, name, step, rivals)
            found[name].append(score_step(case, moment))
            watch(case, moment, found[name][-1])
    rows = [row for name in case.names for row in rows_of(case, name, found[name])]
    return Table(rows, notes(case), family_rows(rows, families(case.truth)))


def score_step(case: Case, moment: Moment) -> Scores:
    """Return the statistics of one variable at one time, of the methods and of the ensemble.

    Only cells count that no method misses, so that all methods are judged on the same ones.
    """
    here = None if case.coarse is None else case.coarse.isel(time=moment.step, drop=True)
    coarse = None if here is None else here.compute()
    name, normal = moment.name, case.normal_at(moment.name, moment.step)
    truth, weights, span = moment.seen, case.weights, case.span[name]
    alone = Sample(name, moment.fields, truth.astype(float), normal, weights, span, coarse)
    found = {FIELDS: measure(alone, FIELDS)}
    if moment.ensemble.sizes.get("realization", 1) > 1:
        together = replace(alone, fields=moment.ensemble, truth=truth)
        found[MEMBERS] = measure(together, MEMBERS)
    return found


def rows_of(case: Case, name: str, steps: list[Scores]) -> list[Row]:
    """Return the rows of one variable from the scores of some time steps."""
    units = case.truth[name].attrs.get("units", "1")
    rows = method_rows(over_time(steps), case.span[name])
    return [{"variable": name, "units": units, **row} for row in rows]


def notes(case: Case) -> list[str]:
    """Say how the scores were taken, a sentence each."""
    height, width = case.truth.sizes["lat"], case.truth.sizes["lon"]
    normal = "the truth over time" if case.normal is None else "the climatology file, by month"
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
        said.append(f"one member: scores averaged over the first {SINGLES} members at most.")
    if case.coarse is not None:
        said.append(
            f"95% interval of the RMSE ratio: paired bootstrap, {RESAMPLES} draws of times and of "
            f"tiles of about {TILE:g} degrees."
        )
        said.append("consistency: RMS difference of means over coarse cells to the coarse file.")
    if case.height is not None:
        said.append(
            f"lapse rate: {1e3 * LAPSE_RATE:g} K/km, for pressure the hypsometric equation."
        )
    return said + [metric.note for metric in METRICS.values() if metric.note]
