"""Time and memory of one evaluation, with each guidance and without.

The bundled prior on the 2.5 degree East Asia file, one month at 0.25 degree, and two values at
each of so many places all over it. Milliseconds are the median over evaluations, in CPU time of
one thread, without what is computed once for all members; memory is the peak of a process of its
own, less that of one that evaluates nothing.
"""

import resource
import subprocess
import sys
import time
from dataclasses import replace
from statistics import median

import numpy as np
import torch

from benchmarks import common
from benchmarks.draws import task_of
from dpdm.diffusion.guidance import Guide, Observation, dps, mmps, sda, static_covariance
from dpdm.operators.geometry import globe_layout
from dpdm.operators.interpolation import point_operator
from dpdm.operators.linear import apply_per_channel
from dpdm.states.field_posterior import Posterior
from dpdm.states.fields import FieldSpace
from dpdm.types import Denoise

GUIDES: dict[str, Guide | None] = {
    "none": None, "law": static_covariance, "sda": sda, "mmps": mmps, "dps": dps
}  # fmt: skip
HEAD = ("guidance", "ms an evaluation", "over none", "MB")


def main() -> None:
    """Print the table, or what one guidance takes."""
    parser = common.parser(__doc__)
    parser.add_argument("--places", type=int, default=100)
    parser.add_argument("--evaluations", type=int, default=7)
    parser.add_argument("--only", choices=[*GUIDES, "nothing"])
    options = parser.parse_args()
    if options.only:
        print(*one(options.only, options.prior, options.places, options.evaluations))
        return
    found = {name: child(name) for name in ("nothing", *GUIDES)}
    bare, empty = found["none"][0], found.pop("nothing")[1]
    rows = [(name, ms, ms / bare, size - empty) for name, (ms, size) in found.items()]
    print(common.table(HEAD, rows))
    ratio = found["sda"][0] / bare
    common.close(
        "guidance_cost",
        {name: [ms, size - empty] for name, (ms, size) in found.items()},
        {"sda over none": common.target(ratio, most=2.5)},
    )


def child(name: str) -> tuple[float, float]:
    """Return milliseconds and megabytes of one guidance, measured in a process of its own."""
    command = [*common.this_benchmark(), *sys.argv[1:], "--only", name]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    ms, size = map(float, ran.stdout.split())
    return ms, size


def one(name: str, prior: str, places: int, count: int) -> tuple[float, float]:
    """Return milliseconds of an evaluation and the peak of memory, in MB."""
    torch.set_num_threads(1)
    space = task_of(common.COARSE, prior)
    posterior = space.posterior(0)
    took = 0.0 if name == "nothing" else timed(bound(posterior, space, name, places), space, count)
    return took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def bound(posterior: Posterior, space: FieldSpace, name: str, places: int) -> Denoise:
    """Return the denoiser under a guidance."""
    guide = GUIDES[name]
    if guide is None:
        return posterior.denoise(space.sampler)
    rng = np.random.default_rng(0)
    lat, lon = (
        rng.uniform(axis[1], axis[-2], places) for axis in (space.grid.lat, space.grid.lon)
    )
    local = apply_per_channel(
        point_operator(globe_layout(space.grid.lat, space.grid.lon), lat, lon)
    )
    value = local(posterior.physical(posterior.prior_moment(0)).detach()).flatten()
    seen = Observation(lambda x: local(x).flatten(1), value + 1, torch.ones_like(value))
    sampler = replace(space.sampler, guide=guide)
    return posterior.denoise(sampler, posterior.observation_of_x(seen))


def timed(denoise: Denoise, space: FieldSpace, count: int) -> float:
    """Return the milliseconds of an evaluation at a middling noise level."""
    x, sigma = torch.randn(1, len(space.prior.normaliser.names), *space.grid.shape), torch.ones(1)
    took = []
    for _ in range(count + 1):
        began = time.process_time()
        with torch.no_grad():
            denoise(x, sigma)
        took.append(time.process_time() - began)
    return 1000 * median(took[1:])


if __name__ == "__main__":
    main()
