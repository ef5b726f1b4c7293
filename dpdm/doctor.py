"""Check what dpdm stands on, and say how to mend what is wrong."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from dpdm.diffusion.denoise import Gaussian
from dpdm.diffusion.noise import karras_levels
from dpdm.diffusion.sample import SAMPLERS
from dpdm.errors import DpdmError
from dpdm.prior import list_bundled_priors, load_prior

REQUIRED_PACKAGES = ("numpy", "scipy", "xarray", "netCDF4", "cftime", "dask", "zarr", "pint",
"cf_xarray",
          "torch", "safetensors", "click", "rich")  # fmt: skip


@dataclass(frozen=True)
class DoctorFinding:
    """One finding.

    Attributes:
        name: What was looked at.
        detail: What was found.
        passed: Whether that is well.
        hint: How to mend it if not.
    """

    name: str
    detail: str
    passed: bool = True
    hint: str = ""


def run_checks() -> list[DoctorFinding]:
    """Return all findings."""
    return [
        *check_packages(),
        *check_optional_packages(),
        *list_devices(),
        check_sampler_accuracy(),
        *check_bundled_priors(),
    ]


def check_packages() -> Iterator[DoctorFinding]:
    """Import each package that dpdm needs."""
    yield DoctorFinding("python", f"{platform.python_version()} on {platform.platform()}")
    for name in REQUIRED_PACKAGES:
        try:
            importlib.import_module(name)
            yield DoctorFinding(name, version(name))
        except (ImportError, PackageNotFoundError) as error:
            yield DoctorFinding(
                name, f"cannot be imported ({error})", False, f"Run: pip install {name}"
            )


def check_optional_packages() -> Iterator[DoctorFinding]:
    """Look for what only some inputs need."""
    try:
        yield DoctorFinding("cfgrib", version("cfgrib"))
    except PackageNotFoundError:
        yield DoctorFinding(
            "cfgrib", "not installed; only needed to read GRIB (pip install cfgrib)"
        )


def list_devices() -> Iterator[DoctorFinding]:
    """List processors and GPUs."""
    yield DoctorFinding(
        "processor", f"{os.cpu_count()} cores, torch uses {torch.get_num_threads()} threads"
    )
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield DoctorFinding("gpu", ", ".join(names))
    else:
        yield DoctorFinding("gpu", "none seen by torch; everything runs on the processor")


def check_sampler_accuracy() -> DoctorFinding:
    """Draw from a Gaussian whose mean and covariance are known, and compare."""
    cells = torch.arange(6.0, dtype=torch.float64)[:, None]
    exact = Gaussian(torch.linspace(-1, 1, 6).double(), torch.exp(-torch.cdist(cells, cells)))
    worst = max(map(sampler_error_function(exact), SAMPLERS))
    return DoctorFinding(
        "self-test",
        f"the samplers' moments differ from a closed-form Gaussian's by {worst:.1e}",
        worst < 0.05,
        "Reinstall torch: pip install --force-reinstall torch",
    )


def sampler_error_function(exact: Gaussian) -> Callable[[str], float]:
    """Return the function that measures a sampler's error; its flow is affine, so exactly."""

    def error(name: str) -> float:
        def flow(z: torch.Tensor) -> torch.Tensor:
            noise = z.reshape(-1, 1, 1, 6)
            return SAMPLERS[name](exact, noise, karras_levels(256, 0.01, 200.0)).flatten(1)

        mean = flow(torch.zeros(1, 6, dtype=torch.float64))
        root = flow(torch.eye(6, dtype=torch.float64)) - mean
        off = (mean[0] - exact.mean).abs().max(), (root.T @ root - exact.cov).abs().max()
        return float(max(off))

    return error


def check_bundled_priors() -> Iterator[DoctorFinding]:
    """Load every bundled prior."""
    for name, path in list_bundled_priors().items():
        try:
            load_prior(path)
            yield DoctorFinding(f"prior {name}", f"{path.stat().st_size / 1e6:.1f} MB, loads")
        except DpdmError as error:
            yield DoctorFinding(f"prior {name}", error.what, False, "Reinstall dpdm.")
