r"""Columns of air as states of a few components, and what is seen of them.

A state is the temperature on 19 levels, that at 2 m, the pressure at the surface, its height and
the latitude. Below ground a level has no temperature; it is filled from the lowest one above, with
the standard lapse rate :math:`\Gamma`, for which the hypsometric equation gives

.. math:: T(p) = T_0 \, (p / p_0)^{R \Gamma / g}.

All that is seen is linear, so it is one matrix; correlated errors are made independent, and values
come in units of their errors: :math:`y = A x + e` with :math:`e \sim N(0, I)`. A channel sees
filled levels as any other.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from benchmarks import common
from dpdm.errors import DpdmWarning
from dpdm.observations.sounder import SounderChannels, read_channels
from dpdm.operators.linear import SparseOperator, pick_cells, whitening_matrix
from dpdm.operators.radiance import (
    LevelColumn,
    brightness_operator,
    find_level_column,
    interpolate_weighting,
)

Array = NDArray[np.float64]
Numbers = NDArray[np.intp]
FILES = common.SAMPLES / "nam_columns.nc", common.SAMPLES / "sounder.nc"
EXPONENT = 287.053 * 0.0065 / 9.80665
BESIDE = ("t2m", "sp", "orography", "lat")
ERRORS = (1.0, 100.0, 10.0, 0.1)  # K, Pa, m, degrees; height and latitude are known
NOISY = (1.0, 1.0, 0.0, 0.0)
SIDE = 8  # points of 81 km along a block of the bootstrap
ROW = 93  # columns of one row of the model's grid


@dataclass(frozen=True)
class Air:
    """The columns of one split.

    Attributes:
        truth: Temperature (N, K), NaN below ground.
        state: States (N, K + 4), filled.
        block: Number of the block in space that each lies in, with shape (N,).
    """

    truth: Array
    state: Array
    block: Numbers


@dataclass(frozen=True)
class Sight:
    """What is seen of a state.

    Attributes:
        matrix: A, with shape (M, K + 4).
        shown: Which of the values are noisy: those of height and latitude are not.
    """

    matrix: Array
    shown: Array

    def of(self, state: Array, seed: int) -> Array:
        """Return simulated observations (N, M) in units of their errors."""
        noise = np.random.default_rng(seed).standard_normal((len(state), len(self.matrix)))
        return state @ self.matrix.T + noise * self.shown

    @cached_property
    def surface(self) -> "Sight":
        """Give what is seen without channels."""
        return Sight(self.matrix[: len(BESIDE)], self.shown[: len(BESIDE)])


def names(levels: Array) -> list[str]:
    """Return what the components are called, as ``t850``."""
    return [f"t{p / 100:g}" for p in levels] + list(BESIDE)


def columns(path: Path) -> tuple[dict[str, Air], Array]:
    """Return the columns of each split, and their levels, from the lowest up, Pa."""
    with xr.open_dataset(path) as file:
        ds = file.load()
    levels = ds["level"].values
    truth = ds["t"].values
    state = np.c_[filled(truth, levels), *(ds[n].values.astype(float) for n in BESIDE)]
    row, place = np.divmod(np.arange(len(truth)), ROW)
    block = row // SIDE * ROW + place // SIDE
    kinds = enumerate(ds["split"].attrs["flag_meanings"].split())
    which = {name: ds["split"].values == number for number, name in kinds}
    return {n: Air(truth[w], state[w], block[w]) for n, w in which.items()}, levels


def filled(t: Array, levels: Array) -> Array:
    """Return temperatures (N, K) with the standard lapse rate below ground."""
    lowest = np.isfinite(t).argmax(1)
    base = t[np.arange(len(t)), lowest]
    below: Array = base[:, None] * (levels / levels[lowest][:, None]) ** EXPONENT
    return np.where(np.isfinite(t), t, below)


def standard(levels: Array, count: int) -> Air:
    """Return the US Standard Atmosphere of 1976, at the sea and 45 N, so many times."""
    aloft = np.where(levels > 22632.1, 288.15 * (levels / 101325.0) ** EXPONENT, 216.65)
    state = np.tile(np.r_[aloft, 288.15, 101325.0, 0.0, 45.0], (count, 1))
    return Air(state[:, : len(levels)], state, np.arange(count))


def sight(path: Path, levels: Array) -> Sight:
    """Return what surface and sounder see, in units of the errors."""
    channels, called = read_channels(path), names(levels)
    low, rising = len(levels), find_level_column(called, [*levels, *[0.0] * len(BESIDE)], "t")
    place = pick_cells((1, 1), torch.zeros(1, dtype=torch.long))
    surface = [place.for_channel(low + n) for n in range(len(BESIDE))]
    sounder = [
        brightness_operator(place, rising, weight, (low, share))
        for weight, share in zip(seen_on(channels, rising), channels.surface, strict=True)
    ]
    matrix = np.stack([row_of(each, len(called)) for each in (*surface, *sounder)])
    whole = unmixed(channels) @ matrix
    return Sight(whole, np.r_[NOISY, np.ones(len(channels.name))])


def seen_on(channels: SounderChannels, rising: LevelColumn) -> Array:
    """Return the weighting functions on the levels of the columns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DpdmWarning)  # the half above 100 hPa counts there
        return interpolate_weighting(channels.weight, channels.level, rising.level)


def row_of(links: SparseOperator, values: int) -> Array:
    """Return a linear operator of one value as a row, by what it sees of unit states."""
    units = torch.eye(values, dtype=torch.float64)[:, :, None, None]
    row: Array = links(units)[:, 0].numpy()
    return row


def unmixed(channels: SounderChannels) -> Array:
    """Return the matrix that makes the errors of all values independent, with variance 1."""
    own, count = len(BESIDE), len(BESIDE) + len(channels.name)
    correlation = np.eye(count)
    correlation[own:, own:] = channels.correlation
    links = whitening_matrix(
        np.r_[ERRORS, channels.error], np.zeros(count), np.arange(count), correlation
    )
    units = torch.eye(count, dtype=torch.float64)[:, None, None]
    matrix: Array = links(units).numpy().T
    return matrix


def write_states(air: dict[str, Air], called: list[str], path: Path) -> None:
    """Write states for ``dpdm train --window 1``, which learns from all but the last two tenths.

    Those hold columns of the validation split, twice, so that it learns from the first split
    only, measures its progress on the second, and never sees the third.
    """
    taught, held = air["train"].state, air["validation"].state
    tenth = round(len(taught) / 8)
    again = np.arange(2 * tenth) % len(held)
    state = np.concatenate([taught, held[again]])[:, None].astype(np.float32)
    coords = {"component": called}
    array = xr.DataArray(state, coords, ("trajectory", "time", "component"))
    ds = array.to_dataset(name="state").assign_attrs(title="columns of air over North America")
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.to_netcdf(path)
