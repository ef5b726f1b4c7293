"""Lay out and draw maps with relief, coastlines, graticule and colour bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import as_file, files
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from dpdm.fields.grid import Array, grid_of
from dpdm.fields.statics import read_bundled_statics
from dpdm.plot.graticule import draw_labels, graticule, label_room, place_labels
from dpdm.plot.page import (
    FONT_SIZE,
    LINE_HEIGHT,
    PAGE_MARGIN,
    Outline,
    Page,
    PageFormat,
    ccrs,
    collections,
    mpl,
    wrap_text,
)
from dpdm.plot.projection import ProjectedGrid, project_grid, sample_spline, wrap_longitude
from dpdm.plot.scales import ColourScale, bar_ticks

COAST_UNITS = 100.0  # stored integers per degree
MAX_SEGMENT = 0.25  # of the sheet's larger side; longer segments cross the edge of the map


@cache
def read_coastlines() -> tuple[Array, NDArray[np.bool_]]:
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
COLUMN_WIDTH = 2.0  # inches, minimum of a map where a page has more than two in a row
BAR, BAR_ENDS = 0.12, 0.25  # inches: height of a colour bar, margin at either end
BAR_BLOCK = BAR + 2 * PAGE_MARGIN + LINE_HEIGHT  # inches: a bar with its values, without its unit
RELIEF_SHADE = 0.2  # opacity of the darkest shade
CONTOUR_SMOOTHING = 0.01  # of the map's width, scale of the smoothing before contouring


class MapPanel(NamedTuple):
    """One map of a page.

    Attributes:
        title: A short title.
        values: The field at the pixels.
        colour_scale: Its colours.
        overlay: Draws further elements on the map.
        relief: Whether relief is shaded over the field.
    """

    title: str
    values: Array
    colour_scale: ColourScale
    overlay: Callable[[Any], None] | None = None
    relief: bool = False


def layout_sheet(field: xr.DataArray, count: int, form: PageFormat) -> ProjectedGrid:
    """Return the sheet of a field for a page with a number of maps."""
    width = map_width(form, choose_columns(count, form), 0.0)
    return project_grid(grid_of(field), round(form.dpi * width))


def choose_columns(count: int, form: PageFormat) -> int:
    """Return the number of maps in a row that leaves the fewest places empty.

    Example:
        >>> [choose_columns(count, PageFormat()) for count in (1, 2, 3, 6)]
        [1, 2, 2, 2]
        >>> [choose_columns(count, PageFormat(7.0)) for count in (3, 4, 5)]
        [3, 2, 3]
    """
    most = min(count, max(2, int(form.width / COLUMN_WIDTH)))
    return min(range(most, min(most, 2) - 1, -1), key=lambda columns: -count % columns)


def map_width(form: PageFormat, columns: int, left: float) -> float:
    """Return the width of a map, with a margin at the left of all (inches)."""
    return (form.width - 2 * PAGE_MARGIN - left - MAP_GAP * (columns - 1)) / columns


@dataclass(frozen=True)
class AtlasLayout:
    """The places of maps on a page, in inches.

    Attributes:
        count: Number of maps.
        columns: Maps in a row.
        left: Room for latitudes at the left.
        width: Width of a map.
        height: Height of a map.
        title: Room for the titles.
        below: Room for longitudes.
        bars: Heights of the colour bars with their labels.
    """

    count: int
    columns: int
    left: float
    width: float
    height: float
    title: float
    below: float
    bars: tuple[float, ...]

    @property
    def rows(self) -> int:
        """Return the number of rows of maps."""
        return -(-self.count // self.columns)

    @property
    def row_heights(self) -> list[float]:
        """Return the heights of the rows of maps, with longitudes where no map lies below."""
        rows = [range(self.count)[i * self.columns :][: self.columns] for i in range(self.rows)]
        rooms = [self.below * any(map(self.is_lowest, row)) for row in rows]
        return [self.title + self.height + room + PAGE_MARGIN for room in rooms]

    @property
    def bars_in_grid(self) -> bool:
        """Return whether the colour bars fit the empty place of the last row."""
        return self.count % self.columns > 0 and sum(self.bars) <= (
            self.title + self.height + self.below + PAGE_MARGIN
        )

    def left_of(self, number: int) -> float:
        """Return the left edge of a map; of a last row that is not full, in the middle."""
        row, column = divmod(number, self.columns)
        last = row == self.rows - 1 and not self.bars_in_grid
        empty = -self.count % self.columns if last else 0
        return PAGE_MARGIN + self.left + (self.width + MAP_GAP) * (column + empty / 2)

    def is_lowest(self, number: int) -> bool:
        """Return whether no map lies below another."""
        return number + self.columns >= self.count or (
            not self.bars_in_grid
            and (number // self.columns == self.rows - 2 and self.count % self.columns > 0)
        )


def draw_atlas(
    heading: Sequence[str],
    panels: Sequence[MapPanel],
    sheet: ProjectedGrid,
    footer: str,
    units: Sequence[str],
    form: PageFormat,
) -> Page:
    """Draw maps, two or more to a row, with a bar for each colour scale.

    Args:
        heading: Lines above the maps.
        panels: The maps.
        sheet: Projection and pixels of the maps.
        footer: Provenance of the picture.
        units: Labels of the colour bars, in order of appearance.
        form: Width and resolution of the page.
    """
    scales = list({id(panel.colour_scale): panel.colour_scale for panel in panels}.values())
    columns = choose_columns(len(panels), form)
    left = label_room(sheet)
    width = map_width(form, columns, left)
    labels = place_labels(sheet, width, MAP_GAP / 2 if columns > 1 else PAGE_MARGIN)
    across = (form.width - 2 * PAGE_MARGIN) / len(scales)
    texts = [wrap_text(unit, FONT_SIZE, across) for unit in units]
    layout = AtlasLayout(
        len(panels), columns, left, width, width * sheet.aspect,
        LINE_HEIGHT if panels[0].title else 0.0, labels.below,
        tuple(BAR_BLOCK + LINE_HEIGHT * len(lines) for lines in texts),
    )  # fmt: skip
    rows = layout.row_heights
    rows += [] if layout.bars_in_grid else [max(layout.bars) + PAGE_MARGIN]
    page = Page(heading, [PAGE_MARGIN, *rows], footer, form)
    for number, panel in enumerate(panels):
        place = layout.left_of(number), layout.width, layout.height, layout.title
        axes = page.axes(1 + number // columns, *place, projection=sheet.crs)
        draw_map(axes, panel, sheet)
        first = number % columns == 0
        draw_labels(axes, labels, sides=first, bottom=layout.is_lowest(number))
    for bar, scale, lines in zip(bar_places(layout, form), scales, texts, strict=True):
        draw_colour_bar(page, bar, scale, "\n".join(lines))
    return page


class BarPlace(NamedTuple):
    """The place of a colour bar on a page.

    Attributes:
        row: Row of the page.
        left: Left edge, inches.
        length: Length, inches.
        down: Inches from the top of the row.
    """

    row: int
    left: float
    length: float
    down: float


def bar_places(layout: AtlasLayout, form: PageFormat) -> list[BarPlace]:
    """Return the places of the bars: in the empty place of the last row, or side by side below."""
    count = len(layout.bars)
    if layout.bars_in_grid:
        free = layout.count % layout.columns
        left = PAGE_MARGIN + layout.left + (layout.width + MAP_GAP) * free
        room = form.width - PAGE_MARGIN - left
        spare = (layout.row_heights[-1] - sum(layout.bars)) / (count + 1)
        downs = [spare * (i + 1) + sum(layout.bars[:i]) for i in range(count)]
        return [
            BarPlace(layout.rows, left + BAR_ENDS, room - 2 * BAR_ENDS, down) for down in downs
        ]
    room = (form.width - 2 * PAGE_MARGIN) / count
    return [
        BarPlace(
            1 + layout.rows, PAGE_MARGIN + room * i + BAR_ENDS, room - 2 * BAR_ENDS, PAGE_MARGIN
        )
        for i in range(count)
    ]


def draw_map(axes: Any, panel: MapPanel, sheet: ProjectedGrid) -> None:
    """Draw one map."""
    frame_map(axes, sheet)
    scale = panel.colour_scale
    axes.imshow(
        panel.values, extent=sheet.extent, origin="upper", cmap=scale.colours, norm=scale.norm,
        interpolation="none", transform=sheet.crs, zorder=1,
    )  # fmt: skip
    if panel.relief:
        shade_relief(axes, sheet, np.isfinite(panel.values))
    if scale.signed:
        draw_contours(axes, panel.values, scale, sheet)
    axes.add_collection(
        collections.LineCollection(project_coast(sheet), colors="black", linewidths=0.5, zorder=4)
    )
    draw_graticule(axes, sheet)
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


def draw_graticule(axes: Any, sheet: ProjectedGrid) -> None:
    """Draw a few parallels and meridians."""
    parallels, meridians = graticule(sheet)
    axes.gridlines(
        crs=ccrs.PlateCarree(), linewidth=0.4, color="0.4", alpha=0.6, zorder=3,
        xlocs=[wrap_longitude(each) for each in meridians], ylocs=parallels,
    )  # fmt: skip


def draw_colour_bar(page: Page, place: BarPlace, scale: ColourScale, unit: str) -> None:
    """Draw the bar of a colour scale with its unit."""
    axes = page.axes(place.row, place.left, place.length, BAR, place.down)
    ticks = bar_ticks(scale, place.length, BAR_ENDS)
    mappable = mpl.cm.ScalarMappable(scale.norm, scale.colours)
    bar = page.figure.colorbar(mappable, cax=axes, orientation="horizontal", extend=scale.extend)
    ticks.write(bar)
    bar.set_label(f"{unit} {ticks.power}".strip(), parse_math=False)
