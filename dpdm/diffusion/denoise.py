r"""Denoisers: from a noisy field to the expected clean field.

A noisy field is :math:`x_t = x + \sigma z` with :math:`z \sim N(0, I)`. A denoiser estimates
:math:`E[x \mid x_t]`, which is equivalent to the score (Tweedie's formula):

.. math:: \nabla \log p(x_t) = (E[x \mid x_t] - x_t) / \sigma^2

The input of the network F has unit variance at every noise level:

.. math:: D(x_t, \sigma) = c_{skip} x_t + c_{out} F(c_{in} x_t, c_{noise})

The network also estimates the logarithm s of its error variance, trained by the Gaussian
likelihood, so that one evaluation gives mean and variance:
:math:`V[x \mid x_t] \approx c_{out}^2 e^s` in each cell.

References:
    Karras et al. (2022), Elucidating the design space of diffusion-based generative models,
    Table 1. https://arxiv.org/abs/2206.00364

**Spread inflation.** In new regions or years ensembles tend to be underdispersive. The inflated
members :math:`x' = m + k (x - m)` have the same mean m and k times the spread; k is estimated on
validation data. Their denoiser is exactly

.. math:: D'(x_t, \sigma) = m + k \, (D(m + (x_t - m) / k, \; \sigma / k) - m).

**Gaussian fields** have a denoiser in closed form: the exact reference of the tests, the self-test
of ``dpdm doctor``, and a baseline, as its posterior is optimal interpolation. For
:math:`x \sim N(m, C)` with :math:`C = U \Lambda U^T`,

.. math:: E[x \mid x_t] = m + U \Lambda (\Lambda + \sigma^2)^{-1} U^T (x_t - m).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpdm.interrupt import check_interrupt
from dpdm.types import Denoise, Fields, Sigma


def expand_sigma(sigma: Sigma, x: Fields) -> Tensor:
    """Append axes of length one to ``sigma`` until it broadcasts against ``x``."""
    return sigma.reshape(-1, *(1,) * (x.ndim - 1))


class Denoiser(nn.Module):
    """Precondition a backbone, and bind it to conditioning fields.

    Args:
        backbone: Module with ``features(given)``, the features of the conditioning fields, and
            ``forward(x, c_noise, features)``, twice the channels of ``x``: F and s.
        sigma_data: Standard deviation of the clean, normalised fields.
        law: Denoiser of a Gaussian distribution that the network corrects: it replaces
            c_skip x_t, its ``spread(sigma)`` replaces c_out, and its mean is another input of
            the network.
        fast: A head that draws a member in one evaluation: a module with the ``forward`` of the
            backbone, or None.
        fast_level: The noise level at which it does.
    """

    def __init__(
        self,
        backbone: nn.Module,
        sigma_data: float = 1.0,
        law: nn.Module | None = None,
        fast: nn.Module | None = None,
        fast_level: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sigma_data = sigma_data
        self.law = law
        self.fast = fast
        self.fast_level = fast_level

    def features(self, given: Fields) -> list[Tensor]:
        """Return the features of conditioning fields, the same for all members and levels."""
        out: list[Tensor] = self.backbone.features(given)  # type: ignore[operator]
        return out

    def scalings(self, sigma: Sigma, x: Fields) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return c_skip, c_out, c_in and c_noise (Karras et al. 2022, Table 1)."""
        s = expand_sigma(sigma, x)
        total = s**2 + self.sigma_data**2
        c_out = s * self.sigma_data * total.rsqrt()
        if self.law is not None:
            c_out = expand_sigma(self.law.spread(sigma), x)  # type: ignore[operator]
        return self.sigma_data**2 / total, c_out, total.rsqrt(), sigma.log() / 4

    def moments(self, x_t: Fields, sigma: Sigma, features: list[Tensor]) -> tuple[Fields, Fields]:
        """Return the mean and the variance of the clean fields, each shaped as ``x_t``.

        Raises:
            Interrupted: A signal has come.
        """
        check_interrupt()
        c_skip, c_out, c_in, c_noise = self.scalings(sigma, x_t)
        if self.law is None:
            guess, inputs = c_skip * x_t, c_in * x_t
        else:
            guess = self.law(x_t, sigma)
            inputs = torch.cat([c_in * x_t, guess], dim=1)
        f, s = self.backbone(inputs, c_noise, features).to(x_t.dtype).chunk(2, dim=1)
        return guess + c_out * f, c_out**2 * s.exp()

    def fast_member(self, x_t: Fields, sigma: Sigma, features: list[Tensor]) -> Fields:
        """Return members of the distribution, from the mean plus noise of the level of the head.

        Raises:
            Interrupted: A signal has come.
        """
        check_interrupt()
        assert self.fast is not None
        c_skip, c_out, c_in, c_noise = self.scalings(sigma, x_t)
        f = self.fast(c_in * x_t, c_noise, features).to(x_t.dtype)[:, : x_t.shape[1]]
        members: Fields = c_skip * x_t + c_out * f
        return members

    def forward(self, x_t: Fields, sigma: Sigma, given: Fields) -> Fields:
        """Return the expected clean fields, with the shape of ``x_t``."""
        return self.moments(x_t, sigma, self.features(given))[0]

    def bind(self, given: Fields) -> Denoise:
        """Return the denoiser of these conditioning fields, with shape (1, G, H, W)."""
        features = self.features(given)

        def denoise(x_t: Fields, sigma: Sigma) -> Fields:
            return self.moments(x_t, sigma, features)[0]

        return denoise

    def loss(
        self, x: Fields, sigma: Sigma, noise: Fields, given: Fields, area: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the weighted error and the negative log-likelihood, one value per draw.

        Several draws may share a field: ``sigma`` (K * B,) and ``noise`` (K * B, C, H, W) for
        ``x`` (B, C, H, W), whose features are computed once. Cells where ``x`` is NaN are
        ignored; the others are weighted by ``area``, if given, which broadcasts against ``x``.
        The error is weighted by 1 / c_out^2 (Karras et al. 2022, equation 8).
        """
        draws = len(sigma) // len(x)
        features = [f.repeat(draws, 1, 1, 1) for f in self.features(given)]
        x = x.repeat(draws, *(1,) * (x.ndim - 1))
        valid = x.isfinite()
        x = x.nan_to_num()
        x_hat, variance = self.moments(x + expand_sigma(sigma, x) * noise, sigma, features)
        c_out = self.scalings(sigma, x)[1]
        error = ((x_hat - x) / c_out).square()
        relative = variance / c_out**2
        nats = (error.detach() / relative + relative.log()) / 2
        share = valid.to(x) if area is None else valid * area
        count = share.flatten(1).sum(1).clamp_min(1)
        return tuple(  # type: ignore[return-value]
            (share * each).flatten(1).sum(1) / count for each in (error, nats)
        )


def inflate(denoise: Denoise, mean: Fields, factor: float) -> Denoise:
    """Return the denoiser of fields with ``factor`` times the deviation from the mean.

    Args:
        denoise: Denoiser of the fields x.
        mean: Their mean m, with shape (1, C, H, W).
        factor: The factor k; 1 for no inflation.
    """
    if factor == 1.0:
        return denoise

    def inflated(x_t: Fields, sigma: Sigma) -> Fields:
        x_hat = denoise(mean + (x_t - mean) / factor, sigma / factor)
        return mean + factor * (x_hat - mean)

    return inflated


def inflate_scales(deviation: Fields, coarse: float, fine: float, cyclic: bool = False) -> Fields:
    """Return deviations from a mean (B, C, H, W), inflated by a factor of each scale.

    Args:
        deviation: The deviations.
        coarse: Factor of their means over neighbours, with weights 1, 2, 1 along both axes.
        fine: Factor of what these leave.
        cyclic: Whether the columns are cyclic.
    """
    if coarse == fine:
        return coarse * deviation
    smooth = F.pad(deviation, (1, 1, 0, 0), mode="circular" if cyclic else "replicate")
    smooth = (smooth[..., :-2] + 2 * smooth[..., 1:-1] + smooth[..., 2:]) / 4
    smooth = F.pad(smooth, (0, 0, 1, 1), mode="replicate")
    smooth = (smooth[..., :-2, :] + 2 * smooth[..., 1:-1, :] + smooth[..., 2:, :]) / 4
    return coarse * smooth + fine * (deviation - smooth)


@dataclass(frozen=True)
class Gaussian:
    """Fields x ~ N(mean, cov), flattened to N = C * H * W cells.

    Attributes:
        mean: Mean, with shape (N,).
        cov: Covariance, with shape (N, N).
    """

    mean: Tensor
    cov: Tensor

    def __call__(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return E[x | x_t], with the shape of ``x_t``."""
        values, vectors = torch.linalg.eigh(self.cov)
        keep = values / (values + sigma[:, None] ** 2)
        flat: Tensor = self.mean + ((x_t.flatten(1) - self.mean) @ vectors * keep) @ vectors.T
        return flat.reshape(x_t.shape)

    def condition_on(self, a: Tensor, y: Tensor, r: Tensor) -> Gaussian:
        """Return the posterior after y = a x + e, e ~ N(0, diag(r)): the Kalman update."""
        gain = torch.linalg.solve(a @ self.cov @ a.T + torch.diag(r), a @ self.cov).T
        return Gaussian(self.mean + gain @ (y - a @ self.mean), self.cov - gain @ a @ self.cov)
