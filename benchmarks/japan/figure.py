"""Draw an analysis of stations alone: one month, and a long series with its uncertainty."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from dpdm.assimilate.analysis import Analysis
from dpdm.observations.status import ObsStatus, has_status
from dpdm.plot.map_axes import read_coastlines
from dpdm.states.fields import FieldSpace

DOTS = {"s": 14, "edgecolor": "k", "linewidth": 0.3}


def draw_month(analysis: Analysis, folder: Path) -> None:
    """Draw stations, mean and spread of temperature of the first step, as departures."""
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 9})
    space = analysis.space
    assert isinstance(space, FieldSpace)
    members = np.stack([m[0] for m in analysis.members(0, range(space.options.members))])
    background = space.prior.normaliser.inverse(space.base(0))[None]
    part, grid = space.shown_part, space.shown
    climate = background[0, 0].numpy()[part]
    rows = analysis.table[
        has_status(analysis.table, ObsStatus.ASSIMILATED) & (analysis.table["variable"] == "t2m")
    ]
    at_stations = space.operator(rows)(background)[0].numpy()
    departure = rows["value"].to_numpy() - at_stations
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
    colours = {"cmap": "RdBu_r", "vmin": -4, "vmax": 4}
    shown = axes[0].scatter(rows["lon"], rows["lat"], c=departure, **colours, **DOTS)
    axes[1].pcolormesh(grid.lon, grid.lat, members.mean(0) - climate, **colours)
    wide = axes[2].pcolormesh(
        grid.lon, grid.lat, members.std(0, ddof=1), cmap="viridis", vmin=0, vmax=1.5
    )
    axes[2].scatter(rows["lon"], rows["lat"], s=1, c="k")
    titles = (f"{len(rows)} stations", f"mean of {len(members)} members", "spread, and stations")
    for axis, title in zip(axes, titles, strict=True):
        axis.set(xlim=grid.lon[[0, -1]], ylim=grid.lat[[0, -1]], title=title, aspect=1.25)
        draw_coast(axis)
    figure.colorbar(shown, ax=axes[:2], label="departure from ERA5 2000-2025 (K)", shrink=0.8)
    figure.colorbar(wide, ax=axes[2], label="K", shrink=0.8)
    figure.suptitle(f"2 m temperature, {space.label(0)[:7]}, from stations alone")
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "japan_month.png", dpi=110)


def draw_coast(axis: plt.Axes) -> None:
    """Draw the coastlines."""
    points, begins = read_coastlines()
    for line in np.split(points, np.flatnonzero(begins)[1:]):
        axis.plot(line[:, 0], line[:, 1], color="0.3", linewidth=0.5)


def draw_series(series: pd.DataFrame, folder: Path) -> None:
    """Draw the median and the range of 90% of a series, and the number of stations."""
    figure, (axis, below) = plt.subplots(
        2, 1, figsize=(9, 4.5), layout="constrained", sharex=True, height_ratios=(3, 1)
    )
    axis.fill_between(
        series["year"], series["low"], series["high"], alpha=0.35, label="5 to 95% of the members"
    )
    axis.plot(series["year"], series["middle"], linewidth=1, label="median")
    axis.set(ylabel="K", title="2 m temperature over the land of the box, July, stations alone")
    axis.legend(loc="upper left")
    below.step(series["year"], series["stations"], where="mid", color="0.3")
    below.set(ylabel="stations", yscale="log")
    figure.savefig(folder / "japan_series.png", dpi=110)
