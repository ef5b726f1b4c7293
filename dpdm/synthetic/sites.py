"""Where a field is looked at: all cells, every so many, a box, random ones, or given places."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.operators.layout import Axis, Layout

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Where:
    """Section ``[where]``: where is seen; all cells if nothing is said.

    Attributes:
        every: Every so many cells along both axes, beginning at half of that;
        box: those within west, east, south, north (x and y on a plane);
        random: of those so many, drawn by their area without repetition.
        lat: Or at these latitudes,
        lon: and longitudes, bilinear between the cells' centres.
        y: Or at these places of a plane,
        x: and these.
    """

    every: int = 1
    box: tuple[float, ...] = ()
    random: int = 0
    lat: tuple[float, ...] = ()
    lon: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    x: tuple[float, ...] = ()


def choose(where: Where, layout: Layout, factor: int, seed: int, file: str) -> tuple[Array, Array]:
    """Return N places.

    Args:
        where: What is asked for.
        layout: The cells of the field.
        factor: How many cells make a block, which is then what is meant by a cell; 0 for one.
        seed: Decides random places.
        file: What holds the settings.

    Returns:
        Latitudes (N,), or y; and longitudes, or x.
    """
    if where.lat or where.lon or where.y or where.x:
        return given(where, layout, factor, file)
    _check(where, layout, factor, file)
    edges = [axis.edges[:: max(factor, 1)] for axis in (layout.rows, layout.columns)]
    rows, columns = ((e[1:] + e[:-1]) / 2 for e in edges)
    i, j = (
        n.ravel() for n in np.meshgrid(*map(np.arange, (len(rows), len(columns))), indexing="ij")
    )
    half = where.every // 2
    kept = (i % where.every == half) & (j % where.every == half)
    kept &= inside(where.box, layout, rows[i], columns[j])
    i, j = i[kept], j[kept]
    if where.random:
        area = np.diff(layout.heights(edges[0]))[i]
        drawn = drawn_of(len(i), where.random, area, seed, file)
        i, j = i[drawn], j[drawn]
    if not len(i):
        raise DpdmError(f"{file}: no cell lies where [where] says.", "Give a larger box.")
    return rows[i], columns[j]


def inside(
    box: tuple[float, ...], layout: Layout, rows: Array, columns: Array
) -> NDArray[np.bool_]:
    """Tell which places lie in a box, which may cross the seam of a periodic axis."""
    if not box:
        return np.ones(len(rows), dtype=bool)
    west, east, south, north = box
    return within(layout.columns, columns, west, east) & within(layout.rows, rows, south, north)


def within(axis: Axis, places: Array, low: float, high: float) -> NDArray[np.bool_]:
    """Tell which places of an axis lie between two."""
    slack = 1e-9 * axis.step
    if not axis.period or high - low >= axis.period:
        return (places >= low - slack) & (places <= high + slack) | bool(axis.period)
    return (places - low + slack) % axis.period <= (high - low) % axis.period + 2 * slack


def drawn_of(count: int, wanted: int, area: Array, seed: int, file: str) -> NDArray[np.int64]:
    """Return so many of a number of cells, drawn by area, in order."""
    if wanted > count:
        raise DpdmError(
            f"{file} asks for {wanted} random cells, but there are {count}.", "Give fewer."
        )
    draw = np.random.default_rng((seed, 0))
    return np.sort(draw.choice(count, wanted, replace=False, p=area / area.sum()))


def given(where: Where, layout: Layout, factor: int, file: str) -> tuple[Array, Array]:
    """Return places that are listed."""
    names = ("lat", "lon") if layout.sphere else ("y", "x")
    rows, columns = (np.array(getattr(where, name), dtype=float) for name in names)
    others = where.every != 1 or where.box or where.random or factor
    stray = where.y or where.x if layout.sphere else where.lat or where.lon
    if others or stray or len(rows) != len(columns) or not len(rows):
        raise DpdmError(
            f"{file}: [where] lists places that do not fit each other, the field, or what else "
            "it says.",
            f"Give {names[0]} and {names[1]}, equally long, and nothing else.",
        )
    return rows, columns


def _check(where: Where, layout: Layout, factor: int, file: str) -> None:
    """Refuse numbers that mean nothing."""
    if where.every < 1 or where.random < 0 or len(where.box) not in (0, 4):
        raise DpdmError(
            f"{file}: [where] has every = {where.every}, random = {where.random} and a box of "
            f"{len(where.box)} numbers.",
            "Give 1 or more, 0 or more, and west, east, south, north.",
        )
    if factor < 0 or any(n % max(factor, 1) for n in layout.shape):
        raise DpdmError(
            f"{file}: blocks of {factor} do not cut {layout.shape[0]} x {layout.shape[1]} cells "
            "into whole ones.",
            "Choose a factor that divides both.",
        )
