"""Distil the ten steps of a prior into a student of one, two or four evaluations.

The sampler is deterministic, so the student, a fast head of the prior, learns the member of each
noise by its squared error. It begins where the head of ``dpdm train --fast-minutes`` does, sees
the same windows and takes ``--steps`` steps. It is the rival of the energy score, not shipped::

    python -m benchmarks.fast_head.distil build/one.safetensors --evaluations 1 --steps 750
"""

import resource
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import common
from dpdm.diffusion.denoise import Denoiser
from dpdm.diffusion.noise import karras_levels
from dpdm.diffusion.sample import multistep
from dpdm.prior import Prior, find_prior, load_prior, save_prior
from dpdm.prior.networks import new_denoiser
from dpdm.training import TrainingFiles
from dpdm.training.fast_head import (
    LEAST_DEVIATION,
    FastHeadTask,
    FastHeadTrainer,
    begin_fast_head,
)
from dpdm.training.field_series import build_field_set
from dpdm.training.loop import run_training
from dpdm.types import Denoise, Fields, Sigma

LEVELS = {1: (2.0, 0.0), 2: (2.0, 0.4, 0.0), 4: (2.0, 0.8, 0.3, 0.1, 0.0)}
SETTINGS = common.ROOT / "benchmarks" / "prior" / "fast.toml"


def draw_few(head: Denoise, x_t: Fields, evaluations: int) -> Fields:
    """Return fields after some evaluations of a head, from the mean plus noise of its level."""
    falling = LEVELS[evaluations]
    for now, then in pairwise(falling):
        x_hat = head(x_t, x_t.new_full((len(x_t),), now))
        x_t = x_hat + then / now * (x_t - x_hat)
    return x_t


class Student(FastHeadTrainer):
    """A head that learns the sampler's own members."""

    def __init__(self, denoiser: Denoiser, evaluations: int, levels: Tensor) -> None:
        super().__init__(denoiser)
        self.evaluations, self.levels = evaluations, levels

    def members(self, mean: Fields, noise: Fields, features: list[Tensor]) -> Fields:
        """Return members of windows by as many evaluations as the student has."""
        count = len(noise) // len(mean)
        many = [f.repeat(count, 1, 1, 1) for f in features]
        x_t = mean.repeat(count, 1, 1, 1) + self.fast_level * noise
        return draw_few(lambda x, s: self.fast_member(x, s, many), x_t, self.evaluations)

    def loss(
        self, x: Fields, sigma: Sigma, noise: Fields, given: Fields, area: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the squared error to the sampler's member of the same noise (B,), and zeros."""
        features, mean, variance = self.background(sigma[: len(x)], given)
        unit = variance.mean((2, 3), keepdim=True).sqrt().clamp_min(LEAST_DEVIATION)
        noise = noise[: len(x)]

        def denoise(x_t: Fields, level: Sigma) -> Fields:
            return self.moments(x_t, level, features)[0]

        taught = multistep(denoise, noise, self.levels)
        error = (self.members(mean, noise, features) - taught) / unit
        score = error.square().mean((1, 2, 3))
        return score, torch.zeros_like(score)


@dataclass(frozen=True)
class Distillation(FastHeadTask):
    """The training of a student."""

    evaluations: int = 1
    steps: int = 750

    @cached_property
    def recipe(self) -> Any:
        """Give the settings of a head, with the steps of the student."""
        found = FastHeadTask.recipe.func(self)  # type: ignore[attr-defined]
        return replace(found, train=replace(found.train, steps=self.steps))

    def new_network(self) -> Student:
        """Return an untrained student."""
        card = self.start.contract
        levels = karras_levels(card.sampling["steps"], card.sigma[0], card.sampling["most"])
        denoiser = new_denoiser(len(self.normaliser.channels), card.net)
        return Student(denoiser, self.evaluations, levels)


def main() -> None:
    """Train a student, and write it as a prior with a fast head."""
    parser = common.parser(__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--evaluations", type=int, default=1, choices=LEVELS)
    parser.add_argument("--steps", type=int, default=750)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = find_prior(options.prior)
    fine = common.needed(options.build / "era5_climatology.nc")
    base = build_field_set(TrainingFiles([fine], [], None, SETTINGS, path, {}, {}), (4, 12))
    prior = replace_head(load_prior(path))
    task = Distillation(base, prior, "", options.evaluations, options.steps)
    run_training(task, options.out)
    student = load_prior(options.out)
    spent = {"evaluations": options.evaluations, "steps": options.steps}
    save_prior(replace(student, contract=replace(student.contract, training={"fast": spent})),
               options.out)  # fmt: skip
    minutes = resource.getrusage(resource.RUSAGE_SELF).ru_utime / 60
    common.close("distil", {**spent, "processor_minutes": minutes}, {})


def replace_head(prior: Prior) -> Prior:
    """Return the prior with a head that is a copy of its denoising part."""
    net = {k: v for k, v in prior.contract.net.items() if k != "fast"}
    return begin_fast_head(replace(prior, contract=replace(prior.contract, net=net)))


if __name__ == "__main__":
    main()
