import pytest
import torch

from dpdm.diffusion.denoise import Gaussian
from dpdm.diffusion.gaussian_fields import GaussianFields, join_variables, make_gaussian_fields
from dpdm.diffusion.noise import SCHEDULES
from dpdm.diffusion.sample import SAMPLERS

SHAPE = (6, 5)


def dense(length: float, cyclic: bool = False) -> Gaussian:
    """Return the same law with its whole covariance."""
    rows, columns = torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij")
    y, x = rows.flatten().double(), columns.flatten().double()
    along = (x[:, None] - x).abs()
    along = torch.minimum(along, SHAPE[1] - along) if cyclic else along
    cover = (-((y[:, None] - y) ** 2 + along**2) / (2 * length**2)).exp()
    return Gaussian(torch.zeros(len(y)), cover)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_the_denoiser_is_that_of_the_whole_covariance(sigma):
    x_t, level = torch.randn(3, 2, *SHAPE), torch.full((3,), sigma)
    found = GaussianFields(SHAPE, (0.7, 1.2))(x_t, level)
    for channel, length in enumerate((0.7, 1.2)):
        expected = dense(length)(x_t[:, channel], level)
        torch.testing.assert_close(found[:, channel], expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_the_variance_is_that_of_the_whole_covariance(sigma):
    level, cover = torch.full((1,), sigma), dense(0.7).cov
    rest = cover - cover @ torch.linalg.solve(cover + sigma**2 * torch.eye(len(cover)), cover)
    found = GaussianFields(SHAPE, (0.7,)).variance(torch.zeros(1, 1, *SHAPE), level)
    torch.testing.assert_close(found.flatten(), rest.diag(), rtol=1e-6, atol=1e-8)


def test_columns_of_a_circle_have_neighbours_across_its_seam():
    x_t = torch.zeros(1, 1, *SHAPE)
    x_t[..., 2, 0] = 1.0
    smooth = GaussianFields(SHAPE, (0.8,), cyclic=True)(x_t, torch.ones(1))
    torch.testing.assert_close(smooth[..., 1], smooth[..., -1])


def test_the_deviation_that_a_sampler_draws_is_known_beforehand():
    fields = make_gaussian_fields((24, 24), (3.0, 0.75), False)
    levels = SCHEDULES["karras"](10, 2e-3, 20.0)

    def sample(denoise, noise):
        return SAMPLERS["multistep"](denoise, noise, levels)

    drawn = sample(fields, torch.randn(60, 2, 24, 24)).square().mean((0, 2, 3)).sqrt()
    known = fields.sampled_deviation(sample)
    assert known[1] < 0.9  # a few steps lose variance
    torch.testing.assert_close(known, drawn, rtol=0.04, atol=0)  # sampling error of 60 draws


def test_fields_are_drawn_with_their_exact_covariance():
    fields, noise = GaussianFields(SHAPE, (0.7,)), torch.eye(SHAPE[0] * SHAPE[1])
    root = fields.draw(2 * noise.reshape(-1, 1, *SHAPE), torch.full((len(noise),), 2.0))
    (rows, columns) = (torch.arange(n, dtype=torch.float64) for n in SHAPE)
    far = torch.cdist(torch.cartesian_prod(rows, columns), torch.cartesian_prod(rows, columns))
    covariance = (-((far / 0.7) ** 2) / 2).exp()
    torch.testing.assert_close(root.flatten(1).T @ root.flatten(1), covariance)


def test_variables_are_joined_in_order():
    joint = join_variables(lambda x, s: x + 1, lambda x, s: -x, 1)
    fields = torch.ones(1, 3, 2, 2)
    assert joint(fields, torch.ones(1))[0, :, 0, 0].tolist() == [2.0, -1.0, -1.0]
    alone = join_variables(None, lambda x, s: -x, 0)
    assert torch.equal(alone(fields, torch.ones(1)), -fields)
