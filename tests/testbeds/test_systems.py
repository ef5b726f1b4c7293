"""Systems whose truth is known, against closed forms."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dpdm.testbeds import kolmogorov, lorenz63
from dpdm.testbeds.kolmogorov import KolmogorovFlow
from dpdm.testbeds.lorenz63 import (
    NoisyDynamics,
    bootstrap_filter,
    run_smoother,
    simulate_backward,
    systematic_resampling,
)

STILL = dict(drag=0.0, forcing=0.0)


def test_lorenz63_rests_at_its_fixed_points_and_keeps_its_symmetry() -> None:
    side = math.sqrt(lorenz63.BETA * (lorenz63.RHO - 1))
    rest = torch.tensor([[0.0, 0.0, 0.0], [side, side, 27.0], [-side, -side, 27.0]])
    torch.testing.assert_close(lorenz63.advance_states(rest), rest, rtol=0, atol=1e-13)
    x, turned = torch.randn(5, 3), torch.tensor([-1.0, -1.0, 1.0])
    torch.testing.assert_close(
        lorenz63.advance_states(turned * x), turned * lorenz63.advance_states(x)
    )


def test_lorenz63_decays_along_the_z_axis_as_fourth_order_does() -> None:
    # There dz/dt = -beta z, of which one step is the Taylor sum to the fourth power.
    h = lorenz63.BETA * lorenz63.DT
    factor = sum((-h) ** n / math.factorial(n) for n in range(5))
    z = torch.tensor([0.0, 0.0, 20.0])
    torch.testing.assert_close(lorenz63.advance_states(z), factor * z, rtol=1e-14, atol=0)


def test_lorenz63_unshaken_converges_at_fourth_order_in_its_interval() -> None:
    def end(dt: float) -> torch.Tensor:
        count = round(0.4 / dt) + 1
        return lorenz63.simulate_lorenz(4, count, 1, 0, dt=dt, noisy=False)[:, -1]

    errors = [(end(dt) - end(0.0005)).norm() for dt in (0.01, 0.005)]
    assert 13 < float(errors[0] / errors[1]) < 19  # 2^4, and terms of higher order


def test_lorenz63_transitions_are_as_likely_as_gaussian_ones() -> None:
    # 64 transitions: mean 96 (log(20 / pi) - 1) = 81.7, variance 96.
    path = lorenz63.simulate_lorenz(400, 65, seed=0, burn_in=0)
    expected = 96 * (math.log(20 / math.pi) - 1)
    normal = torch.distributions.Normal(
        lorenz63.advance_states(path[:, :-1]), math.sqrt(lorenz63.DT)
    )
    found = normal.log_prob(path[:, 1:]).sum((1, 2))
    assert abs(float(found.mean()) - expected) < 4 * math.sqrt(96 / 400)


def test_lorenz63_starts_as_it_should() -> None:
    first = lorenz63.simulate_lorenz(20000, 1, seed=0, burn_in=0)[:, 0]
    covariance = torch.tensor(lorenz63.START_COVARIANCE)
    # Four standard errors of 20000 draws: 4 sqrt(2 / 20000) of a variance, .26 of a mean.
    torch.testing.assert_close(first.T.cov(), covariance, rtol=0, atol=0.04 * 81)
    torch.testing.assert_close(first.mean(0), torch.tensor(lorenz63.START_MEAN), rtol=0, atol=0.26)


def test_lorenz63_trajectories_do_not_depend_on_how_many_there_are() -> None:
    many = lorenz63.simulate_lorenz(5, 20, seed=3, burn_in=50)
    assert torch.equal(lorenz63.simulate_lorenz(1, 30, 3, 50, first=4)[0, :20], many[4])
    assert not torch.equal(lorenz63.simulate_lorenz(1, 20, 4, 50, first=4)[0], many[4])


TURN = torch.tensor([[0.9, 0.3], [-0.2, 0.8]], dtype=torch.float64)
LENGTH, SEEN, NOISE, ERROR = 6, (2, 5), 0.5, 0.3
VALUES = {2: 1.0, 5: -0.7}


def posterior() -> tuple[Tensor, Tensor, float]:
    """Return mean, covariance and evidence of the linear system's trajectory, by algebra."""
    # The trajectory is a linear map of its start and its shakes.
    carry = torch.eye(2 * LENGTH)
    for i in range(1, LENGTH):
        carry[2 * i : 2 * i + 2] += TURN @ carry[2 * i - 2 : 2 * i]
    shakes = torch.diag(torch.tensor([1.0, 1.0] + [NOISE**2] * (2 * LENGTH - 2)))
    prior = carry @ shakes @ carry.T
    look = torch.eye(2 * LENGTH)[[2 * i for i in SEEN]]
    y = torch.tensor([VALUES[i] for i in SEEN])
    seen = look @ prior @ look.T + ERROR**2 * torch.eye(2)
    gain = prior @ look.T @ seen.inverse()
    law = torch.distributions.MultivariateNormal(torch.zeros(2), seen)
    return gain @ y, prior - gain @ look @ prior, float(law.log_prob(y))


