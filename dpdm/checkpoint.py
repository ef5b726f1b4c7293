"""Everything that a half-trained prior needs to go on, in one safetensors file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.fields.tensors import Normaliser
from dpdm.fields.weights import part, save_whole
from dpdm.prior import Contract


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
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DpdmError(
            f"{path} is a half-trained prior that cannot be read ({error}).",
            "Remove it to begin anew.",
        ) from error
    if header.get("identity") != identity:
        raise DpdmError(
            f"{path} is a half-trained prior with other settings or other data.",
            "Give the settings it was begun with, or remove it to begin anew.",
        )
    state.denoiser.load_state_dict(part(tensors, "net."))
    for name, value in part(tensors, "ema.").items():
        state.ema[name].copy_(value)
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in part(tensors, "optimiser.").items():
        index, name = key.split(".")
        slots.setdefault(int(index), {})[name] = value
    state.optimiser.load_state_dict(state.optimiser.state_dict() | {"state": slots})
    state.step, state.seconds = int(header["step"]), float(header["seconds"])
