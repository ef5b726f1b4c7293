"""Bad input: exit 1, a line that names the fault, a line that says what to do, and no file."""

import json
import os
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from click.testing import Result
from safetensors import safe_open
from safetensors.torch import save_file

from dpdm.fields.grid import Grid, coarsen
from tests.worlds import GRID, TOML, Taught, coarse_world, dpdm, world

Change = Callable[[xr.Dataset], xr.Dataset]
GAUSSIAN = np.rad2deg(np.arcsin(np.polynomial.legendre.leggauss(8)[0]))


@pytest.fixture
def here(tmp_path: Path, taught: Taught) -> Iterator[Path]:
    """A folder with coarse.nc, fine.nc and prior.safetensors."""
    coarse_world().to_netcdf(tmp_path / "coarse.nc")
    world().to_netcdf(tmp_path / "fine.nc")
    (tmp_path / "prior.safetensors").write_bytes(taught.prior.read_bytes())
    (tmp_path / "small.toml").write_text(TOML)
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def refused(command: str, what: str, hint: str = "", code: int = 1) -> Result:
    """Run a command that must be refused, in a folder that must not change."""
    before = {p: p.stat().st_mtime_ns for p in Path().rglob("*")}
    result = dpdm(*command.split())
    lines = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert isinstance(result.exception, SystemExit)
    if code == 1:
        assert len(lines) == 2, result.stderr
        assert lines[0].startswith("Error: ")
        assert lines[1].startswith("Hint: ")
    assert re.search(what, result.stderr), result.stderr
    assert hint in lines[-1], result.stderr
    assert {p: p.stat().st_mtime_ns for p in Path().rglob("*")} == before
    return result


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
    "irregular latitude": (lat(GAUSSIAN), "latitude is not regular", "cdo remapbil"),
    "irregular longitude": (lon([0, 1, 2, 4]), "longitude is not regular", "cdo remapbil"),
    "repeated latitude": (lat([0, 4, 4, 8]), "latitude 4 comes twice", "Remove"),
    "repeated longitude": (lon([0, 4, 4, 8]), "longitude 4 comes twice", "Remove"),
    "unsorted latitude": (lat([0, 8, 4, 12]), "latitude is not sorted", "Sort"),
    "beyond the pole": (lat([84, 88, 92, 96]), "latitude reaches 96, beyond 90", "Mend"),
    "missing latitude": (lat([0, 4, np.nan, 12]), "latitude has missing", "Mend"),
    "one row": (lat([30.0]), "latitude has one cell", "two by two"),
    "rotated": (rotated, "rotated", "cdo remapbil"),
    "curvilinear": (curvilinear, "2 dimensions", "cdo remapbil"),
    "no latitude": (lambda ds: ds.rename(lat="row"), "there is no latitude", "CF units"),
    "repeated time": (times([0, 0, 1]), "time 2000-01-01.* comes twice", "mergetime"),
    "unsorted time": (times([0, 2, 1]), "time 2000-02-01.* comes after", "mergetime"),
    "two levels": (lambda ds: ds.expand_dims(lev=[1, 2]), "dimension lev of 2", "cdo sellev"),
    "nothing there": (lambda ds: ds.drop_vars(["t2m", "tp"]), "no variable lies on a lat", "ncdump"),
    "an empty month": (filled(np.nan), "t2m has a field without a single value", "Leave"),
    "infinite": (filled(np.inf), "t2m holds infinite", "Set them"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("case", DATA)
def test_bad_data(here: Path, reader: str, case: str) -> None:
    change, what, hint = DATA[case]
    change(coarse_world()).to_netcdf("bad.nc")
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
    content = Path("prior.safetensors").read_bytes()
    bad = Path("bad.safetensors")
    with safe_open("prior.safetensors", "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        said = json.loads(file.metadata()["dpdm_prior"])
    if kind == "pickle":
        bad.write_bytes(pickle.dumps({"weights": [1.0]}))
    elif kind == "checkpoint":
        torch.save({"weights": torch.ones(3)}, bad)
    elif kind == "short":
        bad.write_bytes(content[:-100])
    elif kind == "empty":
        bad.write_bytes(b"")
    elif kind == "stranger":
        save_file(tensors, bad)
    elif kind == "shapes":
        tensors = {key: value[:1].clone() for key, value in tensors.items()}
        save_file(tensors, bad, {"dpdm_prior": json.dumps(said)})
    elif kind == "other format":
        save_file(tensors, bad, {"dpdm_prior": json.dumps(said | {"format": 99})})
    elif kind == "no contract":
        save_file(tensors, bad, {"dpdm_prior": json.dumps({"format": said["format"]})})
    elif kind == "no json":
        save_file(tensors, bad, {"dpdm_prior": "{"})
    else:
        bad.mkdir()


PRIORS = {
    "pickle": "not a readable safetensors",
    "checkpoint": "not a readable safetensors",
    "short": "not a readable safetensors",
    "empty": "not a readable safetensors",
    "stranger": "holds tensors but no dpdm prior",
    "shapes": "do not fit the network",
    "other format": "format 99; this dpdm reads format 1",
    "no contract": "is damaged",
    "no json": "is damaged",
    "folder": "no such file",
}


@pytest.mark.parametrize("kind", PRIORS)
def test_bad_priors(here: Path, kind: str) -> None:
    broken_prior(kind)
    what = f"bad.safetensors.*{PRIORS[kind]}"
    refused("downscale coarse.nc out.nc --prior bad.safetensors", what)
    if kind != "shapes":  # which only the weights show
        refused("info bad.safetensors", what)


def test_a_name_that_is_no_prior(here: Path) -> None:
    refused("downscale coarse.nc out.nc --prior best", "no prior best", "Bundled: ")
    refused("info best", "best", "")


DOWN = "downscale coarse.nc out.nc --prior prior.safetensors --mean"
TRAIN = "train fine.nc --out out.safetensors --config small.toml --factor 4"
USAGE = {
    "downscale coarse.nc out.nc --members -1": "--members",
    "downscale coarse.nc out.nc --steps 0": "--steps",
    "downscale coarse.nc out.nc --steps 1": "--steps",
    "downscale coarse.nc out.nc --seed -1": "--seed",
    "downscale coarse.nc out.nc --sampler magic": "--sampler",
    "downscale coarse.nc out.nc --keep some": "--keep",
    "downscale coarse.nc out.nc --device tpu": "--device",
    "downscale coarse.nc out.nc --var tp": "NAME=VALUE",
    "downscale coarse.nc out.nc --units tp=": "NAME=VALUE",
    "downscale coarse.nc": "FINE",
    "downscal coarse.nc out.nc": "Did you mean 'downscale'",
    "coarsen fine.nc out.nc": "--factor",
    "coarsen fine.nc out.nc --factor half": "--factor",
    "lerp coarse.nc out.nc": "either --grid or --factor",
    "lerp coarse.nc out.nc --grid fine.nc --factor 4": "either --grid or --factor",
    "train fine.nc --out out.safetensors": "either --factor or --coarse",
    "train fine.nc --out out.safetensors --factor 4 --coarse coarse.nc": "either --factor or",
    "train fine.nc --out out.safetensors --factor 0": "'0' is neither",
    "train fine.nc --out out.safetensors --factor 9-4": "'9-4' is neither",
    "train fine.nc --out out.safetensors --factor 4 --minutes 0": "--minutes",
    "train --out out.safetensors --factor 4": "FINE",
}


@pytest.mark.parametrize("command", USAGE)
def test_wrong_usage(here: Path, command: str) -> None:
    refused(command, USAGE[command], code=2)


OPTIONS = {
    "coarsen fine.nc out.nc --factor 0": ("factor is 0", "1 or more"),
    "coarsen fine.nc out.nc --factor 7": ("factor 7 does not cut 32 latitudes", "divides 32"),
    "coarsen fine.nc out.nc --factor 32": ("factor 32 does not cut 32", "divides 32"),
    "lerp coarse.nc out.nc --factor 0": ("factor for coarse.nc is 0", "1 or more"),
    "lerp coarse.nc out.nc --factor -2": ("factor for coarse.nc is -2", "1 or more"),
    "lerp coarse.nc out.nc --factor 1000000": ("cells, more than fit into memory", "smaller factor"),
    "lerp coarse.nc out.nc --grid away.nc": ("away.nc reaches beyond the cells of coarse.nc", ""),
    "lerp coarse.nc out.nc --grid nothing.nc": ("nothing.nc does not exist", ""),
    "lerp coarse.nc out.nc --factor 2 --var tp=nothing": ("no nothing; there is", "--var"),
    "lerp coarse.nc out.nc --factor 2 --units tp=furlong": ("tp is an amount", "furlong/day"),
    "lerp coarse.nc out.nc --factor 2 --units tp=kelvin": ("tp is in 'kelvin'", "--units tp="),
    "lerp coarse.nc out.nc --factor 2 --units tp=parsnip": ("'parsnip' is not a unit", "--units"),
    "lerp coarse.nc out.nc --factor 2 --units sst=K": ("unit is declared for sst", "t2m"),
    "lerp coarse.nc coarse.nc --factor 2 --overwrite": ("coarse.nc is an input too", "another"),
    "lerp coarse.nc fine.nc --grid fine.nc --overwrite": ("fine.nc is an input too", "another"),
    "lerp coarse.nc fine.nc --factor 2": ("fine.nc exists", "--overwrite"),
    "lerp coarse.nc out.txt --factor 2": ("out.txt ends in '.txt'", ".zarr"),
    "lerp coarse.nc no/out.nc --factor 2": ("folder of no/out.nc does not exist", "mkdir -p"),
    "lerp coarse.nc /proc/out.nc --factor 2": ("/proc.* (not writable|cannot be written)", ""),
    f"{DOWN} --grid away.nc": ("away.nc: .*reaches beyond", "nothing is extrapolated"),
    f"{DOWN} --grid wide.nc": ("wide.nc: .*coarser in latitude", "dpdm coarsen"),
    f"{DOWN} --grid half.nc": ("half.nc: .* spacing is 0.5 degrees.* trained at 1", "dpdm train"),
    f"{DOWN} --grid cut.nc --consistent": ("cut.nc: --consistent needs whole", "--grid"),
    f"{DOWN} --statics fine.nc": ("fine.nc: there is no topography", "surface_altitude"),
    f"{DOWN} --statics no.nc": ("no.nc does not exist", ""),
    f"{DOWN} --var tp=nothing": ("coarse.nc: there is no nothing", "--var"),
    "downscale wide.nc out.nc --prior prior.safetensors": ("wide.nc: .*factor of 8", "4 to 4"),
    "downscale other.nc out.nc --prior prior.safetensors": ("other.nc has none", "--var t2m"),
    "downscale many.nc out.nc --prior prior.safetensors": ("many.nc holds 2 members", "--seed"),
    "downscale coarse.nc coarse.nc --prior prior.safetensors": ("coarse.nc is an input", ""),
    "downscale coarse.nc prior.safetensors": ("ends in '.safetensors'", ".nc"),
    "evaluate coarse.nc fine.nc": ("does not have the truth's cells", "cdo remapbil"),
    "evaluate other.nc coarse.nc": ("other.nc has none of the truth's variables", "--var"),
    "evaluate later.nc coarse.nc": ("share no time", "cdo settaxis"),
    "train fine.nc --config small.toml --out prior.safetensors --factor 4": ("prior.safetensors exists", ""),
    "train fine.nc --config small.toml --out out.pt --factor 4": ("out.pt is not a .safetensors", ""),
    "train fine.nc fine.nc --config small.toml --out out.safetensors --factor 4": ("fine.nc starts at", "order"),
    "train fine.nc coarse.nc --config small.toml --out out.safetensors --factor 4": ("different grids", ""),
    "train small.nc --config small.toml --out out.safetensors --factor 2": ("No window of 32 cells", "[net]"),
    "train detailed.nc --config small.toml --out out.safetensors --factor 2": ("cells have 0.1 degrees", "--statics"),
    "train fine.nc --config small.toml --out out.safetensors --coarse later.nc": ("share 2 variables and 0 tim", ""),
    "train fine.nc --config small.toml --out out.safetensors --factor 400": ("factor", ""),
}  # fmt: skip


def strangers() -> None:
    """Write files that are sound, and that do not fit."""
    away = Grid(GRID.lat, GRID.lon + 30)
    world(grid=away).to_netcdf("away.nc")
    coarsen(world(), 8).to_netcdf("wide.nc")
    world(grid=Grid(np.arange(30.25, 34, 0.5), np.arange(110.25, 114, 0.5))).to_netcdf("half.nc")
    world().isel(lat=slice(2, 20)).to_netcdf("cut.nc")
    coarse_world().rename(t2m="sst", tp="ice").drop_attrs().to_netcdf("other.nc")
    xr.concat([coarse_world()] * 2, "realization").to_netcdf("many.nc")
    later = coarse_world()
    later.assign_coords(time=later["time"] + np.timedelta64(700, "D")).to_netcdf("later.nc")
    coarse_world().to_netcdf("small.nc")
    detail = Grid(np.arange(300, 340) / 10, np.arange(1000, 1040) / 10)
    world(grid=detail).to_netcdf("detailed.nc")


@pytest.mark.parametrize("command", OPTIONS)
def test_bad_choices(here: Path, command: str) -> None:
    strangers()
    refused(command, *OPTIONS[command])


SETTINGS = {
    "[train]\nstep = 3": ("small.toml, train has an unknown key step", "Did you mean steps?"),
    "[tarin]\nsteps = 3": ("small.toml has an unknown key tarin", "Did you mean train?"),
    "[train]\nsteps = 'many'": ("train, steps is 'many'", "type int"),
    "[train]\nsteps = true": ("train, steps is True", "type int"),
    "[train]\nsteps = 0": ("train, steps is 0", "1"),
    "[train]\nvalidate = 0": ("train, validate is 0", "1"),
    "[train]\nbatch = -2": ("train, batch is -2", "1"),
    "[train]\ndraws = 0": ("train, draws is 0", "1"),
    "[train]\nprecision = 'int8'": ("train, precision is 'int8'", "bfloat16"),
    "[train]\nsigma = 80.0": ("train, sigma is 80.0", "list"),
    "[train]\nsigma = [80.0]": ("train, sigma is .80.0", "2"),
    "[net]\nwindow = 6": ("net, window is 6", "32 to 256"),
    "[net]\nwindow = 33": ("net, window is 33", "4"),
    "[net]\nwidths = ['wide']": ("net, widths is .'wide'", "int"),
    "[net]\nwidths = [8]": ("net, widths is .8", "2"),
    "[net]\nwidths = [8, -8]": ("net, widths is .8, -8", ""),
    "[data]\nexclude = [0.0, 10.0]": ("data, exclude is .0.0, 10.0", "4"),
    "[data]\nclimatology = 'maybe'": ("data, climatology is 'maybe'", "auto"),
    "train = 3": ("small.toml, train is 3", "[name]"),
    "[train": ("small.toml is not valid TOML", "toml.io"),
}


@pytest.mark.parametrize("text", SETTINGS)
def test_bad_settings(here: Path, text: str) -> None:
    Path("small.toml").write_text(text)
    refused(TRAIN, *SETTINGS[text])


def test_settings_that_are_not_there(here: Path) -> None:
    refused(TRAIN.replace("small.toml", "no.toml"), "no.toml", "--config")
    refused(TRAIN.replace("small.toml", "."), "", "")


def test_half_a_training(here: Path) -> None:
    Path("out.safetensors.resume").write_bytes(b"torn")
    refused(TRAIN, "out.safetensors.resume", "Remove")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(here: Path) -> None:
    refused(f"{DOWN} --device cuda", "torch sees no GPU", "--device cpu")
    refused(f"{TRAIN} --device cuda", "torch sees no GPU", "--device cpu")
