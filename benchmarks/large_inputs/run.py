"""How long large inputs take: observations, polygons of a mask, steps of a file.

Each is given to the public command at several sizes; the time of the smallest is that of the
command itself. Observations are of the bundled East Asian example, two members drawn in two steps,
so that little but the observations takes time; polygons are small squares all over the domain;
steps are hours of a field of four cells.
"""

import json
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks import common
from benchmarks.common import COARSE, TRUTH, target

SECONDS = 60.0  # that the largest may take
MEGABYTES = 1500.0  # that observations of a century may take
KINDS: dict[str, tuple[tuple[int, ...], str]] = {
    "observations, one place each": ((10, 10_000, 100_000), "rows"),
    "observations, 1000 stations": ((10, 10_000, 100_000), "rows"),
    "a century of stations, --check": ((600, 60_000, 600_000), "rows"),
    "mask": ((10, 10_000, 100_000), "polygons"),
    "info": ((10, 100_000, 1_000_000), "steps"),
    "evaluate": ((10, 1_000), "steps"),
}


def main() -> None:
    """Time each command at each size, and print a table."""
    parser = common.parser(__doc__)
    parser.add_argument("--kind", choices=KINDS, help="one of them  [default: all]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judge(options, Path(folder))


def judge(options: Namespace, folder: Path) -> None:
    """Time all that is asked for."""
    rows, figures, targets = [], {}, {}
    for kind in [options.kind] if options.kind else KINDS:
        sizes, what = KINDS[kind]
        for size in sizes:
            words = COMMANDS[kind](folder, size)
            words += () if words[0] in ("info", "evaluate") else ("--overwrite",)
            ran = common.dpdm(*words)
            rows.append((kind, size, what, ran.seconds, ran.megabytes))
            figures[f"{kind}, {size}"] = ran.seconds
        targets[f"{kind}, {size} {what} (s)"] = target(ran.seconds, most=SECONDS)
        if kind.startswith("a century"):
            targets[f"{kind}, {size} {what} (MB)"] = target(ran.megabytes, most=MEGABYTES)
    print(common.table(("command", "size", "", "seconds", "MB"), rows))
    common.close("large_inputs", figures, targets)


def observed(folder: Path, size: int, stations: int) -> tuple[Any, ...]:
    """Write temperatures near those of the coarse fields; return the command that reads them."""
    rng = np.random.default_rng(0)
    with xr.open_dataset(COARSE) as ds:
        field = ds["t2m"].load()
    place = rng.integers(0, min(stations, size), size)
    lat = rng.uniform(float(field["lat"].min()), float(field["lat"].max()), stations)[place]
    lon = rng.uniform(float(field["lon"].min()), float(field["lon"].max()), stations)[place]
    step = rng.integers(0, field.sizes["time"], size)
    index = {"time": step, "lat": lat, "lon": lon}
    near = {k: xr.DataArray(v, dims="obs") for k, v in index.items()}
    at = {"time": near["time"]}
    value = field.isel(at).interp(lat=near["lat"], lon=near["lon"]).values
    table = pd.DataFrame({
        "station": [f"s{n}" for n in place], "time": field["time"].values[step], "lat": lat,
        "lon": lon, "variable": "t2m", "value": value + rng.normal(0, 1, size), "units": "K",
        "error": 1.0,
    })  # fmt: skip
    table.dropna().to_csv(folder / "obs.csv", index=False)
    words = ("--coarse", COARSE, "--members", 2, "--steps", 2, "--report", folder / "report.csv")
    return "assimilate", folder / "obs.csv", folder / "out.nc", *words


def century(folder: Path, size: int) -> tuple[Any, ...]:
    """Write months of stations and their list; return the command that matches them."""
    rng = np.random.default_rng(0)
    months = pd.date_range("1872-01-01", "2021-12-01", freq="MS")
    count = -(-size // len(months))
    number = np.repeat(np.arange(count), len(months))[:size]
    table = pd.DataFrame({
        "station": [f"station_{n}" for n in number],
        "month": np.tile(months.strftime("%Y-%m"), count)[:size],
        "t2m [degC]": rng.normal(10, 5, size).round(2),
        "tp [mm/month]": rng.gamma(2, 40, size).round(1),
        "sp [hPa]": rng.normal(1000, 5, size).round(1),
    })  # fmt: skip
    table.to_csv(folder / "century.csv.gz", index=False)
    place = {
        "lat": rng.uniform(32, 44, count).round(4),
        "lon": rng.uniform(105, 120, count).round(4),
    }
    names = {"station": [f"station_{n}" for n in range(count)]}
    pd.DataFrame(names | place).to_csv(folder / "list.csv", index=False)
    with xr.open_dataset(TRUTH) as ds:
        field = ds["t2m"].isel(time=0, drop=True).load()
    field.expand_dims(time=months).to_netcdf(folder / "grid.nc")
    words = ("--grid", folder / "grid.nc", "--stations", folder / "list.csv", "--check")
    return "assimilate", folder / "century.csv.gz", folder / "out.nc", *words


def masked(folder: Path, size: int) -> tuple[Any, ...]:
    """Write small squares all over the domain; return the command that reads them."""
    rng = np.random.default_rng(0)
    west, south = rng.uniform(100, 145, size), rng.uniform(20, 50, size)
    corners = np.array([[0, 0], [0.2, 0], [0.2, 0.2], [0, 0.2], [0, 0]])
    rings = np.stack([west, south], 1)[:, None] + corners
    features = [
        {"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates": [r]}}
        for r in rings.round(4).tolist()
    ]
    said = {"type": "FeatureCollection", "features": features}
    (folder / "mask.geojson").write_text(json.dumps(said))
    words = ("--variable", "t2m", "--mask", folder / "mask.geojson")
    return "export", common.TRUTH, folder / "out.zarr", *words


def hourly(folder: Path, size: int) -> Path:
    """Write hours of four cells, chunked by the day; return the file."""
    rng = np.random.default_rng(0)
    time = np.datetime64("1850-01-01", "ns") + np.arange(size) * np.timedelta64(1, "h")
    axes = {"time": time, "lat": [30.0, 31.0], "lon": [100.0, 101.0]}
    warm = rng.normal(280, 5, (size, 2, 2)).astype("f4")
    ds = xr.Dataset({"t2m": (tuple(axes), warm, {"units": "K"})}, axes)
    path = folder / f"hours_{size}.nc"
    ds.to_netcdf(path)
    return path


COMMANDS: dict[str, Callable[[Path, int], tuple[Any, ...]]] = {
    "observations, one place each": lambda folder, size: observed(folder, size, size),
    "observations, 1000 stations": lambda folder, size: observed(folder, size, 1000),
    "a century of stations, --check": century,
    "mask": masked,
    "info": lambda folder, size: ("info", hourly(folder, size)),
    "evaluate": lambda folder, size: ("evaluate", *[hourly(folder, size)] * 2),
}


if __name__ == "__main__":
    main()
