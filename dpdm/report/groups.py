"""Score calendar months, and classes of cells by elevation and by distance to the coast.

Scores of a month come from those of its time steps. Scores of a class come from sums over time on
its cells, so that their interval is a bootstrap over tiles alone. The coast is where the bundled
land fraction crosses one half between neighbours; lakes count as land. Distances to it are
great-circle distances.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from dpdm.constants import EARTH_RADIUS
from dpdm.evaluate.bootstrap import tile_sums
from dpdm.evaluate.comparison import Comparison
from dpdm.evaluate.metrics import Row, method_rows, variable_rows
from dpdm.evaluate.scores import area_mean
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.statics import read_bundled_statics, regrid_statics
from dpdm.report.accumulate import PartScores, VariableSums

CellMask = NDArray[np.bool_]

EARTH_RADIUS_KM = EARTH_RADIUS / 1e3  # km
LAKE_AREA = 150_000.0  # km2, largest area of a lake: between the Great Lakes and the seas
ELEVATION_CLASSES = (200, 500, 1000, 2000, 3000)  # m
COAST_DISTANCES = (100, 300)  # km


def interpolate_land(grid: Grid) -> Array:
    """Return the fraction of land and lakes on a grid."""
    land: Array = (
        regrid_statics(read_land_fraction(), grid)["land_fraction"].transpose("lat", "lon").values
    )
    return land


@cache
def read_land_fraction() -> xr.Dataset:
    """Return the bundled land fraction, with lakes as land."""
    fields = read_bundled_statics().transpose("lat", "lon")
    land = fields["land_fraction"]
    return land.where(
        find_sea(land.values < 0.5, grid_of(fields)) | (land >= 0.5), 1.0
    ).to_dataset()


def find_sea(wet: CellMask, grid: Grid) -> CellMask:
    """Return the wet cells of a global grid that belong to waters larger than a lake.

    Waters that cross the end of the axis are contiguous in two copies side by side.
    """
    twice, number = ndimage.label(np.hstack([wet, wet]))
    cells = 4 * np.pi * EARTH_RADIUS_KM**2 * grid.weights / grid.weights.sum()
    sizes = np.bincount(twice.ravel(), np.hstack([cells, cells]).ravel(), number + 1)
    left, right = np.split(sizes[twice], 2, axis=1)
    large: CellMask = wet & (np.maximum(left, right) > LAKE_AREA)
    return large


def elevation_classes(topography: xr.DataArray, land: Array) -> dict[str, CellMask]:
    """Return masks of the sea, and of the land in classes of elevation."""
    height, dry = topography.transpose("lat", "lon").values, land >= 0.5
    ends = [-np.inf, *ELEVATION_CLASSES, np.inf]
    words = [f"land below {ELEVATION_CLASSES[0]} m"]
    words += [f"{low} to {high} m" for low, high in pairwise(ELEVATION_CLASSES)]
    words += [f"above {ELEVATION_CLASSES[-1]} m"]
    classes = {
        word: dry & (height >= low) & (height < high)
        for word, (low, high) in zip(words, pairwise(ends), strict=True)
    }
    return {"sea": ~dry, **classes}


def coast_classes(grid: Grid, land: Array) -> dict[str, CellMask]:
    """Return masks of sea and land in classes of distance to the coast."""
    distance, dry = coast_distance(grid), land >= 0.5
    near, far = COAST_DISTANCES
    rings = {
        f"farther than {far} km": distance > far,
        f"{near} to {far} km": (distance > near) & (distance <= far),
        f"within {near} km": distance <= near,
    }
    wet = {f"sea, {word}": ~dry & cells for word, cells in rings.items()}
    return wet | {f"land, {word}": dry & cells for word, cells in reversed(rings.items())}


def coast_distance(grid: Grid) -> Array:
    """Return the distance from each cell's centre to the nearest coast (km).

    Example:
        >>> ulaanbaatar = Grid(np.array([47.5, 48.0]), np.array([106.5, 107.0]))
        >>> bool((coast_distance(ulaanbaatar) > 1000).all())
        True
    """
    lat, lon = np.meshgrid(grid.lat, grid.lon, indexing="ij")
    chords, _ = coast_points().query(unit_vectors(lat, lon).reshape(-1, 3))
    angles: Array = 2 * np.arcsin(np.clip(chords / 2, 0, 1))
    return (EARTH_RADIUS_KM * angles).reshape(grid.shape)


@cache
def coast_points() -> KDTree:
    """Return the midpoints between neighbouring land and sea cells, as unit vectors."""
    grid = grid_of(read_land_fraction())
    dry = read_land_fraction()["land_fraction"].values >= 0.5
    south, west = np.nonzero(dry[1:] != dry[:-1])
    rows, columns = np.nonzero(dry != np.roll(dry, -1, axis=1))
    half = grid.spacing[1] / 2
    lat = np.r_[grid.lat_edges[1:-1][south], grid.lat[rows]]
    lon = np.r_[grid.lon[west], grid.lon[columns] + half]
    return KDTree(unit_vectors(lat, lon))


def unit_vectors(lat: Array, lon: Array) -> Array:
    """Return unit vectors (..., 3) of positions in degrees."""
    phi, theta = np.radians(lat), np.radians(lon)
    vector = (np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi))
    return np.stack(vector, axis=-1)


MONTH_TEXT = (
    "January February March April May June July August September October November December"
)
MONTH_NAMES = MONTH_TEXT.split()


@dataclass(frozen=True)
class Breakdown:
    """A breakdown of the scores of a variable into parts.

    Attributes:
        key: Criterion of the parts, as in "by month".
        size: Measure of the size of a part: "times", or share of the "area".
        aggregate: Returns the scores of all parts of a variable.
    """

    key: str
    size: str
    aggregate: Callable[[Comparison, str, VariableSums], list[PartScores]]


def breakdowns(classes: Mapping[str, Mapping[str, CellMask]]) -> list[Breakdown]:
    """Return the breakdowns of a report: by month, and by classes of cells."""
    return [
        Breakdown("month", "times", scores_by_month),
        *(
            Breakdown(key, "area", partial(scores_by_class, cells))
            for key, cells in classes.items()
        ),
    ]


def score_part(label: str, size: float, rows: Sequence[Row], methods: Sequence[str]) -> PartScores:
    """Return the scores of a part from rows of which the last is the ensemble's."""
    selected = {row["method"]: row for row in rows if row["method"] in methods}
    return PartScores(label, size, selected, rows[-1])


