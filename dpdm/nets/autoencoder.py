r"""Autoencoder of global states.

The encoder E maps fields to a quarter of their resolution and to few channels, the decoder D maps
them back; the features of static fields are computed once. Codes have unit variance, and noise is
added to them in training,

.. math:: \min \, E \, | D(E(x) + \epsilon) - x |^2,

so that similar codes represent similar fields, which guidance requires.

Both are initialised by the best linear maps: principal components of blocks of cells, and the
least-squares reconstruction of a block from its own components and those of its neighbours.
Training adds a nonlinear correction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dpdm.nets.channel_norm import ChannelNorm
from dpdm.nets.unet import (
    ResidualBlock,
    make_conv,
    pad_globe,
    set_globe_padding,
    zero_initialise,
)

CODE_FACTOR = 4  # cells along a side of one cell of the code
CODE_NOISE = 0.05  # noise of codes in training, relative to their standard deviation


class ChannelStandardiser(nn.Module):
    """Scale each channel to mean 0 and variance 1, by running moments of the training."""

    def __init__(self, channels: int, momentum: float = 0.02) -> None:
        super().__init__()
        self.momentum = momentum
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (B, C, H, W), scaled; in training by the moments of the batch."""
        mean, variance = self.mean, self.variance
        if self.training:
            variance, mean = torch.var_mean(x, (0, 2, 3))
            self.mean.lerp_(mean.detach(), self.momentum)
            self.variance.lerp_(variance.detach(), self.momentum)
        return (x - mean[:, None, None]) * (variance[:, None, None] + 1e-6).rsqrt()


class Autoencoder(nn.Module):
    """Map normalised states to codes of unit variance, and back.

    Args:
        channels: Channels C of a state.
        given: Channels G of the static conditioning fields.
        codes: Channels Z of a code.
        encode: Channels of the encoder.
        decode: Channels of the decoder, which determine the cost of an analysis.
        depth: Blocks of each.
    """

    def __init__(
        self, channels: int, given: int, codes: int = 32, encode: int = 128, decode: int = 64,
        depth: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        cells = CODE_FACTOR**2
        self.read = make_conv(cells * given, encode + decode, 1)
        self.enter = make_conv(cells * channels, encode)
        self.into = nn.Sequential(
            *(ResidualBlock(encode) for _ in range(depth)), ChannelNorm(encode)
        )
        self.code = zero_initialise(make_conv(encode, codes, 1))
        self.linear = make_conv(cells * channels, codes, 1)
        self.norm = ChannelStandardiser(codes)
        self.begin = make_conv(codes, decode, 1)
        self.out = nn.Sequential(
            *(ResidualBlock(decode) for _ in range(depth)), ChannelNorm(decode), nn.SiLU()
        )
        self.leave = zero_initialise(make_conv(decode, cells * channels))
        self.direct = make_conv(codes, cells * channels)
        self.split, self.codes = (encode, decode), codes
        set_globe_padding(self, globe=True)

    @torch.no_grad()
    def initialise(self, states: Tensor) -> None:
        """Initialise by the best linear maps of states (N, C, H, W)."""
        blocks = F.pixel_unshuffle(states.double().nan_to_num(), CODE_FACTOR)
        rows = blocks.movedim(1, -1).flatten(0, -2)
        mean = rows.mean(0)
        variances, axes = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        encoder = (axes / variances.clamp_min(1e-9).sqrt()).flip(-1)[:, : self.codes].T
        self.linear.weight.copy_(encoder[..., None, None])
        self.linear.bias.copy_(-encoder @ mean)  # type: ignore[union-attr]
        codes = torch.einsum("zc,nchw->nzhw", encoder, blocks - mean[:, None, None])
        patches = F.unfold(pad_globe(codes), 3).movedim(1, -1).flatten(0, -2)
        ridge = 1e-6 * len(patches) * torch.eye(patches.shape[1]).to(patches)
        normal = patches.T @ patches + ridge
        decoder = torch.linalg.solve(normal, patches.T @ (rows - mean)).T
        self.direct.weight.copy_(decoder.reshape(self.direct.weight.shape))
        self.direct.bias.copy_(mean)  # type: ignore[union-attr]

    def features(self, given: Tensor) -> Tensor:
        """Return the features of static fields (B, G, H, W) for encoder and decoder."""
        out: Tensor = self.read(F.pixel_unshuffle(given, CODE_FACTOR))
        return out

    def encode(self, x: Tensor, features: Tensor) -> Tensor:
        """Return the codes (B, Z, H / 4, W / 4) of states (B, C, H, W); missing values are 0."""
        blocks = F.pixel_unshuffle(x.nan_to_num(), CODE_FACTOR)
        h = self.enter(blocks) + features[:, : self.split[0]]
        out: Tensor = self.norm(self.linear(blocks) + self.code(self.into(h)))
        return out

    def decode(self, code: Tensor, features: Tensor, straight: bool = False) -> Tensor:
        """Return the states of codes.

        Args:
            code: Codes (B, Z, H / 4, W / 4).
            features: Features of the static fields.
            straight: Take gradients of the dominant linear part alone, which is cheaper in
                guidance; the states are those of the full decoder.
        """
        inputs = code.detach() if straight else code
        h = self.out(self.begin(inputs) + features[:, self.split[0] :])
        return F.pixel_shuffle(self.leave(h) + self.direct(code), CODE_FACTOR)

    def loss(
        self, x: Tensor, sigma: Tensor, noise: Tensor, given: Tensor, area: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the squared error of the reconstruction of each state.

        ``sigma`` is unused; the first values of ``noise``, shaped as ``x``, are added to the
        codes.
        """
        features = self.features(given)
        code = self.encode(x, features)
        code_noise = noise.flatten(1)[:, : code[0].numel()].reshape(code.shape)
        error = (self.decode(code + CODE_NOISE * code_noise, features) - x.nan_to_num()).square()
        share = x.isfinite() * (1.0 if area is None else area)
        mean = (share * error).flatten(1).sum(1) / share.flatten(1).sum(1)
        return mean, torch.zeros_like(mean)
