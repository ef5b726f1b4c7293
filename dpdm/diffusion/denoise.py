r"""The one trained function: from a noisy field to the expected clean one.

A noisy field is :math:`x_t = x + \sigma z` with :math:`z \sim N(0, I)`. A denoiser estimates
:math:`E[x \mid x_t]`, which is the score in other clothes (Tweedie's formula):

.. math:: \nabla \log p(x_t) = (E[x \mid x_t] - x_t) / \sigma^2

The network F inside sees unit variance at every noise level:

.. math:: D(x_t, \sigma) = c_{skip} x_t + c_{out} F(c_{in} x_t, c_{noise})

It also gives the logarithm s of the variance of its own error, learned by the Gaussian
likelihood, so that one evaluation yields mean and variance:
:math:`V[x \mid x_t] \approx c_{out}^2 e^s` in each cell.

References:
    Karras et al. (2022), Elucidating the design space of diffusion-based generative models,
    Table 1. https://arxiv.org/abs/2206.00364

Widen an ensemble that is too sure of itself.

A network is surer of what it has seen than of a new region or year, and its members lie too close
together. With :math:`x' = m + k (x - m)` the members keep their mean m and their texture, and
their spread grows by k, which is measured where nothing was trained. As noise adds to either,

.. math:: D'(x_t, \sigma) = m + k \, (D(m + (x_t - m) / k, \; \sigma / k) - m)

is exactly the denoiser of :math:`x'`: another denoiser, for any sampler and any condition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpdm.interrupt import check_interrupt
from dpdm.types import Denoise, Fields, Sigma


def expand_sigma(sigma: Sigma, x: Fields) -> Tensor:
    """Append axes of length one to ``sigma`` until it broadcasts against ``x``."""
    return sigma.reshape(-1, *(1,) * (x.ndim - 1))


class Denoiser(nn.Module):
    """Precondition a backbone, and bind it to what is known.

    Args:
        backbone: Module with ``features(given)``, what the conditioning fields say, and
            ``forward(x, c_noise, features)``, twice the channels of ``x``: F and s.
        sigma_data: Standard deviation of the clean, normalised fields.
        law: Denoiser of a Gaussian law, with its ``spread(sigma)``, that the network corrects:
            it takes the place of c_skip x_t, its spread that of c_out, and the network sees
            its answer beside x_t.
    """

    def __init__(
        self, backbone: nn.Module, sigma_data: float = 1.0, law: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.sigma_data = sigma_data
        self.law = law

    def features(self, given: Fields) -> list[Tensor]:
        """Return what the conditioning fields say, computed once for all members and levels."""
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
            guess, seen = c_skip * x_t, c_in * x_t
        else:
            guess = self.law(x_t, sigma)
            seen = torch.cat([c_in * x_t, guess], dim=1)
        f, s = self.backbone(seen, c_noise, features).to(x_t.dtype).chunk(2, dim=1)
        return guess + c_out * f, c_out**2 * s.exp()

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
        """Return the weighted error and the likelihood of one denoising, one value per draw.

        Several draws may share a field: ``sigma`` (K * B,) and ``noise`` (K * B, C, H, W) for
        ``x`` (B, C, H, W), whose features are computed once. Cells where ``x`` is NaN are left
        out; the others count by their ``area``, if one is given, that broadcasts against ``x``.
        The error is weighted by 1 / c_out^2 (Karras et al. 2022, equation 8).
        """
        draws = len(sigma) // len(x)
        features = [f.repeat(draws, 1, 1, 1) for f in self.features(given)]
        x = x.repeat(draws, *(1,) * (x.ndim - 1))
        seen = x.isfinite()
        x = x.nan_to_num()
        x_hat, variance = self.moments(x + expand_sigma(sigma, x) * noise, sigma, features)
        c_out = self.scalings(sigma, x)[1]
        error = ((x_hat - x) / c_out).square()
        relative = variance / c_out**2
        nats = (error.detach() / relative + relative.log()) / 2
        share = seen.to(x) if area is None else seen * area
        count = share.flatten(1).sum(1).clamp_min(1)
        return tuple(  # type: ignore[return-value]
            (share * each).flatten(1).sum(1) / count for each in (error, nats)
        )


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
