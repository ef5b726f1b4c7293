"""Draw vertical profiles at a point or over an area, and gather what profiles and sections show.

Pressure decreases upwards on a logarithmic axis. Without a date, values are means over all steps,
errors and spreads root mean squares.
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
from dpdm.plot.data import PlotData, PlotVariable, cut_field, difference_unit, shared_grid
from dpdm.plot.locations import PlotPoint, find_point, interpolate_point
from dpdm.plot.page import (
    CENTRE_STYLE,
    LINE_HEIGHT,
    MIN_BAND_MEMBERS,
    PAGE_MARGIN,
    PERCENTILE_BANDS,
    TRUTH_STYLE,
    Page,
    ticker,
)
from dpdm.plot.steps import find_date, find_matching_step, format_date, time_resolution

Reduction = Callable[[xr.DataArray], xr.DataArray]  # of fields (..., lat, lon)
HPA = 100.0
ROUND_LEVELS = (1000, 850, 700, 500, 300, 200, 100, 50, 30, 20, 10, 5, 2, 1)  # hPa
LABEL_GAP = 0.22  # inches between labels


class VerticalData(NamedTuple):
    """The arrays (..., level) of a picture, at the selected steps.

    Attributes:
        source: The variable.
        fields: Available fields by title: mean, background, truth.
        members: The ensemble, if available.
        errors: Mean and background minus truth, by title.
        spread: The standard deviation over the members.
        date: The steps as text.
    """

    source: PlotVariable
    fields: dict[str, xr.DataArray]
    members: xr.DataArray | None
    errors: dict[str, xr.DataArray]
    spread: xr.DataArray | None
    date: str


def gather_vertical(data: PlotData, reduce: Reduction) -> VerticalData:
    """Return the arrays of a picture.

    Args:
        data: The files.
        reduce: Linear reduction, such as interpolation to a point.
    """
    source = data.source
    if LEVEL_DIM not in source.full_array.dims:
        raise DpdmError(
            f"{source.path} has {source.name} on a single level.", "Draw a map with --kind map."
        )
    files = {source.mean_label: source, "background": data.background, "truth": data.truth}
    known = {title: file for title, file in files.items() if file is not None}
    fields = {title: select_plot_steps(data, file, file.mean) for title, file in known.items()}
    truth = data.truth
    errors = {
        title: reduce(subtract_truth(known[title], field, truth, fields["truth"]))
        for title, field in fields.items()
        if truth is not None and title != "truth"
    }
    reduced = {title: reduce(field) for title, field in fields.items()}
    members = (
        reduce(select_plot_steps(data, source, source.full_array)) if source.count > 1 else None
    )
    return VerticalData(
        source, reduced, members, errors, read_spread(data, members, reduce), steps_drawn(data)
    )


def read_spread(
    data: PlotData, members: xr.DataArray | None, reduce: Reduction
) -> xr.DataArray | None:
    """Return the standard deviation over the members, or the spread in the file."""
    if members is not None:
        return members.std("realization", ddof=1, skipna=False)
    stored = data.source.spread
    return None if stored is None else reduce(select_plot_steps(data, data.source, stored))


def select_plot_steps(data: PlotData, file: PlotVariable, array: xr.DataArray) -> xr.DataArray:
    """Return the step of the selected date, or all steps."""
    if not data.options.time or "time" not in array.dims:
        return array
    step, _ = find_date(data.source, data.options.time)
    step = step if file is data.source else find_matching_step(file, data.source, step)
    return array.isel(time=[step])


def steps_drawn(data: PlotData) -> str:
    """Return the dates of the picture as text."""
    source = data.source
    if data.options.time or "time" not in source.full_array.dims:
        return find_date(source, data.options.time)[1]
    period = time_resolution(source.time)
    ends = [format_date(source.time[step], period) for step in (0, -1)]
    return " to ".join(dict.fromkeys(ends))


def subtract_truth(
    file: PlotVariable, field: xr.DataArray, true: PlotVariable, truth: xr.DataArray
) -> xr.DataArray:
    """Return field minus truth at their common cells, steps and levels."""
    grid = shared_grid(file, true)
    pair = {
        "forecast": cut_field(grid, field, "forecast"),
        "truth": cut_field(grid, truth, "truth"),
    }
    if all("time" in fields.dims for fields in pair.values()):
        pair = match_times(pair)
    error = pair["forecast"]["field"] - pair["truth"]["field"]
    if not error.sizes[LEVEL_DIM]:
        raise DpdmError(
            f"{file.path} and {true.path} share no level.",
            "Interpolate one of them to the levels of the other.",
        )
    return error


def mean_over_area(array: xr.DataArray) -> xr.DataArray:
    """Return the mean over time, and over the area of fields."""
    if "lat" in array.dims:
        array = array.weighted(area_weights(array)).mean(("lat", "lon"))
    return mean_over_time(array)


def mean_over_time(array: xr.DataArray) -> xr.DataArray:
    """Return the mean over all steps."""
    return mean_of_finite(array, "time") if "time" in array.dims else array


def mean_of_finite(array: xr.DataArray, dim: str) -> xr.DataArray:
    """Return the mean of finite values, NaN without any."""
    return array.weighted(xr.DataArray(np.ones(array.sizes[dim]), dims=dim)).mean(dim)


def root_mean_square(array: xr.DataArray) -> Array:
    """Return the root mean square (level,)."""
    mean: Array = mean_over_area(array**2).values
    return np.sqrt(mean)


def axis_heights(array: xr.DataArray) -> Array:
    """Return the levels in the units of the axis, hPa or m."""
    scale = 1 / HPA if array[LEVEL_DIM].attrs.get("units", "Pa") == "Pa" else 1.0
    values: Array = array[LEVEL_DIM].values * scale
    return values


def orient_height_axis(
    axes: Any, array: xr.DataArray, edges: Sequence[float] | Array, high: float
) -> None:
    """Set up a vertical axis that increases with height, labelled at round levels.

    Args:
        axes: The graph.
        array: The values.
        edges: The levels or their edges, of which the outermost limit the axis.
        high: Height of the graph, inches.
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
    """Return round pressures within the ends of an axis that leave room for labels.

    Example:
        >>> level_labels(100.0, 1000.0, 2.0), level_labels(100.0, 1000.0, 1.0)
        ([1000, 700, 500, 300, 200, 100], [1000, 500, 300, 100])
    """
    labels: list[float] = []
    scale = high / np.log(top / low)  # inches
    for level in ROUND_LEVELS:
        if low <= level <= top and (not labels or scale * np.log(labels[-1] / level) >= LABEL_GAP):
            labels.append(level)
    return labels


