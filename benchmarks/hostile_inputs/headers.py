"""Forged priors for every command that takes one; `priors` forges more of each kind."""

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from benchmarks.hostile_inputs.case import Case
from tests.helpers.forged_headers import containers, forge, forgeries, said_of, worst

READERS = (
    "info bad.safetensors",
    "downscale coarse.nc out.nc --prior bad.safetensors --mean",
    "downscale coarse.nc out.nc --prior bad.safetensors --members 2",
    "assimilate stations.csv out.nc --prior bad.safetensors --coarse coarse.nc --members 2",
    "perturb fine.nc out.nc --prior bad.safetensors --members 2",
    "embed fine.nc out.nc --prior bad.safetensors",
)


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield forged priors."""
    for number in range(count):
        make = damaged if number % 6 == 5 else forged
        words = READERS[(number // 6 + number) % len(READERS)]
        yield Case("prior", f"{make.__name__} {number}", tuple(words.split()), make, seed + number)


def forged(rng: np.random.Generator) -> None:
    """Give the header values that cannot be, or change some by chance."""
    prior = Path("prior.safetensors")
    header = said_of(prior)
    found = list(chain(worst(header), islice(forgeries(header, int(rng.integers(2**31))), 50)))
    forge(prior, found[int(rng.integers(len(found)))][1], Path("bad.safetensors"))


def damaged(rng: np.random.Generator) -> None:
    """Damage the container."""
    found = list(containers(Path("prior.safetensors")))
    Path("bad.safetensors").write_bytes(found[int(rng.integers(len(found)))][1])
