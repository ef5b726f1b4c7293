"""Networks of priors: their arguments, as a header states them, and how they are built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from dpdm.choices import load_plugins
from dpdm.errors import DpdmError
from dpdm.prior.variable_spec import count_conditioning_channels
from dpdm.system import check_required_memory

if TYPE_CHECKING:
    from dpdm.diffusion.denoise import Denoiser


@dataclass(frozen=True)
class PerceptronArguments:
    """Arguments of the network for states of a few components."""

    hidden: int = 256
    layers: int = 5


@dataclass(frozen=True)
class UNetArguments:
    """Arguments of the network for fields, and the size of the Wiener filter that it corrects.

    ``fast`` is the noise level of the head that draws a member in one evaluation, 0 for none.
    """

    read: tuple[int, ...] = (32, 64, 128)
    widths: tuple[int, ...] = (64, 128)
    depth: int = 2
    dropout: float = 0.0
    periodic: bool = False
    globe: bool = False
    given: int = 0
    law: tuple[int, ...] = ()
    fast: float = 0.0


@dataclass(frozen=True)
class AutoencoderArguments:
    """Arguments of an autoencoder."""

    channels: int
    given: int
    codes: int = 32
    encode: int = 128
    decode: int = 64
    depth: int = 2


@dataclass(frozen=True)
class NetKind:
    """A kind of network of a plug-in; a header names it as ``kind`` under ``net``.

    Attributes:
        name: Its name.
        arguments: A dataclass of its arguments, against which a header is checked.
        build: Takes the number of values and the arguments; returns an untrained `Denoiser`.
        states: States of its priors: "fields", or trajectories of "components" or a "plane".
    """

    name: str
    arguments: type
    build: Callable[..., Any]
    states: str = "fields"


NETWORK_KINDS: dict[str, NetKind] = {}


def register_net(kind: NetKind) -> None:
    """Add a kind of network."""
    NETWORK_KINDS[kind.name] = kind


def find_network_kind(net: Mapping[str, Any]) -> NetKind:
    """Return the kind of network that a plug-in has registered."""
    name = str(net["kind"])
    if name not in NETWORK_KINDS:
        load_plugins()
    if name not in NETWORK_KINDS:
        raise DpdmError(
            f"its header, contract, net, kind is {name[:90]!r}, which no installed package knows.",
            "Install the package that its network is from.",
        )
    return NETWORK_KINDS[name]


def find_arguments_type(net: Mapping[str, Any]) -> type:
    """Return the dataclass of the arguments of a network."""
    if "kind" in net:
        return find_network_kind(net).arguments
    if "codes" in net:
        return AutoencoderArguments
    return PerceptronArguments if "hidden" in net else UNetArguments


def is_plugin_network(net: Any, states: str) -> bool:
    """Tell whether arguments are those of a plug-in's network for such states."""
    return any(
        type(net) is kind.arguments and kind.states == states for kind in NETWORK_KINDS.values()
    )


def new_denoiser(values: int, net: dict[str, Any]) -> Denoiser:
    """Return an untrained denoiser, if it fits into memory.

    Args:
        values: Number of variables, or of values of a cell in a window of states.
        net: Arguments of the network.
    """
    import torch

    with torch.device("meta"):
        size = sum(p.numel() for p in _build_denoiser(values, net).parameters())
    hint = "Use a smaller network ([net] in the settings), or another prior."
    check_required_memory(
        8 * size, f"The network has {size:.2g} weights and takes", hint, share=0.9
    )
    return _build_denoiser(values, net)


def _build_denoiser(values: int, net: dict[str, Any]) -> Denoiser:
    import torch

    from dpdm.diffusion.denoise import Denoiser
    from dpdm.nets.autoencoder import Autoencoder
    from dpdm.nets.mlp import MLP
    from dpdm.nets.unet import DenoisingPart, UNet
    from dpdm.nets.wiener import WienerFilter

    arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in net.items()}
    if "kind" in arguments:
        del arguments["kind"]
        return cast(Denoiser, find_network_kind(net).build(values, **arguments))
    if "codes" in arguments:
        return Autoencoder(**arguments)  # type: ignore[return-value]  # while it is trained
    if "hidden" in arguments:
        return Denoiser(MLP(values, **arguments))
    size = arguments.pop("law", ())
    arguments |= {"extra": values} if size else {}
    given = arguments.pop("given", count_conditioning_channels(values))
    level = arguments.pop("fast", 0.0)
    backbone = UNet(values, given, **arguments)
    law = WienerFilter(*size) if size else None
    part = {key: arguments[key] for key in ("widths", "depth") if key in arguments}
    fast = DenoisingPart(values, **part) if level else None
    denoiser = Denoiser(backbone, law=law, fast=fast, fast_level=level)
    return denoiser.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
