r"""The backbone for windows of a few components: a residual perceptron.

Successive states of a dynamical system are almost equal, and likely trajectories differ from
unlikely ones by small second differences. So the network works in the principal modes of its
windows, :math:`u = U^T x`, with variances :math:`\lambda` from large to tiny, and each mode is
preconditioned separately (Karras et al. 2022, Table 1, with :math:`\sigma_{data}^2 = \lambda`):

.. math:: D(u_t, \sigma) = \frac{\lambda}{\lambda + \sigma^2} u_t +
          \frac{\sigma \sqrt\lambda}{\sqrt{\lambda + \sigma^2}} \,
          G\!\left(\frac{u_t}{\sqrt{\lambda + \sigma^2}}\right)

With G = 0 this is the exact denoiser of Gaussian windows with the same covariance; G corrects for
non-Gaussian distributions, and all modes of its input have unit variance at every noise level.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpdm.nets.unet import embed_noise_level


class ModulatedLayer(nn.Module):
    """Add a correction, modulated by the noise level.

    Args:
        width: Values in and out.
        embedding: Size of the noise embedding.
    """

    def __init__(self, width: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.film = nn.Linear(embedding, 2 * width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        """Return ``h`` (B, width) with the correction added; ``noise`` is (B, embedding)."""
        scale, shift = self.film(noise).chunk(2, dim=1)
        inner = self.first(self.norm(h) * (1 + scale) + shift)
        out: Tensor = h + self.second(F.silu(inner))
        return out


class MLP(nn.Module):
    """Denoise windows of states, each flattened to one row of values.

    Args:
        values: Values D of a window.
        hidden: Width of the layers.
        layers: Residual layers.
    """

    modes: Tensor
    variance: Tensor

    def __init__(self, values: int, hidden: int = 256, layers: int = 5) -> None:
        super().__init__()
        size = hidden // 4
        self.register_buffer("modes", torch.eye(values))
        self.register_buffer("variance", torch.ones(values))
        self.embed = nn.Sequential(
            nn.Linear(33, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU()
        )
        self.enter = nn.Linear(values, hidden)
        self.layers = nn.ModuleList(ModulatedLayer(hidden, size) for _ in range(layers))
        self.norm = nn.RMSNorm(hidden, eps=1e-5)
        self.leave = nn.Linear(hidden, 2 * values)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    @torch.no_grad()
    def initialise(self, covariance: Tensor) -> None:
        """Set the modes from the covariance of the windows (D, D), in double precision."""
        variance, modes = torch.linalg.eigh(covariance)
        self.modes.copy_(modes)
        self.variance.copy_(variance.clamp_min(1e-12))

    def features(self, given: Tensor) -> list[Tensor]:
        """Return no features, as there are no conditioning fields."""
        return []

    def forward(self, x: Tensor, c_noise: Tensor, features: list[Tensor]) -> Tensor:
        """Return F and s, (B, 2 D), for ``x`` (B, D), of unit variance, and ``c_noise`` (B,).

        ``x`` and F are scaled as for fields of unit variance in every mode; see
        :class:`dpdm.diffusion.denoise.Denoiser`.
        """
        level = (8 * c_noise.to(x.dtype)).exp()[:, None]  # sigma^2
        total = self.variance + level
        u = x @ self.modes * (1 + level).sqrt()
        h = self.enter(u * total.rsqrt())
        noise = self.embed(embed_noise_level(c_noise.to(x.dtype)))
        for layer in self.layers:
            h = layer(h, noise)
        g, s = self.leave(F.silu(self.norm(h))).chunk(2, dim=1)
        gaussian = (self.variance - 1) / total * (level / (1 + level)).sqrt() * u
        f = gaussian + (self.variance * (1 + level) / total).sqrt() * g
        return torch.cat([f @ self.modes.T, s], dim=1)
