r"""The Wiener filter: the denoiser of Gaussian global states, which a network then corrects.

Anomalies from the seasonal climatology are nearly Gaussian, and nearly homogeneous along a circle
of latitude. So their covariance is estimated, not trained: of the coefficients of each zonal wave
m, between all variables, levels and latitudes (:math:`S_m = U_m \Lambda_m U_m^H`), and between
times (:math:`\rho_m^{|t - t'|}`, with eigenvectors :math:`V_m` and eigenvalues :math:`\mu_m`). The
expected clean state is then the Wiener filter,

.. math:: E[x \mid x_t] = \sum_m (U_m \otimes V_m)
          \frac{\lambda_m \mu_m}{\lambda_m \mu_m + \sigma^2} (U_m \otimes V_m)^H x_t,

and the network corrects it where this assumption fails: moving storms, coasts, mountains. The
smallest eigenvalues of each wave are replaced by their mean.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpdm.types import Fields, Sigma

STATES_PER_BLOCK = 64  # states transformed at a time
SHRINKAGE = 0.03  # of covariances between different rows, against sampling noise


class WienerFilter(nn.Module):
    """The Wiener filter of windows of global states.

    Args:
        states: States T of a window.
        rows: Rows D of all channels.
        columns: Columns W.
        modes: Eigenvectors of each wave.
    """

    def __init__(self, states: int, rows: int, columns: int, modes: int) -> None:
        super().__init__()
        waves, modes = columns // 2 + 1, min(modes, rows)
        self.states, self.rows, self.columns = states, rows, columns
        self.modes: Tensor
        self.sizes: Tensor
        self.rest: Tensor
        self.axes: Tensor
        self.weights: Tensor
        self.register_buffer("modes", torch.zeros(waves, rows, 2 * modes))  # complex, as pairs
        self.register_buffer("sizes", torch.ones(waves, modes))
        self.register_buffer("rest", torch.ones(waves))
        self.register_buffer("axes", torch.eye(states).repeat(waves, 1, 1))
        self.register_buffer("weights", torch.ones(waves, states))

    def initialise(self, series: Tensor) -> None:
        """Estimate the covariance from a series of states (N, C, H, W), in order of time."""
        spectrum, lag = self.moments(series)
        diagonal = torch.diag_embed(spectrum.diagonal(dim1=-2, dim2=-1))
        sizes, axes = torch.linalg.eigh((1 - SHRINKAGE) * spectrum + SHRINKAGE * diagonal)
        sizes, axes, count = sizes.flip(-1).clamp_min(0), axes.flip(-1), self.sizes.shape[1]
        self.modes.copy_(torch.view_as_real(axes[..., :count].contiguous()).flatten(-2))
        self.sizes.copy_(sizes[:, :count])
        others = sizes[:, count:]
        self.rest.copy_(others.mean(1) if others.shape[1] else 0 * self.rest)
        self.set_lag_correlation(lag)

    def set_lag_correlation(self, lag: Tensor) -> None:
        """Set the correlations between all times from those with the next time (M,)."""
        times = torch.arange(self.states, device=lag.device)
        correlation = lag.double()[:, None, None] ** (times[:, None] - times).abs()
        weights, axes = torch.linalg.eigh(correlation)
        self.weights.copy_(weights.clamp_min(0))
        self.axes.copy_(axes)

    def with_length(self, states: int) -> WienerFilter:
        """Return the filter of windows of another length, with the same covariance."""
        if states == self.states:
            return self
        other = WienerFilter(states, self.rows, self.columns, self.sizes.shape[1])
        other.modes, other.sizes, other.rest = self.modes, self.sizes, self.rest
        other.set_lag_correlation((self.axes * self.weights[:, None] @ self.axes.mT)[:, 0, 1])
        return other.to(self.modes.device)

    def moments(self, series: Tensor) -> tuple[Tensor, Tensor]:
        """Return the covariance of each wave (M, D, D), and its lag-1 correlation (M,)."""
        waves = self.columns // 2 + 1
        total = torch.zeros(waves, self.rows, self.rows, dtype=torch.complex128)
        product, power = (torch.zeros(waves, dtype=torch.float64) for _ in range(2))
        for first in range(0, len(series) - 1, STATES_PER_BLOCK):
            hat = self.coefficients(
                series[first : first + STATES_PER_BLOCK + 1].double().nan_to_num()[None]
            )
            before, after = hat[:, 0, :, :-1], hat[:, 0, :, 1:]
            total += before @ before.mH
            product += (before * after.conj()).sum((1, 2)).real
            power += before.abs().square().sum((1, 2))
        lag = (product / power.clamp_min(1e-12)).clamp(0, 0.999)
        return total / max(1, len(series) - 1), lag

    def coefficients(self, x: Tensor) -> Tensor:
        """Return zonal waves (M, B, D, T) of states (B, T, C, H, W), with variance 1 for noise."""
        hat = torch.fft.rfft(x) / self.columns**0.5
        waves: Tensor = hat.permute(4, 0, 2, 3, 1).flatten(2, 3)
        return waves

    def forward(self, x_t: Fields, sigma: Sigma) -> Fields:
        """Return the expected clean windows, for ``x_t`` (B, T C, H, W)."""
        states = x_t.reshape(len(x_t), self.states, -1, *x_t.shape[-2:])
        axes = self.axes[:, None].to(x_t.dtype.to_complex())
        modes = torch.view_as_complex(self.modes.reshape(*self.modes.shape[:2], -1, 2))
        hat = self.coefficients(states) @ axes
        noise = sigma.square()[:, None, None]
        rest = self.rest[:, None, None, None] * self.weights[:, None, None]
        law = self.sizes[:, None, :, None] * self.weights[:, None, None]
        common = rest / (rest + noise)
        own = apply_modes(modes.mT, hat.conj()).conj() * (law / (law + noise) - common)
        clean = (apply_modes(modes, own) + common * hat) @ axes.mT
        _, count, channels, rows, _ = states.shape
        back = clean.reshape(-1, len(x_t), channels, rows, count).permute(1, 4, 2, 3, 0)
        fields: Fields = torch.fft.irfft(back * self.columns**0.5, n=self.columns)
        return fields.reshape(x_t.shape)

    def spread(self, sigma: Sigma) -> Tensor:
        """Return the posterior standard deviation, a mean over all cells (B,)."""
        noise = sigma.square()[:, None, None, None]
        counts = torch.full_like(self.rest, 2.0)  # a wave and its conjugate
        counts[0] = 1.0
        counts[-1] = 1.0 if self.columns % 2 == 0 else 2.0
        law = self.sizes[..., None] * self.weights[:, None]
        rest = self.rest[:, None, None] * self.weights[:, None]
        others = self.rows - self.sizes.shape[1]
        variance = (law * noise / (law + noise)).sum(2)
        variance = variance + others * (rest * noise / (rest + noise))[:, :, 0]
        total = (variance.mean(-1) * counts).sum(1)
        deviation: Tensor = (total / self.rows / self.columns).sqrt()
        return deviation


def apply_modes(modes: Tensor, x: Tensor) -> Tensor:
    """Return matrices (M, E, D) applied to the columns of all windows x (M, B, D, T) at once."""
    waves, count, rows, states = x.shape
    columns = x.movedim(1, 2).reshape(waves, rows, count * states)
    return (modes @ columns).reshape(waves, -1, count, states).movedim(2, 1)
