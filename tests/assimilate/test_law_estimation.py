"""The law of departures against closed forms, and against the truth of synthetic networks."""

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from dpdm.assimilate.anomaly_law import AnomalyLaw, default_law
from dpdm.assimilate.law_estimation import StepDepartures, _Likelihood, estimate_law
from dpdm.assimilate.smooth_fields import EARTH_RADIUS_KM
from dpdm.observations.stations import unit_vectors
from dpdm.prior.variable_spec import VariableSpec

TRUTH = AnomalyLaw((0.5, 0.2, 0.3, 0.8, 1.2), noise=0.4, land=0.6, lapse=1.5, bias=0.1)
T2M = VariableSpec("t2m", "", "", "K", "identity", 280.0, 10.0, ((4.0, 0.5),))


def covariance(law: AnomalyLaw, step: StepDepartures) -> np.ndarray:
    """Return the covariance of departures, written out."""
    near = EARTH_RADIUS_KM * np.arccos((step.position @ step.position.T).clip(-1, 1))
    total = sum(
        s**2 * np.exp(-(near**2) / (2 * length**2))
        for s, length in zip(law.stds, law.lengths, strict=True)
    )
    total = total + law.land**2 * np.outer(step.land - 1, step.land - 1)
    total = total + law.lapse**2 * np.outer(step.height, step.height) + law.bias**2
    noise = np.where(np.isnan(step.error), law.noise, step.error)
    return total + np.diag(noise**2)


def network(
    seed: int, count: int, law: AnomalyLaw = TRUTH, stated: float = np.nan
) -> StepDepartures:
    """Return departures of a random network that are drawn from a law."""
    rng = np.random.default_rng(seed)
    position = unit_vectors(rng.uniform(32, 44, count), rng.uniform(130, 145, count))
    blank = StepDepartures(
        np.zeros(count), position, rng.normal(0, 0.3, count), rng.uniform(0.3, 1, count),
        np.full(count, stated),
    )  # fmt: skip
    drawn = rng.multivariate_normal(np.zeros(count), covariance(law, blank))
    return StepDepartures(drawn, position, blank.height, blank.land, blank.error)


@pytest.mark.parametrize("stated", [np.nan, 0.7])
def test_the_likelihood_is_that_of_a_gaussian(stated: float) -> None:
    """To 1e-3 of it: a jitter of a millionth of the variance keeps covariances regular."""
    step = network(0, 40, stated=stated)
    ours = float(_Likelihood(step, TRUTH)(torch.from_numpy(np.log(np.array(TRUTH.values)))))
    theirs = multivariate_normal(np.zeros(40), covariance(TRUTH, step)).logpdf(step.departure)
    assert -ours - 20 * np.log(2 * np.pi) == pytest.approx(theirs, rel=1e-3)


def test_a_large_network_finds_its_law() -> None:
    start = default_law(T2M, 38.0, "DJF")
    found = estimate_law([network(seed, 150) for seed in range(8)], start)
    total = np.hypot(found.total, found.noise) / np.hypot(TRUTH.total, TRUTH.noise)
    assert total == pytest.approx(1, abs=0.25)
    short = np.hypot(found.stds[0], found.noise), np.hypot(TRUTH.stds[0], TRUTH.noise)
    assert short[0] == pytest.approx(short[1], rel=0.1)
    assert found.lapse == pytest.approx(TRUTH.lapse, rel=0.6)


def test_few_stations_move_the_law_little() -> None:
    start = default_law(T2M, 38.0, "DJF")
    assert estimate_law([], start) == start
    assert estimate_law([network(0, 1)], start) == start
    moved = np.log(np.array(estimate_law([network(0, 3)], start).values) / np.array(start.values))
    assert np.abs(moved).max() < 0.8


def test_stations_that_report_zeros_have_a_law_too() -> None:
    """Only zeros of rain: the estimate stays finite and above zero."""
    step = network(0, 30)
    dry = StepDepartures(np.zeros(30), step.position, step.height, step.land, step.error)
    found = estimate_law([dry] * 3, default_law(T2M, 38.0, "JJA"))
    assert all(0 < value < 2 for value in found.values)


def test_steps_beyond_the_limit_are_spread() -> None:
    """The law of a long record does not come from its first months alone."""
    quiet = AnomalyLaw(tuple(0.2 * s for s in TRUTH.stds), 0.1, 0.1, 0.1, 0.1)
    steps = [network(n, 30, quiet if n < 40 else TRUTH) for n in range(80)]
    start = default_law(T2M, 38.0, "DJF")
    early, both = estimate_law(steps[:14], start), estimate_law(steps, start)
    assert both.noise > 1.5 * early.noise
