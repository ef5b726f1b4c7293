r"""The pictures that are maps: one field, fields beside each other, members, trend, misfits.

The straight line through a series, and whether it is more than weather.

Of annual means, so that the season is gone; only years count that have the usual months. The slope
is that of least squares. Residuals that remember the year before hold less than they count, so

.. math:: n_e = n \frac{1 - r_1}{1 + r_1}, \qquad
          t = b \Big/ \sqrt{\frac{\sum e^2}{(n_e - 2) \sum (x - \bar x)^2}},

with their lag-1 correlation :math:`r_1`, and t is compared with Student's distribution of
:math:`n_e - 2` degrees of freedom (Santer et al. 2000, doi:10.1029/1999JD901105).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial, reduce
from io import StringIO
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid
from dpdm.fields.level_names import split_statistic
from dpdm.observations.collocation import footprints_in_domain, wrap_longitudes
from dpdm.observations.status import ObsStatus
from dpdm.plot.data import PlotData, find_date, read_date_fields, read_step
from dpdm.plot.map_axes import MapPanel, draw_atlas, layout_sheet
from dpdm.plot.page import ColourScale, Page, ccrs, make_colour_scale
from dpdm.plot.projection import ProjectedGrid, sample_nearest
from dpdm.system import read_text

MIN_YEARS = 4  # years
SIGNIFICANCE_LEVEL = 0.05


class Trend(NamedTuple):
    """A trend, cell by cell.

    Attributes:
        slope: Per decade.
        p: The probability of as steep a slope without any, two-sided.
        first: The first year.
        last: The last.
    """

    slope: xr.DataArray
    p: xr.DataArray
    first: int
    last: int


def annual_means(field: xr.DataArray, path: Any) -> xr.DataArray:
    """Return the means of the years that have the usual steps, read step by step."""
    years, usual = field["time"].dt.year.values, _usual_step_count(field["time"])
    kept = [y for y in np.unique(years) if np.sum(years == y) == usual]
    if len(kept) < MIN_YEARS:
        raise DpdmError(
            f"{path} has {len(kept)} whole year{'s' * (len(kept) != 1)}, too few for a trend.",
            f"Give {MIN_YEARS} years or more.",
        )
    means = [_mean_of_steps(field, np.flatnonzero(years == year)) for year in kept]
    return xr.concat(means, xr.DataArray(np.array(kept, float), dims="year", name="year"))


def _usual_step_count(time: xr.DataArray) -> int:
    """Return how many steps most years have; of equals, the more."""
    counts = Counter(Counter(time.dt.year.values.tolist()).values())
    return max(counts, key=lambda steps: (counts[steps], steps))


def _mean_of_steps(field: xr.DataArray, steps: Any) -> xr.DataArray:
    """Return the mean of some steps with one of them in memory at a time."""
    each = (field.isel(time=int(i), drop=True).compute().astype(float) for i in steps)
    mean: xr.DataArray = reduce(add, each) / len(steps)
    return mean


def fit_trend(years: xr.DataArray) -> Trend:
    """Return the trend of annual fields (year, lat, lon)."""
    x = years["year"].values
    slope, p = fit_line(x, years.transpose("year", ...).values)
    like = years.isel(year=0, drop=True)
    return Trend(like.copy(data=10 * slope), like.copy(data=p), int(x[0]), int(x[-1]))


def fit_line(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the slope of y (N, ...) along x (N,), and the probability p that it is chance."""
    across = (x - x.mean()).reshape(-1, *(1,) * (y.ndim - 1))
    square = float((across**2).sum())
    slope = (across * y).sum(0) / square
    left = y - y.mean(0) - slope * across
    power = (left**2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        memory = np.clip((left[1:] * left[:-1]).sum(0) / power, 0.0, None)
        count = len(x) * (1 - memory) / (1 + memory)
        t = np.abs(slope) / np.sqrt(power / (count - 2) / square)
        p: Array = np.where(count > 2, 2 * stats.t.sf(t, np.maximum(count - 2, 1e-9)), 1.0)
    return slope, np.where(np.isfinite(slope), p, np.nan)


MAX_MEMBER_MAPS = 6  # members on a page
STATUS_MARKERS = {ObsStatus.ASSIMILATED.value: "o", ObsStatus.WITHHELD.value: "s"}


def draw_field(view: PlotData) -> Page:
    """Draw one field: the mean, where there are members."""
    now, source = read_date_fields(view), view.source
    field = now.fields[source.mean_label]
    where = layout_sheet(field, 1)
    values = sample_nearest(where, field)
    panel = MapPanel("", values, make_colour_scale(colour_quantity(source.name), [values]))
    called = "" if source.mean_label == "field" else f"ensemble {source.mean_label}"
    called = called.replace("ensemble one member", "one member")
    return draw_atlas(view.heading(called, now.date), [panel], where, view.footer, [source.units])


def colour_quantity(name: str) -> str:
    """Return the quantity that a variable is, by which it is coloured.

    Example:
        >>> kind_of("t2m_spread"), kind_of("tp_p90"), kind_of("t2m")
        ('spread', 'tp', 't2m')
    """
    stem, statistic = split_statistic(name)
    return "spread" if statistic == "spread" else stem


def draw_comparison(view: PlotData) -> Page:
    """Draw coarse, mean and truth on one scale, and the spread on its own."""
    now, source = read_date_fields(view), view.source
    if len(now.fields) + (now.spread is not None) < 2:
        raise DpdmError(
            f"There is nothing to compare {source.path} with: it has no spread.",
            "Say --truth TRUTH.nc or --coarse COARSE.nc, or draw --kind map.",
        )
    where = layout_sheet(now.fields[source.mean_label], 2)
    values = {title: sample_nearest(where, field) for title, field in now.fields.items()}
    check_not_empty(values, source.path)
    shared = make_colour_scale(source.name, list(values.values()))
    panels = [MapPanel(title, field, shared) for title, field in values.items()]
    units = [source.units]
    if now.spread is not None:
        wide = sample_nearest(where, now.spread)
        panels.append(MapPanel("spread", wide, make_colour_scale("spread", [wide])))
        units.append(f"spread, {difference_unit(source.units)}")
    return draw_atlas(view.heading(now.date), panels, where, view.footer, units)


def check_not_empty(values: Mapping[str, Array], path: Path) -> None:
    """Refuse a panel without a single value."""
    for title, field in values.items():
        if not np.isfinite(field).any():
            raise DpdmError(
                f"The field called {title} has no value where {path} lies.",
                "Give a file of the same region.",
            )


def difference_unit(units: str) -> str:
    """Return the unit of a difference: a degree is a kelvin then."""
    return "K" if units == "°C" else units


def draw_members(view: PlotData) -> Page:
    """Draw the first members on one scale."""
    source = view.source
    step, date = find_date(source, view.options.time)
    each = read_step(source.members.isel(realization=slice(MAX_MEMBER_MAPS)), step, source.path)
    where = layout_sheet(each, 2)
    values = [
        sample_nearest(where, each.isel(realization=i)) for i in range(each.sizes["realization"])
    ]
    shared = make_colour_scale(source.name, values)
    names = each["realization"].values if "realization" in each.coords else range(len(values))
    panels = [MapPanel(f"member {n}", v, shared) for n, v in zip(names, values, strict=True)]
    some = f"{len(values)} of {source.count} members" if source.count > MAX_MEMBER_MAPS else ""
    return draw_atlas(view.heading(some, date), panels, where, view.footer, [source.units])


def draw_spread(view: PlotData) -> Page:
    """Draw the standard deviation over the members."""
    source = view.source
    step, date = find_date(source, view.options.time)
    wide = source.spread
    if wide is None:
        raise DpdmError(
            f"{source.path} holds no spread of {source.name}, and not two members to make it of.",
            "Downscale with --members 2 or more, or draw --kind map.",
        )
    field = read_step(wide, step, source.path)
    where = layout_sheet(field, 1)
    values = sample_nearest(where, field)
    panel = MapPanel("", values, make_colour_scale("spread", [values]))
    units = [difference_unit(source.units)]
    return draw_atlas(view.heading("ensemble spread", date), [panel], where, view.footer, units)


def draw_trend(view: PlotData) -> Page:
    """Draw the linear trend, hatched where it may be chance."""
    source = view.source
    source.time  # noqa: B018  (says that there is none)
    found = fit_trend(annual_means(source.mean, source.path))
    where = layout_sheet(found.slope, 1)
    values, chance = sample_nearest(where, found.slope), sample_nearest(where, found.p)
    over = partial(hatch_insignificant, where, chance)
    panel = MapPanel("", values, make_colour_scale("trend", [values]), over)
    words = view.heading(f"trend {found.first} to {found.last}", "hatched: not significant (5%)")
    units = [f"{difference_unit(source.units)} per decade"]
    return draw_atlas(words, [panel], where, view.footer, units)


def hatch_insignificant(where: ProjectedGrid, chance: Array, axes: Any) -> None:
    """Hatch what is not significant."""
    doubtful = np.where(np.isfinite(chance), chance > SIGNIFICANCE_LEVEL, 0.0)
    axes.contourf(
        *where.centres(), doubtful, levels=[0.5, 1.5], colors="none", hatches=["/////"], zorder=5
    )


def draw_misfits(view: PlotData) -> Page:
    """Draw what prior and analysis miss at the stations."""
    if view.options.report is None:
        raise DpdmError(
            "A picture of kind obs needs the report of an assimilation.",
            "Say --report OBS_REPORT.csv, which dpdm assimilate --report writes.",
        )
    source = view.source
    step, date = find_date(source, view.options.time)
    rows = select_report_rows(view.options.report, source.name, step, date, source.grid)
    where = layout_sheet(source.full_array, 2)
    blank = np.full(where.lat.shape, np.nan)
    both = [rows[name].to_numpy(float) * _display_factor(source.units) for name in MISFIT_LABELS]
    shared = make_colour_scale("difference", both)
    panels = [
        MapPanel(
            f"{name}, rms {rms(misfit):.2g}",
            blank,
            shared,
            partial(draw_station_misfits, rows, misfit, shared),
        )
        for name, misfit in zip(MISFIT_LABELS.values(), both, strict=True)
    ]
    heading = view.heading(f"observed minus prior and analysis, {date}")
    legend = f"{difference_unit(source.units)}; squares: withheld"
    return draw_atlas(heading, panels, where, view.footer, [legend])


MISFIT_LABELS = {"innovation": "prior", "residual": "analysis"}


def _display_factor(units: str) -> float:
    """Return what brings canonical differences to the unit that is shown."""
    return 0.01 if units == "hPa" else 1.0


def rms(values: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def select_report_rows(path: Path, name: str, step: int, date: str, domain: Grid) -> pd.DataFrame:
    """Return the rows of a report that were used or withheld, of one variable, step and domain."""
    table = read_report(path)
    mine = (
        (table["variable"] == name)
        & (table["step"] == step)
        & table["status"].isin(STATUS_MARKERS)
    )
    rows = table[mine].dropna(subset=["lat", "lon", *MISFIT_LABELS])
    rows = rows[footprints_in_domain(rows[["lat", "lon"]], domain)]
    if rows.empty:
        known = sorted(set(table["variable"].dropna()))
        raise DpdmError(
            f"{path} has no observation of {name} in the field{' of ' + date if date else ''}.",
            f"It has {', '.join(known)}; choose with --variable, --time and --bbox.",
        )
    return rows.assign(lon=wrap_longitudes(rows["lon"].to_numpy(float), domain))


def read_report(path: Path) -> pd.DataFrame:
    """Read what an assimilation reports of its observations."""
    try:
        table = pd.read_csv(StringIO(read_text(path)))
    except ValueError as fault:
        reason = str(fault).strip().splitlines()[0]
        raise DpdmError(f"{path} cannot be read: {reason}.", "Give a report as CSV.") from fault
    needed = ("variable", "lat", "lon", "step", "status", *MISFIT_LABELS)
    if absent := [column for column in needed if column not in table]:
        raise DpdmError(
            f"{path} is no report of an assimilation: it has no column {', '.join(absent)}.",
            "Give what dpdm assimilate --report wrote.",
        )
    return table


def draw_station_misfits(
    rows: pd.DataFrame, values: Array, shared: ColourScale, axes: Any
) -> None:
    """Draw a mark for each station, coloured by what was missed; below zero it has a bar."""
    for status, mark in STATUS_MARKERS.items():
        some = (rows["status"] == status).to_numpy()
        axes.scatter(
            rows["lon"][some], rows["lat"][some], c=values[some], marker=mark, s=26, zorder=6,
            cmap=shared.colours, norm=shared.norm, edgecolors="black", linewidths=0.5,
            transform=ccrs.PlateCarree(),
        )  # fmt: skip
    low = values < 0
    axes.scatter(
        rows["lon"][low], rows["lat"][low], marker="_", s=12, c="black", linewidths=0.7, zorder=7,
        transform=ccrs.PlateCarree(),
    )  # fmt: skip
