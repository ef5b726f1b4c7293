"""The grids of an analysis without coarse fields: the fine one, and that of its background."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.errors import DpdmError, prefix_file_name
from dpdm.fields.climatology import split_extent
from dpdm.fields.climatology_grid import describe_extent
from dpdm.fields.grid import Array, Grid, extend_grid, grid_of
from dpdm.fields.named_grids import Target, target_path
from dpdm.fields.read import open_fields
from dpdm.fields.reference_climatology import bundled_climatology
from dpdm.fields.subset import Box, select_box
from dpdm.fields.value_checks import common_missing_codes
from dpdm.observations.collocation import footprints_in_domain
from dpdm.observations.status import is_usable
from dpdm.prior import Prior
from dpdm.states.field_domain import TargetGrids, pad_target, read_target_grid
from dpdm.states.options import EnsembleOptions
from dpdm.states.reference import own_grid
from dpdm.states.requirements import has_spacing

USUAL_FACTOR = 4  # cells of the background over those of the target, along each axis
MAX_BACKGROUND_CELLS = 3000  # the correlation matrix of the background's error is dense


def open_target_grids(
    prior: Prior, target: Target | None, options: EnsembleOptions
) -> TargetGrids:
    """Return the fine grid, of a target or of the prior's spacing, and the part to write."""
    if target is None:
        return pad_target(lattice_of_prior(prior, options), options)
    with prefix_file_name(target_path(target)):
        return pad_target(read_target_grid(target, options), options)


def lattice_of_prior(prior: Prior, options: EnsembleOptions) -> Grid:
    """Return the cells from which a box is cut: those of the climatology, if they suit the prior.

    The candidates are the user's file or the prior's own climatology, the bundled one, and a
    global grid of the prior's spacing.
    """
    known: Grid | None = None
    if path := options.climatology_file:
        codes = common_missing_codes(options.missing)
        known = grid_of(open_fields(path, needed=(), missing=codes))
    elif prior.reference and not options.climatology:
        known = own_grid(prior)
    if known is not None and has_spacing(known, prior):
        return extend_to_box(known, options.bbox)
    bundled = bundled_climatology().grid
    return bundled if has_spacing(bundled, prior) else global_grid(prior.contract.spacing)


def extend_to_box(grid: Grid, box: Box | None) -> Grid:
    """Return a grid that covers a box or, with the same cells beyond it, the globe.

    The climatology of a grid that does not cover the target is then refused.
    """
    if box is None or grid.cyclic:
        return grid
    dy, dx = grid.spacing
    wide = extend_grid(grid, ceil(180 / dy), floor((360 / dx - len(grid.lon)) / 2))
    return grid if grid.covers(select_box(wide, box)) else wide


def global_grid(spacing: tuple[float, float]) -> Grid:
    """Return the whole cells of the globe of about a spacing, from the South Pole and Greenwich.

    Example:
        >>> global_grid((2.0, 2.0)).lon[:2].tolist(), global_grid((2.0, 2.0)).shape
        ([1.0, 3.0], (90, 180))
    """
    rows, columns = (round(degrees / s) for degrees, s in zip((180, 360), spacing, strict=True))
    lat = -90 + (np.arange(rows) + 0.5) * 180 / rows
    return Grid(lat, (np.arange(columns) + 0.5) * 360 / columns)


def missing_target_error(table: pd.DataFrame, has_box: bool = False) -> DpdmError:
    """Return the error of an analysis without a target, with the box of its stations.

    A box alone sets cells only where a climatology is the background.
    """
    if has_box:
        return DpdmError(
            "Without coarse fields and without a climatology, --bbox alone does not set cells.",
            "Give --coarse COARSE.nc, --grid TARGET.nc, or a --climatology and a prior that takes "
            "one.",
        )
    box = station_box(table)
    hint = f"--bbox {format_box(box) if box else 'W,E,S,N'}"
    return DpdmError(
        "Neither coarse fields nor a target grid was given, so nothing sets the region.",
        f"Give --coarse COARSE.nc, --grid TARGET.nc, or a box: {hint}"
        + (" holds all stations." if box else "."),
    )


def check_any_inside(table: pd.DataFrame, grid: Grid) -> None:
    """Refuse observations with positions none of which lies in the domain."""
    placed = table[is_usable(table) & table["lat"].notna() & table["lon"].notna()]
    inside = (footprints_in_domain(placed, grid, swap).any() for swap in (False, True))
    box = station_box(placed)
    if box is None or any(inside):  # exchanged coordinates are refused later
        return
    raise DpdmError(
        f"All stations lie outside the target, {describe_extent(grid)}.",
        f"Their box is --bbox {format_box(box)}.",
    )


