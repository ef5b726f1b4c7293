"""Climate indices of the truth and of each method: extremes, wet steps, variability.

An index is a map: the value of a method is its area mean, and the error the RMSE of the map
against the truth's. Cells where the index of the truth or of a method is not defined are left out
for all. Of the members, the first is scored, and the mean of all. To add an index, add one to
`INDEX_LIST`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dpdm.evaluate.accumulators import (
    MIN_PAIRS,
    MIN_YEARS,
    WET_RATE,
    Accumulator,
    Autocorrelation,
    InterannualVariance,
    WetFrequency,
    WetIntensity,
    YearlyExtreme,
)
from dpdm.evaluate.comparison import SUBENSEMBLE_SIZES, Comparison, Snapshot
from dpdm.evaluate.metrics import INDICES, Metric, Row, metric_notes
from dpdm.evaluate.scores import mean_of_valid
from dpdm.evaluate.table import join_in_sentence
from dpdm.evaluate.timeline import NO_BLOCK, Timeline, read_timeline
from dpdm.fields.grid import Array

TRUTH = "truth"
MAPS = 100  # of a variable at most, for an estimate of memory: methods times sums of the indices
MAX_EXTREME_STEP = 0.25  # days: longer steps smooth the warmest and the coldest hour
RATE_UNITS = "mm day-1"


@dataclass(frozen=True)
class Index:
    """A climate index.

    Attributes:
        name: Key in the rows, and with ``_rmse`` that of its error.
        column: Heading, in which ``{period}`` is that of the steps.
        create: Returns what accumulates it.
        obstacle: Returns why a series does not have it, empty if it does.
        variable: The variable that it is of, empty for any.
        daily: Whether it is of daily means, where steps are shorter than a day.
        anomalies: Whether it is of anomalies.
        relative: Whether its value is the ratio to the truth's.
        digits: Decimals; None for those of the RMSE.
        note: What it is.
    """

    name: str
    column: str
    create: Callable[[], Accumulator]
    obstacle: Callable[[Timeline], str] = lambda line: ""
    variable: str = ""
    daily: bool = False
    anomalies: bool = False
    relative: bool = False
    digits: int | None = None
    note: str = ""


def need_period(line: Timeline) -> str:
    """Return why the steps have no largest value of a known period."""
    return "" if line.period else "the length of the steps is unknown"


def need_short_steps(line: Timeline) -> str:
    """Return why the steps do not show the extremes of a day."""
    short = 0 < line.length <= MAX_EXTREME_STEP
    return "" if short else "needs steps of six hours or less"


def need_years(line: Timeline) -> str:
    """Return why the years are too few."""
    count = line.year_count
    return "" if count >= MIN_YEARS else f"needs {MIN_YEARS} whole years; the series has {count}"


def need_pairs(line: Timeline) -> str:
    """Return why the successive steps are too few."""
    count = line.pair_count
    needed = f"needs {MIN_PAIRS} pairs of successive steps; the series has {count}"
    return "" if count >= MIN_PAIRS else needed


INDEX_LIST = [
    Index(
        "rx1", "Rx1{period}", lambda: YearlyExtreme(np.fmax), need_period, "tp", daily=True,
        note="Rx1{period}: largest {period} of each whole year, mean over years.",
    ),
    Index(
        "sdii", "SDII", WetIntensity, variable="tp", daily=True,
        note=f"SDII: mean of the wet {{period}}s, those with {WET_RATE:g} mm/day or more.",
    ),
    Index(
        "wet_frequency", "wet share", WetFrequency, variable="tp", daily=True, digits=3,
        note="wet share: share of wet {period}s.",
    ),
    Index(
        "txx", "TXx", lambda: YearlyExtreme(np.fmax), need_short_steps, "t2m",
        note="TXx: highest value of each whole year, mean over years.",
    ),
    Index(
        "tnn", "TNn", lambda: YearlyExtreme(np.fmin), need_short_steps, "t2m",
        note="TNn: lowest value of each whole year, mean over years.",
    ),
    Index(
        "interannual_variance_ratio", "interannual var", InterannualVariance, need_years,
        relative=True, digits=2,
        note="interannual var: variance of annual means relative to the truth.",
    ),
    Index(
        "lag1_autocorrelation", "lag-1", Autocorrelation, need_pairs, anomalies=True, digits=2,
        note="lag-1: correlation of the anomalies (as for ACC) of successive steps.",
    ),
]  # fmt: skip


@dataclass
class VariableIndices:
    """The indices of one variable, as they accumulate.

    Attributes:
        labels: Label of each map: the truth and the methods.
        accumulators: What accumulates each index, by its name.
        reasons: Why the others are left out, by the name of the index.
        day: Number of the day whose mean accumulates, and its sum and number of steps.
    """

    labels: list[str]
    accumulators: dict[str, Accumulator]
    reasons: dict[str, str]
    day: tuple[int, Array, int] = (NO_BLOCK, np.empty(0), 0)


class IndexScores:
    """The climate indices of an evaluation, step by step."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.line = read_timeline(comparison.truth)
        self.variables: dict[str, VariableIndices] = {}

    @staticmethod
    def memory(comparison: Comparison) -> float:
        """Return the bytes of the maps of all variables, at most."""
        return 8.0 * MAPS * len(comparison.names) * comparison.weights.size

    @property
    def steps_word(self) -> str:
        """Return what the daily indices count: days, or the steps themselves."""
        return {"": "step", "hour": "day"}.get(self.line.period, self.line.period)

    def add(self, snapshot: Snapshot) -> None:
        """Add one variable at one time."""
        if snapshot.name not in self.variables:
            self.variables[snapshot.name] = self._start(snapshot)
        self._add_fields(self.variables[snapshot.name], snapshot)

    def _start(self, snapshot: Snapshot) -> VariableIndices:
        """Return the accumulators of the indices that a variable has."""
        name, labels = snapshot.name, [TRUTH, *method_indices(snapshot)]
        own = [index for index in INDEX_LIST if index.variable in ("", name)]
        reasons = {index.name: self._obstacle(index, name) for index in own}
        return VariableIndices(
            labels,
            {index.name: index.create() for index in own if not reasons[index.name]},
            {key: reason for key, reason in reasons.items() if reason},
        )

    def _obstacle(self, index: Index, name: str) -> str:
        """Return why a variable does not have an index."""
        if index.variable == "tp" and self.comparison.truth[name].attrs.get("units") != RATE_UNITS:
            return f"needs values in {RATE_UNITS}"
        if index.anomalies and self.comparison.climatology_at(name, 0) is None:
            return "the truth is the climatology, so there are no anomalies"
        return index.obstacle(self.line)

    def _add_fields(self, sums: VariableIndices, snapshot: Snapshot) -> None:
        """Add the fields of a time to the indices of their variable."""
        step, fields = snapshot.step, stack_fields(snapshot)
        normal = self.comparison.climatology_at(snapshot.name, step)
        day_mean = self._day_mean(sums, fields, step) if self.line.period == "hour" else fields
        for index in INDEX_LIST:
            values = day_mean if index.daily else fields
            if index.name in sums.accumulators and values is not None:
                if index.anomalies and normal is not None:
                    values = values - normal.transpose("lat", "lon").values
                year, follows = int(self.line.years[step]), bool(self.line.follows[step])
                sums.accumulators[index.name].add(values, year, follows)

    def _day_mean(self, sums: VariableIndices, fields: Array, step: int) -> Array | None:
        """Return the mean of a whole day at its last step, None before."""
        day, days = int(self.line.days[step]), self.line.days
        if day == NO_BLOCK:
            return None
        number, total, count = sums.day
        total, count = (total + fields, count + 1) if number == day else (fields, 1)
        sums.day = day, total, count
        return total / count if not (days[step + 1 :] == day).any() else None

    def rows(self) -> list[Row]:
        """Return a row of indices for the truth and for each method, of each variable."""
        rows: list[Row] = []
        for name, sums in self.variables.items():
            about = {
                "variable": name,
                "units": self.comparison.truth[name].attrs.get("units", "1"),
            }
            own: dict[str, Row] = {label: {} for label in sums.labels}
            for index in INDEX_LIST:
                if index.name in sums.accumulators:
                    self._add_index(own, index, sums)
            rows += [about | {"method": label} | row for label, row in own.items()]
        return rows

    def _add_index(self, rows: dict[str, Row], index: Index, sums: VariableIndices) -> None:
        """Add an index to the rows of the truth and the methods."""
        maps = sums.accumulators[index.name].result()
        weights = self.comparison.weights.values
        if not np.isfinite(maps).all(0).any():
            sums.reasons[index.name] = "no cell has it in the truth and all methods"
            return
        maps = np.where(np.isfinite(maps).all(0), maps, np.nan)
        values = mean_of_valid(maps, weights)
        errors = mean_of_valid((maps - maps[0]) ** 2, weights)
        if index.relative and not values[0] > 0:
            sums.reasons[index.name] = "the truth has none"
            return
        for label, value, error in zip(sums.labels, values, errors, strict=True):
            key = self._key(index)
            rows[label][key] = float(value / values[0] if index.relative else value)
            if not index.relative and label != TRUTH:
                rows[label][f"{key}_rmse"] = float(error**0.5)

    def _key(self, index: Index) -> str:
        """Return the key of an index, with the period of the steps."""
        return f"rx1{self.steps_word}" if index.name == "rx1" else index.name

    def columns(self) -> list[Metric]:
        """Return the columns of the indices, each with its error."""
        columns = []
        for index in INDEX_LIST:
            key, head = self._key(index), index.column.format(period=self.steps_word)
            unit = "" if index.digits is None else "1"
            columns.append(Metric(key, (), None, head, digits=index.digits, unit=unit))
            if not index.relative:
                error = f"{head} RMSE"
                columns.append(
                    Metric(f"{key}_rmse", (), None, "RMSE", error, digits=index.digits, unit=unit)
                )
        return columns

    def notes(self) -> list[str]:
        """Return notes on the indices, and on those that are left out."""
        present = {key for sums in self.variables.values() for key in sums.accumulators}
        notes = metric_notes(INDICES)
        notes += [i.note.format(period=self.steps_word) for i in INDEX_LIST if i.name in present]
        notes.append("RMSE after an index: of its map against the truth's.")
        if "realization" in self.comparison.forecast.dims:
            notes.append("Indices of one member are those of the first.")
        return notes + self._absences()

    def _absences(self) -> list[str]:
        """Return why indices are left out, a sentence for each reason."""
        columns: dict[tuple[str, str], list[str]] = {}
        for index in INDEX_LIST:
            reasons: dict[str, list[str]] = {}
            for name, sums in self.variables.items():
                if index.name in sums.reasons:
                    reasons.setdefault(sums.reasons[index.name], []).append(name)
            for why, names in reasons.items():
                column = index.column.format(period=self.steps_word)
                columns.setdefault((join_in_sentence(names), why), []).append(column)
        return [
            f"Left out of {names}: {join_in_sentence(own)} ({why})."
            for (names, why), own in columns.items()
        ]


def method_indices(snapshot: Snapshot) -> dict[str, int]:
    """Return the place of each method among the fields, without means of subensembles."""
    labels = list(map(str, snapshot.fields["method"].values))
    places = {label: labels.index(label) for label in labels}
    members = snapshot.ensemble.sizes.get("realization", 1)
    whole = f"mean of {members}"
    small = {f"mean of {size}" for size in SUBENSEMBLE_SIZES if size < members} - {whole}
    return {label: place for label, place in places.items() if label not in small}


def stack_fields(snapshot: Snapshot) -> Array:
    """Return the truth and the methods (K, lat, lon), NaN in cells that any of them misses."""
    places = list(method_indices(snapshot).values())
    truth = snapshot.valid_truth.transpose("lat", "lon").values.astype(float)
    fields = snapshot.fields.isel(method=places).transpose("method", "lat", "lon").values
    stacked: Array = np.concatenate([truth[None], np.where(np.isnan(truth), np.nan, fields)])
    return stacked
