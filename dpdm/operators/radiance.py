r"""Observation operators of an air column: levels, sounder channels, outgoing longwave radiation.

A column is the channels of a field with one variable on K pressure levels. Between levels a
variable is linear in :math:`\log p`, so that its value at any pressure is

.. math:: x(p) = \sum_k h_k(p)\, x_k

with hat functions :math:`h_k`. The *brightness temperature* of a channel of a sounder is to first
order a weighted mean of the temperature of the column and of the air at the surface, by the
weighting function of the channel. Both are linear operators.

**Outgoing longwave radiation** is the sum of the emissions of the surface and of each layer that
the air above transmits. The air is grey, with an optical depth of the form of Frierson, Held and
Zurita-Gotor (2006, doi:10.1175/JAS3753.1),

.. math::
   \tau = \big(\tau_e + (\tau_p - \tau_e) \sin^2\phi\big)
          \big(f\, p / p_s + (1 - f)(p / p_s)^4\big), \\
   R = \sigma \Big(e^{-\tau_s} T_s^4
        + \sum_k (e^{-\tau_{k,top}} - e^{-\tau_{k,bottom}})\, T_k^4\Big)

The three parameters are fitted to a year of the model SPEEDY: no bias, and a root mean square
error of 28 W m-2, for a standard deviation of 41. The remainder is due to clouds and water vapour,
so an observation needs at least that error.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.operators.linear import SparseOperator, compose_maps
from dpdm.types import Fields, Operator

STEFAN_BOLTZMANN = 5.670374419e-8  # W m-2 K-4
SURFACE_PRESSURE = 101325.0  # Pa, of the standard atmosphere
EQUATOR_OPTICAL_DEPTH, POLE_OPTICAL_DEPTH = 3.30, 2.23
LINEAR_SHARE = 0.527  # of the optical depth, linear in pressure
MAX_WEIGHT_ERROR = 1e-6  # tolerance of the sum of weights


@dataclass(frozen=True)
class LevelColumn:
    """The channels of one variable on levels, from the highest level down.

    Attributes:
        variable: Its name, as ``t``.
        channel: Indices of the channels.
        level: Their pressures, ascending, Pa.
    """

    variable: str
    channel: tuple[int, ...]
    level: tuple[float, ...]


def find_level_column(names: Sequence[str], levels: Sequence[float], variable: str) -> LevelColumn:
    """Find the levels of a variable among channels.

    Args:
        names: Names of the channels, such as ``t850``.
        levels: Their pressures, Pa; 0 for channels on none.
        variable: Name of the variable without its level.

    Example:
        >>> find_level_column(["sp", "t850", "t500"], [0, 85000, 50000], "t")
        LevelColumn(variable='t', channel=(2, 1), level=(50000.0, 85000.0))
    """
    pairs = enumerate(zip(names, levels, strict=True))
    found = [
        (float(p), i) for i, (name, p) in pairs if p > 0 and variable_family(name, p) == variable
    ]
    if not found:
        raise DpdmError(
            f"{variable} is observed on levels, but the fields hold {', '.join(names)}.",
            "Remove these observations, or use a prior that was trained for levels.",
        )
    level, channel = zip(*sorted(found), strict=True)
    return LevelColumn(variable, channel, level)


def variable_family(name: str, level: float) -> str:
    """Return the name of a variable without its level.

    Example:
        >>> variable_family("t92.5", 9250.0), variable_family("u10hPa", 1000.0)
        ('t', 'u')
    """
    return name.removesuffix("hPa").removesuffix(f"{level / 100:g}")


def hat_weights(levels: ArrayLike, pressure: ArrayLike) -> NDArray[np.float64]:
    """Return interpolation weights (N, K), linear in log p, constant outside the levels.

    Args:
        levels: Pressures, ascending, with shape (K,), Pa.
        pressure: With shape (N,), Pa.

    Example:
        >>> hat_weights([25000.0, 100000.0], [50000.0, 101000.0])
        array([[0.5, 0.5],
               [0. , 1. ]])
    """
    x, y = np.log(levels), np.log(pressure)
    return np.stack([np.interp(y, x, row) for row in np.eye(len(x))], axis=-1)


def sum_over_channels(
    links: SparseOperator, channels: Sequence[int], weights: ArrayLike
) -> SparseOperator:
    """Return the operator of weighted sums over channels.

    Args:
        links: The operator of one channel, N values.
        channels: Indices of M channels.
        weights: Their weights, with shape (M,) for all values, or (N, M).
    """
    all_weights = torch.as_tensor(np.asarray(weights, dtype=float))
    each = all_weights.expand(links.count, -1)[links.row]
    link, which = torch.nonzero(each, as_tuple=True)
    return replace(
        links,
        row=links.row[link],
        cell=links.cell[link],
        weight=links.weight[link] * each[link, which],
        channel=torch.as_tensor(channels)[which],
        step=links.step.expand_as(links.row)[link],
    )


def level_operator(
    links: SparseOperator, column: LevelColumn, pressure: ArrayLike
) -> SparseOperator:
    """Return the operator of a variable at pressures between its levels.

    Args:
        links: The operator of one channel, N values.
        column: The levels of the variable.
        pressure: One for all or (N,), Pa.
    """
    p = np.broadcast_to(np.asarray(pressure, dtype=float), (links.count,))
    low, high = column.level[0], column.level[-1]
    wrong = p[~((p >= low * (1 - MAX_WEIGHT_ERROR)) & (p <= high * (1 + MAX_WEIGHT_ERROR)))]
    if wrong.size:
        raise DpdmError(
            f"{column.variable} is observed at {wrong[0] / 100:g} hPa, but the levels of the "
            f"fields extend from {high / 100:g} to {low / 100:g} hPa.",
            "Remove these observations, or use a prior with levels around them.",
        )
    return sum_over_channels(links, column.channel, hat_weights(column.level, p))


def brightness_operator(
    links: SparseOperator,
    column: LevelColumn,
    weight: ArrayLike,
    surface: tuple[int, float] | None = None,
) -> SparseOperator:
    """Return the operator of the brightness temperature of a channel.

    Args:
        links: The operator of its footprints, N values.
        column: The levels of temperature.
        weight: Weights of the levels, from the highest down, with shape (K,).
        surface: Channel of the air temperature at the surface, and its weight.
    """
    weights = np.asarray(weight, dtype=float)
    if weights.shape != (len(column.level),):
        raise DpdmError(
            f"A channel has weights of shape {weights.shape} for {len(column.level)} levels.",
            "Give one weight for each level.",
        )
    channels = [*column.channel, *([surface[0]] if surface else [])]
    weights = np.append(weights, [surface[1]] if surface else [])
    if not abs(weights.sum() - 1) < MAX_WEIGHT_ERROR:
        raise DpdmError(
            f"The weights of a channel add up to {weights.sum():g}.", "Divide them by that."
        )
    return sum_over_channels(links, channels, weights)


def interpolate_weighting(
    weight: ArrayLike, levels: ArrayLike, to: Sequence[float]
) -> NDArray[np.float64]:
    """Interpolate weighting functions to other levels, for profiles linear in log p.

    The sum of the weights is preserved, and inside the levels their mean log p; weights outside
    are added to the outermost level. Different levels trigger a warning.

    Args:
        weight: Weights of C channels on L levels, with shape (C, L).
        levels: Pressures, with shape (L,), Pa.
        to: Pressures, ascending, with shape (K,), Pa.
    """
    weights, old = np.asarray(weight, dtype=float), np.asarray(levels, dtype=float)
    new = np.asarray(to, dtype=float)
    if len(old) != len(new) or not np.allclose(old, new, rtol=MAX_WEIGHT_ERROR):
        beyond = (weights[:, (old < new[0]) | (old > new[-1])]).sum(1).max()
        text = f"The weighting functions have {len(old)} levels, the fields {len(new)}: they are "
        text += "interpolated."
        if beyond >= 0.005:
            text += (
                f" Up to {100 * beyond:.0f}% of the weight of a channel lies above or below the "
            )
            text += "levels of the fields, and is added to the outermost level."
        warnings.warn(text, DpdmWarning, stacklevel=2)
    return weights @ hat_weights(new, old)


def olr_operator(
    links: SparseOperator,
    column: LevelColumn,
    latitude: ArrayLike,
    surface: int,
) -> Operator:
    """Return the operator of the outgoing longwave radiation, W m-2.

    Args:
        links: The operator of one channel, N values.
        column: The levels of temperature.
        latitude: Of the values, with shape (N,), degrees.
        surface: Channel of the air temperature at the surface.
    """
    shares = emission_shares(column.level, latitude)
    links = sum_over_channels(links, [*column.channel, surface], shares)
    return compose_maps(blackbody_flux, links)


def blackbody_flux(temperature: Fields) -> Tensor:
    """Return the flux of a black body, W m-2."""
    return STEFAN_BOLTZMANN * temperature**4


def emission_shares(levels: Sequence[float], latitude: ArrayLike) -> NDArray[np.float64]:
    """Return the shares of the emission of each level and, last, the surface that reach space.

    A level represents the layer up to halfway, in log p, to its neighbours; the highest level
    represents all air above it.

    Args:
        levels: Pressures, ascending, with shape (K,), Pa.
        latitude: With shape (N,), degrees.

    Returns:
        Shares, with shape (N, K + 1), whose sum is 1.
    """
    p = np.asarray(levels)
    x = np.concatenate([[0.0], np.sqrt(p[1:] * p[:-1]) / SURFACE_PRESSURE, [1.0]])
    depth = (
        EQUATOR_OPTICAL_DEPTH
        + (POLE_OPTICAL_DEPTH - EQUATOR_OPTICAL_DEPTH)
        * np.sin(np.radians(np.atleast_1d(latitude))) ** 2
    )
    transmitted = np.exp(-depth[:, None] * (LINEAR_SHARE * x + (1 - LINEAR_SHARE) * x**4))
    shares: NDArray[np.float64] = np.append(
        -np.diff(transmitted, axis=1), transmitted[:, -1:], axis=1
    )
    return shares