def format_box(box: Sequence[float]) -> str:
    """Return west, east, south and north as the option --bbox has them."""
    return ",".join(f"{edge:g}" for edge in box)


def station_box(table: pd.DataFrame) -> tuple[float, float, float, float] | None:
    """Return the box of whole degrees around stations, west, east, south and north.

    Example:
        >>> rows = pd.DataFrame({"lat": [35.2, 37.0], "lon": [179.5, -178.2], "status": ["", ""]})
        >>> station_box(rows)
        (179, -178, 35, 37)
    """
    used = table[is_usable(table) & table["lat"].notna() & table["lon"].notna()]
    if used.empty:
        return None
    west, east = longitude_span(used["lon"].to_numpy(float) % 360.0)
    south, north = _whole_degrees(float(used["lat"].min()), float(used["lat"].max()))
    return _turn(west), _turn(east), max(south, -90), min(north, 90)


def longitude_span(lon: Array) -> tuple[int, int]:
    """Return whole degrees around the shortest arc that holds longitudes from 0 to 360."""
    places = np.unique(lon)
    gaps = np.diff(np.r_[places, places[0] + 360.0])
    first = int(gaps.argmax() + 1) % len(places)
    width = 360.0 - gaps.max()
    return _whole_degrees(float(places[first]), float(places[first] + width))


def _whole_degrees(low: float, high: float) -> tuple[int, int]:
    """Return whole degrees outside of a range, a degree apart at least."""
    first = floor(low)
    return first, max(ceil(high), first + 1)


def _turn(lon: int) -> int:
    """Return a longitude from -180 to 180."""
    return (lon + 180) % 360 - 180


def background_grid(grid: Grid, prior: Prior) -> tuple[Grid, int]:
    """Return the coarse grid of a climatological background, and its factor.

    The factor is 4, as far as the prior has it, or the smallest greater one with which the grid
    has few enough cells.
    """
    smallest, largest = prior.contract.factors
    for factor in range(min(max(USUAL_FACTOR, smallest), largest), largest + 1):
        coarse = cover_grid(grid, factor)
        if coarse.shape[0] * coarse.shape[1] <= MAX_BACKGROUND_CELLS:
            return coarse, factor
    raise DpdmError(
        f"A target of {grid.shape[0]} by {grid.shape[1]} cells has a background of "
        f"{coarse.shape[0] * coarse.shape[1]} coarse cells, which may be "
        f"{MAX_BACKGROUND_CELLS} at most.",
        "Analyse a part of it with --bbox.",
    )


def cover_grid(grid: Grid, factor: int) -> Grid:
    """Return the grid of blocks of cells that cover a grid and a block around it.

    Blocks begin at multiples of the factor from the South Pole and from Greenwich, so that those
    of a part are those of the whole. Where they would reach beyond a pole, or around the globe,
    the extent of the grid is divided instead.

    Example:
        >>> part = Grid(np.arange(30.5, 36), np.arange(120.5, 129))
        >>> [axis.tolist() for axis in (cover_grid(part, 4).lat, cover_grid(part, 4).lon)]
        [[28.0, 32.0, 36.0, 40.0], [118.0, 122.0, 126.0, 130.0, 134.0]]
    """
    lat = cover_axis(grid.lat, grid.spacing[0], factor, -90.0)
    if np.abs(lat).max() > 90:
        lat = split_extent(grid.lat_edges, factor)
    if grid.cyclic:
        return Grid(lat, split_extent(grid.lon_edges, factor))
    return Grid(lat, cover_axis(grid.lon, grid.spacing[1], factor, 0.0))


def cover_axis(centres: Array, spacing: float, factor: int, origin: float) -> Array:
    """Return the centres of blocks of cells that cover an axis and a block on each side."""
    first = floor((centres[0] - origin) / spacing + 0.25)  # of centres or edges at the origin
    start = (first // factor - 1) * factor - first
    blocks = -(-(len(centres) - start) // factor) + 1
    lowest = centres[0] + spacing * (start + (factor - 1) / 2)
    return np.asarray(lowest + spacing * factor * np.arange(blocks))


def known_cells(fields: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Tell which cells (H, W) have a value in any of some fields (..., H, W)."""
    return np.asarray(np.isfinite(fields).reshape(-1, *fields.shape[-2:]).any(0))
