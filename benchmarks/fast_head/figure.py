"""Draw members of the prior's own sampler and of its fast head side by side."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks import common
from benchmarks.draws import labelled
from dpdm.fields.read import open_fields
from dpdm.prior import load_prior
from dpdm.states.field_domain import fit_field_space
from dpdm.states.options import EnsembleOptions
from dpdm.states.sampling import draw_ensemble

MONTH, MEMBERS = 6, 3
CORNER = {"lat": slice(24, 38), "lon": slice(98, 116)}


def draw_members(prior: Path, out: Path) -> None:
    """Write a PNG: July rain over the edge of Tibet, three members by each way, and the truth."""
    loaded, rows = load_prior(prior), []
    truth = open_fields(common.TRUTH)["tp"].isel(time=MONTH).load()
    for sampler in ("", "fast"):
        options = EnsembleOptions(climatology="none", sampler=sampler)
        space = fit_field_space(common.COARSE, loaded, options, None, None)
        drawn = np.stack([*draw_ensemble(space, MONTH, space.sampler, range(MEMBERS), 0)])
        fields = labelled(space, [MONTH], [drawn])["tp"].isel(time=0)
        rows.append(fields.sel(lat=truth["lat"], lon=truth["lon"], method="nearest").values)
    part = [
        np.flatnonzero((truth[a] >= s.start) & (truth[a] <= s.stop)) for a, s in CORNER.items()
    ]
    cells = np.ix_(*part)
    figure, axes = plt.subplots(2, MEMBERS + 1, figsize=(10, 4.6), layout="constrained")
    axes[1, 0].set_axis_off()
    panels = {axes[0, 0]: ("ERA5", truth.values)}
    for line, members, way in zip(axes[:, 1:], rows, ("ten steps", "fast head"), strict=True):
        for n, axis in enumerate(line):
            panels[axis] = f"{way}, member {n}", members[n]
    for axis, (title, values) in panels.items():
        image = axis.pcolormesh(
            truth["lon"][part[1]], truth["lat"][part[0]], values[cells], cmap="YlGnBu",
            vmin=0, vmax=12, rasterized=True,
        )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=7)
    figure.colorbar(image, ax=axes, label="precipitation, July (mm day-1)", shrink=0.8)
    figure.savefig(out, dpi=110)
    plt.close(figure)
