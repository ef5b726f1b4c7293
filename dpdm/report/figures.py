"""Draw the pictures of a report, embedded in the page: maps as PNG, charts as SVG.

Black elements of a chart take the colour of the page's text, which is light on a dark page.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from dpdm.evaluate.metrics import method_label
from dpdm.evaluate.table import relative_histogram
from dpdm.fields.grid import Array, Grid
from dpdm.system import missing_library_error

try:
    import jinja2
    import matplotlib as mpl
    from matplotlib import figure, patheffects, ticker
except ImportError as fault:
    raise missing_library_error("Reports", fault) from fault

__all__ = ["figure", "jinja2", "mpl", "patheffects", "ticker"]

INK_COLOUR = "#010203"  # replaced by the colour of the page's text
METHOD_COLOURS = (
    "#d55e00",
    "#2b87c8",
    "#009e73",
    "#cc79a7",
    "#e69f00",
)  # after Okabe and Ito 2008
METHOD_DASHES = ("--", "-", ":", "-.", (0, (1, 1)))
CHART_WIDTH = 4.6  # inches
WIDE_CHART_WIDTH = 6.6
PANEL_WIDTH = 2.75  # inches, width of a map
MAP_DPI = 110
SIGNED_VARIABLES = ("u10", "v10", "u", "v")
VALUE_COLOURS = {"t2m": "RdYlBu_r"}  # light in the middle, so that the coast is seen
MAP_TAIL_PERCENT = 1.0  # percent of the cells that may lie beyond a map's colours


def chart_style() -> AbstractContextManager[None]:
    """Return a context with the style of the report, whatever the user's settings."""
    style = {
        "font.size": 9,
        "font.family": "sans-serif",
        "svg.fonttype": "none",
        "svg.hashsalt": "dpdm",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "text.parse_math": False,
    }
    coloured = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    ink = dict.fromkeys(coloured, INK_COLOUR)
    context: AbstractContextManager[None] = mpl.rc_context({**mpl.rcParamsDefault, **style, **ink})
    return context


def make_chart(width: float = CHART_WIDTH, height: float = 2.6) -> tuple[Any, Any]:
    """Return a figure with one pair of axes."""
    fig = figure.Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots()


def render_svg(fig: Any, name: str, words: str) -> str:
    """Return a figure as an SVG element with an accessible label and unique identifiers."""
    stream = io.StringIO()
    fig.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace(INK_COLOUR, "currentColor")
    label = words.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()


def plot_ranks(histogram: Sequence[float], name: str, words: str) -> str:
    """Draw a rank histogram relative to a uniform one."""
    fig, axes = make_chart()
    shape = relative_histogram(histogram)
    axes.bar(np.arange(len(shape)), shape, width=0.92, color=METHOD_COLOURS[1])
    axes.axhline(1, color=INK_COLOUR, linestyle="--", linewidth=1)
    axes.set(xlabel=f"rank of the truth among {len(histogram) - 1} members",
             ylabel="frequency relative to uniform")  # fmt: skip
    axes.set_xticks([0, len(shape) - 1], ["below all", "above all"])
    return render_svg(fig, name, words)


def plot_spectra(
    powers: Mapping[str, tuple[Array, Array]], unit: str, name: str, words: str
) -> str:
    """Draw the variance at each wavelength (cells) by method."""
    fig, axes = make_chart()
    styles = zip(METHOD_COLOURS, METHOD_DASHES, strict=True)
    for method, (waves, power) in powers.items():
        truth = method == "truth"
        colour, dashes = (INK_COLOUR, "-") if truth else next(styles)
        axes.plot(waves, power, color=colour, linestyle=dashes, label=method_label(method),
                  linewidth=2.2 if truth else 1.5)  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="wavelength, cells",
        ylabel=f"variance, ({unit or '1'})²",
    )
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: power_of_ten(x)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_locator(ticker.NullLocator())
    positive = np.concatenate([power[power > 0] for _, power in powers.values()])
    if positive.size:  # an interpolated field has hardly any variance below its cells
        axes.set_ylim(bottom=max(positive.min(), 1e-7 * positive.max()) / 2)
    axes.legend(frameon=False, fontsize=8)
    return render_svg(fig, name, words)


