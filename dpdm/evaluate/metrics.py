"""The scores as objects, each registered once: what it takes from a time step, and what it prints.

A `Statistic` is computed from the fields of one time step. A `Metric` is made from the means of
statistics over the time steps (or the cells) of a part: all times, a month, a class of heights.
It is left out where one of its statistics is not known. The printed table, the JSON and the report
show the metrics of ``METRICS`` in their order; to add a score, `register` one more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.bootstrap import ratio_interval, tile_sums
from dpdm.evaluate.scores import (
    acc,
    bias,
    consistency,
    corrected_variance,
    crps,
    rank_histogram,
    rmse,
    ssim,
)
from dpdm.evaluate.spectra import SPECTRAL_BANDS, band_ratio, spectrum
from dpdm.fields.grid import grid_of
from dpdm.fields.subset import select_covered

Row = dict[str, Any]
Parts = Mapping[str, xr.Dataset]  # the statistics of a part by method

REFERENCE = "lerp"
FIELDS, MEMBERS = "methods", "ensemble"  # each field alone, or all members together


@dataclass(frozen=True)
class ScoredField:
    """Hold what is compared of one variable at one time.

    Attributes:
        name: The variable.
        fields: With dimensions lat and lon, and ``method`` or ``realization``.
        truth: NaN in cells that one of the methods misses.
        normal: What anomalies are taken from.
        weights: Area of the cells.
        span: The range of the truth over all times.
        coarse: The coarse fields of that time, if there are some.
    """

    name: str
    fields: xr.DataArray
    truth: xr.DataArray
    normal: xr.DataArray
    weights: xr.DataArray
    span: float
    coarse: xr.Dataset | None = None


@dataclass(frozen=True)
class Statistic:
    """A number, or a vector, of one time step; None where it cannot be had.

    Attributes:
        name: Its key, which no other statistic of the same kind has.
        compute: Takes the sample of one time step.
        kind: ``FIELDS`` for each method alone, ``MEMBERS`` for all members together.
    """

    name: str
    compute: Callable[[ScoredField], xr.DataArray | None]
    kind: str = FIELDS


class Means:
    """The statistics of one method in a part, and those of the reference.

    Attributes:
        values: One variable for each statistic, with or without dimension ``time``.
        span: The range of the truth over all times.
        reference: The values of bilinear interpolation, None where there is none.
    """

    def __init__(
        self, values: xr.Dataset, span: float = np.nan, reference: xr.Dataset | None = None
    ) -> None:
        self.values, self.span, self.reference = values, span, reference

    def __getitem__(self, name: str) -> float:
        """Return the mean of a statistic over time."""
        return float(self.values[name].mean())

    @property
    def is_reference(self) -> bool:
        """Tell whether these are the values of the reference itself."""
        return self.values is self.reference

    def ratio(self, name: str) -> float:
        """Return a mean over that of the reference, NaN over nothing."""
        if self.is_reference:
            return 1.0
        below = np.nan if self.reference is None else float(self.reference[name].mean())
        return self[name] / below if below > 0 else np.nan


@dataclass(frozen=True)
class Metric:
    """A score of a method over a part.

    Attributes:
        name: Its key in the rows and in the JSON.
        statistics: Names of what it is made from, or the statistics themselves where it is the
            first that needs them.
        reduce: Takes the means; returns a number, a list, or a row with each of ``keys``.
        column: Its heading in the printed table; without one, it is in the JSON alone.
        label: Its heading in the report, where that is another.
        digits: Decimals; None for a score that is printed with those of the RMSE.
        unit: Empty for the unit of the variable.
        keys: What ``reduce`` returns by name, if not one value.
        levels: Whether the score of a variable on levels is the mean of theirs.
        ratio_of: The score whose means over levels make a ratio to the reference.
        text: Returns its entry of a row, where that is not one number.
        note: A sentence on how it is taken.
    """

    name: str
    statistics: tuple[Statistic | str, ...]
    reduce: Callable[[Means], Any] | None
    column: str = ""
    label: str = ""
    digits: int | None = 2
    unit: str = "1"
    keys: tuple[str, ...] = ()
    levels: bool = True
    ratio_of: str = ""
    text: Callable[[Row], str] | None = None
    note: str = ""

    def row(self, means: Means) -> Row:
        """Return the score by its key or keys, nothing where a statistic is not known."""
        needed = {s if isinstance(s, str) else s.name for s in self.statistics}
        if self.reduce is None or not needed <= means.values.keys():
            return {}
        value = self.reduce(means)
        return value if self.keys else {self.name: value}


METRICS: dict[str, Metric] = {}


def register(*metrics: Metric) -> None:
    """Add scores to all tables, the JSON and the report."""
    for metric in metrics:
        if metric.name in METRICS:
            raise DpdmError(f"There is a score {metric.name} already.", "Give it another name.")
        METRICS[metric.name] = metric


def column_metrics() -> list[Metric]:
    """Return the scores that have a column, from the left."""
    return [metric for metric in METRICS.values() if metric.column]


def compute_statistics(sample: ScoredField, kind: str) -> xr.Dataset:
    """Return all statistics of a kind at one time step."""
    needed = (s for metric in METRICS.values() for s in metric.statistics)
    known = {s.name: s for s in needed if isinstance(s, Statistic) and s.kind == kind}
    found = {name: statistic.compute(sample) for name, statistic in known.items()}
    return xr.Dataset({name: value for name, value in found.items() if value is not None})


def mean_over_time(steps: Sequence[Mapping[str, xr.Dataset]]) -> dict[str, xr.Dataset]:
    """Return the statistics of some time steps by method, the members together at the end."""
    total = {kind: xr.concat([step[kind] for step in steps], "time") for kind in steps[0]}
    labels = total[FIELDS]["method"].values
    parts = {
        str(method): total[FIELDS].isel(method=np.flatnonzero(labels == method)).mean("method")
        for method in dict.fromkeys(labels)
    }
    if MEMBERS in total:
        parts[f"ensemble of {total[MEMBERS].sizes['rank'] - 1}"] = total[MEMBERS]
    return parts


def method_rows(parts: Parts, span: float) -> list[Row]:
    """Return a row of scores for each method of a part."""
    return [
        {"method": method} | compute_scores(Means(values, span, parts.get(REFERENCE)))
        for method, values in parts.items()
    ]


def compute_scores(means: Means) -> Row:
    """Return all scores that the statistics of a method give."""
    return {key: v for metric in METRICS.values() for key, v in metric.row(means).items()}


def level_family_rows(rows: Sequence[Row], families: Mapping[str, Sequence[str]]) -> list[Row]:
    """Return a row for each family of levels and each method that all its levels have."""
    out = []
    for family, names in families.items():
        own = [row for row in rows if row["variable"] in names]
        for method in dict.fromkeys(row["method"] for row in own):
            alike = [row for row in own if row["method"] == method]
            if 1 < len(alike) == len(names):
                out.append(mean_row(family, alike))
    return out


def mean_row(family: str, rows: Sequence[Row]) -> Row:
    """Return the means of one method's scores over levels; ratios to lerp are those of means.

    Example:
        >>> level = {"units": "K", "method": "mean"}
        >>> rows = [{"rmse": 1.0, "rmse_ratio": 0.5}, {"rmse": 2.0, "rmse_ratio": 1.0}]
        >>> row = mean_row("t", [level | row for row in rows])
        >>> row["rmse"], row["rmse_ratio"]
        (1.5, 0.75)
    """
    found: Row = {"variable": family, "levels": len(rows)}
    found |= {key: rows[0][key] for key in ("units", "method")}
    for metric in METRICS.values():
        for key in metric.keys or (metric.name,):
            values: list[Any] = [row.get(key) for row in rows]
            if metric.ratio_of and all(values):
                own = [row[metric.ratio_of] for row in rows]
                other = [value / ratio for value, ratio in zip(own, values, strict=True)]
                found[key] = float(np.mean(own)) / float(np.mean(other))
            elif metric.levels and not metric.ratio_of and None not in values:
                found[key] = np.mean(values, axis=0).tolist()
    return found


def _rmse_ratio(means: Means) -> Row:
    """Return the RMSE's ratio to that of the reference, which has no interval itself."""
    return {} if means.reference is None else {"rmse_ratio": means.ratio("mse") ** 0.5}


