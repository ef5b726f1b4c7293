"""Constants of the Earth and its atmosphere."""

from __future__ import annotations

EARTH_RADIUS = 6_371_000.0  # m, of the sphere with the Earth's area, to 0.1 per mille
LAPSE_RATE = 6.5e-3  # K m-1, fall of temperature with height in the standard atmosphere
STANDARD_TEMPERATURE = 288.15  # K, of the standard atmosphere at sea level
GRAVITY = 9.80665  # m s-2
GAS_CONSTANT = 287.05  # of dry air, J kg-1 K-1
