"""Noise that belongs to places: that of a cell depends on where it lies, not on the domain.

A counter-based generator needs no state: the noise of a cell is a function of a key, which is the
member, and of a counter, which is the place. A box and the whole region, in any order and on any
turn of longitudes, have the same noise in the same cells.

References:
    Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3,
    https://doi.org/10.1145/2063384.2063405
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Words: TypeAlias = NDArray[np.uint64]  # 32 bits in each
Four: TypeAlias = tuple[Words, Words, Words, Words]

ROUNDS = 10
MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
HALF, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
# Both keep positions and spacings of customary grids off the limits of rounding: fractions of a
# degree lie far from multiples of the golden ratio, and no grid has 0.91 times a power of two.
OFFSET = (math.sqrt(5) - 1) / 2
CELL_BITS = 1.86


def philox(counter: Four, key: tuple[int, int]) -> Four:
    """Return four random words for each counter, by Philox4x32-10.

    Args:
        counter: Four words, each below 2^32, whose shapes broadcast.
        key: Two words.

    Example:
        >>> zero = np.zeros(1, np.uint64)
        >>> [hex(int(word[0])) for word in philox((zero, zero, zero, zero), (0, 0))]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    a, b, c, d = counter
    for n in range(ROUNDS):
        k, m = (np.uint64((w + n * s) % 2**32) for w, s in zip(key, KEY_STEPS, strict=True))
        p, q = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (q >> HALF) ^ (b ^ k), q & LOW, (p >> HALF) ^ (d ^ m), p & LOW
    return a, b, c, d


def normals(words: Four) -> Iterator[NDArray[np.float32]]:
    """Yield four standard normal values for each four random words (Box and Muller 1958)."""
    for first, second in (words[:2], words[2:]):
        # the middles of 2^32 intervals: the logarithm of zero is never taken
        radius = np.sqrt(-2 * np.log((first + 0.5) * 2.0**-32))
        angle = 2 * math.pi * ((second + 0.5) * 2.0**-32)
        yield (radius * np.cos(angle)).astype(np.float32)
        yield (radius * np.sin(angle)).astype(np.float32)


def place_step(spacing: float) -> float:
    """Return the unit in which positions are counted, a power of two of degrees.

    It is between a seventh and a quarter of the spacing, so that cells are counted apart, and a
    part of a grid, whose spacing may differ slightly, has the same.

    Example:
        >>> [place_step(spacing) for spacing in (2.5, 1.0, 0.25)]
        [0.5, 0.25, 0.0625]
    """
    # the circle is a whole multiple of 8 degrees
    return min(8.0, 2.0 ** math.floor(math.log2(spacing) - CELL_BITS))


def place_keys(centres: NDArray[np.float64], step: float, turn: float = 0.0) -> Words:
    """Return the counters of positions along an axis, the same a ``turn`` later.

    Example:
        >>> place_keys(np.array([-10.0, 0.0, 350.0]), 0.25, 360.0).tolist()
        [1400, 0, 1400]
    """
    counts = np.floor(centres / step + OFFSET).astype(np.int64)
    wrapped: Words = (counts % (int(turn / step) if turn else 2**32)).astype(np.uint64)
    return wrapped


def mean_spacing(centres: NDArray[np.float64]) -> float:
    """Return the distance between neighbours of an ascending axis of two centres or more."""
    return float((centres[-1] - centres[0]) / (len(centres) - 1))


def member_key(seed: int, number: int, label: str) -> tuple[int, int]:
    """Return the key of a member of an ensemble at one step."""
    digest = hashlib.sha256(f"{seed}/{number}/{label}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def place_normals(
    rows: Words, columns: Words, channels: int, key: tuple[int, int]
) -> NDArray[np.float32]:
    """Return standard normal values (C, ...) of places, whose counters broadcast."""
    zero = np.zeros(1, np.uint64)
    fours = (zero + np.uint64(n) for n in range(math.ceil(channels / 4)))
    values = (v for n in fours for v in normals(philox((rows, columns, n, zero), key)))
    return np.stack([*islice(values, channels)])


@dataclass(frozen=True)
class PlaceNoise:
    """The noise of an ensemble of fields, a function of seed, label and places of cells.

    Attributes:
        lat: Latitudes of the cell centres (H,), degrees.
        lon: Longitudes of the cell centres (W,), degrees, on any turn.
        channels: Number of variables.
        seed: Seed of the ensemble.
        label: Label of the time step.
    """

    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    channels: int
    seed: int
    label: str

    def __call__(self, numbers: Sequence[int], suffix: str = "") -> Tensor:
        """Return the noise of some members (B, C, H, W), independent for each label suffix."""
        return torch.stack([self.member(number, self.label + suffix) for number in numbers])

    def member(self, number: int, label: str) -> Tensor:
        """Return the noise of one member (C, H, W)."""
        rows = place_keys(self.lat, place_step(mean_spacing(self.lat)))[:, None]
        columns = place_keys(self.lon, place_step(mean_spacing(self.lon)), 360.0)
        key = member_key(self.seed, number, label)
        return torch.from_numpy(place_normals(rows, columns, self.channels, key))
