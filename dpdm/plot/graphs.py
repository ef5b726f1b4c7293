"""Draw graphs: series at a point, rank histograms, spectra."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.alignment import match_times
from dpdm.evaluate.scores import area_weights, rank_histogram, spectrum
from dpdm.fields.grid import Array
from dpdm.fields.regrid import interpolate_bilinear
from dpdm.plot.data import PlotData, PlotVariable, cut_field, shared_grid
from dpdm.plot.locations import PlotPoint, find_point, read_point_values
from dpdm.plot.page import (
    CENTRE_STYLE,
    FONT_SIZE,
    MIN_BAND_MEMBERS,
    PAGE_MARGIN,
    PERCENTILE_BANDS,
    TRUTH_STYLE,
    Page,
    dates,
    text_width,
)

HIGH, LEFT, BELOW = 2.2, 0.72, 0.6  # inches: height of a graph, margins for its labels
LEGEND_LINE, LEGEND_MARK = 0.24, 0.42  # inches: a line of the legend, the mark and gap of an entry
MAX_LEGEND_COLUMNS = 3
STORED_BANDS = (
    ("p5", "p95", "90%", "0.85"),
    ("p10", "p90", "80%", "0.8"),
    ("p25", "p75", "50%", "0.65"),
)
COARSE_STYLE = dict(color="black", linewidth=1.0, linestyle=":", zorder=4)


def make_graph(data: PlotData, words: str, labels: Sequence[str]) -> tuple[Page, Any]:
    """Lay out a page with one graph and a legend of some labels below it."""
    form = data.options.form
    lines = -(-len(labels) // legend_columns(labels, form.width))
    room = HIGH + BELOW + LEGEND_LINE * lines
    page = Page(data.heading(words), [PAGE_MARGIN, room], data.footer, form)
    axes = page.axes(1, LEFT, form.width - LEFT - 2 * PAGE_MARGIN, HIGH)
    axes.spines[["top", "right"]].set_visible(False)
    return page, axes


def widen_left(axes: Any) -> None:
    """Move the left edge of a graph so that the labels of its vertical axis are on the page."""
    short = PAGE_MARGIN / 2 - axes.yaxis.get_tightbbox().x0 / axes.figure.dpi
    if short > 0:
        place, share = axes.get_position(), short / axes.figure.get_figwidth()
        axes.set_position((place.x0 + share, place.y0, place.width - share, place.height))


def legend_columns(labels: Sequence[str], width: float) -> int:
    """Return the number of columns of a legend that fit a page, filled column by column."""
    widths = [text_width(label, FONT_SIZE) / 72 + LEGEND_MARK for label in labels]
    for columns in range(min(MAX_LEGEND_COLUMNS, len(labels)), 1, -1):
        used = [max(column) for column in np.array_split(widths, columns)]
        if sum(used) <= width - 2 * PAGE_MARGIN:
            return columns
    return 1


def add_legend(axes: Any) -> None:
    """Add the legend below the graph, whose vertical axis is given the room that it needs."""
    widen_left(axes)
    labels = axes.get_legend_handles_labels()[1]
    columns = legend_columns(labels, axes.figure.get_figwidth())
    lower = -(BELOW + 0.02) / HIGH
    place, width = axes.get_position(), axes.figure.get_figwidth()
    left = (PAGE_MARGIN / width - place.x0) / place.width
    axes.legend(
        loc="upper left", bbox_to_anchor=(left, lower), ncols=columns, frameon=False,
        handlelength=1.2, handletextpad=0.4, columnspacing=0.9, borderaxespad=0.0, borderpad=0.0,
        labelspacing=0.3,
    )  # fmt: skip


def has_remote_dates(time: xr.DataArray) -> bool:
    """Return whether dates lie outside matplotlib's date axis, the years 1 to 9999."""
    years = time.dt.year.values
    return bool(years.min() < 100 or years.max() > 9900)


def graph_dates(time: xr.DataArray, remote: bool = False) -> list[datetime] | list[float]:
    """Convert dates to those of a graph's axis; 30 February becomes the month's last day.

    Args:
        time: A time axis.
        remote: Whether to return decimal years instead.
    """
    if remote:
        days = time.dt.dayofyear.values - 1 + time.dt.hour.values / 24
        decimal: list[float] = (time.dt.year.values + days / 366).tolist()
        return decimal
    parts = (time.dt.year, time.dt.month, time.dt.day, time.dt.hour)
    rows = zip(*(part.values.tolist() for part in parts), strict=True)
    return [
        datetime(year, month, min(day, calendar.monthrange(year, month)[1]), hour)
        for year, month, day, hour in rows
    ]


