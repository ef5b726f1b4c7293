r"""Draw maps: one field, a comparison of fields, members, spread, trend, observation misfits.

Trends are least-squares slopes of annual means, of years with the usual number of steps. Their
significance accounts for the lag-1 autocorrelation :math:`r_1` of the residuals:

.. math:: n_e = n \frac{1 - r_1}{1 + r_1}, \qquad
          t = b \Big/ \sqrt{\frac{\sum e^2}{(n_e - 2) \sum (x - \bar x)^2}},

and t has Student's distribution of :math:`n_e - 2` degrees of freedom (Santer et al. 2000,
doi:10.1029/1999JD901105).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
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
from dpdm.observations.collocation import footprints_in_domain, wrap_longitudes
from dpdm.observations.status import ObsStatus
from dpdm.plot.data import PlotData, PlotVariable, difference_unit
from dpdm.plot.map_axes import MapPanel, draw_atlas, layout_sheet
from dpdm.plot.page import Page, ccrs
from dpdm.plot.projection import ProjectedGrid, sample_nearest
from dpdm.plot.scales import ColourScale, make_colour_scale
from dpdm.plot.statistics import read_spread, read_statistic, spread_word
from dpdm.plot.steps import StepChoice, find_date, find_matching_step, read_steps, select_steps
from dpdm.system import read_text

MIN_YEARS = 4  # years
SIGNIFICANCE_LEVEL = 0.05


class Trend(NamedTuple):
    """The trend of each cell.

    Attributes:
        slope: Slope per decade.
        p: Two-sided p-value.
        first: The first year.
        last: The last year.
    """

    slope: xr.DataArray
    p: xr.DataArray
    first: int
    last: int


def annual_means(field: xr.DataArray, path: Any) -> xr.DataArray:
    """Return the means of years with the usual number of steps, reading step by step."""
    years, usual = field["time"].dt.year.values, _usual_step_count(field["time"])
    whole = [y for y in np.unique(years) if np.sum(years == y) == usual]
    if len(whole) < MIN_YEARS:
        raise DpdmError(
            f"{path} has {len(whole)} whole year{'s' * (len(whole) != 1)}, too few for a trend.",
            f"Give {MIN_YEARS} years or more.",
        )
    means = [_mean_of_steps(field, np.flatnonzero(years == year)) for year in whole]
    return xr.concat(means, xr.DataArray(np.array(whole, float), dims="year", name="year"))


def _usual_step_count(time: xr.DataArray) -> int:
    """Return the most frequent number of steps of a year, of ties the largest."""
    counts = Counter(Counter(time.dt.year.values.tolist()).values())
    return max(counts, key=lambda steps: (counts[steps], steps))


def _mean_of_steps(field: xr.DataArray, steps: Any) -> xr.DataArray:
    """Return the mean of steps with one step in memory at a time."""
    fields = (field.isel(time=int(i), drop=True).compute().astype(float) for i in steps)
    mean: xr.DataArray = reduce(add, fields) / len(steps)
    return mean


def fit_trend(years: xr.DataArray) -> Trend:
    """Fit the trend of annual fields (year, lat, lon)."""
    x = years["year"].values
    slope, p = fit_line(x, years.transpose("year", ...).values)
    layout = years.isel(year=0, drop=True)
    return Trend(layout.copy(data=10 * slope), layout.copy(data=p), int(x[0]), int(x[-1]))


def fit_line(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the slope of y (N, ...) against x (N,), and its p-value."""
    deviation = (x - x.mean()).reshape(-1, *(1,) * (y.ndim - 1))
    square = float((deviation**2).sum())
    slope = (deviation * y).sum(0) / square
    residual = y - y.mean(0) - slope * deviation
    power = (residual**2).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        lag = np.clip((residual[1:] * residual[:-1]).sum(0) / power, 0.0, None)
        count = len(x) * (1 - lag) / (1 + lag)
        t = np.abs(slope) / np.sqrt(power / (count - 2) / square)
        p: Array = np.where(count > 2, 2 * stats.t.sf(t, np.maximum(count - 2, 1e-9)), 1.0)
    return slope, np.where(np.isfinite(slope), p, np.nan)


MAX_MEMBER_MAPS = 6  # members on a page
STATUS_MARKERS = {
    ObsStatus.ASSIMILATED.value: "o",
    ObsStatus.WITHHELD.value: "s",
    ObsStatus.VERIFICATION.value: "D",
}


@dataclass(frozen=True)
class DateFields:
    """The fields of one date or season.

    Attributes:
        choice: The steps of the field.
        fields: Available fields by title: coarse, mean, truth.
        spread: The ensemble standard deviation, if available.
    """

    choice: StepChoice
    fields: dict[str, xr.DataArray]
    spread: xr.DataArray | None


