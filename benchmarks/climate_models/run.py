"""Downscale files that nobody here made, with the public command, as they are.

- ``A1B_north_america.nc`` and ``E1_north_america.nc`` (Met Office, iris-sample-data): 240 annual
  means of 1.5 m temperature, 1860-2099, on a 360-day calendar, 1.25 by 1.875 degrees, one
  variable of the prior's two. What should happen: exit 0; the area mean stays; over the Rockies
  what is added follows the elevation detail, colder above the smooth relief; over the open sea
  nothing is added; the trend passes undamped.
- ``glosea4.nc``: six monthly means of a global forecast, poles and date line included, of the
  temperature of the surface, which the user declares to be meant by ``--var``.

Ratios and correlations are of ``--mean``. Elevation detail is the altitude minus the lerp of its
means over coarse cells; open sea is all cells with no land within five degrees.
"""

import tempfile
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy.ndimage import maximum_filter

from benchmarks import common
from benchmarks.common import Target, target
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.regrid import average_conservative, interpolate_bilinear
from dpdm.fields.statics import make_statics

ROCKIES = (235.0, 257.0, 33.0, 58.0)  # west, east, south, north
MARGIN = 5.0  # degrees of sea around every cell of open sea
YEARS = 30  # at either end, whose difference is the trend
FILES: dict[str, tuple[str, ...]] = {
    "A1B_north_america.nc": (),
    "E1_north_america.nc": (),
    "glosea4.nc": ("--var", "t2m=surface_temperature"),
}


LABELS = {
    "seconds": "seconds",
    "steps": "steps",
    "correlation": "correlation with the elevation detail, mean of steps",
    "correlation_least": "... least",
    "correlation_greatest": "... greatest",
    "sea_rms": "RMS added on the open sea (K)",
    "land_rms": "RMS added elsewhere (K)",
    "cells_rms": "RMS moved, means over coarse cells (K)",
    "cells_rms_lerp": "... by a mere lerp (K)",
    "area_mean": "moved at most, mean over the area (K)",
    "warming": "warming, last 30 years less first 30 (K)",
    "warming_kept": "share of it kept",
}


def main() -> None:
    """Downscale each file, print what was added where."""
    parser = common.parser(__doc__)
    parser.add_argument("--steps", type=int, help="of each file, evenly spread  [default: all]")
    parser.add_argument("--file", choices=FILES, help="one of the files  [default: all]")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    targets: dict[str, Target] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in [options.file] if options.file else FILES:
            found = judge(options, Path(folder), name)
            figures[name] = found
            targets |= {f"{Path(name).stem}: {k}": t for k, t in wanted(found).items()}
    rows = [
        (label, *(f.get(what, "-") for f in figures.values())) for what, label in LABELS.items()
    ]
    print(common.table(("", *figures), rows))
    common.close("climate_models", figures, targets)


def judge(options: Namespace, folder: Path, name: str) -> dict[str, float]:
    """Downscale a file and return what was added, where."""
    source = thinned(common.needed(options.build / name), options.steps, folder)
    out = folder / f"fine_{name}"
    words = ("downscale", source, out, "--prior", options.prior, "--mean", *FILES[name])
    ran = common.dpdm(*words)
    rename = dict(word.split("=") for word in FILES[name][1:])
    coarse, fine = (open_fields(p, None, r)[["t2m"]] for p, r in ((source, rename), (out, {})))
    case = Case(coarse.compute()["t2m"], fine.compute()["t2m"])
    return {"seconds": ran.seconds, "steps": float(len(case.fine)), **case.figures()}


def thinned(source: Path, steps: int | None, folder: Path) -> Path:
    """Return the file, or one with so many of its steps."""
    if steps is None:
        return source
    path = folder / source.name
    with xr.open_dataset(source) as file:
        some = np.unique(np.linspace(0, file.sizes["time"] - 1, steps).astype(int))
        file.isel(time=some).to_netcdf(path)
    return path


