"""Look at fields: maps, ensembles, series and scores, as pictures of one printed column.

`plot` opens what is asked for as a `Scene`, and one function makes a `Page` of it. A map is drawn
on a `Sheet`, whose pixels look up their cells; so the projection is free, and a field of a million
cells costs no more than the picture has pixels. Everything is on this machine: coastlines and
relief come with dpdm, and nothing is fetched.
"""

from collections.abc import Callable
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.fields.levels import LEVEL
from dpdm.fields.write import check_output
from dpdm.plot.ask import Ask
from dpdm.plot.fields import compare, members, misfits, one, slope, spread
from dpdm.plot.graphs import powers, ranks, series
from dpdm.plot.page import FORMATS, Page, save, styled
from dpdm.plot.profiles import profile
from dpdm.plot.scene import Scene, listed, scene
from dpdm.plot.sections import section

__all__ = ["KINDS", "Ask", "draw", "kind_of", "plot"]

KINDS: dict[str, Callable[[Scene], Page]] = {
    "map": one,
    "compare": compare,
    "members": members,
    "spread": spread,
    "series": series,
    "rank": ranks,
    "spectrum": powers,
    "trend": slope,
    "obs": misfits,
    "profile": profile,
    "section": section,
}
# Which of the options that not every picture heeds a kind does heed.
HEEDED: dict[str, tuple[str, ...]] = {
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
OPTIONS = ("time", "truth", "coarse", "background", "at", "points", "report")


def plot(path: Path, out: Path, ask: Ask) -> str:
    """Draw a file, and return the kind of the picture."""
    check_output(out, [path, ask], ask.overwrite, FORMATS)
    check_heeded(ask, ask.kind)
    view = scene(path, ask)
    kind = ask.kind or kind_of(view)
    check_heeded(ask, kind)
    with styled():
        save(draw(view, kind), out, " ".join(view.heading(kind)), ask.overwrite)
    return kind


def kind_of(view: Scene) -> str:
    """Choose a kind from what there is."""
    if view.ask.report:
        return "obs"
    if LEVEL in view.source.whole.dims:
        return "profile"
    if view.ask.at:
        return "series"
    beside = view.truth or view.coarse or view.source.spread is not None
    return "compare" if beside else "map"


def check_heeded(ask: Ask, kind: str) -> None:
    """Refuse an option that would change nothing."""
    for name in OPTIONS:
        if getattr(ask, name) and name not in HEEDED.get(kind, OPTIONS):
            raise DpdmError(
                f"A picture of kind {kind} does not heed --{name}.",
                "Leave it out, or choose another kind.",
            )


def draw(view: Scene, kind: str) -> Page:
    """Make the page of a kind."""
    if kind not in KINDS:
        raise DpdmError(f"There is no kind {kind}.", f"Choose {listed(list(KINDS))}.")
    return KINDS[kind](view)
