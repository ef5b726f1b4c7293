"""Names of choices in options, without the import of their implementations.

Each list has the names of a registry (`dpdm.diffusion.sample.SAMPLERS` and others), so that
``--help`` imports no further libraries. A new entry of a registry adds its name here. An installed
package can add entries by a module that registers them when it is imported:

    [project.entry-points."dpdm.plugins"]
    mine = "mypackage.dpdm"
"""

from __future__ import annotations

from functools import cache

from dpdm.errors import DpdmError

FAST = "fast"  # the sampler that draws a member in one evaluation of a head of its own
SAMPLERS = ["heun", "multistep", "ddim", FAST]
SCHEDULES = ["karras", "cosine"]
TRANSFORMS = ["identity", "log1p", "log"]
GUIDANCES = ["sda", "mmps", "law", "dps"]
LAYOUTS = ["netcdf-yearly", "zarr"]
KEPT = ["members", "stats", "all"]
CLIMATOLOGIES = ["era5", "none"]
ADJUSTMENT_METHODS = ["anomalies", "quantile", "mean"]
ADJUSTMENTS = ["none", *reversed(ADJUSTMENT_METHODS)]
QC_LEVELS = ["all", "basic", "none"]
DEVICES = ["auto", "cpu", "cuda"]
SYSTEMS = ["lorenz63", "kolmogorov", "speedy"]
PICTURES = ["map", "compare", "members", "spread", "series", "rank", "spectrum", "trend", "obs",
            "profile", "section"]  # fmt: skip
PLUGINS = "dpdm.plugins"


def add_choice(names: list[str], name: str) -> None:
    """Add a name, if it is not yet in the list."""
    if name not in names:
        names.append(name)


@cache
def load_plugins() -> None:
    """Import the plug-in modules of installed packages, which register new entries."""
    from importlib.metadata import entry_points

    for point in entry_points(group=PLUGINS):
        try:
            point.load()
        except Exception as error:  # of any kind, by the package's code
            raise DpdmError(
                f"The plug-in {point.name} ({point.value}) cannot be imported: {error}.",
                "Correct or uninstall the package that announces it.",
            ) from error