def linear() -> NoisyDynamics:
    return NoisyDynamics(lambda n, g: torch.randn(n, 2, generator=g), lambda x: x @ TURN.T, NOISE)


def likelihood(step: int, x: Tensor) -> Tensor | None:
    if step not in SEEN:
        return None
    return torch.distributions.Normal(x[:, 0], ERROR).log_prob(torch.tensor(VALUES[step]))


@pytest.mark.parametrize("guesses", [(), (32, 256)])
def test_smoothed_trajectories_have_the_exact_mean_and_covariance(
    guesses: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lorenz63, "REJECTION_TRIES", guesses)  # without any, all are weighed
    mean, covariance, _ = posterior()
    found = run_smoother(linear(), likelihood, LENGTH, 2000, particles=2**12).flatten(1)
    # Standard deviations are below 1; four standard errors of 2000 draws and 4096 particles.
    torch.testing.assert_close(found.mean(0), mean, rtol=0, atol=4 * math.sqrt(1 / 2000))
    torch.testing.assert_close(found.T.cov(), covariance, rtol=0, atol=4 * math.sqrt(2 / 2000))


def test_the_filter_knows_how_likely_the_observations_were() -> None:
    cloud = bootstrap_filter(linear(), likelihood, LENGTH, 2**15, torch.Generator().manual_seed(0))
    # The relative error of two averages of weights over 32768 particles: some 0.01 each.
    assert cloud.evidence == pytest.approx(posterior()[2], abs=0.05)
    torch.testing.assert_close(cloud.log_weights.exp().sum(1), torch.ones(LENGTH))


def test_backward_simulation_keeps_more_first_states_than_the_filter() -> None:
    generator = torch.Generator().manual_seed(0)
    cloud = bootstrap_filter(linear(), likelihood, LENGTH, 500, generator)
    paths = simulate_backward(linear(), cloud, 400, generator)
    assert paths.shape == (400, LENGTH, 2)
    assert bool((paths[:, :, None] == cloud.states).all(-1).any(-1).all()), "all are particles"
    assert len(paths[:, 0].unique(dim=0)) > 100


def test_systematic_resampling_is_fair_to_within_one() -> None:
    weights = torch.softmax(torch.randn(100), 0)
    drawn = systematic_resampling(weights, torch.Generator().manual_seed(0)).bincount(
        minlength=100
    )
    assert float((drawn - 100 * weights).abs().max()) < 1


def taylor_green(size: int) -> Tensor:
    y, x = (
        t.contiguous() for t in torch.meshgrid(*[kolmogorov.cell_centres(size)] * 2, indexing="ij")
    )
    return torch.stack([torch.cos(x) * torch.sin(y), -torch.sin(x) * torch.cos(y)])


