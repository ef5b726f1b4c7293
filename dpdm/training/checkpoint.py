"""The state of a training run: its checkpoint, and the finished prior that is trained further.

A checkpoint has the weights, their average and the optimiser, and resumes to the same bits. A
finished prior has the averaged weights alone: the learning rate then rises anew, to what the
longer schedule has at that point.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.prior import load_prior, read_prior_header
from dpdm.tensor_files import (
    StoredTensor,
    TensorShapes,
    check_tensors,
    read_prefixed_tensors,
    read_safetensors_header,
    select_prefixed_tensors,
    write_safetensors,
)
from dpdm.training import TrainingTask

ROUNDING = 0.005  # of the minutes in the record of a training


@dataclass
class TrainingState:
    """The state of a training run: weights, their average, optimiser and clock.

    The learning rate rises from the step ``warm_from`` on.
    """

    denoiser: Any
    ema: dict[str, Tensor]
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    warm_from: int = 0


def training_identity(task: TrainingTask) -> str:
    """Return the settings and data that must be the same when a run is resumed, as JSON."""
    contract = task.contract
    parts = [
        asdict(task.recipe),  # type: ignore[call-overload]
        contract.factors,
        [asdict(c) for c in task.normaliser.channels],
        contract.training.get("start_sha256", ""),
    ]
    return json.dumps(parts + ([contract.states, contract.plane] if contract.states else []))


def data_identity(task: TrainingTask) -> str:
    """Return a digest of the settings and data that must be the same to train a prior further."""
    parts = json.loads(training_identity(task))
    for key in ("learning_rate", "steps", "validate"):
        parts[0]["train"].pop(key)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def continue_training(task: TrainingTask, state: TrainingState, out: Path, minutes: float) -> None:
    """Load a finished prior into the state of a run that trains it further."""
    prior = load_prior(out)
    spent = prior.contract.training
    check_same_data(task, out, spent)
    steps, seconds = int(spent["steps"]), 60 * float(spent["minutes"])
    limit = task.recipe.train.steps
    if steps >= limit:
        raise DpdmError(
            f"{out} exists, and all {limit} steps of its schedule are done.",
            "Set more steps under [train] to train it further, or use --overwrite to replace it.",
        )
    if minutes and seconds >= 60 * minutes:
        raise DpdmError(
            f"{out} exists, and was trained for {seconds / 60:.4g} minutes.",
            "Give larger --minutes to train it further, or use --overwrite to replace it.",
        )
    trained = prior.denoiser.state_dict()  # without a fast head, which would be out of date
    state.denoiser.load_state_dict({k: trained[k] for k in state.denoiser.state_dict()})
    state.ema = {k: v.detach().clone() for k, v in state.denoiser.state_dict().items()}
    state.step, state.seconds, state.warm_from = steps, seconds, steps


def check_same_data(task: TrainingTask, out: Path, spent: Mapping[str, Any]) -> None:
    """Refuse a finished prior of other settings or other data."""
    if not is_trained_prior(spent) or spent["identity"] != data_identity(task):
        raise DpdmError(
            f"{out} exists, and was trained with other settings or other data.",
            "Use its settings and data to train it further, or --overwrite to replace it.",
        )


def finished_prior(task: TrainingTask, out: Path, minutes: float) -> Path | None:
    """Return a prior whose training is over but for its fast head; None if it is not."""
    card = read_prior_header(out).contract
    check_same_data(task, out, card.training)
    steps, spent = int(card.training["steps"]), float(card.training["minutes"])
    if steps < task.recipe.train.steps and not (minutes and spent + ROUNDING >= minutes):
        return None
    if card.fast:
        raise DpdmError(
            f"{out} exists, and has a fast head.",
            "Use --overwrite to replace it, or larger --minutes to train it further.",
        )
    return out


def is_trained_prior(spent: Mapping[str, Any]) -> bool:
    """Tell whether a training of this record may be continued from its prior."""
    kinds: dict[str, Any] = {"identity": str, "steps": int, "minutes": int | float}
    return all(isinstance(spent.get(key), kind) for key, kind in kinds.items())


def may_train_further(path: Path) -> bool:
    """Tell whether a file is a prior that the command that wrote it may train further."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        return is_trained_prior(read_prior_header(path).contract.training)
    except DpdmError:
        return False


