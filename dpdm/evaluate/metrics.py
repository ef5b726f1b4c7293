"""Register the scores of the printed table, the JSON and the report.

A `Statistic` is computed from the fields of one time step. A `Metric` is computed from the means
of statistics over time steps or cells: all times, a month, a class of elevations. It is left out
where one of its statistics is not available. To add a score, `register` one more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.bootstrap import ratio_interval, tile_sums
from dpdm.evaluate.distributions import log_spectral_distance, wasserstein
from dpdm.evaluate.scores import (
    SPECTRAL_BANDS,
    acc,
    band_ratio,
    bias,
    consistency,
    corrected_variance,
    crps,
    rank_histogram,
    rmse,
    spectrum,
    ssim,
)
from dpdm.fields.grid import grid_of
from dpdm.fields.subset import select_covered

Row = dict[str, Any]  # the scores of one method
Scores = dict[str, xr.Dataset]  # the statistics of one time step, FIELDS and MEMBERS

REFERENCE = "lerp"  # as the paper and JSON name bilinear interpolation
FIELDS, MEMBERS = "methods", "ensemble"  # kinds of statistics: of each method, or of all members
JOINT, JOINT_MEMBERS = "joint methods", "joint ensemble"  # the same of all variables together
SCORES, JOINT_SECTION, INDICES = "scores", "joint", "indices"  # sections of the table


@dataclass(frozen=True)
class ScoredField:
    """The fields of one variable at one time from which statistics are computed.

    Attributes:
        name: The variable.
        fields: With dimensions lat and lon, and ``method`` or ``realization``.
        truth: NaN in cells that one of the methods misses.
        normal: Climatology that anomalies refer to; None where there are no anomalies.
        weights: Area of the cells.
        span: Range of the truth over all times.
        coarse: The coarse fields of that time, if any.
    """

    name: str
    fields: xr.DataArray
    truth: xr.DataArray
    normal: xr.DataArray | None
    weights: xr.DataArray
    span: float
    coarse: xr.Dataset | None = None


@dataclass(frozen=True)
class Statistic:
    """A number or vector of one time step.

    Attributes:
        name: Key, unique among the statistics of the same kind.
        compute: Returns it for the fields of one time step, None where it is not available.
        kind: ``FIELDS`` for each method, ``MEMBERS`` for all members together, of a
            `ScoredField`; ``JOINT`` and ``JOINT_MEMBERS`` the same of `JointFields`.
    """

    name: str
    compute: Callable[[Any], xr.DataArray | None]
    kind: str = FIELDS


class Means:
    """The statistics of one method, and those of the reference method.

    Attributes:
        values: One variable for each statistic, with or without dimension ``time``.
        span: Range of the truth over all times.
        reference: The statistics of bilinear interpolation, if any.
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
        """Return whether the method is the reference itself."""
        return self.values is self.reference

    def ratio(self, name: str) -> float:
        """Return the ratio of a mean to that of the reference, NaN where undefined."""
        if self.is_reference:
            return 1.0
        reference = np.nan if self.reference is None else float(self.reference[name].mean())
        return self[name] / reference if reference > 0 else np.nan


