"""Spaces of states: a new kind is one class, and statuses of observations have one list."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dpdm.assimilate.analysis import Analysis
from dpdm.diffusion.denoise import Gaussian
from dpdm.diffusion.guidance import Observation
from dpdm.diffusion.noise import MemberNoise, Noise
from dpdm.observations.observation_operator import values_and_errors
from dpdm.observations.status import (
    ObsStatus,
    accept,
    mark_status,
    overrule_status,
    status_reasons,
)
from dpdm.states import STATE_KINDS
from dpdm.states.ensemble import add_statistic_attrs, ensemble_layout
from dpdm.states.options import EnsembleOptions, SamplerConfig
from dpdm.states.sampling import draw_ensemble
from dpdm.types import Denoise, Fields, Operator

MEAN, STD = 10.0, 2.0
OPTIONS = EnsembleOptions(members=3, seed=5)
SAMPLER = SamplerConfig("multistep", 24, 80.0)


@dataclass(frozen=True)
class Numbers:
    """A kind of states of its own: four numbers a step, that are normal and go together."""

    options: EnsembleOptions = OPTIONS
    sampler: SamplerConfig = SAMPLER
    steps: tuple[int, ...] = (0, 1)
    shape: tuple[int, ...] = (1, 1, 4)

    @cached_property
    def law(self) -> Gaussian:
        apart = (torch.arange(4.0)[:, None] - torch.arange(4.0)).abs()
        return Gaussian(torch.zeros(4), torch.exp(-apart / 2))

    def label(self, step: int) -> str:
        return f"step {step}"

    def noise(self, step: int, seed: int) -> MemberNoise:
        return MemberNoise(self.shape, seed, self.label(step))

    def denoiser(
        self, step: int, sampler: SamplerConfig, seen: Observation | None = None
    ) -> Denoise:
        return self.law if seen is None else sampler.guide(self.law, seen)

    def normalise(self, values: np.ndarray, step: int) -> torch.Tensor:
        return ((torch.from_numpy(values) - MEAN) / STD).float()

    def physical(self, x: Fields) -> Fields:
        return MEAN + STD * x

    def completion(self, step: int, noise: Noise, around: Any, origin: Any) -> Any:
        return lambda x, number: self.physical(x.double()).numpy()

    def mask_unknown(self, member: np.ndarray, step: int) -> np.ndarray:
        return member

    def check_analysis(self, count: int) -> None:
        pass

    def rows(self, table: pd.DataFrame, step: int) -> np.ndarray:
        return (table["step"] == step).to_numpy()

    def operator(self, rows: pd.DataFrame, tried: bool = False) -> Operator:
        cells = torch.from_numpy(rows["cell"].to_numpy(copy=True))
        return lambda states: states[:, 0, 0, cells.to(states.device)]

    def background_equivalents(self, step: int, operator: Operator, named: Any) -> np.ndarray:
        examples = torch.randn(33, 4, generator=torch.Generator().manual_seed(0))
        root = torch.linalg.cholesky(self.law.cov)
        return operator(self.physical((examples @ root.T)[:, None, None])).T.numpy()

    def observation(
        self, step: int, rows: pd.DataFrame, operator: Operator, background: Any
    ) -> Observation:
        value, error = values_and_errors(rows)
        return Observation(lambda x: operator(self.physical(x)), value, error**2)

    def label_values(
        self, values: np.ndarray, member: int | None = None, statistic: str = "", step: int = 0
    ) -> xr.Dataset:
        axes = {} if member is None else {"realization": [member]}
        coords = axes | {"step": [step], "cell": np.arange(4)}
        array = xr.DataArray(values[0, 0][(None,) * (len(axes) + 1)], coords, list(coords), "n")
        return add_statistic_attrs(array, statistic).to_dataset(
            name=f"n_{statistic}" if statistic else "n"
        )

    def template(self) -> xr.Dataset:
        axes = {"realization": None, "step": list(self.steps), "cell": np.arange(4)}
        return ensemble_layout(self.shape, self.options, self.label_values, axes)


@pytest.fixture(autouse=True)
def single() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    yield
    torch.set_default_dtype(before)


def drawn(space: Numbers, members: range | list[int], **more: Any) -> np.ndarray:
    return np.stack([*draw_ensemble(space, 0, space.sampler, members, 5, **more)])  # type: ignore[arg-type]


def test_a_member_depends_on_its_number_alone() -> None:
    space = Numbers()
    whole = drawn(space, range(5))
    np.testing.assert_array_equal(drawn(space, [3, 1]), whole[[3, 1]])


def test_members_follow_the_law_of_the_space() -> None:
    x = (drawn(Numbers(sampler=replace(SAMPLER, block=500)), range(4000))[:, 0, 0] - MEAN) / STD
    cov = Numbers().law.cov.numpy()
    np.testing.assert_allclose(np.cov(x.T), cov, rtol=0, atol=4 * np.sqrt(2 / 4000))
    np.testing.assert_allclose(x.mean(0), 0, rtol=0, atol=4 / np.sqrt(4000))


def test_members_around_a_state_are_near_it_at_little_noise() -> None:
    space = Numbers()
    state = np.array([[[9.0, 10.0, 12.0, 11.0]]])
    near = replace(space, sampler=SAMPLER.truncate(0.01))
    np.testing.assert_allclose(drawn(near, range(3), around=state) - state, 0, rtol=0, atol=0.1)


def table(*rows: tuple[int, int, float]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["step", "cell", "value"])
    return frame.assign(variable="n", error=0.5, status=ObsStatus.ASSIMILATED.value)


def test_an_analysis_needs_no_more_than_a_space() -> None:
    """The members' mean is that of the Kalman update, and gross errors are rejected."""
    space = Numbers(EnsembleOptions(members=400, seed=1), replace(SAMPLER, block=400))
    analysis = Analysis(space, table((0, 1, 13.0), (1, 2, 90.0)), reject=5.0)  # type: ignore[arg-type]
    members = np.stack([*analysis.members(0, range(400))])[:, 0, 0]
    one = torch.zeros(1, 4).double()
    one[0, 1] = STD
    law = Gaussian(torch.zeros(4).double(), space.law.cov.double())
    known = law.condition_on(one, torch.tensor([3.0]).double(), torch.tensor([0.25]).double())
    expected = MEAN + STD * known.mean.numpy()
    spread = STD * known.cov.diagonal().sqrt().numpy()
    assert (np.abs(members.mean(0) - expected) < 4 * spread / 20 + 0.02).all()
    np.testing.assert_allclose(analysis.analysis[0], members[:, 1], rtol=1e-6)
    next(analysis.members(1, range(1)))
    assert analysis.table["status"][1].startswith("rejected: ")


