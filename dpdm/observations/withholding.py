"""Withhold stations for verification: a draw of stations or of blocks, or those of other files.

Stations near one another tell much the same, so that a station withheld alone is easy to estimate.
Blocks leave gaps: the Earth is divided into rows of equal height, and each row into cells about as
wide as they are high. Whole blocks are withheld, in an order that depends on the seed and the
block alone. A block is taken if it brings the share of stations nearer to the one asked for.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.observations.columns import row_operators
from dpdm.observations.stations import (
    chord,
    is_for_verification,
    round_positions,
    station_names,
    unit_vectors,
)
from dpdm.observations.status import ObsStatus, is_usable

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
SAME_PLACE = 1.0  # km, between the positions of one station in two files
SAME_NAME = 10.0  # km, the same if its name is the same too


def withhold_stations(
    table: pd.DataFrame, share: float, seed: int, block: float = 0.0
) -> pd.DataFrame:
    """Withhold a random share of the stations for verification.

    All variables and times of a station are withheld; the choice depends on the seed and the
    stations, not on the order of the rows. States without space have no stations: single times
    are withheld. Stations that are only for verification do not count.

    Args:
        table: Checked observations.
        share: Share of the usable stations, at least one and never all; 0 for none.
        seed: Seed of the draw.
        block: Side of the blocks that are withheld whole, km; 0 for single stations.
    """
    if not 0 <= share < 1:
        raise DpdmError(f"The share to withhold is {share:g}.", "Give 0, or up to below 1.")
    if share == 0:
        return table.copy()
    used = is_usable(table) & ~is_for_verification(table)
    names = station_names(table)
    stations = np.unique(names[used])
    if stations.size < 2:
        raise DpdmError("There is only one station, which cannot be withheld.", "Add stations.")
    if block:
        drawn = draw_blocks(table[used], names[used], share, seed, block)
    else:
        count = int(np.clip(round(share * stations.size), 1, stations.size - 1))
        drawn = np.random.default_rng(seed).choice(stations, count, replace=False)
    chosen = used & np.isin(names, drawn)
    return table.assign(status=table["status"].mask(chosen, ObsStatus.WITHHELD.value))


def draw_blocks(
    table: pd.DataFrame, names: np.ndarray, share: float, seed: int, side: float
) -> np.ndarray:
    """Return the names of the stations of whole blocks, near a share of all, and say how many."""
    if table["lat"].isna().any():
        raise DpdmError(
            "--withhold-blocks is for stations with latitudes and longitudes.", "Leave it out."
        )
    places = round_positions(table)[["lat", "lon"]].assign(name=names)
    places = places.sort_values(["name", "lat", "lon"]).drop_duplicates("name")
    blocks = number_blocks(places["lat"].to_numpy(), places["lon"].to_numpy(), side)
    unique, of = np.unique(blocks, axis=0, return_inverse=True)
    of = of.ravel()
    chosen = choose_blocks(np.bincount(of), block_ranks(unique, seed), share)
    if not chosen.size:
        raise DpdmError(
            f"All {len(places)} stations lie in one block of {side:g} km.",
            "Give smaller blocks with --withhold-blocks.",
        )
    drawn = np.isin(of, chosen)
    warnings.warn(
        f"{drawn.sum()} of {len(places)} stations ({drawn.mean():.3g}) are withheld, in "
        f"{chosen.size} of {len(unique)} blocks of {side:g} km; {share:g} were asked for.",
        DpdmWarning,
        stacklevel=2,
    )
    withheld: np.ndarray = places["name"].to_numpy(dtype=str)[drawn]
    return withheld


def number_blocks(lat: Array, lon: Array, side: float) -> NDArray[np.int64]:
    """Return the row and the column (N, 2) of the blocks of places.

    Args:
        lat: Latitudes (N,), degrees.
        lon: Longitudes (N,), degrees.
        side: Side of a block, km.
    """
    rows = max(round(np.pi * EARTH_RADIUS / 1e3 / side), 1)
    row = np.minimum(np.floor((lat + 90) / 180 * rows), rows - 1)
    middle = np.radians((row + 0.5) / rows * 180 - 90)
    columns = np.rint(2 * np.pi * EARTH_RADIUS / 1e3 * np.cos(middle) / side).clip(min=1)
    column = np.minimum(np.floor(lon % 360 / 360 * columns), columns - 1)
    return np.stack([row, column], axis=1).astype(np.int64)


def block_ranks(blocks: NDArray[np.int64], seed: int) -> Array:
    """Return a random number (B,) for each block (B, 2), which depends on nothing else."""
    return np.array([np.random.default_rng([seed, *block]).random() for block in blocks])


def choose_blocks(sizes: NDArray[np.int64], ranks: Array, share: float) -> NDArray[np.int64]:
    """Return the numbers of blocks that come near a share of the stations, never all of them.

    Args:
        sizes: Stations in each block (B,).
        ranks: The order of the blocks (B,).
        share: Share of the stations.
    """
    wanted, count, chosen = share * sizes.sum(), 0, []
    for block in np.argsort(ranks, kind="stable"):
        with_it = count + sizes[block]
        if abs(with_it - wanted) < abs(count - wanted) and with_it < sizes.sum():
            chosen.append(block)
            count = with_it
    if not chosen and len(sizes) > 1:
        chosen = [np.lexsort((ranks, sizes))[0]]
    return np.array(chosen, dtype=np.int64)


def keep_for_verification(table: pd.DataFrame) -> pd.DataFrame:
    """Set the status of rows that are only scored, and of others that observe the same.

    Rows of one step and variable observe the same if they lie within a kilometre, or within ten
    with the same name.
    """
    reserved = is_for_verification(table)
    if not reserved.any():
        return table.drop(columns="verify", errors="ignore")
    usable = is_usable(table)
    twice = _observed_twice(table, usable & reserved, usable & ~reserved)
    status = table["status"].mask(usable & reserved, ObsStatus.VERIFICATION.value)
    status = status.mask(twice, ObsStatus.SCORED_ONLY.value)
    if twice.any():
        places = pd.Series(station_names(table)[twice]).nunique()
        warnings.warn(
            f"{twice.sum()} observations of {places} stations are also in the files for "
            "verification: they are scored only.",
            DpdmWarning,
            stacklevel=2,
        )
    if not (usable & ~reserved & ~twice).any():
        raise DpdmError(
            "Every observation is also in the files for verification.",
            "Leave some stations for the analysis.",
        )
    return table.assign(status=status).drop(columns="verify")


def _observed_twice(table: pd.DataFrame, reserved: Flags, others: Flags) -> Flags:
    """Tell which of some rows observe what reserved rows do."""
    twice = np.zeros(len(table), dtype=bool)
    located = table["lat"].notna().to_numpy()
    kept, rest = (_sightings(table, rows & located) for rows in (reserved, others))
    if kept.empty or rest.empty:
        return twice
    both = rest.merge(_near_places(rest, kept), on="place")
    kept = kept.rename(columns={"place": "near", "name": "near_name"})
    both = both.merge(kept[["near", "near_name", "what"]].drop_duplicates(), on=["near", "what"])
    namesakes = (both["name"] != "") & (both["name"] == both["near_name"])
    twice[both.loc[namesakes | (both["distance"] <= chord(SAME_PLACE)), "number"]] = True
    return twice


def _sightings(table: pd.DataFrame, chosen: Flags) -> pd.DataFrame:
    """Return the number, place, name and key of what is observed of some rows."""
    rows = round_positions(table[chosen])
    name = rows["station"] if "station" in rows else pd.Series("", rows.index)
    places = rows.groupby(["lat", "lon"], sort=False).ngroup()
    what = _what_is_observed(table)[chosen]
    return rows[["lat", "lon"]].assign(
        number=np.flatnonzero(chosen), place=places, name=name, what=what
    )


def _near_places(rest: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Return pairs of places within `SAME_NAME`, with the chord between them."""
    first, second = (rows.drop_duplicates("place") for rows in (rest, kept))
    here, there = (unit_vectors(*p[["lat", "lon"]].to_numpy().T) for p in (first, second))
    near = cKDTree(there).query_ball_point(here, chord(SAME_NAME))
    i = np.repeat(np.arange(len(near)), [len(each) for each in near])
    j = np.concatenate([*near, []]).astype(int)
    distance = np.linalg.norm(here[i] - there[j], axis=1)
    places = {"place": first["place"].to_numpy()[i], "near": second["place"].to_numpy()[j]}
    return pd.DataFrame(places | {"distance": distance})


def _what_is_observed(table: pd.DataFrame) -> NDArray[np.int64]:
    """Number what rows observe: variable, operator, level and step."""
    columns = [n for n in ("variable", "pressure", "channel", "step", "trajectory") if n in table]
    keys = table[columns].assign(operator=row_operators(table).replace("point", ""))
    numbers: NDArray[np.int64] = (
        keys.groupby(list(keys.columns), sort=False, dropna=False).ngroup().to_numpy(np.int64)
    )
    return numbers