def read_date_fields(data: PlotData) -> DateFields:
    """Read the fields of the selected steps."""
    source, options = data.source, data.options
    choice = select_steps(source, options.time, options.season)
    fields = {}
    if data.coarse:
        fields["coarse"] = _matching_fields(data.coarse, source, choice)
    fields[source.mean_label] = read_steps(source.mean, choice.steps, source.path)
    if data.truth:
        fields["truth"] = _matching_fields(data.truth, source, choice)
    return DateFields(choice, fields, read_spread(source, choice.steps))


def _matching_fields(
    other: PlotVariable, source: PlotVariable, choice: StepChoice
) -> xr.DataArray:
    """Read the mean of another file at the dates of some steps."""
    steps = [find_matching_step(other, source, step) for step in choice.steps]
    return read_steps(other.mean, steps, other.path)


def draw_field(data: PlotData) -> Page:
    """Draw one field: the mean of an ensemble, or another statistic of it."""
    source, options = data.source, data.options
    choice = select_steps(source, options.time, options.season)
    shown = read_statistic(source, choice.steps, options.stat)
    sheet = layout_sheet(shown.field, 1, options.form)
    values = sample_nearest(sheet, shown.field)
    scale = make_colour_scale(shown.colour_kind, [values], options.colours)
    relief = source.has_relief and shown.has_relief and not options.no_relief
    panel = MapPanel("", values, scale, relief=relief)
    heading = data.heading(shown.label, choice.label)
    return draw_atlas(heading, [panel], sheet, data.footer, [shown.units], options.form)


def draw_comparison(data: PlotData) -> Page:
    """Draw coarse field, mean and truth on one scale, and the spread on its own."""
    now, source, options = read_date_fields(data), data.source, data.options
    if len(now.fields) + (now.spread is not None) < 2:
        raise DpdmError(
            f"There is nothing to compare {source.path} with: it has no spread.",
            "Add --truth TRUTH.nc or --coarse COARSE.nc, or draw --kind map.",
        )
    count = len(now.fields) + (now.spread is not None)
    sheet = layout_sheet(now.fields[source.mean_label], count, options.form)
    values = {title: sample_nearest(sheet, field) for title, field in now.fields.items()}
    check_not_empty(values, source.path)
    shared = make_colour_scale(source.colour_kind, list(values.values()), options.colours)
    relief = source.has_relief and not options.no_relief
    panels = [MapPanel(title, field, shared, relief=relief) for title, field in values.items()]
    units = [source.units]
    if now.spread is not None:
        spread = sample_nearest(sheet, now.spread)
        word = spread_word(source, now.choice.steps)
        panels.append(MapPanel(word, spread, make_colour_scale("spread", [spread])))
        units.append(f"{word}, {difference_unit(source.units)}")
    heading = data.heading(now.choice.label)
    return draw_atlas(heading, panels, sheet, data.footer, units, options.form)


def check_not_empty(values: Mapping[str, Array], path: object) -> None:
    """Refuse a panel without any value."""
    for title, field in values.items():
        if not np.isfinite(field).any():
            raise DpdmError(
                f"The field {title} has no value in the domain of {path}.",
                "Give a file of the same region.",
            )


def draw_members(data: PlotData) -> Page:
    """Draw the first members on one scale."""
    source, options = data.source, data.options
    choice = select_steps(source, options.time, options.season)
    first = source.members.isel(realization=slice(MAX_MEMBER_MAPS))
    members = read_steps(first, choice.steps, source.path)
    count = members.sizes["realization"]
    sheet = layout_sheet(members, count, options.form)
    values = [sample_nearest(sheet, members.isel(realization=i)) for i in range(count)]
    shared = make_colour_scale(source.colour_kind, values, options.colours)
    names = members["realization"].values if "realization" in members.coords else range(count)
    relief = source.has_relief and not options.no_relief
    panels = [
        MapPanel(f"member {n}", v, shared, relief=relief)
        for n, v in zip(names, values, strict=True)
    ]
    label = f"{count} of {source.count} members" if source.count > MAX_MEMBER_MAPS else ""
    heading = data.heading(label, choice.label)
    return draw_atlas(heading, panels, sheet, data.footer, [source.units], options.form)


def draw_spread(data: PlotData) -> Page:
    """Draw the standard deviation over the members."""
    source, options = data.source, data.options
    choice = select_steps(source, options.time, options.season)
    shown = read_statistic(source, choice.steps, "spread")
    sheet = layout_sheet(shown.field, 1, options.form)
    values = sample_nearest(sheet, shown.field)
    panel = MapPanel("", values, make_colour_scale("spread", [values], options.colours))
    heading = data.heading(shown.label, choice.label)
    return draw_atlas(heading, [panel], sheet, data.footer, [shown.units], options.form)