def test_every_block_fits_into_the_layout() -> None:
    space = Numbers()
    laid_out = space.template()
    assert laid_out["n"].dims == ("realization", "step", "cell")
    assert laid_out["n"].encoding["chunksizes"] == (1, 2, 4)
    blocks = list(Analysis(space, table((0, 1, 11.0))).blocks())  # type: ignore[arg-type]
    assert len(blocks) == 8  # three members and their statistics, twice
    assert {n for block in blocks for n in block} == set(laid_out)
    assert "standard deviation over the ensemble" in laid_out["n_spread"].attrs["long_name"]


def test_kinds_are_those_that_a_prior_says() -> None:
    assert list(STATE_KINDS) == ["fields", "trajectories", "globe"]


def test_statuses_are_those_that_reports_have_always_had() -> None:
    assert [str(status) for status in ObsStatus] == [
        "", "assimilated", "withheld", "verification", "also in the files for verification",
        "missing", "flagged in its file", "impossible value", "no position", "no time",
        "no pressure", "no channel", "no trajectory", "no y", "no x", "no component",
        "duplicate of row", "ambiguous", "repeated value", "dry among wet neighbours",
        "unlike its neighbours", "spike",
        "outside the domain", "no land grid cell nearby", "height off the relief",
        "no step at that time", "other step", "a mean over several steps", "covers",
        "merged into row",
        "not a variable of the prior", "not a component of the prior",
        "above or below the levels", "not seen by the prior", "rejected",
    ]  # fmt: skip


def test_the_first_status_of_a_row_stays() -> None:
    rows = pd.DataFrame({"status": ["", "missing", ""]})
    mark_status(rows, np.array([True, True, False]), ObsStatus.OUTSIDE)
    assert list(rows["status"]) == ["outside the domain", "missing", ""]
    assert list(accept(rows)["status"]) == ["outside the domain", "missing", "assimilated"]
    overrule_status(rows, np.array([1]), ObsStatus.MERGED.of("2 of a.csv"))
    assert list(status_reasons(rows)) == ["outside the domain", "merged", ""]


def test_no_status_is_typed_again_elsewhere() -> None:
    """Wherever one is written or asked for, it is taken from the list."""
    typed = {str(s) for s in ObsStatus if " " in s and s != ObsStatus.NO_CHANNEL}
    for path in Path("dpdm").rglob("*.py"):
        if path.name != "status.py":
            found = [s for s in typed if f'"{s}"' in path.read_text(encoding="utf-8")]
            assert not found, (path, found)
