"""The multi-scale energy score: proper, of cells, scales, differences and variables together."""

import pytest
import scoringrules
import torch
from torch import Tensor

from dpdm.diffusion.gaussian_fields import GaussianFields
from dpdm.training.energy_score import energy_score, view_score

SMOOTH = GaussianFields((16, 16), (2.0, 2.0))


def smooth(count: int) -> Tensor:
    """Return smooth fields of two related variables of variance one."""
    one = SMOOTH.draw(torch.randn(count, 2, 16, 16), torch.ones(count))
    return torch.cat([one[:, :1], 0.96 * one[:, :1] + 0.28 * one[:, 1:]], dim=1)


FORGERS = {
    "white noise": lambda x: x[..., torch.randperm(16), :][..., torch.randperm(16)],
    "half the spread": lambda x: x / 2,
    "twice the spread": lambda x: 2 * x,
    "unrelated variables": lambda x: torch.cat([x[:, :1], x.roll(1, 0)[:, 1:]], dim=1),
    "fine noise": lambda x: x + 0.15 * torch.randn_like(x),
    "a bias": lambda x: x + 0.5,
}


@pytest.mark.parametrize("forger", FORGERS)
def test_no_other_distribution_has_a_lower_score(forger: str) -> None:
    """The marginals of white noise and of unrelated variables are right, and do not save them."""
    truth, first, second = smooth(400), smooth(400), smooth(400)
    own = energy_score(first, second, truth, torch.zeros_like(truth))
    first, second = (FORGERS[forger](x) for x in (first, second))
    other = energy_score(first, second, truth, torch.zeros_like(truth))
    apart = other - own
    assert float(apart.mean()) > 4 * float(apart.std()) / 400**0.5, forger


@pytest.mark.parametrize("length", [1, 6])
def test_the_score_of_a_view_is_the_fair_energy_score(length: int) -> None:
    """For numbers it is the fair CRPS, for vectors that of scoringrules."""
    first, second, truth, centre = torch.randn(4, 1, 1, length, 3, 4)
    members = torch.stack([first, second])[:, 0, 0].movedim((0, 1), (-2, -1)).numpy()
    known = truth[0, 0].movedim(0, -1).numpy()
    if length == 1:
        fair = scoringrules.crps_ensemble(known[..., 0], members[..., 0], estimator="fair")
    else:
        fair = scoringrules.es_ensemble(known, members, estimator="fair")
    error = (centre - truth).norm(dim=2).mean()
    found = float(view_score(first, second, truth, centre) * error)
    assert found == pytest.approx(float(fair.mean()), rel=1e-6)


def test_cells_without_truth_do_not_count() -> None:
    truth, first, second = smooth(3), smooth(3), smooth(3)
    truth[:, :, 5:9, 2:3] = torch.nan
    other = first.clone()
    other[:, :, 5:9, 2:3] = 99.0
    scores = [energy_score(x, second, truth, torch.zeros_like(truth)) for x in (first, other)]
    torch.testing.assert_close(*scores)
