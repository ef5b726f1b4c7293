"""Draw the README's pictures (needs matplotlib) from what `make demo` and `korea.sh` wrote."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import pyplot as plt

from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.statics import make_statics

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
            coast(axis, truth_grid())
            axis.set(title=label, xlim=(95, 150), ylim=(15, 55), xticks=[], yticks=[])
            axis.set_aspect(1 / np.cos(np.radians(35)))
        figure.colorbar(shown, ax=row, label=title, shrink=0.85)
    figure.savefig(path, dpi=110)


def truth_grid() -> Grid:
    """Return the grid of East Asia."""
    with xr.open_dataset(ROOT / "sample_data" / "east_asia_fine.nc") as truth:
        return grid_of(truth)


def coast(axis: plt.Axes, grid: Grid) -> None:
    """Draw the coast from the bundled land fraction."""
    land = make_statics(grid)["land_fraction"]
    axis.contour(land.lon, land.lat, land, levels=[0.5], colors="black", linewidths=0.4)


def korea(path: Path, month: int = 0) -> None:
    """Draw prior and analysis around Korea, each with what it misses at the stations."""
    report = pd.read_csv(ROOT / "build" / "korea.csv")
    rows = report[(report["variable"] == "t2m") & (report["step"] == month)]
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
    shown = {
        "prior mean; circles: observed minus prior": ("korea_prior.nc", "t2m_mean", "innovation"),
        "analysis mean; observed minus analysis": ("korea.nc", "t2m_mean", "residual"),
    }
    for axis, (title, (file, name, column)) in zip(axes, shown.items(), strict=False):
        field = xr.open_dataset(ROOT / "build" / file)[name].isel(time=month) - 273.15
        image = axis.pcolormesh(field.lon, field.lat, field, cmap="viridis", vmin=-10, vmax=8)
        for status, marker in (("assimilated", "o"), ("withheld", "s")):
            some = rows[rows["status"] == status]
            dots = axis.scatter(
                some["lon"], some["lat"], c=some[column], marker=marker, cmap="RdBu_r", vmin=-4,
                vmax=4, edgecolors="black", s=36,
            )  # fmt: skip
        framed(axis, field, title)
    figure.colorbar(image, ax=axes[1], label="January temperature (°C)", location="bottom")
    figure.colorbar(dots, ax=axes[0], label="missed at stations (K); squares: withheld",
                    location="bottom")  # fmt: skip
    spread = xr.open_dataset(ROOT / "build" / "korea.nc")["t2m_spread"].isel(time=month)
    image = axes[2].pcolormesh(spread.lon, spread.lat, spread, cmap="magma_r", vmin=0)
    framed(axes[2], spread, "analysis spread")
    figure.colorbar(image, ax=axes[2], label="standard deviation (K)", location="bottom")
    figure.savefig(path, dpi=110)


def framed(axis: plt.Axes, field: xr.DataArray, title: str) -> None:
    """Give a map its coast, title and shape."""
    coast(axis, grid_of(field))
    axis.set(title=title, xticks=[], yticks=[])
    axis.set_aspect(1 / np.cos(np.radians(36)))


if __name__ == "__main__":
    draw(ROOT / "docs" / "pictures" / "east_asia.png")
    korea(ROOT / "docs" / "pictures" / "korea.png")
