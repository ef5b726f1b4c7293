"""Everything that a half-trained prior needs to go on, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.prior.model_card import ModelCard
from dpdm.prior.normaliser import Normaliser
from dpdm.tensor_files import (
    StoredTensor,
    TensorShapes,
    check_tensors,
    read_prefixed_tensors,
    read_safetensors_header,
    select_prefixed_tensors,
    write_safetensors,
)


@dataclass
class TrainingState:
    """What changes while training: weights, their average, the optimiser, the clock."""

    denoiser: Any
    ema: dict[str, Tensor]
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0


def training_fingerprint(recipe: Any, normaliser: Normaliser, contract: ModelCard) -> str:
    """Return what must not change between a run and its resumption."""
    said = [
        asdict(recipe),
        contract.factors,
        [asdict(c) for c in normaliser.channels],
        contract.training.get("start_sha256", ""),
    ]
    return json.dumps(said + ([contract.states, contract.plane] if contract.states else []))


def resumption_identity(identity: str) -> Any:
    """Return what a resumption must not change: a run that diverges may go on more slowly."""
    try:
        said = json.loads(identity)
        said[0]["train"].pop("learning_rate", None)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return identity
    return said


def save_checkpoint(state: TrainingState, path: Path, identity: str) -> None:
    """Write all that training needs to go on, whole or not at all."""
    tensors = {f"net.{k}": v for k, v in state.denoiser.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.items()}
    for index, slot in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in slot.items()}
    header = {"step": str(state.step), "seconds": str(state.seconds), "identity": identity}
    write_safetensors({k: v.contiguous() for k, v in tensors.items()}, path, header)


def load_checkpoint(state: TrainingState, path: Path, identity: str) -> None:
    """Take up a run where it was left."""
    try:
        found = read_safetensors_header(path)
        same = resumption_identity(found.metadata.get("identity", "")) == resumption_identity(
            identity
        )
        if same:
            step, seconds = read_progress(found.metadata)
            check_tensors(found.tensors, checkpoint_shapes(state, found.tensors), path)
    except (DpdmError, ValueError) as fault:
        why = fault.what if isinstance(fault, DpdmError) else f"{fault}."
        raise DpdmError(
            f"{path} is a half-trained prior that is damaged: {why}", "Remove it to begin anew."
        ) from fault
    if not same:
        raise DpdmError(
            f"{path} is a half-trained prior with other settings or other data.",
            "Give the settings it was begun with, or remove it to begin anew.",
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
    state.step, state.seconds = step, seconds


def read_progress(metadata: Mapping[str, str]) -> tuple[int, float]:
    """Return how many steps and seconds a run has trained.

    Raises:
        ValueError: When that cannot be.
    """
    step, seconds = (metadata.get(key, "")[:30] for key in ("step", "seconds"))
    if not step.isdecimal() or not 0 <= float(seconds) < 1e12:
        raise ValueError(f"step {step}, seconds {seconds}")
    return int(step), float(seconds)


def checkpoint_shapes(state: TrainingState, found: Mapping[str, StoredTensor]) -> TensorShapes:
    """Return the shapes of all tensors that a run keeps."""
    wanted: TensorShapes = {
        f"net.{k}": tuple(v.shape) for k, v in state.denoiser.state_dict().items()
    }
    wanted |= {f"ema.{k}": tuple(v.shape) for k, v in state.ema.items()}
    for index, weight in enumerate(state.optimiser.param_groups[0]["params"]):
        slot = {"step": (), "exp_avg": tuple(weight.shape), "exp_avg_sq": tuple(weight.shape)}
        if f"optimiser.{index}.step" in found:
            wanted |= {f"optimiser.{index}.{k}": shape for k, shape in slot.items()}
    return wanted
