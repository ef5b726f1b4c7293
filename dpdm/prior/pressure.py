r"""Surface pressure by physics: the hypsometric equation instead of a network.

With the height z of the cells and :math:`z_s` that of the coarse cells, interpolated, the modelled
value of surface pressure p is the logarithm of the pressure at the height :math:`z_s`, which is
smooth,

.. math:: u = \ln p + \frac{g \, (z - z_s)}{R \, (T + \Gamma (z - z_s) / 2)}

with the temperature T of the same member. The inverse is exact. Its base is the interpolated
logarithm of the coarse pressure, and nothing remains to be learnt but

- the error of interpolation, proportional to the spacing s of the coarse cells,
- the temperature of the layer between z and :math:`z_s`, which is not that at 2 m, and
- the error of the relief, if it is not that of the coarse fields:

.. math:: \sigma_u^2 = (\epsilon s)^2 + \Big(\frac{g (z - z_s)}{R T^2} \sigma_T\Big)^2
          + \Big(\frac{g}{R T} \sigma_z\Big)^2

:math:`\epsilon` and :math:`\sigma_T` are those of an analysis of North America at 91 km, in block
means by 2 to 6, with its own relief and temperature. :math:`\sigma_z` is that of the bundled
relief from ERA5's, 60 S to 75 N without the Alps, as a power of the roughness, the RMS of z minus
its mean over 5 by 5 cells (docs/method.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE, STANDARD_TEMPERATURE

Array = NDArray[np.float64]
INTERPOLATION_ERROR = 1e-6  # of ln p, for each km of the coarse spacing
LAYER_ERROR = 5.0  # K, temperature of the layer, where that at 2 m is known
CLIMATE_ERRORS = {"month": 2.0, "season": 2.0, "year": 2.0}  # K, climatology at 2 m
WEATHER_ERROR = 6.5  # K, the same of shorter steps, on land above 1200 m
STANDARD_ERROR = 15.0  # K, standard atmosphere
RELIEF_ERROR, RELIEF_POWER = 0.52, 0.9  # m, of the bundled relief, roughness of 1 m, by four
FACTOR_POWER = 0.1  # of that error, which the means of larger cells increase
ROUGH_CELLS, NEAR_CELLS = 5, 9


def pressure_spread(height: Array, offset: Array, spacing: float, relief_error: Array) -> Array:
    """Return the standard deviation of u (H, W).

    Args:
        height: Height of the cells, m.
        offset: The same minus the interpolated height of the coarse cells, m.
        spacing: Distance of the coarse cells, km.
        relief_error: Standard deviation of the offset, m.
    """
    temperature = STANDARD_TEMPERATURE - LAPSE_RATE * height
    rate = GRAVITY / (GAS_CONSTANT * temperature)
    layer = rate * offset / temperature * LAYER_ERROR
    return np.sqrt((INTERPOLATION_ERROR * spacing) ** 2 + layer**2 + (rate * relief_error) ** 2)


def bundled_relief_error(height: Array, factor: float, cyclic: bool = False) -> Array:
    """Return the standard deviation of the offset of the bundled relief (H, W), m.

    Args:
        height: The bundled relief, m.
        factor: Coarse over fine spacing.
        cyclic: Whether the columns are cyclic.
    """
    modes = ("nearest", "wrap" if cyclic else "nearest")
    detail = height - uniform_filter(height, ROUGH_CELLS, mode=modes)
    roughness = np.sqrt(uniform_filter(detail**2, NEAR_CELLS, mode=modes).clip(0))
    error: Array = RELIEF_ERROR * (factor / 4) ** FACTOR_POWER * roughness**RELIEF_POWER
    return error