@dataclass
class Case:
    """Temperatures before and after.

    Attributes:
        coarse: The file's field (T, h, w).
        fine: What dpdm made of it (T, H, W).
    """

    coarse: xr.DataArray
    fine: xr.DataArray

    def figures(self) -> dict[str, float]:
        """Return all numbers."""
        grid = grid_of(self.fine)
        ground = make_statics(grid)
        added = (
            self.fine.values
            - interpolate_bilinear(self.coarse.to_dataset(name="t"), grid)["t"].values
        )
        sea = open_sea(ground["land_fraction"].values, grid)
        found = {
            "sea_rms": float(np.sqrt((grid.weights * added**2)[:, sea].mean())),
            "land_rms": float(np.sqrt((grid.weights * added**2)[:, ~sea].mean())),
        }
        return found | self.relief(added, ground) | self.kept() | self.trend()

    def relief(self, added: Array, ground: xr.Dataset) -> dict[str, float]:
        """Return the correlation over the Rockies of what was added with the elevation detail."""
        grid = grid_of(self.fine)
        height = ground[["topography"]]
        smooth = interpolate_bilinear(average_conservative(height, grid_of(self.coarse)), grid)
        detail = (height - smooth)["topography"].values
        at = inside(grid, ROCKIES)
        each = [correlation(step[at], detail[at], grid.weights[at]) for step in added]
        return {
            "correlation": float(np.mean(each)),
            "correlation_least": min(each),
            "correlation_greatest": max(each),
        }

    def kept(self) -> dict[str, float]:
        """Return how far means over coarse cells, and over the area, moved."""
        grid = grid_of(self.coarse)
        lerped = interpolate_bilinear(self.coarse.to_dataset(name="t"), grid_of(self.fine))["t"]
        moved, by_lerp = (
            average_conservative(f.to_dataset(name="t"), grid)["t"].values
            - self.coarse.values.astype(float)
            for f in (self.fine, lerped)
        )
        return {
            "cells_rms": float(np.sqrt((grid.weights * moved**2).mean())),
            "cells_rms_lerp": float(np.sqrt((grid.weights * by_lerp**2).mean())),
            "area_mean": float(np.abs((grid.weights * moved).mean((1, 2))).max()),
        }

    def trend(self) -> dict[str, float]:
        """Return the warming between both ends of a long series, and its share that is kept."""
        if len(self.fine) < 2 * YEARS:
            return {}
        before, after = (warming(f) for f in (self.coarse, self.fine))
        return {"warming": before, "warming_kept": after / before}


def warming(fields: xr.DataArray) -> float:
    """Return the area mean of the last years less that of the first."""
    change = fields[-YEARS:].mean("time", dtype=float) - fields[:YEARS].mean("time", dtype=float)
    return float((grid_of(fields).weights * change.values).mean())


def open_sea(land: Array, grid: Grid) -> Any:
    """Tell which cells have no land within the margin."""
    size = [2 * round(MARGIN / d) + 1 for d in grid.spacing]
    mode = ["nearest", "wrap" if grid.cyclic else "nearest"]
    return maximum_filter(land, size, mode=mode) == 0


def inside(grid: Grid, box: tuple[float, float, float, float]) -> Any:
    """Tell which cells lie in a box."""
    west, east, south, north = box
    lon = (grid.lon % 360 >= west) & (grid.lon % 360 <= east)
    return ((grid.lat >= south) & (grid.lat <= north))[:, None] & lon


def correlation(a: Array, b: Array, weights: Array) -> float:
    """Return the weighted correlation of two lists of cells.

    Example:
        >>> correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 2.0, 7.0]), np.array([1, 1, 0]))
        -1.0
    """
    a, b = (x - np.average(x, weights=weights) for x in (a, b))
    scale = np.sqrt(np.average(a**2, weights=weights) * np.average(b**2, weights=weights))
    return float(np.average(a * b, weights=weights) / scale)


def wanted(found: dict[str, float]) -> dict[str, Target]:
    """Return what should happen."""
    targets = {
        "correlation over the Rockies": target(found["correlation_greatest"], most=-0.7),
        "RMS added on the open sea (K)": target(found["sea_rms"], most=0.1),
        "area mean moved (K)": target(found["area_mean"], most=0.05),
    }
    if "warming_kept" in found:
        targets["warming kept"] = target(found["warming_kept"], 0.99, 1.01)
    return targets


if __name__ == "__main__":
    main()
