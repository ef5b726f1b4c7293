"""The backbone for fields: a U-Net that encodes the conditioning, and a U-Net that removes noise.

The conditioning fields (coarse fields, topography, season) are the same for all members and noise
levels. So a wide U-Net encodes them once, to features at half and at quarter resolution and a
first guess of the mean at full resolution. A narrow U-Net, which starts at half resolution,
removes the noise at each level with those features as input.

Normalisation is over the channels of one cell, never over the window: so the output in a cell does
not depend on the size of the window, and windows blend without seams.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpdm.nets.channel_norm import ChannelNorm


class Conv(nn.Conv2d):
    """A convolution, with `pad_globe` for global fields."""

    globe = False

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of ``x`` (B, C, H, W)."""
        if not self.globe:
            return super().forward(x)
        return F.conv2d(pad_globe(x), self.weight, self.bias, self.stride)


def pad_globe(x: Tensor) -> Tensor:
    """Pad global fields by one cell on each side, (B, C, H, W) to (B, C, H + 2, W + 2).

    Columns are cyclic; beyond a pole follows the opposite meridian.

    Example:
        >>> pad_globe(torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]]))[0, 0, 1:].tolist()
        [[4.0, 1.0, 2.0, 3.0, 4.0, 1.0], [2.0, 3.0, 4.0, 1.0, 2.0, 3.0]]
    """
    half = x.shape[-1] // 2
    beyond = (x[..., :1, :].roll(half, -1), x, x[..., -1:, :].roll(half, -1))
    return F.pad(torch.cat(beyond, -2), (1, 1, 0, 0), mode="circular")


