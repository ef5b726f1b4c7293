"""What no machine can do is refused before anything is taken."""

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import click
import netCDF4
import pytest

from dpdm.config import ValueRule
from dpdm.reconstruct import plan
from dpdm.training import config
from dpdm_cli.main import main
from tests.helpers.small_world import coarse_world, done, refused

HUGE = 10**12


def whole_options() -> Iterator[tuple[str, click.Option]]:
    for name, command in main.commands.items():
        for option in command.params:
            if isinstance(option, click.Option) and isinstance(
                option.type, click.IntRange | click.types.IntParamType
            ):
                yield f"{name} {option.opts[0]}", option


def test_every_whole_option_has_a_greatest_value() -> None:
    found = dict(whole_options())
    assert len(found) > 20
    endless = [n for n, o in found.items() if getattr(o.type, "max", None) is None]
    assert endless == []


def whole_settings(
    shape: Any, rules: dict[str, ValueRule]
) -> Iterator[tuple[str, Any, ValueRule | None]]:
    for section, kind in get_type_hints(shape).items():
        for key, said in get_type_hints(kind).items():
            if said in (int, tuple[int, ...]):
                usual = getattr(kind(), key)
                value = HUGE if said is int else (HUGE,) * (len(usual) or 1)
                yield f"{section}.{key}", value, rules.get(f"{section}.{key}")


@pytest.mark.parametrize(
    ("shape", "rules"),
    [
        (plan.Plan, plan.PLAN_RULES),
        *(
            (kind, config.RECIPE_RULES)
            for _, kind in sorted(vars(config).items())
            if isinstance(kind, type) and "Recipe" in _
        ),
    ],
)
def test_every_whole_setting_has_a_greatest_value(shape: Any, rules: dict[str, ValueRule]) -> None:
    assert dataclasses.is_dataclass(shape)
    endless = [
        key
        for key, value, rule in whole_settings(shape, rules)
        if not key.endswith("seed") and (rule is None or rule[0](value))
    ]
    assert endless == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a = " + "[" * 50_000, "nested too deep"),
        ("a" + ".a" * 20_000 + " = 1", "nested too deep"),
        ("[" + "a." * 20_000 + "a]", "nested too deep"),
        ("[draw]\nseed = " + "9" * 6000, "not valid TOML"),
        ("[draw]\nseed = " + "9" * 30, "64 bits"),
        ("[draw]\nseed = " + "1_0" * 1000, "64 bits"),
        ("[draw]\nmembers = 1_000_000_000", "100000"),
        ("[draw]\nsteps = 1_000_000_000", "1000"),
        ("[run]\nworkers = 1_000_000_000", "1024"),
    ],
)
def test_a_plan_without_end_is_refused(here: Path, text: str, what: str) -> None:
    Path("plan.toml").write_text(f'[input]\nfiles = ["coarse.nc"]\n{text}\n')
    refused("reconstruct plan.toml out", what)


def declared(sizes: dict[str, int], chunk: int) -> None:
    with netCDF4.Dataset("bad.nc", "w") as file:
        for name, size in sizes.items():
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,), chunksizes=(1,), fill_value=0.0)
        chunks = [min(chunk, size) for size in sizes.values()]
        file.createVariable("t2m", "f4", tuple(sizes), chunksizes=chunks).units = "K"


@pytest.mark.parametrize(
    ("sizes", "chunk", "what"),
    [
        ({"time": 1, "lat": 10**9, "lon": 10**9}, 1, "lat of bad.nc has 1,000,000,000 values"),
        ({"time": 10**12, "lat": 4, "lon": 4}, 1, "time of bad.nc has 1,000,000,000,000 values"),
    ],
)
def test_a_header_that_declares_more_than_memory_holds(
    here: Path, sizes: dict[str, int], chunk: int, what: str
) -> None:
    declared(sizes, chunk)
    refused("info bad.nc", what)


@pytest.mark.parametrize("kind", [2, 3])
def test_a_store_whose_chunks_do_not_fit_into_memory(here: Path, kind: int) -> None:
    coarse_world().to_zarr("bad.zarr", zarr_format=kind, consolidated=False)
    path = Path("bad.zarr/t2m", ".zarray" if kind == 2 else "zarr.json")
    said = json.loads(path.read_text())
    grid = said if kind == 2 else said["chunk_grid"]["configuration"]
    grid["chunks" if kind == 2 else "chunk_shape"] = [10**12, 8, 12]
    path.write_text(json.dumps(said))
    refused("info bad.zarr", r"A chunk of t2m of bad.zarr takes \d+\.\d TB", "header")


def test_members_that_do_not_fit_into_memory_are_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpdm.system.available_memory", lambda: 10**8)
    command = "downscale coarse.nc out.nc --prior prior.safetensors --steps 2 --members"
    refused(f"{command} 100000", "100000 members of one step take 6.1 GB", "fewer --members")
    refused("testbed lorenz63 out.nc --trajectories 64 --length 100000", "states take", "--length")
    done(*command.split(), "2")


def test_an_output_that_does_not_fit_on_the_disk_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    refused("lerp coarse.nc out.nc --factor 8", "out.nc would hold", "another disk")


def test_a_network_and_a_batch_that_do_not_fit_into_memory_are_refused(here: Path) -> None:
    train_on = "train fine.nc --out out.safetensors --factor 4 --config bad.toml"
    Path("bad.toml").write_text("[net]\nread = [16384, 16384, 16384]\ndepth = 64\n")
    refused(train_on, "weights and takes", "smaller network")
    Path("bad.toml").write_text("[train]\nbatch = 100000\ndraws = 100000\n")
    refused(train_on, "A step of the training takes", "smaller batch")


@pytest.mark.parametrize("name", ["a.nc", "a.csv", "a.toml", "a.geojson"])
def test_a_pipe_is_refused_at_once(here: Path, name: str) -> None:
    os.mkfifo(name)
    commands = {
        "a.nc": "lerp a.nc out.nc --factor 2",
        "a.csv": "assimilate a.csv out.nc --prior prior.safetensors --coarse coarse.nc",
        "a.toml": "reconstruct a.toml out",
        "a.geojson": "export fine.nc out.nc --variable t2m --mask a.geojson",
    }
    refused(commands[name], f"{name} is a pipe or a device", "Save it")
