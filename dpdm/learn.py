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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.checkpoint import State, fingerprint, keep, restore
from dpdm.diffusion.denoise import Denoiser
from dpdm.fields.archive import Drops, example
from dpdm.interrupt import uninterrupted
from dpdm.lesson import Lesson
from dpdm.prior import Prior, new_denoiser, save
from dpdm.recipe import Fit

Errors = NDArray[np.float64]


@dataclass(frozen=True)
class Progress:
    """How far training is.

    Attributes:
        step: Optimiser steps done.
        share: Share of the schedule done, 0 to 1.
        loss: Running mean of the weighted squared error.
        seconds: Seconds trained, over all runs.
        scores: Scores of the last validation.
        run_steps: Steps done since this run was started.
    """

    step: int
    share: float
    loss: float
    seconds: float
    scores: dict[str, float]
    run_steps: int


Report = Callable[[Progress], None]


def begin(lesson: Lesson, device: str) -> State:
    """Return weights, fresh or another prior's, and an optimiser."""
    fit = lesson.recipe.train
    torch.manual_seed(fit.seed)
    denoiser = new_denoiser(len(lesson.normaliser.channels), lesson.contract.net).to(device)
    if lesson.start is not None:
        denoiser.load_state_dict(lesson.start.denoiser.state_dict())
    optimiser = torch.optim.AdamW(
        denoiser.parameters(), fit.learning_rate, (0.9, 0.99), weight_decay=fit.weight_decay
    )
    ema = {k: v.detach().clone() for k, v in denoiser.state_dict().items()}
    return State(denoiser, ema, optimiser)