def make_conv(inputs: int, outputs: int, size: int = 3, stride: int = 1) -> Conv:
    """Return a convolution that preserves the extent, or halves it with a stride of 2."""
    return Conv(inputs, outputs, size, stride, padding=(size - 1) // 2)


def zero_initialise(layer: Conv) -> Conv:
    """Initialise a layer with zeros, so that its block is initially the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def set_globe_padding(network: nn.Module, globe: bool) -> None:
    """Set the padding of all convolutions of a network.

    Args:
        network: The network.
        globe: Whether the fields are global; else they are periodic along both axes.
    """
    for layer in network.modules():
        if isinstance(layer, Conv) and layer.padding[0]:
            layer.globe = globe
            layer.padding_mode = "zeros" if globe else "circular"


class ResidualBlock(nn.Module):
    """Add a correction by two convolutions, modulated by the noise level if given.

    Args:
        channels: Channels in and out.
        embedding: Size of the noise embedding, 0 for none.
        dropout: Dropout in training.
    """

    def __init__(self, channels: int, embedding: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList([ChannelNorm(channels), ChannelNorm(channels)])
        self.first = make_conv(channels, channels)
        self.second = zero_initialise(make_conv(channels, channels))
        self.film = nn.Linear(embedding, 2 * channels) if embedding else None
        self.dropout = dropout

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return ``x`` (B, C, H, W) with the correction added; ``noise`` is (B, E)."""
        h = self.norms[1](self.first(F.silu(self.norms[0](x))))
        if self.film is not None and noise is not None:
            scale, shift = self.film(noise)[:, :, None, None].chunk(2, dim=1)
            h = h * (1 + scale) + shift
        h = F.dropout(F.silu(h), self.dropout, self.training)
        out: Tensor = x + self.second(h)
        return out


class ConditioningEncoder(nn.Module):
    """Encode the conditioning fields by a U-Net of three levels.

    Args:
        channels: Channels of the conditioning fields.
        outputs: Channels of the first guess of the mean.
        widths: Channels at full, half and quarter resolution.
        depth: Blocks of a level on the way down; one fewer, but at least one, on the way up.
        dropout: Dropout of the blocks.
    """

    def __init__(
        self, channels: int, outputs: int, widths: tuple[int, ...], depth: int, dropout: float
    ) -> None:
        super().__init__()
        self.enter = make_conv(channels, widths[0])
        self.down = nn.ModuleList(make_stage(w, depth, dropout) for w in widths)
        self.up = nn.ModuleList(make_stage(w, max(1, depth - 1), dropout) for w in widths[:-1])
        pairs = list(pairwise(widths))
        self.shrink = nn.ModuleList(make_conv(a, b, 2, 2) for a, b in pairs)
        self.grow = nn.ModuleList(make_conv(b, a, 1) for a, b in pairs)
        self.guess = nn.Sequential(
            ChannelNorm(widths[0]), nn.SiLU(), zero_initialise(make_conv(widths[0], outputs))
        )

    def forward(self, given: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return features at full, half and quarter resolution, and the guess of the mean."""
        h = self.down[0](self.enter(given))
        levels = [h]
        for shrink, stage_down in zip(self.shrink, list(self.down)[1:], strict=True):
            h = stage_down(shrink(h))
            levels.append(h)
        for i in reversed(range(len(self.grow))):
            rise = F.interpolate(self.grow[i](levels[i + 1]), scale_factor=2.0)
            levels[i] = self.up[i](levels[i] + rise)
        return levels, self.guess(levels[0])


def make_stage(channels: int, depth: int, dropout: float) -> nn.Sequential:
    """Return a sequence of blocks without noise modulation."""
    return nn.Sequential(*(ResidualBlock(channels, dropout=dropout) for _ in range(depth)))


class DenoisingPart(nn.Module):
    """Remove noise from fields, given the features of their conditioning.

    Args:
        channels: Channels C of the noisy fields.
        widths: Channels at half and quarter resolution.
        depth: Blocks at quarter resolution.
        extra: Further input channels, in addition to the noisy fields.
    """

    def __init__(
        self, channels: int, widths: tuple[int, ...] = (64, 128), depth: int = 2, extra: int = 0
    ) -> None:
        super().__init__()
        size = 4 * widths[0]
        self.channels = channels
        self.embed = nn.Sequential(
            nn.Linear(33, size), nn.SiLU(), nn.Linear(size, size), nn.SiLU()
        )
        self.enter = make_conv(4 * (channels + extra), widths[0])
        self.shrink = make_conv(widths[0], widths[1], 2, 2)
        self.upper = nn.ModuleList(ResidualBlock(widths[0], size) for _ in range(2))
        self.lower = nn.ModuleList(ResidualBlock(widths[1], size) for _ in range(depth))
        self.grow = make_conv(widths[1], widths[0], 1)
        self.trust = nn.Linear(size, 2 * channels)
        self.leave = nn.Sequential(
            ChannelNorm(widths[0]), nn.SiLU(), zero_initialise(make_conv(widths[0], 8 * channels))
        )

    def forward(self, x: Tensor, c_noise: Tensor, features: list[Tensor]) -> Tensor:
        """Return F and s, (B, 2 C, H, W), for ``x`` (B, C, H, W) and ``c_noise`` (B,)."""
        half, quarter, guess = features
        noise = self.embed(embed_noise_level(c_noise.to(x.dtype)))
        top = self.upper[0](self.enter(F.pixel_unshuffle(pad_to_multiple(x), 2)) + half, noise)
        h = self.shrink(top) + quarter
        for block in self.lower:
            h = block(h, noise)
        h = self.upper[1](top + F.interpolate(self.grow(h), scale_factor=2.0), noise)
        trust = self.trust(noise)[:, :, None, None]
        out: Tensor = F.pixel_shuffle(self.leave(h), 2) + (1 + trust) * guess
        return out[..., : x.shape[-2], : x.shape[-1]]


class UNet(DenoisingPart):
    """Denoise fields, given conditioning fields.

    Args:
        channels: Channels C of the noisy fields.
        given: Channels of the conditioning fields.
        read: Channels of the conditioning encoder at full, half and quarter resolution.
        widths: Channels of the denoising part at half and quarter resolution.
        depth: Blocks of a level.
        dropout: Dropout of the conditioning encoder in training.
        periodic: Whether the fields are periodic along both axes, whose extents are then
            multiples of four.
        globe: Whether the fields are global, with extents that are multiples of four.
        extra: Further input channels, in addition to the noisy fields.
    """

    def __init__(
        self,
        channels: int,
        given: int,
        read: tuple[int, int, int] = (32, 64, 128),
        widths: tuple[int, int] = (64, 128),
        depth: int = 2,
        dropout: float = 0.0,
        periodic: bool = False,
        globe: bool = False,
        extra: int = 0,
    ) -> None:
        super().__init__(channels, widths, depth, extra)
        self.reader = ConditioningEncoder(given, 2 * channels, read, depth, dropout)
        self.at_half = make_conv(4 * read[0] + read[1], widths[0], 1)
        self.at_quarter = make_conv(read[2], widths[1], 1)
        if periodic or globe:
            set_globe_padding(self, globe)

    def features(self, given: Tensor) -> list[Tensor]:
        """Return the features of conditioning fields (B, G, H, W) for :meth:`forward`."""
        (full, half, quarter), guess = self.reader(pad_to_multiple(given))
        half = self.at_half(torch.cat([F.pixel_unshuffle(full, 2), half], dim=1))
        return [half, self.at_quarter(quarter), guess]


def pad_to_multiple(x: Tensor) -> Tensor:
    """Repeat the last row and column until both extents are multiples of four."""
    tail = [-x.shape[-1] % 4, -x.shape[-2] % 4]
    x = F.pad(x, (0, tail[0], 0, tail[1]), mode="replicate") if any(tail) else x
    return x.contiguous(memory_format=torch.channels_last)


def embed_noise_level(c_noise: Tensor) -> Tensor:
    """Return ``c_noise`` (B,) and its sines and cosines at 16 frequencies, with shape (B, 33)."""
    angle = c_noise[:, None] * 2.0 ** torch.linspace(-1, 4, 16, device=c_noise.device)
    return torch.cat([c_noise[:, None], angle.sin(), angle.cos()], dim=1)
