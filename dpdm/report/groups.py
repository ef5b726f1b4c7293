"""The scores of parts: of each calendar month, and of the cells of each class.

A month's come from the evaluation's own scores of its times. A class has the sums over time on its
cells, and its interval is of tiles alone, for the times are summed.

Which cells go together: by the height of the ground, and by the distance to the coast.

The coast is where the bundled land fraction passes one half between neighbours; lakes count as
land, for nobody calls Lake Baikal's shore a coast. The distance to it is that of the sphere, by
the chord to the nearest such place.
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
from dpdm.evaluate import variable_rows
from dpdm.evaluate.bootstrap import tile_sums
from dpdm.evaluate.comparison import Comparison
from dpdm.evaluate.metrics import Row, method_rows
from dpdm.evaluate.scores import area_mean
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.statics import read_bundled_statics, regrid_statics
from dpdm.report.accumulate import VariableSums

CellMask = NDArray[np.bool_]

EARTH_RADIUS_KM = EARTH_RADIUS / 1e3  # km
LAKE_AREA = (
    150_000.0  # km2, up to which water is one: more than the Great Lakes have, less than seas
)
HEIGHT_CLASSES = (200, 500, 1000, 2000, 3000)  # m
COAST_DISTANCES = (100, 300)  # km


def interpolate_land(grid: Grid) -> Array:
    """Return the share of land and lakes on a grid, whatever its spacing."""
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
    """Tell which wet cells of a global grid belong to waters that are larger than a lake.

    A water across the end of the axis is whole in the middle of two copies side by side.
    """
    twice, number = ndimage.label(np.hstack([wet, wet]))
    cells = 4 * np.pi * EARTH_RADIUS_KM**2 * grid.weights / grid.weights.sum()
    sizes = np.bincount(twice.ravel(), np.hstack([cells, cells]).ravel(), number + 1)
    left, right = np.split(sizes[twice], 2, axis=1)
    large: CellMask = wet & (np.maximum(left, right) > LAKE_AREA)
    return large


def height_classes(topography: xr.DataArray, land: Array) -> dict[str, CellMask]:
    """Return the sea, and the land in classes of height, as masks of cells."""
    height, dry = topography.transpose("lat", "lon").values, land >= 0.5
    ends = [-np.inf, *HEIGHT_CLASSES, np.inf]
    words = [f"land below {HEIGHT_CLASSES[0]} m"]
    words += [f"{low} to {high} m" for low, high in pairwise(HEIGHT_CLASSES)]
    words += [f"above {HEIGHT_CLASSES[-1]} m"]
    classes = {
        word: dry & (height >= low) & (height < high)
        for word, (low, high) in zip(words, pairwise(ends), strict=True)
    }
    return {"sea": ~dry, **classes}


def coast_classes(grid: Grid, land: Array) -> dict[str, CellMask]:
    """Return sea and land in classes of the distance to the coast, as masks of cells."""
    away, dry = coast_distance(grid), land >= 0.5
    near, far = COAST_DISTANCES
    rings = {
        f"farther than {far} km": away > far,
        f"{near} to {far} km": (away > near) & (away <= far),
        f"within {near} km": away <= near,
    }
    wet = {f"sea, {word}": ~dry & cells for word, cells in rings.items()}
    return wet | {f"land, {word}": dry & cells for word, cells in reversed(rings.items())}


def coast_distance(grid: Grid) -> Array:
    """Return the distance of each cell's centre to the nearest coast (km).

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
    """Return the places between a land cell and a sea cell beside it, as unit vectors."""
    grid = grid_of(read_land_fraction())
    dry = read_land_fraction()["land_fraction"].values >= 0.5
    south, west = np.nonzero(dry[1:] != dry[:-1])
    rows, columns = np.nonzero(dry != np.roll(dry, -1, axis=1))
    half = grid.spacing[1] / 2
    lat = np.r_[grid.lat_edges[1:-1][south], grid.lat[rows]]
    lon = np.r_[grid.lon[west], grid.lon[columns] + half]
    return KDTree(unit_vectors(lat, lon))


def unit_vectors(lat: Array, lon: Array) -> Array:
    """Return points of the unit sphere, with shape (..., 3)."""
    phi, theta = np.radians(lat), np.radians(lon)
    vector = (np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi))
    return np.stack(vector, axis=-1)


MONTH_TEXT = (
    "January February March April May June July August September October November December"
)
MONTH_NAMES = MONTH_TEXT.split()


