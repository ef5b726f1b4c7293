"""Everything that a half-trained prior needs to go on, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dpdm.contract import Contract
from dpdm.errors import DpdmError
from dpdm.fields.tensors import Normaliser
from dpdm.fields.weights import (
    Layout,
    Stored,
    check_tensors,
    contents,
    part,
    save_whole,
    tensors_of,
)


@dataclass
class State:
    """What changes while training: weights, their average, the optimiser, the clock."""

    denoiser: Any
    ema: dict[str, Tensor]
    optimiser: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0


def fingerprint(recipe: Any, normaliser: Normaliser, contract: Contract) -> str:
    """Return what must not change between a run and its resumption."""
    said = [
        asdict(recipe),
        contract.factors,
        [asdict(c) for c in normaliser.channels],
        contract.training.get("start_sha256", ""),
    ]
    return json.dumps(said + ([contract.states, contract.plane] if contract.states else []))


def settled(identity: str) -> Any:
    """Return what a resumption must not change: a run that diverges may go on more slowly."""
    try:
        said = json.loads(identity)
        said[0]["train"].pop("learning_rate", None)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return identity
    return said


def keep(state: State, path: Path, identity: str) -> None:
    """Write all that training needs to go on, whole or not at all."""
    tensors = {f"net.{k}": v for k, v in state.denoiser.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.items()}
    for index, slot in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in slot.items()}
    header = {"step": str(state.step), "seconds": str(state.seconds), "identity": identity}
    save_whole({k: v.contiguous() for k, v in tensors.items()}, path, header)


def restore(state: State, path: Path, identity: str) -> None:
    """Take up a run where it was left.

    Raises:
        DpdmError: When the run on disk is damaged, or had other settings or other data.
    """
    try:
        found = contents(path)
        same = settled(found.metadata.get("identity", "")) == settled(identity)
        if same:
            step, seconds = progress_of(found.metadata)
            check_tensors(found.tensors, layout(state, found.tensors), path)
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
    tensors = tensors_of(path)
    state.denoiser.load_state_dict(part(tensors, "net."))
    for name, value in part(tensors, "ema.").items():
        state.ema[name].copy_(value)
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in part(tensors, "optimiser.").items():
        index, name = key.split(".")
        slots.setdefault(int(index), {})[name] = value
    state.optimiser.load_state_dict(state.optimiser.state_dict() | {"state": slots})
    state.step, state.seconds = step, seconds


def progress_of(metadata: Mapping[str, str]) -> tuple[int, float]:
    """Return how many steps and seconds a run has trained.

    Raises:
        ValueError: When that cannot be.
    """
    step, seconds = (metadata.get(key, "")[:30] for key in ("step", "seconds"))
    if not step.isdecimal() or not 0 <= float(seconds) < 1e12:
        raise ValueError(f"step {step}, seconds {seconds}")
    return int(step), float(seconds)


def layout(state: State, found: Mapping[str, Stored]) -> Layout:
    """Return the shapes of all tensors that a run keeps."""
    wanted: Layout = {f"net.{k}": tuple(v.shape) for k, v in state.denoiser.state_dict().items()}
    wanted |= {f"ema.{k}": tuple(v.shape) for k, v in state.ema.items()}
    for index, weight in enumerate(state.optimiser.param_groups[0]["params"]):
        slot = {"step": (), "exp_avg": tuple(weight.shape), "exp_avg_sq": tuple(weight.shape)}
        if f"optimiser.{index}.step" in found:
            wanted |= {f"optimiser.{index}.{k}": shape for k, shape in slot.items()}
    return wanted
