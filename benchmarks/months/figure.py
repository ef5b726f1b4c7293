"""Draw one real month: coarse field, delta method, mean of members, one member and truth."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib import pyplot as plt

from dpdm.evaluate.baselines import apply_delta_method, subgrid_detail
from dpdm.fields.grid import grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.reference_climatology import open_climatology
from dpdm.fields.statics import make_statics

ROWS = {
    "t2m": ("2 m temperature, departure from ERA5 2000-2025 (K)", "RdBu_r"),
    "tp": ("precipitation (mm/day)", "YlGnBu"),
}


def draw_month(members: Path, truth: Path, coarse: Path, month: str, path: Path) -> None:
    """Draw a row of five maps for each variable of a month, on one colour scale."""
    mpl.rcParams.update({"font.size": 9, "axes.titlesize": 9})
    panels = month_panels(members, truth, coarse, month)
    names = [name for name in ROWS if name in panels["truth"]]
    figure, axes = plt.subplots(
        len(names),
        len(panels),
        figsize=(11, 4.4 * len(names)),
        layout="constrained",
        squeeze=False,
    )
    for row, name in zip(axes, names, strict=True):
        title, colours = ROWS[name]
        limits = colour_limits(panels["truth"][name], colours)
        for axis, (label, fields) in zip(row, panels.items(), strict=True):
            field = fields[name]
            shown = axis.pcolormesh(
                field.lon, field.lat, field, cmap=colours, vmin=limits[0], vmax=limits[1]
            )
            frame(axis, panels["truth"], f"{label}\n{name}")
        figure.colorbar(shown, ax=row, label=title, shrink=0.8)
    figure.suptitle(f"{month}, from 1 degree to 0.25")
    figure.savefig(path, dpi=110)


def month_panels(members: Path, truth: Path, coarse: Path, month: str) -> dict[str, xr.Dataset]:
    """Return the five fields of a month; temperature as a departure from the climatology."""
    true, blocks, drawn = (
        open_fields(p, None).sel(time=month).isel(time=0).load() for p in (truth, coarse, members)
    )
    known = open_climatology("era5", grid_of(true), [str(n) for n in true.data_vars])
    assert known is not None
    state = known.state(open_fields(truth, None)["time"].sel(time=[true["time"].values]), None, 0)
    detail = subgrid_detail(state, grid_of(blocks))
    fields = {
        "coarse": blocks,
        "delta method": apply_delta_method(blocks, detail, grid_of(true)),
        "mean": drawn.mean("realization"),
        "one member": drawn.isel(realization=0),
        "truth": true,
    }
    normal = state.drop_vars([n for n in state.data_vars if n != "t2m"])
    return {label: subtract(field, normal) for label, field in fields.items()}


def subtract(field: xr.Dataset, normal: xr.Dataset) -> xr.Dataset:
    """Return fields with temperature as a departure from the climatology of its cells."""
    if "t2m" not in field:
        return field
    near = normal["t2m"]
    if field.sizes["lat"] != near.sizes["lat"]:
        factor = near.sizes["lat"] // field.sizes["lat"]
        near = near.coarsen(lat=factor, lon=factor).mean()
    return field.assign(t2m=field["t2m"] - near.values)


def colour_limits(field: xr.DataArray, colours: str) -> tuple[float, float]:
    """Return limits of the colours: even around 0 for departures, from 0 for amounts."""
    most = float(np.nanpercentile(np.abs(field), 99.5))
    return (-most, most) if colours == "RdBu_r" else (0.0, most)


def frame(axis: plt.Axes, truth: xr.Dataset, title: str) -> None:
    """Give a map its coast, title and shape."""
    grid = grid_of(truth)
    land = make_statics(grid)["land_fraction"]
    axis.contour(land.lon, land.lat, land, levels=[0.5], colors="black", linewidths=0.5)
    lon, lat = grid.lon_edges[[0, -1]], grid.lat_edges[[0, -1]]
    axis.set(title=title, xticks=[], yticks=[], xlim=lon, ylim=lat)
    axis.set_aspect(1 / np.cos(np.radians(float(lat.mean()))))