def scores_by_month(comparison: Comparison, name: str, sums: VariableSums) -> list[PartScores]:
    """Return the scores of each calendar month, none if times are not dates."""
    months = [comparison.month(step) for step in range(comparison.steps)]
    parts = []
    for month in sorted({*months} - {0}):
        steps = [sums.scores[step] for step, other in enumerate(months) if other == month]
        rows = variable_rows(comparison.truth[name], steps, comparison.value_range[name])
        parts.append(score_part(MONTH_NAMES[month - 1], len(steps), rows, sums.methods))
    return parts


def scores_by_class(
    classes: Mapping[str, CellMask], comparison: Comparison, name: str, sums: VariableSums
) -> list[PartScores]:
    """Return the scores of each class with valid cells."""
    valid = {word: cells & (sums.count > 0) for word, cells in classes.items()}
    return [
        class_scores(comparison, sums, word, cells) for word, cells in valid.items() if cells.any()
    ]


def class_scores(
    comparison: Comparison, sums: VariableSums, word: str, cells: CellMask
) -> PartScores:
    """Return the scores of a class from sums over time."""
    parts = {method: sum_class(comparison, sums, method, cells) for method in sums.methods}
    if sums.crps is not None:
        parts["ensemble"] = xr.Dataset({"crps": class_mean(comparison, sums, sums.crps, cells)})
    area = comparison.weights.values
    size = float(area[cells].sum() / area[sums.count > 0].sum())
    return score_part(word, size, method_rows(parts, np.nan), sums.methods)


def sum_class(
    comparison: Comparison, sums: VariableSums, method: str, cells: CellMask
) -> xr.Dataset:
    """Return the statistics of a method over a class of cells."""
    square = comparison.weights * np.where(cells, sums.squared_error[method], 0.0)
    return xr.Dataset(
        {
            "mse": class_mean(comparison, sums, sums.squared_error[method], cells),
            "bias": class_mean(comparison, sums, sums.error[method], cells),
            "crps": class_mean(comparison, sums, sums.absolute[method], cells),
            "squares": tile_sums(square).expand_dims("time"),
        }
    )


def class_mean(comparison: Comparison, sums: VariableSums, total: Array, cells: CellMask) -> float:
    """Return the area mean over a class of cells and valid times."""
    field = xr.DataArray(np.where(cells, total, np.nan), dims=("lat", "lon"))
    count = xr.DataArray(np.where(cells, sums.count, np.nan), dims=("lat", "lon"))
    weights = comparison.weights.drop_vars(["lat", "lon"])
    return float(area_mean(field, weights) / area_mean(count, weights))
