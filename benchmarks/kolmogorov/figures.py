"""Pictures of the vorticity that was, was seen, and was inferred."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from dpdm.testbeds import kolmogorov

Array = NDArray[np.float64]
COLOURS = "RdBu_r"
TURN = 2 * np.pi


def draw(
    path: Path, truth: xr.Dataset, analysis: xr.Dataset, seen: pd.DataFrame, rows: list[str]
) -> None:
    """Draw rows of truth, observations and members at the first, the middle and the last state.

    Args:
        path: The picture.
        truth: One trajectory.
        analysis: Members of it.
        seen: Its observations.
        rows: What to draw: "truth", what the observations are called, "member 0" and so on.
    """
    steps = [0, truth.sizes["time"] // 2, truth.sizes["time"] - 1]
    most = 3 * float(vorticity(truth, -1).std())
    figure, axes = plt.subplots(
        len(rows), len(steps), figsize=(7.5, 2.3 * len(rows)), layout="constrained"
    )
    for line, row in zip(axes, rows, strict=True):
        line[0].set_ylabel(row)
        for ax, step in zip(line, steps, strict=True):
            frame(ax)
            if row == "truth":
                show(ax, vorticity(truth, step), most)
            elif row.startswith("member"):
                show(ax, vorticity(analysis.isel(realization=int(row.split()[1])), step), most)
            else:
                look(ax, seen[np.isclose(seen["time"], float(truth["time"][step]))], most)
    for ax, step in zip(axes[0], steps, strict=True):
        ax.set_title(f"state {step}")
    scale = ScalarMappable(Normalize(-most, most), COLOURS)
    figure.colorbar(scale, ax=axes, shrink=0.5, label="vorticity")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def frame(ax: Axes) -> None:
    """Lay out an empty plane."""
    ax.set(xlim=(0, TURN), ylim=(0, TURN), xticks=[], yticks=[], facecolor="0.9", aspect="equal")


def show(
    ax: Axes, image: Array, most: float, sides: tuple[float, ...] = (0, TURN, 0, TURN)
) -> None:
    """Show a field between some sides: west, east, south, north."""
    ax.imshow(image, COLOURS, origin="lower", extent=sides, vmin=-most, vmax=most)


def vorticity(ds: xr.Dataset, step: int) -> Array:
    """Return the vorticity of one state."""
    state = ds.isel(time=step)
    w = np.stack([state[name].values for name in ("u", "v")]).astype(float)
    out: Array = kolmogorov.vorticity(torch.from_numpy(w)).numpy()
    return out


def look(ax: Axes, rows: pd.DataFrame, most: float) -> None:
    """Show the vorticity that was seen, if there was anything."""
    if rows.empty:
        ax.text(TURN / 2, TURN / 2, "nothing", ha="center", va="center")
        return
    seen = rows.set_index(["variable", "y", "x"])["value"].to_xarray().sortby(["y", "x"])
    y, x = (seen[name].values for name in ("y", "x"))
    half_y, half_x = (y[1] - y[0]) / 2, (x[1] - x[0]) / 2
    sides = (x[0] - half_x, x[-1] + half_x, y[0] - half_y, y[-1] + half_y)
    show(ax, curl(rows, seen.values, 2 * half_y, 2 * half_x), most, sides)


def curl(rows: pd.DataFrame, values: Array, dy: float, dx: float) -> Array:
    """Return the vorticity of values (variable, y, x) that were seen on a grid."""
    operator = rows["operator"].iloc[0] if "operator" in rows else "point"
    if operator == "saturating_vorticity":
        bounded = values[0].clip(-0.95, 0.95)  # beyond, the error decides
        return bounded / (1 - np.abs(bounded))
    if operator == "vorticity":
        return values[0]
    u, v = values
    return np.gradient(v, dx, axis=1) - np.gradient(u, dy, axis=0)
