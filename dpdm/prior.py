"""A trained denoiser and all that it needs to be used again, in one safetensors file.

The weights are tensors; everything else (variables, units, scaling, grid, training, scores) is
JSON in the file's header, where any safetensors reader can see it. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from dpdm import __version__
from dpdm.diffusion.denoise import Denoiser
from dpdm.errors import DpdmError
from dpdm.fields.tensors import Channel, Normaliser, given_channels
from dpdm.fields.weights import part, save_whole, tensors_of
from dpdm.nets.autoencoder import Autoencoder
from dpdm.nets.mlp import MLP
from dpdm.nets.unet import UNet
from dpdm.nets.wiener import Wiener

FORMAT = 1
CLIMATE = 33  # states that tell what is likely where nothing is observed
BESIDE = ("climatology.", "coarse.")  # what the names of tensors other than weights begin with
CODER = "coder."  # what those of an autoencoder's weights begin with
SAMPLING = {
    "sampler": "multistep", "steps": 12, "most": 80.0, "inflation": 1.0, "schedule": "karras",
    "least": 0.0, "guidance": "mmps", "corrections": 0, "tau": 0.5,
}  # fmt: skip


@dataclass(frozen=True)
class Contract:
    """What a prior was trained for.

    Attributes:
        spacing: Fine grid spacing, degrees of latitude and longitude.
        factors: Least and greatest coarse over fine spacing.
        window: Cells along each side of a window.
        cadence: Median step of the training series, in days; 0 without a time axis.
        sigma: Least and greatest noise level of training.
        net: Arguments of the network.
        training: Period, region, source and cost of the training.
        scores: Held-out scores.
        sampling: Sampler, steps, schedule, greatest and least (0: of ``sigma``) noise level and
            inflation that serve it best, chosen on what was held out, and the guidance and
            Langevin corrections of its posteriors; `SAMPLING` gives what it does not say.
        states: States of a window of a trajectory; 0 for single fields of the Earth. For
            trajectories ``cadence`` is in their own time, and ``factors`` and ``window`` say
            nothing.
        variable: Variable whose components are the channels; empty where each is a variable.
        plane: Rows and columns of a state on a plane; empty for components.
        periodic: Whether the plane closes on itself.
        globe: Whether the plane is the globe, its rows and columns latitudes and longitudes.
        code: Arguments ``net`` of the autoencoder of whose codes the denoiser knows windows, and
            its ``reconstruction`` error by variable, RMSE in the variable's units; or nothing.
    """

    spacing: tuple[float, float]
    factors: tuple[int, int]
    window: int
    cadence: float
    sigma: tuple[float, float]
    net: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    states: int = 0
    variable: str = ""
    plane: tuple[int, ...] = ()
    periodic: bool = False
    globe: bool = False
    code: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampling", SAMPLING | self.sampling)


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
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in net.items()}
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


def save(prior: Prior, path: Path) -> None:
    """Write a prior to one file, whole or not at all."""
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
    save_whole(weights | extra, path, {"dpdm_prior": json.dumps(header)})


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


def header(path: Path) -> dict[str, Any]:
    """Return what a prior's file says of itself.

    Raises:
        DpdmError: When the file is no prior, is damaged, or is from a later version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("dpdm_prior")
    except (SafetensorError, OSError, ValueError) as error:
        raise DpdmError(
            f"{path} is not a readable safetensors file ({error}).",
            "It may be truncated, or a pickle, which dpdm never loads: ask for the "
            ".safetensors file that dpdm train wrote.",
        ) from error
    if text is None:
        raise DpdmError(f"{path} holds tensors but no dpdm prior.", "Train one with dpdm train.")
    said = parsed(text, path)
    if said.get("format") != FORMAT:
        raise DpdmError(
            f"{path} is a prior of format {said.get('format')}; this dpdm reads format {FORMAT}.",
            f"Use the dpdm that wrote it ({said.get('dpdm')}), or train it again.",
        )
    return said


def parsed(text: str, path: Path) -> dict[str, Any]:
    """Return the header of a prior, with all that it needs."""
    try:
        said: dict[str, Any] = json.loads(text)
    except ValueError:
        said = {}
    if said.get("format") == FORMAT and not {"dpdm", "channels", "contract"} <= said.keys():
        said = {}
    if not said:
        raise DpdmError(f"The header of {path} is damaged.", "Fetch the file again.")
    return said


def contract_of(said: dict[str, Any], path: Path) -> Contract:
    """Return the contract in a header, whole.

    Raises:
        DpdmError: When it lacks what has no default, or holds what this version does not know.
    """
    try:
        return Contract(**said["contract"])
    except TypeError as error:
        what = f"The contract in the header of {path} is not that of a prior ({error})."
        raise DpdmError(what, f"Use the dpdm that wrote it ({said['dpdm']}).") from error


def load(path: Path) -> Prior:
    """Read a prior.

    Raises:
        DpdmError: When the file is no prior, is damaged, or is from another version.
    """
    said = header(path)
    channels = tuple(
        Channel(**c | {"residual": tuple(map(tuple, c["residual"]))}) for c in said["channels"]
    )
    contract = contract_of(said, path)
    coder = Autoencoder(**contract.code["net"]) if contract.code else None
    values = len(channels) if coder is None else coder.codes
    denoiser = new_denoiser(values * max(contract.states, 1), contract.net)
    tensors = tensors_of(path)
    climatology, coarse = (part(tensors, prefix) for prefix in BESIDE)
    weights = {k: v for k, v in tensors.items() if not k.startswith((*BESIDE, CODER))}
    try:
        denoiser.load_state_dict(weights)
        if coder is not None:
            coder.load_state_dict(part(tensors, CODER))
    except RuntimeError as error:
        raise DpdmError(
            f"The weights in {path} do not fit the network it describes.",
            "The file is damaged or was changed; fetch it again.",
        ) from error
    for network in (denoiser, coder):  # guidance differentiates by fields alone
        if network is not None:
            network.eval().requires_grad_(False)
    return Prior(denoiser, Normaliser(channels), contract, climatology, coarse, coder)
