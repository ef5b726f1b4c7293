"""Tables of observations that are no values at points, made one operator."""

import numpy as np
import pandas as pd
import pytest
import torch

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.observations.observation_operator import observation_operator
from dpdm.operators.geometry import globe_layout
from dpdm.operators.registry import ObsLocations

LAT, LON = np.arange(20.5, 30), np.arange(100.5, 115)
REGION = globe_layout(LAT, LON)
NAMES = ("t2m", "u10", "v10")


def place(rows: pd.DataFrame) -> ObsLocations:
    return ObsLocations(REGION, NAMES, rows["lat"].to_numpy(float), rows["lon"].to_numpy(float))


def mixed(seed: int = 0) -> pd.DataFrame:
    """Return observations at the centres of cells, of many instruments in no order."""
    rng = np.random.default_rng(seed)
    names = ["point", "speed", "mean", "direction", "", "heading_east", "coarse", "log1p"] * 3
    rows = pd.DataFrame({"operator": rng.permutation(names), "variable": "t2m"})
    rows["lat"], rows["lon"] = rng.choice(LAT[2:-2], 24), rng.choice(LON[2:-2], 24)
    rows["radius"] = np.where(rows["operator"] == "mean", rng.choice([1e5, 2e5], 24), np.nan)
    rows["factor"] = np.where(rows["operator"] == "coarse", rng.choice([1, 3], 24), np.nan)
    return rows.assign(value=rng.uniform(0, 360, 24))


def numpied(row: pd.Series, field: np.ndarray) -> float:
    """Return what one row sees of a field (3, H, W), without any of dpdm's operators."""
    i, j = int(row["lat"] - LAT[0]), int(row["lon"] - LON[0])
    warm, u, v = field[:, i, j]
    area = np.cos(np.radians(LAT))[:, None] * np.ones(LON.size)
    if row["operator"] == "coarse":
        half = int(row["factor"]) // 2
        box = slice(i - half, i + half + 1), slice(j - half, j + half + 1)
        return float(np.average(field[0][box], weights=area[box]))
    if row["operator"] == "mean":
        phi, lam = np.radians(LAT)[:, None], np.radians(LON)
        cosine = np.sin(phi) * np.sin(phi[i]) + np.cos(phi) * np.cos(phi[i]) * np.cos(lam - lam[j])
        near = EARTH_RADIUS * np.arccos(cosine.clip(-1, 1)) <= row["radius"]
        return float(np.average(field[0], weights=area * near))
    known = {"speed": np.hypot(u, v), "heading_east": u / np.hypot(u, v), "log1p": np.log1p(warm)}
    known["direction"] = np.degrees(np.arctan2(-u, -v)) % 360
    return float(known.get(row["operator"], warm))


def test_each_row_is_seen_by_its_own_instrument_in_the_order_of_the_table() -> None:
    rows = mixed()
    x = torch.randn(2, 3, *REGION.shape) * 9 + torch.tensor([280.0, 4, 3])[:, None, None]
    found = observation_operator(rows, place)(x).numpy()
    for b, field in enumerate(x.numpy()):
        expected = np.array([numpied(row, field) for _, row in rows.iterrows()])
        turns = np.where(rows["operator"] == "direction", (found[b] - expected) / 360, 0.0)
        np.testing.assert_allclose(turns, np.round(turns), atol=1e-12)
        # Means weight rows by sines of their edges, the cosine of the centre times a constant.
        np.testing.assert_allclose(found[b] - 360 * turns, expected, rtol=1e-9)


def test_trajectories_are_seen_as_their_steps_are() -> None:
    rows = mixed(1)
    series = torch.randn(2, 3, 4, *REGION.shape) + 5
    step = np.arange(24) % 4

    def then(some: pd.DataFrame) -> ObsLocations:
        first = torch.from_numpy(step[some.index])
        return ObsLocations(REGION, NAMES, some["lat"].to_numpy(), some["lon"].to_numpy(), first)

    found, each = observation_operator(rows, then)(series), observation_operator(rows, place)
    for t in range(4):
        chosen = torch.from_numpy(step == t)
        assert torch.equal(found[:, chosen], each(series[:, :, t])[:, chosen])


def test_the_order_of_the_rows_is_the_order_of_the_values() -> None:
    rows, x = mixed(), torch.randn(1, 3, *REGION.shape)
    order = np.random.default_rng(1).permutation(24)
    one, other = (
        observation_operator(rows, place)(x),
        observation_operator(rows.iloc[order], place)(x),
    )
    assert torch.equal(one[:, order.copy()], other)


def test_a_direction_is_missed_the_short_way_round() -> None:
    """Winds from all around, observed as northerlies: no misfit jumps, and none beyond 180."""
    values = np.repeat([1.0, 359.0, 180.0], 8)
    rows = pd.DataFrame({"operator": "direction", "variable": "u10", "value": values})
    rows = rows.assign(lat=21.5, lon=101.5)
    angle = torch.linspace(0, 2 * torch.pi, 73)[:-1] + 0.01
    wind = torch.stack([angle * 0, -torch.sin(angle), -torch.cos(angle)], 1)[..., None, None]
    misses = torch.from_numpy(values) - observation_operator(rows, place)(
        wind.expand(-1, -1, 10, 15)
    )
    assert float(misses.abs().max()) <= 180
    exact = (torch.from_numpy(values) - torch.rad2deg(angle)[:, None] + 180) % 360 - 180
    torch.testing.assert_close(misses, exact, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"operator": "vortcity"}, "no observation operator vortcity"),
        ({"operator": "mean"}, "mean needs radius, but was given no settings"),
        ({"operator": "coarse", "factor": 2.0, "radius": 3.0}, "coarse needs factor"),
        ({"operator": "point", "level": 2.0}, "point needs no settings, but was given level"),
        ({"variable": "tp"}, "tp is observed, but the fields hold t2m, u10, v10"),
    ],
)
def test_rows_of_which_no_operator_can_be_made_are_refused(
    row: dict[str, object], what: str
) -> None:
    rows = pd.DataFrame([{"variable": "t2m", "value": 1.0, "lat": 25, "lon": 105, **row}])
    with pytest.raises(DpdmError, match=what):
        observation_operator(rows, place)
