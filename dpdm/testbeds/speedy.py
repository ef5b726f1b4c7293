r"""SPEEDY: a simplified general circulation model, with states on levels.

Primitive equations on spherical harmonics up to wavenumber 31, on eight levels of :math:`\sigma =
p / p_s`, with simple physics (Molteni 2003; Kucharski et al. 2013), over climatological sea, ice
and soil. Insolation has a seasonal but no diurnal cycle. The model is the package jcm. In jcm the
two highest levels cool to 115 K in the polar night; so they are relaxed to the US Standard
Atmosphere, in 30 and in 75 days, the radiative time scale there.

**Regridding.** Temperature and the logarithm of surface pressure are sums of harmonics, which are
evaluated at our latitudes. The air temperature near the surface depends on the land mask too, and
is interpolated between latitudes. Between :math:`\sigma` levels temperature is linear in
:math:`\log p`. Below the lowest level, and below ground as in a reanalysis, it follows the
standard lapse rate :math:`\Gamma`:

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
BURN_IN = 92  # days from an isothermal atmosphere at rest, until the jets develop
MODEL_REFERENCE = "Molteni (2003), doi:10.1007/s00382-002-0268-2"
NUDGING_TIME = 30 * 86400.0  # s, to the standard atmosphere at the highest level
NUDGED_LEVELS = 2
MODEL_STEP = 40.0  # minutes
DAYS_PER_BLOCK = 5  # days at once, always the same, as rounding errors depend on it
REFERENCE_PRESSURE = 1e5  # Pa
PRESSURE_EXPONENT = GAS_CONSTANT * LAPSE_RATE / GRAVITY


@dataclass(frozen=True)
class AtmosphereStates:
    """States of the atmosphere at 00 UTC of some days.

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
    """Count the days of calendar years from ``FIRST_DAY`` on.

    Example:
        >>> count_days(1), count_days(4)
        (366, 1461)
    """
    end = (FIRST_DAY.astype("datetime64[Y]") + years).astype("datetime64[D]")
    return int((end - FIRST_DAY).astype(int))


def simulate_atmosphere(
    length: int, seed: int = 0, burn_in: int = BURN_IN
) -> Iterator[AtmosphereStates]:
    """Yield the states of ``length`` days from ``FIRST_DAY`` on, some days at a time.

    Args:
        length: Number of days.
        seed: Seed of the initial perturbation of pressure.
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
    """Regrid fields from the model's Gaussian grid (..., lon, lat) to ours (..., lat, lon)."""

    def __init__(self, gauss: Any) -> None:
        self.gauss = gauss
        self.even = replace(gauss, latitude_spacing="equiangular")

    def evaluate_harmonics(self, field: Any) -> Array:
        """Regrid a sum of harmonics exactly."""
        return np.asarray(self.even.to_nodal(self.gauss.to_modal(field))).swapaxes(-1, -2)

    def interpolate_field(self, field: Any) -> Array:
        """Regrid a field by interpolation between latitudes."""
        lat = np.degrees(np.asarray(self.gauss.latitudes))
        return interpolate_latitudes(np.asarray(field).swapaxes(-1, -2), lat, LAT)


