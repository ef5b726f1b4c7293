"""Train the fast head of a prior of fields: a member in one evaluation.

The head is a copy of the denoising part, with weights of its own, behind the same encoder of the
conditioning, which stays as it is. It maps the mean plus noise of one level to a member. Two
members of each window are drawn from independent noise, and the head learns to lower their energy
score against the truth (`dpdm.training.energy_score`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.diffusion.denoise import Denoiser
from dpdm.diffusion.noise import SCHEDULES
from dpdm.diffusion.sample import SAMPLERS
from dpdm.errors import DpdmError
from dpdm.prior import Prior, load_prior, save_prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.system import sha256
from dpdm.training.energy_score import energy_score
from dpdm.training.field_series import FieldTrainingSet
from dpdm.training.field_validation import validation_modes
from dpdm.training.field_windows import ConditionDropout, make_example
from dpdm.training.loop import TrainingProgress, run_training
from dpdm.types import Fields, Sigma

if TYPE_CHECKING:
    from dpdm.training.loop import TrainingCallback

FAST_LEVEL = 2.0  # noise level of new heads, in units of normalised fields
FAST_SETTINGS: dict[str, Any] = {
    "batch": 12, "draws": 2, "learning_rate": 4e-4, "warmup": 40, "weight_decay": 1e-3,
    "ema": 0.995, "nats": 0.0, "steps": 100_000,
}  # fmt: skip
MEMBERS = 2
VALIDATION_WINDOWS = 24  # for each of which the prior's sampler draws as well
LEAST_DEVIATION = 0.05  # of a variable in a window, in units of normalised fields


class FastHeadTrainer(Denoiser):
    """A denoiser whose head alone is trained."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(
            denoiser.backbone, denoiser.sigma_data, denoiser.law, denoiser.fast,
            denoiser.fast_level,
        )  # fmt: skip
        self.backbone.eval().requires_grad_(False)

    def members(self, mean: Fields, noise: Fields, features: list[Tensor]) -> Fields:
        """Return members (K B, C, H, W) of windows with their mean, for each noise."""
        count = len(noise) // len(mean)
        level = mean.new_full((len(noise),), self.fast_level)
        many = [f.repeat(count, 1, 1, 1) for f in features]
        return self.fast_member(mean.repeat(count, 1, 1, 1) + self.fast_level * noise, level, many)

    @torch.no_grad()
    def background(self, sigma: Sigma, given: Fields) -> tuple[list[Tensor], Fields, Fields]:
        """Return features, mean and variance of windows, at the highest noise level."""
        features = self.features(given)
        assert self.fast is not None
        shape = len(given), self.fast.channels, *given.shape[-2:]
        zero = torch.zeros(shape, device=given.device)
        return features, *self.moments(zero, sigma, features)

    def loss(
        self, x: Fields, sigma: Sigma, noise: Fields, given: Fields, area: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the energy score of two members of each window (B,), and zeros.

        Fields are in units of the deviation that the denoiser expects in the window. The first
        levels of ``sigma`` are the highest.
        """
        features, mean, variance = self.background(sigma[: len(x)], given)
        unit = variance.mean((2, 3), keepdim=True).sqrt().clamp_min(LEAST_DEVIATION)
        first, second = self.members(mean, noise, features).float().chunk(MEMBERS)
        score = energy_score(first / unit, second / unit, x / unit, mean / unit)
        return score, torch.zeros_like(score)


@dataclass(frozen=True)
class FastHeadTask:
    """The training of a fast head, on the training set of its prior.

    Attributes:
        base: The training set.
        start: The prior, with the head to begin with.
        source: The SHA-256 of the prior without it.
    """

    base: FieldTrainingSet
    start: Prior
    source: str

    area = None

    @cached_property
    def recipe(self) -> Any:
        """Give the settings, with those of the head."""
        recipe = self.base.recipe
        sigma = self.start.contract.sigma
        return replace(recipe, train=replace(recipe.train, sigma=sigma, **FAST_SETTINGS))

    @property
    def normaliser(self) -> Any:
        """Give the scaling."""
        return self.start.normaliser

    @cached_property
    def contract(self) -> ModelCard:
        """Give the model card of the prior with the head."""
        card = self.start.contract
        return replace(card, training=card.training | {"start_sha256": self.source})

    @property
    def score_name(self) -> str:
        """Name the validation scores."""
        sampling = self.start.contract.sampling
        return f"CRPS over that of {sampling['sampler']}, {sampling['steps']} steps"

    def new_network(self) -> FastHeadTrainer:
        """Return an untrained denoiser with its head."""
        count = len(self.normaliser.channels)
        return FastHeadTrainer(new_denoiser(count, self.start.contract.net))

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Draw x (B, C, h, w) and its conditioning fields (B, G, h, w)."""
        return replace(self.base, recipe=self.recipe).batch(rng)

    def scores(self, network: FastHeadTrainer, device: str) -> dict[str, float]:
        """Return the ratio of the fair CRPS to that of the prior's own sampler, by variable."""
        if not self.base.validation_windows:
            return {}
        out = {}
        for drops, label in validation_modes(self.base).items():
            numbers = range(min(VALIDATION_WINDOWS, len(self.base.validation_windows)))
            sums = np.nansum([self.crps(network, n, device, drops) for n in numbers], axis=0)
            for name, (own, other) in zip(self.normaliser.names, sums.T, strict=True):
                out[name + label] = float(own / other)
        return out

    @torch.no_grad()
    def crps(
        self, network: FastHeadTrainer, number: int, device: str, drops: ConditionDropout
    ) -> NDArray[np.float64]:
        """Return the fair CRPS (2, C) of head and sampler in a validation window."""
        rows, columns, step = self.base.validation_windows[number]
        rng = np.random.default_rng([1, number])
        view = self.base.archive.view(rng)
        window = make_example(
            self.base.archive, self.normaliser, (rows, columns), step, view, rng, drops
        )
        noise = rng.standard_normal((MEMBERS, *window.x.shape), dtype=np.float32)
        z = torch.from_numpy(noise).to(device)
        sampling, card = self.start.contract.sampling, self.start.contract
        sigma = torch.full((1,), card.sigma[1], device=device)
        features, mean, _ = network.background(sigma, window.conditioning[None].to(device))
        levels = SCHEDULES[sampling["schedule"]](
            sampling["steps"], sampling["least"] or card.sigma[0], sampling["most"]
        )

        def denoise(x_t: Fields, sigma: Sigma) -> Fields:
            return network.moments(x_t, sigma, features)[0]

        both = (
            network.members(mean, z, features),
            SAMPLERS[sampling["sampler"]](denoise, z, levels),
        )
        errors = [fair_crps(x.cpu().double(), window.x.double()) for x in both]
        return torch.stack([(e * window.scale).nanmean((1, 2)) for e in errors]).numpy()

    def calibration(self, network: Any, device: str) -> dict[str, float]:
        """Return nothing: the spread inflations are the denoiser's."""
        return {}

    def extra(self) -> dict[str, Any]:
        """Return nothing: the rest of the prior stays as it is."""
        return {}


def fair_crps(members: Fields, truth: Tensor) -> Tensor:
    """Return the fair CRPS (C, H, W) of two members (2, C, H, W).

    Example:
        >>> float(fair_crps(torch.tensor([[[[0.0]]], [[[2.0]]]]), torch.tensor([[[1.0]]])))
        0.0
    """
    first, second = members
    fair: Tensor = (first - truth).abs() + (second - truth).abs() - (first - second).abs()
    return fair / 2


def check_head_prior(prior: Prior, path: Path) -> None:
    """Refuse a prior whose network can have no fast head."""
    if prior.contract.states or "kind" in prior.contract.net:
        raise DpdmError(
            f"{path} is not a prior of fields with dpdm's own network, and has no fast head.",
            "Leave out --fast-minutes.",
        )


def begin_fast_head(prior: Prior) -> Prior:
    """Return a prior with its head, or one that begins as a copy of the denoising part."""
    if prior.contract.fast:
        return prior
    net = prior.contract.net | {"fast": FAST_LEVEL}
    denoiser = new_denoiser(len(prior.normaliser.channels), net)
    known = {k: v for k, v in prior.denoiser.state_dict().items() if k.startswith("backbone.")}
    assert denoiser.fast is not None
    head = {f"fast.{name}": known[f"backbone.{name}"] for name in denoiser.fast.state_dict()}
    denoiser.load_state_dict(known | head)
    return replace(prior, denoiser=denoiser, contract=replace(prior.contract, net=net))


def fast_head_path(out: Path) -> Path:
    """Return the file in which the head of a prior is trained."""
    return out.with_name(f"{out.stem}.fast.safetensors")


def train_fast_head(
    task: FieldTrainingSet, base: Path, out: Path, minutes: float, device: str,
    report: TrainingCallback, begin: Callable[[], None] = lambda: None,
) -> TrainingProgress:  # fmt: skip
    """Train the head of a prior on a training set, and write the prior with it to ``out``.

    Until then the head is in a file of its own; the same command resumes from its checkpoint.
    """
    prior = load_prior(base)
    check_head_prior(prior, base)
    head, path = FastHeadTask(task, begin_fast_head(prior), sha256(base)), fast_head_path(out)
    progress = run_training(head, path, minutes, device, report, begin=begin)
    spent = {"steps": progress.step, "minutes": round(progress.seconds / 60, 2)}
    scores = {head.score_name: progress.scores} if progress.scores else {}
    training = prior.contract.training | {"fast": spent | scores}
    card = replace(prior.contract, net=head.contract.net, training=training)
    save_prior(replace(prior, denoiser=load_prior(path).denoiser, contract=card), out)
    path.unlink()
    return progress
