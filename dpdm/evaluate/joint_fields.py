"""The fields of all variables at one time, from which joint statistics are computed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import xarray as xr

from dpdm.evaluate.comparison import Comparison, Snapshot
from dpdm.evaluate.standards import Standard, read_centre
from dpdm.fields.grid import Array

BAND_VALUES = 500_000  # values of members and variables that are standardised at once


@dataclass(frozen=True)
class JointFields:
    """The fields of all variables at one time, from which joint statistics are computed.

    Attributes:
        names: The variables.
        parts: The fields of each variable, with dimensions ``method`` or ``realization``, lat and
            lon.
        truths: The truth (lat, lon) of each variable, NaN where any method misses any variable.
        centres: What anomalies of each variable refer to (lat, lon).
        deviations: Standard deviation of each variable's anomalies.
        weights: Area of the cells.
    """

    names: tuple[str, ...]
    parts: tuple[xr.DataArray, ...]
    truths: tuple[Array, ...]
    centres: tuple[Array, ...]
    deviations: tuple[float, ...]
    weights: xr.DataArray

    @property
    def fields(self) -> xr.DataArray:
        """Return the fields of the first variable, whose labels are those of all."""
        return self.parts[0]

    def bands(self) -> Iterator[tuple[slice, Array, Array]]:
        """Yield some rows, and the standardised values (K, D, N) and truth (D, N) in them."""
        height, width = self.weights.shape
        row_values = len(self.parts) * len(self.fields) * width
        rows = max(1, BAND_VALUES // row_values)
        for start in range(0, height, rows):
            band = slice(start, start + rows)
            values = [self._standardise(i, part.values, band) for i, part in enumerate(self.parts)]
            truth = [self._standardise(i, field, band) for i, field in enumerate(self.truths)]
            yield band, np.stack(values, -2), np.stack(truth, -2)

    def _standardise(self, i: int, values: Array, band: slice) -> Array:
        """Return the standardised values (..., N) of a variable in some rows."""
        anomalies: Array = (values[..., band, :] - self.centres[i][band]) / self.deviations[i]
        return anomalies.reshape(*values.shape[:-2], -1)

    def map_scores(self, score: Callable[[Array, Array], Array]) -> Array:
        """Return a score of members and truth on the cells (lat, lon)."""
        cells = [score(values, truth) for _, values, truth in self.bands()]
        return np.concatenate(cells).reshape(self.weights.shape)


def join_snapshots(
    comparison: Comparison, standards: Mapping[str, Standard], snapshots: Sequence[Snapshot]
) -> tuple[JointFields, JointFields | None]:
    """Return the methods that have all variables, and the ensemble if there is one."""
    labels = reduce(common_labels, [list(map(str, s.fields["method"].values)) for s in snapshots])
    valid = reduce(np.logical_and, [valid_cells(s) for s in snapshots])
    methods = JointFields(
        tuple(s.name for s in snapshots),
        tuple(select_methods(s.fields, labels) for s in snapshots),
        tuple(np.where(valid, s.truth.transpose("lat", "lon").values, np.nan) for s in snapshots),
        tuple(centre_of(comparison, standards[s.name], s) for s in snapshots),
        tuple(standards[s.name].deviation for s in snapshots),
        comparison.weights,
    )
    if snapshots[0].ensemble.sizes.get("realization", 1) < 2:
        return methods, None
    order = "realization", "lat", "lon"
    return methods, replace(methods, parts=tuple(s.ensemble.transpose(*order) for s in snapshots))


def common_labels(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return the labels that both lists have, and as often.

    Example:
        >>> common_labels(["lerp", "lerp + lapse rate", "mean"], ["lerp", "mean"])
        ['lerp', 'mean']
    """
    counts, others = Counter(one), Counter(other)
    return [label for label in one if counts[label] == others[label]]


def valid_cells(snapshot: Snapshot) -> Array:
    """Select the cells (lat, lon) that no method misses."""
    valid: Array = snapshot.valid_truth.notnull().transpose("lat", "lon").values
    return valid


def select_methods(fields: xr.DataArray, labels: Sequence[str]) -> xr.DataArray:
    """Return the fields (method, lat, lon) whose labels are among those given."""
    chosen = np.isin(fields["method"].values.astype(str), labels)
    return fields.isel(method=np.flatnonzero(chosen)).transpose("method", "lat", "lon")


def centre_of(comparison: Comparison, standard: Standard, snapshot: Snapshot) -> Array:
    """Return what anomalies refer to on the cells (lat, lon)."""
    if standard.mean is None:
        return read_centre(comparison, snapshot.name, snapshot.step)
    return np.full(comparison.weights.shape, standard.mean)
