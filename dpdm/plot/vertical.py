"""Pictures with height: profiles at a place or over an area, and sections through the air.

Pressure falls upwards on a logarithmic axis, as it does with height. Without a date all steps are
taken together: values are their mean, errors and spreads the roots of their mean squares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.alignment import match_times
from dpdm.evaluate.scores import area_weights
from dpdm.fields.grid import Array
from dpdm.fields.levels import LEVEL_DIM
from dpdm.plot import data
from dpdm.plot.data import PlotData, PlotVariable, find_date, find_matching_step
from dpdm.plot.graphs import CENTRE_STYLE, PERCENTILE_BANDS, TRUTH_STYLE, cut_field, shared_grid
from dpdm.plot.kinds import difference_unit
from dpdm.plot.locations import PlotPoint, find_point, interpolate_parallel, interpolate_point
from dpdm.plot.map_axes import format_degree, graticule_steps
from dpdm.plot.page import (
    LINE_HEIGHT,
    PAGE_MARGIN,
    PAGE_WIDTH,
    ColourScale,
    Page,
    make_colour_scale,
    mpl,
    ticker,
)
from dpdm.plot.projection import wrap_longitude

HPA = 100.0
ROUND_LEVELS = (1000, 850, 700, 500, 300, 200, 100, 50, 30, 20, 10, 5, 2, 1)  # hPa
LABEL_GAP = 0.22  # inches between labels


class VerticalData(NamedTuple):
    """What is drawn of a variable, at the chosen steps, each (..., level) and what `near` leaves.

    Attributes:
        source: The variable.
        fields: By title: the mean, the background, the truth, as far as there are any.
        members: The ensemble, if the file holds it.
        errors: Mean and background less the truth, by the titles of the fields.
        spread: The standard deviation over the members.
        date: The steps in words.
    """

    source: PlotVariable
    fields: dict[str, xr.DataArray]
    members: xr.DataArray | None
    errors: dict[str, xr.DataArray]
    spread: xr.DataArray | None
    date: str


def gather_vertical(view: PlotData, near: Callable[[xr.DataArray], xr.DataArray]) -> VerticalData:
    """Gather what is to be drawn.

    Args:
        view: The files.
        near: What becomes of fields (..., lat, lon): their values at a point, for example. It is
            linear, and taken before squares are.
    """
    source = view.source
    if LEVEL_DIM not in source.full_array.dims:
        raise DpdmError(
            f"{source.path} has {source.name} at one level.", "Draw a map of it: --kind map."
        )
    files = {source.mean_label: source, "background": view.background, "truth": view.truth}
    known = {title: file for title, file in files.items() if file is not None}
    fields = {title: select_plot_steps(view, file, file.mean) for title, file in known.items()}
    truth = view.truth
    errors = {
        title: near(subtract_truth(known[title], field, truth, fields["truth"]))
        for title, field in fields.items()
        if truth is not None and title != "truth"
    }
    drawn = {title: near(field) for title, field in fields.items()}
    members = (
        near(select_plot_steps(view, source, source.full_array)) if source.count > 1 else None
    )
    return VerticalData(
        source, drawn, members, errors, read_spread(view, members, near), steps_drawn(view)
    )


def read_spread(
    view: PlotData, members: xr.DataArray | None, near: Callable[[xr.DataArray], xr.DataArray]
) -> xr.DataArray | None:
    """Return the standard deviation over the members, or what the file keeps of it."""
    if members is not None:
        return members.std("realization", ddof=1, skipna=False)
    kept = view.source.spread
    return None if kept is None else near(select_plot_steps(view, view.source, kept))


def select_plot_steps(view: PlotData, file: PlotVariable, array: xr.DataArray) -> xr.DataArray:
    """Return the step of a date that is asked for, or all steps."""
    if not view.options.time or "time" not in array.dims:
        return array
    step, _ = find_date(view.source, view.options.time)
    step = step if file is view.source else find_matching_step(file, view.source, step)
    return array.isel(time=[step])


def steps_drawn(view: PlotData) -> str:
    """Say which steps are drawn."""
    source = view.source
    if view.options.time or "time" not in source.full_array.dims:
        return find_date(source, view.options.time)[1]
    pace = data.time_resolution(source.time)
    ends = [data.format_date(source.time[step], pace) for step in (0, -1)]
    return " to ".join(dict.fromkeys(ends))


def subtract_truth(
    file: PlotVariable, field: xr.DataArray, true: PlotVariable, truth: xr.DataArray
) -> xr.DataArray:
    """Return field minus truth where both are: at the same cells, steps and levels."""
    grid = shared_grid(file, true)
    pair = {
        "forecast": cut_field(grid, field, "forecast"),
        "truth": cut_field(grid, truth, "truth"),
    }
    if all("time" in fields.dims for fields in pair.values()):
        pair = match_times(pair)
    apart = pair["forecast"]["field"] - pair["truth"]["field"]
    if not apart.sizes[LEVEL_DIM]:
        raise DpdmError(
            f"{file.path} and {true.path} share no level.", "Bring both to the same levels."
        )
    return apart


def mean_over_area(array: xr.DataArray) -> xr.DataArray:
    """Return the mean over the area, if there is one, and over all steps."""
    area = "lat" in array.dims
    return mean_over_time(
        array.weighted(area_weights(array)).mean(("lat", "lon")) if area else array
    )


def mean_over_time(array: xr.DataArray) -> xr.DataArray:
    """Return the mean over all steps."""
    return mean_of_finite(array, "time") if "time" in array.dims else array


def mean_of_finite(array: xr.DataArray, dim: str) -> xr.DataArray:
    """Return the mean of what is there, NaN where nothing is."""
    alike = xr.DataArray(np.ones(array.sizes[dim]), dims=dim)
    return array.weighted(alike).mean(dim)


def root_mean_square(array: xr.DataArray) -> Array:
    """Return the root of the mean square (level,)."""
    values: Array = np.sqrt(mean_over_area(array**2).values)
    return values


def keep_field(array: xr.DataArray) -> xr.DataArray:
    """Return fields as they are."""
    return array


def axis_heights(array: xr.DataArray) -> Array:
    """Return the levels as they are drawn: hPa, or m."""
    scale = 1 / HPA if array[LEVEL_DIM].attrs.get("units", "Pa") == "Pa" else 1.0
    values: Array = array[LEVEL_DIM].values * scale
    return values


def orient_height_axis(
    axes: Any, array: xr.DataArray, edges: Sequence[float] | Array, high: float
) -> None:
    """Let an axis rise with height, labelled at round levels that have room.

    Args:
        axes: The graph.
        array: What is drawn.
        edges: The levels, or their edges, of which the outermost bound the axis.
        high: The height of the graph, inches.
    """
    pressure = array[LEVEL_DIM].attrs.get("units", "Pa") == "Pa"
    low, top = float(np.min(edges)), float(np.max(edges))
    axes.set_ylabel("hPa" if pressure else "m")
    if not pressure:
        axes.set_ylim(low, top)
        return
    axes.set_yscale("log")
    axes.set_ylim(top, low)
    axes.yaxis.set_major_locator(ticker.FixedLocator(level_labels(low, top, high)))
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def level_labels(low: float, top: float, high: float) -> list[float]:
    """Return round pressures within the ends of an axis that stand far enough apart.

    Example:
        >>> level_labels(100.0, 1000.0, 2.0), level_labels(100.0, 1000.0, 1.0)
        ([1000, 700, 500, 300, 200, 100], [1000, 500, 300, 100])
    """
    kept: list[float] = []
    inch = high / np.log(top / low)
    for level in ROUND_LEVELS:
        if low <= level <= top and (not kept or inch * np.log(kept[-1] / level) >= LABEL_GAP):
            kept.append(level)
    return kept


def requested_point(view: PlotData) -> PlotPoint | None:
    """Return the point that is asked for, if there is one."""
    return find_point(view.options, view.source) if view.options.at else None


def error_unit(source: PlotVariable) -> str:
    """Return the unit of a difference."""
    return difference_unit(source.units)


HIGH, LEFT, GAP, BELOW = 2.6, 0.76, 0.3, 0.5  # inches
VALUES_SHARE = 0.6  # of the width, for the values
MAX_MEMBER_LINES = 10  # members that are drawn one by one
LEGEND_LINE_HEIGHT = 0.24  # inches a line of the legend
BACKGROUND_STYLE = dict(color="black", linewidth=1.2, linestyle="--", zorder=3)
SPREAD_STYLE = dict(color="0.6", linewidth=3.0, zorder=2)


def draw_profile(view: PlotData) -> Page:
    """Draw values with height at a point or over the area, and error and spread beside them."""
    at = requested_point(view)
    found = gather_vertical(
        view, (lambda array: interpolate_point(array, at)) if at else keep_field
    )
    where = at.label if at else "mean over the area"
    two = bool(found.errors) or found.spread is not None
    room = PAGE_WIDTH - LEFT - 2 * PAGE_MARGIN
    left = VALUES_SHARE * (room - GAP) if two else room
    page = Page(
        view.heading(where, found.date),
        [LINE_HEIGHT, HIGH + BELOW + 3 * LEGEND_LINE_HEIGHT],
        view.footer,
    )
    axes = page.axes(1, LEFT, left, HIGH)
    draw_values(axes, found)
    drawn = [axes]
    if two:
        drawn.append(page.axes(1, LEFT + left + GAP, room - GAP - left, HIGH))
        draw_errors(drawn[1], found)
    for each in drawn:
        each.spines[["top", "right"]].set_visible(False)
        orient_height_axis(
            each, found.source.full_array, axis_heights(found.source.full_array), HIGH
        )
    for each in drawn[1:]:
        each.set_ylabel("")
        each.tick_params(labelleft=False)
    add_shared_legend(drawn)
    return page


def draw_values(axes: Any, found: VerticalData) -> None:
    """Draw members, mean, background and truth."""
    if found.members is not None:
        members = mean_over_area(found.members).transpose("realization", ...)
        draw_profile_members(axes, members.values, axis_heights(members))
    styles = {"background": BACKGROUND_STYLE, "truth": TRUTH_STYLE}
    for title, field in found.fields.items():
        style = styles.get(title, CENTRE_STYLE)
        axes.plot(mean_over_area(field).values, axis_heights(field), label=title, **style)
    axes.set_xlabel(found.source.units, parse_math=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(3))


def draw_profile_members(axes: Any, members: Array, levels: Array) -> None:
    """Draw a few members (M, level) as thin lines, or many as bands that hold a share of them."""
    if len(members) < MAX_MEMBER_LINES:
        for number, member in enumerate(members):
            label = "members" if number == 0 else None
            axes.plot(member, levels, color="0.6", linewidth=0.6, zorder=1, label=label)
        return
    for label, (low, high, grey) in PERCENTILE_BANDS.items():
        ends = np.percentile(members, (low, high), axis=0)
        axes.fill_betweenx(levels, *ends, color=grey, linewidth=0, label=label)


def draw_errors(axes: Any, found: VerticalData) -> None:
    """Draw the root mean square of errors and spread."""
    for title, error in found.errors.items():
        style = BACKGROUND_STYLE if title == "background" else CENTRE_STYLE
        axes.plot(root_mean_square(error), axis_heights(error), **style)
    if found.spread is not None:
        axes.plot(
            root_mean_square(found.spread),
            axis_heights(found.spread),
            label="spread",
            **SPREAD_STYLE,
        )
    axes.set_xlim(left=0)
    axes.set_title("rms error" if found.errors else "spread", pad=3)
    axes.set_xlabel(error_unit(found.source), parse_math=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(2))


def add_shared_legend(drawn: list[Any]) -> None:
    """Put one legend under all graphs."""
    pairs = [
        pair for axes in drawn for pair in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    wide = drawn[0].get_position().width * PAGE_WIDTH
    lower = -(BELOW + 0.02) / HIGH
    drawn[0].legend(
        *zip(*pairs, strict=True), loc="upper left", ncols=2, frameon=False,
        bbox_to_anchor=((PAGE_MARGIN - LEFT) / wide, lower), handlelength=1.4, handletextpad=0.4,
        columnspacing=0.9, borderaxespad=0.0, borderpad=0.0, labelspacing=0.3,
    )  # fmt: skip


SECTION_HEIGHT, SECTION_LEFT, SECTION_GAP, SECTION_BELOW = 1.5, 0.76, 0.12, 0.28  # inches
BAR, NUMBERS_WIDTH = 0.1, 0.52  # inches: how wide a bar is, and its numbers


class SectionPanel(NamedTuple):
    """One panel.

    Attributes:
        title: A few words and the unit.
        values: (level, x).
        colour_scale: Its colours.
        has_contours: Whether lines of equal value are drawn.
    """

    title: str
    values: xr.DataArray
    colour_scale: ColourScale
    has_contours: bool = True


def draw_section(view: PlotData) -> Page:
    """Draw mean, errors and spread over latitude and pressure, or along a parallel."""
    at = requested_point(view)
    found = gather_vertical(
        view, (lambda array: interpolate_parallel(array, at)) if at else keep_field
    )
    where = f"along {format_degree(at.lat, 'NS')}" if at else "zonal mean"
    cuts = section_panels(found)
    rows = [LINE_HEIGHT + SECTION_HEIGHT + SECTION_GAP] * len(cuts)
    page = Page(view.heading(where, found.date), [PAGE_MARGIN, *rows, SECTION_BELOW], view.footer)
    width = PAGE_WIDTH - SECTION_LEFT - SECTION_GAP - BAR - NUMBERS_WIDTH - PAGE_MARGIN
    for number, each in enumerate(cuts, 1):
        axes = page.axes(number, SECTION_LEFT, width, SECTION_HEIGHT, LINE_HEIGHT)
        draw_section_panel(axes, each)
        label_sides(axes, each.values, number == len(cuts))
        axes.set_title(each.title, pad=3, parse_math=False)
        draw_side_bar(
            page,
            page.axes(
                number, SECTION_LEFT + width + SECTION_GAP, BAR, SECTION_HEIGHT, LINE_HEIGHT
            ),
            each.colour_scale,
        )
    return page


def section_panels(found: VerticalData) -> list[SectionPanel]:
    """Return what is drawn: the mean, errors on one scale, and the spread."""
    source, unit = found.source, error_unit(found.source)
    values = section_mean(found.fields[source.mean_label])
    errors = {title: section_mean(error) for title, error in found.errors.items()}
    out = [
        SectionPanel(
            f"{source.mean_label}, {source.units}",
            values,
            make_colour_scale(source.name, [values.values]),
        )
    ]
    if errors:
        scale = make_colour_scale("difference", [error.values for error in errors.values()])
        out += [SectionPanel(f"error of {t}, {unit}", error, scale) for t, error in errors.items()]
    if found.spread is not None:
        wide = section_mean(found.spread**2) ** 0.5
        out.append(
            SectionPanel(
                f"spread, {unit}", wide, make_colour_scale("spread", [wide.values]), False
            )
        )
    return out


def section_mean(array: xr.DataArray) -> xr.DataArray:
    """Return the mean of all steps, (level, lat) of each parallel's mean, or (level, lon)."""
    flat = mean_of_finite(array, "lon") if "lat" in array.dims else array
    return mean_over_time(flat).transpose(LEVEL_DIM, ...).compute()


def draw_section_panel(axes: Any, cut: SectionPanel) -> None:
    """Draw the cells of a panel, and lines of equal value, dashed below zero."""
    axes.set_facecolor("0.8")  # below the ground, where nothing is
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
    found: Array = np.r_[2 * centres[0] - middle[0], middle, 2 * centres[-1] - middle[-1]]
    return found


def level_edges(array: xr.DataArray) -> Array:
    """Return the edges of levels: half way on the axis, which knows pressure by its logarithm."""
    levels = axis_heights(array)
    if array[LEVEL_DIM].attrs.get("units", "Pa") != "Pa":
        return section_edges(levels)
    found: Array = np.exp(section_edges(np.log(levels)))
    return found


def label_sides(axes: Any, array: xr.DataArray, last: bool) -> None:
    """Label both axes; the lowest panel says for all where they are."""
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


def draw_side_bar(page: Page, axes: Any, look: ColourScale) -> None:
    """Draw the bar of a look at a panel's right."""
    shown = mpl.cm.ScalarMappable(look.norm, look.colours)
    page.figure.colorbar(shown, cax=axes, extend=look.extend, ticks=look.round_values(4))
    axes.tick_params(pad=2)
