"""A prior: a trained denoiser with its scaling and model card, in one safetensors file.

The weights are tensors; everything else (variables, units, scaling, grid, training, scores) is
JSON in the header of the file, which any safetensors reader shows. Nothing is ever unpickled.
Headers are read without torch, which takes a second to import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from dpdm import __version__
from dpdm.errors import DpdmError
from dpdm.prior.model_card import FORMAT_VERSION, ModelCard, PriorHeader, read_header
from dpdm.prior.networks import new_denoiser
from dpdm.tensor_files import (
    StoredTensor,
    SymbolicShape,
    TensorShapes,
    check_tensors,
    read_prefixed_tensors,
    read_safetensors_header,
    select_prefixed_tensors,
    write_safetensors,
)

if TYPE_CHECKING:
    from torch import Tensor

    from dpdm.diffusion.denoise import Denoiser
    from dpdm.nets.autoencoder import Autoencoder
    from dpdm.prior.normaliser import Normaliser

CLIMATE_STATES = 33  # states that represent the climate, where nothing is observed
CLIMATE_PREFIXES = ("climatology.", "coarse.", "reference.")  # of tensors other than weights
AUTOENCODER_PREFIX = "coder."  # of the weights of an autoencoder
EXTRA_PREFIXES = (*CLIMATE_PREFIXES, AUTOENCODER_PREFIX)
# Tensors other than weights, by kind of prior: variables C, rows H, columns W and other lengths.
FIELD_TENSOR_SHAPES: tuple[TensorShapes, ...] = (
    {
        "reference.fields": (12, "C", "H", "W"),
        "reference.lat": ("H",),
        "reference.lon": ("W",),
    },
    {"reference.lerp": (12, "C", "H", "W")},
    {"coarse.mean": (12, "C", "h", "w"), "coarse.lat": ("h",), "coarse.lon": ("w",)},
    {"coarse.quantiles": (12, "Q", "C", "h", "w"), "coarse.probabilities": ("Q",)},
)
GLOBE_TENSOR_SHAPES: TensorShapes = {
    "climatology.lat": ("H",),
    "climatology.lon": ("W",),
    "climatology.harmonics": (5, "C", "H", "W"),
    "climatology.ground": (6, "H", "W"),
    "climatology.examples": ("N", "C", "H", "W"),
}
RESIDUAL_TENSOR_SHAPES: TensorShapes = {"climatology.lost": ("M", "C", "H", "W")}


@dataclass(frozen=True)
class Prior:
    """A denoiser with its scaling and its model card.

    Attributes:
        denoiser: The trained network, preconditioned.
        normaliser: The scaling of its variables.
        contract: The model card.
        climatology: For global states the seasonal ``harmonics`` (K, C, H, W), the static
            conditioning fields ``ground`` (G, H, W), and ``examples`` (N, C, H, W) of normalised
            training states, with ``lat`` (H,) and ``lon`` (W,); else nothing.
        coarse: Climate of the training series on the coarse grid, in physical units, or nothing:
            ``mean`` (12, C, h, w) of each calendar month, ``lat`` (h,), ``lon`` (w,) and, for a
            series of two years or more, ``quantiles`` (12, Q, C, h, w) at ``probabilities`` (Q,).
            No weight depends on it; it is for bias adjustment of the input.
        reference: Climatology of the training series, in physical units: ``fields``
            (12, C, H, W), ``lat`` (H,) and ``lon`` (W,), and for coarse fields of their own also
            their interpolated climatology ``lerp`` (12, C, H, W); or nothing.
        coder: The autoencoder whose codes are denoised; None for a denoiser of states.
    """

    denoiser: Denoiser
    normaliser: Normaliser
    contract: ModelCard
    climatology: dict[str, Tensor] = field(default_factory=dict)
    coarse: dict[str, Tensor] = field(default_factory=dict)
    reference: dict[str, Tensor] = field(default_factory=dict)
    coder: Autoencoder | None = None

    @property
    def takes_reference(self) -> bool:
        """Tell whether the network was trained with reference states."""
        return self.normaliser.takes_reference


def check_field_prior(prior: Prior) -> None:
    """Refuse a prior of trajectories where a prior of fields is required."""
    if prior.contract.states:
        raise DpdmError(
            f"The prior is of trajectories of {', '.join(prior.normaliser.names)}, not of fields "
            "on the Earth.",
            "Choose another --prior; this one is for dpdm assimilate, with observations of a "
            "trajectory.",
        )


def check_trajectory_length(prior: Prior, length: int, path: Path | str) -> None:
    """Refuse a trajectory shorter than a window."""
    states = prior.contract.states
    if length < states:
        raise DpdmError(
            f"The window of {states} states is longer than the trajectories of {path}, which "
            f"have {length}.",
            f"Give at least {states} states, or a prior with a shorter window.",
        )


def save_prior(prior: Prior, path: Path, overwrite: bool = True) -> None:
    """Write a prior to one file, atomically."""
    weights = {k: v.contiguous() for k, v in prior.denoiser.state_dict().items()}
    coder = {} if prior.coder is None else prior.coder.state_dict()
    known = (prior.climatology, prior.coarse, prior.reference, coder)
    groups = zip(EXTRA_PREFIXES, known, strict=True)
    extra = {p + k: v.contiguous() for p, group in groups for k, v in group.items()}
    header = {
        "format": FORMAT_VERSION,
        "dpdm": __version__,
        "channels": [asdict(c) for c in prior.normaliser.channels],
        "contract": asdict(prior.contract),
    }
    write_safetensors(weights | extra, path, {"dpdm_prior": json.dumps(header)}, overwrite)


def find_prior(name: str) -> Path:
    """Return the file of a prior, from its path or from the name of a bundled prior."""
    if Path(name).is_file():
        return Path(name)
    known = list_bundled_priors()
    if name in known:
        return known[name]
    raise DpdmError(
        f"There is no prior {name}: no such file, and no bundled prior of that name.",
        f"Bundled: {', '.join(sorted(known)) or 'none'}. Train your own with dpdm train.",
    )


def list_bundled_priors() -> dict[str, Path]:
    """Return the files of the bundled priors, by name."""
    folder = Path(str(resources.files("dpdm") / "data"))
    return {p.stem: p for p in sorted(folder.glob("*.safetensors"))}


def read_prior_header(path: Path) -> PriorHeader:
    """Return the header of a prior's file, checked, with the shapes of tensors but weights."""
    header, found = _read_headers(path)
    shapes = [shape for layout in extra_tensor_shapes(header, found) for shape in layout.items()]
    extra = {k: v for k, v in found.items() if k.startswith(CLIMATE_PREFIXES)}
    check_tensors(extra, dict(shapes), path, axis_lengths(header))
    return header


