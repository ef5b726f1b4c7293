r"""Widen an ensemble that is too sure of itself.

A network is surer of what it has seen than of a new region or year, and its members lie too close
together. With :math:`x' = m + k (x - m)` the members keep their mean m and their texture, and
their spread grows by k, which is measured where nothing was trained. As noise adds to either,

.. math:: D'(x_t, \sigma) = m + k \, (D(m + (x_t - m) / k, \; \sigma / k) - m)

is exactly the denoiser of :math:`x'`: another denoiser, for any sampler and any condition.
"""

from dpdm.types import Denoise, Fields, Sigma


def inflate(denoise: Denoise, mean: Fields, factor: float) -> Denoise:
    """Return the denoiser of fields whose deviation from the mean is ``factor`` times as wide.

    Args:
        denoise: Denoiser of the fields x.
        mean: Their mean m, with shape (1, C, H, W).
        factor: The factor k; 1 changes nothing.
    """
    if factor == 1.0:
        return denoise

    def wider(x_t: Fields, sigma: Sigma) -> Fields:
        inner = denoise(mean + (x_t - mean) / factor, sigma / factor)
        return mean + factor * (inner - mean)

    return wider
