"""Choices that make no sense: exit 2 for the usage, else 1 with two lines, and no file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.fields.regrid import coarsen_fields
from tests.helpers.small_world import GRID, coarse_world, refused, world

DOWN = "downscale coarse.nc out.nc --prior prior.safetensors --mean"
TRAIN = "train fine.nc --out out.safetensors --factor 4 --config small.toml"
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
    "lerp coarse.nc fine.nc --grid fine.nc --overwrite": "fine.nc exists.*may be an input.*-o",
    "lerp coarse.nc detailed.nc fine.nc --factor 2": "fine.nc exists.*may be an input.*-o",
    "lerp coarse.nc": "Missing argument 'FINE'",
    "lerp coarse.nc out.nc --grid fine.nc --res 1": "either --grid or --res",
    "downscale coarse.nc out.nc --bbox 1,2,3,4 --lon 1,2": "either --bbox or --lon and --lat",
    "lerp coarse.nc out.nc": "either --grid or --factor",
    "lerp coarse.nc out.nc --grid fine.nc --factor 4": "either --grid or --factor",
    "train fine.nc --out out.safetensors": "either --factor or --coarse",
    "train fine.nc --out out.safetensors --factor 4 --coarse coarse.nc": "either --factor or",
    "downscale http://localhost:9/a.nc o.nc": "http://localhost:9/a.nc is a URL",
    "evaluate s3://bucket/a.nc fine.nc": "s3://bucket/a.nc is a URL",
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
    "lerp coarse.nc out.nc --factor 10000": ("more than fit into memory", "smaller factor"),
    "lerp coarse.nc out.nc --grid away.nc": ("away.nc reaches beyond the cells of coarse.nc", ""),
    "lerp coarse.nc out.nc --grid nothing.nc": ("nothing.nc does not exist", ""),
    "lerp coarse.nc out.nc --factor 2 --var tp=nothing": ("no nothing; there is", "--var tp=tp."),
    "lerp coarse.nc out.nc --factor 2 --units tp=furlong": ("tp is an amount", "furlong/day"),
    "lerp coarse.nc out.nc --factor 2 --units tp=kelvin": ("tp is in 'kelvin'", "--units tp="),
    "lerp coarse.nc out.nc --factor 2 --units tp=parsnip": ("'parsnip' is not a unit", "--units"),
    "lerp coarse.nc out.nc --factor 2 --units sst=K": ("unit is declared for sst", "t2m"),
    "lerp coarse.nc coarse.nc --factor 2 --overwrite": ("coarse.nc is an input too", "another"),
    "lerp coarse.nc fine.nc --factor 2": ("fine.nc exists", "--overwrite"),
    "lerp coarse.nc out.txt --factor 2": ("out.txt ends in '.txt'", ".zarr"),
    "lerp coarse.nc no/out.nc --factor 2": ("folder of no/out.nc does not exist", "mkdir -p"),
    "lerp coarse.nc /proc/out.nc --factor 2": ("/proc.* (not writable|cannot be written)", ""),
    f"{DOWN} --grid away.nc": ("away.nc: .*reaches beyond", "nothing is extrapolated"),
    f"{DOWN} --grid wide.nc": ("wide.nc: .*coarser in latitude", "dpdm coarsen"),
    f"{DOWN} --grid half.nc": ("half.nc: .* spacing is 0.5 degrees, the prior's 1", "dpdm train"),
    f"{DOWN} --grid cut.nc --consistent": ("cut.nc: --consistent needs whole", "--grid"),
    f"{DOWN} --statics fine.nc": ("fine.nc: there is no topography", "surface_altitude"),
    f"{DOWN} --statics no.nc": ("no.nc does not exist", ""),
    f"{DOWN} --var tp=nothing": ("coarse.nc: there is no nothing", "--var tp=tp."),
    f"{DOWN} --var sst=tp": ("prior does not have", "--var t2m=tp."),
    "downscale wide.nc out.nc --prior prior.safetensors": ("wide.nc: .*factor of 8.* 4 to 4", ""),
    "downscale other.nc out.nc --prior prior.safetensors": ("other.nc has none", "--var t2m=sst."),
    "downscale many.nc out.nc --prior prior.safetensors": ("many.nc holds 2 members", "--seed"),
    "downscale coarse.nc coarse.nc --prior prior.safetensors": ("coarse.nc is an input", ""),
    "downscale coarse.nc out.safetensors": ("ends in '.safetensors'", ".nc"),
    "evaluate coarse.nc fine.nc": ("does not have the truth's cells", "cdo remapbil"),
    "evaluate other.nc coarse.nc": ("other.nc has none of the truth's", "--var t2m=sst."),
    "evaluate later.nc coarse.nc": ("share no time", "the same period"),
    "train fine.nc --out prior.safetensors --factor 4": ("prior.safetensors exists", ""),
    "train fine.nc --out out.pt --factor 4": ("out.pt is not a .safetensors", ""),
    "train fine.nc fine.nc --out out.safetensors --factor 4": ("fine.nc is given twice", "once"),
    "train fine.nc coarse.nc --out out.safetensors --factor 4": ("different grids", ""),
    "train detailed.nc --out out.safetensors --factor 2": ("cells have 0.1 degrees", "--statics"),
    "train fine.nc --out out.safetensors --coarse later.nc": ("share 2 variables and 0 tim", ""),
    "train fine.nc --out out.safetensors --factor 400": ("factor of 400", "smaller"),
}  # fmt: skip


def strangers() -> None:
    """Write files that are sound, and that do not fit."""
    away = Grid(GRID.lat, GRID.lon + 30)
    world(grid=away).to_netcdf("away.nc")
    coarsen_fields(world(), 8).to_netcdf("wide.nc")
    world(grid=Grid(np.arange(30.25, 34, 0.5), np.arange(110.25, 114, 0.5))).to_netcdf("half.nc")
    world().isel(lat=slice(2, 20)).to_netcdf("cut.nc")
    coarse_world().rename(t2m="sst", tp="ice").drop_attrs().to_netcdf("other.nc")
    xr.concat([coarse_world()] * 2, "realization").to_netcdf("many.nc")
    later = coarse_world()
    later.assign_coords(time=later["time"] + np.timedelta64(731, "D")).to_netcdf("later.nc")
    detail = Grid(np.arange(300, 340) / 10, np.arange(1000, 1040) / 10)
    world(grid=detail).to_netcdf("detailed.nc")


@pytest.mark.parametrize("command", OPTIONS)
def test_bad_choices(here: Path, command: str) -> None:
    strangers()
    quick = " --config small.toml" if command.startswith("train") else ""
    refused(command + quick, *OPTIONS[command])


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
    "[net]\nwidths = ['wide']": ("net, widths is 'wide'", "int"),
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
    refused(TRAIN.replace("small.toml", "no.toml"), "no.toml does not exist", "Check the name")
    refused(TRAIN.replace("small.toml", "."), r"\. is a directory", "Name a file")


def test_half_a_training(here: Path) -> None:
    Path("out.safetensors.resume").write_bytes(b"torn")
    refused(TRAIN, "out.safetensors.resume", "Remove")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(here: Path) -> None:
    refused(f"{DOWN} --device cuda", "torch finds no GPU", "--device cpu")
    refused(f"{TRAIN} --device cuda", "torch finds no GPU", "--device cpu")
