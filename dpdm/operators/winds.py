r"""Functions of the wind: speed, direction, divergence and vorticity.

All are functions of the channels of fields (B, C, ...) or of point values (B, C, N), and preserve
the other axes; divergence and vorticity take derivatives along the last two. On a sphere of
radius a, with latitude :math:`\phi` and longitude :math:`\lambda`,

.. math::
   \delta = \frac{\partial_\lambda u + \partial_\phi (v \cos\phi)}{a \cos\phi}, \qquad
   \zeta = \frac{\partial_\lambda v - \partial_\phi (u \cos\phi)}{a \cos\phi}

**Direction.** Degrees jump from 360 to 0 at north, so that misfits in degrees are wrong there.
Assimilate a direction on the turn of the circle nearest to the observed one, as
`dpdm.observations.observation_operator` does, or the unit vector by `wind_heading`.
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
CALM_SPEED = 0.5  # m s-1, below which a vane shows no direction
METRES_PER_DEGREE = math.radians(EARTH_RADIUS)  # m, along a meridian


def wind_speed(u: int = 0, v: int = 1) -> FieldMap:
    """Return the speed of the wind in channels ``u`` and ``v``; its derivative is 0 at speed 0."""
    return lambda fields: torch.linalg.vector_norm(fields[:, [u, v]], dim=1, keepdim=True)


def wind_heading(u: int = 0, v: int = 1, calm: float = CALM_SPEED) -> FieldMap:
    """Return the unit vector (B, 2, ...) along the wind, shorter below a ``calm`` speed."""

    def unit(fields: Fields) -> Fields:
        return fields[:, [u, v]] / wind_speed(u, v)(fields).clamp_min(calm)

    return unit


def wind_direction(u: int = 0, v: int = 1) -> FieldMap:
    """Return the direction from which the wind blows, in degrees from north; 0 at speed 0.

    Example:
        >>> wind_direction()(torch.tensor([[[1.0, 0.0], [0.0, -2.0]]]))
        tensor([[[270.,   0.]]])
    """

    def degrees(fields: Fields) -> Fields:
        east, north = fields[:, u, None], fields[:, v, None]
        # A calm is replaced by a northerly, as the derivative of atan2 is NaN at the origin.
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
        spectral: Whether to use Fourier derivatives, on a doubly periodic plane, instead of
            centred differences of second order (one-sided at an edge, and of first order in the
            rows next to a pole).
    """
    return lambda fields: vector_divergence(
        layout, fields[:, u, None], fields[:, v, None], spectral
    )


def wind_vorticity(layout: GridLayout, u: int = 0, v: int = 1, spectral: bool = False) -> FieldMap:
    """Return the vertical vorticity (B, 1, ..., H, W), with arguments as `wind_divergence`.

    It is the divergence of the wind rotated by 90 degrees to the right.
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
    """Replace the row at a pole by the mean of the next row."""
    inner = torch.arange(len(pole), device=fields.device).clamp(1, len(pole) - 2)
    return torch.where(pole, fields.mean(-1, keepdim=True)[..., inner, :], fields)


def central_difference(fields: Tensor, axis: GridAxis, dim: int) -> Tensor:
    """Return the derivative by differences of second order, one-sided at an edge."""
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
    """Return the Fourier derivative; that of the shortest wave is 0."""
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
