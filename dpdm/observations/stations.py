"""The names and the places of stations."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.constants import EARTH_RADIUS

POSITION_DECIMALS = 4  # decimals of a degree, about 10 m


def station_names(table: pd.DataFrame) -> np.ndarray:
    """Return the station of each row: its name, or else its position.

    States without space have times instead.
    """
    spaceless = "component" in table and (table["component"] != "").all()
    where = ("trajectory", "time") if spaceless else ("lat", "lon", "y", "x", "component")
    columns = [name for name in where if name in table]
    texts = [round_positions(table)[name].astype(str) for name in columns]
    places = texts[0].str.cat(texts[1:], sep=" ")
    given = table["station"] if "station" in table else pd.Series("", table.index)
    names: np.ndarray = given.where(given != "", places).to_numpy(dtype=str)
    return names


def round_positions(table: pd.DataFrame) -> pd.DataFrame:
    """Round positions, with longitudes from 0 to 360, for comparison."""
    return table.assign(
        lat=table["lat"].round(POSITION_DECIMALS) + 0.0,
        lon=(table["lon"] % 360).round(POSITION_DECIMALS) % 360,
    )


def is_for_verification(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows come from files that are only for verification."""
    if "verify" not in table:
        return np.zeros(len(table), dtype=bool)
    flags: NDArray[np.bool_] = table["verify"].to_numpy(bool)
    return flags


def unit_vectors(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places (N,), in degrees, as unit vectors (N, 3) from the Earth's centre."""
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def chord(kilometres: float) -> float:
    """Return the distance between unit vectors of places some kilometres apart."""
    return float(2 * np.sin(min(1e3 * kilometres / EARTH_RADIUS, np.pi) / 2))
