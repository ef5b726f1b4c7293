"""The norm over channels: in training it is that of torch, with its gradient."""

import pytest
import torch
from torch.nn import functional as F

from dpdm.nets.channel_norm import EPSILON, ChannelNorm, NormWithGradient


def norm_of_torch(x: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    flat = F.rms_norm(x.permute(0, 2, 3, 1), (x.shape[1],), gain, EPSILON)
    return flat.permute(0, 3, 1, 2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients_are_those_of_torch(layout: torch.memory_format) -> None:
    x = torch.randn(3, 5, 4, 6).contiguous(memory_format=layout).requires_grad_()
    gain, slope = torch.rand(5, requires_grad=True), torch.randn(3, 5, 4, 6)
    found, expected = NormWithGradient.apply(x, gain), norm_of_torch(x, gain)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    ours = torch.autograd.grad(found, (x, gain), slope)
    theirs = torch.autograd.grad(expected, (x, gain), slope)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_half_precision_is_right_to_its_own_rounding() -> None:
    x = torch.randn(2, 32, 8, 8, dtype=torch.float32)
    gain, slope = torch.rand(32, dtype=torch.float32, requires_grad=True), torch.randn_like(x)
    half = x.bfloat16().requires_grad_()
    whole = half.detach().float().requires_grad_()
    ours = torch.autograd.grad(NormWithGradient.apply(half, gain), (half, gain), slope.bfloat16())
    theirs = torch.autograd.grad(norm_of_torch(whole, gain), (whole, gain), slope)
    for one, other in zip(ours, theirs, strict=True):
        error = (one.float() - other).square().mean().sqrt() / other.square().mean().sqrt()
        assert float(error) < 0.01  # 2^-8 a rounding


def test_training_and_evaluation_agree() -> None:
    layer, x = ChannelNorm(7), torch.randn(2, 7, 4, 4)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x), rtol=1e-12, atol=1e-12)