def resumption_identity(identity: str) -> Any:
    """Return an identity without the learning rate, which may change after a divergence."""
    try:
        parts = json.loads(identity)
        parts[0]["train"].pop("learning_rate", None)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return identity
    return parts


def save_checkpoint(state: TrainingState, path: Path, identity: str) -> None:
    """Write a checkpoint atomically."""
    tensors = {f"net.{k}": v for k, v in state.denoiser.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.items()}
    for index, slot in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in slot.items()}
    header = {
        "step": str(state.step),
        "seconds": str(state.seconds),
        "warm_from": str(state.warm_from),
        "identity": identity,
    }
    write_safetensors({k: v.contiguous() for k, v in tensors.items()}, path, header)


def load_checkpoint(state: TrainingState, path: Path, identity: str) -> None:
    """Load a checkpoint into the state of a run."""
    try:
        found = read_safetensors_header(path)
        same = resumption_identity(found.metadata.get("identity", "")) == resumption_identity(
            identity
        )
        if same:
            step, seconds, warm_from = read_progress(found.metadata)
            check_tensors(found.tensors, checkpoint_shapes(state, found.tensors), path)
    except (DpdmError, ValueError) as fault:
        why = fault.what if isinstance(fault, DpdmError) else f"{fault}."
        raise DpdmError(
            f"{path} is a damaged checkpoint: {why}", "Remove it to start again."
        ) from fault
    if not same:
        raise DpdmError(
            f"{path} is a checkpoint of a training with other settings or other data.",
            "Use its settings, or remove it to start again.",
        )
    tensors = read_prefixed_tensors(path)
    state.denoiser.load_state_dict(select_prefixed_tensors(tensors, "net."))
    for name, value in select_prefixed_tensors(tensors, "ema.").items():
        state.ema[name].copy_(value)
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in select_prefixed_tensors(tensors, "optimiser.").items():
        index, name = key.split(".")
        slots.setdefault(int(index), {})[name] = value
    state.optimiser.load_state_dict(state.optimiser.state_dict() | {"state": slots})
    state.step, state.seconds, state.warm_from = step, seconds, warm_from


def read_progress(metadata: Mapping[str, str]) -> tuple[int, float, int]:
    """Return the steps and seconds that a run has trained, and the step the rate rises from.

    Raises:
        ValueError: If the header holds no valid numbers.
    """
    step, seconds = (metadata.get(key, "")[:30] for key in ("step", "seconds"))
    first = metadata.get("warm_from", "0")[:30]
    if not (step.isdecimal() and first.isdecimal()) or not 0 <= float(seconds) < 1e12:
        raise ValueError(f"step {step}, seconds {seconds}, first {first}")
    return int(step), float(seconds), int(first)


def checkpoint_shapes(state: TrainingState, found: Mapping[str, StoredTensor]) -> TensorShapes:
    """Return the shapes of all tensors of a checkpoint."""
    wanted: TensorShapes = {
        f"net.{k}": tuple(v.shape) for k, v in state.denoiser.state_dict().items()
    }
    wanted |= {f"ema.{k}": tuple(v.shape) for k, v in state.ema.items()}
    for index, weight in enumerate(state.optimiser.param_groups[0]["params"]):
        slot = {"step": (), "exp_avg": tuple(weight.shape), "exp_avg_sq": tuple(weight.shape)}
        if f"optimiser.{index}.step" in found:
            wanted |= {f"optimiser.{index}.{k}": shape for k, shape in slot.items()}
    return wanted
