"""Look at fields: maps, ensembles, series and scores, as pictures of one printed column.

`plot` opens what is asked for as a `Scene`, and one function makes a `Page` of it. A map is drawn
on a `Sheet`, whose pixels look up their cells; so the projection is free, and a field of a million
cells costs no more than the picture has pixels. Everything is on this machine: coastlines and
relief come with dpdm, and nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.fields.levels import LEVEL_DIM
from dpdm.fields.write import check_output
from dpdm.plot.data import PlotData, join_names, open_plot_data
from dpdm.plot.graphs import draw_ranks, draw_series, draw_spectrum
from dpdm.plot.kinds import (
    draw_comparison,
    draw_field,
    draw_members,
    draw_misfits,
    draw_spread,
    draw_trend,
)
from dpdm.plot.options import PlotOptions
from dpdm.plot.page import PICTURE_FORMATS, Page, page_style, save_page
from dpdm.plot.vertical import draw_profile, draw_section

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
# Which of the options that not every picture heeds a kind does heed.
KIND_OPTIONS: dict[str, tuple[str, ...]] = {
    "map": ("time",),
    "compare": ("time", "truth", "coarse"),
    "members": ("time",),
    "spread": ("time",),
    "series": ("truth", "coarse", "at", "points"),
    "rank": ("truth",),
    "spectrum": ("truth", "coarse"),
    "trend": (),
    "obs": ("time", "report"),
    "profile": ("time", "truth", "background", "at", "points"),
    "section": ("time", "truth", "background", "at", "points"),
}
CHECKED_OPTIONS = ("time", "truth", "coarse", "background", "at", "points", "report")


def plot(path: Path, out: Path, ask: PlotOptions) -> str:
    """Draw a file, and return the kind of the picture."""
    check_output(out, [path, ask], ask.overwrite, PICTURE_FORMATS)
    check_used_options(ask, ask.kind)
    view = open_plot_data(path, ask)
    kind = ask.kind or default_kind(view)
    check_used_options(ask, kind)
    with page_style():
        save_page(draw_page(view, kind), out, " ".join(view.heading(kind)), ask.overwrite)
    return kind


def default_kind(view: PlotData) -> str:
    """Choose a kind from what there is."""
    if view.options.report:
        return "obs"
    if LEVEL_DIM in view.source.full_array.dims:
        return "profile"
    if view.options.at:
        return "series"
    beside = view.truth or view.coarse or view.source.spread is not None
    return "compare" if beside else "map"


def check_used_options(ask: PlotOptions, kind: str) -> None:
    """Refuse an option that would change nothing."""
    for name in CHECKED_OPTIONS:
        if getattr(ask, name) and name not in KIND_OPTIONS.get(kind, CHECKED_OPTIONS):
            raise DpdmError(
                f"A picture of kind {kind} does not heed --{name}.",
                "Leave it out, or choose another kind.",
            )


def draw_page(view: PlotData, kind: str) -> Page:
    """Make the page of a kind."""
    if kind not in PLOT_KINDS:
        raise DpdmError(f"There is no kind {kind}.", f"Choose {join_names(list(PLOT_KINDS))}.")
    return PLOT_KINDS[kind](view)
