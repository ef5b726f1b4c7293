"""Wiener's filter of windows on the globe: exact where the law is what it takes it to be."""

import torch
from torch import Tensor

from dpdm.diffusion.denoise import Denoiser, Gaussian
from dpdm.nets.unet import UNet
from dpdm.nets.wiener import WienerFilter

STATES, CHANNELS, ROWS, COLUMNS = 3, 2, 2, 8


def filled(modes: int = CHANNELS * ROWS) -> WienerFilter:
    """Return a filter of a law made up, the smallest sizes of each wave alike."""
    law = WienerFilter(STATES, CHANNELS * ROWS, COLUMNS, modes)
    waves = COLUMNS // 2 + 1
    noise = torch.randn(waves, 9, CHANNELS * ROWS, dtype=torch.complex128)
    noise[[0, -1]] = noise[[0, -1]].real.to(noise.dtype)
    sizes, axes = torch.linalg.eigh(noise.mH @ noise)
    sizes, axes = sizes.flip(-1), axes.flip(-1)
    rest = sizes[:, modes:].mean(1) if modes < sizes.shape[1] else torch.zeros(waves)
    law.modes.copy_(torch.view_as_real(axes[..., :modes].contiguous()).flatten(-2))
    law.sizes.copy_(sizes[:, :modes])
    law.rest.copy_(rest)
    apart = (torch.arange(STATES)[:, None] - torch.arange(STATES)).abs()
    weights, turned = torch.linalg.eigh(torch.rand(waves, 1, 1) ** apart)
    law.weights.copy_(weights)
    law.axes.copy_(turned)
    return law


def covariance(law: WienerFilter) -> Tensor:
    """Return the covariance of all cells, from the filter's own factors, wave by wave."""
    cells = STATES * CHANNELS * ROWS * COLUMNS
    unit = torch.eye(cells).reshape(cells, STATES, CHANNELS, ROWS, COLUMNS)
    hat = law.coefficients(unit)
    modes = torch.view_as_complex(law.modes.unflatten(-1, (-1, 2)))
    kept = modes * law.sizes[:, None] @ modes.mH
    rest = torch.eye(CHANNELS * ROWS) - modes @ modes.mH
    space = kept + law.rest[:, None, None] * rest
    time = law.axes * law.weights[:, None] @ law.axes.mT
    waves = torch.einsum("mde,mbet,mts->mbds", space, hat, time.to(hat))
    counts = torch.full((COLUMNS // 2 + 1,), 2.0)
    counts[[0, -1]] = 1.0
    return torch.einsum("mbdt,m,mcdt->bc", hat.conj(), counts.to(hat), waves).real


def test_the_filter_is_the_gaussian_posterior_mean() -> None:
    """Against the closed form with the whole covariance, all modes or some."""
    for modes in (4, 2):
        law = filled(modes)
        cover = covariance(law)
        torch.testing.assert_close(cover, cover.T)
        x_t = torch.randn(2, STATES * CHANNELS, ROWS, COLUMNS)
        sigma = torch.tensor([0.3, 2.0])
        exact = Gaussian(torch.zeros(len(cover)), cover)
        torch.testing.assert_close(law(x_t, sigma), exact(x_t, sigma), atol=1e-10, rtol=0)


def test_what_is_left_is_the_trace_of_the_posterior() -> None:
    """The spread is the root mean square of what the exact posterior leaves, over all cells."""
    law = filled(2)
    cover, sigma = covariance(law), torch.tensor([0.1, 1.0, 10.0])
    sizes = torch.linalg.eigvalsh(cover)
    exact = [float((sizes * s**2 / (sizes + s**2)).mean()) ** 0.5 for s in sigma.tolist()]
    torch.testing.assert_close(law.spread(sigma), torch.tensor(exact), atol=1e-10, rtol=1e-10)


def test_a_law_is_found_again_in_its_draws() -> None:
    """Of 4,000 draws in time, sizes and correlations come back to a few per cent."""
    torch.manual_seed(1)
    amplitude = torch.randn(4000, 2)
    for step in range(1, 4000):
        amplitude[step] = 0.8 * amplitude[step - 1] + 0.6 * amplitude[step]
    angle = 2 * torch.pi * 2 * torch.arange(COLUMNS) / COLUMNS
    wave = amplitude[:, :1] * angle.cos() + amplitude[:, 1:] * angle.sin()
    series = wave[:, None, None].expand(-1, CHANNELS, ROWS, -1) + 0.1 * torch.randn(
        4000, CHANNELS, ROWS, COLUMNS
    )
    law = WienerFilter(STATES, CHANNELS * ROWS, COLUMNS, 2)
    law.initialise(series)
    # A wave of unit variance in each of four rows: 4 rows * 8 columns / 2 in one coefficient.
    assert abs(float(law.sizes[2, 0]) / 16.0 - 1) < 0.1
    assert float(law.sizes[1, 0]) < 0.05
    weights = torch.linalg.eigvalsh(0.8 ** torch.tensor([[0.0, 1, 2], [1, 0, 1], [2, 1, 0]]))
    torch.testing.assert_close(law.weights[2], weights, atol=0.1, rtol=0)


def test_an_untrained_denoiser_is_the_filter() -> None:
    """Before any step of training, the network adds nothing to what the law knows."""
    law = filled()
    net = UNet(6, 1, (8, 8, 8), (8, 8), 1, globe=True, extra=6)
    denoiser = Denoiser(net, law=law).eval()
    x_t, given = torch.randn(1, 6, 4, COLUMNS), torch.zeros(1, 1, 4, COLUMNS)
    wide = WienerFilter(STATES, CHANNELS * 4, COLUMNS, 4)
    denoiser.law = wide
    sigma = torch.ones(1)
    with torch.no_grad():
        torch.testing.assert_close(denoiser(x_t, sigma, given), wide(x_t, sigma))
