"""A section through the air: zonal means, or along a parallel, against pressure."""

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dpdm.fields.grid import Array
from dpdm.fields.levels import LEVEL
from dpdm.plot.heights import (
    Air,
    air,
    heights,
    mean,
    over_time,
    place,
    unit_of_errors,
    upwards,
    whole,
)
from dpdm.plot.libraries import mpl, ticker
from dpdm.plot.looks import Look, look
from dpdm.plot.maps import round_steps, said
from dpdm.plot.page import EDGE, LINE, WIDTH, Page
from dpdm.plot.places import beside_parallel
from dpdm.plot.scene import Scene
from dpdm.plot.sheet import turn

HIGH, LEFT, GAP, BELOW = 1.5, 0.76, 0.12, 0.28  # inches
BAR, NUMBERS = 0.1, 0.52  # inches: how wide a bar is, and its numbers


class Cut(NamedTuple):
    """One panel.

    Attributes:
        title: A few words and the unit.
        values: (level, x).
        look: Its colours.
        lined: Whether lines of equal value are drawn.
    """

    title: str
    values: xr.DataArray
    look: Look
    lined: bool = True


def section(view: Scene) -> Page:
    """Draw mean, errors and spread over latitude and pressure, or along a parallel."""
    at = place(view)
    found = air(view, (lambda array: beside_parallel(array, at)) if at else whole)
    where = f"along {said(at.lat, 'NS')}" if at else "zonal mean"
    cuts = panels(found)
    rows = [LINE + HIGH + GAP] * len(cuts)
    page = Page(view.heading(where, found.date), [EDGE, *rows, BELOW], view.footer)
    width = WIDTH - LEFT - GAP - BAR - NUMBERS - EDGE
    for number, each in enumerate(cuts, 1):
        axes = page.axes(number, LEFT, width, HIGH, LINE)
        draw(axes, each)
        sides(axes, each.values, number == len(cuts))
        axes.set_title(each.title, pad=3, parse_math=False)
        bar(page, page.axes(number, LEFT + width + GAP, BAR, HIGH, LINE), each.look)
    return page


def panels(found: Air) -> list[Cut]:
    """Return what is drawn: the mean, errors on one scale, and the spread."""
    source, unit = found.source, unit_of_errors(found.source)
    values = across(found.fields[source.called])
    errors = {title: across(error) for title, error in found.errors.items()}
    out = [Cut(f"{source.called}, {source.units}", values, look(source.name, [values.values]))]
    if errors:
        scale = look("difference", [error.values for error in errors.values()])
        out += [Cut(f"error of {t}, {unit}", error, scale) for t, error in errors.items()]
    if found.spread is not None:
        wide = across(found.spread**2) ** 0.5
        out.append(Cut(f"spread, {unit}", wide, look("spread", [wide.values]), False))
    return out


def across(array: xr.DataArray) -> xr.DataArray:
    """Return the mean of all steps, (level, lat) of each parallel's mean, or (level, lon)."""
    flat = mean(array, "lon") if "lat" in array.dims else array
    return over_time(flat).transpose(LEVEL, ...).compute()


def draw(axes: Any, cut: Cut) -> None:
    """Draw the cells of a panel, and lines of equal value, dashed below zero."""
    axes.set_facecolor("0.8")  # below the ground, where nothing is
    x, y = cut.values[cut.values.dims[1]].values, heights(cut.values)
    axes.pcolormesh(
        edges(x), tops(cut.values), cut.values.values, cmap=cut.look.colours, norm=cut.look.norm,
        rasterized=True,
    )  # fmt: skip
    levels = [v for v in cut.look.steps(8) if v != 0 and cut.look.low < v < cut.look.high]
    if cut.lined and levels and min(cut.values.shape) > 1:
        axes.contour(x, y, cut.values.values, levels=levels, colors="0.2", linewidths=0.5)


def edges(centres: Array) -> Array:
    """Return the edges of cells around centres; the outermost are as wide as their neighbours."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    found: Array = np.r_[2 * centres[0] - middle[0], middle, 2 * centres[-1] - middle[-1]]
    return found


def tops(array: xr.DataArray) -> Array:
    """Return the edges of levels: half way on the axis, which knows pressure by its logarithm."""
    levels = heights(array)
    if array[LEVEL].attrs.get("units", "Pa") != "Pa":
        return edges(levels)
    found: Array = np.exp(edges(np.log(levels)))
    return found


def sides(axes: Any, array: xr.DataArray, last: bool) -> None:
    """Label both axes; the lowest panel says for all where they are."""
    upwards(axes, array, tops(array), HIGH)
    along = str(array.dims[1])
    ends = edges(array[along].values)
    steps = round_steps(ends, 4)
    axes.xaxis.set_major_locator(ticker.FixedLocator(steps))
    words = [said(turn(each), "EW") if along == "lon" else said(each, "NS") for each in steps]
    axes.xaxis.set_major_formatter(ticker.FixedFormatter(words))
    axes.tick_params(labelbottom=last)


def bar(page: Page, axes: Any, look: Look) -> None:
    """Draw the bar of a look at a panel's right."""
    shown = mpl.cm.ScalarMappable(look.norm, look.colours)
    page.figure.colorbar(shown, cax=axes, extend=look.extend, ticks=look.steps(4))
    axes.tick_params(pad=2)
