"""The pictures that are no maps: series at a point, rank histogram, spectrum."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.alignment import match_times
from dpdm.evaluate.scores import area_weights, rank_histogram
from dpdm.evaluate.spectra import spectrum
from dpdm.fields.grid import Array, Grid
from dpdm.fields.regrid import interpolate_bilinear
from dpdm.fields.subset import cut_to_grid
from dpdm.plot import data
from dpdm.plot.data import PlotData, PlotVariable
from dpdm.plot.locations import PlotPoint, find_point, read_point_values
from dpdm.plot.page import PAGE_MARGIN, PAGE_WIDTH, Page, dates

HIGH, LEFT, BELOW = 2.2, 0.72, 0.6  # inches: of a graph, and of the words beside and under it
PERCENTILE_BANDS = {"90%": (5, 95, "0.85"), "50%": (25, 75, "0.65")}
STORED_BANDS = (
    ("p5", "p95", "90%", "0.85"),
    ("p10", "p90", "80%", "0.8"),
    ("p25", "p75", "50%", "0.65"),
)
TRUTH_STYLE = dict(color="black", linewidth=1.0, linestyle="none", marker=".", markersize=6,
zorder=5,
             clip_on=False)  # fmt: skip
COARSE_STYLE = dict(color="black", linewidth=1.0, linestyle=":", zorder=4)
CENTRE_STYLE = dict(color="#c1272d", linewidth=1.6, zorder=4)


def make_graph(heading: list[str], footer: str, legend: int = 1) -> tuple[Page, Any]:
    """Lay out a page with one graph and room for a legend of so many lines below it."""
    room = HIGH + BELOW + 0.24 * legend
    page = Page(heading, [PAGE_MARGIN, room], footer)
    axes = page.axes(1, LEFT, PAGE_WIDTH - LEFT - 2 * PAGE_MARGIN, HIGH)
    axes.spines[["top", "right"]].set_visible(False)
    return page, axes


def add_legend(axes: Any, columns: int = 3) -> None:
    """Put the legend under the graph."""
    lower = -(BELOW + 0.02) / HIGH
    left = -(LEFT - PAGE_MARGIN) / (PAGE_WIDTH - LEFT - 2 * PAGE_MARGIN)
    axes.legend(
        loc="upper left", bbox_to_anchor=(left, lower), ncols=columns, frameon=False,
        handlelength=1.2, handletextpad=0.4, columnspacing=0.9, borderaxespad=0.0, borderpad=0.0,
        labelspacing=0.3,
    )  # fmt: skip


def draw_series(view: PlotData) -> Page:
    """Draw the ensemble over time at a point, with truth and coarse field."""
    source = view.source
    remote = data.has_remote_dates(source.time)
    when = data.graph_dates(source.time, remote)
    if len(when) < 2:
        raise DpdmError(f"{source.path} has one time, and no series.", "Draw --kind map.")
    at = find_point(view.options, source)
    page, axes = make_graph(view.heading(at.label), view.footer, 2)
    draw_fan(axes, when, source, at)
    for other, label, style in (
        (view.coarse, "coarse", COARSE_STYLE),
        (view.truth, "truth", TRUTH_STYLE),
    ):
        if other is not None:
            stamps = data.graph_dates(other.time, remote)
            axes.plot(stamps, read_point_values(other.mean, at, other.path), label=label, **style)
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


def draw_fan(axes: Any, when: list[Any], source: PlotVariable, at: PlotPoint) -> None:
    """Draw the median within bands of members, or what the file keeps of them."""
    if source.count > 1:
        values = read_point_values(
            source.members.transpose("realization", "time", ...), at, source.path
        )
        for label, (low, high, grey) in PERCENTILE_BANDS.items():
            edges = np.nanpercentile(values, (low, high), axis=0)
            axes.fill_between(when, *edges, color=grey, linewidth=0, label=label)
        axes.plot(when, np.nanmedian(values, axis=0), label="median", **CENTRE_STYLE)
        return
    kept = source.statistics
    for lower, upper, label, grey in STORED_BANDS:
        if lower in kept and upper in kept:
            ends = [read_point_values(kept[name], at, source.path) for name in (lower, upper)]
            axes.fill_between(when, *ends, color=grey, linewidth=0, label=label)
    axes.plot(
        when,
        read_point_values(source.mean, at, source.path),
        label=source.mean_label,
        **CENTRE_STYLE,
    )


def shared_grid(source: PlotVariable, truth: PlotVariable | None) -> Grid:
    """Return the cells to compare on: the field's, or the truth's where those are fewer."""
    fewer = truth and truth.grid.lat.size * truth.grid.lon.size
    cells = source.grid.lat.size * source.grid.lon.size
    return truth.grid if truth and fewer and fewer < cells else source.grid


def cut_field(grid: Grid, array: xr.DataArray, what: str) -> xr.Dataset:
    """Return a field on some of its cells, as `field`."""
    return cut_to_grid(array.to_dataset(name="field"), grid, what)


def draw_ranks(view: PlotData) -> Page:
    """Draw how often the truth has each rank among the members."""
    source, truth = view.source, view.need_truth("rank")
    grid = shared_grid(source, truth)
    pair = {"forecast": source.members, "truth": truth.mean}
    both = match_times({what: cut_field(grid, array, what) for what, array in pair.items()})
    forecast, true = (fields["field"] for fields in both.values())
    share: Array = 100 * rank_histogram(forecast, true, area_weights(true)).mean("time").values
    words = f"rank of the truth, {_period_text(true)}"
    page, axes = make_graph(view.heading(words), view.footer)
    axes.bar(np.arange(share.size), share, color="0.6", edgecolor="black", linewidth=0.6, width=1)
    axes.axhline(100 / share.size, color="black", linewidth=1, linestyle="--", label="calibrated")
    axes.set_xlabel(f"members below the truth, of {source.count}")
    axes.set_ylabel("share of the area, %")
    axes.set_xlim(-0.5, share.size - 0.5)
    axes.xaxis.get_major_locator().set_params(integer=True)
    add_legend(axes)
    return page


def _period_text(truth: xr.DataArray) -> str:
    """Say which times were looked at."""
    if truth["time"].dtype.kind not in "MO":
        return ""
    ends = [str(stamp.dt.strftime("%Y-%m").item()) for stamp in truth["time"][[0, -1]]]
    return " to ".join(dict.fromkeys(ends))


def draw_spectrum(view: PlotData) -> Page:
    """Draw how much variance lies at each scale, of members, mean, truth and coarse field."""
    source, truth = view.source, view.truth
    grid = shared_grid(source, truth)
    page, axes = make_graph(view.heading("variance at each scale"), view.footer, 2)
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
    if view.coarse:
        rough = interpolate_bilinear(view.coarse.mean.to_dataset(name="field"), grid)
        axes.plot(*mean_spectrum(rough), label="coarse, lerp", **COARSE_STYLE)
    lowest = min(float(np.nanmin(line.get_ydata())) for line in axes.lines[:2])
    axes.set(xscale="log", yscale="log")
    axes.set_ylim(bottom=lowest / 10)  # a lerp has next to nothing at its own scales
    axes.invert_xaxis()
    axes.set_xlabel(f"wavelength, cells of {grid.spacing[0]:.3g}°")
    axes.set_ylabel(f"variance, ({source.units.replace('°C', 'K')})²", parse_math=False)
    add_legend(axes, 2)
    return page


def mean_spectrum(fields: xr.Dataset) -> tuple[Array, Array]:
    """Return wavelengths in cells and the variance there, a mean over times and members."""
    power = spectrum(fields["field"])
    power = power.mean([dim for dim in power.dims if dim != "wavenumber"])
    return 2.0 / power["wavenumber"].values, power.values