def power_of_ten(value: float) -> str:
    """Format a power of ten.

    Example:
        >>> power_of_ten(1e-5)
        '10⁻⁵'
    """
    exponent = str(round(np.log10(value)))
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def plot_quantiles(quantiles: Mapping[str, Array], unit: str, name: str, words: str) -> str:
    """Draw quantiles of each method against those of the truth, the first of the mapping."""
    fig, axes = make_chart()
    (_, truth), *others = quantiles.items()
    styles = zip(METHOD_COLOURS, METHOD_DASHES, strict=True)
    axes.plot(truth, truth, color=INK_COLOUR, linewidth=1, label="equal")
    for number, ((method, values), (colour, _)) in enumerate(zip(others, styles, strict=False)):
        axes.plot(truth, values, color=colour, linestyle="none", marker="o", fillstyle="none",
                  markersize=7 - 2 * number, label=method_label(method))  # fmt: skip
    unit = f", {unit}" * bool(unit)
    axes.set(xlabel=f"quantile of the truth{unit}", ylabel=f"quantile of the method{unit}")
    axes.legend(frameon=False, fontsize=8)
    return render_svg(fig, name, words)


def plot_ratios(ratios: Mapping[str, tuple[float, float, float]], name: str, words: str) -> str:
    """Draw RMSE ratios to lerp, with the 95% intervals of those that were tested."""
    fig, axes = make_chart(WIDE_CHART_WIDTH, 0.8 + 0.19 * len(ratios))
    rows = np.arange(len(ratios))
    middle, low, high = np.array([*ratios.values()]).T
    whiskers = np.nan_to_num(np.clip([middle - low, high - middle], 0, None))
    axes.errorbar(middle, rows, xerr=whiskers, fmt="o", color=METHOD_COLOURS[1], markersize=4,
                  elinewidth=1.5, capsize=2)  # fmt: skip
    axes.axvline(1, color=INK_COLOUR, linestyle="--", linewidth=1)
    axes.set_yticks(rows, [*ratios])
    axes.set_ylim(len(ratios) - 0.5, -0.5)
    tested = bool(np.isfinite(low).any())
    axes.set_xlabel("RMSE relative to bilinear" + ", with 95% range" * tested)
    axes.set_xlim(left=min(0.95, np.nanmin([middle, low]) - 0.05))
    return render_svg(fig, name, words)


@dataclass(frozen=True)
class MapStyle:
    """The colours of maps on one scale.

    Attributes:
        colours: Name of the colour map.
        low: Value of the first colour.
        high: Value of the last colour.
        extend: Ends that some values lie beyond.
    """

    colours: str
    low: float
    high: float
    extend: str


def error_style(panels: Mapping[str, Array], signed: bool) -> MapStyle:
    """Return the colours of errors, symmetric around zero if signed."""
    values = np.abs(np.concatenate([finite_values(panels), [0.0]]))
    most = float(np.percentile(values, 100 - MAP_TAIL_PERCENT)) or 1.0
    return (
        MapStyle("RdBu_r", -most, most, "both")
        if signed
        else MapStyle("magma_r", 0.0, most, "max")
    )


def value_style(name: str, panels: Mapping[str, Array]) -> MapStyle:
    """Return the colours of a variable: winds around zero, precipitation from zero."""
    if name in SIGNED_VARIABLES:
        return error_style(panels, signed=True)
    ends = (MAP_TAIL_PERCENT, 100 - MAP_TAIL_PERCENT)
    values = finite_values(panels)
    low, high = np.percentile(values, ends) if values.size else (0.0, 1.0)
    if name == "tp":
        return MapStyle("YlGnBu", 0.0, float(high) or 1.0, "max")
    low, high = (low, high) if low < high else (low - 0.5, low + 0.5)
    return MapStyle(VALUE_COLOURS.get(name, "viridis"), float(low), float(high), "both")


