"""Bad input: exit 1, a line that names the fault, a line that says what to do, and no file."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors import safe_open
from safetensors.torch import save_file

from tests.helpers.small_world import coarse_world, done, refused

Change = Callable[[xr.Dataset], xr.Dataset]
GAUSSIAN = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(8)[0]))


READERS = {
    "downscale": "downscale bad.nc out.nc --prior prior.safetensors --mean",
    "lerp": "lerp bad.nc out.nc --factor 2",
    "coarsen": "coarsen bad.nc out.nc --factor 2",
    "train": "train bad.nc --out out.safetensors --factor 2 --config small.toml",
    "evaluate": "evaluate bad.nc coarse.nc",
}


def lat(values: list[float] | np.ndarray) -> Change:
    return lambda ds: ds.isel(lat=slice(len(values))).assign_coords(lat=np.asarray(values, float))


def lon(values: list[float]) -> Change:
    return lambda ds: ds.isel(lon=slice(len(values))).assign_coords(lon=np.asarray(values, float))


def units(name: str, unit: str | None) -> Change:
    def change(ds: xr.Dataset) -> xr.Dataset:
        ds[name].attrs.pop("units")
        ds[name].attrs |= {"units": unit} if unit else {}
        return ds

    return change


def filled(value: float) -> Change:
    def change(ds: xr.Dataset) -> xr.Dataset:
        ds["t2m"][1] = value
        return ds

    return change


def rotated(ds: xr.Dataset) -> xr.Dataset:
    ds = ds.rename(lat="rlat", lon="rlon")
    ds["rlat"].attrs["standard_name"] = "grid_latitude"
    return ds


def curvilinear(ds: xr.Dataset) -> xr.Dataset:
    both = np.meshgrid(ds["lat"], ds["lon"], indexing="ij")
    ds = ds.rename(lat="y", lon="x").drop_vars(["y", "x"])
    return ds.assign_coords(lat=(("y", "x"), both[0]), lon=(("y", "x"), both[1]))


def times(order: list[int]) -> Change:
    return lambda ds: ds.assign_coords(time=ds["time"].values[order])


DATA = {
    "no units": (units("t2m", None), "t2m has no units", "--units t2m="),
    "wrong units": (units("t2m", "m"), "t2m is in 'm'", "--units t2m="),
    "unreadable units": (units("t2m", "parsnips"), "'parsnips' is not a unit", "--units t2m=K"),
    "impossible units": (units("t2m", "degC"), r"t2m has a median of 5\d\d", "--units t2m=K"),
    "amount without period": (units("tp", "mm"), "tp is an amount", "--units tp=mm/day"),
    "irregular latitude": (lat(GAUSSIAN), "latitude is not regular", "Interpolate it"),
    "irregular longitude": (lon([0, 1, 2, 4]), "longitude is not regular", "Interpolate it"),
    "repeated latitude": (lat([0, 4, 4, 8]), "latitude 4 is repeated", "Remove"),
    "repeated longitude": (lon([0, 4, 4, 8]), "longitude 4 is repeated", "Remove"),
    "unsorted latitude": (lat([0, 8, 4, 12]), "latitude is not sorted", "Sort"),
    "beyond the pole": (lat([84, 88, 92, 96]), "latitude reaches 96, beyond 90", "Correct"),
    "missing latitude": (lat([0, 4, np.nan, 12]), "latitude has missing", "Correct"),
    "one row": (lat([30.0]), "latitude has one cell", "two by two"),
    "rotated": (rotated, "rotated", "Interpolate it"),
    "curvilinear": (curvilinear, "2 dimensions", "Interpolate it"),
    "no latitude": (lambda ds: ds.rename(lat="row"), "there is no latitude", "CF units"),
    "repeated time": (times([0, 0, 1]), "time 2000-01-01.* is repeated", "Remove one"),
    "unsorted time": (times([0, 2, 1]), "time 2000-02-01.* comes after", "sorttimestamp"),
    "two levels": (
        lambda ds: ds.expand_dims(lev=[1, 2]),
        "on 2 levels .lev. without units",
        "hPa",
    ),
    "nothing there": (
        lambda ds: ds.drop_vars(["t2m", "tp"]),
        "no variable lies on a lat",
        "latitude and longitude",
    ),
    "an empty month": (filled(np.nan), "t2m has a field without a single value", "Leave"),
    "infinite": (filled(np.inf), "t2m holds infinite", "Set them"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", DATA)
def test_bad_data(here: Path, reader: str, case: str) -> None:
    change, what, hint = DATA[case]
    change(coarse_world()).to_netcdf("bad.nc")
    if (reader, case) == ("evaluate", "an empty month"):
        done(*READERS[reader].split())  # it is missing, and left out
        return
    refused(READERS[reader], f"bad.nc.*{what}", hint)


@pytest.mark.parametrize("reader", [*READERS, "info"])
@pytest.mark.parametrize("kind", ["missing", "folder", "text", "short", "classic", "store"])
def test_bad_files(here: Path, reader: str, kind: str) -> None:
    form = "NETCDF3_CLASSIC" if kind == "classic" else "NETCDF4"
    coarse_world().to_netcdf("whole.nc", format=form)
    content = Path("whole.nc").read_bytes()
    made = {"text": b"lat,lon,t2m\n", "short": content[:-2000], "classic": content[:-2000]}
    if kind in ("folder", "store"):
        Path("bad.nc").mkdir()
    if kind == "store":
        Path("bad.nc/.zgroup").write_text("{")
    if kind in made:
        Path("bad.nc").write_bytes(made[kind])
    what = {
        "missing": "does not exist", "folder": "directory", "text": "is not NetCDF",
    }.get(kind, "cannot be read")  # fmt: skip
    refused(READERS.get(reader, "info bad.nc"), f"bad.nc.*{what}")


def broken_prior(kind: str) -> None:
    """Write bad.safetensors: the good one damaged, or something else."""
    content, bad = Path("prior.safetensors").read_bytes(), Path("bad.safetensors")
    with safe_open("prior.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        said = json.loads(file.metadata()["dpdm_prior"])
    headers = {
        "other format": said | {"format": 99},
        "no contract": {"format": said["format"]},
        "shapes": said,
    }
    raw = {"pickle": pickle.dumps([1.0]), "short": content[:-100], "empty": b""}
    if kind in raw:
        bad.write_bytes(raw[kind])
    elif kind == "checkpoint":
        torch.save({"weights": torch.ones(3)}, bad)
    elif kind == "folder":
        bad.mkdir()
    else:
        cut = {key: value[:1].clone() for key, value in tensors.items()}
        header = "{" if kind == "no json" else json.dumps(headers.get(kind))
        keep = {} if kind == "stranger" else {"dpdm_prior": header}
        save_file(cut if kind == "shapes" else tensors, bad, keep)


PRIORS = {
    "pickle": "not a readable safetensors",
    "checkpoint": "not a readable safetensors",
    "short": "not a readable safetensors",
    "empty": "not a readable safetensors",
    "stranger": "holds tensors but no dpdm prior",
    "shapes": "do not fit the network",
    "other format": "format 99; this dpdm reads format 1",
    "no contract": "lacks the key dpdm",
    "no json": "is damaged",
    "folder": "no such file",
}


@pytest.mark.parametrize("kind", PRIORS)
def test_bad_priors(here: Path, kind: str) -> None:
    broken_prior(kind)
    what = f"bad.safetensors.*{PRIORS[kind]}"
    refused("downscale coarse.nc out.nc --prior bad.safetensors", what)
    refused("info bad.safetensors", what)


def test_a_name_that_is_no_prior(here: Path) -> None:
    refused("downscale coarse.nc out.nc --prior best", "no prior best", "Bundled: ")
    refused("info best", "best", "")
