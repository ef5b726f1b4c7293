"""Check the installation, the devices, the samplers and the bundled priors."""

from __future__ import annotations

import importlib
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median

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
class Check:
    """The result of one check.

    Attributes:
        name: Subject of the check.
        detail: The result.
        passed: Whether the check passed.
        hint: How to fix a failure.
    """

    name: str
    detail: str
    passed: bool = True
    hint: str = ""


def run_checks() -> list[Check]:
    """Run all checks."""
    return [
        *check_packages(),
        *check_optional_packages(),
        *list_devices(),
        check_sampler_accuracy(),
        *check_bundled_priors(),
    ]


def check_packages() -> Iterator[Check]:
    """Import each required package."""
    yield Check("python", f"{platform.python_version()} on {platform.platform()}")
    for name in REQUIRED_PACKAGES:
        try:
            importlib.import_module(name)
            yield Check(name, version(name))
        except (ImportError, PackageNotFoundError) as error:
            yield Check(name, f"cannot be imported ({error})", False, f"Run: pip install {name}")


def check_optional_packages() -> Iterator[Check]:
    """Check the optional packages."""
    try:
        yield Check("cfgrib", version("cfgrib"))
    except PackageNotFoundError:
        yield Check("cfgrib", "not installed; only needed to read GRIB (pip install cfgrib)")


def list_devices() -> Iterator[Check]:
    """List processors and GPUs."""
    yield check_threads()
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Check("gpu", ", ".join(names))
    else:
        yield Check("gpu", "none available to torch; everything runs on the processor")


def check_threads() -> Check:
    """Measure whether the threads of torch help, which on a busy machine they do not."""
    threads = torch.get_num_threads()
    seconds = {count: time_convolutions(count) for count in {1, threads}}
    ratio, load = seconds[1] / seconds[threads], os.getloadavg()[0]
    return Check("processor", describe_threads(threads, os.cpu_count() or 1, load, ratio))


def time_convolutions(threads: int) -> float:
    """Return the median seconds of a convolution like those of a network, by some threads."""
    before, weights = torch.get_num_threads(), torch.ones(64, 64, 3, 3)
    fields, seconds = torch.ones(2, 64, 64, 64), []
    torch.set_num_threads(threads)
    try:
        for _ in range(6):
            start = time.perf_counter()
            torch.nn.functional.conv2d(fields, weights)
            seconds.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    return median(seconds)


def describe_threads(threads: int, processors: int, load: float, ratio: float) -> str:
    """Return threads and processors, and how much faster than one thread they are now.

    Example:
        >>> describe_threads(2, 2, 0.1, 1.9)
        '2 cores at a load of 0.1; torch uses 2 threads, 1.9 times as fast as one now'
        >>> describe_threads(2, 2, 5.0, 0.5)
        '2 cores at a load of 5.0; torch uses 2 threads, 0.5 times as fast as one now: set ...'
    """
    cores = f"{processors} cores at a load of {load:.1f}; torch uses"
    if threads == 1:
        return f"{cores} 1 thread"
    advice = ": set OMP_NUM_THREADS=1 while others use the machine" if ratio < 1 else ""
    return f"{cores} {threads} threads, {ratio:.1f} times as fast as one now{advice}"


def check_sampler_accuracy() -> Check:
    """Compare samples of a Gaussian with its known mean and covariance."""
    cells = torch.arange(6.0, dtype=torch.float64)[:, None]
    exact = Gaussian(torch.linspace(-1, 1, 6).double(), torch.exp(-torch.cdist(cells, cells)))
    convergent = [name for name, method in SAMPLERS.items() if method.order]
    error = max(map(sampler_error_function(exact), convergent))
    return Check(
        "self-test",
        f"the moments of sampled fields differ from those of a Gaussian by {error:.2g}",
        error < 0.05,
        "Reinstall torch: pip install --force-reinstall torch",
    )


def sampler_error_function(exact: Gaussian) -> Callable[[str], float]:
    """Return a function of the exact error of a sampler, whose flow is affine."""

    def error(name: str) -> float:
        def flow(z: torch.Tensor) -> torch.Tensor:
            noise = z.reshape(-1, 1, 1, 6)
            return SAMPLERS[name](exact, noise, karras_levels(256, 0.01, 200.0)).flatten(1)

        mean = flow(torch.zeros(1, 6, dtype=torch.float64))
        root = flow(torch.eye(6, dtype=torch.float64)) - mean
        errors = (mean[0] - exact.mean).abs().max(), (root.T @ root - exact.cov).abs().max()
        return float(max(errors))

    return error


def check_bundled_priors() -> Iterator[Check]:
    """Load every bundled prior."""
    for name, path in list_bundled_priors().items():
        try:
            load_prior(path)
            yield Check(f"prior {name}", f"{path.stat().st_size / 1e6:.1f} MB, loads")
        except DpdmError as error:
            yield Check(f"prior {name}", error.what, False, "Reinstall dpdm.")
