r"""Smooth Gaussian fields on the sphere, as white noise on lattices that is smoothed.

A stationary Gaussian field with the correlation :math:`\exp(-d^2 / 2 l^2)` is white noise,
smoothed with a Gaussian kernel of the width :math:`l / \sqrt 2`. On the nodes :math:`x_j` of a
lattice that is finer than the kernel, with independent standard normal :math:`z_j`,

.. math:: b(x) = \sum_j \Phi_j(x) \, z_j, \qquad
          \Phi_j(x) \propto \exp(-|x - x_j|^2 / l^2), \qquad \sum_j \Phi_j(x)^2 = 1

so the variance is exactly one and the covariance, :math:`\Phi \Phi^T`, is positive semi-definite
whatever the cells. The lattice of a length belongs to the Earth, not to the domain, and so do
the :math:`z_j`: a box and the whole region have the same field.

References:
    Higdon (2002), Space and space-time modeling using process convolutions,
    https://doi.org/10.1007/978-1-4471-0657-9_2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from dpdm.constants import EARTH_RADIUS
from dpdm.diffusion.place_noise import member_key, place_normals
from dpdm.fields.grid import Grid
from dpdm.observations.stations import chord, unit_vectors

Array = NDArray[np.float64]
EARTH_RADIUS_KM = EARTH_RADIUS / 1e3
NODE_SPACING = 0.8  # of the length; the variance before scaling then varies by under 1%
REACH = 2.5  # of the length, beyond which a kernel is neglected: exp(-6) of its maximum


@dataclass(frozen=True, eq=False)
class Lattice:
    """The nodes near a domain for fields of one correlation length.

    Attributes:
        length: Correlation length, km.
        row: Number of each node's circle of latitude, from the south pole (n,).
        column: Number on its circle, from longitude 0 (n,).
        position: Unit vectors (n, 3).
    """

    length: float
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    position: Array


def build_lattice(length: float, cells: cKDTree) -> Lattice:
    """Return the nodes of a length within reach of cells, whose unit vectors are in a tree."""
    rows = max(round(np.pi * EARTH_RADIUS_KM / (NODE_SPACING * length)), 2)
    parts = [_circle(row, rows, length, cells) for row in range(rows)]
    return Lattice(
        length,
        np.concatenate([np.full(len(columns), row) for row, (columns, _) in enumerate(parts)]),
        np.concatenate([columns for columns, _ in parts]),
        np.concatenate([position for _, position in parts]),
    )


def _circle(row: int, rows: int, length: float, cells: cKDTree) -> tuple[NDArray[np.int64], Array]:
    """Return numbers and positions of the nodes of one circle that are within reach of cells."""
    lat = -90 + 180 * (row + 0.5) / rows
    around = 2 * np.pi * EARTH_RADIUS_KM * np.cos(np.radians(lat))
    count = max(round(around / (NODE_SPACING * length)), 1)
    position = unit_vectors(np.full(count, lat), 360 * np.arange(count) / count)
    near = np.isfinite(cells.query(position, distance_upper_bound=chord(REACH * length))[0])
    return np.flatnonzero(near), position[near]


def kernel_matrix(lattice: Lattice, position: Array) -> sparse.csr_matrix:
    """Return Phi (N, n) of a lattice at unit vectors (N, 3); zero out of reach of all nodes."""
    reach = chord(REACH * lattice.length)
    trees = cKDTree(position), cKDTree(lattice.position)
    pairs = trees[0].sparse_distance_matrix(trees[1], reach, output_type="coo_matrix").tocsr()
    distance = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(pairs.data / 2, 1))
    pairs.data = np.exp(-((distance / lattice.length) ** 2))
    norm = np.sqrt(np.asarray(pairs.multiply(pairs).sum(1)).ravel())
    return sparse.diags(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0)) @ pairs


@dataclass(frozen=True, eq=False)
class SmoothFields:
    """Independent smooth fields of several lengths on the cells of a grid.

    Attributes:
        grid: The grid.
        lengths: Correlation lengths, km.
    """

    grid: Grid
    lengths: Sequence[float]

    @cached_property
    def position(self) -> Array:
        """Return the unit vectors of the cells (H W, 3), row by row."""
        lat, lon = np.meshgrid(self.grid.lat, self.grid.lon, indexing="ij")
        return unit_vectors(lat.ravel(), lon.ravel())

    @cached_property
    def lattices(self) -> list[Lattice]:
        """Return the lattice of each length."""
        cells = cKDTree(self.position)
        return [build_lattice(length, cells) for length in self.lengths]

    @cached_property
    def basis(self) -> sparse.csr_matrix:
        """Return Phi of all lengths side by side (H W, n)."""
        return sparse.hstack(self.parts, format="csr")

    @cached_property
    def parts(self) -> list[sparse.csr_matrix]:
        """Return Phi of each length (H W, n)."""
        return [kernel_matrix(lattice, self.position) for lattice in self.lattices]

    @property
    def counts(self) -> list[int]:
        """Return the number of nodes of each length."""
        return [len(lattice.row) for lattice in self.lattices]

    def noise(self, channels: int, seed: int, member: int, label: str) -> Array:
        """Return z (C, n) of a member, a function of seed, member, label and places of nodes."""
        parts = []
        for each in self.lattices:
            key = member_key(seed, member, f"{label}/{each.length:g} km")
            rows, columns = (number.astype(np.uint64) for number in (each.row, each.column))
            parts.append(place_normals(rows, columns, channels, key))
        return np.concatenate(parts, axis=1).astype(float)
