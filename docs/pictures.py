"""Draw the README's picture from what `make demo` wrote (needs matplotlib)."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt

from dpdm.fields.grid import grid_of
from dpdm.fields.statics import statics
from dpdm.fields.store import open_fields

ROOT = Path(__file__).parent.parent
ROWS = (
    ("t2m", 0, "January temperature (°C)", "viridis", (-35, 27)),
    ("tp", 6, "July precipitation (mm/month)", "YlGnBu", (0, 500)),
)


def panels(name: str, month: int) -> dict[str, xr.DataArray]:
    """Return what stands side by side."""
    coarse = open_fields(ROOT / "sample_data" / "east_asia_coarse.nc")
    truth = open_fields(ROOT / "sample_data" / "east_asia_fine.nc")
    members = open_fields(ROOT / "build" / "east_asia.nc")
    both = {
        "coarse, 2.5°": coarse[name],
        "one member, 0.25°": members[name].isel(realization=0),
        "mean of 20 members": members[name].mean("realization"),
        "truth (never seen)": truth[name],
    }
    scale, offset = (1, -273.15) if name == "t2m" else (31, 0)
    return {k: v.isel(time=month).compute() * scale + offset for k, v in both.items()}


def draw(path: Path) -> None:
    """Draw two rows of four maps, each row on one colour scale."""
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 9})
    figure, axes = plt.subplots(2, 4, figsize=(11, 4.6), layout="constrained")
    for row, (name, month, title, colours, limits) in zip(axes, ROWS, strict=True):
        for axis, (label, field) in zip(row, panels(name, month).items(), strict=True):
            shown = axis.pcolormesh(
                field.lon, field.lat, field, cmap=colours, vmin=limits[0], vmax=limits[1]
            )
            coast(axis)
            axis.set(title=label, xlim=(95, 150), ylim=(15, 55), xticks=[], yticks=[])
            axis.set_aspect(1 / np.cos(np.radians(35)))
        figure.colorbar(shown, ax=row, label=title, shrink=0.85)
    figure.savefig(path, dpi=110)


def coast(axis: plt.Axes) -> None:
    """Draw the coast from the bundled land fraction."""
    truth = xr.open_dataset(ROOT / "sample_data" / "east_asia_fine.nc")
    land = statics(grid_of(truth))["land_fraction"]
    axis.contour(land.lon, land.lat, land, levels=[0.5], colors="black", linewidths=0.4)


if __name__ == "__main__":
    draw(ROOT / "docs" / "pictures" / "east_asia.png")
