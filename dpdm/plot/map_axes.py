"""Draw maps with relief, coastlines, graticule and colour bars."""

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

COAST_UNITS = 100.0  # stored integers per degree
MAX_SEGMENT = 0.25  # of the sheet's larger side; longer segments cross the edge of the map


@cache
def read_coastlines() -> tuple[Array, Array]:
    """Read longitudes and latitudes (N, 2) of the coastlines, and which points begin a line."""
    with as_file(files("dpdm") / "data" / "coastlines.npz") as path, np.load(path) as file:
        points, starts = file["points"] / COAST_UNITS, file["starts"]
    first = np.zeros(len(points), bool)
    first[starts] = True
    return points, first


@lru_cache(maxsize=1)
def project_coast(sheet: ProjectedGrid) -> list[Array]:
    """Return the coastlines (N, 2) on a sheet, in projected coordinates.

    Lines are cut at the edges of the sheet and of the projection, and thinned to a point a pixel.
    """
    points, first = read_coastlines()
    xy = sheet.crs.transform_points(ccrs.PlateCarree(), points[:, 0], points[:, 1])[:, :2]
    with np.errstate(invalid="ignore"):
        inside = points_near_sheet(xy, sheet)
        jump = np.abs(np.diff(xy, axis=0)).max(1) > MAX_SEGMENT * max(sheet.size)
    begins = first | np.r_[True, jump | ~inside[:-1]]
    pixels = np.round(xy[inside] / sheet.pixel)
    moved = np.r_[True, np.any(np.diff(pixels, axis=0) != 0, axis=1)]
    needed = moved | begins[inside]
    lines = np.split(xy[inside][needed], np.flatnonzero(begins[inside][needed]))
    return [line for line in lines if len(line) > 1]


def points_near_sheet(xy: Array, sheet: ProjectedGrid) -> NDArray[np.bool_]:
    """Return which points lie on a sheet, or just outside."""
    west, east, south, north = sheet.extent
    room = 0.02 * max(sheet.size)
    x, y = xy.T
    across = (x > west - room) & (x < east + room)
    inside: NDArray[np.bool_] = across & (y > south - room) & (y < north + room)
    return inside


MAP_GAP = 0.12  # inches between panels
LABEL_ROOM = 0.5, 0.24  # inches left of a map and below it, for degrees
BAR, BAR_ENDS = 0.12, 0.25  # inches: height of a colour bar, margin at either end
BAR_ROW = BAR + 3 * PAGE_MARGIN + 2 * LINE_HEIGHT
RELIEF_SHADE = 0.2  # opacity of the darkest shade
DEGREE_STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0)  # degrees
LABEL_MARGIN = 0.06  # of the map's width, without labels at the right
CONTOUR_SMOOTHING = 0.01  # of the map's width, scale of the smoothing before contouring


class MapPanel(NamedTuple):
    """One map of a page.

    Attributes:
        title: A short title.
        values: The field at the pixels.
        colour_scale: Its colours.
        overlay: Draws further elements on the map.
    """

    title: str
    values: Array
    colour_scale: ColourScale
    overlay: Callable[[Any], None] | None = None


def layout_sheet(field: xr.DataArray, columns: int) -> ProjectedGrid:
    """Return the sheet of a field for a page with maps in columns."""
    return project_grid(grid_of(field), round(PAGE_DPI * map_width(columns, 0.0)))


def map_width(columns: int, left: float) -> float:
    """Return the width of a map, with a margin at its left (inches)."""
    return (PAGE_WIDTH - 2 * PAGE_MARGIN - left - MAP_GAP * (columns - 1)) / columns


