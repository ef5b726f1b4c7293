"""Pictures with height: profiles at a place or over an area, and sections through the air.

Pressure falls upwards on a logarithmic axis, as it does with height. Without a date all steps are
taken together: values are their mean, errors and spreads the roots of their mean squares.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.match import match_times
from dpdm.evaluate.scores import area_weights
from dpdm.fields.grid import Array
from dpdm.fields.levels import LEVEL
from dpdm.plot import moments
from dpdm.plot.fields import difference
from dpdm.plot.graphs import on, shared
from dpdm.plot.libraries import ticker
from dpdm.plot.places import Place, place_of
from dpdm.plot.scene import Scene
from dpdm.plot.source import Source, moment, step_beside

HPA = 100.0
ROUND = (1000, 850, 700, 500, 300, 200, 100, 50, 30, 20, 10, 5, 2, 1)  # hPa
APART = 0.22  # inches between labels


class Air(NamedTuple):
    """What is drawn of a variable, at the chosen steps, each (..., level) and what `near` leaves.

    Attributes:
        source: The variable.
        fields: By title: the mean, the background, the truth, as far as there are any.
        members: The ensemble, if the file holds it.
        errors: Mean and background less the truth, by the titles of the fields.
        spread: The standard deviation over the members.
        date: The steps in words.
    """

    source: Source
    fields: dict[str, xr.DataArray]
    members: xr.DataArray | None
    errors: dict[str, xr.DataArray]
    spread: xr.DataArray | None
    date: str


def air(view: Scene, near: Callable[[xr.DataArray], xr.DataArray]) -> Air:
    """Gather what is to be drawn.

    Args:
        view: The files.
        near: What becomes of fields (..., lat, lon): their values at a point, for example. It is
            linear, and taken before squares are.
    """
    source = view.source
    if LEVEL not in source.whole.dims:
        raise DpdmError(
            f"{source.path} has {source.name} at one level.", "Draw a map of it: --kind map."
        )
    files = {source.called: source, "background": view.background, "truth": view.truth}
    known = {title: file for title, file in files.items() if file is not None}
    fields = {title: at_steps(view, file, file.mean) for title, file in known.items()}
    truth = view.truth
    errors = {
        title: near(less(known[title], field, truth, fields["truth"]))
        for title, field in fields.items()
        if truth is not None and title != "truth"
    }
    drawn = {title: near(field) for title, field in fields.items()}
    members = near(at_steps(view, source, source.whole)) if source.count > 1 else None
    return Air(source, drawn, members, errors, spread_of(view, members, near), said(view))


def spread_of(
    view: Scene, members: xr.DataArray | None, near: Callable[[xr.DataArray], xr.DataArray]
) -> xr.DataArray | None:
    """Return the standard deviation over the members, or what the file keeps of it."""
    if members is not None:
        return members.std("realization", ddof=1, skipna=False)
    kept = view.source.spread
    return None if kept is None else near(at_steps(view, view.source, kept))


def at_steps(view: Scene, file: Source, array: xr.DataArray) -> xr.DataArray:
    """Return the step of a date that is asked for, or all steps."""
    if not view.ask.time or "time" not in array.dims:
        return array
    step, _ = moment(view.source, view.ask.time)
    step = step if file is view.source else step_beside(file, view.source, step)
    return array.isel(time=[step])


def said(view: Scene) -> str:
    """Say which steps are drawn."""
    source = view.source
    if view.ask.time or "time" not in source.whole.dims:
        return moment(source, view.ask.time)[1]
    pace = moments.pace(source.time)
    ends = [moments.said(source.time[step], pace) for step in (0, -1)]
    return " to ".join(dict.fromkeys(ends))


def less(file: Source, field: xr.DataArray, true: Source, truth: xr.DataArray) -> xr.DataArray:
    """Return field minus truth where both are: at the same cells, steps and levels."""
    grid = shared(file, true)
    pair = {"forecast": on(grid, field, "forecast"), "truth": on(grid, truth, "truth")}
    if all("time" in fields.dims for fields in pair.values()):
        pair = match_times(pair)
    apart = pair["forecast"]["field"] - pair["truth"]["field"]
    if not apart.sizes[LEVEL]:
        raise DpdmError(
            f"{file.path} and {true.path} share no level.", "Bring both to the same levels."
        )
    return apart


def over(array: xr.DataArray) -> xr.DataArray:
    """Return the mean over the area, if there is one, and over all steps."""
    area = "lat" in array.dims
    return over_time(array.weighted(area_weights(array)).mean(("lat", "lon")) if area else array)


def over_time(array: xr.DataArray) -> xr.DataArray:
    """Return the mean over all steps."""
    return mean(array, "time") if "time" in array.dims else array


def mean(array: xr.DataArray, dim: str) -> xr.DataArray:
    """Return the mean of what is there, NaN where nothing is."""
    alike = xr.DataArray(np.ones(array.sizes[dim]), dims=dim)
    return array.weighted(alike).mean(dim)


def root(array: xr.DataArray) -> Array:
    """Return the root of the mean square (level,)."""
    values: Array = np.sqrt(over(array**2).values)
    return values


def whole(array: xr.DataArray) -> xr.DataArray:
    """Return fields as they are."""
    return array


def heights(array: xr.DataArray) -> Array:
    """Return the levels as they are drawn: hPa, or m."""
    scale = 1 / HPA if array[LEVEL].attrs.get("units", "Pa") == "Pa" else 1.0
    values: Array = array[LEVEL].values * scale
    return values


def upwards(axes: Any, array: xr.DataArray, edges: Sequence[float] | Array, high: float) -> None:
    """Let an axis rise with height, labelled at round levels that have room.

    Args:
        axes: The graph.
        array: What is drawn.
        edges: The levels, or their edges, of which the outermost bound the axis.
        high: The height of the graph, inches.
    """
    pressure = array[LEVEL].attrs.get("units", "Pa") == "Pa"
    low, top = float(np.min(edges)), float(np.max(edges))
    axes.set_ylabel("hPa" if pressure else "m")
    if not pressure:
        axes.set_ylim(low, top)
        return
    axes.set_yscale("log")
    axes.set_ylim(top, low)
    axes.yaxis.set_major_locator(ticker.FixedLocator(labels(low, top, high)))
    axes.yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def labels(low: float, top: float, high: float) -> list[float]:
    """Return round pressures within the ends of an axis that stand far enough apart.

    Example:
        >>> labels(100.0, 1000.0, 2.0), labels(100.0, 1000.0, 1.0)
        ([1000, 700, 500, 300, 200, 100], [1000, 500, 300, 100])
    """
    kept: list[float] = []
    inch = high / np.log(top / low)
    for level in ROUND:
        if low <= level <= top and (not kept or inch * np.log(kept[-1] / level) >= APART):
            kept.append(level)
    return kept


def place(view: Scene) -> Place | None:
    """Return the point that is asked for, if there is one."""
    return place_of(view.ask, view.source) if view.ask.at else None


def unit_of_errors(source: Source) -> str:
    """Return the unit of a difference."""
    return difference(source.units)
