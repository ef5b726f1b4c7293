"""Draw vertical sections: zonal means, or values along a parallel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dpdm.fields.grid import Array
from dpdm.fields.levels import LEVEL_DIM
from dpdm.plot.data import PlotData, difference_unit
from dpdm.plot.graticule import format_degree, graticule_steps
from dpdm.plot.locations import interpolate_parallel
from dpdm.plot.page import LINE_HEIGHT, PAGE_MARGIN, Page, mpl, ticker
from dpdm.plot.projection import wrap_longitude
from dpdm.plot.scales import ColourScale, ScaleChoice, bar_ticks, make_colour_scale
from dpdm.plot.vertical import (
    VerticalData,
    axis_heights,
    gather_vertical,
    mean_of_finite,
    mean_over_time,
    orient_height_axis,
    selected_point,
)

SECTION_HEIGHT, SECTION_LEFT, SECTION_GAP, SECTION_BELOW = 1.5, 0.76, 0.12, 0.28  # inches
BAR, NUMBERS_WIDTH = 0.1, 0.62  # inches: width of a colour bar and of its labels


class SectionPanel(NamedTuple):
    """One panel of a section.

    Attributes:
        title: A short title and the unit.
        values: Values (level, x).
        colour_scale: Its colours.
        has_contours: Whether contours are drawn.
    """

    title: str
    values: xr.DataArray
    colour_scale: ColourScale
    has_contours: bool = True


def draw_section(data: PlotData) -> Page:
    """Draw zonal means of the mean, errors and spread, or their sections along a parallel."""
    point = selected_point(data)
    shown = gather_vertical(
        data,
        (lambda array: interpolate_parallel(array, point)) if point else (lambda array: array),
    )
    label = f"along {format_degree(point.lat, 'NS')}" if point else "zonal mean"
    panels = section_panels(shown, data.options.colours)
    rows = [LINE_HEIGHT + SECTION_HEIGHT + SECTION_GAP] * len(panels)
    form = data.options.form
    page = Page(
        data.heading(label, shown.date), [PAGE_MARGIN, *rows, SECTION_BELOW], data.footer, form
    )
    width = form.width - SECTION_LEFT - SECTION_GAP - BAR - NUMBERS_WIDTH - PAGE_MARGIN
    for number, each in enumerate(panels, 1):
        axes = page.axes(number, SECTION_LEFT, width, SECTION_HEIGHT, LINE_HEIGHT)
        draw_section_panel(axes, each)
        label_sides(axes, each.values, number == len(panels))
        axes.set_title(each.title, pad=3, parse_math=False)
        draw_side_bar(
            page,
            page.axes(
                number, SECTION_LEFT + width + SECTION_GAP, BAR, SECTION_HEIGHT, LINE_HEIGHT
            ),
            each.colour_scale,
        )
    return page


def section_panels(shown: VerticalData, choice: ScaleChoice) -> list[SectionPanel]:
    """Return the panels: the mean, errors on one scale, and the spread."""
    source, unit = shown.source, difference_unit(shown.source.units)
    values = section_mean(shown.fields[source.mean_label])
    errors = {title: section_mean(error) for title, error in shown.errors.items()}
    panels = [
        SectionPanel(
            f"{source.mean_label}, {source.units}",
            values,
            make_colour_scale(source.name, [values.values], choice),
        )
    ]
    if errors:
        scale = make_colour_scale("difference", [error.values for error in errors.values()])
        panels += [
            SectionPanel(f"error of {t}, {unit}", error, scale) for t, error in errors.items()
        ]
    if shown.spread is not None:
        spread = section_mean(shown.spread**2) ** 0.5
        scale = make_colour_scale("spread", [spread.values])
        panels.append(SectionPanel(f"spread, {unit}", spread, scale, has_contours=False))
    return panels


def section_mean(array: xr.DataArray) -> xr.DataArray:
    """Return the time mean of zonal means (level, lat), or of a parallel (level, lon)."""
    flat = mean_of_finite(array, "lon") if "lat" in array.dims else array
    return mean_over_time(flat).transpose(LEVEL_DIM, ...).compute()


def draw_section_panel(axes: Any, cut: SectionPanel) -> None:
    """Draw the cells of a panel, and contours, dashed below zero."""
    axes.set_facecolor("0.8")  # below ground
    x, y = cut.values[cut.values.dims[1]].values, axis_heights(cut.values)
    axes.pcolormesh(
        section_edges(x), level_edges(cut.values), cut.values.values,
        cmap=cut.colour_scale.colours, norm=cut.colour_scale.norm,
        rasterized=True,
    )  # fmt: skip
    levels = [
        v
        for v in cut.colour_scale.round_values(8)
        if v != 0 and cut.colour_scale.low < v < cut.colour_scale.high
    ]
    if cut.has_contours and levels and min(cut.values.shape) > 1:
        axes.contour(x, y, cut.values.values, levels=levels, colors="0.2", linewidths=0.5)


def section_edges(centres: Array) -> Array:
    """Return the edges of cells around centres; the outermost are as wide as their neighbours."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    edges: Array = np.r_[2 * centres[0] - middle[0], middle, 2 * centres[-1] - middle[-1]]
    return edges


def level_edges(array: xr.DataArray) -> Array:
    """Return the edges of levels, halfway on the axis, which is logarithmic in pressure."""
    levels = axis_heights(array)
    if array[LEVEL_DIM].attrs.get("units", "Pa") != "Pa":
        return section_edges(levels)
    edges: Array = np.exp(section_edges(np.log(levels)))
    return edges


def label_sides(axes: Any, array: xr.DataArray, last: bool) -> None:
    """Label both axes, the horizontal one at the lowest panel only."""
    orient_height_axis(axes, array, level_edges(array), SECTION_HEIGHT)
    along = str(array.dims[1])
    ends = section_edges(array[along].values)
    steps = graticule_steps(ends, 4)
    axes.xaxis.set_major_locator(ticker.FixedLocator(steps))
    words = [
        format_degree(wrap_longitude(each), "EW") if along == "lon" else format_degree(each, "NS")
        for each in steps
    ]
    axes.xaxis.set_major_formatter(ticker.FixedFormatter(words))
    axes.tick_params(labelbottom=last)


def draw_side_bar(page: Page, axes: Any, scale: ColourScale) -> None:
    """Draw the bar of a colour scale at the right of a panel."""
    ticks = bar_ticks(scale, SECTION_HEIGHT, LINE_HEIGHT / 2, upright=True)
    mappable = mpl.cm.ScalarMappable(scale.norm, scale.colours)
    bar = page.figure.colorbar(mappable, cax=axes, extend=scale.extend)
    ticks.write(bar)
    axes.set_title(ticks.power, pad=3, loc="left")
