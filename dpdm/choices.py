"""The words that users choose from, known before what they stand for is imported.

Each list has the names of a registry, so that ``--help`` needs none of the libraries behind it:
`dpdm.diffusion.sample.SAMPLERS` and so on. What registers one more adds its name here. A package
may do so from outside: it announces a module, which registers things when it is imported, as

    [project.entry-points."dpdm.plugins"]
    mine = "mypackage.dpdm"
"""

from __future__ import annotations

from functools import cache

from dpdm.errors import DpdmError

SAMPLERS = ["heun", "multistep", "ddim"]
SCHEDULES = ["karras", "cosine"]
GUIDANCES = ["sda", "mmps", "law", "dps"]
LAYOUTS = ["netcdf-yearly", "zarr"]
KEPT = ["members", "stats", "all"]
ADJUSTMENTS = ["none", "mean", "quantile"]
DEVICES = ["auto", "cpu", "cuda"]
SYSTEMS = ["lorenz63", "kolmogorov", "speedy"]
PICTURES = ["map", "compare", "members", "spread", "series", "rank", "spectrum", "trend", "obs",
            "profile", "section"]  # fmt: skip
PLUGINS = "dpdm.plugins"


def add_choice(names: list[str], name: str) -> None:
    """Add the name of what is registered, once."""
    if name not in names:
        names.append(name)


@cache
def load_plugins() -> None:
    """Import the modules that installed packages announce, which register what they add."""
    from importlib.metadata import entry_points

    for point in entry_points(group=PLUGINS):
        try:
            point.load()
        except Exception as error:  # whatever a stranger's module does when imported
            raise DpdmError(
                f"The plug-in {point.name} ({point.value}) cannot be imported: {error}.",
                "Correct or uninstall the package that announces it.",
            ) from error