def draw_atlas(
    heading: Sequence[str],
    panels: Sequence[MapPanel],
    sheet: ProjectedGrid,
    footer: str,
    units: Sequence[str],
) -> Page:
    """Draw maps, at most two to a row, with a bar for each colour scale.

    Args:
        heading: Lines above the maps.
        panels: The maps.
        sheet: Projection and pixels of the maps.
        footer: Provenance of the picture.
        units: Labels of the colour bars, in order of appearance.
    """
    columns = min(2, len(panels))
    labelled = columns == 1 and not (sheet.is_global or sheet.is_polar_cap)
    left, below = LABEL_ROOM if labelled else (0.0, 0.0)
    width = map_width(columns, left)
    title = LINE_HEIGHT if panels[0].title else 0.0
    height = width * sheet.aspect
    rows = [title + height + below + PAGE_MARGIN] * -(-len(panels) // columns)
    page = Page(heading, [PAGE_MARGIN, *rows, BAR_ROW], footer)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        position = PAGE_MARGIN + left + (width + MAP_GAP) * column
        axes = page.axes(1 + row, position, width, height, title, projection=sheet.crs)
        draw_map(axes, panel, sheet, labelled)
    draw_colour_bars(page, 1 + len(rows), [panel.colour_scale for panel in panels], units)
    return page


def draw_colour_bars(
    page: Page, row: int, scales: Sequence[ColourScale], units: Sequence[str]
) -> None:
    """Draw the bars of the distinct colour scales side by side."""
    distinct = list({id(scale): scale for scale in scales}.values())
    room = (PAGE_WIDTH - 2 * PAGE_MARGIN) / len(distinct)
    for number, (scale, unit) in enumerate(zip(distinct, units, strict=True)):
        left = PAGE_MARGIN + room * number + BAR_ENDS
        draw_colour_bar(
            page, page.axes(row, left, room - 2 * BAR_ENDS, BAR, PAGE_MARGIN), scale, unit
        )


def draw_map(axes: Any, panel: MapPanel, sheet: ProjectedGrid, labels: bool) -> None:
    """Draw one map."""
    frame_map(axes, sheet)
    scale = panel.colour_scale
    axes.imshow(
        panel.values, extent=sheet.extent, origin="upper", cmap=scale.colours, norm=scale.norm,
        interpolation="none", transform=sheet.crs, zorder=1,
    )  # fmt: skip
    shade_relief(axes, sheet, np.isfinite(panel.values))
    if scale.signed:
        draw_contours(axes, panel.values, scale, sheet)
    axes.add_collection(
        collections.LineCollection(project_coast(sheet), colors="black", linewidths=0.5, zorder=4)
    )
    draw_graticule(axes, sheet, labels)
    if panel.overlay:
        panel.overlay(axes)
    if panel.title:
        axes.set_title(panel.title, pad=3, parse_math=False)


def frame_map(axes: Any, sheet: ProjectedGrid) -> None:
    """Set the boundary of a map to that of its domain, of a polar cap to a circle."""
    west, east, south, north = sheet.extent
    axes.set_aspect("auto")
    axes.set_facecolor("white")
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    if sheet.is_polar_cap:
        angle = np.linspace(0, 2 * np.pi, 361)
        disc = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * east
        axes.set_boundary(Outline(disc, closed=True), transform=axes.transData)
    elif not sheet.is_global:
        axes.set_boundary(Outline(sheet.outline(), closed=True), transform=axes.transData)


def shade_relief(axes: Any, sheet: ProjectedGrid, known: NDArray[np.bool_]) -> None:
    """Shade the relief of a map, lit from the northwest, relative to its own steepness."""
    height = sample_spline(sheet, read_bundled_statics()["topography"])
    known = known if known.any() else np.isfinite(sheet.lat)
    height = np.where(known, height, np.nan)
    down, right = np.gradient(height)
    slope = down + right  # southeast slopes lie in shadow
    size = np.nanpercentile(np.abs(slope), 99) if np.isfinite(slope).any() else 0.0
    if not size > 0:
        return
    light = np.nan_to_num(np.tanh(slope / size))
    tint = np.zeros((*light.shape, 4))
    tint[..., :3] = (light > 0)[..., None]
    tint[..., 3] = RELIEF_SHADE * np.abs(light)
    axes.imshow(tint, extent=sheet.extent, origin="upper", transform=sheet.crs, zorder=2)


def draw_contours(axes: Any, values: Array, scale: ColourScale, sheet: ProjectedGrid) -> None:
    """Draw contours, dashed below zero, so that the sign is visible without colour."""
    levels = [
        level for level in scale.round_values(8) if scale.low < level < scale.high and level != 0
    ]
    if levels and np.isfinite(values).any():
        axes.contour(
            *sheet.centres(), smooth_values(values, sheet), levels=levels, colors="0.2",
            linewidths=0.5,
            zorder=3,
        )  # fmt: skip


def smooth_values(values: Array, sheet: ProjectedGrid) -> Any:
    """Smooth values for contours, without the corners of cells."""
    known = np.isfinite(values)
    cell = sheet.lat.shape[1] / len(sheet.grid.lon)
    width = max(cell, CONTOUR_SMOOTHING * sheet.lat.shape[1])
    total, share = (
        ndimage.gaussian_filter(part, width, mode="nearest")
        for part in (np.where(known, values, 0.0), known.astype(float))
    )
    return np.ma.masked_where(~known, total / np.maximum(share, 1e-9))


def draw_graticule(axes: Any, sheet: ProjectedGrid, labels: bool) -> None:
    """Draw a few parallels and meridians, and label them if asked."""
    lat, lon = graticule_steps(sheet.grid.lat_edges, 4), graticule_steps(sheet.grid.lon_edges, 4)
    if sheet.is_global or sheet.is_polar_cap:
        lat, lon = [-60.0, -30.0, 0.0, 30.0, 60.0], [60.0 * each for each in range(-3, 3)]
    axes.gridlines(
        crs=ccrs.PlateCarree(), linewidth=0.4, color="0.4", alpha=0.6, zorder=3,
        xlocs=[wrap_longitude(each) for each in lon], ylocs=lat,
    )  # fmt: skip
    if labels:
        west, _, south, _ = domain_edges(sheet.grid)
        for each in lat:
            draw_label(
                axes, sheet, (west, each), format_degree(each, "NS"), (-4, 0), ("right", "center")
            )
        for each in lon:
            draw_label(
                axes,
                sheet,
                (each, south),
                format_degree(wrap_longitude(each), "EW"),
                (0, -4),
                ("center", "top"),
            )


def format_degree(degree: float, sides: str) -> str:
    """Format a latitude or longitude.

    Example:
        >>> format_degree(-20.0, "NS"), format_degree(180.0, "EW")
        ('20°S', '180°')
    """
    side = "" if abs(degree) in (0, 180) else sides[degree < 0]
    return f"{abs(degree):g}°{side}"


def draw_label(
    axes: Any,
    sheet: ProjectedGrid,
    position: tuple[float, float],
    text: str,
    offset: tuple[int, int],
    alignment: tuple[str, str],
) -> None:
    """Write a label next to a longitude and latitude."""
    xy = project_places(sheet.crs, sheet.grid, np.array([position[0]]), np.array([position[1]]))[0]
    if xy[0] > sheet.extent[1] - LABEL_MARGIN * sheet.size[0]:
        return  # half of the label would lie beyond the page
    axes.annotate(
        text, xy, offset, textcoords="offset points",
        ha=alignment[0], va=alignment[1], annotation_clip=False,
    )  # fmt: skip


def graticule_steps(edges: Array, count: int) -> list[float]:
    """Return at most ``count`` round degrees within the edges of an axis.

    Example:
        >>> graticule_steps(np.array([-30.0, 30.0]), 4)
        [-20.0, 0.0, 20.0]
    """
    low, high = float(edges[0]), float(edges[-1])
    for step in DEGREE_STEPS:
        first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
        if last - first < count:
            break
    return [step * each for each in range(first, last + 1)]


def draw_colour_bar(page: Page, axes: Any, scale: ColourScale, unit: str) -> None:
    """Draw the bar of a colour scale with its unit."""
    mappable = mpl.cm.ScalarMappable(scale.norm, scale.colours)
    bar = page.figure.colorbar(
        mappable,
        cax=axes,
        orientation="horizontal",
        extend=scale.extend,
        ticks=scale.round_values(4),
    )
    bar.set_label(unit, parse_math=False)
    bar.ax.tick_params(pad=2)
