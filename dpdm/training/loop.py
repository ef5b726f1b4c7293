"""The training loop of all priors, with checkpoints.

The windows and the noise of a step depend on (seed, rank, step) alone, so a checkpoint needs no
random state, and the same command resumes an interrupted run. The prior has the exponential moving
average of the weights. Under ``torchrun`` every process draws its own windows and the gradients
are averaged.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.interrupt import check_interrupt, extend_grace, handle_signals
from dpdm.prior import Prior, save_prior
from dpdm.publish import append_line
from dpdm.system import check_required_memory
from dpdm.training import TrainingTask
from dpdm.training.batches_ahead import BatchesAhead, count_threads
from dpdm.training.checkpoint import (
    TrainingState,
    continue_training,
    data_identity,
    load_checkpoint,
    save_checkpoint,
    training_identity,
)
from dpdm.training.config import TrainSettings


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training run.

    Attributes:
        step: Optimiser steps done.
        share: Share of the schedule done, 0 to 1.
        loss: Running mean of the weighted squared error.
        seconds: Seconds trained, over all runs.
        scores: Scores of the last validation.
        run_steps: Steps done since this run was started.
        measure: Name of the scores.
        run_windows: Windows seen in these steps, by all processes.
        run_seconds: Seconds that these steps took, with validations.
    """

    step: int
    share: float
    loss: float
    seconds: float
    scores: dict[str, float]
    run_steps: int
    measure: str = ""
    run_windows: int = 0
    run_seconds: float = 0.0


NoisyBatch = tuple[Tensor, Tensor, Tensor, Tensor]
ACTIVATION_COPIES = 20  # activations per value of a window, at least
TrainingCallback = Callable[[TrainingProgress], None]
LOG_SUFFIX = ".jsonl"
STEP_GRACE_SECONDS = 15.0  # seconds that a step may take before it handles an interrupt


def begin_training(task: TrainingTask, device: str) -> TrainingState:
    """Return the initial weights (new, or another prior's) and the optimiser."""
    fit = task.recipe.train
    torch.manual_seed(fit.seed)
    denoiser = task.new_network().to(device)
    if task.start is not None:
        load_starting_weights(denoiser, task.start.denoiser.state_dict())
    optimiser = torch.optim.AdamW(
        denoiser.parameters(), fit.learning_rate, (0.9, 0.99), weight_decay=fit.weight_decay
    )
    ema = {k: v.detach().clone() for k, v in denoiser.state_dict().items()}
    return TrainingState(denoiser, ema, optimiser)


