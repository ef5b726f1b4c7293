"""Options with values that no machine serves or that mean nothing."""

from collections.abc import Iterator
from typing import Any

import click
import numpy as np

from benchmarks.hostile_inputs.case import Case, nothing
from benchmarks.hostile_inputs.netcdf import one_of
from dpdm_cli.main import main

COMMANDS = {
    "downscale": "coarse.nc out.nc --prior prior.safetensors --members 2 --steps 2",
    "assimilate": "stations.csv out.nc --prior prior.safetensors --coarse "
    "coarse.nc --members 2 --steps 2",
    "reconstruct": "plan.toml out",
    "status": "fine.nc",
    "train": "coarse.nc --out out.safetensors --factor 2 --config small.toml",
    "coarsen": "fine.nc out.nc --factor 2",
    "lerp": "coarse.nc out.nc --factor 2",
    "evaluate": "coarse.nc coarse.nc",
    "plot": "fine.nc out.png",
    "testbed": "lorenz63 out.nc --trajectories 2 --length 4",
    "observe": "fine.nc out.nc --config observe.toml",
    "perturb": "fine.nc out.nc --prior prior.safetensors --members 2",
    "embed": "fine.nc out.nc --prior prior.safetensors",
    "forecast": "fine.nc fine.nc out.nc --prior prior.safetensors",
    "export": "fine.nc out.nc --variable t2m",
    "info": "fine.nc",
}
NUMBERS = (
    "0", "-1", "1000000000", "1" + "0" * 18, "9" * 400, "9" * 6000, "nan", "inf", "-inf",
    "1e308", "1e-300", "two",
    "", "1.5", "\u0661",
)  # fmt: skip
TEXTS = (
    "", "=", "t2m=", "=t2m", "t2m=9**9**9 K", "tp=nan", "t2m=inf", "t2m=-1", "\x1b[31m",
    "x" * 100_000, "é", "\udcff",
    "nan,nan,nan,nan", "0,0,0,0", "100,140,20,inf", "-1e9,1e9,-90,90", "http://127.0.0.1:9/x",
    "/dev/zero",
    "probability>nan", "p101", "member=1000000000", "EPSG:999999999", "+proj=nothing",
    "2012-13..", "..", "9" * 300,
    "lat,lon", "nan,nan", "1e400,0", "t2m=t2m", ".", "/", "missing.nc", "%s%n{0}",
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield commands with options drawn at random, numbers before all."""
    found = [(name, option) for name in COMMANDS for option in main.commands[name].params]
    numeric = [pair for pair in found if is_number(pair[1])]
    texts = [pair for pair in found if is_text(pair[1])]
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        name, option = one_of(rng, numeric if number % 3 else texts)
        value = one_of(rng, NUMBERS if number % 3 else TEXTS)
        if (
            value.startswith("1000")
            and name in ("downscale", "perturb", "assimilate")
            and number % 2
        ):
            option = next(o for _, o in numeric if _ == name and o.name == "members")
        words = (name, *COMMANDS[name].split(), option.opts[0], value)
        yield Case("options", f"{name} {option.opts[0]}={value[:30]!r}", words, nothing)


def is_number(option: Any) -> bool:
    """Tell whether an option takes a number."""
    kinds = (
        click.IntRange,
        click.FloatRange,
        click.types.IntParamType,
        click.types.FloatParamType,
    )
    return (
        isinstance(option, click.Option) and isinstance(option.type, kinds) and not option.is_flag
    )


def is_text(option: Any) -> bool:
    """Tell whether an option takes a text or a file."""
    return isinstance(option, click.Option) and not option.is_flag and not is_number(option)
