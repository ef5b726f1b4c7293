"""Features of a state: outputs of the inner layers of a denoiser.

They are computed at a noise level, either of the state without noise, or averaged over draws of
the noise. Features of windows are joined as denoised windows are: blended in space; in time, those
of the window that is centred at the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpdm.diffusion.noise import Noise
from dpdm.errors import DpdmError
from dpdm.nets.layers import select_layers
from dpdm.prior import Prior
from dpdm.states.sampling import StateSpace, Step
from dpdm.states.trajectories import compute_window_features


@dataclass(frozen=True)
class FeatureOptions:
    """Options of features.

    Attributes:
        sigma: Noise level, in the prior's standard deviations.
        layers: Names of the layers, whose features are concatenated.
        draws: Draws of the noise to average over; 0 for no noise.
        seed: Seed of the noise.
    """

    sigma: float = 0.4
    layers: tuple[str, ...] = ("mid",)
    draws: int = 0
    seed: int = 0

    def select_layers(self, prior: Prior) -> list[nn.Module]:
        """Return the layers in the order of the network."""
        sigma_min, sigma_max = prior.contract.sigma
        if not sigma_min <= self.sigma <= sigma_max:
            raise DpdmError(
                f"The noise level {self.sigma:g} is beyond the prior's range.",
                f"Give --sigma from {sigma_min:g} to {sigma_max:g}.",
            )
        layers = select_layers(prior.denoiser.backbone, self.layers)
        return [m for m in prior.denoiser.backbone.modules() if m in layers]

    def noisy_states(self, x: Tensor, noise: Noise) -> Iterator[Tensor]:
        """Yield the state, or its noisy versions to average over."""
        if not self.draws:
            yield x
        for draw in range(self.draws):
            yield x + self.sigma * noise([draw], "/features")[0]


@torch.no_grad()
def state_features(space: StateSpace, step: Step, options: FeatureOptions) -> Tensor:
    """Return the features of a state: (F, H, W) of fields, (T, F, ...) of a trajectory."""
    x, modules = space.normalise(space.values(step), step), options.select_layers(space.prior)
    total = torch.zeros(0)
    for x_t in options.noisy_states(x, space.noise(step, options.seed)):
        features = space.features(x_t, step, modules, options.sigma)
        total = features if not total.numel() else total + features
    return total / max(1, options.draws)


def window_features(
    prior: Prior, windows: Tensor, options: FeatureOptions, device: str = "cpu"
) -> Tensor:
    """Return the features (B, F, ...) of normalised windows of states (B, w, C, ...)."""
    return compute_window_features(
        prior, windows, options.select_layers(prior), options.sigma, device
    )
