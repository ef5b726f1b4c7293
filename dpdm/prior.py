"""A trained denoiser and all that it needs to be used again, in one safetensors file.

The weights are tensors; everything else (variables, units, scaling, grid, training, scores) is
JSON in the file's header, where any safetensors reader can see it. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from dpdm import __version__
from dpdm.contract import FORMAT, Contract, Header, kind_of, read_header
from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.tensors import Normaliser, given_channels
from dpdm.fields.weights import (
    Layout,
    Shape,
    Stored,
    check_tensors,
    contents,
    part,
    save_whole,
    tensors_of,
)
from dpdm.memory import check_room
from dpdm.nets.autoencoder import Autoencoder
from dpdm.nets.mlp import MLP
from dpdm.nets.unet import UNet
from dpdm.nets.wiener import Wiener

CLIMATE = 33  # states that tell what is likely where nothing is observed
BESIDE = ("climatology.", "coarse.")  # what the names of tensors other than weights begin with
CODER = "coder."  # what those of an autoencoder's weights begin with
APART = (*BESIDE, CODER)
# Tensors beside the weights, by kind of prior: variables C, rows H, columns W and other lengths.
FIELDS: tuple[Layout, ...] = (
    {
        "climatology.fields": (12, "C", "H", "W"),
        "climatology.lat": ("H",),
        "climatology.lon": ("W",),
    },
    {"coarse.mean": (12, "C", "h", "w"), "coarse.lat": ("h",), "coarse.lon": ("w",)},
    {"coarse.quantiles": (12, "Q", "C", "h", "w"), "coarse.probabilities": ("Q",)},
)
GLOBE: Layout = {
    "climatology.lat": ("H",),
    "climatology.lon": ("W",),
    "climatology.harmonics": (5, "C", "H", "W"),
    "climatology.ground": (6, "H", "W"),
    "climatology.examples": ("N", "C", "H", "W"),
}
LOST: Layout = {"climatology.lost": ("M", "C", "H", "W")}


@dataclass(frozen=True)
class Prior:
    """A denoiser, its scaling, and what it was trained for.

    Attributes:
        denoiser: The trained network, preconditioned.
        normaliser: The scaling of its variables.
        contract: What it was trained for.
        climatology: Residual climatology ``fields`` (12, C, H, W) of the training region with
            its ``lat`` (H,) and ``lon`` (W,), or nothing. Of states on the globe their seasonal
            ``harmonics`` (K, C, H, W), the ``ground`` (G, H, W) that is given to the network, and
            ``examples`` (N, C, H, W), normalised states that were learnt from.
        coarse: Climate of the training series on the coarse grid, in physical units, or nothing:
            ``mean`` (12, C, h, w) of each calendar month, ``lat`` (h,), ``lon`` (w,) and, of a
            series of two years or more, ``quantiles`` (12, Q, C, h, w) at ``probabilities`` (Q,).
            No weight depends on it; it serves to adjust the input to the training data.
        coder: Makes states of the codes that the denoiser knows; None where it knows states.
    """

    denoiser: Denoiser
    normaliser: Normaliser
    contract: Contract
    climatology: dict[str, Tensor] = field(default_factory=dict)
    coarse: dict[str, Tensor] = field(default_factory=dict)
    coder: Autoencoder | None = None


def new_denoiser(variables: int, net: dict[str, Any]) -> Denoiser:
    """Return an untrained denoiser for so many variables, or values of a window of states."""
    with torch.device("meta"):
        size = sum(p.numel() for p in _denoiser(variables, net).parameters())
    hint = "Give a smaller network: [net] of the settings, or another prior."
    check_room(8 * size, f"The network has {size:.2g} weights and takes", hint, share=0.9)
    return _denoiser(variables, net)


def _denoiser(variables: int, net: dict[str, Any]) -> Denoiser:
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in net.items()}
    if "kind" in plain:
        kind = kind_of(net)
        del plain["kind"]
        return cast(Denoiser, kind.build(variables, **plain))
    if "codes" in plain:
        return Autoencoder(**plain)  # type: ignore[return-value]  # while it is trained
    if "hidden" in plain:
        return Denoiser(MLP(variables, **plain))
    size = plain.pop("law", ())
    plain |= {"beside": variables} if size else {}
    backbone = UNet(variables, plain.pop("given", given_channels(variables)), **plain)
    law = Wiener(*size) if size else None
    return Denoiser(backbone, law=law).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def check_earth(prior: Prior) -> None:
    """Refuse a prior of trajectories where one of fields is needed.

    Raises:
        DpdmError: When it is one.
    """
    if prior.contract.states:
        raise DpdmError(
            f"The prior knows trajectories of {', '.join(prior.normaliser.names)}, not fields on "
            "the Earth.",
            "Choose another --prior; this one is for dpdm assimilate, with observations of a "
            "trajectory.",
        )


def check_length(prior: Prior, length: int, path: Path | str) -> None:
    """Refuse a trajectory that is shorter than a window.

    Raises:
        DpdmError: When it is.
    """
    states = prior.contract.states
    if length < states:
        raise DpdmError(
            f"The window of {states} states is longer than the trajectories of {path}, which "
            f"have {length}.",
            f"Give {states} states or more, or a prior of a shorter window.",
        )


def save(prior: Prior, path: Path, overwrite: bool = True) -> None:
    """Write a prior to one file, whole or not at all.

    Raises:
        DpdmError: When it cannot be written, or a file that may not be replaced has appeared.
    """
    weights = {k: v.contiguous() for k, v in prior.denoiser.state_dict().items()}
    beside = zip(BESIDE, (prior.climatology, prior.coarse), strict=True)
    extra = {p + k: v.contiguous() for p, each in beside for k, v in each.items()}
    if prior.coder is not None:
        extra |= {CODER + k: v.contiguous() for k, v in prior.coder.state_dict().items()}
    header = {
        "format": FORMAT,
        "dpdm": __version__,
        "channels": [asdict(c) for c in prior.normaliser.channels],
        "contract": asdict(prior.contract),
    }
    save_whole(weights | extra, path, {"dpdm_prior": json.dumps(header)}, overwrite)


def find(name: str) -> Path:
    """Return the file of a prior, given by its path or by the name of a bundled one.

    Raises:
        DpdmError: When there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    known = bundled()
    if name in known:
        return known[name]
    raise DpdmError(
        f"There is no prior {name}: no such file, and no bundled prior of that name.",
        f"Bundled: {', '.join(sorted(known)) or 'none'}. Train your own with dpdm train.",
    )


