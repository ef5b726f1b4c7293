"""dpdm adjust: what a plan does to its input, as a coarse file that is adjusted once."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.read import open_fields
from dpdm.prior import load_prior
from dpdm.reconstruct.setup import prepare_reconstruction
from tests.helpers.climate_model import model_months
from tests.helpers.monthly_files import add, bare
from tests.helpers.reconstruction import plan
from tests.helpers.small_world import Taught, done, dpdm, refused, world

PERIOD = ("--reference-period", "1996,2001", "--prior", "prior.safetensors")
NORMALS = ("--climatology", "normals.nc", "--climatology-period", "2001,2001")
KEYS = 'climatology = "normals.nc"\nclimatology_period = ["2001", "2001"]'
OTHER_PERIOD = pytest.mark.filterwarnings("ignore:.*do not overlap")


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six years of a model in two files and in one, and the climatology of the small world."""
    model = model_months(first=1996, warm=3, wet=1.5)
    parts = slice(0, 36), slice(36, 72)
    for name, part in zip(("in_0.nc", "in_1.nc", "gcm.nc"), (*parts, slice(72)), strict=True):
        model.isel(time=part).to_netcdf(tmp_path / name)
    world(24).to_netcdf(tmp_path / "normals.nc")
    return bare(tmp_path, taught, monkeypatch)


def load(path: str) -> xr.Dataset:
    with xr.open_dataset(path) as ds:
        return ds.load()


@OTHER_PERIOD
@pytest.mark.parametrize("method", ["anomalies", "mean"])
def test_the_file_holds_what_a_plan_makes_of_its_input(site: Path, method: str) -> None:
    choice = NORMALS if method == "anomalies" else ()
    done("adjust", "gcm.nc", "all.nc", *PERIOD, *choice, "--method", method)
    done("adjust", "in_1.nc", "last.nc", *PERIOD, *choice, "--method", method,
         "--reference", "in_0.nc")  # fmt: skip
    plan(site, members=0, input='period = ["2001-11", "2001-12"]')
    add("adjust", f'method = "{method}"\nreference = ["1996", "2001"]')
    if method == "anomalies":
        add("prior", KEYS)
    setup = prepare_reconstruction(site / "plan.toml")
    fields, last = open_fields(Path("all.nc")), open_fields(Path("last.nc"))
    assert last.sizes["time"] == 36
    for unit, step in zip(setup.units, (70, 71), strict=True):
        wanted = setup.read_unit_input(unit).coarse
        for name in ("t2m", "tp"):
            for got in (fields[name][[step]], last[name][[step - 36]]):
                # single precision of the file, in kg m-2 s-1
                np.testing.assert_allclose(got.values, wanted[name].values, rtol=2e-7)


@OTHER_PERIOD
def test_over_the_reference_period_the_climate_is_the_target(site: Path) -> None:
    done("adjust", "gcm.nc", "mean.nc", *PERIOD, "--method", "mean")
    done("adjust", "gcm.nc", "anomalies.nc", *PERIOD, *NORMALS)
    done("coarsen", "normals.nc", "target.nc", "--factor", 4)
    climate = load_prior(site / "prior.safetensors").coarse["mean"].numpy()
    target = load("target.nc").isel(time=slice(12, None))
    for number, name in enumerate(("t2m", "tp")):
        means = (
            open_fields(Path(f"{method}.nc"))[name].groupby("time.month").mean().values
            for method in ("mean", "anomalies")
        )
        for got, wanted in zip(means, (climate[:, number], target[name].values), strict=True):
            sure = wanted > 0.1  # mm day-1; ratios of drier months are limited
            np.testing.assert_allclose(got[sure], wanted[sure], rtol=2e-6)


@OTHER_PERIOD
def test_the_file_keeps_units_calendar_and_bounds_and_says_what_was_done(site: Path) -> None:
    said = done("adjust", "gcm.nc", "out.nc", *PERIOD, *NORMALS).stderr.splitlines()
    sentence = (
        "Adjusted, month by month, from the mean of the input's 1996-01 to 2001-12 to that of the "
        "climatology normals.nc (2001-01 to 2001-12)."
    )
    assert said[-2] == sentence
    assert said[-1].startswith("Wrote out.nc: 72 steps, 8 x 12 cells")
    out, model = load("out.nc"), load("gcm.nc")
    units = {
        array.attrs["standard_name"]: array.attrs["units"]
        for array in out.data_vars.values()
        if {"lat", "lon"} <= set(array.dims)
    }
    assert units == {"air_temperature": "K", "precipitation_flux": "kg m-2 s-1"}
    assert out["time"].dt.calendar == "noleap"
    np.testing.assert_array_equal(out["time_bnds"].values, model["time_bnds"].values)
    about = {"adjustment": sentence, "adjustment_method": "anomalies", "input": "gcm.nc"}
    about |= {"adjusted_variables": "t2m tp"}
    assert about == {key: out.attrs[f"dpdm_{key}"] for key in about}


