"""A prior: a trained denoiser with its scaling and model card, in one safetensors file.

The weights are tensors; everything else (variables, units, scaling, grid, training, scores) is
JSON in the header of the file, which any safetensors reader shows. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from dpdm import __version__
from dpdm.diffusion.denoise import Denoiser, expand_sigma
from dpdm.diffusion.guidance import CovarianceDenoiser
from dpdm.diffusion.tile import flatten_states_denoiser
from dpdm.errors import DpdmError
from dpdm.fields.climatology import harmonic_basis
from dpdm.nets.autoencoder import CODE_FACTOR, Autoencoder
from dpdm.nets.wiener import WienerFilter
from dpdm.prior.model_card import FORMAT_VERSION, ModelCard, PriorHeader, read_header
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
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
from dpdm.types import Denoise, Fields, Sigma

CLIMATE_STATES = 33  # states that represent the climate, where nothing is observed
CLIMATE_PREFIXES = ("climatology.", "coarse.", "reference.")  # of tensors other than weights
AUTOENCODER_PREFIX = "coder."  # of the weights of an autoencoder
EXTRA_PREFIXES = (*CLIMATE_PREFIXES, AUTOENCODER_PREFIX)
# Tensors other than weights, by kind of prior: variables C, rows H, columns W and other lengths.
FIELD_TENSOR_SHAPES: tuple[TensorShapes, ...] = (
    {
        "climatology.fields": (12, "C", "H", "W"),
        "climatology.lat": ("H",),
        "climatology.lon": ("W",),
    },
    {"coarse.mean": (12, "C", "h", "w"), "coarse.lat": ("h",), "coarse.lon": ("w",)},
    {"coarse.quantiles": (12, "Q", "C", "h", "w"), "coarse.probabilities": ("Q",)},
    {"reference.fields": (12, "C", "Y", "X"), "reference.lat": ("Y",), "reference.lon": ("X",)},
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
        climatology: Residual climatology ``fields`` (12, C, H, W) of the training region with
            its ``lat`` (H,) and ``lon`` (W,), or nothing. For global states the seasonal
            ``harmonics`` (K, C, H, W), the static conditioning fields ``ground`` (G, H, W), and
            ``examples`` (N, C, H, W) of normalised training states.
        coarse: Climate of the training series on the coarse grid, in physical units, or nothing:
            ``mean`` (12, C, h, w) of each calendar month, ``lat`` (h,), ``lon`` (w,) and, for a
            series of two years or more, ``quantiles`` (12, Q, C, h, w) at ``probabilities`` (Q,).
            No weight depends on it; it is for bias adjustment of the input.
        coder: The autoencoder whose codes are denoised; None for a denoiser of states.
        reference: Climatology of the training region, in physical units, or nothing: ``fields``
            (12, C, Y, X) of each calendar month, ``lat`` (Y,) and ``lon`` (X,).
    """

    denoiser: Denoiser
    normaliser: Normaliser
    contract: ModelCard
    climatology: dict[str, Tensor] = field(default_factory=dict)
    coarse: dict[str, Tensor] = field(default_factory=dict)
    coder: Autoencoder | None = None
    reference: dict[str, Tensor] = field(default_factory=dict)

    @property
    def takes_reference(self) -> bool:
        """Tell whether the denoiser is conditional on a reference climatology."""
        return all(c.reference for c in self.normaliser.channels)


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
    parts = prior.climatology, prior.coarse, prior.reference, coder
    groups = zip(EXTRA_PREFIXES, parts, strict=True)
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
    """Return the header of a prior's file, after a check of the shapes of all tensors."""
    found = read_safetensors_header(path)
    if "dpdm_prior" not in found.metadata:
        raise DpdmError(f"{path} holds tensors but no dpdm prior.", "Train one with dpdm train.")
    header = read_header(found.metadata["dpdm_prior"], path)
    lengths = dict(zip("CHW", (len(header.channels), *header.contract.plane), strict=False))
    shapes = weight_shapes(header)
    for layout in extra_tensor_shapes(header, found.tensors):
        shapes |= layout
    check_tensors(found.tensors, shapes, path, lengths)
    return header


def build_networks(header: PriorHeader) -> tuple[Denoiser, Autoencoder | None]:
    """Return the untrained denoiser and autoencoder that a header describes."""
    contract = header.contract
    coder = Autoencoder(**contract.code["net"]) if contract.code else None
    values = len(header.channels) if coder is None else coder.codes
    return new_denoiser(values * max(contract.states, 1), contract.net), coder


