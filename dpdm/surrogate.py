r"""A surrogate of a model: what is linear in a state, and in a denoiser's features of it.

A window of states is taken some model steps ahead by

.. math:: x_{t + \ell} = x_t + W \, [1, x_t, h(x_t)],

which may be iterated. W is the ridge regression of the increments, in closed form; its penalty is
chosen where nothing was fitted. Tuned, the layers learn beside the head, in the one training loop.

References:
    Finn et al. (2024), https://doi.org/10.5194/npg-31-409-2024, sections 3.2 and 4.2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dpdm.contract import Contract
from dpdm.diffusion.denoise import Denoiser
from dpdm.fields.tensors import Normaliser
from dpdm.fields.weights import tensors_of
from dpdm.learn import learn
from dpdm.prior import Prior
from dpdm.recipe import LayersFit, LayersRecipe
from dpdm.states.inner import Look, of_windows

PENALTIES = tuple(10.0**n for n in range(-10, 1))  # shares of the mean variance of a predictor
MOST = 200_000  # pairs to fit by


@dataclass(frozen=True)
class Pairs:
    """Windows now, and a lead later: normalised, (B, w C)."""

    now: Tensor
    then: Tensor


class Surrogate(Denoiser):
    """Take windows ahead by the features of a denoiser, and a linear head.

    Args:
        prior: Whose denoiser; its layers are copied.
        look: The layers, and their noise level.
        values: Values w C of a window.
    """

    size: Tensor
    mean: Tensor

    def __init__(self, prior: Prior, look: Look, values: int) -> None:
        super().__init__(deepcopy(prior.denoiser.backbone), prior.denoiser.sigma_data)
        self.prior = replace(prior, denoiser=self)
        self.look, self.values = look, values
        count = 1 + values + self.told(torch.zeros(1, values)).shape[1]
        self.register_buffer("size", torch.ones(values))
        self.register_buffer("mean", torch.zeros(count - 1))
        self.head = nn.Linear(count - 1, values)

    def told(self, x: Tensor) -> Tensor:
        """Return the features of windows (B, w C)."""
        windows = x.reshape(len(x), self.prior.contract.states, -1)
        return of_windows(self.prior, windows, self.look, str(x.device))

    def predictors(self, x: Tensor) -> Tensor:
        """Return what the head sees of windows (B, w C)."""
        return torch.cat([x, self.told(x)], dim=1)

    def forward(self, x: Tensor, *unused: Tensor) -> Tensor:
        """Return windows (B, w C) a lead later."""
        out: Tensor = x + self.head(self.predictors(x) - self.mean) * self.size
        return out

    def loss(
        self, x: Tensor, sigma: Tensor, noise: Tensor, given: Tensor, area: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the squared error of the increments over their variance; no likelihood."""
        now, then = x.chunk(2, dim=1)
        error = ((self(now) - then) / self.size).square().mean(1)
        return error, torch.zeros_like(error)


@torch.no_grad()
def fitted(surrogate: Surrogate, taught: Pairs, held: Pairs) -> float:
    """Set the head by ridge regression, and return its RMSE on pairs that were not fitted.

    The penalty is a share of the mean variance of the predictors, chosen by that RMSE.
    """
    phi, increment = surrogate.predictors(taught.now).double(), (taught.then - taught.now).double()
    size, mean, centre = increment.std(0), phi.mean(0), increment.mean(0)
    phi = phi - mean
    gram, moment = phi.T @ phi / len(phi), phi.T @ ((increment - centre) / size) / len(phi)
    eye = torch.eye(len(gram), dtype=gram.dtype) * gram.diagonal().mean()
    surrogate.size.copy_(size)
    surrogate.mean.copy_(mean)
    surrogate.head.bias.copy_(centre / size)
    found = []
    for penalty in PENALTIES:
        weight = torch.linalg.solve(gram + penalty * eye, moment).T
        surrogate.head.weight.copy_(weight)
        found.append((rmse(surrogate(held.now), held.then), weight))
    best, weight = min(found, key=lambda pair: pair[0])
    surrogate.head.weight.copy_(weight)
    return best


def rmse(one: Tensor, other: Tensor) -> float:
    """Return the root of the mean square of differences."""
    return float((one - other).square().mean().sqrt())


@dataclass(frozen=True)
class Tuning:
    """What the training loop is to teach a surrogate."""

    surrogate: Surrogate
    taught: Pairs
    held: Pairs
    recipe: LayersRecipe
    normaliser: Normaliser
    contract: Contract
    start: Prior | None = None
    area: Tensor | None = None
    measure: str = "RMSE over persistence"
    beside: dict[str, dict[str, Tensor]] = field(default_factory=dict)

    def fresh(self) -> Denoiser:
        """Return the surrogate with frozen layers, to begin with."""
        return deepcopy(self.surrogate).requires_grad_()

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return windows now and then, side by side (B, 2 w C), and nothing given."""
        rows = torch.from_numpy(rng.integers(0, len(self.taught.now), self.recipe.train.batch))
        return torch.cat([self.taught.now[rows], self.taught.then[rows]], dim=1), torch.zeros(1, 0)

    @torch.no_grad()
    def scores(self, student: Denoiser, device: str) -> dict[str, float]:
        """Return the RMSE on what is held out, over that of persistence."""
        now, then = self.held.now.to(device), self.held.then.to(device)
        return {"one step": rmse(student(now), then) / rmse(now, then)}

    def extra(self) -> dict[str, dict[str, Tensor]]:
        """Return nothing: there are no further tensors."""
        return self.beside


def tuned(
    surrogate: Surrogate,
    taught: Pairs,
    held: Pairs,
    prior: Prior,
    minutes: float = 0.0,
    steps: int = 1_000_000,
    rate: float = 1e-4,
) -> Surrogate:
    """Return the surrogate with its layers and head taught, for so many minutes or steps.

    It is returned as it was where the tuned one is worse on pairs that were not taught.
    """
    fit = LayersFit(steps=steps, batch=256, learning_rate=rate, weight_decay=0.0)
    lesson = Tuning(
        surrogate, taught, held, LayersRecipe(train=fit), prior.normaliser, prior.contract
    )
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "surrogate.safetensors"
        learn(lesson, out, minutes)
        weights = tensors_of(out)
    moved = lesson.fresh().requires_grad_(False)
    moved.load_state_dict(weights)
    assert isinstance(moved, Surrogate)
    return min(moved, surrogate, key=lambda known: rmse(known(held.now), held.then))


def pairs(x: Tensor, width: int, lead: int, most: int = MOST) -> Pairs:
    """Return evenly spaced windows of trajectories (N, T, C), and those a lead later."""
    windows = x.unfold(1, width, 1).movedim(-1, 2).flatten(2)
    now, then = (part.flatten(0, 1) for part in (windows[:, :-lead], windows[:, lead:]))
    rows = torch.arange(0, len(now), -(-len(now) // most))
    return Pairs(now[rows].contiguous(), then[rows].contiguous())


@torch.no_grad()
def run(surrogate: Surrogate, x: Tensor, steps: int) -> Iterator[Tensor]:
    """Yield windows (B, w C), and what follows a lead later, and a lead later..."""
    yield x
    for _ in range(steps):
        x = surrogate(x)
        yield x