def _interval(means: Means) -> Row:
    """Return the 95% interval of the ratio of RMSEs, and what it says."""
    if means.reference is None or means.is_reference:
        return {}
    low, high = ratio_interval(means.values["squares"].values, means.reference["squares"].values)
    return {"rmse_ratio_low": low, "rmse_ratio_high": high, "verdict": ratio_verdict(low, high)}


def ratio_verdict(low: float, high: float) -> str:
    """Say what a 95% interval of the ratio to lerp means.

    Example:
        >>> ratio_verdict(0.8, 0.9), ratio_verdict(0.9, 1.1)
        ('better than lerp at the 95% level', 'no different from lerp at the 95% level')
    """
    if np.isnan(low):
        return "not tested against lerp"
    word = "better than" if high < 1 else "worse than" if low > 1 else "no different from"
    return f"{word} lerp at the 95% level"


def _format_interval(row: Row) -> str:
    """Return both ends of the interval as text."""
    low, high = (row.get(f"rmse_ratio_{end}", np.nan) for end in ("low", "high"))
    return f"{low:.2f}-{high:.2f}" if np.isfinite([low, high]).all() else "-"


def _crps_ratio(means: Means) -> Row:
    """Return the CRPS over that of the reference; members have the key without one too."""
    if means.reference is None and "rank_histogram" not in means.values:
        return {}
    return {"crps_ratio": means.ratio("crps") if means.reference is not None else None}