def load_starting_weights(denoiser: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Load the weights of another prior, with zeros for input channels that it lacks.

    A fast head of it is left out where the denoiser has none, for it would be out of date.
    """
    for name, value in denoiser.state_dict().items():
        old = weights[name]
        if value.shape != old.shape:
            wider = torch.zeros_like(value, device=old.device)
            wider[:, : old.shape[1]] = old
            weights = weights | {name: wider}
    denoiser.load_state_dict({name: weights[name] for name in denoiser.state_dict()})


def check_batch_memory(task: TrainingTask) -> None:
    """Refuse a batch whose activations do not fit into memory."""
    fit, contract = task.recipe.train, task.contract
    plane = contract.plane or (contract.window or 1,) * 2
    values = math.prod(plane) * max(contract.states, 1) * len(task.normaliser.channels)
    needed = 4 * ACTIVATION_COPIES * values * fit.batch * fit.draws
    check_required_memory(
        needed, "A step of the training takes", "Give a smaller batch or fewer draws.", 0.9
    )


def draw_noisy_batch(task: TrainingTask, rng: np.random.Generator) -> NoisyBatch:
    """Return x (B, C, ...), sigma (K B,), noise (K B, C, ...) and conditioning (B, ...)."""
    x, given = task.batch(rng)
    sigma = noise_levels(task.recipe.train, rng)
    noise = torch.from_numpy(rng.standard_normal((len(sigma), *x.shape[1:]), dtype=np.float32))
    return x, sigma, noise, given


def noise_levels(fit: TrainSettings, rng: np.random.Generator) -> Tensor:
    """Return draws * batch noise levels: the greatest for each window, then stratified draws.

    With one draw a window, all are stratified draws.
    """
    greatest = fit.batch if fit.draws > 1 else 0
    count = fit.draws * fit.batch - greatest
    ranks = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    normal = NormalDist(*fit.log_sigma)
    drawn = [math.exp(normal.inv_cdf(min(max(r, 1e-6), 1 - 1e-6))) for r in ranks]
    levels = np.clip(np.r_[np.full(greatest, fit.sigma[1]), drawn], fit.sigma[0], fit.sigma[1])
    return torch.from_numpy(levels.astype(np.float32))


def autocast_context(fit: TrainSettings, device: str) -> Any:
    """Return the precision context of a step: bfloat16 where the hardware supports it."""
    able = device != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())
    wanted = fit.precision == "bfloat16" or (fit.precision == "auto" and able)
    kind = "cuda" if device.startswith("cuda") else "cpu"
    return torch.autocast(kind, torch.bfloat16) if wanted else nullcontext()


def draw_step_batch(task: TrainingTask, rank: int, step: int) -> NoisyBatch:
    """Return the batch of a step of a process, which depends on nothing else."""
    return draw_noisy_batch(task, np.random.default_rng([task.recipe.train.seed, rank, step]))


def train_step(
    task: TrainingTask, state: TrainingState, device: str, batch: NoisyBatch, share: float
) -> float:
    """Take one optimiser step with a batch and return its loss."""
    fit = task.recipe.train
    x, sigma, noise, given = (each.to(device) for each in batch)
    area = None if task.area is None else task.area.to(device)
    with autocast_context(fit, device):
        error, nats = state.denoiser.loss(x, sigma, noise, given, area)
    (error.mean() + fit.nats * nats.mean()).backward()
    average_gradients(state.denoiser)
    norm = torch.nn.utils.clip_grad_norm_(state.denoiser.parameters(), 1.0)
    rise = min(1.0, (state.step - state.warm_from + 1) / fit.warmup)
    rate = fit.learning_rate * rise * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)))
    if not bool(norm.isfinite()):  # in all processes alike, before any weight changes
        raise divergence_error(state.step, float(error.mean().detach()), rate)
    state.optimiser.param_groups[0]["lr"] = rate
    state.optimiser.step()
    state.optimiser.zero_grad(set_to_none=True)
    update_ema(state, fit.ema)
    state.step += 1
    return float(error.mean().detach())


def divergence_error(step: int, loss: float, rate: float) -> DpdmError:
    """Return the error of a training whose loss or gradient is not finite."""
    return DpdmError(
        f"Training diverged at step {step}: the loss is {loss:.3g}, or its gradient is not "
        f"finite, at a learning rate of {rate:.3g}.",
        "Use a smaller learning_rate in [train]; the command then resumes from the last "
        "validation, if there was one.",
    )


def check_finite_state(state: TrainingState, rate: float, loss: float) -> None:
    """Refuse weights that are not finite."""
    if not all(bool(v.isfinite().all()) for v in state.ema.values() if v.is_floating_point()):
        raise divergence_error(state.step, loss, rate)


def update_ema(state: TrainingState, decay: float) -> None:
    """Update the moving average of the weights, faster at first."""
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
                parameter.grad /= count_processes()


def count_processes() -> int:
    """Return the number of processes of a torchrun, 1 without one."""
    distributed = torch.distributed.is_initialized()
    return int(torch.distributed.get_world_size()) if distributed else 1


def validation_scores(task: TrainingTask, state: TrainingState, device: str) -> dict[str, float]:
    """Return the validation scores of the averaged weights."""
    network = task.new_network().to(device).eval()
    network.load_state_dict(state.ema)
    return task.scores(network, device)


def run_training(
    task: TrainingTask,
    out: Path,
    minutes: float = 0.0,
    device: str = "cpu",
    report: TrainingCallback = lambda progress: None,
    further: bool = False,
    begin: Callable[[], None] = lambda: None,
) -> TrainingProgress:
    """Train until the steps or the minutes are used up, and write the prior.

    Until then a checkpoint, ``out`` with the suffix ``.resume``, is written at each validation
    and on an interrupt; the same command resumes from it. With ``further`` the finished prior
    ``out`` is trained on. ``begin`` is called once all inputs are checked.
    """
    rank = start_processes(device)
    check_batch_memory(task)
    state = begin_training(task, device)
    resume_path = out.with_name(out.name + ".resume")
    if resume_path.exists():
        load_checkpoint(state, resume_path, training_identity(task))
    elif further:
        continue_training(task, state, out, minutes)
    begin()
    drawn = BatchesAhead(partial(draw_step_batch, task, rank), count_threads(device))
    with handle_signals(), extend_grace(STEP_GRACE_SECONDS), drawn as ahead:
        try:
            return run_training_steps(
                task, state, out, resume_path, minutes, device, rank, report, ahead
            )
        except KeyboardInterrupt:
            if rank == 0:
                save_checkpoint(state, resume_path, training_identity(task))
            raise


def run_training_steps(
    task: TrainingTask, state: TrainingState, out: Path, resume_path: Path, minutes: float,
    device: str, rank: int, report: TrainingCallback, ahead: BatchesAhead[NoisyBatch],
) -> TrainingProgress:  # fmt: skip
    """Run the remaining steps."""
    settings, first = task.recipe.train, state.step
    clock, before = time.monotonic(), state.seconds
    loss, scores = math.nan, dict[str, float]()
    replace_prior = out.exists()  # as the caller allows

    def now() -> TrainingProgress:
        share = min(finished_share(state, settings.steps, minutes), 1.0)
        run = state.step - first
        windows = run * settings.batch * count_processes()
        return TrainingProgress(
            state.step, share, loss, state.seconds, scores, run, task.score_name, windows,
            state.seconds - before,
        )  # fmt: skip

    while now().share < 1.0:
        check_interrupt()
        newest = train_step(task, state, device, ahead.take(state.step), now().share)
        loss = newest if math.isnan(loss) else loss + 0.02 * (newest - loss)
        state.seconds = broadcast_clock(before + time.monotonic() - clock)
        if state.step % settings.validate == 0 or now().share >= 1.0:
            check_finite_state(state, settings.learning_rate, loss)
            scores = validation_scores(task, state, device)
            write_checkpoint(task, state, out, resume_path, now(), rank, replace_prior, device)
            replace_prior = True
        report(now())
    if rank == 0:
        resume_path.unlink(missing_ok=True)
    return now()


def finished_share(state: TrainingState, steps: int, minutes: float) -> float:
    """Return the share of the schedule that is done."""
    by_time = state.seconds / (60 * minutes) if minutes else 0.0
    return max(state.step / steps, by_time)


def write_checkpoint(
    task: TrainingTask, state: TrainingState, out: Path, resume_path: Path,
    progress: TrainingProgress, rank: int, replace_prior: bool, device: str,
) -> None:  # fmt: skip
    """Write the present prior, a line of its log, and the checkpoint."""
    if rank:
        return
    denoiser = task.new_network()
    denoiser.load_state_dict(state.ema)
    spent = {"steps": state.step, "minutes": round(state.seconds / 60, 2)}
    sampling = task.contract.sampling | task.calibration(denoiser.to(device).eval(), device)
    training = task.contract.training | spent | {"identity": data_identity(task)}
    contract = replace(task.contract, training=training, scores=progress.scores, sampling=sampling)
    denoiser = denoiser.cpu()
    save_prior(Prior(denoiser, task.normaliser, contract, **task.extra()), out, replace_prior)
    append_line(out.with_suffix(LOG_SUFFIX), json.dumps(asdict(progress)))
    save_checkpoint(state, resume_path, training_identity(task))


def broadcast_clock(seconds: float) -> float:
    """Return the clock of the first process, so that all of a torchrun stop at the same step."""
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
