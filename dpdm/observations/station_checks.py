"""Check stations as a whole: twins under two names, other units or places, several positions.

A twin has the values of a station nearby. Monthly values that differ from those of the neighbours
by far more than the climatologies of the places do are in another unit, or have a wrong height
or position: such differences reach 2.4 K and 0.7 in log(1 + tp) among 632 Japanese stations.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from dpdm.errors import DpdmWarning
from dpdm.observations.columns import row_operators
from dpdm.observations.place_climate import place_normals
from dpdm.observations.series import MIN_NEIGHBOURS, StationSeries, neighbour_statistics
from dpdm.observations.stations import chord, round_positions, unit_vectors
from dpdm.observations.status import ObsStatus, is_usable, overrule_status
from dpdm.observations.step_changes import comparable_values
from dpdm.observations.usual_difference import usual_difference

ROUNDING = {"t2m": 0.05, "tp": 0.02, "sp": 10.0, "msl": 10.0}  # K, mm day-1, Pa
TWIN_CANDIDATES = 3  # nearest stations that may be the same
MIN_COMMON = 12  # common values, without zeros of precipitation
TWIN_SHARE = 0.95  # of the common values, that are equal; at most 0.28 among those of Japan
MAX_DIFFERENCE = {"t2m": 8.0, "tp": 1.5}  # K, and in log(1 + tp), from the neighbours' departures
SEVERAL = (2, 5)  # positions of a station that moves; platforms have more
SAME_STATION = 10.0  # km
NEED_HEIGHT = ("t2m", "sp")
LISTED = 5  # stations in a warning


def mark_twin_series(table: pd.DataFrame, series: StationSeries, variable: str) -> None:
    """Mark the values of a station, in place, that another nearby has under another name."""
    total = np.bincount(series.station)
    numbers = np.arange(len(total))
    for nearest in series.candidates.T[:TWIN_CANDIDATES]:
        at = series.find(nearest[series.station], series.period)
        common = (at >= 0) & ((variable != "tp") | (series.value > 0))
        equal = common & (np.abs(series.value - series.value[at]) <= ROUNDING[variable])
        shared, same = (np.bincount(series.station, each) for each in (common, equal))
        shorter = (total < total[nearest]) | ((total == total[nearest]) & (numbers > nearest))
        twin = shorter & (shared >= MIN_COMMON) & (same >= TWIN_SHARE * shared)
        chosen = (at >= 0) & twin[series.station]
        those = table[["row", "source"]].iloc[series.rows[at[chosen]]]
        reasons = [
            ObsStatus.DUPLICATE.of(f"{row} of {source}")
            for row, source in zip(those["row"], those["source"], strict=True)
        ]
        overrule_status(table, series.rows[chosen], reasons)


def mark_unlike_neighbours(table: pd.DataFrame, series: StationSeries, variable: str) -> None:
    """Mark monthly values, in place, that usually differ from neighbours as no climate does."""
    value = comparable_values(series.value, variable)
    departure = value - place_normals(series, variable)
    if not np.isfinite(departure).any():
        return
    median, _, count = neighbour_statistics(series, departure, np.arange(len(departure)))
    difference = np.where(count >= MIN_NEIGHBOURS, departure - median, np.nan)
    usual, _ = usual_difference(series.station, difference)
    wrong = np.abs(usual) > MAX_DIFFERENCE[variable]
    reasons = [f"{ObsStatus.UNLIKE}: {_describe(size, variable)}" for size in usual[wrong]]
    overrule_status(table, series.rows[wrong], reasons)


def _describe(size: float, variable: str) -> str:
    """Return a difference of temperature, or a ratio of precipitation.

    Example:
        >>> _describe(23.96, "t2m"), _describe(-2.3, "tp")
        ('by +24 K for years', 'by a factor of 0.1 for years')
    """
    if variable == "tp":
        return f"by a factor of {np.exp(size):.2g} for years"
    return f"by {size:+.0f} K for years"


def warn_of_stations(table: pd.DataFrame) -> None:
    """Warn of stations with several positions, and of heights that only some stations have."""
    chosen = is_usable(table) & row_operators(table).isin(("", "point")).to_numpy()
    chosen &= table["lat"].notna().to_numpy()
    if "pressure" in table:
        chosen &= table["pressure"].isna().to_numpy()
    if "station" in table:
        named = chosen & (table["station"] != "").to_numpy()
        rows = round_positions(table.loc[named, ["station", "lat", "lon", "time"]])
        if moves := find_moves(rows):
            _warn_of_moves(moves, rows["station"].nunique())
    of_height = chosen & table["variable"].isin(NEED_HEIGHT).to_numpy()
    _warn_of_heights(round_positions(table.loc[of_height, ["lat", "lon", "elevation"]]))


def find_moves(rows: pd.DataFrame) -> list[str]:
    """Return by how far and when stations move that have a few positions, a phrase each."""
    places = rows.sort_values("time", kind="stable").drop_duplicates(["station", "lat", "lon"])
    count = places.groupby("station")["lat"].transform("size")
    moves = []
    for name, each in places[count.between(*SEVERAL)].groupby("station", sort=False):
        vectors = unit_vectors(each["lat"].to_numpy(), each["lon"].to_numpy())
        distance = np.linalg.norm(vectors - vectors[0], axis=1) / chord(1.0)  # km
        far = np.flatnonzero(distance > SAME_STATION)
        if far.size:
            since = str(each["time"].iloc[far[0]])[:7]
            moves.append(f"{name} by {distance[far[0]]:.0f} km from {since}")
    return moves


def _warn_of_heights(rows: pd.DataFrame) -> None:
    """Warn of places without a height where others have one."""
    bare = rows["elevation"].isna()
    if not bare.any() or bare.all():
        return
    places = [part.drop_duplicates(["lat", "lon"]) for part in (rows[bare], rows)]
    warnings.warn(
        f"The height of {len(places[0])} of {len(places[1])} stations is missing: their "
        "temperature and pressure are compared with those at the height of the relief.",
        DpdmWarning,
        stacklevel=2,
    )


def _warn_of_moves(moves: list[str], total: int) -> None:
    more = f" and {len(moves) - LISTED} more" if len(moves) > LISTED else ""
    warnings.warn(
        f"The position of {len(moves)} of {total} stations changes ({', '.join(moves[:LISTED])}"
        f"{more}). Each position is treated as a separate station; correct the file if one is "
        "wrong.",
        DpdmWarning,
        stacklevel=2,
    )
