"""Networks of stations whose weather is known: seasons, heights, and correlated anomalies."""

import numpy as np
import pandas as pd

from tests.helpers.station_tables import table


def network(seed: int, years: int = 15, stations: int = 40, rain: bool = False) -> pd.DataFrame:
    """Make monthly values of stations within 450 km, ordered by month and station."""
    rng = np.random.default_rng(seed)
    lat, lon = rng.uniform(34, 38, stations), rng.uniform(126, 131, stations)
    height = rng.gamma(1.2, 250, stations)
    east = 111 * np.stack([lat, lon * np.cos(np.radians(36))])
    distance = np.linalg.norm(east[:, :, None] - east[:, None], axis=0)
    root = np.linalg.cholesky(np.exp(-((distance / 400) ** 1.5)) + 1e-6 * np.eye(stations))
    months = 12 * years
    season = np.cos(2 * np.pi * (np.arange(months)[:, None] - 6.5) / 12)
    weather = rng.standard_normal((months, stations)) @ root.T
    noise = rng.standard_normal((months, stations))
    if rain:
        usual = np.log(3 + 1.5 * season) + rng.normal(0, 0.3, stations)
        value = np.maximum(np.exp(usual + 0.6 * weather + 0.3 * noise) - 0.3, 0).round(2)
    else:
        usual = 288 - 0.0065 * height + rng.normal(0, 1, stations)
        value = (usual + rng.normal(12, 1, stations) * season + 1.5 * weather + 0.4 * noise).round(
            1
        )
    time = pd.date_range("1990-01-15", periods=months, freq="MS") + pd.Timedelta(14, "D")
    month, station = (index.ravel() for index in np.indices((months, stations)))
    rows = table(lat[station], lon[station], value.ravel(), elevation=height[station])
    rows["time"] = time[month]
    rows["station"] = np.char.add("s", station.astype(str))
    return rows.assign(variable="tp" if rain else "t2m")


def at(rows: pd.DataFrame, station: int, month: int, count: int = 1) -> pd.Index:
    """Return the rows of a station from a month on."""
    chosen = rows.index[rows["station"] == f"s{station}"]
    return chosen[month : month + count]
