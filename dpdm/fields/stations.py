r"""Check observations against the field that they are to inform.

What cannot be used keeps its row, and its status says why. Values at one place, step and variable,
be they duplicates or several within the step, become one. Their errors are taken as independent:

.. math::

    y = e^2 \sum_i y_i / e_i^2, \qquad e^{-2} = \sum_i e_i^{-2},

so n equal errors shrink by the square root of n. Whoever knows that they are not independent,
representativeness above all, gives larger ones. What an operator makes of a variable stays apart:
two directions have no mean, and two channels of a satellite are not one.
"""

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.columns import SETTINGS
from dpdm.fields.coverage import missing_coverage
from dpdm.fields.footprints import inside, turned
from dpdm.fields.grid import Grid, step
from dpdm.fields.observations import swapped
from dpdm.fields.status import ObsStatus, is_usable, mark
from dpdm.fields.status import reasons as without_particulars
from dpdm.fields.steps import before, steps
from dpdm.fields.time import is_dated
from dpdm.fields.values import KEEPING, meanings, operators
from dpdm.fields.variables import ALOFT, REMOTE

Array = NDArray[np.float64]
Index = NDArray[np.int64]
DRY = 0.05  # land fraction from which a cell counts as land
ROUND = 4  # digits of a degree that tell two places apart, about 10 m
KINDS = ("variable", "operator", "pressure", "channel", *SETTINGS)
KEYS = (*KINDS, "step", "last", "trajectory", "component", "y", "x")


def check(
    table: pd.DataFrame,
    domain: Grid | None = None,
    time: xr.DataArray | None = None,
    bounds: xr.DataArray | None = None,
    period: str = "",
    statics: xr.Dataset | None = None,
    relief: float = 1500.0,
    coverage: float = 0.0,
) -> pd.DataFrame:
    """Return observations with the status and the step of each; of a time mean also the last.

    Args:
        table: What `read_observations` gives.
        domain: The field's grid, seen step by step; None for trajectories.
        time: The field's time axis; None where it has none: all values are of its one step.
        bounds: Bounds of the steps (time, 2).
        period: What a step stands for: see `steps.steps`.
        statics: Topography (m) and land fraction on the domain: see `statics.statics`.
        relief: By how many metres a station's height may differ from the relief's.
        coverage: Share of a month, season or year that a station's values must cover.
    """
    table = table.copy()
    if domain is not None:
        _check_swapped(table, domain)
        mark(table, ~inside(table, domain), ObsStatus.OUTSIDE)
    if domain is not None and statics is not None:
        _mark_land(table, domain, statics, relief)
    table["step"] = 0 if time is None else _steps(table, time, bounds, period)
    mark(table, table["time"].isna() & (table["step"] < 0), ObsStatus.NO_TIME)
    mark(table, table["step"] < 0, ObsStatus.NO_STEP)
    if "end" in table and time is not None:
        table["last"] = _last(table, time, bounds, period)
        over = (table["last"] != table["step"]) & (domain is not None)
        mark(table, over, ObsStatus.SEVERAL_STEPS)
    if time is not None and is_dated(time):
        _mark_sparse(table, time, bounds, period, coverage)
    _check_left(table, time)
    return merged(table)


def _mark_sparse(
    table: pd.DataFrame, time: xr.DataArray, bounds: xr.DataArray | None, period: str, least: float
) -> None:
    """Mark values that cover too little of the month, season or year that they would stand for."""
    used = table[is_usable(table)]
    used = used[meanings(used).isin(used["variable"]).to_numpy() & used["time"].notna().to_numpy()]
    if used.empty or not least:
        return
    groups = _groups(used)
    sparse = missing_coverage(used, groups, time, bounds, period, least)
    reasons = pd.Series(groups, index=used.index).map(sparse).dropna()
    table.loc[reasons.index, "status"] = reasons


def tally(table: pd.DataFrame) -> dict[str, int]:
    """Count observations by status, `used` first; of merged ones, those that lost their row."""
    counts = without_particulars(table).replace("", "used").value_counts()
    return {"used": int(counts.get("used", 0))} | {
        str(reason): int(count) for reason, count in counts.items() if reason != "used"
    }


