"""Time the public command, and see how far it is from bare network calls and from the paper.

- ``command``: ``dpdm downscale`` of the bundled East Asia file in a process of its own, start-up,
  reading and writing included, against the bare network calls that it cannot do without: the same
  windows, batches and noise levels, called in a loop and nothing else. Overhead is the rest.
- ``paper``: the published procedure (25 DDIM steps on a cosine schedule, windows that touch, each
  finished on its own, not inflated) with the same network, conditions, noise and cached features,
  so only the procedure differs. Times are those of drawing alone; CRPS is fair, over lerp's mean
  absolute error.
- ``memory``: greatest resident memory of the command for 1 and 33 members of 12 and of 120 months
  (the file ten times over). Memory does not depend on the number of noise levels: there are two.

- ``bill``: processor seconds of a member by ten steps and by the fast head, how they grow with
  members, months and cells, and the core-hours of the paper's whole job (`benchmarks.speed.bill`).

Everything runs on the threads that torch takes; set OMP_NUM_THREADS to choose. ``--only`` runs one
part. The command of 33 members takes minutes, the memory of 33 members and 120 months too.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from benchmarks import common
from benchmarks.common import Target, target
from benchmarks.draws import Array, draw, evaluations, labelled, schedule, task_of, touching
from benchmarks.speed.bill import bill
from dpdm.evaluate import evaluate
from dpdm.fields.read import open_fields
from dpdm.prior.variable_spec import count_conditioning_channels
from dpdm.states.field_posterior import Posterior
from dpdm.states.fields import FieldSpace

Found = tuple[dict[str, Any], dict[str, Target]]
PAPER = ("ddim", 25)
MEMBERS = 11
METHOD = f"ensemble of {MEMBERS}"
SIZES, LENGTHS = (1, 33), (12, 120)


def main() -> None:
    """Run the parts that are asked for."""
    parser = common.parser(__doc__)
    parser.add_argument("--only", choices=PARTS, help="run one part")
    parser.add_argument("--members", type=int, default=33, help="of the part command")
    parser.add_argument("--months", type=int, default=12, help="of the parts command and paper")
    options = parser.parse_args()
    figures: dict[str, Any] = {"threads": torch.get_num_threads()}
    targets: dict[str, Target] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.only] if options.only else PARTS:
            found, wanted = PARTS[name](options, Path(folder))
            figures, targets = figures | found, targets | wanted
    common.close("speed", figures, targets)


def command(options: Namespace, folder: Path) -> Found:
    """Time the command against the network calls that it makes."""
    coarse = months_of(folder, options.months)
    space = task_of(coarse, options.prior)
    whole = common.dpdm(
        "downscale", coarse, folder / "members.nc", "--prior", options.prior,
        "--members", options.members, "--keep", "members", "--sampler", space.sampler.sampler,
    )  # fmt: skip
    calls, bare = calls_of(space, options.members), bare_calls(space, options.members)
    least, months = bare * len(space.steps), options.members * len(space.steps)
    found = {
        "seconds_per_member_month": whole.seconds / months,
        "evaluations_per_second": calls * len(space.steps) / whole.seconds,
        "command_seconds": whole.seconds,
        "bare_seconds": least,
        "overhead": whole.seconds / least - 1,
    }
    print(common.table(("command", ""), found.items()), "\n")
    return found, {"overhead of the command": target(found["overhead"], most=0.15)}


def months_of(folder: Path, count: int) -> Path:
    """Write the bundled coarse file with so many months, over and over from its first."""
    path = folder / f"coarse_{count}.nc"
    with xr.open_dataset(common.COARSE) as year:
        fields = year.isel(time=np.arange(count) % year.sizes["time"]).load()
    first = np.arange(count) + np.datetime64("2012-01", "M")
    middle = first.astype("datetime64[D]") + np.timedelta64(14, "D")
    fields.assign_coords(time=middle.astype("datetime64[ns]")).to_netcdf(path)
    return path


def calls_of(space: FieldSpace, members: int) -> int:
    """Count the evaluations of the whole domain that a step's members take."""
    falling = schedule(space, space.sampler.sampler, space.sampler.steps)
    return members * evaluations(space.sampler.sampler, falling)


def bare_calls(space: FieldSpace, members: int) -> float:
    """Return the seconds of one step's network calls, the median of three."""
    posterior = space.posterior(0)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        call(space, posterior, members)
        took.append(time.perf_counter() - began)
    return float(np.median(took))


