"""What the inner layers of a denoiser say of a state: its features.

They are taken at a noise level, either of the state as it is, as if it were noisy, or averaged
over draws of the noise. Features of windows are joined as denoised windows are: blended in space,
and in time each state from the window of which it is the centre.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dpdm.bound import windowed
from dpdm.draw import noise
from dpdm.errors import DpdmError
from dpdm.nets.layers import chosen, heard, joined
from dpdm.prior import Prior
from dpdm.states import States
from dpdm.states.globe import Globe
from dpdm.states.maps import Maps
from dpdm.states.paths import Paths


@dataclass(frozen=True)
class Look:
    """How features are taken.

    Attributes:
        sigma: Noise level, in the standard deviations in which the prior works.
        layers: Names of the layers, whose features come side by side.
        draws: Draws of the noise to average over; 0 for the state as it is.
        seed: Seed of the noise.
    """

    sigma: float = 0.4
    layers: tuple[str, ...] = ("mid",)
    draws: int = 0
    seed: int = 0

    def modules(self, prior: Prior) -> list[nn.Module]:
        """Return the layers in the order in which they work.

        Raises:
            DpdmError: When the level or a layer is not of the prior.
        """
        least, most = prior.contract.sigma
        if not least <= self.sigma <= most:
            raise DpdmError(
                f"The noise level {self.sigma:g} is beyond the prior's range.",
                f"Give --sigma from {least:g} to {most:g}.",
            )
        wanted = chosen(prior.denoiser.backbone, self.layers)
        return [m for m in prior.denoiser.backbone.modules() if m in wanted]

    def noisy(self, x: Tensor, label: str) -> Iterator[Tensor]:
        """Yield the state, or its noisy versions, of which the mean is taken."""
        if not self.draws:
            yield x
        for draw in range(self.draws):
            yield x + self.sigma * noise(tuple(x.shape), self.seed, draw, f"{label}/features")


def features_of(states: States, number: int, look: Look) -> Tensor:
    """Return the features of a state: (F, H, W) of fields, (T, F, ...) of a trajectory."""
    if isinstance(states, Maps):
        return of_map(states, number, look)
    if isinstance(states, Globe):
        return of_globe(states, look)
    assert isinstance(states, Paths)
    return of_path(states, number, look)


@torch.no_grad()
def of_map(maps: Maps, number: int, look: Look) -> Tensor:
    """Return the features of one step of fields (F, H, W)."""
    posterior, label = maps.posterior(number), maps.label(number)
    state = torch.from_numpy(maps.values(number))
    x = ((maps.prior.normaliser.forward(state) - posterior.base) / posterior.scale).float()
    modules, windows = look.modules(maps.prior), posterior.windows
    total = torch.zeros(0)
    for x_t in look.noisy(x, label):
        fields = x_t[None].to(maps.how.device)
        sigma = fields.new_full((1,), look.sigma)
        answers = []
        for place, known in zip(windows.places(), posterior.features, strict=True):
            with heard(modules) as kept:
                maps.prior.denoiser.moments(fields[place], sigma, known)
            answers.append(joined(kept, windows.extent))
        whole = windows.join(answers, fields.new_zeros(1, answers[0].shape[1], *x.shape[1:]))
        total = whole if not total.numel() else total + whole
    return (total[0] / max(1, look.draws)).cpu()


def of_windows(prior: Prior, windows: Tensor, look: Look, device: str = "cpu") -> Tensor:
    """Return the features (B, F, ...) of normalised windows of states (B, w, C, ...)."""
    with heard(look.modules(prior)) as kept:
        windowed(prior, device)(windows, windows.new_full((len(windows),), look.sigma))
    return joined(kept, tuple(windows.shape[3:]))


@torch.no_grad()
def of_path(paths: Paths, number: int, look: Look) -> Tensor:
    """Return the features of the states of a trajectory (T, F, ...)."""
    x, width = paths.scaled(number), paths.prior.contract.states
    centre = torch.arange(len(x)) - width // 2
    which = centre.clamp(0, len(x) - width)
    total = torch.zeros(0)
    for x_t in look.noisy(x, paths.label(number)):
        windows = x_t.unfold(0, width, 1).movedim(-1, 1).to(paths.how.device)
        found = of_windows(paths.prior, windows, look, paths.how.device).cpu()
        total = found if not total.numel() else total + found
    return total[which] / max(1, look.draws)


@torch.no_grad()
def of_globe(globe: Globe, look: Look) -> Tensor:
    """Return the features of states of the globe (T, F, H, W), each window in its own season."""
    width, plane, device = globe.prior.contract.states, globe.course.extent[2:], globe.how.device
    modules, total = look.modules(globe.prior), torch.zeros(0)
    for x_t in look.noisy(globe.scaled, globe.label(0)):
        found = []
        for first in range(len(x_t) - width + 1):
            bound = windowed(globe.prior, device, globe.course.part(first + width // 2))
            window = x_t[None, first : first + width].to(device)
            with heard(modules) as kept:
                bound(window, window.new_full((1,), look.sigma))
            found.append(joined(kept, plane).cpu())
        total = torch.cat(found) if not total.numel() else total + torch.cat(found)
    which = torch.arange(len(globe.scaled)) - width // 2
    return total[which.clamp(0, len(total) - 1)] / max(1, look.draws)