def bundled() -> dict[str, Path]:
    """List the priors that come with dpdm, by name."""
    folder = Path(str(resources.files("dpdm") / "data"))
    return {p.stem: p for p in sorted(folder.glob("*.safetensors"))}


def header(path: Path) -> Header:
    """Return what a prior's file states of itself, with tensors that are those of its network.

    Raises:
        DpdmError: When the file is no prior, is damaged, or is from a later version.
    """
    found = contents(path)
    if "dpdm_prior" not in found.metadata:
        raise DpdmError(f"{path} holds tensors but no dpdm prior.", "Train one with dpdm train.")
    said = read_header(found.metadata["dpdm_prior"], path)
    lengths = dict(zip("CHW", (len(said.channels), *said.contract.plane), strict=False))
    wanted = shapes(said)
    for layout in layouts(said, found.tensors):
        wanted |= layout
    check_tensors(found.tensors, wanted, path, lengths)
    return said


def networks(said: Header) -> tuple[Denoiser, Autoencoder | None]:
    """Return the untrained networks that a header describes: denoiser and autoencoder."""
    contract = said.contract
    coder = Autoencoder(**contract.code["net"]) if contract.code else None
    values = len(said.channels) if coder is None else coder.codes
    return new_denoiser(values * max(contract.states, 1), contract.net), coder


def shapes(said: Header) -> dict[str, Shape]:
    """Return the shapes of all weights that a header describes; no memory is taken for them."""
    with torch.device("meta"):
        denoiser, coder = networks(said)
    inner = {} if coder is None else coder.state_dict()
    weights = denoiser.state_dict() | {CODER + k: v for k, v in inner.items()}
    return {k: tuple(v.shape) for k, v in weights.items()}


def layouts(said: Header, found: Mapping[str, Stored]) -> Iterator[Layout]:
    """Yield the shapes of the tensors that a prior keeps beside its weights."""
    if said.contract.globe:
        yield GLOBE
        if said.contract.code:
            yield LOST
    elif not said.contract.states:
        yield from (layout for layout in FIELDS if layout.keys() & found.keys())


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not finite, and fields that are infinite or missing everywhere.

    Raises:
        DpdmError: Some are.
    """
    for name, tensor in tensors.items():
        gaps = name.startswith(BESIDE) and bool(tensor.isfinite().any())
        if bool(tensor.isinf().any()) or not (gaps or bool(tensor.isfinite().all())):
            raise DpdmError(
                f"{path} is not a valid prior: {name} is not finite.",
                "Its training may have diverged: use another --prior, or train it again.",
            )


def load(path: Path) -> Prior:
    """Read a prior.

    Raises:
        DpdmError: When the file is no prior, is damaged, or is from another version.
    """
    said = header(path)
    denoiser, coder = networks(said)
    tensors = tensors_of(path)
    check_finite(tensors, path)
    climatology, coarse = (part(tensors, prefix) for prefix in BESIDE)
    denoiser.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(APART)})
    if coder is not None:
        coder.load_state_dict(part(tensors, CODER))
    for network in (denoiser, coder):  # guidance differentiates by fields alone
        if network is not None:
            network.eval().requires_grad_(False)
    return Prior(denoiser, Normaliser(said.channels), said.contract, climatology, coarse, coder)