def developed(resolution: int = 64, snapshots: int = 20) -> Tensor:
    """Return a turbulent flow."""
    return kolmogorov.advance_velocity(
        KolmogorovFlow(resolution), kolmogorov.random_velocity(0, 0, resolution), snapshots
    )


def test_taylor_green_vortices_decay_as_viscosity_and_drag_say() -> None:
    flow = KolmogorovFlow(32, reynolds=20.0, drag=0.3, forcing=0.0)
    w = taylor_green(32)
    after = kolmogorov.invert_coefficients(flow.run(flow.dealias(w), 1.5))
    # Advection is a gradient, which the projection takes away to rounding.
    torch.testing.assert_close(after, math.exp(-(2 / 20 + 0.3) * 1.5) * w, rtol=0, atol=1e-13)


def test_the_sine_alone_grows_to_the_laminar_flow() -> None:
    flow = KolmogorovFlow(32, reynolds=10.0)
    rate = 16 / 10 + 0.1
    sine = torch.sin(4 * kolmogorov.cell_centres(32))[:, None].expand(32, 32)
    for time in (0.5, 20.0):
        u, v = kolmogorov.invert_coefficients(
            flow.run(torch.zeros(2, 32, 17) + 0j, time, steps=200)
        )
        # Fourth order: (rate dt)^5 / 120 a step is at most 1e-5 in all.
        torch.testing.assert_close(
            u, (1 - math.exp(-rate * time)) / rate * sine, rtol=0, atol=1e-5
        )
        assert float(v.abs().max()) < 1e-15