@OTHER_PERIOD
def test_a_file_is_adjusted_once(site: Path) -> None:
    done("adjust", "gcm.nc", "out.nc", *PERIOD, *NORMALS)
    done("coarsen", "out.nc", "half.nc", "--factor", 2)
    again = "out.nc is adjusted already: Adjusted, month by month"
    tail = "--prior prior.safetensors --reference-period 1996,2001"
    refused(f"adjust half.nc o.nc {tail} --method mean", "adjusted already: Adjusted", "original")
    refused(f"downscale out.nc o.nc {tail} --climatology normals.nc --mean", again, "leave out")
    taken = ("--prior", "prior.safetensors", "--mean")
    assert "Warning" not in dpdm("downscale", "out.nc", "fine.nc", *taken).stderr
    assert load("fine.nc").attrs["dpdm_adjustment_method"] == "anomalies"
    plan(site, files='"out.nc"', members=0, input='period = ["2001-12", "2001-12"]')
    done("reconstruct", "plan.toml", "series")
    found = load("series/fine_2001.nc").attrs["dpdm_adjustment"]
    assert found == load("out.nc").attrs["dpdm_adjustment"]
    add("adjust", 'method = "mean"\nreference = ["1996", "2001"]')
    refused("reconstruct plan.toml other", "adjusted already", 'set method = "none" in [adjust]')


@OTHER_PERIOD
def test_variables_without_a_climate_are_left_as_they_are(site: Path) -> None:
    model = load("gcm.nc")
    pressure = xr.full_like(model["tas"], 1e5).assign_attrs(
        units="Pa", standard_name="air_pressure_at_mean_sea_level"
    )
    model.assign(psl=pressure).to_netcdf("more.nc")
    done("adjust", "more.nc", "out.nc", *PERIOD, *NORMALS)
    out = open_fields(Path("out.nc"))
    np.testing.assert_array_equal(out["msl"].values, pressure.values)
    assert "sp" not in out
    assert out.attrs["dpdm_adjusted_variables"] == "t2m tp"


@OTHER_PERIOD
@pytest.mark.filterwarnings("ignore:.*are used once")
def test_a_reference_of_the_same_months_changes_nothing(site: Path) -> None:
    done("adjust", "in_1.nc", "a.nc", *PERIOD, "--method", "mean", "--reference", "gcm.nc")
    done("adjust", "in_1.nc", "b.nc", *PERIOD, "--method", "mean", "--reference", "in_0.nc")
    a, b = load("a.nc"), load("b.nc")
    assert a.sizes["time"] == 36
    np.testing.assert_array_equal(a["tas"], b["tas"])


@OTHER_PERIOD
def test_a_box_holds_the_cells_around_it(site: Path) -> None:
    done("adjust", "gcm.nc", "all.nc", *PERIOD, "--method", "mean")
    done("adjust", "gcm.nc", "box.nc", *PERIOD, "--method", "mean", "--bbox", "112,116,30,34")
    whole, box = open_fields(Path("all.nc")), open_fields(Path("box.nc"))
    assert 2 <= box.sizes["lon"] < whole.sizes["lon"]
    part = whole.sel(lat=box["lat"], lon=box["lon"])
    np.testing.assert_array_equal(box["t2m"].values, part["t2m"].values)


REFUSED = {
    "": (2, "Missing option '--reference-period'", ""),
    "--reference-period 1996,2001 --method mean --climatology era5": (
        2,
        "--climatology is for",
        "",
    ),
    "--reference-period 1961,1990": (
        1,
        "The input is from 1996-01 to 2001-12",
        "--reference FILE",
    ),
    "--reference-period 1996,2001 --climatology none": (1, "no climatology of t2m, tp", "FILE"),
    "--reference-period 1996,2001 --method quantile": (1, "stores no quantiles", "--method mean"),
    "--reference-period 1996,1996-12 --method mean": (1, "1 years of month 1", "longer"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_adjusted_is_refused(site: Path, words: str) -> None:
    code, what, hint = REFUSED[words]
    refused(f"adjust gcm.nc out.nc --prior prior.safetensors {words}", what, hint, code)
