"""The one training loop.

Each step's windows and noise are a function of (seed, rank, step) alone, so a resumed run needs
no random state and the same command again goes on where it stopped. What is kept is the
exponential moving average of the weights. Under ``torchrun`` every process draws its own windows
and the gradients are averaged.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.interrupt import check_interrupt, extend_grace, handle_signals
from dpdm.prior import Prior, save_prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.normaliser import Normaliser
from dpdm.publish import append_line
from dpdm.system import check_required_memory
from dpdm.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    save_checkpoint,
    training_fingerprint,
)
from dpdm.training.config import TrainSettings


@dataclass(frozen=True)
class TrainingProgress:
    """How far training is.

    Attributes:
        step: Optimiser steps done.
        share: Share of the schedule done, 0 to 1.
        loss: Running mean of the weighted squared error.
        seconds: Seconds trained, over all runs.
        scores: Scores of the last validation.
        run_steps: Steps done since this run was started.
        measure: What the scores are.
    """

    step: int
    share: float
    loss: float
    seconds: float
    scores: dict[str, float]
    run_steps: int
    measure: str = ""


ACTIVATION_COPIES = 20  # values that the network holds of one, at least
TrainingCallback = Callable[[TrainingProgress], None]
LOG_SUFFIX = ".jsonl"
STEP_GRACE_SECONDS = (
    15.0  # seconds that a step or an evaluation may take before an interrupt is seen
)


class TrainingRecipe(Protocol):
    """Settings, of which the loop needs these."""

    @property
    def train(self) -> TrainSettings:
        """Give those of the optimisation."""


class TrainingTask(Protocol):
    """What is taught: series of fields, trajectories; the loop knows no more of it than this."""

    @property
    def recipe(self) -> TrainingRecipe:
        """Give the settings."""

    @property
    def normaliser(self) -> Normaliser:
        """Give the scaling."""

    @property
    def contract(self) -> ModelCard:
        """Give what the prior will say of itself."""

    @property
    def start(self) -> Prior | None:
        """Give the prior whose weights it begins with, or nothing."""

    @property
    def area(self) -> Tensor | None:
        """Give what each cell counts by, if that is not the same; it broadcasts against x."""

    @property
    def score_name(self) -> str:
        """Say what the scores are."""

    def new_network(self) -> Any:
        """Return an untrained network: a denoiser, or what has a loss as it has."""

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return clean, normalised x (B, C, ...) and what is given (B, ...)."""

    def scores(self, student: Any, device: str) -> dict[str, float]:
        """Return scores on what is held out."""

    def extra(self) -> dict[str, Any]:
        """Return what the prior keeps beside its weights, by its attributes."""


def training_identity(subject: TrainingTask) -> str:
    """Return what must not change between a run and its resumption."""
    return training_fingerprint(subject.recipe, subject.normaliser, subject.contract)


def begin_training(subject: TrainingTask, device: str) -> TrainingState:
    """Return weights, fresh or another prior's, and an optimiser."""
    fit = subject.recipe.train
    torch.manual_seed(fit.seed)
    denoiser = subject.new_network().to(device)
    if subject.start is not None:
        denoiser.load_state_dict(subject.start.denoiser.state_dict())
    optimiser = torch.optim.AdamW(
        denoiser.parameters(), fit.learning_rate, (0.9, 0.99), weight_decay=fit.weight_decay
    )
    ema = {k: v.detach().clone() for k, v in denoiser.state_dict().items()}
    return TrainingState(denoiser, ema, optimiser)


def check_batch_memory(subject: TrainingTask) -> None:
    """Refuse a batch whose windows, as the network holds them, do not fit into memory."""
    fit, contract = subject.recipe.train, subject.contract
    plane = contract.plane or (contract.window or 1,) * 2
    values = math.prod(plane) * max(contract.states, 1) * len(subject.normaliser.channels)
    needed = 4 * ACTIVATION_COPIES * values * fit.batch * fit.draws
    check_required_memory(
        needed, "A step of the training takes", "Give a smaller batch or fewer draws.", 0.9
    )


