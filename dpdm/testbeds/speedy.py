r"""SPEEDY: a small model of the whole atmosphere, whose states have levels.

Primitive equations on spherical harmonics up to wavenumber 31, on eight levels of
:math:`\sigma = p / p_s`, with simple physics (Molteni 2003; Kucharski
et al. 2013), over sea, ice and soil of the bundled climatology. The sun has seasons and no hours.
The package jcm computes it. As jcm has it, nothing stops the polar night from cooling the two
highest levels, down to 115 K in winter; so they are drawn to the US Standard Atmosphere, in 30
and in 75 days, which is how slowly air radiates there.

**From the model's grid to ours.** Temperature and the logarithm of surface pressure are sums of
harmonics, and so are known at every latitude: they are evaluated there. The air temperature near
the surface is a formula of those and of the coast, and is lerped between latitudes. Between
:math:`\sigma` levels temperature is linear in :math:`\log p`. Below the lowest, and below ground
as in a reanalysis, it follows the standard lapse rate :math:`\Gamma`:

.. math:: T(p) = T_k \Big(\frac{p}{p_k}\Big)^{R \Gamma / g}.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module, resources
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dpdm.constants import GAS_CONSTANT, GRAVITY, LAPSE_RATE
from dpdm.system import import_extra

Array: TypeAlias = NDArray[np.floating[Any]]

PRESSURE_LEVELS = np.array([925, 850, 700, 500, 300, 200, 100, 30]) * 100.0  # Pa
LAT = -90 + 3.75 * (np.arange(48) + 0.5)
LON = 3.75 * np.arange(96)
FIRST_DAY = np.datetime64("2000-01-01", "D")
BURN_IN = 92  # days from an atmosphere of one temperature at rest, in which its jets arise
MODEL_REFERENCE = "Molteni (2003), doi:10.1007/s00382-002-0268-2"
NUDGING_TIME = 30 * 86400.0  # s, to the standard atmosphere at the highest level
NUDGED_LEVELS = 2  # levels
MODEL_STEP = 40.0  # minutes, of the model
DAYS_PER_BLOCK = 5  # days at once: always as many, for another number is rounded in another way
REFERENCE_PRESSURE = 1e5  # Pa
PRESSURE_EXPONENT = GAS_CONSTANT * LAPSE_RATE / GRAVITY


@dataclass(frozen=True)
class AtmosphereStates:
    """What the atmosphere is like at 00 UTC of some days.

    Attributes:
        time: The days, with shape (N,).
        t: Air temperature on ``PRESSURE_LEVELS``, with shape (N, 8, 48, 96), K.
        t2m: Air temperature near the surface, with shape (N, 48, 96), K.
        sp: Surface air pressure, with shape (N, 48, 96), Pa.
    """

    time: NDArray[np.datetime64]
    t: Array
    t2m: Array
    sp: Array

    def __getitem__(self, chosen: slice) -> AtmosphereStates:
        """Return some of the days."""
        return AtmosphereStates(
            self.time[chosen], self.t[chosen], self.t2m[chosen], self.sp[chosen]
        )


def count_days(years: int) -> int:
    """Count the days of so many calendar years.

    Example:
        >>> count_days(1), count_days(4)
        (366, 1461)
    """
    end = (FIRST_DAY.astype("datetime64[Y]") + years).astype("datetime64[D]")
    return int((end - FIRST_DAY).astype(int))


def simulate_atmosphere(
    length: int, seed: int = 0, burn_in: int = BURN_IN
) -> Iterator[AtmosphereStates]:
    """Yield the states of so many days from ``FIRST_DAY`` on, some days at a time.

    Args:
        length: How many days.
        seed: Decides the ripple of the first pressure, which decides the weather.
        burn_in: Days before the first, 1 or more.
    """
    run = run_model(seed, FIRST_DAY - burn_in)
    wanted, last = FIRST_DAY, FIRST_DAY + length
    while wanted < last:
        block = next(run)
        begin = int((wanted - block.time[0].astype("datetime64[D]")).astype(int))
        if begin < DAYS_PER_BLOCK:
            part = block[begin : begin + int((last - wanted).astype(int))]
            wanted += len(part.time)
            yield part


class RegularGridTransform:
    """Bring what is on the model's Gaussian grid (..., lon, lat) to ours (..., lat, lon)."""

    def __init__(self, gauss: Any) -> None:
        self.gauss = gauss
        self.even = replace(gauss, latitude_spacing="equiangular")

    def evaluate_harmonics(self, field: Any) -> Array:
        """Evaluate what is a sum of harmonics."""
        return np.asarray(self.even.to_nodal(self.gauss.to_modal(field))).swapaxes(-1, -2)

    def interpolate_field(self, field: Any) -> Array:
        """Lerp what is not."""
        lat = np.degrees(np.asarray(self.gauss.latitudes))
        return interpolate_latitudes(np.asarray(field).swapaxes(-1, -2), lat, LAT)


