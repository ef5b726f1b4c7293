"""--climatology: which commands take it, what they write of it, and what they refuse."""

from dataclasses import replace
from pathlib import Path

import pytest
import xarray as xr

from dpdm.prior import load_prior, save_prior
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import count_conditioning_channels
from dpdm.system import sha256
from dpdm.training.loop import load_starting_weights
from tests.helpers.reconstruction import plan
from tests.helpers.small_world import coarse_world, done, dpdm, refused, world

PRIOR = "--prior knowing.safetensors"
COMMANDS = {
    "downscale": f"downscale coarse.nc out.nc {PRIOR} --mean",
    "perturb": f"perturb fine.nc out.nc {PRIOR} --members 2 --steps 2",
    "embed": f"embed fine.nc out.nc {PRIOR} --layer mid --pool mean",
    "assimilate": f"assimilate seen.csv out.nc --coarse coarse.nc {PRIOR} --members 1 --steps 2 "
    "--error t2m=1",
}


@pytest.fixture
def place(here: Path) -> Path:
    """A folder with a prior that takes a reference, two years of fine fields, and a station."""
    prior = load_prior(Path("prior.safetensors"))
    channels = tuple(replace(c, reference=(1.0, 1.0, 1.0)) for c in prior.normaliser.channels)
    count = len(channels)
    net = prior.contract.net | {"given": count_conditioning_channels(count, reference=True)}
    wider = new_denoiser(count, net)
    load_starting_weights(wider, prior.denoiser.state_dict())
    knowing = replace(
        prior, denoiser=wider, normaliser=Normaliser(channels),
        contract=replace(prior.contract, net=net),
    )  # fmt: skip
    save_prior(knowing, Path("knowing.safetensors"))
    world(24).to_netcdf("normals.nc")
    Path("seen.csv").write_text(
        "station,time,lat,lon,t2m [K]\na,2000-02,30.0,110.0,290\n", encoding="utf-8"
    )
    return here


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_is_said_and_noted(place, command):
    line = f"{COMMANDS[command]} --climatology normals.nc"
    said = done(*line.split())
    assert "normals.nc: its climatology is the mean of all its months, 2000-01" in said.stderr
    with xr.open_dataset("out.nc") as out:
        assert out.attrs["dpdm_climatology"] == "normals.nc"
        assert out.attrs["dpdm_climatology_sha256"] == sha256(Path("normals.nc"))
        assert out.attrs["dpdm_climatology_period"] == "2000-01 to 2001-12"


def test_a_stated_period_is_quiet_and_noted(place):
    line = f"{COMMANDS['downscale']} --climatology normals.nc --climatology-period 2001-01,2001-12"
    assert "climatology" not in done(*line.split()).stderr
    with xr.open_dataset("out.nc") as out:
        assert out.attrs["dpdm_climatology_period"] == "2001-01 to 2001-12"


def test_the_default_is_quiet(place):
    said = done(*COMMANDS["downscale"].split())  # one degree is no spacing of the bundled one
    assert "climatology" not in said.stderr
    with xr.open_dataset("out.nc") as out:
        assert out.attrs["dpdm_climatology"] == "none"
    done(*COMMANDS["downscale"].split(), "--climatology", "era5", "--overwrite")
    with xr.open_dataset("out.nc") as out:
        assert out.attrs["dpdm_climatology"] == "era5"
        assert out.attrs["dpdm_climatology_period"] == "2000-01 to 2025-12"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_output_is_not_the_climatology(place, command):
    line = COMMANDS[command].replace("out.nc", "normals.nc")
    refused(f"{line} --climatology normals.nc", "normals.nc is an input too")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--climatology-period 1991-01,2020-12", "requires --climatology FILE"),
        ("--climatology era5 --climatology-period 1991,2020", "requires --climatology FILE"),
        ("--climatology-period 1991,2020 --climatology none", "requires --climatology FILE"),
        ("--climatology normals.nc --climatology-period 1991", "is not two months"),
        ("--climatology normals.nc --climatology-period 1991-13,1992", "is not two months"),
        ("--climatology https://chelsa.ch/a.nc", "is a URL"),
    ],
)
def test_usage(place, command, words, said):
    refused(f"{COMMANDS[command]} {words}", said, code=2)


def test_less_than_a_year_is_a_usage_error_too(place):
    words = "--climatology normals.nc --climatology-period 2000-01,2000-06"
    refused(f"{COMMANDS['downscale']} {words}", "is shorter than a year", code=2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("era6", "no climatology era6"),
        ("absent.nc", "absent.nc does not exist"),
        ("seen.csv", "seen.csv is not NetCDF"),
        ("normals.nc --climatology-period 1991,2020", "asks for 1991-01 to 2020-12"),
        ("coarse.nc", "coarse.nc"),
    ],
)
def test_files_that_do_not_fit(place, words, said):
    refused(f"{COMMANDS['downscale']} --climatology {words}", said)


def test_a_prior_without_reference_refuses_one(place):
    line = COMMANDS["downscale"].replace("knowing", "prior")
    refused(f"{line} --climatology normals.nc", "this one was not", "Leave it out")
    done(*line.split(), "--climatology", "none")


def test_a_plan_names_it(place):
    coarse_world(2).to_netcdf("in_0.nc")
    text = plan(place, members=0).read_text().replace("prior.safetensors", "knowing.safetensors")
    keys = 'climatology = "normals.nc"\nclimatology_period = ["2000", "2001"]\n[draw]'
    Path("plan.toml").write_text(text.replace("[draw]", keys))
    done("reconstruct", "plan.toml", "out")
    with xr.open_dataset("out/fine_2000.nc") as out:
        assert out.attrs["dpdm_climatology"] == "normals.nc"
        assert out.attrs["dpdm_climatology_period"] == "2000-01 to 2001-12"
    Path("plan.toml").write_text(
        text.replace("[draw]", keys.replace('["2000", "2001"]', '["2001", "2001"]'))
    )
    changed = dpdm("reconstruct", "plan.toml", "out")
    assert changed.exit_code == 1
    assert "the climatology was" in changed.stderr
