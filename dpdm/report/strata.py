"""Which cells go together: by the height of the ground, and by the distance to the coast.

The coast is where the bundled land fraction passes one half between neighbours; lakes count as
land, for nobody calls Lake Baikal's shore a coast. The distance to it is that of the sphere, by
the chord to the nearest such place.
"""

from functools import cache
from itertools import pairwise

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from dpdm.constants import EARTH_RADIUS
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.statics import bundled, onto

Cells = NDArray[np.bool_]

EARTH = EARTH_RADIUS / 1e3  # km
LAKE = 150_000.0  # km2, up to which water is one: more than the Great Lakes have, less than seas
HEIGHTS = (200, 500, 1000, 2000, 3000)  # m
FAR = (100, 300)  # km


def land_on(grid: Grid) -> Array:
    """Return the share of land and lakes on a grid, whatever its spacing."""
    land: Array = onto(ground(), grid)["land_fraction"].transpose("lat", "lon").values
    return land


@cache
def ground() -> xr.Dataset:
    """Return the bundled land fraction, with lakes as land."""
    fields = bundled().transpose("lat", "lon")
    land = fields["land_fraction"]
    return land.where(sea(land.values < 0.5, grid_of(fields)) | (land >= 0.5), 1.0).to_dataset()


def sea(wet: Cells, grid: Grid) -> Cells:
    """Tell which wet cells of a global grid belong to waters that are larger than a lake.

    A water across the end of the axis is whole in the middle of two copies side by side.
    """
    twice, number = ndimage.label(np.hstack([wet, wet]))
    cells = 4 * np.pi * EARTH**2 * grid.weights / grid.weights.sum()
    sizes = np.bincount(twice.ravel(), np.hstack([cells, cells]).ravel(), number + 1)
    left, right = np.split(sizes[twice], 2, axis=1)
    large: Cells = wet & (np.maximum(left, right) > LAKE)
    return large


def by_height(topography: xr.DataArray, land: Array) -> dict[str, Cells]:
    """Return the sea, and the land in classes of height, as masks of cells."""
    height, dry = topography.transpose("lat", "lon").values, land >= 0.5
    ends = [-np.inf, *HEIGHTS, np.inf]
    words = [f"land below {HEIGHTS[0]} m"]
    words += [f"{low} to {high} m" for low, high in pairwise(HEIGHTS)]
    words += [f"above {HEIGHTS[-1]} m"]
    classes = {
        word: dry & (height >= low) & (height < high)
        for word, (low, high) in zip(words, pairwise(ends), strict=True)
    }
    return {"sea": ~dry, **classes}


def by_coast(grid: Grid, land: Array) -> dict[str, Cells]:
    """Return sea and land in classes of the distance to the coast, as masks of cells."""
    away, dry = coast_distance(grid), land >= 0.5
    near, far = FAR
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
    chords, _ = coast().query(unit(lat, lon).reshape(-1, 3))
    angles: Array = 2 * np.arcsin(np.clip(chords / 2, 0, 1))
    return (EARTH * angles).reshape(grid.shape)


@cache
def coast() -> KDTree:
    """Return the places between a land cell and a sea cell beside it, as unit vectors."""
    grid = grid_of(ground())
    dry = ground()["land_fraction"].values >= 0.5
    south, west = np.nonzero(dry[1:] != dry[:-1])
    rows, columns = np.nonzero(dry != np.roll(dry, -1, axis=1))
    half = grid.spacing[1] / 2
    lat = np.r_[grid.lat_edges[1:-1][south], grid.lat[rows]]
    lon = np.r_[grid.lon[west], grid.lon[columns] + half]
    return KDTree(unit(lat, lon))


def unit(lat: Array, lon: Array) -> Array:
    """Return points of the unit sphere, with shape (..., 3)."""
    phi, theta = np.radians(lat), np.radians(lon)
    vector = (np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi))
    return np.stack(vector, axis=-1)
