"""What a member costs, in processor seconds, and what the paper's whole job would.

The public command is run with few and with many members, with one month and with more, and on half
of the cells: differences are the cost of a member, of a month and of a cell, without start-up.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import common
from benchmarks.common import Target, target
from benchmarks.draws import task_of
from dpdm.states.fields import FieldSpace

JOB = {"months": 2160, "members": 33, "cells": 400 * 700}
MEMBERS = {"multistep": (2, 14), "fast": (2, 122)}
MONTHS = 3
MATRIX = 1024


def bill(options: Namespace, year: Path, folder: Path) -> tuple[dict[str, Any], dict[str, Target]]:
    """Return the costs of ten steps and of the fast head, and of the job by each."""
    one, half = folder / "one.nc", folder / "half.nc"
    with xr.open_dataset(year) as fields:
        fields.isel(time=[0]).to_netcdf(one)
        fields.isel(time=[0], lon=slice(0, fields.sizes["lon"] // 2)).to_netcdf(half)
        fields.isel(time=slice(0, MONTHS)).to_netcdf(folder / "more.nc")
    found = {
        name: costs(options, name, (one, half, folder / "more.nc"), folder) for name in MEMBERS
    }
    found["network"] = network(task_of(one, options.prior))
    head = [*found["fast"]]
    rows = [(name, *found[name].values()) for name in MEMBERS]
    print(common.table(("sampler", *head), rows), "\n")
    print(common.table(("network", ""), found["network"].items()), "\n")
    ten, fast = found["multistep"], found["fast"]
    return {"bill": found}, {
        "ten steps over the fast head, s a member": target(
            ten["s a member"] / fast["s a member"], least=6.0
        ),
        "the paper's job by the fast head (core-hours)": target(fast["job, core-hours"], most=24),
        "half the cells over half the cost": target(fast["half the cells"], 0.8, 1.2),
        "a member of more months over one of one": target(fast["more months"], 0.8, 1.2),
    }


def costs(
    options: Namespace, sampler: str, files: tuple[Path, Path, Path], folder: Path
) -> dict[str, float]:
    """Return the processor seconds of a member and a month, and how they grow."""
    few, many = MEMBERS[sampler]

    def spent(coarse: Path, members: int) -> float:
        return common.dpdm(
            "downscale", coarse, folder / "out.nc", "--prior", options.prior, "--members", members,
            "--keep", "members", "--sampler", sampler, "--overwrite", "--climatology", "none",
        ).processor  # fmt: skip

    one, half, more = (
        (spent(path, few), (spent(path, many) - spent(path, few)) / (many - few)) for path in files
    )
    month = (more[0] - one[0]) / (MONTHS - 1) - few * one[1]
    cells = count_cells(task_of(files[0], options.prior))
    share = count_cells(task_of(files[1], options.prior)) / cells
    scale = JOB["cells"] / cells
    hours = scale * JOB["months"] * (JOB["members"] * one[1] + max(month, 0.0)) / 3600
    return {
        "s a member": one[1], "s a month without members": month,
        "half the cells": half[1] / one[1] / share, "more months": more[1] / one[1] / MONTHS,
        "job, core-hours": hours,
    }  # fmt: skip


def count_cells(space: FieldSpace) -> int:
    """Return the number of cells that are written."""
    return space.shown.shape[0] * space.shown.shape[1]


@torch.no_grad()
def network(space: FieldSpace) -> dict[str, float]:
    """Return the rate of one evaluation of the network, next to that of a matrix product."""
    posterior = space.posterior(0)
    features, extent = posterior.features[0], posterior.windows.extent
    x, sigma = torch.randn(1, len(posterior.base), *extent), torch.ones(1)

    def evaluate() -> None:
        space.prior.denoiser.moments(x, sigma, features)

    with FlopCounterMode(display=False) as counter:
        evaluate()
    a = torch.randn(MATRIX, MATRIX)
    seconds, product = fastest(evaluate), fastest(lambda: a @ a)
    return {
        "s an evaluation": seconds,
        "GFLOP/s": counter.get_total_flops() / seconds / 1e9,
        "GFLOP/s of a matrix product": 2 * MATRIX**3 / product / 1e9,
    }


def fastest(call: Callable[[], object]) -> float:
    """Return the least processor seconds of five calls."""
    took = []
    for _ in range(5):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
    return min(took)
