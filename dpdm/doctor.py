"""Check what dpdm stands on, and say how to mend what is wrong."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from dpdm.diffusion.gaussian import Gaussian
from dpdm.diffusion.sample import SAMPLERS, levels
from dpdm.errors import DpdmError
from dpdm.prior import bundled, load

NEEDED = ("numpy", "scipy", "xarray", "netCDF4", "cftime", "dask", "zarr", "pint", "cf_xarray",
          "torch", "safetensors", "click", "rich")  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        found: What was found.
        well: Whether that is well.
        hint: How to mend it if not.
    """

    name: str
    found: str
    well: bool = True
    hint: str = ""


def examine() -> list[Check]:
    """Return all findings."""
    return [*packages(), *optional(), *devices(), mathematics(), *priors()]


def packages() -> Iterator[Check]:
    """Import each package that dpdm needs."""
    yield Check("python", f"{platform.python_version()} on {platform.platform()}")
    for name in NEEDED:
        try:
            importlib.import_module(name)
            yield Check(name, version(name))
        except (ImportError, PackageNotFoundError) as error:
            yield Check(name, f"cannot be imported ({error})", False, f"Run: pip install {name}")


def optional() -> Iterator[Check]:
    """Look for what only some inputs need."""
    try:
        yield Check("cfgrib", version("cfgrib"))
    except PackageNotFoundError:
        yield Check("cfgrib", "not installed; only needed to read GRIB (pip install cfgrib)")


def devices() -> Iterator[Check]:
    """List processors and GPUs."""
    yield Check(
        "processor", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    )
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("gpu", ", ".join(names))
    else:
        yield Check("gpu", "none seen by torch; everything runs on the processor")


def mathematics() -> Check:
    """Draw from a Gaussian whose mean and covariance are known, and compare."""
    cells = torch.arange(6.0, dtype=torch.float64)[:, None]
    exact = Gaussian(torch.linspace(-1, 1, 6).double(), torch.exp(-torch.cdist(cells, cells)))
    worst = max(map(error_against(exact), SAMPLERS))
    return Check(
        "self-test",
        f"the samplers' moments differ from a closed-form Gaussian's by {worst:.1e}",
        worst < 0.05,
        "Reinstall torch: pip install --force-reinstall torch",
    )


def error_against(exact: Gaussian) -> Callable[[str], float]:
    """Return the function that measures a sampler's error; its flow is affine, so exactly."""

    def error(name: str) -> float:
        def flow(z: torch.Tensor) -> torch.Tensor:
            noise = z.reshape(-1, 1, 1, 6)
            return SAMPLERS[name](exact, noise, levels(256, 0.01, 200.0)).flatten(1)

        mean = flow(torch.zeros(1, 6, dtype=torch.float64))
        root = flow(torch.eye(6, dtype=torch.float64)) - mean
        off = (mean[0] - exact.mean).abs().max(), (root.T @ root - exact.cov).abs().max()
        return float(max(off))

    return error


def priors() -> Iterator[Check]:
    """Load every bundled prior."""
    for name, path in bundled().items():
        try:
            load(path)
            yield Check(f"prior {name}", f"{path.stat().st_size / 1e6:.1f} MB, loads")
        except DpdmError as error:
            yield Check(f"prior {name}", error.what, False, "Reinstall dpdm.")