def run_model(seed: int, when: np.datetime64) -> Iterator[AtmosphereStates]:
    """Yield the states of each block of days after a start, for ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jcm's own, of libraries that it uses
        model, forcing = prepare_model(seed, when)
    regular = RegularGridTransform(model.coords.horizontal)
    while True:
        seen = model.resume(save_interval=1.0, total_time=float(DAYS_PER_BLOCK), forcing=forcing)
        yield read_model_states(seen, model, regular)


def read_model_states(seen: Any, model: Any, regular: RegularGridTransform) -> AtmosphereStates:
    """Read what the model predicted."""
    said, air = import_module("jcm.predictions"), seen.dynamics
    size = air.temperature.shape[1:]
    near = said.physics_output_fields(seen.physics, model.physics, size)["surface_flux.t0"]
    sp = REFERENCE_PRESSURE * np.exp(
        regular.evaluate_harmonics(np.log(air.normalized_surface_pressure))
    )
    sigma = np.asarray(model.coords.vertical.centers, dtype=float)
    t = interpolate_to_levels(regular.evaluate_harmonics(air.temperature), sp, sigma)
    return AtmosphereStates(
        said.output_time_labels(seen.times), t, regular.interpolate_field(near), sp
    )


def prepare_model(seed: int, when: np.datetime64) -> tuple[Any, Any]:
    """Return the model at rest, and what the sea, the ice and the soil do to it."""
    model = import_extra("jcm.model", "States of SPEEDY", "speedy").Model
    coords = import_module("jcm.physics.speedy.speedy_coords").get_speedy_coords()
    folder = resources.files("jcm.data.bc.t30.clim")
    terrain = import_module("jcm.terrain").TerrainData.from_file(
        folder / "terrain.nc", coords=coords
    )
    forcing = import_module("jcm.forcing").ForcingData.from_file(
        folder / "forcing.nc", coords=coords, align_mode="wrap_year"
    )
    made = model(
        coords=coords,
        terrain=terrain,
        physics=make_physics(coords),
        time_step=MODEL_STEP,
        start_time=str(when),
    )
    made.bootstrap_state(made.initial_state(random_seed=seed))
    return made, forcing


def make_physics(coords: Any) -> Any:
    """Return SPEEDY's physics, with a pull on the highest levels."""
    bounds = np.asarray(coords.vertical.boundaries)
    pull = import_module("jcm.physics.dissipation.upper_temperature_relaxation")
    slow = pull.UpperTemperatureRelaxation.from_ussa(
        0 * bounds, bounds, n_levels=NUDGED_LEVELS, timescale_s=NUDGING_TIME
    )
    return import_module("jcm.physics.speedy.speedy_terms").speedy_physics() + slow


def interpolate_to_levels(
    t: Array, sp: Array, sigma: Array, levels: Array = PRESSURE_LEVELS
) -> Array:
    """Return temperature on pressure levels, (N, K, ...) to (N, L, ...).

    Args:
        t: On the model's levels, K.
        sp: Surface pressure, with shape (N, ...), Pa.
        sigma: Those levels' share of it, rising, with shape (K,).
        levels: Pressures, with shape (L,), Pa.
    """
    p = sp[:, None] * sigma.reshape(-1, *[1] * (sp.ndim - 1))
    out = np.stack([_temperature_at(t, p, level) for level in levels], axis=1)
    return out.astype(t.dtype)


def _temperature_at(t: Array, p: Array, level: float) -> Array:
    """Return temperature at one pressure."""
    above = ((p < level).sum(1, keepdims=True) - 1).clip(0, p.shape[1] - 2)
    (t0, t1), (p0, p1) = (
        [np.take_along_axis(a, above + i, axis=1)[:, 0] for i in (0, 1)] for a in (t, p)
    )
    inside = t0 + (t1 - t0) * np.log(level / p0) / np.log(p1 / p0)
    below = t[:, -1] * (level / p[:, -1]) ** PRESSURE_EXPONENT
    return np.where(level > p[:, -1], below, inside)


def interpolate_latitudes(field: Array, lat: Array, to: Array) -> Array:
    """Lerp a global field (..., H, W) between latitudes; beyond a pole the other side follows."""
    turned = np.roll(field, field.shape[-1] // 2, axis=-1)
    rows = np.concatenate([turned[..., :1, :], field, turned[..., -1:, :]], axis=-2)
    at = np.concatenate([[-180 - lat[0]], lat, [180 - lat[-1]]])
    below = np.searchsorted(at, to, side="right") - 1
    share = ((to - at[below]) / (at[below + 1] - at[below]))[:, None]
    lerped = (1 - share) * rows[..., below, :] + share * rows[..., below + 1, :]
    return np.asarray(lerped, dtype=field.dtype)
