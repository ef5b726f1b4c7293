r"""What is seen of a wind: its speed, where it comes from, how it spreads and how it turns.

All work on the channel axis of fields (B, C, ...) and of a ``profile`` (B, C, N) alike, and keep
the other axes; divergence and vorticity take derivatives along the last two. On a sphere of
radius a, with latitude :math:`\phi` and longitude :math:`\lambda`,

.. math::
   \delta = \frac{\partial_\lambda u + \partial_\phi (v \cos\phi)}{a \cos\phi}, \qquad
   \zeta = \frac{\partial_\lambda v - \partial_\phi (u \cos\phi)}{a \cos\phi}

**Direction.** Degrees jump from 360 to 0 at north, so a misfit in degrees is wrong there, and two
directions have no mean. Assimilate a direction on the turn of the circle nearest to what was
observed, as `instruments` does, or the unit vector, of which ``heading`` is the operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.operators.geometry import GridAxis, GridLayout
from dpdm.types import Fields

FieldMap = Callable[[Fields], Fields]
CALM_SPEED = 0.5  # m s-1, below which a vane gives no direction
METRES_PER_DEGREE = math.radians(EARTH_RADIUS)  # m, along a meridian


def wind_speed(u: int = 0, v: int = 1) -> FieldMap:
    """Return the speed of the wind in channels ``u`` and ``v``; in a calm its derivative is 0."""
    return lambda fields: torch.linalg.vector_norm(fields[:, [u, v]], dim=1, keepdim=True)


def wind_heading(u: int = 0, v: int = 1, calm: float = CALM_SPEED) -> FieldMap:
    """Return the unit vector (B, 2, ...) along the wind, shrinking to 0 below a ``calm`` speed."""

    def unit(fields: Fields) -> Fields:
        return fields[:, [u, v]] / wind_speed(u, v)(fields).clamp_min(calm)

    return unit


def wind_direction(u: int = 0, v: int = 1) -> FieldMap:
    """Return where the wind comes from, in degrees clockwise from north; 0 in a dead calm.

    Example:
        >>> wind_direction()(torch.tensor([[[1.0, 0.0], [0.0, -2.0]]]))
        tensor([[[270.,   0.]]])
    """

    def degrees(fields: Fields) -> Fields:
        east, north = fields[:, u, None], fields[:, v, None]
        # A dead calm becomes a northerly, for the derivative of atan2 is no number at the origin.
        still = (east == 0) & (north == 0)
        back = torch.where(still, torch.ones_like(north), -north)
        return torch.rad2deg(torch.atan2(-east, back)) % 360

    return degrees


def wind_divergence(
    layout: GridLayout, u: int = 0, v: int = 1, spectral: bool = False
) -> FieldMap:
    """Return the divergence (B, 1, ..., H, W), in s-1 where the wind is in m s-1.

    Args:
        layout: The cells of the field.
        u: Channel of the wind along the rows.
        v: Channel of the wind along the columns.
        spectral: Whether derivatives are exact for waves, on a doubly periodic plane, instead of
            centred differences of second order (one-sided at a rim, and of first order in the
            rows next to a pole).
    """
    return lambda fields: vector_divergence(
        layout, fields[:, u, None], fields[:, v, None], spectral
    )


def wind_vorticity(layout: GridLayout, u: int = 0, v: int = 1, spectral: bool = False) -> FieldMap:
    """Return the vertical vorticity (B, 1, ..., H, W); the arguments are those of `divergence`.

    It is the divergence of the wind turned right by a quarter.
    """
    return lambda fields: vector_divergence(
        layout, fields[:, v, None], -fields[:, u, None], spectral
    )


def vector_divergence(layout: GridLayout, along: Tensor, up: Tensor, spectral: bool) -> Tensor:
    """Return the divergence of a vector with components (B, 1, ..., H, W)."""
    d = fourier_derivative if spectral else central_difference
    if not layout.sphere:
        return d(along, layout.columns, -1) + d(up, layout.rows, -2)
    lat = torch.as_tensor(layout.rows.centres, device=along.device)[:, None]
    pole = lat.abs() > 90 - 1e-6
    narrow = torch.where(pole, 0.0, torch.deg2rad(lat).cos()).to(along)
    flow = d(along, layout.columns, -1) + d(up * narrow, layout.rows, -2)
    return average_pole_rows(flow / (METRES_PER_DEGREE * torch.where(pole, 1.0, narrow)), pole)


def average_pole_rows(fields: Tensor, pole: Tensor) -> Tensor:
    """Return fields whose rows at a pole, where no direction is east, are the next row's mean."""
    inner = torch.arange(len(pole), device=fields.device).clamp(1, len(pole) - 2)
    return torch.where(pole, fields.mean(-1, keepdim=True)[..., inner, :], fields)


def central_difference(fields: Tensor, axis: GridAxis, dim: int) -> Tensor:
    """Return the derivative by differences of second order, one-sided at a rim."""
    if len(axis.centres) < 3:
        raise DpdmError(
            f"The axis {axis.name} has {len(axis.centres)} cells, too few for a derivative.",
            "Use a field of 3 or more rows and columns.",
        )
    if axis.is_cyclic:
        return (fields.roll(-1, dim) - fields.roll(1, dim)) / (2 * axis.step)
    (slope,) = torch.gradient(fields, spacing=axis.step, dim=dim, edge_order=2)
    return slope


def fourier_derivative(fields: Tensor, axis: GridAxis, dim: int) -> Tensor:
    """Return the derivative that is exact for waves; that of the shortest is 0 at the cells."""
    if not axis.is_cyclic:
        raise DpdmError(
            f"A spectral derivative needs a periodic axis, and {axis.name} is not.",
            "Use centred differences.",
        )
    count = len(axis.centres)
    waves = torch.fft.rfftfreq(count, axis.step, dtype=fields.dtype, device=fields.device)
    if count % 2 == 0:
        waves[-1] = 0
    waves = waves.reshape(-1, *[1] * (-1 - dim))
    turned = torch.fft.rfft(fields, dim=dim) * (2j * torch.pi * waves)
    slope: Tensor = torch.fft.irfft(turned, n=count, dim=dim)
    return slope
