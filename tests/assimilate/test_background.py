"""The error of the coarse field against the exact Gaussian posterior."""

import numpy as np
import pytest
import torch

from dpdm.assimilate.background import build_coarse_error, condition_error, innovation_covariance
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid, refine_grid

SOURCE = Grid(np.arange(30.0, 40, 2.5), np.arange(120.0, 132, 2.5))
TARGET = refine_grid(SOURCE, (0.5, 0.5))
LAT, LON = np.array([31.2, 36.0, 33.3]), np.array([121.4, 129.9, 125.0])
CHANNEL, ERROR = torch.tensor([0, 0, 1]), torch.tensor([0.5, 1.0, 0.3])
LAW = build_coarse_error(["t2m", "tp"], SOURCE, TARGET, {"t2m": 2.0, "tp": 0.7}, 300.0)
assert LAW is not None


def test_the_error_has_its_spread_and_length() -> None:
    """One metre of z is one standard deviation, and far places know nothing of each other."""
    g = LAW.response(LAT, LON, torch.tensor([0, 0, 0]))
    cells = LAW.response(np.array([32.5]), np.array([125.0]), torch.tensor([0]))
    assert float((cells @ cells.T)[0, 0]) == pytest.approx(4.0, rel=1e-9)  # at a coarse centre
    between = np.exp(-((LAW.length**-1 * 6371 * np.radians(2.5)) ** 2) / 2)
    north = LAW.response(np.array([35.0]), np.array([125.0]), torch.tensor([0]))
    assert float((cells @ north.T)[0, 0]) == pytest.approx(4 * between, rel=1e-6)
    assert float((g @ g.T).diagonal().max()) <= 4.0 + 1e-9  # a lerp of unit variances


def test_the_field_is_what_the_stations_see() -> None:
    z = torch.randn(2, 20)
    field = LAW.field(z)
    row, column = 7, 11
    lat, lon = TARGET.lat[[row]], TARGET.lon[[column]]
    for channel in (0, 1):
        seen = LAW.response(lat, lon, torch.tensor([channel])) @ z[channel]
        torch.testing.assert_close(seen[0], field[channel, row, column], rtol=1e-9, atol=1e-9)


def test_matheron_s_rule_draws_from_the_exact_posterior() -> None:
    """Affine in the draws: mean and covariance are exact, without any sampling."""
    g, miss = LAW.response(LAT, LON, CHANNEL), torch.tensor([1.0, -2.0, 0.4])

    def draw(z: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        return condition_error(g, ERROR, CHANNEL, miss, z, e)[0]

    zero, none = torch.zeros(2, 20), torch.zeros(3)
    mean = draw(zero, none)
    units = [torch.cat([row[None], zero[:1]]) for row in torch.eye(20)]
    columns = [draw(u, none) - mean for u in units]
    columns += [draw(zero, e) - mean for e in torch.eye(3)]
    root = torch.stack(columns, dim=1)
    a, r = g[:2], torch.diag(ERROR[:2] ** 2)
    gain = torch.linalg.solve(a @ a.T + r, a).T
    torch.testing.assert_close(mean, gain @ miss[:2], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(root @ root.T, torch.eye(20) - gain @ a, rtol=1e-8, atol=1e-9)


def test_channels_are_independent() -> None:
    whole = innovation_covariance(LAW.response(LAT, LON, CHANNEL), ERROR, CHANNEL)
    assert not whole[:2, 2].any()
    assert whole[0, 1] > 0


def test_what_is_not_stated_is_not_there_and_strangers_are_refused() -> None:
    assert build_coarse_error(["t2m"], SOURCE, TARGET, {}, 300.0) is None
    with pytest.raises(DpdmError, match="names sp"):
        build_coarse_error(["t2m"], SOURCE, TARGET, {"sp": 1.0}, 300.0)
    large = Grid(np.arange(-88.75, 90, 2.5), np.arange(0.0, 360, 2.5))
    with pytest.raises(DpdmError, match="10368"):
        build_coarse_error(["t2m"], large, large, {"t2m": 1.0}, 300.0)