def draw_noisy_batch(
    subject: TrainingTask, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x (B, C, ...), sigma (K B,), noise (K B, C, ...) and given (B, ...)."""
    x, given = subject.batch(rng)
    sigma = noise_levels(subject.recipe.train, rng)
    noise = torch.from_numpy(rng.standard_normal((len(sigma), *x.shape[1:]), dtype=np.float32))
    return x, sigma, noise, given


def noise_levels(fit: TrainSettings, rng: np.random.Generator) -> Tensor:
    """Return draws * batch noise levels: the greatest for each window, then stratified draws.

    Where there is one draw a window, it is not the greatest.
    """
    greatest = fit.batch if fit.draws > 1 else 0
    count = fit.draws * fit.batch - greatest
    ranks = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    normal = NormalDist(*fit.log_sigma)
    drawn = [math.exp(normal.inv_cdf(min(max(r, 1e-6), 1 - 1e-6))) for r in ranks]
    levels = np.clip(np.r_[np.full(greatest, fit.sigma[1]), drawn], fit.sigma[0], fit.sigma[1])
    return torch.from_numpy(levels.astype(np.float32))


def autocast_context(fit: TrainSettings, device: str) -> Any:
    """Return the context of a step: bfloat16 where the processor multiplies in it."""
    able = device != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())
    wanted = fit.precision == "bfloat16" or (fit.precision == "auto" and able)
    kind = "cuda" if device.startswith("cuda") else "cpu"
    return torch.autocast(kind, torch.bfloat16) if wanted else nullcontext()


def train_step(
    subject: TrainingTask, state: TrainingState, device: str, rank: int, share: float
) -> float:
    """Take one optimiser step and return its loss."""
    fit = subject.recipe.train
    rng = np.random.default_rng([fit.seed, rank, state.step])
    x, sigma, noise, given = (each.to(device) for each in draw_noisy_batch(subject, rng))
    area = None if subject.area is None else subject.area.to(device)
    with autocast_context(fit, device):
        error, nats = state.denoiser.loss(x, sigma, noise, given, area)
    (error.mean() + fit.nats * nats.mean()).backward()
    average_gradients(state.denoiser)
    norm = torch.nn.utils.clip_grad_norm_(state.denoiser.parameters(), 1.0)
    rise = min(1.0, (state.step + 1) / fit.warmup)
    rate = fit.learning_rate * rise * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)))
    if not bool(norm.isfinite()):  # the same in all processes, and no weight has changed yet
        raise divergence_error(state.step, float(error.mean().detach()), rate)
    state.optimiser.param_groups[0]["lr"] = rate
    state.optimiser.step()
    state.optimiser.zero_grad(set_to_none=True)
    update_ema(state, fit.ema)
    state.step += 1
    return float(error.mean().detach())


def divergence_error(step: int, loss: float, rate: float) -> DpdmError:
    """Return what to report of a training that has left the finite numbers."""
    return DpdmError(
        f"Training diverged at step {step}: the loss is {loss:.3g}, or its gradient is not "
        f"finite, at a learning rate of {rate:.3g}.",
        "Use a smaller learning_rate in [train]; the command then resumes from the last "
        "validation, if there was one.",
    )


def check_finite_state(state: TrainingState, rate: float, loss: float) -> None:
    """Refuse to publish weights that are not finite."""
    if not all(bool(v.isfinite().all()) for v in state.ema.values() if v.is_floating_point()):
        raise divergence_error(state.step, loss, rate)


def update_ema(state: TrainingState, decay: float) -> None:
    """Move the average towards the weights, faster at first."""
    decay = min(decay, (state.step + 1) / (state.step + 10))
    with torch.no_grad():
        for name, value in state.denoiser.state_dict().items():
            state.ema[name].lerp_(value, 1 - decay)


def average_gradients(denoiser: torch.nn.Module) -> None:
    """Average the gradients over all processes of a torchrun, if it is one."""
    if torch.distributed.is_initialized():
        for parameter in denoiser.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= torch.distributed.get_world_size()


def validation_scores(
    subject: TrainingTask, state: TrainingState, device: str
) -> dict[str, float]:
    """Return the scores of the averaged weights on what is held out."""
    student = subject.new_network().to(device).eval()
    student.load_state_dict(state.ema)
    return subject.scores(student, device)


def run_training(
    subject: TrainingTask,
    out: Path,
    minutes: float = 0.0,
    device: str = "cpu",
    report: TrainingCallback = lambda progress: None,
) -> TrainingProgress:
    """Train until the steps or the minutes are used up, and write the prior.

    The state lies beside ``out`` as ``.resume`` until then, renewed at each validation and when
    interrupted, and is taken up by the same command.
    """
    rank = start_processes(device)
    check_batch_memory(subject)
    state = begin_training(subject, device)
    kept = out.with_name(out.name + ".resume")
    if kept.exists():
        load_checkpoint(state, kept, training_identity(subject))
    with handle_signals(), extend_grace(STEP_GRACE_SECONDS):
        try:
            return run_training_steps(subject, state, out, kept, minutes, device, rank, report)
        except KeyboardInterrupt:
            if rank == 0:
                save_checkpoint(state, kept, training_identity(subject))
            raise


def run_training_steps(
    subject: TrainingTask, state: TrainingState, out: Path, kept: Path, minutes: float, device:
        str, rank: int,
    report: TrainingCallback,
) -> TrainingProgress:  # fmt: skip
    """Run the steps that are left."""
    settings, first = subject.recipe.train, state.step
    clock, before = time.monotonic(), state.seconds
    loss, scores = math.nan, dict[str, float]()
    ours = out.exists()  # or else it would have been refused

    def now() -> TrainingProgress:
        share = min(finished_share(state, settings.steps, minutes), 1.0)
        run, measure = state.step - first, subject.score_name
        return TrainingProgress(state.step, share, loss, state.seconds, scores, run, measure)

    while now().share < 1.0:
        check_interrupt()
        newest = train_step(subject, state, device, rank, now().share)
        loss = newest if math.isnan(loss) else loss + 0.02 * (newest - loss)
        state.seconds = broadcast_clock(before + time.monotonic() - clock)
        if state.step % settings.validate == 0 or now().share >= 1.0:
            check_finite_state(state, settings.learning_rate, loss)
            scores = validation_scores(subject, state, device)
            write_checkpoint(subject, state, out, kept, now(), rank, ours)
            ours = True
        report(now())
    if rank == 0:
        kept.unlink(missing_ok=True)
    return now()


def finished_share(state: TrainingState, steps: int, minutes: float) -> float:
    """Return the share of the schedule that is done."""
    by_time = state.seconds / (60 * minutes) if minutes else 0.0
    return max(state.step / steps, by_time)


def write_checkpoint(
    subject: TrainingTask, state: TrainingState, out: Path, kept: Path, progress:
        TrainingProgress, rank: int,
    ours: bool,
) -> None:  # fmt: skip
    """Write the prior as it is now, its log, and all that training needs to go on."""
    if rank:
        return
    denoiser = subject.new_network()
    denoiser.load_state_dict(state.ema)
    spent = {"steps": state.step, "minutes": round(state.seconds / 60, 1)}
    contract = replace(
        subject.contract, training=subject.contract.training | spent, scores=progress.scores
    )
    save_prior(Prior(denoiser, subject.normaliser, contract, **subject.extra()), out, ours)
    append_line(out.with_suffix(LOG_SUFFIX), json.dumps(asdict(progress)))
    save_checkpoint(state, kept, training_identity(subject))


def broadcast_clock(seconds: float) -> float:
    """Return the first process's clock, so that all of a torchrun stop at the same step."""
    if not torch.distributed.is_initialized():
        return seconds
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    clock = torch.tensor([seconds], dtype=torch.float64, device=device)
    torch.distributed.broadcast(clock, 0)
    return float(clock)


def start_processes(device: str) -> int:
    """Join a torchrun if this is one of its processes, and return the rank."""
    if "RANK" not in os.environ:
        return 0
    if not torch.distributed.is_initialized():
        if device.startswith("cuda"):
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        torch.distributed.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return int(torch.distributed.get_rank())
