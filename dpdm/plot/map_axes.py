"""A map: the field, a faint relief, the coast, and the bar that says what its colours mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.resources import as_file, files
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from dpdm.fields.grid import Array, grid_of
from dpdm.fields.statics import read_bundled_statics
from dpdm.plot.page import (
    LINE_HEIGHT,
    PAGE_DPI,
    PAGE_MARGIN,
    PAGE_WIDTH,
    ColourScale,
    Outline,
    Page,
    ccrs,
    collections,
    mpl,
)
from dpdm.plot.projection import (
    ProjectedGrid,
    domain_edges,
    project_grid,
    project_places,
    sample_spline,
    wrap_longitude,
)

COAST_UNITS = 100.0  # of the stored integers, to a degree
MAX_SEGMENT = (
    0.25  # of the sheet's larger side, beyond which neighbours lie on either end of the map
)


@cache
def read_coastlines() -> tuple[Array, Array]:
    """Read longitudes and latitudes (N, 2), and which point does not follow the one before."""
    with as_file(files("dpdm") / "data" / "coastlines.npz") as path, np.load(path) as file:
        points, starts = file["points"] / COAST_UNITS, file["starts"]
    first = np.zeros(len(points), bool)
    first[starts] = True
    return points, first


@lru_cache(maxsize=1)
def project_coast(sheet: ProjectedGrid) -> list[Array]:
    """Return the lines (N, 2) of the coast on a sheet, in its own coordinates.

    A line ends where it leaves the sheet or comes to the edge of the world, and has no more points
    than pixels.
    """
    points, first = read_coastlines()
    xy = sheet.crs.transform_points(ccrs.PlateCarree(), points[:, 0], points[:, 1])[:, :2]
    with np.errstate(invalid="ignore"):
        inside = points_near_sheet(xy, sheet)
        jump = np.abs(np.diff(xy, axis=0)).max(1) > MAX_SEGMENT * max(sheet.size)
    begins = first | np.r_[True, jump | ~inside[:-1]]
    pixels = np.round(xy[inside] / sheet.pixel)
    moved = np.r_[True, np.any(np.diff(pixels, axis=0) != 0, axis=1)]
    kept = moved | begins[inside]
    lines = np.split(xy[inside][kept], np.flatnonzero(begins[inside][kept]))
    return [line for line in lines if len(line) > 1]


def points_near_sheet(xy: Array, sheet: ProjectedGrid) -> NDArray[np.bool_]:
    """Tell which points lie on a sheet, or just beside it."""
    west, east, south, north = sheet.extent
    room = 0.02 * max(sheet.size)
    x, y = xy.T
    across = (x > west - room) & (x < east + room)
    inside: NDArray[np.bool_] = across & (y > south - room) & (y < north + room)
    return inside


MAP_GAP = 0.12  # inches between panels
LABEL_ROOM = 0.5, 0.24  # inches left of a map and below it, for degrees
BAR, BAR_ENDS = 0.12, 0.25  # inches: how high, and left free at either end
BAR_ROW = BAR + 3 * PAGE_MARGIN + 2 * LINE_HEIGHT
RELIEF_SHADE = 0.2  # of the darkest shade
DEGREE_STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0)  # degrees
LABEL_MARGIN = 0.06  # of the map's width, left free of words at the right
CONTOUR_SMOOTHING = 0.01  # of the map's width: what a line leaves out


class MapPanel(NamedTuple):
    """One map among others.

    Attributes:
        title: A few words.
        values: The field at the pixels.
        colour_scale: Its colours.
        overlay: What else is drawn on it.
    """

    title: str
    values: Array
    colour_scale: ColourScale
    overlay: Callable[[Any], None] | None = None


def layout_sheet(field: xr.DataArray, columns: int) -> ProjectedGrid:
    """Lay out the sheet for a field, so many maps to a row."""
    return project_grid(grid_of(field), round(PAGE_DPI * map_width(columns, 0.0)))


def map_width(columns: int, left: float) -> float:
    """Return the width of a map, inches, with so much room to its left."""
    return (PAGE_WIDTH - 2 * PAGE_MARGIN - left - MAP_GAP * (columns - 1)) / columns


def draw_atlas(
    heading: Sequence[str],
    panels: Sequence[MapPanel],
    where: ProjectedGrid,
    footer: str,
    units: Sequence[str],
) -> Page:
    """Lay out maps, two to a row if there are several, with a bar for each look.

    Args:
        heading: Lines above.
        panels: The maps, all on one sheet.
        where: The sheet.
        footer: What the picture was made from.
        units: What stands under the bar of each look, in order of appearance.
    """
    columns = min(2, len(panels))
    labelled = columns == 1 and not (where.is_global or where.is_polar_cap)
    left, below = LABEL_ROOM if labelled else (0.0, 0.0)
    width = map_width(columns, left)
    title = LINE_HEIGHT if panels[0].title else 0.0
    height = width * where.aspect
    rows = [title + height + below + PAGE_MARGIN] * -(-len(panels) // columns)
    page = Page(heading, [PAGE_MARGIN, *rows, BAR_ROW], footer)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        place = PAGE_MARGIN + left + (width + MAP_GAP) * column
        axes = page.axes(1 + row, place, width, height, title, projection=where.crs)
        draw_map(axes, panel, where, labelled)
    draw_colour_bars(page, 1 + len(rows), [panel.colour_scale for panel in panels], units)
    return page


def draw_colour_bars(
    page: Page, row: int, looks: Sequence[ColourScale], units: Sequence[str]
) -> None:
    """Draw the bar of each look beside the others."""
    apart = list({id(look): look for look in looks}.values())
    room = (PAGE_WIDTH - 2 * PAGE_MARGIN) / len(apart)
    for number, (look, unit) in enumerate(zip(apart, units, strict=True)):
        left = PAGE_MARGIN + room * number + BAR_ENDS
        draw_colour_bar(
            page, page.axes(row, left, room - 2 * BAR_ENDS, BAR, PAGE_MARGIN), look, unit
        )


def draw_map(axes: Any, panel: MapPanel, where: ProjectedGrid, labels: bool) -> None:
    """Draw one map."""
    frame_map(axes, where)
    look = panel.colour_scale
    axes.imshow(
        panel.values, extent=where.extent, origin="upper", cmap=look.colours, norm=look.norm,
        interpolation="none", transform=where.crs, zorder=1,
    )  # fmt: skip
    shade_relief(axes, where, np.isfinite(panel.values))
    if look.signed:
        draw_contours(axes, panel.values, look, where)
    axes.add_collection(
        collections.LineCollection(project_coast(where), colors="black", linewidths=0.5, zorder=4)
    )
    draw_graticule(axes, where, labels)
    if panel.overlay:
        panel.overlay(axes)
    if panel.title:
        axes.set_title(panel.title, pad=3, parse_math=False)


def frame_map(axes: Any, where: ProjectedGrid) -> None:
    """Give a map its edges: those of its domain; a polar cap is a disc."""
    west, east, south, north = where.extent
    axes.set_aspect("auto")
    axes.set_facecolor("white")
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    if where.is_polar_cap:
        angle = np.linspace(0, 2 * np.pi, 361)
        disc = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * east
        axes.set_boundary(Outline(disc, closed=True), transform=axes.transData)
    elif not where.is_global:
        axes.set_boundary(Outline(where.outline(), closed=True), transform=axes.transData)


def shade_relief(axes: Any, where: ProjectedGrid, known: NDArray[np.bool_]) -> None:
    """Lay a faint relief over a map, lit from the northwest, in units of its own steepness."""
    height = sample_spline(where, read_bundled_statics()["topography"])
    known = known if known.any() else np.isfinite(where.lat)
    height = np.where(known, height, np.nan)
    down, right = np.gradient(height)
    slope = down + right  # towards the southeast: falling is in shadow
    size = np.nanpercentile(np.abs(slope), 99) if np.isfinite(slope).any() else 0.0
    if not size > 0:
        return
    light = np.nan_to_num(np.tanh(slope / size))
    tint = np.zeros((*light.shape, 4))
    tint[..., :3] = (light > 0)[..., None]
    tint[..., 3] = RELIEF_SHADE * np.abs(light)
    axes.imshow(tint, extent=where.extent, origin="upper", transform=where.crs, zorder=2)


def draw_contours(axes: Any, values: Array, look: ColourScale, where: ProjectedGrid) -> None:
    """Draw lines of equal value, dashed below zero, so that the sign is seen without colour."""
    levels = [
        level for level in look.round_values(8) if look.low < level < look.high and level != 0
    ]
    if levels and np.isfinite(values).any():
        axes.contour(
            *where.centres(), smooth_values(values, where), levels=levels, colors="0.2",
            linewidths=0.5,
            zorder=3,
        )  # fmt: skip


def smooth_values(values: Array, where: ProjectedGrid) -> Any:
    """Return values without cells' corners, nor details too small for a line."""
    known = np.isfinite(values)
    cell = where.lat.shape[1] / len(where.grid.lon)
    width = max(cell, CONTOUR_SMOOTHING * where.lat.shape[1])
    total, share = (
        ndimage.gaussian_filter(part, width, mode="nearest")
        for part in (np.where(known, values, 0.0), known.astype(float))
    )
    return np.ma.masked_where(~known, total / np.maximum(share, 1e-9))