def finite_values(panels: Mapping[str, Array]) -> Array:
    """Return the finite values of all panels."""
    return np.concatenate([field[np.isfinite(field)] for field in panels.values()])


def plot_maps(
    panels: Mapping[str, Array], grid: Grid, land: Array, unit: str, style: MapStyle
) -> str:
    """Draw maps side by side on one scale, and return them as the data URL of a PNG."""
    stretch = 1 / np.cos(np.radians(min(60.0, float(np.abs(grid.lat).mean()))))
    tall = PANEL_WIDTH * stretch * np.ptp(grid.lat_edges) / np.ptp(grid.lon_edges)
    size = ((PANEL_WIDTH + 0.4) * len(panels) + 0.8, min(tall, 5) + 0.5)
    fig = figure.Figure(figsize=size, dpi=MAP_DPI, layout="constrained", facecolor="white")
    resampling = "nearest" if len(grid.lon) < PANEL_WIDTH * MAP_DPI else "auto"  # averages cells
    row = fig.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, field) in zip(row, panels.items(), strict=True):
        picture = axes.imshow(
            field, extent=map_extent(grid), origin="lower", interpolation=resampling,
            vmin=style.low, vmax=style.high, cmap=style.colours,
        )  # fmt: skip
        decorate_map(axes, grid, land, method_label(title), stretch)
    fig.colorbar(picture, ax=list(row), label=unit, extend=style.extend, aspect=18)
    return render_png(fig)


def map_extent(grid: Grid) -> tuple[float, float, float, float]:
    """Return west, east, south and north of a picture with equal cells."""
    half = grid.spacing[0] / 2
    west, last = (float(edge) for edge in grid.lon_edges[[0, -1]])
    return west, last, float(grid.lat[0]) - half, float(grid.lat[-1]) + half


def decorate_map(axes: Any, grid: Grid, land: Array, title: str, stretch: float) -> None:
    """Add coast, degree labels and title to a map."""
    if land.min() < 0.5 <= land.max():
        coast = axes.contour(
            grid.lon, grid.lat, land, levels=[0.5], colors=INK_COLOUR, linewidths=0.6
        )
        halo = patheffects.withStroke(linewidth=1.6, foreground="white", alpha=0.6)
        coast.set_path_effects([halo])  # seen on dark colours too
    axes.set_aspect(stretch)
    axes.set_ylim(grid.lat_edges[0], grid.lat_edges[-1])  # without the half cell beyond a pole
    axes.spines[:].set_visible(True)
    axes.set_title(title, fontsize=9)
    for axis, turn in ((axes.xaxis, format_longitude), (axes.yaxis, format_latitude)):
        axis.set_major_locator(degree_ticks(np.ptp(axis.get_view_interval())))
        axis.set_major_formatter(ticker.FuncFormatter(lambda x, _, turn=turn: turn(x)))
        axis.set_tick_params(labelsize=8)


def degree_ticks(span: float) -> Any:
    """Return the tick locator of an axis, from its extent in degrees."""
    if span > 150:
        return ticker.MultipleLocator(60 if span > 200 else 30)
    return ticker.MaxNLocator(4, steps=[1, 2, 3, 5, 10])


def format_longitude(degrees: float) -> str:
    """Format a longitude.

    Example:
        >>> [format_longitude(degrees) for degrees in (190.0, 20.0, -180.0, 360.0)]
        ['170°W', '20°E', '180°', '0°']
    """
    value = (degrees + 180) % 360 - 180
    side = "" if value in (0, -180) else "W" if value < 0 else "E"
    return f"{abs(value):g}°{side}"


def format_latitude(degrees: float) -> str:
    """Format a latitude."""
    return f"{abs(degrees):g}°{'' if degrees == 0 else 'S' if degrees < 0 else 'N'}"


def render_png(fig: Any) -> str:
    """Return a figure as the data URL of a PNG."""
    stream = io.BytesIO()
    fig.savefig(stream, format="png", bbox_inches="tight", metadata={"Software": None})
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