def run_model(seed: int, when: np.datetime64) -> Iterator[AtmosphereStates]:
    """Yield the states of each block of days after a start, without end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of jcm on its libraries
        model, forcing = prepare_model(seed, when)
    regular = RegularGridTransform(model.coords.horizontal)
    while True:
        run = model.resume(save_interval=1.0, total_time=float(DAYS_PER_BLOCK), forcing=forcing)
        yield read_model_states(run, model, regular)


def read_model_states(run: Any, model: Any, regular: RegularGridTransform) -> AtmosphereStates:
    """Return the predictions of the model on our grid and levels."""
    module, air = import_module("jcm.predictions"), run.dynamics
    size = air.temperature.shape[1:]
    t2m = module.physics_output_fields(run.physics, model.physics, size)["surface_flux.t0"]
    sp = REFERENCE_PRESSURE * np.exp(
        regular.evaluate_harmonics(np.log(air.normalized_surface_pressure))
    )
    sigma = np.asarray(model.coords.vertical.centers, dtype=float)
    t = interpolate_to_levels(regular.evaluate_harmonics(air.temperature), sp, sigma)
    return AtmosphereStates(
        module.output_time_labels(run.times), t, regular.interpolate_field(t2m), sp
    )


def prepare_model(seed: int, when: np.datetime64) -> tuple[Any, Any]:
    """Return the model at rest, and its forcing by sea, ice and soil."""
    model = import_extra("jcm.model", "States of SPEEDY", "speedy").Model
    coords = import_module("jcm.physics.speedy.speedy_coords").get_speedy_coords()
    folder = resources.files("jcm.data.bc.t30.clim")
    terrain = import_module("jcm.terrain").TerrainData.from_file(
        folder / "terrain.nc", coords=coords
    )
    forcing = import_module("jcm.forcing").ForcingData.from_file(
        folder / "forcing.nc", coords=coords, align_mode="wrap_year"
    )
    atmosphere = model(
        coords=coords,
        terrain=terrain,
        physics=make_physics(coords),
        time_step=MODEL_STEP,
        start_time=str(when),
    )
    atmosphere.bootstrap_state(atmosphere.initial_state(random_seed=seed))
    return atmosphere, forcing


def make_physics(coords: Any) -> Any:
    """Return the physics of SPEEDY, with relaxation of the highest levels."""
    bounds = np.asarray(coords.vertical.boundaries)
    module = import_module("jcm.physics.dissipation.upper_temperature_relaxation")
    relaxation = module.UpperTemperatureRelaxation.from_ussa(
        0 * bounds, bounds, n_levels=NUDGED_LEVELS, timescale_s=NUDGING_TIME
    )
    return import_module("jcm.physics.speedy.speedy_terms").speedy_physics() + relaxation


def interpolate_to_levels(
    t: Array, sp: Array, sigma: Array, levels: Array = PRESSURE_LEVELS
) -> Array:
    """Return temperature on pressure levels, (N, K, ...) to (N, L, ...).

    Args:
        t: On the model's levels, K.
        sp: Surface pressure, with shape (N, ...), Pa.
        sigma: The model's levels, ascending, with shape (K,).
        levels: Pressures, with shape (L,), Pa.
    """
    p = sp[:, None] * sigma.reshape(-1, *[1] * (sp.ndim - 1))
    out = np.stack([_temperature_at(t, p, level) for level in levels], axis=1)
    return out.astype(t.dtype)


def _temperature_at(t: Array, p: Array, level: float) -> Array:
    """Interpolate temperature to one pressure."""
    above = ((p < level).sum(1, keepdims=True) - 1).clip(0, p.shape[1] - 2)
    (t0, t1), (p0, p1) = (
        [np.take_along_axis(a, above + i, axis=1)[:, 0] for i in (0, 1)] for a in (t, p)
    )
    inside = t0 + (t1 - t0) * np.log(level / p0) / np.log(p1 / p0)
    below = t[:, -1] * (level / p[:, -1]) ** PRESSURE_EXPONENT
    return np.where(level > p[:, -1], below, inside)


def interpolate_latitudes(field: Array, lat: Array, to: Array) -> Array:
    """Interpolate a global field (..., H, W) between latitudes, and across the poles."""
    opposite = np.roll(field, field.shape[-1] // 2, axis=-1)
    rows = np.concatenate([opposite[..., :1, :], field, opposite[..., -1:, :]], axis=-2)
    at = np.concatenate([[-180 - lat[0]], lat, [180 - lat[-1]]])
    below = np.searchsorted(at, to, side="right") - 1
    share = ((to - at[below]) / (at[below + 1] - at[below]))[:, None]
    values = (1 - share) * rows[..., below, :] + share * rows[..., below + 1, :]
    return np.asarray(values, dtype=field.dtype)