def _read_headers(path: Path) -> tuple[PriorHeader, dict[str, StoredTensor]]:
    found = read_safetensors_header(path)
    if "dpdm_prior" not in found.metadata:
        raise DpdmError(f"{path} holds tensors but no dpdm prior.", "Train one with dpdm train.")
    return read_header(found.metadata["dpdm_prior"], path), found.tensors


def axis_lengths(header: PriorHeader) -> dict[str, int]:
    """Return the known lengths of the axes in shapes: variables C, rows H and columns W."""
    return dict(zip("CHW", (len(header.channels), *header.contract.plane), strict=False))


def read_whole_header(path: Path) -> PriorHeader:
    """Return the header of a prior's file, after a check of the shapes of all tensors."""
    header, found = _read_headers(path)
    shapes = weight_shapes(header)
    for layout in extra_tensor_shapes(header, found):
        shapes |= layout
    check_tensors(found, shapes, path, axis_lengths(header))
    return header


def build_networks(header: PriorHeader) -> tuple[Denoiser, Autoencoder | None]:
    """Return the untrained denoiser and autoencoder that a header describes."""
    from dpdm.nets.autoencoder import Autoencoder

    contract = header.contract
    coder = Autoencoder(**contract.code["net"]) if contract.code else None
    values = len(header.channels) if coder is None else coder.codes
    return new_denoiser(values * max(contract.states, 1), contract.net), coder


def weight_shapes(header: PriorHeader) -> dict[str, SymbolicShape]:
    """Return the shapes of all weights that a header describes, without allocating them."""
    import torch

    with torch.device("meta"):
        denoiser, coder = build_networks(header)
    inner = {} if coder is None else coder.state_dict()
    weights = denoiser.state_dict() | {AUTOENCODER_PREFIX + k: v for k, v in inner.items()}
    return {k: tuple(v.shape) for k, v in weights.items()}


def training_period(contract: ModelCard) -> str:
    """Return first and last month of the training series, empty if unknown."""
    training = contract.training
    dates = training.get("climate_period") or training.get("period", [])
    return " to ".join(str(date)[:7] for date in dates)


def extra_tensor_shapes(
    header: PriorHeader, found: Mapping[str, StoredTensor]
) -> Iterator[TensorShapes]:
    """Yield the shapes of the tensors of a prior other than its weights."""
    if header.contract.globe:
        yield GLOBE_TENSOR_SHAPES
        if header.contract.code:
            yield RESIDUAL_TENSOR_SHAPES
    elif not header.contract.states:
        yield from (layout for layout in FIELD_TENSOR_SHAPES if layout.keys() & found.keys())


def check_finite_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not finite, and climate fields without any finite value."""
    for name, tensor in tensors.items():
        gaps = name.startswith(CLIMATE_PREFIXES) and bool(tensor.isfinite().any())
        if bool(tensor.isinf().any()) or not (gaps or bool(tensor.isfinite().all())):
            raise DpdmError(
                f"{path} is not a valid prior: {name} is not finite.",
                "Its training may have diverged: use another --prior, or train it again.",
            )


def load_prior(path: Path) -> Prior:
    """Read a prior."""
    from dpdm.prior.normaliser import Normaliser

    header = read_whole_header(path)
    denoiser, coder = build_networks(header)
    tensors = read_prefixed_tensors(path)
    check_finite_tensors(tensors, path)
    climatology, coarse, reference = (
        select_prefixed_tensors(tensors, prefix) for prefix in CLIMATE_PREFIXES
    )
    denoiser.load_state_dict(
        {k: v for k, v in tensors.items() if not k.startswith(EXTRA_PREFIXES)}
    )
    if coder is not None:
        coder.load_state_dict(select_prefixed_tensors(tensors, AUTOENCODER_PREFIX))
    for network in (denoiser, coder):  # guidance takes derivatives only with respect to fields
        if network is not None:
            network.eval().requires_grad_(False)
    normaliser = Normaliser(header.channels)
    return Prior(denoiser, normaliser, header.contract, climatology, coarse, reference, coder)