def _psnr(means: Means) -> float | None:
    """Return the peak signal-to-noise ratio of the RMSE over all times, None for no error."""
    error = means["mse"] ** 0.5
    return 20 * float(np.log10(means.span / error)) if error > 0 else None


def _bands(means: Means) -> Row:
    """Return the power over the truth's in each third of the wavenumbers."""
    ratios = band_ratio(means.values["power"], means.values["truth_power"])
    return {f"spectrum_{band}": float(ratios.sel(band=band)) for band in SPECTRAL_BANDS}


def _ssr(means: Means) -> float | None:
    """Return the spread-skill ratio over all times, None for a mean without error."""
    error = means["centre_mse"]
    return (means["variance"] / error) ** 0.5 if error > 0 else None


def _squares(sample: ScoredField) -> xr.DataArray:
    """Return the sums of squared errors over tiles, each cell with its share of the area."""
    area = sample.weights / sample.weights.where(sample.truth.notnull()).sum(min_count=1)
    return tile_sums(area * (sample.fields - sample.truth) ** 2)


def _consistency(sample: ScoredField) -> xr.DataArray | None:
    """Return the squared difference to the coarse field, NaN where there is none to compare."""
    if sample.coarse is None:
        return None
    fields, coarse = sample.fields, sample.coarse
    if sample.name not in coarse or select_covered(coarse, grid_of(fields)) is None:
        return fields.isel(lat=0, lon=0, drop=True) * np.nan
    return consistency(fields, coarse[sample.name]) ** 2


def _centre(sample: ScoredField) -> xr.DataArray:
    """Return the mean squared error of the ensemble mean."""
    centre = sample.fields.mean("realization", skipna=False)
    return rmse(centre, sample.truth, sample.weights) ** 2


MSE = Statistic("mse", lambda s: rmse(s.fields, s.truth, s.weights) ** 2)
BIAS = Statistic("bias", lambda s: bias(s.fields, s.truth, s.weights))
ACC = Statistic("acc", lambda s: acc(s.fields, s.truth, s.normal, s.weights))
SSIM = Statistic("ssim", lambda s: ssim(s.fields, s.truth, s.weights, data_range=s.span))
CRPS = Statistic("crps", lambda s: crps(s.fields, s.truth, s.weights))
FAIR_CRPS = Statistic("crps", CRPS.compute, MEMBERS)
POWER = Statistic("power", lambda s: spectrum(s.fields.where(s.truth.notnull())))
TRUTH_POWER = Statistic("truth_power", lambda s: spectrum(s.truth))
SQUARES = Statistic("squares", _squares)
CONSISTENCY = Statistic("consistency", _consistency)
VARIANCE = Statistic(
    "variance", lambda s: corrected_variance(s.fields, s.truth, s.weights), MEMBERS
)
CENTRE_MSE = Statistic("centre_mse", _centre, MEMBERS)
RANKS = Statistic(
    "rank_histogram", lambda s: rank_histogram(s.fields, s.truth, s.weights), MEMBERS
)
BAND_KEYS = tuple(f"spectrum_{band}" for band in SPECTRAL_BANDS)
INTERVAL_KEYS = ("rmse_ratio_low", "rmse_ratio_high", "verdict")

register(
    Metric("rmse", (MSE,), lambda m: m["mse"] ** 0.5, "RMSE", digits=None, unit=""),
    Metric(
        "rmse_ratio", ("mse",), _rmse_ratio, "/lerp", "RMSE/lerp", keys=("rmse_ratio",),
        ratio_of="rmse",
    ),
    Metric("interval", (SQUARES,), _interval, "95% range", keys=INTERVAL_KEYS, levels=False,
    text=_format_interval),
    Metric("bias", (BIAS,), lambda m: m["bias"], "bias", digits=None, unit=""),
    Metric("acc", (ACC,), lambda m: m["acc"], "ACC", digits=3),
    Metric("ssim", (SSIM,), lambda m: m["ssim"], "SSIM", digits=3),
    Metric("psnr", ("mse",), _psnr, "PSNR", digits=1, unit="dB", levels=False),
    Metric("crps", (CRPS, FAIR_CRPS), lambda m: m["crps"], "CRPS", digits=None, unit=""),
    Metric(
        "crps_ratio", ("crps",), _crps_ratio, "/lerp", "CRPS/lerp", keys=("crps_ratio",),
        ratio_of="crps",
    ),
    Metric("spectrum_small", (POWER, TRUTH_POWER), _bands, "fine power", keys=BAND_KEYS),
    Metric(
        "consistency", (CONSISTENCY,), lambda m: m["consistency"] ** 0.5, "consistency",
        digits=None, unit="",
    ),
    Metric("ssr", (VARIANCE, CENTRE_MSE), _ssr),
    Metric(
        "rank_histogram", (RANKS,),
        lambda m: [float(share) for share in m.values["rank_histogram"].mean("time").values],
    ),
    Metric("spread", (), None, "/training std"),  # of the climate of a series, before a run
)  # fmt: skip
