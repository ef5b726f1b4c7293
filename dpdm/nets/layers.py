"""Inner layers of a trained backbone by name, and their features."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpdm.errors import DpdmError
from dpdm.nets.mlp import MLP
from dpdm.nets.unet import UNet


def named_layers(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of a backbone by name, from the first to the last.

    Those of a perceptron are numbered. In a U-Net, ``top`` is the first layer at half resolution,
    the numbered ones are at quarter resolution, and ``last`` is the second at half resolution.
    ``mid`` is the middle layer of a perceptron, and the last one at quarter resolution of a U-Net.
    """
    if isinstance(backbone, MLP):
        found = {str(n): layer for n, layer in enumerate(backbone.layers, 1)}
        return found | {"mid": found[str((len(found) + 1) // 2)]}
    if not isinstance(backbone, UNet):
        return {}
    inner = {str(n): layer for n, layer in enumerate(backbone.lower, 1)}
    ends = {"top": backbone.upper[0], "last": backbone.upper[1]}
    return ends | inner | {"mid": backbone.lower[-1]}


def select_layers(backbone: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """Return layers by name."""
    known = named_layers(backbone)
    for name in names:
        if name not in known:
            raise DpdmError(
                f"The prior's network has no layer {name!r}.",
                f"Its layers are {', '.join(known) or 'without names'}.",
            )
    return [known[name] for name in names]


@contextmanager
def record_outputs(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect the outputs of modules, in the order of their evaluation."""
    outputs: list[Tensor] = []
    with ExitStack() as hooks:
        for module in modules:
            hook = module.register_forward_hook(lambda m, given, out: outputs.append(out))
            hooks.callback(hook.remove)
        yield outputs


def concatenate_features(features: Sequence[Tensor], extent: tuple[int, ...]) -> Tensor:
    """Concatenate features to (B, F), or to (B, F, H, W) on all cells of the extent."""
    if not extent:
        return torch.cat(list(features), dim=1)
    return torch.cat([upsample_features(each, extent) for each in features], dim=1)


def upsample_features(features: Tensor, extent: tuple[int, ...]) -> Tensor:
    """Repeat features of coarse cells (B, F, h, w) on all fine cells.

    Example:
        >>> upsample_features(torch.tensor([[[[1.0, 2.0]]]]), (2, 3))[0, 0].tolist()
        [[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]]
    """
    times = -(-extent[0] // features.shape[-2])
    repeated = F.interpolate(features, scale_factor=float(times))
    return repeated[..., : extent[0], : extent[1]]
