"""The pictures that are maps: one field, fields beside each other, members, trend, misfits."""

from collections.abc import Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]

from dpdm.errors import DpdmError
from dpdm.fields.footprints import inside, turned
from dpdm.fields.grid import Array, Grid
from dpdm.fields.statistics import split_name
from dpdm.fields.status import ObsStatus
from dpdm.plot.libraries import ccrs
from dpdm.plot.looks import Look, look
from dpdm.plot.maps import Panel, atlas, paper
from dpdm.plot.page import Page
from dpdm.plot.scene import Scene, at_once
from dpdm.plot.sheet import Sheet, onto
from dpdm.plot.source import field_at, moment
from dpdm.plot.trends import LEVEL, annual, trend
from dpdm.readable import read_text

MOST = 6  # members on a page
MARKS = {ObsStatus.ASSIMILATED.value: "o", ObsStatus.WITHHELD.value: "s"}


def one(view: Scene) -> Page:
    """Draw one field: the mean, where there are members."""
    now, source = at_once(view), view.source
    field = now.fields[source.called]
    where = paper(field, 1)
    values = onto(where, field)
    panel = Panel("", values, look(kind_of(source.name), [values]))
    called = "" if source.called == "field" else f"ensemble {source.called}"
    called = called.replace("ensemble one member", "one member")
    return atlas(view.heading(called, now.date), [panel], where, view.footer, [source.units])


def kind_of(name: str) -> str:
    """Return the quantity that a variable is, by which it is coloured.

    Example:
        >>> kind_of("t2m_spread"), kind_of("tp_p90"), kind_of("t2m")
        ('spread', 'tp', 't2m')
    """
    stem, statistic = split_name(name)
    return "spread" if statistic == "spread" else stem


def compare(view: Scene) -> Page:
    """Draw coarse, mean and truth on one scale, and the spread on its own."""
    now, source = at_once(view), view.source
    if len(now.fields) + (now.spread is not None) < 2:
        raise DpdmError(
            f"There is nothing to compare {source.path} with: it has no spread.",
            "Say --truth TRUTH.nc or --coarse COARSE.nc, or draw --kind map.",
        )
    where = paper(now.fields[source.called], 2)
    values = {title: onto(where, field) for title, field in now.fields.items()}
    check_there(values, source.path)
    shared = look(source.name, list(values.values()))
    panels = [Panel(title, field, shared) for title, field in values.items()]
    units = [source.units]
    if now.spread is not None:
        wide = onto(where, now.spread)
        panels.append(Panel("spread", wide, look("spread", [wide])))
        units.append(f"spread, {difference(source.units)}")
    return atlas(view.heading(now.date), panels, where, view.footer, units)


def check_there(values: Mapping[str, Array], path: Path) -> None:
    """Refuse a panel without a single value."""
    for title, field in values.items():
        if not np.isfinite(field).any():
            raise DpdmError(
                f"The field called {title} has no value where {path} lies.",
                "Give a file of the same region.",
            )


def difference(units: str) -> str:
    """Return the unit of a difference: a degree is a kelvin then."""
    return "K" if units == "°C" else units


def members(view: Scene) -> Page:
    """Draw the first members on one scale."""
    source = view.source
    step, date = moment(source, view.ask.time)
    each = field_at(source.members.isel(realization=slice(MOST)), step, source.path)
    where = paper(each, 2)
    values = [onto(where, each.isel(realization=i)) for i in range(each.sizes["realization"])]
    shared = look(source.name, values)
    names = each["realization"].values if "realization" in each.coords else range(len(values))
    panels = [Panel(f"member {n}", v, shared) for n, v in zip(names, values, strict=True)]
    some = f"{len(values)} of {source.count} members" if source.count > MOST else ""
    return atlas(view.heading(some, date), panels, where, view.footer, [source.units])


def spread(view: Scene) -> Page:
    """Draw the standard deviation over the members."""
    source = view.source
    step, date = moment(source, view.ask.time)
    wide = source.spread
    if wide is None:
        raise DpdmError(
            f"{source.path} holds no spread of {source.name}, and not two members to make it of.",
            "Downscale with --members 2 or more, or draw --kind map.",
        )
    field = field_at(wide, step, source.path)
    where = paper(field, 1)
    values = onto(where, field)
    panel = Panel("", values, look("spread", [values]))
    units = [difference(source.units)]
    return atlas(view.heading("ensemble spread", date), [panel], where, view.footer, units)