def test_a_mean_wind_carries_the_flow_along() -> None:
    flow, size, quarter = KolmogorovFlow(32, reynolds=200.0, **STILL), 32, math.pi / 2
    w = kolmogorov.random_velocity(0, 1, size)
    wind = torch.tensor([1.0, 0.0])[:, None, None]
    rest = kolmogorov.invert_coefficients(flow.run(flow.dealias(w), quarter, steps=200))
    carried = kolmogorov.invert_coefficients(flow.run(flow.dealias(w + wind), quarter, steps=200))
    # In a quarter of the period a wind of one blows across a quarter of the cells;
    # 200 steps leave (10 dt)^5 / 120 each of the shortest wave.
    torch.testing.assert_close(carried, rest.roll(size // 4, -1) + wind, rtol=0, atol=1e-5)


def test_turbulence_has_no_divergence() -> None:
    w = developed()
    slope = float(kolmogorov.vorticity(w).abs().max())
    assert float(kolmogorov.divergence(w).abs().max()) < 1e-13 * slope * 64


def test_the_energy_budget_closes() -> None:
    flow, w = KolmogorovFlow(64), developed()
    hat, ahead = flow.dealias(w), 1e-3
    u = kolmogorov.invert_coefficients(hat)

    def energy(h: Tensor) -> float:
        return float(kolmogorov.invert_coefficients(h).square().sum(0).mean() / 2)

    input_ = float((u * kolmogorov.invert_coefficients(flow.forcing_coefficients)).sum(0).mean())
    viscous = float(kolmogorov.vorticity(u).square().mean()) / flow.reynolds
    budget = input_ - viscous - 2 * flow.drag * energy(hat)
    gains = [energy(flow.run(hat, n * ahead, steps=n)) - energy(hat) for n in (1, 2)]
    # A one-sided difference of second order; (1e-3)^2 times a third derivative of order ten.
    assert (4 * gains[0] - gains[1]) / (2 * ahead) == pytest.approx(budget, abs=3e-5)


def test_advection_neither_makes_nor_takes_energy() -> None:
    flow = KolmogorovFlow(64, **STILL)
    hat = flow.dealias(developed())
    work = kolmogorov.invert_coefficients(hat) * kolmogorov.invert_coefficients(flow.tendency(hat))
    scale = float(work.abs().sum(0).mean())
    assert abs(float(work.sum(0).mean())) < 1e-13 * scale


def test_time_steps_are_of_fourth_order() -> None:
    flow = KolmogorovFlow(64, reynolds=100.0)
    hat = flow.dealias(developed())
    true = flow.run(hat, 0.2, steps=160)
    coarse, fine = ((flow.run(hat, 0.2, steps=n) - true).abs().max() for n in (10, 20))
    assert 13 < float(coarse / fine) < 19  # 2^4, and terms of higher order


def test_more_cells_change_a_smooth_flow_little() -> None:
    few, many = (
        kolmogorov.advance_velocity(
            KolmogorovFlow(n, reynolds=20.0), kolmogorov.random_velocity(0, 0, n), 5
        )
        for n in (48, 64)
    )
    # Waves beyond the sixteenth, which 48 cells leave out, hold little at Re = 20.
    error = (kolmogorov.resample_fields(few, 64) - many).square().mean().sqrt()
    assert float(error) < 2e-4


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_same_flow_is_drawn_for_every_resolution(size: int) -> None:
    w = kolmogorov.random_velocity(2, 5, size)
    finest = kolmogorov.random_velocity(2, 5, 192)
    torch.testing.assert_close(kolmogorov.resample_fields(w, 192), finest, rtol=0, atol=1e-12)
    assert float(kolmogorov.divergence(w).abs().max()) < 1e-12
    assert float(w.square().sum(0).mean()) == pytest.approx(kolmogorov.INITIAL_SPEED**2)


def test_waves_are_given_back_what_block_means_took() -> None:
    w = kolmogorov.random_velocity(0, 0, 128)
    means = kolmogorov.average_blocks(w, 32)
    torch.testing.assert_close(
        kolmogorov.resample_fields(means, 128, sharpen=True), w, rtol=0, atol=1e-4
    )
    assert float((kolmogorov.resample_fields(means, 128) - w).abs().max()) > 0.02


def test_vorticity_is_that_of_a_known_flow() -> None:
    y, x = torch.meshgrid(*[kolmogorov.cell_centres(32)] * 2, indexing="ij")
    expected = -2 * torch.cos(x) * torch.cos(y)
    torch.testing.assert_close(
        kolmogorov.vorticity(taylor_green(32)), expected, rtol=0, atol=1e-13
    )


def test_trajectories_of_the_flow_do_not_depend_on_their_length() -> None:
    flow = KolmogorovFlow(32)
    long, short = (kolmogorov.simulate_flow(3, n, 7, 4, 16, flow) for n in (3, 2))
    assert long.shape == (3, 2, 16, 16)
    assert torch.equal(long[:2], short)
    assert not torch.equal(kolmogorov.simulate_flow(4, 2, 7, 4, 16, flow), short)


def test_the_model_started_from_a_snapshot_finds_the_next_ones() -> None:
    flow = KolmogorovFlow(64, reynolds=200.0)
    path = kolmogorov.simulate_flow(0, 4, 0, 20, 32, flow)
    u, v = kolmogorov.advance_flow(path[0, 0], path[0, 1], 3, flow)
    error = (torch.stack([u, v], dim=1) - path[1:]).square().mean((1, 2, 3)).sqrt()
    change = (path[1:] - path[0]).square().mean((1, 2, 3)).sqrt()
    assert bool((error < 0.1 * change).all()), error / change


def test_the_energy_is_steady_after_burn_in() -> None:
    flow = KolmogorovFlow(32, courant=2.0)
    energy = np.array([
        float(w.square().sum(1).mean())
        for n in range(3)
        for w in kolmogorov.simulate_flow(n, 50, 0, kolmogorov.BURN_IN, 16, flow).split(25)
    ]).reshape(3, 2)  # fmt: skip
    # First and second halves of three trajectories differ by no more than trajectories do.
    assert abs(energy[:, 0].mean() / energy[:, 1].mean() - 1) < 0.35
