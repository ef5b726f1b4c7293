"""Three columns: truth, analysis with its spread and regressions; below, how far they are off."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.columns.state import Air, Array

TICKS = (1000, 850, 700, 500, 300, 200, 100)
LOOKS = {"surface": (":", "0.5"), "regression": ("--", "tab:orange")}
WORDS = {"surface": "regression on the surface", "regression": "regression on all"}


def draw(path: Path, air: Air, levels: Array, members: Array, rivals: Mapping[str, Array]) -> None:
    """Draw the columns of three places: the highest, and those farthest south and north."""
    figure, axes = plt.subplots(2, 3, figsize=(10, 8.4), sharey=True, layout="constrained")
    for number, (top, bottom) in zip(places(air), axes.T, strict=True):
        seen = np.isfinite(air.truth[number])
        truth, p = air.truth[number][seen], levels[seen] / 100
        own = {who: x[number][seen] for who, x in rivals.items()}
        one(top, p, members[:, number, seen], own, truth)
        one(bottom, p, members[:, number, seen] - truth, remote(own, truth), truth - truth)
        height, latitude = air.state[number, -2:]
        top.set(title=f"{latitude:.0f}° N, {height:.0f} m", xlabel="temperature (K)")
        bottom.set(xlabel="departure from the truth (K)", xlim=(-12, 12))
    for left in axes[:, 0]:
        left.set(ylabel="pressure (hPa)", yscale="log", ylim=(1030, 95))
        left.set_yticks(TICKS, [str(p) for p in TICKS])
        left.minorticks_off()
    axes[0, 0].legend(frameon=False, loc="lower left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def places(air: Air) -> list[int]:
    """Return the highest column, and the ones that are farthest south and north."""
    height, latitude = air.state[:, -2], air.state[:, -1]
    return [int(np.argmax(height)), int(np.argmin(latitude)), int(np.argmax(latitude))]


def remote(own: Mapping[str, Array], truth: Array) -> dict[str, Array]:
    """Return how far estimates are from the truth."""
    return {who: x - truth for who, x in own.items()}


def one(axes: Axes, p: Array, members: Array, own: Mapping[str, Array], truth: Array) -> None:
    """Draw one column."""
    mean, spread = members.mean(0), members.std(0, ddof=1)
    axes.fill_betweenx(p, mean - 2 * spread, mean + 2 * spread, alpha=0.25, label="±2 spreads")
    for who, x in own.items():
        style, colour = LOOKS[who]
        axes.plot(x, p, style, color=colour, label=WORDS[who])
    axes.plot(mean, p, color="tab:blue", label="analysis")
    axes.plot(truth, p, "k.", markersize=5, label="truth")
    axes.grid(alpha=0.3)