def draw_trend(data: PlotData) -> Page:
    """Draw the linear trend, hatched where it is not significant."""
    source = data.source
    source.time  # noqa: B018  (raises without a time axis)
    trend = fit_trend(annual_means(source.mean, source.path))
    form = data.options.form
    sheet = layout_sheet(trend.slope, 1, form)
    values, p = sample_nearest(sheet, trend.slope), sample_nearest(sheet, trend.p)
    overlay = partial(hatch_insignificant, sheet, p)
    scale = make_colour_scale("trend", [values], data.options.colours)
    panel = MapPanel("", values, scale, overlay)
    heading = data.heading(f"trend {trend.first} to {trend.last}", "hatched: not significant (5%)")
    units = [f"{difference_unit(source.units)} per decade"]
    return draw_atlas(heading, [panel], sheet, data.footer, units, form)


def hatch_insignificant(sheet: ProjectedGrid, p: Array, axes: Any) -> None:
    """Hatch cells whose trend is not significant."""
    insignificant = np.where(np.isfinite(p), p > SIGNIFICANCE_LEVEL, 0.0)
    axes.contourf(
        *sheet.centres(),
        insignificant,
        levels=[0.5, 1.5],
        colors="none",
        hatches=["/////"],
        zorder=5,
    )


def draw_misfits(data: PlotData) -> Page:
    """Draw the departures of background and analysis at the stations."""
    if data.options.report is None:
        raise DpdmError(
            "A picture of kind obs needs the report of an assimilation.",
            "Add --report OBS_REPORT.csv, as written by dpdm assimilate --report.",
        )
    source = data.source
    step, date = find_date(source, data.options.time)
    rows = select_report_rows(data.options.report, source.name, step, date, source.grid)
    sheet = layout_sheet(source.full_array, 2, data.options.form)
    blank = np.full(sheet.lat.shape, np.nan)
    both = [rows[name].to_numpy(float) * _display_factor(source.units) for name in MISFIT_LABELS]
    shared = make_colour_scale("difference", both, data.options.colours)
    panels = [
        MapPanel(
            f"{name}, rms {rms(misfit):.2g}",
            blank,
            shared,
            partial(draw_station_misfits, rows, misfit, shared),
            relief=not data.options.no_relief,
        )
        for name, misfit in zip(MISFIT_LABELS.values(), both, strict=True)
    ]
    heading = data.heading(f"observed minus prior and analysis, {date}")
    scored = (rows["status"] == ObsStatus.VERIFICATION).any()
    markers = "circles: assimilated" if scored else "squares: withheld"
    legend = f"{difference_unit(source.units)}; {markers}"
    return draw_atlas(heading, panels, sheet, data.footer, [legend], data.options.form)


MISFIT_LABELS = {"innovation": "prior", "residual": "analysis"}


def _display_factor(units: str) -> float:
    """Return the factor from canonical differences to the units of the picture."""
    return 0.01 if units == "hPa" else 1.0


def rms(values: Array) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def select_report_rows(path: Path, name: str, step: int, date: str, domain: Grid) -> pd.DataFrame:
    """Return the used and the scored observations of one variable, step and domain of a report."""
    table = read_report(path)
    matching = (
        (table["variable"] == name)
        & (table["step"] == step)
        & table["status"].isin(STATUS_MARKERS)
    )
    rows = table[matching].dropna(subset=["lat", "lon", *MISFIT_LABELS])
    rows = rows[footprints_in_domain(rows[["lat", "lon"]], domain)]
    if rows.empty:
        known = sorted(set(table["variable"].dropna()))
        raise DpdmError(
            f"{path} has no observation of {name} in the field{' of ' + date if date else ''}.",
            f"It has {', '.join(known)}; select with --variable, --time and --bbox.",
        )
    return rows.assign(lon=wrap_longitudes(rows["lon"].to_numpy(float), domain))


def read_report(path: Path) -> pd.DataFrame:
    """Read the report of an assimilation."""
    try:
        table = pd.read_csv(StringIO(read_text(path)))
    except ValueError as fault:
        reason = str(fault).strip().splitlines()[0]
        raise DpdmError(f"{path} cannot be read: {reason}.", "Give a report as CSV.") from fault
    needed = ("variable", "lat", "lon", "step", "status", *MISFIT_LABELS)
    if absent := [column for column in needed if column not in table]:
        raise DpdmError(
            f"{path} is not a report of an assimilation: it has no column {', '.join(absent)}.",
            "Give the file of dpdm assimilate --report.",
        )
    return table


def draw_station_misfits(
    rows: pd.DataFrame, values: Array, shared: ColourScale, axes: Any
) -> None:
    """Draw a marker for each station, coloured by its departure, with a bar if negative."""
    for status, marker in STATUS_MARKERS.items():
        selected = (rows["status"] == status).to_numpy()
        axes.scatter(
            rows["lon"][selected], rows["lat"][selected], c=values[selected], marker=marker, s=26,
            zorder=6, cmap=shared.colours, norm=shared.norm, edgecolors="black", linewidths=0.5,
            transform=ccrs.PlateCarree(),
        )  # fmt: skip
    low = values < 0
    axes.scatter(
        rows["lon"][low], rows["lat"][low], marker="_", s=12, c="black", linewidths=0.7, zorder=7,
        transform=ccrs.PlateCarree(),
    )  # fmt: skip