@torch.no_grad()
def call(space: FieldSpace, posterior: Posterior, members: int) -> None:
    """Read the conditions of each window, then evaluate each, as often as the members need."""
    network, device = space.prior.denoiser, space.sampler.device
    height, width = posterior.windows.extent
    channels = count_conditioning_channels(posterior.base.shape[0], space.prior.takes_reference)
    given = torch.randn(1, channels, height, width, device=device)
    features = [network.features(given) for _ in posterior.windows.window_slices()]
    falling = schedule(space, space.sampler.sampler, space.sampler.steps)
    for first in range(0, members, space.sampler.block):
        count = min(space.sampler.block, members - first)
        x = torch.randn(count, posterior.base.shape[0], height, width, device=device)
        sigma = torch.ones(count, device=device)
        for _ in range(evaluations(space.sampler.sampler, falling)):
            for each in features:
                network.moments(x, sigma, each)


def paper(options: Namespace, folder: Path) -> Found:
    """Draw the same members by dpdm's procedure and by the published one."""
    space = task_of(common.COARSE, options.prior)
    steps = range(min(options.months, len(space.steps)))
    truth, coarse = (open_fields(p).compute() for p in (common.TRUTH, common.COARSE))
    found: dict[str, Any] = {}
    for name, way in WAYS.items():
        began = time.perf_counter()
        drawn = [way(space, step) for step in steps]
        took = time.perf_counter() - began
        rows = evaluate(labelled(space, steps, drawn), truth, coarse).rows
        ratios = {r["variable"]: r["crps_ratio"] for r in rows if r["method"] == METHOD}
        found[name] = {"seconds": took / len(steps) / MEMBERS, **ratios}
    print(
        common.table(("procedure", *found["paper"]), [(n, *f.values()) for n, f in found.items()]),
        "\n",
    )
    ours, theirs = found["dpdm"], found["paper"]
    wanted = {"times as fast as the paper": target(theirs["seconds"] / ours["seconds"], least=2.0)}
    wanted |= {
        f"{v} CRPS over the paper's": target(ours[v] / theirs[v], most=1.0)
        for v in ours
        if v != "seconds"
    }
    return {"procedures": found}, wanted


def fused(space: FieldSpace, step: int) -> Array:
    """Draw one month's members (M, C, H, W) by dpdm's own procedure."""
    denoise = space.posterior(step).denoise(space.sampler)
    return draw(space, step, denoise, range(MEMBERS), space.sampler.sampler, space.sampler.steps)


def stitched(space: FieldSpace, step: int) -> Array:
    """Draw the same members as published: DDIM, each window finished on its own."""
    denoise = touching(
        space.prior, space.conditioning(step), replace(space.sampler, inflation=1.0)
    )
    return draw(space, step, denoise, range(MEMBERS), *PAPER)


def memory(options: Namespace, folder: Path) -> Found:
    """Measure the memory of the command for few and many members and months."""
    found = {}
    for members, months in product(SIZES, LENGTHS):
        out = folder / "out.nc"
        ran = common.dpdm(
            "downscale", months_of(folder, months), out, "--prior", options.prior,
            "--members", members, "--steps", 2, "--keep", "members", "--overwrite",
        )  # fmt: skip
        found[members, months] = ran.megabytes
        print(f"{members} members, {months} months: {ran.megabytes:.0f} MB", flush=True)
        out.unlink()
    (few, many), (year, decade) = SIZES, LENGTHS
    longer = max(found[m, decade] / found[m, year] for m in SIZES)
    more = max(found[many, n] / found[few, n] for n in LENGTHS)
    return {"megabytes": {f"{m} members, {n} months": v for (m, n), v in found.items()}}, {
        "greatest memory (MB)": target(max(found.values()), most=1500),
        "memory of 120 months over 12": target(longer, most=1.1),
        "memory of 33 members over 1": target(more, most=1.1),
    }


def whole_bill(options: Namespace, folder: Path) -> Found:
    """Measure what a member costs, by ten steps and by the fast head."""
    return bill(options, months_of(folder, 12), folder)


WAYS: dict[str, Callable[[FieldSpace, int], Array]] = {"dpdm": fused, "paper": stitched}
PARTS: dict[str, Callable[[Namespace, Path], Found]] = {
    "command": command, "paper": paper, "memory": memory, "bill": whole_bill,
}  # fmt: skip

if __name__ == "__main__":
    main()
