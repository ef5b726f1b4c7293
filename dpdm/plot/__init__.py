"""Draw maps, ensembles, series and scores as pictures of one printed column, and maps as pages.

`plot` opens the files as `PlotData`, and the function of the kind draws a `Page` of it. Maps are
drawn on a `ProjectedGrid`, whose pixels look up their cells, so that the cost is that of the
picture's pixels. Coastlines and relief come with dpdm; nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.fields.levels import LEVEL_DIM
from dpdm.file_group import Source
from dpdm.paths import check_output
from dpdm.plot.data import PlotData, PlotOptions, join_names, open_plot_data
from dpdm.plot.graphs import draw_ranks, draw_series, draw_spectrum
from dpdm.plot.interactive import write_interactive
from dpdm.plot.kinds import (
    draw_comparison,
    draw_field,
    draw_members,
    draw_misfits,
    draw_spread,
    draw_trend,
)
from dpdm.plot.page import PICTURE_FORMATS, Page, page_style, save_page
from dpdm.plot.section import draw_section
from dpdm.plot.vertical import draw_profile

PLOT_KINDS: dict[str, Callable[[PlotData], Page]] = {
    "map": draw_field,
    "compare": draw_comparison,
    "members": draw_members,
    "spread": draw_spread,
    "series": draw_series,
    "rank": draw_ranks,
    "spectrum": draw_spectrum,
    "trend": draw_trend,
    "obs": draw_misfits,
    "profile": draw_profile,
    "section": draw_section,
}
# The options of CHECKED_OPTIONS that each kind uses.
COLOURS = ("cmap", "vmin", "vmax")
CLIMATE = ("anomaly", "climatology", "climatology_period")
FIELDS = ("time", "season", *CLIMATE, *COLOURS, "no_relief")
VERTICAL = ("time", "truth", "background", "at", "points")
KIND_OPTIONS: dict[str, tuple[str, ...]] = {
    "map": (*FIELDS, "stat"),
    "compare": (*FIELDS, "truth", "coarse"),
    "members": FIELDS,
    "spread": ("time", "season", *COLOURS),
    "series": ("truth", "coarse", "at", "points", *CLIMATE),
    "rank": ("truth",),
    "spectrum": ("truth", "coarse"),
    "trend": COLOURS,
    "obs": ("time", "report", *COLOURS, "no_relief"),
    "profile": VERTICAL,
    "section": (*VERTICAL, *COLOURS),
}
UNITLESS_KINDS = ("obs", "rank")  # departures in canonical units, and ranks
CHECKED_OPTIONS = tuple(dict.fromkeys(sum(KIND_OPTIONS.values(), ())))
PAGE_SUFFIX = ".html"
PAGE_OPTIONS = ("time", "season", *CLIMATE, *COLOURS, "stat")  # of an interactive page


def plot(path: Source, out: Path, options: PlotOptions) -> str:
    """Draw files that are read as one, and return the kind of the picture."""
    if options.interactive:
        return plot_interactive(path, out, options)
    if out.suffix == PAGE_SUFFIX:
        raise DpdmError(f"{out} is a web page, not a picture.", "Add --interactive.")
    check_output(out, [path, options], options.overwrite, PICTURE_FORMATS)
    check_used_options(options, options.kind)
    data = open_plot_data(path, options)
    kind = options.kind or default_kind(data)
    check_used_options(options, kind)
    with page_style():
        save_page(draw_page(data, kind), out, " ".join(data.heading(kind)), options.overwrite)
    return kind


def plot_interactive(path: Source, out: Path, options: PlotOptions) -> str:
    """Write a map of a file as an interactive page."""
    check_output(out, [path, options], options.overwrite, [PAGE_SUFFIX])
    if options.kind not in ("", "map"):
        raise DpdmError(
            f"An interactive page is a map, not a picture of kind {options.kind}.",
            "Leave out --kind or --interactive.",
        )
    _refuse_unused_options(
        options, (*CHECKED_OPTIONS, "size", "dpi"), PAGE_OPTIONS, "An interactive page",
        "Leave it out, or draw a picture without --interactive.",
    )  # fmt: skip
    data = open_plot_data(path, options)
    if LEVEL_DIM in data.source.full_array.dims:
        raise DpdmError(
            f"{data.source.name} is on levels, which an interactive page does not show.",
            "Choose one level with --variable; dpdm info lists them.",
        )
    write_interactive(data, out)
    return "interactive map"


def default_kind(data: PlotData) -> str:
    """Choose the kind of a picture by the contents of its files."""
    if data.options.report:
        return "obs"
    if LEVEL_DIM in data.source.full_array.dims:
        return "profile"
    if data.options.at:
        return "series"
    if data.options.stat:
        return "map"
    several = data.truth or data.coarse or data.source.spread is not None
    return "compare" if several else "map"


def check_used_options(options: PlotOptions, kind: str) -> None:
    """Refuse an option that a kind does not use."""
    if kind in UNITLESS_KINDS and any(not unit.is_default for unit in options.out_units):
        raise DpdmError(
            f"A picture of kind {kind} does not use --out-units.",
            "Leave it out, or choose another kind.",
        )
    _refuse_unused_options(
        options, CHECKED_OPTIONS, KIND_OPTIONS.get(kind, CHECKED_OPTIONS),
        f"A picture of kind {kind}", "Leave it out, or choose another kind.",
    )  # fmt: skip


def _refuse_unused_options(
    options: PlotOptions, checked: Sequence[str], used: Sequence[str], what: str, hint: str
) -> None:
    """Refuse an option that is given and not used."""
    for name in checked:
        value = getattr(options, name)
        given = value is not None and value is not False and value != ""
        if given and name not in used:
            raise DpdmError(f"{what} does not use --{name.replace('_', '-')}.", hint)
    if options.climatology and not options.anomaly:
        raise DpdmError("--climatology is what --anomaly subtracts.", "Add --anomaly.")


def draw_page(data: PlotData, kind: str) -> Page:
    """Draw the page of a kind."""
    if kind not in PLOT_KINDS:
        raise DpdmError(
            f"There is no figure of kind {kind}.", f"Choose {join_names(list(PLOT_KINDS))}."
        )
    return PLOT_KINDS[kind](data)
