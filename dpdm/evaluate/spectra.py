r"""How much of the variance lies at each scale, by a two-dimensional cosine transform.

A cosine transform sees the field and its mirror image, so a domain that is not periodic has no
false step at its edges (Denis, Cote and Laprise 2002, Mon. Weather Rev. 130, 1812). The normalised
wavenumber :math:`\alpha = \sqrt{(i/H)^2 + (j/W)^2}` is 1 for a wave of two cells; waves are two
cells over :math:`\alpha` long. Distances count in cells, along both axes alike.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import fft

from dpdm.evaluate.scores import score_by_step

Array = NDArray[np.float64]

SPECTRAL_BANDS = ("large", "middle", "small")


@score_by_step
def spectrum(field: xr.DataArray) -> xr.DataArray:
    """Return the variance in each ring of wavenumbers, on dimension ``wavenumber``.

    The coordinate is the middle of the ring. Latitude and longitude are reduced; missing cells
    count as the mean of the others. The mean (wavenumber 0) and the corners beyond 1 are left out.
    """
    height, width = field.sizes["lat"], field.sizes["lon"]
    count = min(height, width)
    filled = field.fillna(field.mean(("lat", "lon"))).astype(float)
    power: xr.DataArray = xr.apply_ufunc(
        ring_sums,
        filled,
        kwargs={"count": count},
        input_core_dims=[["lat", "lon"]],
        output_core_dims=[["wavenumber"]],
    )
    return power.assign_coords(wavenumber=(np.arange(count) + 0.5) / count)


def ring_sums(values: Array, count: int) -> Array:
    """Return the mean square of the part of a field in each of ``count`` rings."""
    *lead, height, width = values.shape
    i, j = np.ogrid[:height, :width]
    ring = np.floor(np.hypot(i / height, j / width) * count + 1e-9).astype(int).ravel()
    kept = (ring < count) & (np.arange(ring.size) > 0)
    power = fft.dctn(values, axes=(-2, -1), norm="ortho").reshape(-1, ring.size) ** 2
    sums = [np.bincount(ring[kept], row[kept], count) for row in power]
    shares: Array = np.reshape(sums, (*lead, count)) / ring.size
    return shares


def spectrum_ratio(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Return the forecast's power over the truth's in each third of the wavenumbers.

    ``band="small"`` is the smallest-scale third: 1 is as rough as the truth, less is smoother.
    Powers are averaged over time and over members before the division. Cells missing in one are
    left out of both.
    """
    return band_ratio(
        spectrum(forecast.where(truth.notnull())), spectrum(truth.where(forecast.notnull()))
    )


def band_ratio(forecast: xr.DataArray, truth: xr.DataArray) -> xr.DataArray:
    """Return the ratio of two spectra, averaged over time and members, in thirds."""
    above, below = (
        band_sums(power.mean([d for d in ("time", "realization") if d in power.dims]))
        for power in (forecast, truth)
    )
    return above / below.where(below > 0)


def band_sums(power: xr.DataArray) -> xr.DataArray:
    """Return the sums of a spectrum over its three bands."""
    band = np.minimum(np.floor(power["wavenumber"].values * 3), 2).astype(int)
    member_of = xr.DataArray(
        np.eye(3)[band], dims=("wavenumber", "band"), coords={"band": list(SPECTRAL_BANDS)}
    )
    return (power * member_of).sum("wavenumber")
