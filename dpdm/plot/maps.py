"""A map: the field, a faint relief, the coast, and the bar that says what its colours mean."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage

from dpdm.fields.grid import Array, grid_of
from dpdm.fields.statics import bundled
from dpdm.plot.coast import coast_on
from dpdm.plot.libraries import Outline, ccrs, collections, mpl
from dpdm.plot.looks import Look
from dpdm.plot.page import DPI, EDGE, LINE, WIDTH, Page
from dpdm.plot.sheet import Sheet, ends, projected, sheet, smoothly, turn

GAP = 0.12  # inches between panels
LABELS = 0.5, 0.24  # inches left of a map and below it, for degrees
BAR, ENDS = 0.12, 0.25  # inches: how high, and left free at either end
BAR_ROW = BAR + 3 * EDGE + 2 * LINE
RELIEF = 0.2  # of the darkest shade
STEPS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0)  # degrees
OFF = 0.06  # of the map's width, left free of words at the right
SMOOTH = 0.01  # of the map's width: what a line leaves out


class Panel(NamedTuple):
    """One map among others.

    Attributes:
        title: A few words.
        values: The field at the pixels.
        look: Its colours.
        also: What else is drawn on it.
    """

    title: str
    values: Array
    look: Look
    also: Callable[[Any], None] | None = None


def paper(field: xr.DataArray, columns: int) -> Sheet:
    """Lay out the sheet for a field, so many maps to a row."""
    return sheet(grid_of(field), round(DPI * width_of(columns, 0.0)))


def width_of(columns: int, left: float) -> float:
    """Return the width of a map, inches, with so much room to its left."""
    return (WIDTH - 2 * EDGE - left - GAP * (columns - 1)) / columns


def atlas(
    heading: Sequence[str],
    panels: Sequence[Panel],
    where: Sheet,
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
    labelled = columns == 1 and not (where.whole or where.round)
    left, below = LABELS if labelled else (0.0, 0.0)
    width = width_of(columns, left)
    title = LINE if panels[0].title else 0.0
    height = width * where.aspect
    rows = [title + height + below + EDGE] * -(-len(panels) // columns)
    page = Page(heading, [EDGE, *rows, BAR_ROW], footer)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        place = EDGE + left + (width + GAP) * column
        axes = page.axes(1 + row, place, width, height, title, projection=where.crs)
        draw(axes, panel, where, labelled)
    bars(page, 1 + len(rows), [panel.look for panel in panels], units)
    return page


def bars(page: Page, row: int, looks: Sequence[Look], units: Sequence[str]) -> None:
    """Draw the bar of each look beside the others."""
    apart = list({id(look): look for look in looks}.values())
    room = (WIDTH - 2 * EDGE) / len(apart)
    for number, (look, unit) in enumerate(zip(apart, units, strict=True)):
        left = EDGE + room * number + ENDS
        bar(page, page.axes(row, left, room - 2 * ENDS, BAR, EDGE), look, unit)


def draw(axes: Any, panel: Panel, where: Sheet, labels: bool) -> None:
    """Draw one map."""
    frame(axes, where)
    look = panel.look
    axes.imshow(
        panel.values, extent=where.extent, origin="upper", cmap=look.colours, norm=look.norm,
        interpolation="none", transform=where.crs, zorder=1,
    )  # fmt: skip
    shade(axes, where, np.isfinite(panel.values))
    if look.signed:
        lines(axes, panel.values, look, where)
    axes.add_collection(
        collections.LineCollection(coast_on(where), colors="black", linewidths=0.5, zorder=4)
    )
    degrees(axes, where, labels)
    if panel.also:
        panel.also(axes)
    if panel.title:
        axes.set_title(panel.title, pad=3, parse_math=False)


def frame(axes: Any, where: Sheet) -> None:
    """Give a map its edges: those of its domain; a polar cap is a disc."""
    west, east, south, north = where.extent
    axes.set_aspect("auto")
    axes.set_facecolor("white")
    axes.set_xlim(west, east)
    axes.set_ylim(south, north)
    if where.round:
        angle = np.linspace(0, 2 * np.pi, 361)
        disc = np.stack([np.cos(angle), np.sin(angle)], axis=-1) * east
        axes.set_boundary(Outline(disc, closed=True), transform=axes.transData)
    elif not where.whole:
        axes.set_boundary(Outline(where.outline(), closed=True), transform=axes.transData)


def shade(axes: Any, where: Sheet, known: NDArray[np.bool_]) -> None:
    """Lay a faint relief over a map, lit from the northwest, in units of its own steepness."""
    height = smoothly(where, bundled()["topography"])
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
    tint[..., 3] = RELIEF * np.abs(light)
    axes.imshow(tint, extent=where.extent, origin="upper", transform=where.crs, zorder=2)


def lines(axes: Any, values: Array, look: Look, where: Sheet) -> None:
    """Draw lines of equal value, dashed below zero, so that the sign is seen without colour."""
    levels = [level for level in look.steps(8) if look.low < level < look.high and level != 0]
    if levels and np.isfinite(values).any():
        axes.contour(
            *where.centres(), smooth(values, where), levels=levels, colors="0.2", linewidths=0.5,
            zorder=3,
        )  # fmt: skip


def smooth(values: Array, where: Sheet) -> Any:
    """Return values without cells' corners, nor details too small for a line."""
    known = np.isfinite(values)
    cell = where.lat.shape[1] / len(where.grid.lon)
    width = max(cell, SMOOTH * where.lat.shape[1])
    total, share = (
        ndimage.gaussian_filter(part, width, mode="nearest")
        for part in (np.where(known, values, 0.0), known.astype(float))
    )
    return np.ma.masked_where(~known, total / np.maximum(share, 1e-9))