def shorten_verdict(verdict: str) -> str:
    """Return a verdict in a word or two.

    Example:
        >>> shorten_verdict("better than lerp at the 95% level")
        'better'
        >>> shorten_verdict("not tested against lerp")
        'not tested'
    """
    words = verdict.partition(" lerp")[0] if verdict.endswith(("lerp", "level")) else verdict
    return words.removesuffix(" than").removesuffix(" from").removesuffix(" against")


@dataclass(frozen=True)
class PartScores:
    """Hold the scores of one month or one class.

    Attributes:
        label: In words.
        size: How many times, or which share of the area.
        rows: Scores by method, of those with maps.
        members: Scores of the members together, or those of a forecast without.
    """

    label: str
    size: float
    rows: dict[str, Row]
    members: Row

    @property
    def forecast(self) -> Row:
        """Return the scores of the forecast's mean."""
        return list(self.rows.values())[-1]

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Return the ratio of RMSEs to lerp and the ends of its interval, NaN without lerp."""
        ratio, low, high = (
            float(self.forecast.get(f"rmse_ratio{end}", np.nan)) for end in ("", "_low", "_high")
        )
        return ratio, low, high

    @property
    def short_verdict(self) -> str:
        """Say the verdict in a word or two, for a column of a table; empty without lerp."""
        return shorten_verdict(str(self.forecast.get("verdict", "")))


@dataclass(frozen=True)
class Breakdown:
    """A way to break the scores of a variable down.

    Attributes:
        key: By what, in words.
        size: What the size of a part is: "times" or a share of the "area".
        aggregate: Returns the scores of all parts of a variable.
    """

    key: str
    size: str
    aggregate: Callable[[Comparison, str, VariableSums], list[PartScores]]


def breakdowns(classes: Mapping[str, Mapping[str, CellMask]]) -> list[Breakdown]:
    """Return the ways in which a report breaks scores down: by month, and by classes of cells."""
    return [
        Breakdown("month", "times", scores_by_month),
        *(
            Breakdown(key, "area", partial(scores_by_class, cells))
            for key, cells in classes.items()
        ),
    ]


def score_part(label: str, size: float, rows: Sequence[Row], methods: Sequence[str]) -> PartScores:
    """Return the scores of a part, with the members' in the last of the rows."""
    kept = {row["method"]: row for row in rows if row["method"] in methods}
    return PartScores(label, size, kept, rows[-1])


def scores_by_month(case: Comparison, name: str, kept: VariableSums) -> list[PartScores]:
    """Return the scores of each calendar month that there is, none where times are not dates."""
    months = [case.month(step) for step in range(case.steps)]
    found = []
    for month in sorted({*months} - {0}):
        steps = [kept.scores[step] for step, other in enumerate(months) if other == month]
        rows = variable_rows(case, name, steps)
        found.append(score_part(MONTH_NAMES[month - 1], len(steps), rows, kept.methods))
    return found


def scores_by_class(
    classes: Mapping[str, CellMask], case: Comparison, name: str, kept: VariableSums
) -> list[PartScores]:
    """Return the scores of each class of cells that has some."""
    counted = {word: cells & (kept.count > 0) for word, cells in classes.items()}
    return [
        class_scores(case, kept, word, cells) for word, cells in counted.items() if cells.any()
    ]


def class_scores(case: Comparison, kept: VariableSums, word: str, cells: CellMask) -> PartScores:
    """Return the scores of a class from the maps."""
    parts = {method: sum_class(case, kept, method, cells) for method in kept.methods}
    if kept.crps is not None:
        parts["ensemble"] = xr.Dataset({"crps": class_mean(case, kept, kept.crps, cells)})
    area = case.weights.values
    size = float(area[cells].sum() / area[kept.count > 0].sum())
    return score_part(word, size, method_rows(parts, np.nan), kept.methods)


def sum_class(case: Comparison, kept: VariableSums, method: str, cells: CellMask) -> xr.Dataset:
    """Return the statistics of a method on some cells that its maps give."""
    square = case.weights * np.where(cells, kept.squared_error[method], 0.0)
    return xr.Dataset(
        {
            "mse": class_mean(case, kept, kept.squared_error[method], cells),
            "bias": class_mean(case, kept, kept.error[method], cells),
            "crps": class_mean(case, kept, kept.absolute[method], cells),
            "squares": tile_sums(square).expand_dims("time"),
        }
    )


def class_mean(case: Comparison, kept: VariableSums, total: Array, cells: CellMask) -> float:
    """Return the mean over some cells, by area, and over the times that count."""
    field = xr.DataArray(np.where(cells, total, np.nan), dims=("lat", "lon"))
    often = xr.DataArray(np.where(cells, kept.count, np.nan), dims=("lat", "lon"))
    weights = case.weights.drop_vars(["lat", "lon"])
    return float(area_mean(field, weights) / area_mean(often, weights))
