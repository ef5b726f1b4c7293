"""A profile: members, mean, background and truth against pressure, with error and spread."""

from typing import Any

import numpy as np

from dpdm.fields.grid import Array
from dpdm.plot.graphs import BANDS, CENTRE, TRUTH
from dpdm.plot.heights import Air, air, heights, over, place, root, unit_of_errors, upwards, whole
from dpdm.plot.libraries import ticker
from dpdm.plot.page import EDGE, LINE, WIDTH, Page
from dpdm.plot.places import beside_point
from dpdm.plot.scene import Scene

HIGH, LEFT, GAP, BELOW = 2.6, 0.76, 0.3, 0.5  # inches
SHARE = 0.6  # of the width, for the values
FEW = 10  # members that are drawn one by one
LINES = 0.24  # inches a line of the legend
BACKGROUND = dict(color="black", linewidth=1.2, linestyle="--", zorder=3)
SPREAD = dict(color="0.6", linewidth=3.0, zorder=2)


def profile(view: Scene) -> Page:
    """Draw values with height at a point or over the area, and error and spread beside them."""
    at = place(view)
    found = air(view, (lambda array: beside_point(array, at)) if at else whole)
    where = at.words if at else "mean over the area"
    two = bool(found.errors) or found.spread is not None
    room = WIDTH - LEFT - 2 * EDGE
    left = SHARE * (room - GAP) if two else room
    page = Page(view.heading(where, found.date), [LINE, HIGH + BELOW + 3 * LINES], view.footer)
    axes = page.axes(1, LEFT, left, HIGH)
    values(axes, found)
    drawn = [axes]
    if two:
        drawn.append(page.axes(1, LEFT + left + GAP, room - GAP - left, HIGH))
        misses(drawn[1], found)
    for each in drawn:
        each.spines[["top", "right"]].set_visible(False)
        upwards(each, found.source.whole, heights(found.source.whole), HIGH)
    for each in drawn[1:]:
        each.set_ylabel("")
        each.tick_params(labelleft=False)
    told(drawn)
    return page


def values(axes: Any, found: Air) -> None:
    """Draw members, mean, background and truth."""
    if found.members is not None:
        members = over(found.members).transpose("realization", ...)
        crowd(axes, members.values, heights(members))
    styles = {"background": BACKGROUND, "truth": TRUTH}
    for title, field in found.fields.items():
        style = styles.get(title, CENTRE)
        axes.plot(over(field).values, heights(field), label=title, **style)
    axes.set_xlabel(found.source.units, parse_math=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(3))


def crowd(axes: Any, members: Array, levels: Array) -> None:
    """Draw a few members (M, level) as thin lines, or many as bands that hold a share of them."""
    if len(members) < FEW:
        for number, member in enumerate(members):
            label = "members" if number == 0 else None
            axes.plot(member, levels, color="0.6", linewidth=0.6, zorder=1, label=label)
        return
    for label, (low, high, grey) in BANDS.items():
        ends = np.percentile(members, (low, high), axis=0)
        axes.fill_betweenx(levels, *ends, color=grey, linewidth=0, label=label)


def misses(axes: Any, found: Air) -> None:
    """Draw the root mean square of errors and spread."""
    for title, error in found.errors.items():
        style = BACKGROUND if title == "background" else CENTRE
        axes.plot(root(error), heights(error), **style)
    if found.spread is not None:
        axes.plot(root(found.spread), heights(found.spread), label="spread", **SPREAD)
    axes.set_xlim(left=0)
    axes.set_title("rms error" if found.errors else "spread", pad=3)
    axes.set_xlabel(unit_of_errors(found.source), parse_math=False)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(2))


def told(drawn: list[Any]) -> None:
    """Put one legend under all graphs."""
    pairs = [
        pair for axes in drawn for pair in zip(*axes.get_legend_handles_labels(), strict=True)
    ]
    wide = drawn[0].get_position().width * WIDTH
    lower = -(BELOW + 0.02) / HIGH
    drawn[0].legend(
        *zip(*pairs, strict=True), loc="upper left", ncols=2, frameon=False,
        bbox_to_anchor=((EDGE - LEFT) / wide, lower), handlelength=1.4, handletextpad=0.4,
        columnspacing=0.9, borderaxespad=0.0, borderpad=0.0, labelspacing=0.3,
    )  # fmt: skip
