"""The preconditioned network: limits, masks, shared features, any extent."""

import pytest
import torch

from dpdm.diffusion.denoise import Denoiser
from dpdm.nets.unet import UNet
from dpdm.prior.variable_spec import count_conditioning_channels


def denoiser(dropout: float = 0.0) -> Denoiser:
    net = UNet(2, count_conditioning_channels(2), (8, 8, 8), (8, 8), 1, dropout)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # the zero layers too, so that all takes part
    return Denoiser(net).eval()


def given(batch: int, height: int = 16, width: int = 16) -> torch.Tensor:
    return torch.randn(batch, count_conditioning_channels(2), height, width)


def test_little_noise_leaves_the_field() -> None:
    x = torch.randn(3, 2, 16, 16)
    found = denoiser()(x, torch.full((3,), 1e-6), given(3))
    torch.testing.assert_close(found, x, rtol=0, atol=1e-4)


def test_at_great_noise_the_mean_hardly_sees_the_field() -> None:
    net, known = denoiser(), given(1)
    sigma = torch.full((1,), 1e4)
    noise = torch.randn(1, 2, 16, 16)
    a, b = net(1e4 * noise, sigma, known), net(1e4 * noise + torch.randn_like(noise), sigma, known)
    torch.testing.assert_close(a, b, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 16), (7, 13), (5, 4), (30, 17)])
def test_any_extent_is_taken(shape: tuple[int, int]) -> None:
    net = denoiser()
    x = torch.randn(2, 2, *shape)
    mean, variance = net.moments(x, torch.ones(2), net.features(given(2, *shape)))
    assert mean.shape == variance.shape == x.shape
    assert bool((variance > 0).all())


def test_what_is_said_of_a_cell_does_not_depend_on_the_window() -> None:
    """The reach of the small net is under 40 cells: the middle of a wide window is the same."""
    net = denoiser()
    x, known = torch.randn(1, 2, 128, 128), given(1, 128, 128)
    wide = net(x, torch.ones(1), known)[..., 60:68, 60:68]
    inner = (..., slice(16, 112), slice(16, 112))
    small = net(x[inner], torch.ones(1), known[inner])[..., 44:52, 44:52]
    torch.testing.assert_close(small, wide, rtol=1e-9, atol=1e-9)


def test_bound_features_serve_all_members() -> None:
    net, known = denoiser(), given(1)
    x, sigma = torch.randn(4, 2, 16, 16), torch.rand(4) + 0.1
    together = net.bind(known)(x, sigma)
    each = torch.cat([net(x[i : i + 1], sigma[i : i + 1], known) for i in range(4)])
    torch.testing.assert_close(together, each, rtol=1e-9, atol=1e-9)


def test_draws_that_share_a_window_have_the_losses_of_each_alone() -> None:
    net, known, x = denoiser(), given(2), torch.randn(2, 2, 16, 16)
    sigma, noise = torch.rand(6) + 0.1, torch.randn(6, 2, 16, 16)
    together = net.loss(x, sigma, noise, known)[0]
    alone = [net.loss(x[[i % 2]], sigma[[i]], noise[[i]], known[[i % 2]])[0] for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-9, atol=1e-9)


def test_missing_cells_have_no_part_in_the_loss() -> None:
    net, known, x = denoiser(), given(1), torch.randn(1, 2, 16, 16)
    sigma, noise = torch.ones(1), torch.randn(1, 2, 16, 16)
    x[..., :, 8:] = torch.nan
    error = net.loss(x, sigma, noise, known)[0]
    clean = x.nan_to_num()
    c_out = net.scalings(sigma, x)[1]
    miss = ((net(clean + noise, sigma, known) - clean) / c_out).square()[..., :8]
    torch.testing.assert_close(error, miss.mean()[None], rtol=1e-10, atol=1e-10)


def test_the_variance_that_is_likeliest_is_the_squared_error() -> None:
    """The likelihood (e^2 / v + log v) / 2 has its least value at v = e^2."""
    error = torch.rand(50) + 0.1
    v = torch.linspace(0.01, 4, 4000)
    nats = (error[:, None] ** 2 / v + v.log()) / 2
    torch.testing.assert_close(v[nats.argmin(1)], error**2, rtol=0, atol=1e-3)
