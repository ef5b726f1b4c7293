"""What a series of states teaches an autoencoder, and the codes that a denoiser then learns.

A prior of codes is used as any other: its denoiser knows codes, and observations see what the
decoder makes of them. What the code cannot hold is never hidden: its size is kept in the prior,
it widens the errors of observations, and members are given some of it, as it was found in states
that were not learnt from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from dpdm.bound import quarter
from dpdm.errors import DpdmError
from dpdm.globes import Globes
from dpdm.nets.autoencoder import Autoencoder
from dpdm.prior import CLIMATE, Prior

BLOCK = 64  # states at a time
MOST = 200  # states that linear maps are fitted to


@dataclass(frozen=True)
class Coding(Globes):
    """What the training of an autoencoder needs: single states."""

    measure: str = "RMSE of reconstruction"

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return states (B, C, H, W), drawn at random, and the ground beneath them."""
        numbers = rng.integers(0, self.taught, self.recipe.train.batch)
        return self.states[numbers], self.ground[None]

    def fresh(self) -> Autoencoder:
        """Return an autoencoder that knows the best linear maps."""
        coder = Autoencoder(**self.contract.net)
        coder.load_state_dict(self.begin.state_dict())
        return coder

    @cached_property
    def begin(self) -> Autoencoder:
        """Give the autoencoder that training sets out from."""
        coder = Autoencoder(**self.contract.net)
        coder.settle(self.states[: self.taught : max(1, self.taught // MOST)])
        return coder

    @torch.no_grad()
    def scores(self, student: Autoencoder, device: str) -> dict[str, float]:
        """Return the RMSE of reconstructed states over their standard deviation."""
        x = self.states[self.taught :: 4].to(device)
        error = [x_hat - x for x, x_hat in reconstructed(student, x, self.ground.to(device))]
        size = (torch.cat(error).square() * self.area.to(device)).nanmean((0, 2, 3)).sqrt()
        return dict(zip(self.normaliser.names, map(float, size), strict=True))


def coding(subject: Globes) -> Coding:
    """Return the lesson of the autoencoder, from that of the states."""
    recipe, channels = subject.recipe, subject.states.shape[1]
    size = {k: v for k, v in asdict(recipe.code).items() if k != "share"}
    net = size | {"channels": channels, "given": len(subject.ground)}
    steps = max(1, round(recipe.code.share * recipe.train.steps))
    fit = replace(recipe.train, batch=4 * recipe.train.batch, steps=steps)
    return Coding(
        subject.states, subject.taught, subject.season, subject.ground, subject.area,
        subject.normaliser, replace(subject.contract, net=net, states=1),
        replace(recipe, train=fit), subject.beside,
    )  # fmt: skip


def coded(subject: Globes, prior: Prior) -> Globes:
    """Return the lesson of the codes that a trained autoencoder makes of the states."""
    coder = cast(Autoencoder, prior.denoiser)
    codes = torch.cat(list(encoded(coder, subject.states, subject.ground)))
    lost, size = left_out(coder, subject)
    stds = [channel.std for channel in subject.normaliser.channels]
    known = dict(zip(subject.normaliser.names, np.multiply(size, stds).tolist(), strict=True))
    code = {"net": prior.contract.net, "reconstruction": known}
    rows = codes.shape[1] * codes.shape[2]
    law = [subject.contract.states, rows, codes.shape[3], min(subject.recipe.net.modes, rows)]
    net = subject.contract.net | {"law": law}
    climate = subject.beside["climatology"] | {"lost": lost.half()}
    return replace(
        subject, states=codes, ground=quarter(subject.ground), area=quarter(subject.area),
        contract=replace(subject.contract, net=net, code=code),
        beside=subject.beside | {"climatology": climate, "coder": coder},
    )  # fmt: skip


def check_coder(prior: Prior, lesson: Coding, path: Path) -> None:
    """Refuse an autoencoder that was trained on other states, or has another size.

    Raises:
        DpdmError: When it was.
    """
    if prior.normaliser != lesson.normaliser or prior.contract.net != lesson.contract.net:
        raise DpdmError(
            f"{path} is an autoencoder of other states, or of another size.",
            "Remove it, or say --overwrite to train it again.",
        )


def left_out(coder: Autoencoder, subject: Globes) -> tuple[Tensor, list[float]]:
    """Return what the codes lose of states that were not learnt from, and its RMSE (C,).

    Where a value is missing nothing is lost: a member is whole where the seasonal mean is.
    """
    numbers = np.linspace(subject.taught, len(subject.states) - 1, CLIMATE).round().astype(int)
    pairs = reconstructed(coder, subject.states[numbers], subject.ground)
    lost = torch.cat([x - x_hat for x, x_hat in pairs])
    size = (lost.square() * subject.area).nanmean((0, 2, 3)).sqrt()
    return lost.nan_to_num(), size.tolist()


@torch.no_grad()
def encoded(coder: Autoencoder, states: Tensor, ground: Tensor) -> Iterator[Tensor]:
    """Yield the codes of states, block by block."""
    features = coder.features(ground[None])
    for block in torch.split(states, BLOCK):
        yield coder.encode(block, features)


@torch.no_grad()
def reconstructed(
    coder: Autoencoder, states: Tensor, ground: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield states, and what their codes stand for, block by block."""
    features = coder.features(ground[None])
    codes = encoded(coder, states, ground)
    for block, code in zip(torch.split(states, BLOCK), codes, strict=True):
        yield block, coder.decode(code, features)