@dataclass(frozen=True)
class Metric:
    """A score of a method.

    Attributes:
        name: Key in the rows and in the JSON.
        statistics: The statistics it needs, by name if another metric defines them.
        reduce: Returns a number, a list, or a row with each of ``keys`` from the means.
        column: Heading in the printed table; without one, the score is only in the JSON.
        label: Heading in the report, if another.
        digits: Decimals; None for those of the RMSE.
        unit: Empty for the unit of the variable.
        keys: Keys that ``reduce`` returns, if not one value.
        levels: Whether the score of a variable on levels is the mean over its levels.
        ratio_of: The score whose means over levels give a ratio to the reference.
        text: Returns the table entry of a row, if not one number.
        note: A sentence on how the score is computed.
        section: Section of the table in which it has its column.
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
    section: str = SCORES

    def row(self, means: Means) -> Row:
        """Return the score by key, an empty row where a statistic is not available."""
        needed = {s if isinstance(s, str) else s.name for s in self.statistics}
        if self.reduce is None or not needed <= means.values.keys():
            return {}
        value = self.reduce(means)
        return value if self.keys else {self.name: value}


METRICS: dict[str, Metric] = {}


def register(*metrics: Metric) -> None:
    """Add scores to the tables, the JSON and the report."""
    for metric in metrics:
        if metric.name in METRICS:
            raise DpdmError(f"A score {metric.name} exists already.", "Give it another name.")
        METRICS[metric.name] = metric


def column_metrics(section: str = SCORES) -> list[Metric]:
    """Return the scores that have a column in a section, from left to right."""
    return [metric for metric in METRICS.values() if metric.column and metric.section == section]


def metric_notes(section: str) -> list[str]:
    """Return the notes on the scores of a section."""
    return [m.note for m in METRICS.values() if m.note and m.section == section]


def compute_statistics(sample: Any, kind: str) -> xr.Dataset:
    """Return the statistics of a kind at one time step, of a `ScoredField` or `JointFields`."""
    needed = (s for metric in METRICS.values() for s in metric.statistics)
    known = {s.name: s for s in needed if isinstance(s, Statistic) and s.kind == kind}
    values = {name: statistic.compute(sample) for name, statistic in known.items()}
    available = {name: value for name, value in values.items() if value is not None}
    return xr.Dataset(available, attrs={"members": sample.fields.sizes.get("realization", 1)})


def group_by_method(steps: Sequence[Scores]) -> dict[str, xr.Dataset]:
    """Return the statistics of time steps by method, those of the ensemble last."""
    total = {kind: xr.concat([step[kind] for step in steps], "time") for kind in steps[0]}
    labels = total[FIELDS]["method"].values
    methods = {
        str(method): total[FIELDS].isel(method=np.flatnonzero(labels == method)).mean("method")
        for method in dict.fromkeys(labels)
    }
    if MEMBERS in total:
        methods[f"ensemble of {total[MEMBERS].attrs['members']}"] = total[MEMBERS]
    return methods


def variable_rows(truth: xr.DataArray, steps: Sequence[Scores], span: float) -> list[Row]:
    """Return the rows of one variable from the scores of some time steps."""
    about = {"variable": str(truth.name), "units": truth.attrs.get("units", "1")}
    return [about | row for row in method_rows(group_by_method(steps), span)]


def method_rows(methods: Mapping[str, xr.Dataset], span: float) -> list[Row]:
    """Return a row of scores for each method from its statistics."""
    return [
        {"method": method} | compute_scores(Means(values, span, methods.get(REFERENCE)))
        for method, values in methods.items()
    ]


def compute_scores(means: Means) -> Row:
    """Return all scores of a method."""
    return {key: v for metric in METRICS.values() for key, v in metric.row(means).items()}


def level_family_rows(rows: Sequence[Row], families: Mapping[str, Sequence[str]]) -> list[Row]:
    """Return mean rows over levels, for each family of levels and method with all its levels."""
    means = []
    for family, names in families.items():
        own = [row for row in rows if row["variable"] in names]
        for method in dict.fromkeys(row["method"] for row in own):
            alike = [row for row in own if row["method"] == method]
            if 1 < len(alike) == len(names):
                means.append(mean_row(family, alike))
    return means


def mean_row(family: str, rows: Sequence[Row]) -> Row:
    """Return the means of a method's scores over levels; ratios to lerp are ratios of means.

    Example:
        >>> level = {"units": "K", "method": "mean"}
        >>> rows = [{"rmse": 1.0, "rmse_ratio": 0.5}, {"rmse": 2.0, "rmse_ratio": 1.0}]
        >>> row = mean_row("t", [level | row for row in rows])
        >>> row["rmse"], row["rmse_ratio"]
        (1.5, 0.75)
    """
    mean: Row = {"variable": family, "levels": len(rows)}
    mean |= {key: rows[0][key] for key in ("units", "method")}
    for metric in METRICS.values():
        for key in metric.keys or (metric.name,):
            values: list[Any] = [row.get(key) for row in rows]
            if metric.ratio_of and all(values):
                own = [row[metric.ratio_of] for row in rows]
                other = [value / ratio for value, ratio in zip(own, values, strict=True)]
                mean[key] = float(np.mean(own)) / float(np.mean(other))
            elif metric.levels and not metric.ratio_of and None not in values:
                mean[key] = np.mean(values, axis=0).tolist()
    return mean


def _rmse_ratio(means: Means) -> Row:
    """Return the ratio of the RMSE to that of the reference."""
    return {} if means.reference is None else {"rmse_ratio": means.ratio("mse") ** 0.5}


def _interval(means: Means) -> Row:
    """Return the 95% interval of the ratio of RMSEs, and the verdict."""
    if means.reference is None or means.is_reference:
        return {}
    low, high = ratio_interval(means.values["squares"].values, means.reference["squares"].values)
    return {"rmse_ratio_low": low, "rmse_ratio_high": high, "verdict": ratio_verdict(low, high)}


def method_label(name: str) -> str:
    """Return the name of a method for readers.

    Example:
        >>> method_label("lerp + lapse rate"), method_label("one member")
        ('bilinear + lapse rate', 'one member')
    """
    first, *more = name.split(" + ")
    return " + ".join(["bilinear", *more]) if first == REFERENCE else name


def ratio_verdict(low: float, high: float) -> str:
    """Return the verdict of a 95% interval of the RMSE ratio to lerp.

    Example:
        >>> ratio_verdict(0.8, 0.9), ratio_verdict(0.9, 1.1)
        ('better than bilinear at the 95% level', 'no different from bilinear at the 95% level')
    """
    if np.isnan(low):
        return "not tested against bilinear"
    word = "better than" if high < 1 else "worse than" if low > 1 else "no different from"
    return f"{word} bilinear at the 95% level"


def _format_interval(row: Row) -> str:
    """Return both ends of the interval as text."""
    low, high = (row.get(f"rmse_ratio_{end}", np.nan) for end in ("low", "high"))
    return f"{low:.2f}-{high:.2f}" if np.isfinite([low, high]).all() else "-"


def _crps_ratio(means: Means) -> Row:
    """Return the ratio of the CRPS to that of the reference, None for members without one."""
    if means.reference is None and "rank_histogram" not in means.values:
        return {}
    return {"crps_ratio": means.ratio("crps") if means.reference is not None else None}


def _psnr(means: Means) -> float | None:
    """Return the peak signal-to-noise ratio (dB) over all times, None without error or range."""
    error = means["mse"] ** 0.5
    return 20 * float(np.log10(means.span / error)) if error > 0 and means.span > 0 else None


def _bands(means: Means) -> Row:
    """Return the ratio of power to the truth's in each third of the wavenumbers."""
    ratios = band_ratio(means.values["power"], means.values["truth_power"])
    return {f"spectrum_{band}": float(ratios.sel(band=band)) for band in SPECTRAL_BANDS}