def draw_series(data: PlotData) -> Page:
    """Draw the ensemble at a point over time, with truth and coarse field."""
    source = data.source
    remote = has_remote_dates(source.time)
    when = graph_dates(source.time, remote)
    if len(when) < 2:
        raise DpdmError(f"{source.path} has one time, no series.", "Draw a map with --kind map.")
    point = find_point(data.options.at, data.options.points, source.grid, source.path)
    bands = [band.label for band in fan_bands(source)]
    labels = [*bands, fan_centre(source), *["coarse"] * bool(data.coarse)]
    page, axes = make_graph(data, point.label, labels + ["truth"] * bool(data.truth))
    draw_fan(axes, when, source, point)
    for other, label, style in (
        (data.coarse, "coarse", COARSE_STYLE),
        (data.truth, "truth", TRUTH_STYLE),
    ):
        if other is not None:
            stamps = graph_dates(other.time, remote)
            axes.plot(
                stamps, read_point_values(other.mean, point, other.path), label=label, **style
            )
    if remote:
        axes.set_xlabel("year")
    else:
        locator = dates.AutoDateLocator(minticks=3, maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.set_xlim(when[0], when[-1])
    axes.set_ylabel(source.units, parse_math=False)
    add_legend(axes)
    return page


class Band(NamedTuple):
    """A band of an ensemble.

    Attributes:
        label: What it holds.
        ends: Lower and upper percentile, or the names of stored statistics.
        grey: Its grey.
    """

    label: str
    ends: tuple[Any, Any]
    grey: str


def fan_bands(source: PlotVariable) -> list[Band]:
    """Return the bands of an ensemble; of few members the range, which claims no percentage."""
    few = 0 < source.size < MIN_BAND_MEMBERS
    if source.count > 1 and few:
        return [Band(f"range of {source.count} members", (0, 100), "0.8")]
    if source.count > 1:
        return [
            Band(f"{share} of {source.count}", (low, high), grey)
            for share, (low, high, grey) in PERCENTILE_BANDS.items()
        ]
    return [
        Band(f"{low}-{high} of {source.size} members" if few else share, (low, high), grey)
        for low, high, share, grey in STORED_BANDS
        if low in source.statistics and high in source.statistics
    ]


def fan_centre(source: PlotVariable) -> str:
    """Return the label of the line within the bands."""
    return "median" if source.count > 1 else source.mean_label


def draw_fan(axes: Any, when: list[Any], source: PlotVariable, point: PlotPoint) -> None:
    """Draw median and percentile bands of the members, or the statistics in the file."""
    if source.count > 1:
        members = source.members.transpose("realization", "time", ...)
        values = read_point_values(members, point, source.path)
        centre = np.nanmedian(values, axis=0)
    else:
        centre = read_point_values(source.mean, point, source.path)
    for label, ends, grey in fan_bands(source):
        edges = (
            np.nanpercentile(values, ends, axis=0)
            if source.count > 1
            else [read_point_values(source.statistics[end], point, source.path) for end in ends]
        )
        axes.fill_between(when, *edges, color=grey, linewidth=0, label=label)
    axes.plot(when, centre, label=fan_centre(source), **CENTRE_STYLE)


def draw_ranks(data: PlotData) -> Page:
    """Draw the rank histogram of the truth among the members."""
    source, truth = data.source, data.need_truth("rank")
    grid = shared_grid(source, truth)
    pair = {"forecast": source.members, "truth": truth.mean}
    both = match_times({what: cut_field(grid, array, what) for what, array in pair.items()})
    forecast, true = (fields["field"] for fields in both.values())
    share: Array = 100 * rank_histogram(forecast, true, area_weights(true)).mean("time").values
    words = f"rank of the truth, {_period_text(true)}"
    page, axes = make_graph(data, words, ["calibrated"])
    axes.bar(np.arange(share.size), share, color="0.6", edgecolor="black", linewidth=0.6, width=1)
    axes.axhline(100 / share.size, color="black", linewidth=1, linestyle="--", label="calibrated")
    axes.set_xlabel(f"members below the truth, of {source.count}")
    axes.set_ylabel("share of the area, %")
    axes.set_xlim(-0.5, share.size - 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    add_legend(axes)
    return page


def _period_text(truth: xr.DataArray) -> str:
    """Return the first and the last month as text."""
    if truth["time"].dtype.kind not in "MO":
        return ""
    ends = [str(stamp.dt.strftime("%Y-%m").item()) for stamp in truth["time"][[0, -1]]]
    return " to ".join(dict.fromkeys(ends))


def draw_spectrum(data: PlotData) -> Page:
    """Draw the spectra of members, mean, truth and coarse field."""
    source, truth = data.source, data.truth
    grid = shared_grid(source, truth)
    labels = ["members"] * (source.count > 1) + [source.mean_label]
    labels += ["truth"] * bool(truth) + ["coarse, lerp"] * bool(data.coarse)
    page, axes = make_graph(data, "variance at each scale", labels)
    if source.count > 1:
        members = mean_spectrum(cut_field(grid, source.members, "forecast"))
        axes.plot(*members, color="0.6", linewidth=3, label="members")
    axes.plot(
        *mean_spectrum(cut_field(grid, source.mean, "forecast")),
        label=source.mean_label,
        **CENTRE_STYLE,
    )
    if truth:
        true = mean_spectrum(cut_field(grid, truth.mean, "truth"))
        axes.plot(*true, color="black", linewidth=1, label="truth")
    if data.coarse:
        rough = interpolate_bilinear(data.coarse.mean.to_dataset(name="field"), grid)
        axes.plot(*mean_spectrum(rough), label="coarse, lerp", **COARSE_STYLE)
    lowest = min(float(np.nanmin(line.get_ydata())) for line in axes.lines[:2])
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(bottom=lowest / 10)  # interpolation has little at small scales
    axes.invert_xaxis()
    axes.set_xlabel(f"wavelength, cells of {grid.spacing[0]:.3g}°")
    axes.set_ylabel(f"variance, ({source.units.replace('°C', 'K')})²", parse_math=False)
    add_legend(axes)
    return page


def mean_spectrum(fields: xr.Dataset) -> tuple[Array, Array]:
    """Return wavelengths in cells and the variance there, averaged over times and members."""
    power = spectrum(fields["field"])
    power = power.mean([dim for dim in power.dims if dim != "wavenumber"])
    return 2.0 / power["wavenumber"].values, power.values
