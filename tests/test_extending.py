"""What CONTRIBUTING.md adds from outside: its code, installed as a package and used."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch.nn.functional import mse_loss

from dpdm import choices
from dpdm.diffusion import guidance, noise, sample
from dpdm.evaluate.metrics import METRICS
from dpdm.export import FORMATS
from dpdm.operators.geometry import globe_layout
from dpdm.operators.registry import ObsLocations, build_operator
from dpdm.plot import PLOT_KINDS
from dpdm.prior import load_prior, save_prior
from dpdm.prior.networks import NETWORK_KINDS, new_denoiser
from dpdm.reconstruct.plan import PLAN_RULES
from tests.helpers.small_world import done, refused

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"
HEAD = """
from dataclasses import make_dataclass
from functools import partial
import torch
from torch import nn
from dpdm import export
from dpdm.prior.networks import NetKind, register_net
from dpdm.diffusion import sample
from dpdm.diffusion.denoise import Denoiser
from dpdm.evaluate import metrics
from dpdm.evaluate.metrics import Metric, Statistic
from dpdm.fields.write import write_text
"""
REGISTRIES = (sample.SAMPLERS, METRICS, NETWORK_KINDS, FORMATS)
NET = {"kind": "pointwise", "width": 4}


def blocks(language: str) -> list[str]:
    """Return the blocks of a language in CONTRIBUTING.md."""
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture
def extras(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with all that CONTRIBUTING.md adds; what it registers is forgotten afterwards."""
    info = here / "extras-1.0.dist-info"
    info.mkdir()
    (here / "extras.py").write_text("\n".join([HEAD, *blocks("python")]))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extras\nVersion: 1.0\n")
    (toml,) = blocks("toml")
    points = re.sub(r'\[project\.entry-points\."(.*)"\]', r"[\1]", toml).replace('"', "")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(here)
    importlib.invalidate_caches()
    before = [dict(registry) for registry in REGISTRIES]
    names = list(choices.SAMPLERS)
    choices.load_plugins.cache_clear()
    yield here
    for registry, old in zip(REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(old)
    choices.SAMPLERS[:] = names
    choices.load_plugins.cache_clear()
    sys.modules.pop("extras", None)


def test_each_addition_takes_ten_lines_or_little_more() -> None:
    code = blocks("python")
    assert len(code) == 5
    assert all(sum(bool(line.strip()) for line in block.splitlines()) <= 13 for block in code)


def test_an_operator_from_outside_is_found_by_its_name(extras: Path) -> None:
    region = globe_layout(np.arange(20.5, 32), np.arange(100.5, 117))
    operator = build_operator(
        "coldest", ObsLocations(region, ("t2m",), np.zeros(1), np.zeros(1)), "t2m"
    )
    x = 280 + torch.randn(2, 1, *region.shape)
    assert (operator(x)[:, 0] < x.amin((1, 2, 3)) + 1e-9).all()


def test_a_sampler_from_outside_is_accepted_by_the_command_and_by_plans(extras: Path) -> None:
    command = "downscale coarse.nc out.nc --prior prior.safetensors --members 1 --sampler"
    refused(f"{command} two-shot", "two-shot", code=2)
    done(*command.split(), "one-shot")
    assert xr.open_dataset("out.nc")["t2m"].notnull().all()
    assert PLAN_RULES["draw.sampler"][0]("one-shot")
    assert sample.count_network_evaluations("one-shot", 12) == 1


def test_a_score_from_outside_is_in_the_table_the_json_and_the_report(extras: Path) -> None:
    command = "evaluate coarse.nc coarse.nc --report r.html --overwrite"
    table = done(*command.split()).stdout
    assert "largest" in table.splitlines()[1].split()
    assert "- largest: time mean of the largest error over the cells." in table
    rows = json.loads(done(*command.split(), "--json").stdout)["rows"]
    assert [row["largest"] for row in rows] == [0.0] * len(rows)
    assert ">largest<" in Path("r.html").read_text()


def test_a_network_from_outside_is_built_saved_read_and_drawn_from(extras: Path) -> None:
    own = load_prior(Path("prior.safetensors"))
    choices.load_plugins()
    contract = replace(own.contract, net=NET)
    denoiser = new_denoiser(len(own.normaliser.channels), NET)
    save_prior(replace(own, denoiser=denoiser, contract=contract), Path("mine.safetensors"))
    again = load_prior(Path("mine.safetensors")).denoiser.state_dict()
    assert all(mse_loss(again[name], value) == 0 for name, value in denoiser.state_dict().items())
    done(
        *[
            "downscale",
            "coarse.nc",
            "out.nc",
            "--prior",
            "mine.safetensors",
            "--members",
            "1",
            "--steps",
            "2",
        ]
    )
    NETWORK_KINDS.clear()
    refused(
        "downscale coarse.nc new.nc --prior mine.safetensors",
        "kind is 'pointwise', which no installed package knows",
    )


def test_a_format_from_outside_is_written(extras: Path) -> None:
    Path("sites.csv").write_text("name,lat,lon\nA,35,115\n")
    done(*["export", "fine.nc", "out.json", "--points", "sites.csv"])
    records = json.loads(Path("out.json").read_text())
    assert {record["station"] for record in records} == {"A"}
    refused("export fine.nc fields.json", "cannot be written to fields.json")


def test_the_names_that_help_shows_are_those_of_the_registries() -> None:
    assert list(sample.SAMPLERS) == choices.SAMPLERS
    assert list(noise.SCHEDULES) == choices.SCHEDULES
    assert list(guidance.GUIDES) == choices.GUIDANCES
    assert list(PLOT_KINDS) == choices.PICTURES
