"""Files to draw, and the pages that dpdm.plot makes of them."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.regrid import coarsen_fields
from dpdm.plot import draw_page
from dpdm.plot.data import PlotOptions, open_plot_data
from dpdm.plot.page import PAGE_STYLE, Page
from tests.helpers.small_world import world

GRID = Grid(np.arange(30.25, 46, 0.5), np.arange(120.25, 144, 0.5))
LEVELS = np.array([92500.0, 85000.0, 70000.0, 50000.0, 30000.0, 10000.0])
HOME = {"trend": "years.nc", "profile": "air.nc", "section": "air.nc"}


def drawable(folder):
    """A year of truth, its coarse means, four members, stations and a report."""
    truth = world(12, GRID)
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((4, *truth["t2m"].shape)).astype("f4")
    members = truth + xr.DataArray(noise, dims=("realization", "time", "lat", "lon"))
    members["tp"] = members["tp"].clip(0)
    for name, array in members.data_vars.items():
        array.attrs = truth[name].attrs
    members = members.assign_coords(realization=np.arange(4, dtype="i4"))
    members.attrs = {"dpdm_prior": "default", "dpdm_input": "coarse.nc"}
    truth.to_netcdf(folder / "truth.nc")
    members.to_netcdf(folder / "fine.nc")
    coarsen_fields(truth, 4).to_netcdf(folder / "coarse.nc")
    (folder / "stations.csv").write_text("name,latitude,longitude\nSeoul,37.57,126.97\n")
    report = pd.DataFrame({"lat": [35.0, 36.5, 38.0], "lon": [127.0, 128.0, 140.0]})
    report = report.assign(
        variable="t2m", step=0, status=["assimilated", "withheld", "no time"],
        innovation=[1.0, -2.0, 9.0], residual=[0.5, -1.0, 9.0],
    )  # fmt: skip
    report.to_csv(folder / "report.csv", index=False)
    years(folder / "years.nc")
    truth.assign_coords(lon=truth["lon"] + 90).to_netcdf(folder / "far.nc")
    columns(folder)
    return folder


def columns(folder):
    """Two days of columns of air: the truth, an analysis of four members, a background of one."""
    rng = np.random.default_rng(3)
    grid = Grid(np.arange(-85.0, 86, 10), np.arange(0.0, 360, 15))
    level = xr.DataArray(LEVELS, dims="level", attrs={"units": "Pa", "positive": "down"})
    profile = 288 * (LEVELS / 1e5) ** 0.19
    warm = profile[:, None, None] - 25 * np.sin(np.radians(grid.lat))[:, None] ** 2
    true = warm + rng.standard_normal((2, *warm.shape[:2], grid.shape[1]))
    time = xr.date_range("2000-01-01", periods=2)
    dims = ("time", "level", "lat", "lon")
    attrs = {"units": "K", "standard_name": "air_temperature", "long_name": "temperature"}
    truth = xr.DataArray(true.astype("f4"), grid.coords() | {"time": time, "level": level},
                         dims, "t", attrs)  # fmt: skip
    noise = rng.standard_normal((4, *true.shape)) * 0.5
    members = xr.DataArray(noise.astype("f4"), dims=("realization", *dims)) + truth
    members = members.assign_attrs(attrs).assign_coords(realization=np.arange(4))
    made = {"dpdm_prior": "default", "dpdm_input": "coarse.nc"}
    members.to_dataset(name="t").assign_attrs(made).to_netcdf(folder / "air.nc")
    truth.to_dataset().to_netcdf(folder / "air_truth.nc")
    before = (truth + 2).assign_attrs(attrs)
    before.to_dataset(name="t").to_netcdf(folder / "air_before.nc")


def years(path):
    """Ten years of 30-day months: warming in the west, as much noise as trend in the east."""
    rng = np.random.default_rng(2)
    time = xr.date_range("1990-01", periods=120, freq="MS", calendar="360_day", use_cftime=True)
    lon = np.linspace(0, 1, GRID.shape[1])
    rise = np.arange(120)[:, None, None] / 120 * np.where(lon < 0.5, 3.0, 0.0)
    season = 10 * np.sin(np.arange(120) * np.pi / 6)[:, None, None]
    values = 285 + rise + season + 0.5 * rng.standard_normal((120, *GRID.shape))
    attrs = {"units": "K", "standard_name": "air_temperature"}
    fields = {"t2m": (("time", "lat", "lon"), values.astype("f4"), attrs)}
    xr.Dataset(fields, GRID.coords() | {"time": time}).to_netcdf(path)


def asked(files, kind, **more):
    """What each kind needs, and no more."""
    beside = {"truth": files / "truth.nc", "coarse": files / "coarse.nc"}
    aloft = {"truth": files / "air_truth.nc", "background": files / "air_before.nc"}
    needs = {
        "compare": beside | {"time": "2000-07"},
        "series": beside | {"at": "Seoul", "points": files / "stations.csv"},
        "rank": {"truth": files / "truth.nc"},
        "spectrum": beside,
        "obs": {"report": files / "report.csv"},
        "profile": aloft | {"at": "47,8"},
        "section": aloft,
    }
    return PlotOptions(kind, **(needs.get(kind, {}) | more))


def page_of(files, kind, name="", **more) -> Page:
    more = {"dpi": 100} | more  # the words are the same, and sooner
    with mpl.rc_context(PAGE_STYLE):
        page = draw_page(
            open_plot_data(
                files / (name or HOME.get(kind, "fine.nc")), asked(files, kind, **more)
            ),
            kind,
        )
        page.figure.canvas.draw()
    return page