def draw_graticule(axes: Any, where: ProjectedGrid, labels: bool) -> None:
    """Draw a few parallels and meridians; a single map of a region says which they are."""
    lat, lon = graticule_steps(where.grid.lat_edges, 4), graticule_steps(where.grid.lon_edges, 4)
    if where.is_global or where.is_polar_cap:
        lat, lon = [-60.0, -30.0, 0.0, 30.0, 60.0], [60.0 * each for each in range(-3, 3)]
    axes.gridlines(
        crs=ccrs.PlateCarree(), linewidth=0.4, color="0.4", alpha=0.6, zorder=3,
        xlocs=[wrap_longitude(each) for each in lon], ylocs=lat,
    )  # fmt: skip
    if labels:
        west, _, south, _ = domain_edges(where.grid)
        for each in lat:
            draw_label(
                axes, where, (west, each), format_degree(each, "NS"), (-4, 0), ("right", "center")
            )
        for each in lon:
            draw_label(
                axes,
                where,
                (each, south),
                format_degree(wrap_longitude(each), "EW"),
                (0, -4),
                ("center", "top"),
            )


def format_degree(degree: float, sides: str) -> str:
    """Write a latitude or longitude.

    Example:
        >>> format_degree(-20.0, "NS"), format_degree(180.0, "EW")
        ('20°S', '180°')
    """
    side = "" if abs(degree) in (0, 180) else sides[degree < 0]
    return f"{abs(degree):g}°{side}"