def _log_spectral_distance(means: Means) -> Row:
    """Return the distance of the mean spectra, an empty row where it is not defined."""
    spectra = (means.values[name].mean("time") for name in ("power", "truth_power"))
    distance = log_spectral_distance(*spectra)
    return {} if distance is None else {"log_spectral_distance": distance}


def _ssr(means: Means) -> float | None:
    """Return the spread-skill ratio over all times, None if the mean has no error."""
    error = means["centre_mse"]
    return (means["variance"] / error) ** 0.5 if error > 0 else None


def _squares(sample: ScoredField) -> xr.DataArray:
    """Return the sums of squared errors over tiles, weighted by each cell's share of the area."""
    area = sample.weights / sample.weights.where(sample.truth.notnull()).sum(min_count=1)
    return tile_sums(area * (sample.fields - sample.truth) ** 2)


def _consistency(sample: ScoredField) -> xr.DataArray | None:
    """Return the squared difference to the coarse field, NaN without a common coarse cell."""
    if sample.coarse is None:
        return None
    fields, coarse = sample.fields, sample.coarse
    if sample.name not in coarse or select_covered(coarse, grid_of(fields)) is None:
        return fields.isel(lat=0, lon=0, drop=True) * np.nan
    return consistency(fields, coarse[sample.name]) ** 2


def _anomaly_correlation(sample: ScoredField) -> xr.DataArray | None:
    """Return the anomaly correlation, None without anomalies."""
    if sample.normal is None:
        return None
    return acc(sample.fields, sample.truth, sample.normal, sample.weights)


def _mean_squared_error(sample: ScoredField) -> xr.DataArray:
    """Return the mean squared error of the ensemble mean."""
    centre = sample.fields.mean("realization", skipna=False)
    return rmse(centre, sample.truth, sample.weights) ** 2


MSE = Statistic("mse", lambda s: rmse(s.fields, s.truth, s.weights) ** 2)
BIAS = Statistic("bias", lambda s: bias(s.fields, s.truth, s.weights))
ACC = Statistic("acc", _anomaly_correlation)
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
CENTRE_MSE = Statistic("centre_mse", _mean_squared_error, MEMBERS)
WASSERSTEIN = Statistic("wasserstein", lambda s: wasserstein(s.fields, s.truth, s.weights))
RANKS = Statistic(
    "rank_histogram", lambda s: rank_histogram(s.fields, s.truth, s.weights), MEMBERS
)
BAND_KEYS = tuple(f"spectrum_{band}" for band in SPECTRAL_BANDS)
INTERVAL_KEYS = ("rmse_ratio_low", "rmse_ratio_high", "verdict")

register(
    Metric("rmse", (MSE,), lambda m: m["mse"] ** 0.5, "RMSE", digits=None, unit=""),
    Metric(
        "rmse_ratio", ("mse",), _rmse_ratio, "/bilinear", "RMSE/bilinear", keys=("rmse_ratio",),
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
        "crps_ratio", ("crps",), _crps_ratio, "/bilinear", "CRPS/bilinear", keys=("crps_ratio",),
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
    Metric(
        "wasserstein", (WASSERSTEIN,), lambda m: m["wasserstein"], "W1", "Wasserstein distance",
        digits=None, unit="", section=INDICES,
        note="W1: Wasserstein distance of the values over the cells, averaged over time.",
    ),
    Metric(
        "log_spectral_distance", ("power", "truth_power"), _log_spectral_distance, "LSD",
        "log-spectral distance (dB)", unit="dB", keys=("log_spectral_distance",), levels=False,
        section=INDICES,
        note="LSD: log-spectral distance from the mean spectrum of the truth, in dB.",
    ),
    Metric("spread", (), None, "/training std"),  # of reconstruct --check
)  # fmt: skip