def slope(view: Scene) -> Page:
    """Draw the linear trend, hatched where it may be chance."""
    source = view.source
    source.time  # noqa: B018  (says that there is none)
    found = trend(annual(source.mean, source.path))
    where = paper(found.slope, 1)
    values, chance = onto(where, found.slope), onto(where, found.p)
    over = partial(hatch, where, chance)
    panel = Panel("", values, look("trend", [values]), over)
    words = view.heading(f"trend {found.first} to {found.last}", "hatched: not significant (5%)")
    units = [f"{difference(source.units)} per decade"]
    return atlas(words, [panel], where, view.footer, units)


def hatch(where: Sheet, chance: Array, axes: Any) -> None:
    """Hatch what is not significant."""
    doubtful = np.where(np.isfinite(chance), chance > LEVEL, 0.0)
    axes.contourf(
        *where.centres(), doubtful, levels=[0.5, 1.5], colors="none", hatches=["/////"], zorder=5
    )


def misfits(view: Scene) -> Page:
    """Draw what prior and analysis miss at the stations."""
    if view.ask.report is None:
        raise DpdmError(
            "A picture of kind obs needs the report of an assimilation.",
            "Say --report OBS_REPORT.csv, which dpdm assimilate --report writes.",
        )
    source = view.source
    step, date = moment(source, view.ask.time)
    rows = stations(view.ask.report, source.name, step, date, source.grid)
    where = paper(source.whole, 2)
    blank = np.full(where.lat.shape, np.nan)
    both = [rows[name].to_numpy(float) * _factor(source.units) for name in WORDS]
    shared = look("difference", both)
    panels = [
        Panel(f"{name}, rms {rms(misfit):.2g}", blank, shared, partial(dots, rows, misfit, shared))
        for name, misfit in zip(WORDS.values(), both, strict=True)
    ]
    heading = view.heading(f"observed minus prior and analysis, {date}")
    legend = f"{difference(source.units)}; squares: withheld"
    return atlas(heading, panels, where, view.footer, [legend])


WORDS = {"innovation": "prior", "residual": "analysis"}


def _factor(units: str) -> float:
    """Return what brings canonical differences to the unit that is shown."""
    return 0.01 if units == "hPa" else 1.0


def rms(values: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def stations(path: Path, name: str, step: int, date: str, domain: Grid) -> pd.DataFrame:
    """Return the rows of a report that were used or withheld, of one variable, step and domain."""
    table = report(path)
    mine = (table["variable"] == name) & (table["step"] == step) & table["status"].isin(MARKS)
    rows = table[mine].dropna(subset=["lat", "lon", *WORDS])
    rows = rows[inside(rows[["lat", "lon"]], domain)]
    if rows.empty:
        known = sorted(set(table["variable"].dropna()))
        raise DpdmError(
            f"{path} has no observation of {name} in the field{' of ' + date if date else ''}.",
            f"It has {', '.join(known)}; choose with --variable, --time and --bbox.",
        )
    return rows.assign(lon=turned(rows["lon"].to_numpy(float), domain))


def report(path: Path) -> pd.DataFrame:
    """Read what an assimilation reports of its observations."""
    try:
        table = pd.read_csv(StringIO(read_text(path)))
    except ValueError as fault:
        reason = str(fault).strip().splitlines()[0]
        raise DpdmError(f"{path} cannot be read: {reason}.", "Give a report as CSV.") from fault
    needed = ("variable", "lat", "lon", "step", "status", *WORDS)
    if absent := [column for column in needed if column not in table]:
        raise DpdmError(
            f"{path} is no report of an assimilation: it has no column {', '.join(absent)}.",
            "Give what dpdm assimilate --report wrote.",
        )
    return table


def dots(rows: pd.DataFrame, values: Array, shared: Look, axes: Any) -> None:
    """Draw a mark for each station, coloured by what was missed; below zero it has a bar."""
    for status, mark in MARKS.items():
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
