r"""Values at points, bilinear between the four cell centres around, and what height does to them.

A station rarely stands as high as the field's relief. With the climb
:math:`\Delta z = z_{station} - z_{field}`, temperature follows a lapse rate, and pressure the
hypsometric equation with the mean temperature of the layer between:

.. math:: T + \Gamma \Delta z, \qquad
   p \exp\!\Big(-\frac{g \Delta z}{R\,(T + \Gamma \Delta z / 2)}\Big)
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE, STANDARD_TEMPERATURE
from dpdm.operators.layout import Layout
from dpdm.operators.linear import Links


def points(layout: Layout, rows: ArrayLike, columns: ArrayLike) -> Links:
    """Return the operator of the values at N points.

    On the outermost half cell the outermost value holds.

    Args:
        layout: The cells of the field.
        rows: Latitudes, or y, with shape (N,).
        columns: Longitudes on any turn, or x, with shape (N,).

    Example:
        >>> from dpdm.operators.layout import globe
        >>> halfway = points(globe([10, 11], [358, 359]), [10.5], [-1.5])
        >>> halfway(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], dtype=torch.float64))
        tensor([[2.5000]], dtype=torch.float64)
    """
    below, above, up = layout.rows.bracket(np.atleast_1d(rows))
    left, right, along = layout.columns.bracket(np.atleast_1d(columns))
    width, count = layout.shape[1], len(up)
    corners = [(r * width + c) for r in (below, above) for c in (left, right)]
    weights = [v * h for v in (1 - up, up) for h in (1 - along, along)]
    return Links(
        layout.shape,
        count,
        torch.arange(count).repeat_interleave(4),
        torch.as_tensor(np.stack(corners, axis=1).ravel()),
        torch.as_tensor(np.stack(weights, axis=1).ravel()),
    )


def climb(links: Links, relief: ArrayLike, elevation: ArrayLike) -> Tensor:
    """Return how far stations stand above the field's relief, in m, with shape (N,).

    Args:
        links: The stations' places, not yet ``of`` a channel or ``at`` a step.
        relief: Surface altitude of the field's cells, with shape (H, W), m.
        elevation: Altitude of the stations, with shape (N,), m; NaN where unknown, which climbs 0.
    """
    surface = links(torch.as_tensor(np.asarray(relief, dtype=float))[None, None])[0]
    known = torch.as_tensor(np.asarray(elevation, dtype=float))
    return (known - surface).nan_to_num(nan=0.0)


def lapse(channel: int, climb: Tensor, rate: float = -LAPSE_RATE) -> Callable[[Tensor], Tensor]:
    """Return temperature at the stations' height, from a ``profile`` (B, C, N) as (B, 1, N).

    Args:
        channel: Channel of the temperature.
        climb: Height of the stations above the relief, with shape (N,), m.
        rate: Change with height, K m-1.
    """
    return lambda local: local[:, channel, None] + rate * climb.to(local)


def hypsometric(
    channel: int, climb: Tensor, temperature: int | None = None, rate: float = -LAPSE_RATE
) -> Callable[[Tensor], Tensor]:
    """Return surface pressure at the stations' height, from a ``profile`` (B, C, N) as (B, 1, N).

    Args:
        channel: Channel of the pressure.
        climb: Height of the stations above the relief, with shape (N,), m.
        temperature: Channel of the temperature (K), or None for the standard atmosphere's 288 K.
        rate: Change of temperature with height, K m-1.
    """

    def correct(local: Tensor) -> Tensor:
        up = climb.to(local)
        below = STANDARD_TEMPERATURE if temperature is None else local[:, temperature, None]
        layer = below + rate * up / 2
        return local[:, channel, None] * torch.exp(-GRAVITY * up / (GAS_CONSTANT * layer))

    return correct