def withhold(table: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """Return observations of which a random share of the stations is withheld, to score with.

    A station is withheld whole, all its variables and times; which ones depends on the seed and
    the stations, not on the order of the rows. States without space have no stations: of them,
    single times are withheld.

    Args:
        table: Checked observations.
        share: Which share of the stations that are in use, at least one and never all; 0 is none.
        seed: Of the draw.
    """
    if not 0 <= share < 1:
        raise DpdmError(f"The share to withhold is {share:g}.", "Give 0, or up to below 1.")
    used = is_usable(table)
    names = station_names(table)
    stations = np.unique(names[used])
    if share == 0:
        return table.copy()
    if stations.size < 2:
        raise DpdmError("There is but one station, and it cannot be withheld.", "Add stations.")
    count = int(np.clip(round(share * stations.size), 1, stations.size - 1))
    drawn = np.random.default_rng(seed).choice(stations, count, replace=False)
    chosen = used & np.isin(names, drawn)
    return table.assign(status=table["status"].mask(chosen, ObsStatus.WITHHELD.value))


def station_names(table: pd.DataFrame) -> np.ndarray:
    """Return what tells stations apart: their name, or else their place.

    States without space have none: there it is the moment.
    """
    spaceless = "component" in table and (table["component"] != "").all()
    where = ("trajectory", "time") if spaceless else ("lat", "lon", "y", "x", "component")
    columns = [name for name in where if name in table]
    texts = [_places(table)[name].astype(str) for name in columns]
    places = texts[0].str.cat(texts[1:], sep=" ")
    given = table["station"] if "station" in table else pd.Series("", table.index)
    names: np.ndarray = given.where(given != "", places).to_numpy(dtype=str)
    return names


def merged(table: pd.DataFrame) -> pd.DataFrame:
    """Return observations of which those of one place, step and variable are merged.

    The first row keeps the mean, weighted by inverse variance, and its error; the others' status
    names it.
    """
    used = table[is_usable(table)]
    group = _groups(used)
    first = used.index[np.unique(group, return_index=True)[1]]
    weight = 1.0 / used["error"].to_numpy() ** 2
    total = np.bincount(group, weight)
    mean = np.bincount(group, weight * used["value"].to_numpy()) / total
    several = np.bincount(group) > 1
    out = table.copy()
    out.loc[first[several], "value"] = mean[several]
    out.loc[first[several], "error"] = total[several] ** -0.5
    later = ~used.index.isin(first)
    out.loc[used.index[later], "status"] = _into(table, first[group[later]])
    return out


def _groups(used: pd.DataFrame) -> NDArray[np.int64]:
    """Number the groups of one place, step and variable in order of appearance."""
    columns = ["lat", "lon", "apart", *(name for name in KEYS if name in used)]
    apart = np.where(operators(used).isin(KEEPING), -1, np.arange(len(used)))
    rows = _places(used).assign(apart=apart)
    codes = rows.groupby(columns, sort=False, dropna=False).ngroup()
    numbers: NDArray[np.int64] = codes.to_numpy(dtype=np.int64)
    return numbers


def _into(table: pd.DataFrame, rows: pd.Index) -> list[str]:
    kept = table.loc[rows]
    return [
        ObsStatus.MERGED.of(f"{row} of {source}")
        for row, source in zip(kept["row"], kept["source"], strict=True)
    ]


def _places(table: pd.DataFrame) -> pd.DataFrame:
    """Round places, longitudes on one turn of the circle, so that equal ones are equal."""
    return table.assign(
        lat=table["lat"].round(ROUND) + 0.0, lon=(table["lon"] % 360).round(ROUND) % 360
    )


def _steps(
    table: pd.DataFrame, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> NDArray[np.int64]:
    """Match times to steps; without any time, to a field's only step."""
    found = steps(table["time"], time, bounds, period)
    return np.where(table["time"].isna() & (time.size == 1), 0, found)


def _last(
    table: pd.DataFrame, time: xr.DataArray, bounds: xr.DataArray | None, period: str
) -> NDArray[np.int64]:
    """Match the ends of means over time to their last step; other rows end where they begin."""
    means = (table["end"].notna() & table["time"].notna()).to_numpy()
    out: NDArray[np.int64] = table["step"].to_numpy(np.int64, copy=True)
    if means.any():
        out[means] = steps(_ends(table[means]), time, bounds, period)
    return out


def _ends(means: pd.DataFrame) -> pd.Series:
    """Return the last moments of means, which hold their beginning and not their end."""
    begin, end = means["time"], means["end"]
    try:
        wrong = means[(end < begin).to_numpy()]
    except TypeError as fault:  # a date against a number, or against a date of another calendar
        what = f"A mean begins at {begin.iloc[0]} and ends at {end.iloc[0]}."
        raise DpdmError(what, "Write both in the same way.") from fault
    if len(wrong):
        row = wrong.iloc[0]
        raise DpdmError(
            f"{row['source']}: row {row['row']} is a mean from {row['time']} to {row['end']}.",
            "Give the earlier time first.",
        )
    return before(end).where(end > begin, begin)


def _check_swapped(table: pd.DataFrame, domain: Grid) -> None:
    placed = table[is_usable(table) & table["lat"].notna()]
    if len(placed) and not inside(placed, domain).any() and inside(placed, domain, True).all():
        raise swapped("Every observation lies outside the domain, and inside it the other way")


def _check_left(table: pd.DataFrame, time: xr.DataArray | None) -> None:
    if not is_usable(table).any():
        counts = {why: n for why, n in tally(table).items() if n}
        said = ", ".join(f"{n} {why}" for why, n in counts.items())
        hint = _remedy(max(counts, key=lambda why: counts[why]), table, time)
        raise DpdmError(f"No observation is left of {len(table)}: {said}.", hint)


def _remedy(reason: str, table: pd.DataFrame, time: xr.DataArray | None) -> str:
    """Say what may help where no observation is left."""
    if reason == ObsStatus.NO_STEP and time is not None:
        seen = table.loc[table["status"] == ObsStatus.NO_STEP, "time"]
        return f"They are of {_span(seen)}, and the field is of {_span(time.to_series())}."
    if reason == ObsStatus.NO_POSITION:
        return "Call the columns of their places lat and lon, or y and x on a plane."
    if reason == ObsStatus.NO_TIME:
        return "Call the column of their times time, and fill it."
    return "Compare their places and times with the field's: dpdm info FIELD.nc."


def _span(stamps: pd.Series) -> str:
    """Return the first and the last of dates or numbers.

    Example:
        >>> _span(pd.Series([2.5, 1.0]))
        '1 to 2.5'
    """
    first, last = (
        f"{at:g}" if isinstance(at, float) else str(at)[:10] for at in (stamps.min(), stamps.max())
    )
    return first if first == last else f"{first} to {last}"


def _mark_land(table: pd.DataFrame, domain: Grid, statics: xr.Dataset, relief: float) -> None:
    """Mark stations on land that the field has as sea, and those far above or below its relief."""
    points = operators(table).isin(("", "point")) & ~meanings(table).isin(ALOFT | REMOTE)
    here = table.index[is_usable(table) & table["elevation"].notna() & points]
    part = table.loc[here]
    rows, columns = _cells(part, domain)
    land = _most(statics["land_fraction"].values, rows, columns, domain.cyclic)
    off = part["elevation"] - statics["topography"].values[rows, columns]
    sea = (land < DRY) & (part["elevation"] > 0)
    table.loc[here[off.abs() > relief], "status"] = ObsStatus.OFF_RELIEF.value
    table.loc[here[sea], "status"] = ObsStatus.NO_LAND.value


def _cells(table: pd.DataFrame, domain: Grid) -> tuple[Index, Index]:
    """Return row and column of the nearest cell."""
    lat, lon = table["lat"].to_numpy(), turned(table["lon"].to_numpy(), domain)
    rows = np.rint((lat - domain.lat[0]) / step(domain.lat)).astype(int)
    columns = np.rint((lon - domain.lon[0]) / step(domain.lon)).astype(int)
    height, width = domain.shape
    return rows.clip(0, height - 1), _turn(columns, width, domain.cyclic)


def _turn(columns: Index, width: int, cyclic: bool) -> Index:
    return columns % width if cyclic else columns.clip(0, width - 1)


def _most(field: Array, rows: Index, columns: Index, cyclic: bool) -> Array:
    """Return the largest value of cells and their eight neighbours."""
    height, width = field.shape
    around = [
        field[(rows + i).clip(0, height - 1), _turn(columns + j, width, cyclic)]
        for i in (-1, 0, 1)
        for j in (-1, 0, 1)
    ]
    largest: Array = np.max(around, axis=0)
    return largest