def batch(lesson: Lesson, rng: np.random.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x (B, C, h, w), sigma (K B,), noise (K B, C, h, w) and given (B, G, h, w)."""
    archive, settings = lesson.archive, lesson.recipe.train
    drops = replace(Drops(*settings.drop), mirror=0.5 if lesson.recipe.data.mirror else 0.0)
    windows = [
        example(
            archive, lesson.normaliser, lesson.places.draw(rng, archive.grid.shape[1]),
            int(rng.choice(lesson.steps)), archive.view(rng), rng, drops,
        )
        for _ in range(settings.batch)
    ]  # fmt: skip
    x = torch.stack([w.x for w in windows]) * archive.leave_out
    sigma = noise_levels(settings, rng)
    noise = torch.from_numpy(rng.standard_normal((len(sigma), *x.shape[1:]), dtype=np.float32))
    return x, sigma, noise, torch.stack([w.given for w in windows])


def noise_levels(fit: Fit, rng: np.random.Generator) -> Tensor:
    """Return draws * batch noise levels: the greatest for each window, then stratified draws."""
    count = (fit.draws - 1) * fit.batch
    ranks = (rng.permutation(count) + rng.random(count)) / max(count, 1)
    normal = NormalDist(*fit.log_sigma)
    drawn = [math.exp(normal.inv_cdf(min(max(r, 1e-6), 1 - 1e-6))) for r in ranks]
    levels = np.clip(np.r_[np.full(fit.batch, fit.sigma[1]), drawn], fit.sigma[0], fit.sigma[1])
    return torch.from_numpy(levels.astype(np.float32))


def precision(fit: Fit, device: str) -> Any:
    """Return the context of a step: bfloat16 where the processor multiplies in it."""
    able = device != "cpu" or bool(torch.cpu._is_avx512_bf16_supported())
    wanted = fit.precision == "bfloat16" or (fit.precision == "auto" and able)
    kind = "cuda" if device.startswith("cuda") else "cpu"
    return torch.autocast(kind, torch.bfloat16) if wanted else nullcontext()


def step_on(lesson: Lesson, state: State, device: str, rank: int, share: float) -> float:
    """Take one optimiser step and return its loss."""
    fit = lesson.recipe.train
    rng = np.random.default_rng([fit.seed, rank, state.step])
    x, sigma, noise, given = (each.to(device) for each in batch(lesson, rng))
    with precision(fit, device):
        error, nats = state.denoiser.loss(x, sigma, noise, given)
    (error.mean() + fit.nats * nats.mean()).backward()  # type: ignore[no-untyped-call]
    average_gradients(state.denoiser)
    torch.nn.utils.clip_grad_norm_(state.denoiser.parameters(), 1.0)
    rise = min(1.0, (state.step + 1) / fit.warmup)
    state.optimiser.param_groups[0]["lr"] = (
        fit.learning_rate * rise * (0.5 + 0.5 * math.cos(math.pi * min(share, 1.0)))
    )
    with uninterrupted():
        state.optimiser.step()
        state.optimiser.zero_grad(set_to_none=True)
        remember(state, fit.ema)
        state.step += 1
    return float(error.mean().detach())


def remember(state: State, decay: float) -> None:
    """Move the average towards the weights, faster at first."""
    decay = min(decay, (state.step + 1) / (state.step + 10))
    with torch.no_grad():
        for name, value in state.denoiser.state_dict().items():
            state.ema[name].lerp_(value, 1 - decay)


def average_gradients(denoiser: Denoiser) -> None:
    """Average the gradients over all processes of a torchrun, if it is one."""
    if torch.distributed.is_initialized():
        for parameter in denoiser.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= torch.distributed.get_world_size()


def validate(lesson: Lesson, state: State, device: str) -> dict[str, float]:
    """Return each variable's RMSE of the one-evaluation mean over that of the lerp, held out."""
    names = lesson.normaliser.names
    if not lesson.held:
        return {}
    student = new_denoiser(len(names), lesson.contract.net).to(device).eval()
    student.load_state_dict(state.ema)
    errors = np.sum([squared(lesson, student, n, device) for n in range(len(lesson.held))], axis=0)
    return dict(zip(names, map(float, np.sqrt(errors[0] / errors[1])), strict=True))


@torch.no_grad()
def squared(lesson: Lesson, student: Denoiser, number: int, device: str) -> Errors:
    """Return squared errors (2, C) of mean and lerp in one held-out window, in physical units."""
    archive = lesson.archive
    rows, columns, step = lesson.held[number]
    rng = np.random.default_rng([1, number])
    window = example(archive, lesson.normaliser, (rows, columns), step, archive.view(rng), rng)
    zero = torch.zeros_like(window.x[None], device=device)
    sigma = torch.full((1,), lesson.contract.sigma[1], device=device)
    moments = student.moments(zero, sigma, student.features(window.given[None].to(device)))
    mean, variance = (m[0].cpu() for m in moments)
    best = lesson.normaliser.expectation(
        window.base + window.scale * mean, window.scale**2 * variance
    )
    errors = [(each - window.fine).square().nanmean((1, 2)) for each in (best, window.lerp)]
    return torch.stack(errors).numpy()


def learn(
    lesson: Lesson,
    out: Path,
    minutes: float = 0.0,
    device: str = "cpu",
    report: Report = lambda progress: None,
) -> Progress:
    """Train until the steps or the minutes are used up, and write the prior.

    The state lies beside ``out`` as ``.resume`` until then, renewed at each validation and when
    interrupted, and is taken up by the same command.
    """
    rank = start_processes(device)
    state = begin(lesson, device)
    kept = out.with_name(out.name + ".resume")
    identity = fingerprint(lesson)
    if kept.exists():
        restore(state, kept, identity)
    try:
        return loop(lesson, state, out, kept, minutes, device, rank, report)
    except KeyboardInterrupt:
        if rank == 0:
            keep(state, kept, identity)
        raise


def loop(
    lesson: Lesson, state: State, out: Path, kept: Path, minutes: float, device: str, rank: int,
    report: Report,
) -> Progress:  # fmt: skip
    """Run the steps that are left."""
    settings, first = lesson.recipe.train, state.step
    clock, before = time.monotonic(), state.seconds
    loss, scores = math.nan, dict[str, float]()

    def now() -> Progress:
        share = min(done(state, settings.steps, minutes), 1.0)
        return Progress(state.step, share, loss, state.seconds, scores, state.step - first)

    while now().share < 1.0:
        newest = step_on(lesson, state, device, rank, now().share)
        loss = newest if math.isnan(loss) else loss + 0.02 * (newest - loss)
        state.seconds = agreed(before + time.monotonic() - clock)
        if state.step % settings.validate == 0 or now().share >= 1.0:
            scores = validate(lesson, state, device)
            checkpoint(lesson, state, out, kept, now(), rank)
        report(now())
    if rank == 0:
        kept.unlink(missing_ok=True)
    return now()


def done(state: State, steps: int, minutes: float) -> float:
    """Return the share of the schedule that is done."""
    by_time = state.seconds / (60 * minutes) if minutes else 0.0
    return max(state.step / steps, by_time)


def checkpoint(
    lesson: Lesson, state: State, out: Path, kept: Path, progress: Progress, rank: int
) -> None:
    """Write the prior as it is now, its log, and all that training needs to go on."""
    if rank:
        return
    denoiser = new_denoiser(len(lesson.normaliser.channels), lesson.contract.net)
    denoiser.load_state_dict(state.ema)
    spent = {"steps": state.step, "minutes": round(state.seconds / 60, 1)}
    contract = replace(
        lesson.contract, training=lesson.contract.training | spent, scores=progress.scores
    )
    with out.with_suffix(".jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(progress)) + "\n")
    save(Prior(denoiser, lesson.normaliser, contract, region(lesson)), out)
    keep(state, kept, fingerprint(lesson))


def region(lesson: Lesson) -> dict[str, Tensor]:
    """Return the residual climatology with its axes, if there is one."""
    monthly, grid = lesson.archive.climatology, lesson.archive.grid
    if monthly is None:
        return {}
    lat, lon = torch.from_numpy(grid.lat), torch.from_numpy(grid.lon)
    return {"fields": monthly, "lat": lat, "lon": lon}


def agreed(seconds: float) -> float:
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