def degrees(axes: Any, where: Sheet, labels: bool) -> None:
    """Draw a few parallels and meridians; a single map of a region says which they are."""
    lat, lon = round_steps(where.grid.lat_edges, 4), round_steps(where.grid.lon_edges, 4)
    if where.whole or where.round:
        lat, lon = [-60.0, -30.0, 0.0, 30.0, 60.0], [60.0 * each for each in range(-3, 3)]
    axes.gridlines(
        crs=ccrs.PlateCarree(), linewidth=0.4, color="0.4", alpha=0.6, zorder=3,
        xlocs=[turn(each) for each in lon], ylocs=lat,
    )  # fmt: skip
    if labels:
        west, _, south, _ = ends(where.grid)
        for each in lat:
            label(axes, where, (west, each), said(each, "NS"), (-4, 0), ("right", "center"))
        for each in lon:
            label(axes, where, (each, south), said(turn(each), "EW"), (0, -4), ("center", "top"))


def said(degree: float, sides: str) -> str:
    """Write a latitude or longitude.

    Example:
        >>> said(-20.0, "NS"), said(180.0, "EW")
        ('20°S', '180°')
    """
    side = "" if abs(degree) in (0, 180) else sides[degree < 0]
    return f"{abs(degree):g}°{side}"


def label(
    axes: Any,
    where: Sheet,
    at: tuple[float, float],
    word: str,
    off: tuple[int, int],
    aligned: tuple[str, str],
) -> None:
    """Write a word beside a longitude and latitude."""
    place = projected(where.crs, where.grid, np.array([at[0]]), np.array([at[1]]))[0]
    if place[0] > where.extent[1] - OFF * where.size[0]:
        return  # half of it would lie beyond the page
    axes.annotate(
        word, place, off, textcoords="offset points",
        ha=aligned[0], va=aligned[1], annotation_clip=False,
    )  # fmt: skip


def round_steps(edges: Array, most: int) -> list[float]:
    """Return at most so many round degrees within an axis.

    Example:
        >>> round_steps(np.array([-30.0, 30.0]), 4)
        [-20.0, 0.0, 20.0]
    """
    low, high = float(edges[0]), float(edges[-1])
    for step in STEPS:
        first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
        if last - first < most:
            break
    return [step * each for each in range(first, last + 1)]


def bar(page: Page, axes: Any, look: Look, unit: str) -> None:
    """Draw the bar of a look with its unit."""
    shown = mpl.cm.ScalarMappable(look.norm, look.colours)
    drawn = page.figure.colorbar(
        shown, cax=axes, orientation="horizontal", extend=look.extend, ticks=look.steps(4)
    )
    drawn.set_label(unit, parse_math=False)
    drawn.ax.tick_params(pad=2)