def weight_shapes(header: PriorHeader) -> dict[str, SymbolicShape]:
    """Return the shapes of all weights that a header describes, without allocating them."""
    with torch.device("meta"):
        denoiser, coder = build_networks(header)
    inner = {} if coder is None else coder.state_dict()
    weights = denoiser.state_dict() | {AUTOENCODER_PREFIX + k: v for k, v in inner.items()}
    return {k: tuple(v.shape) for k, v in weights.items()}


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
    header = read_prior_header(path)
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
    return Prior(
        denoiser, Normaliser(header.channels), header.contract, climatology, coarse, coder,
        reference,
    )  # fmt: skip


def plane_coordinates(plane: tuple[int, ...]) -> Tensor:
    """Return the coordinates of a plane (4, H, W): sine and cosine of each axis; else nothing.

    Example:
        >>> plane_coordinates((8, 16)).shape, plane_coordinates(()).shape
        (torch.Size([4, 8, 16]), torch.Size([0]))
    """
    angles = [2 * math.pi * (torch.arange(n) + 0.5) / n for n in plane]
    grids = torch.meshgrid(*angles, indexing="ij") if angles else ()
    waves = [wave for grid in grids for wave in (grid.sin(), grid.cos())]
    return torch.stack(waves).float() if waves else torch.zeros(0)


def window_denoiser(prior: Prior, device: str = "cpu", season: float | None = None) -> Denoise:
    """Return a trajectory prior's denoiser of windows of normalised states (B, w, C, ...).

    Args:
        prior: A prior of trajectories.
        device: Where to compute.
        season: Fraction of the year passed at the window's centre, for states on the globe.
    """
    given = window_conditioning(prior, season)
    return flatten_states_denoiser(prior.denoiser.to(device).bind(given[None].to(device)))


def add_covariance(denoise: Denoise, prior: Prior, states: int) -> Denoise:
    """Return a denoiser of trajectories with the covariance of the prior's Wiener filter."""
    if prior.denoiser.law is None:
        return denoise
    law = cast(WienerFilter, prior.denoiser.law).with_length(states)

    def cover(x: Fields, sigma: Sigma) -> Fields:
        filtered: Fields = law(x.flatten(1, 2), sigma)
        return expand_sigma(sigma, x) ** 2 * filtered.reshape(x.shape)

    return CovarianceDenoiser(denoise, cover)


def seasonal_conditioning(ground: Tensor, seasons: Sequence[float | None]) -> Tensor:
    """Return static fields (G, H, W) and seasonal harmonics as conditioning (B, G + 4, H, W)."""
    cycle = harmonic_basis(seasons)[:, 1:].to(ground)[..., None, None]
    fields = cycle.expand(-1, -1, *ground.shape[-2:])
    return torch.cat([ground.expand(len(fields), -1, -1, -1), fields], dim=1)


def state_scaling(prior: Prior, seasons: Sequence[float | None] = ()) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of the states of a trajectory prior, (C,) or (C, 1, 1).

    For global states the mean is the seasonal climatology, with the shape (T, C, H, W).
    """
    shape = (-1, *(1,) * len(prior.contract.plane))
    pairs = torch.tensor([(c.mean, c.std) for c in prior.normaliser.channels]).double()
    mean, std = pairs[:, 0].reshape(shape), pairs[:, 1].reshape(shape)
    if prior.contract.globe:
        cycle = prior.climatology["harmonics"].double()
        mean = mean + torch.einsum("tk,kchw->tchw", harmonic_basis(seasons), cycle)
    return mean, std


def window_conditioning(prior: Prior, season: float | None) -> Tensor:
    """Return the conditioning fields of a window (G, H, W), nothing for components."""
    ground = prior.climatology.get("ground")
    if ground is None:
        return plane_coordinates(tuple(prior.contract.plane))
    ground = ground.float() if prior.coder is None else average_code_cells(ground.float())
    return seasonal_conditioning(ground, [season])[0]


def average_code_cells(ground: Tensor) -> Tensor:
    """Return means over the cells of each cell of the code, (..., H, W)."""
    *lead, height, width = ground.shape
    columns = min(CODE_FACTOR, width)
    return ground.reshape(*lead, height // CODE_FACTOR, CODE_FACTOR, -1, columns).mean((-3, -1))