def selected_point(data: PlotData) -> PlotPoint | None:
    """Return the point of --at, if any."""
    options, source = data.options, data.source
    return find_point(options.at, options.points, source.grid, source.path) if options.at else None


HIGH, LEFT, GAP, BELOW = 2.6, 0.76, 0.3, 0.5  # inches
VALUES_SHARE = 0.6  # of the width, of the panel of values
LEGEND_LINE_HEIGHT = 0.24  # inches a line of the legend
BACKGROUND_STYLE = dict(color="black", linewidth=1.2, linestyle="--", zorder=3)
SPREAD_STYLE = dict(color="0.6", linewidth=3.0, zorder=2)


def draw_profile(data: PlotData) -> Page:
    """Draw the profile of values at a point or over the area, and of errors and spread."""
    point = selected_point(data)
    shown = gather_vertical(data, lambda a: interpolate_point(a, point) if point else a)
    label = point.label if point else "mean over the area"
    two = bool(shown.errors) or shown.spread is not None
    room = data.options.form.width - LEFT - 2 * PAGE_MARGIN
    left = VALUES_SHARE * (room - GAP) if two else room
    rows = [LINE_HEIGHT, HIGH + BELOW + 3 * LEGEND_LINE_HEIGHT]
    page = Page(data.heading(label, shown.date), rows, data.footer, data.options.form)
    axes = page.axes(1, LEFT, left, HIGH)
    draw_values(axes, shown)
    panels = [axes]
    if two:
        panels.append(page.axes(1, LEFT + left + GAP, room - GAP - left, HIGH))
        draw_errors(panels[1], shown)
    array = shown.source.full_array
    for each in panels:
        each.spines[["top", "right"]].set_visible(False)
        orient_height_axis(each, array, axis_heights(array), HIGH)
    for each in panels[1:]:
        each.set_ylabel("")
        each.tick_params(labelleft=False)
    add_shared_legend(panels)
    return page


def draw_values(axes: Any, shown: VerticalData) -> None:
    """Draw members, mean, background and truth."""
    if shown.members is not None:
        members = mean_over_area(shown.members).transpose("realization", ...)
        draw_profile_members(axes, members.values, axis_heights(members))
    styles = {"background": BACKGROUND_STYLE, "truth": TRUTH_STYLE}
    for title, field in shown.fields.items():
        style = styles.get(title, CENTRE_STYLE)
        axes.plot(mean_over_area(field).values, axis_heights(field), label=title, **style)
    axes.set_xlabel(shown.source.units, parse_math=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(3))


def draw_profile_members(axes: Any, members: Array, levels: Array) -> None:
    """Draw a few members (M, level) as thin lines, or many as percentile bands."""
    if len(members) < MIN_BAND_MEMBERS:
        for number, member in enumerate(members):
            label = f"{len(members)} members" if number == 0 else None
            axes.plot(member, levels, color="0.6", linewidth=0.6, zorder=1, label=label)
        return
    for label, (low, high, grey) in PERCENTILE_BANDS.items():
        ends = np.percentile(members, (low, high), axis=0)
        axes.fill_betweenx(levels, *ends, color=grey, linewidth=0, label=label)


def draw_errors(axes: Any, shown: VerticalData) -> None:
    """Draw the root mean squares of errors and spread."""
    for title, error in shown.errors.items():
        style = BACKGROUND_STYLE if title == "background" else CENTRE_STYLE
        axes.plot(root_mean_square(error), axis_heights(error), **style)
    if shown.spread is not None:
        spread = shown.spread
        axes.plot(root_mean_square(spread), axis_heights(spread), label="spread", **SPREAD_STYLE)
    axes.set_xlim(left=0)
    axes.set_title("rms error" if shown.errors else "spread", pad=3)
    axes.set_xlabel(difference_unit(shown.source.units), parse_math=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(2))


def add_shared_legend(panels: list[Any]) -> None:
    """Add one legend below all graphs."""
    pairs = [
        pair for axes in panels for pair in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    width = panels[0].get_position().width * panels[0].figure.get_figwidth()
    lower = -(BELOW + 0.02) / HIGH
    panels[0].legend(
        *zip(*pairs, strict=True), loc="upper left", ncols=2, frameon=False,
        bbox_to_anchor=((PAGE_MARGIN - LEFT) / width, lower), handlelength=1.4, handletextpad=0.4,
        columnspacing=0.9, borderaxespad=0.0, borderpad=0.0, labelspacing=0.3,
    )  # fmt: skip
