"""Smooth fields on lattices against the Gaussian correlation that they stand for."""

from itertools import pairwise

import numpy as np
import pytest

from dpdm.assimilate.smooth_fields import EARTH_RADIUS_KM, SmoothFields, kernel_matrix
from dpdm.fields.grid import Grid
from dpdm.observations.stations import unit_vectors

JAPAN = Grid(np.arange(30.0, 42.0, 0.5), np.arange(130.0, 144.0, 0.5))
LENGTHS = (60.0, 300.0, 2500.0)


def correlation(fields: SmoothFields, cell: int) -> list[np.ndarray]:
    """Return the correlation of each length of a cell with all cells."""
    ends = np.cumsum([0, *fields.counts])
    parts = [fields.basis[:, a:b] for a, b in pairwise(ends)]
    return [(part @ part[[cell]].T).toarray()[:, 0] for part in parts]


@pytest.mark.parametrize("grid", [JAPAN, Grid(JAPAN.lat + 40, JAPAN.lon + 45)])
def test_the_correlation_is_gaussian_in_distance(grid: Grid) -> None:
    """Within 1%: the nodes lie 0.8 lengths apart, and kernels end at 2.5 lengths.

    So it is near the pole and across the date line.
    """
    fields, cell = SmoothFields(grid, LENGTHS), 11 * len(JAPAN.lon) + 13
    cosine = (fields.position @ fields.position[cell]).clip(-1, 1)
    distance = EARTH_RADIUS_KM * np.arccos(cosine)
    for length, found in zip(LENGTHS, correlation(fields, cell), strict=True):
        np.testing.assert_allclose(found, np.exp(-((distance / length) ** 2) / 2), atol=0.01)


def test_the_variance_is_one_everywhere() -> None:
    fields = SmoothFields(JAPAN, LENGTHS)
    total = np.asarray(fields.basis.multiply(fields.basis).sum(1)).ravel()
    np.testing.assert_allclose(total, len(LENGTHS), rtol=1e-12)


def test_a_box_and_the_whole_region_have_the_same_field() -> None:
    whole, box = (
        SmoothFields(grid, LENGTHS)
        for grid in (JAPAN, Grid(JAPAN.lat[5:15], JAPAN.lon[4:20] - 360))
    )
    drawn = [f.basis @ f.noise(2, 0, 3, "1895-01").T for f in (whole, box)]
    shaped = drawn[0].reshape(*JAPAN.shape, 2)[5:15, 4:20]
    np.testing.assert_allclose(drawn[1].reshape(10, 16, 2), shaped, atol=1e-9)


def test_far_from_all_nodes_there_is_nothing() -> None:
    """As in coarse cells of a file that reaches over more than the domain."""
    lattice = SmoothFields(JAPAN, LENGTHS).lattices[0]
    with np.errstate(all="raise"):
        far = kernel_matrix(lattice, unit_vectors(np.array([-30.0]), np.array([0.0])))
    assert far.nnz == 0


def test_members_steps_and_lengths_are_independent() -> None:
    fields = SmoothFields(JAPAN, (60.0, 61.0))
    draws = [
        fields.noise(1, 0, 0, "a"), fields.noise(1, 0, 1, "a"), fields.noise(1, 0, 0, "b"),
        fields.noise(1, 1, 0, "a"),
    ]  # fmt: skip
    flat = np.stack([d[0] for d in draws])
    count = min(fields.counts)
    halves = np.stack([flat[0, :count], flat[0, fields.counts[0] :][:count]])
    for rows in (flat, halves):
        off = np.corrcoef(rows) - np.eye(len(rows))
        assert np.abs(off).max() < 5 / np.sqrt(rows.shape[1])
