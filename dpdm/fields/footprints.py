"""How far what an observation sees reaches, and whether the domain holds all of it.

A point is seen where it lies. A block or a disc that reaches beyond the domain's edge is a mean of
what is known and what is not, and no observation of the domain.
"""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from numpy.typing import NDArray

from dpdm.constants import EARTH_RADIUS
from dpdm.fields.grid import Grid, edges
from dpdm.fields.values import operators

Array = NDArray[np.float64]
SLACK = 1e-6  # cells, by which rounding may carry a block over the edge at which it ends


def inside(table: pd.DataFrame, domain: Grid, swap: bool = False) -> NDArray[np.bool_]:
    """Tell which observations lie in the domain's cells, with all that they are a mean over.

    Args:
        table: Observations.
        domain: The grid.
        swap: Whether to take latitude for longitude.
    """
    lat, lon = (table[name].to_numpy() for name in (("lon", "lat") if swap else ("lat", "lon")))
    lon = turned(lon, domain)
    south, north, along = reach(table, lat, domain)
    low, high = edges(domain.lat)[[0, -1]]
    west, east = domain.lon_edges[[0, -1]]
    between = (lon - along >= west) & (lon + along <= east)
    columns = between | (domain.cyclic & np.isfinite(lon))
    found: NDArray[np.bool_] = (south >= low) & (north <= high) & columns
    return found


def turned(lon: Array, domain: Grid) -> Array:
    """Bring longitudes to the turn of the circle that the domain is on."""
    middle = (domain.lon_edges[0] + domain.lon_edges[-1]) / 2
    near: Array = lon + 360.0 * np.round((middle - lon) / 360.0)
    return near


def reach(table: pd.DataFrame, lat: Array, domain: Grid) -> tuple[Array, Array, Array]:
    """Return how far south, north and to either side each observation reaches, degrees.

    Args:
        table: Observations, with ``operator``, ``factor`` and ``radius`` where they have any.
        lat: Their latitudes, with shape (N,).
        domain: The grid, of whose cells blocks are made.
    """
    arc = np.degrees(setting(table, ("mean", ""), "radius") / EARTH_RADIUS)
    half = (setting(table, ("coarse",), "factor") / 2 - SLACK).clip(min=0)
    tall, wide = half * np.array(domain.spacing)[:, None]
    # A disc goes over a pole and comes down on the other side.
    south = np.where(arc > 0, (lat - arc).clip(min=-90), lat - tall)
    north = np.where(arc > 0, (lat + arc).clip(max=90), lat + tall)
    return south, north, wide + sideways(arc, lat)


def setting(table: pd.DataFrame, of: tuple[str, ...], name: str) -> Array:
    """Return a setting of the rows of some operators, 0 in all others."""
    if name not in table:
        return np.zeros(len(table))
    said = table[name].where(operators(table).isin(of), 0.0)
    values: Array = said.fillna(0.0).to_numpy(float)
    return values


def sideways(arc: Array, lat: Array) -> Array:
    """Return how far discs reach along longitude; all round where they hold a pole.

    The meridian that touches a small circle of radius r around latitude phi lies
    asin(sin r / cos phi) beside its middle.
    """
    polar = arc >= 90 - np.abs(lat)
    cosine = np.where(polar, 1.0, np.cos(np.radians(lat)))
    touching = np.degrees(np.arcsin(np.sin(np.radians(arc)) / cosine))
    return np.where(polar & (arc > 0), 180.0, touching)
