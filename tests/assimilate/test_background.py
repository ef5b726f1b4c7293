"""The error of the background against the exact Gaussian posterior."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from dpdm.assimilate.anomaly_law import AnomalyLaw, stated_law
from dpdm.assimilate.background import BackgroundError, StepError
from dpdm.assimilate.background_error import unresolved_shares
from dpdm.assimilate.smooth_fields import EARTH_RADIUS_KM
from dpdm.fields.grid import Grid
from dpdm.observations.stations import unit_vectors

GRID = Grid(np.arange(31.0, 35.0, 0.5), np.arange(130.0, 134.0, 0.5))
LAND = np.linspace(0, 1, 64).reshape(8, 8)
LAWS = (
    AnomalyLaw((0.5, 1.0), 0.3, land=0.4, lapse=2.0, bias=0.5, lengths=(60.0, 400.0)),
    stated_law(0.7, 150.0),
)
ERROR = BackgroundError(GRID, LAND, {"DJF": LAWS}, (False, True))
CELLS = np.array([9, 20, 20, 47])
CHANNEL, HEIGHT = np.array([0, 0, 1, 1]), np.array([0.3, -0.1, 0.2, 0.0])
VARIANCE = np.array([0.09, 0.25, 0.04, 0.01])


def observed(law: StepError) -> sparse.csr_matrix:
    """Return the response of observations of single cells."""
    rows = np.arange(4), CHANNEL * 64 + CELLS
    jacobian = sparse.csr_matrix((np.ones(4), rows), (4, 128))
    return law.response(jacobian, CHANNEL, HEIGHT)


def test_stations_see_the_field_and_their_controls() -> None:
    """The lapse rate and the bias change stations of their variable, and no field."""
    law, rng = ERROR.at("DJF"), np.random.default_rng(0)
    response, z = observed(law), rng.standard_normal((2, law.width))
    field = law.field(z).reshape(2, 64)
    controls = np.where(CHANNEL == 0, 2.0 * HEIGHT * z[0, -2] + 0.5 * z[0, -1], 0.0)
    np.testing.assert_allclose(response.values(z), field[CHANNEL, CELLS] + controls, rtol=1e-10)
    np.testing.assert_allclose(response.controls(z), controls, atol=1e-12)


def test_the_covariance_is_that_of_the_law() -> None:
    """Of one cell: the squares of its parts; between variables: none."""
    cover = observed(ERROR.at("DJF")).covariance
    contrast = (LAND.ravel()[9] - 1) ** 2
    own = 0.5**2 + 1.0**2 + 0.4**2 * contrast + (2.0 * 0.3) ** 2 + 0.5**2
    assert cover[0, 0] == pytest.approx(own, rel=1e-10)
    assert cover[2, 2] == pytest.approx(0.7**2, rel=1e-10)
    assert not cover[:2, 2:].any()
    assert 0 < cover[0, 1] < own


def test_stated_errors_are_in_physical_units() -> None:
    """Where the transform is flat, so is the error in transformed values."""
    slope = np.stack([np.full(GRID.shape, 9.0), np.full(GRID.shape, 0.25)])
    cover = observed(ERROR.at("DJF", slope)).covariance
    assert cover[2, 2] == pytest.approx((0.7 * 0.25) ** 2, rel=1e-10)
    assert cover[0, 0] == pytest.approx(observed(ERROR.at("DJF")).covariance[0, 0], rel=1e-10)


def test_matheron_s_rule_draws_from_the_exact_posterior() -> None:
    """Affine in the draws: mean and covariance are exact, without any sampling."""
    law = ERROR.at("DJF")
    response, miss = observed(law), np.array([1.0, -2.0, 0.4, 0.1])
    solver, count = response.solver(VARIANCE), 2 * law.width

    def draw(z: np.ndarray, e: np.ndarray) -> np.ndarray:
        return solver.condition(miss, z.reshape(2, -1), e).ravel()

    mean = draw(np.zeros(count), np.zeros(4))
    columns = [draw(unit, np.zeros(4)) - mean for unit in np.eye(count)]
    columns += [draw(np.zeros(count), unit) - mean for unit in np.eye(4)]
    root, g = np.stack(columns, axis=1), response.matrix.toarray()
    gain = np.linalg.solve(g @ g.T + np.diag(VARIANCE), g).T
    np.testing.assert_allclose(mean, gain @ miss, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(solver.mean(miss).ravel(), mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(root @ root.T, np.eye(count) - gain @ g, atol=1e-9)


def test_controls_are_known_better_with_stations() -> None:
    spread = observed(ERROR.at("DJF")).solver(VARIANCE).control_spread()
    assert (spread[0] < 1).all()
    np.testing.assert_allclose(spread[1], 1.0)  # a stated law has none


def test_pairs_of_members_are_opposite_and_pairs_differ() -> None:
    law = ERROR.at("DJF")
    draws = [law.draw(0, member, "1895-01") for member in range(4)]
    np.testing.assert_array_equal(draws[0], -draws[1])
    np.testing.assert_array_equal(draws[2], -draws[3])
    assert abs(np.corrcoef(draws[0].ravel(), draws[2].ravel())[0, 1]) < 0.2


def test_interpolation_between_cells_loses_short_lengths() -> None:
    """Nothing at a centre; between four, what the Gaussian correlation of the corners says."""
    rows = pd.DataFrame({"lat": [32.0, 32.25, 32.25], "lon": [131.0, 131.25, 131.25]})
    shares = unresolved_shares(ERROR, rows)
    np.testing.assert_allclose(shares[0], 0, atol=1e-9)
    np.testing.assert_array_equal(shares[1], shares[2])
    corners = unit_vectors(np.array([32.0, 32.0, 32.5, 32.5]), np.array([131.0, 131.5] * 2))
    near = EARTH_RADIUS_KM * np.arccos((corners @ corners.T).clip(-1, 1))
    for share, length in zip(shares[1], ERROR.lengths, strict=True):
        expected = 1 - np.exp(-((near / length) ** 2) / 2).mean()
        assert share == pytest.approx(expected, abs=0.01)  # the accuracy of the smooth fields
    assert shares[1, 0] > 0.2


def test_coarse_cells_get_the_long_lengths_only() -> None:
    law, coarse = ERROR.at("DJF"), Grid(np.array([31.75, 33.75]), np.array([130.75, 132.75]))
    z = np.random.default_rng(1).standard_normal((2, law.width))
    every = law.coarse_field(z, coarse, 0.0)
    long = law.coarse_field(z, coarse, 100.0)
    np.testing.assert_allclose(every[1], long[1])  # 150 km alone
    assert np.abs(every[0] - long[0]).max() > 0.05