def draw_label(
    axes: Any,
    where: ProjectedGrid,
    at: tuple[float, float],
    word: str,
    off: tuple[int, int],
    aligned: tuple[str, str],
) -> None:
    """Write a word beside a longitude and latitude."""
    place = project_places(where.crs, where.grid, np.array([at[0]]), np.array([at[1]]))[0]
    if place[0] > where.extent[1] - LABEL_MARGIN * where.size[0]:
        return  # half of it would lie beyond the page
    axes.annotate(
        word, place, off, textcoords="offset points",
        ha=aligned[0], va=aligned[1], annotation_clip=False,
    )  # fmt: skip


def graticule_steps(edges: Array, most: int) -> list[float]:
    """Return at most so many round degrees within an axis.

    Example:
        >>> graticule_steps(np.array([-30.0, 30.0]), 4)
        [-20.0, 0.0, 20.0]
    """
    low, high = float(edges[0]), float(edges[-1])
    for step in DEGREE_STEPS:
        first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
        if last - first < most:
            break
    return [step * each for each in range(first, last + 1)]


def draw_colour_bar(page: Page, axes: Any, look: ColourScale, unit: str) -> None:
    """Draw the bar of a look with its unit."""
    shown = mpl.cm.ScalarMappable(look.norm, look.colours)
    drawn = page.figure.colorbar(
        shown, cax=axes, orientation="horizontal", extend=look.extend, ticks=look.round_values(4)
    )
    drawn.set_label(unit, parse_math=False)
    drawn.ax.tick_params(pad=2)
