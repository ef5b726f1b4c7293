from dataclasses import replace

import numpy as np
import pytest
import torch

from dpdm.diffusion.block_means import BlockMeans
from dpdm.operators.interpolation import pressure_log_ratio
from dpdm.prior import find_prior, load_prior
from dpdm.prior.normaliser import ReferenceState
from dpdm.prior.physics import SPECS, PhysicalNormaliser, add_physical_variables
from dpdm.prior.pressure import (
    LAYER_ERROR,
    STANDARD_ERROR,
    bundled_relief_error,
    pressure_spread,
)

SHAPE = (4, 6)


def normaliser(drawn=False):
    """Return a normaliser over hills of some hundred metres."""
    prior = add_physical_variables(load_prior(find_prior("default")), ["sp"], drawn, "month")
    height = 1000 + 400 * torch.randn(SHAPE)
    return replace(prior.normaliser, height=height, offset=height - 1000)


def states(names):
    """Return physical fields (2, C, H, W)."""
    values = {"t2m": 280 + 5 * torch.randn(2, *SHAPE), "tp": torch.rand(2, *SHAPE)}
    values["sp"] = 9e4 + 500 * torch.randn(2, *SHAPE)
    return torch.stack([values[name] for name in names], dim=1)


@pytest.mark.parametrize("drawn", [False, True])
def test_the_transform_is_inverted_exactly(drawn):
    scaling = normaliser(drawn)
    fields = states(scaling.names)
    torch.testing.assert_close(
        scaling.inverse(scaling.forward(fields)), fields, rtol=1e-12, atol=0
    )


def test_a_hydrostatic_atmosphere_is_constant_in_modelled_values():
    scaling = normaliser()
    temperature = 290 - 0.0065 * scaling.height
    at_1000_m = torch.tensor(290 - 6.5)
    pressure = 9e4 * pressure_log_ratio(scaling.offset, at_1000_m).exp()
    u = scaling.forward(torch.stack([temperature, pressure]))[1]
    torch.testing.assert_close(u, torch.full_like(u, np.log(9e4)), rtol=1e-12, atol=0)


def test_pressure_follows_the_temperature_of_the_same_member():
    scaling = normaliser()
    u = scaling.forward(states(scaling.names))
    warm = u.clone()
    warm[:, 0] += 5
    higher = scaling.inverse(warm)[:, 1] > scaling.inverse(u)[:, 1]
    assert torch.equal(higher, (scaling.offset > 0).expand_as(higher))  # warm air is thick


def test_temperature_that_is_not_drawn_has_the_climatology_else_the_standard_atmosphere():
    scaling = normaliser()
    lerp = torch.full((2, *SHAPE), torch.nan)
    lerp[1] = np.log(9e4)
    climate = torch.full((2, *SHAPE), 285.0)
    climate[0, 0] = torch.nan
    base, scale = scaling.base_and_scale(lerp, 4.0, ReferenceState(climate, climate))
    torch.testing.assert_close(base[0, 0], 288.15 - 0.0065 * scaling.height[0])
    assert (base[0, 1:] == 285).all()
    assert (scale[0, 1:] == 2.0).all()
    assert (scale[0, 0] == STANDARD_ERROR).all()
    assert torch.equal(base[1], lerp[1])
    assert (scale[1] == SPECS["sp"].residual_std(4.0)).all()


def test_the_network_sees_its_own_variables_alone():
    prior, scaling = load_prior(find_prior("default")), normaliser(drawn=True)
    assert scaling.network.channels == prior.normaliser.channels
    lerp = torch.randn(3, *SHAPE)
    ours, theirs = (
        s.base_and_scale(part, 4.0) for s, part in ((scaling, lerp), (prior.normaliser, lerp[:2]))
    )
    assert torch.equal(ours[0][:2], theirs[0])
    assert torch.equal(ours[1][:2], theirs[1])


def test_block_means_of_pressure_are_met_exactly():
    scaling = normaliser()
    rows, columns = (torch.eye(n // 2).repeat_interleave(2, 1) / 2 for n in SHAPE)
    known = 9e4 + 100 * torch.randn(2, 2, 3)
    u = scaling.forward(states(scaling.names))
    u = scaling.solve_block_means(u, torch.ones_like(u[0]), BlockMeans(rows, columns, known))
    blocks = BlockMeans(rows, columns, known).mean(scaling.inverse(u)[:, 1])
    torch.testing.assert_close(blocks, known[1].expand_as(blocks), rtol=1e-12, atol=0)


def test_another_grid_is_that_of_the_coarse_cells_at_their_own_height():
    scaling = normaliser()
    coarse = torch.tensor([280.0, 9e4])[:, None, None].expand(2, 2, 2)
    assert torch.allclose(scaling.forward(coarse)[1], torch.tensor(9e4).log())


def test_the_spread_grows_with_spacing_height_and_error_of_the_relief():
    flat, hill = np.zeros((1, 1)), np.full((1, 1), 300.0)
    assert pressure_spread(flat, flat, 100.0, flat) == pytest.approx(1e-4)
    layer = 9.80665 * 300 / (287.05 * (288.15 - 1.95) ** 2) * LAYER_ERROR
    assert pressure_spread(hill, hill, 0.0, flat) == pytest.approx(layer)
    metres = pressure_spread(flat, flat, 0.0, flat + 10) * 101325
    assert metres == pytest.approx(120, rel=0.01)  # 12 Pa for each metre


def test_the_bundled_relief_is_surest_where_it_is_smooth():
    slope = np.tile(np.arange(40.0), (40, 1))
    assert bundled_relief_error(slope, 4.0)[20, 20] == pytest.approx(0, abs=1e-6)
    rough = slope + 100 * np.random.default_rng(0).standard_normal((40, 40))
    assert 20 < bundled_relief_error(rough, 4.0)[20, 20] < 50


def test_a_prior_without_network_takes_any_step_and_factor():
    prior = add_physical_variables(load_prior(find_prior("default")), ["sp"], False, "hour")
    assert isinstance(prior.normaliser, PhysicalNormaliser)
    assert prior.normaliser.names == ["t2m", "sp"]
    assert not prior.contract.step
    assert prior.normaliser.climate_error == 6.5
    assert SPECS["sp"].transform == "log"
