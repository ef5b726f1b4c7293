"""From files on levels to files on levels: every command on a small world of three pressures."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.evaluate import evaluate_files
from dpdm.fields.grid import grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear
from dpdm.prior import load_prior
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec
from dpdm.states.bias_adjustment import fit_bias_adjustment
from dpdm.training.field_statistics import residual_importance
from dpdm.training.field_windows import TrainingSeries
from tests.helpers.reconstruction import plan
from tests.helpers.small_world import FACTOR, GRID, TOML, Taught, done, refused, world

needs_cdo = pytest.mark.skipif(shutil.which("cdo") is None, reason="cdo is not here")
PRESSURES = [1000.0, 850.0, 500.0]  # hPa


def airy(months: int = 3) -> xr.Dataset:
    """Return 2 m temperature and temperature at three pressures, missing below some ground."""
    ground = world(months)[["t2m"]]
    level = xr.Variable("plev", PRESSURES, {"units": "hPa", "standard_name": "air_pressure"})
    colder = xr.DataArray([-2.0, -10.0, -35.0], {"plev": level}, ("plev",))
    wave = xr.DataArray([0.0, 1.0, 2.0], {"plev": level}, ("plev",)) * np.cos(ground["lon"] / 2)
    t = (ground["t2m"] + colder + wave).transpose("time", "plev", "lat", "lon")
    t = t.where((t.plev < 900) | (t.lon > 104))
    t.attrs = {"units": "K", "standard_name": "air_temperature"}
    return ground.assign(ta=t.astype("f4"))


def turned(ds: xr.Dataset) -> xr.Dataset:
    """Return the same fields as other centres write them: top-down in Pa."""
    out = ds.isel(plev=slice(None, None, -1))
    axis = xr.Variable("plev", out["plev"].values * 100, {"units": "Pa", "positive": "down"})
    return out.assign_coords(plev=axis)


@pytest.fixture(scope="module")
def learnt(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Taught:
    """A prior of the world on levels."""
    folder = tmp_path_factory.mktemp("levels")
    found = Taught(folder / "fine.nc", folder / "small.toml", folder / "prior.safetensors")
    airy(24).to_netcdf(found.fine)
    found.config.write_text(TOML.replace("steps = 12", "steps = 6"))
    words = "--out", found.prior, "--factor", FACTOR, "--config", found.config
    done("train", found.fine, *words)
    return found


@pytest.fixture
def place(tmp_path: Path, learnt: Taught, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with truth, coarse fields, the same turned round, and the prior."""
    shutil.copy(learnt.prior, tmp_path / "prior.safetensors")
    truth = airy()
    truth.to_netcdf(tmp_path / "truth.nc")
    turned(truth).to_netcdf(tmp_path / "turned.nc")
    monkeypatch.chdir(tmp_path)
    done("coarsen", "truth.nc", "coarse.nc", "--factor", FACTOR)
    return tmp_path


def opened(name: str) -> xr.Dataset:
    with xr.open_dataset(name) as ds:
        return ds.load()


def test_coarsen_and_lerp_treat_each_level_as_a_field(place: Path) -> None:
    done("lerp", "coarse.nc", "lerp.nc", "--factor", FACTOR)
    means, fine = opened("coarse.nc"), opened("lerp.nc")
    assert means["ta"].dims == ("time", "level", "lat", "lon")
    assert means["level"].values.tolist() == [100000.0, 85000.0, 50000.0]
    assert means["ta"].encoding["chunksizes"] == (1, 3, *grid_of(means).shape)
    for pressure in PRESSURES:
        field = airy()[["ta"]].sel(plev=pressure, drop=True)
        seen = coarsen_fields(field, FACTOR)
        at = {"level": 100 * pressure}
        np.testing.assert_array_equal(means["ta"].sel(at), seen["ta"])
        np.testing.assert_array_equal(
            fine["ta"].sel(at), interpolate_bilinear(seen, grid_of(field))["ta"]
        )
    missing = means["ta"].isnull().any(("time", "lat")).values
    assert missing[0].tolist() == [True] + 11 * [False]
    assert not missing[1:].any()


def test_order_and_unit_of_levels_change_no_bit(place: Path) -> None:
    done("coarsen", "turned.nc", "other.nc", "--factor", FACTOR)
    one, other = opened("coarse.nc"), opened("other.nc")
    for name in one.variables:
        np.testing.assert_array_equal(one[name], other[name])


def test_training_knows_levels_and_their_order(place: Path, learnt: Taught) -> None:
    channels = load_prior(Path("prior.safetensors")).normaliser.channels
    assert [c.name for c in channels] == ["t2m", "t1000", "t850", "t500"]
    assert [c.level for c in channels] == [0.0, 1e5, 8.5e4, 5e4]
    assert [c.family for c in channels] == ["", "t", "t", "t"]
    text = done("info", "prior.safetensors").stdout
    assert "  t: temperature [K]\n" in text
    assert "  t: 1000, 850, 500 hPa\n" in text
    turned(airy(24)).to_netcdf("fine.nc")
    words = "--out", "again.safetensors", "--factor", FACTOR, "--config", learnt.config
    done("train", "fine.nc", *words)
    a, b = (load_prior(Path(f"{n}.safetensors")).denoiser for n in ("prior", "again"))
    for one, other in zip(a.parameters(), b.parameters(), strict=True):
        np.testing.assert_array_equal(one.detach(), other.detach())


def drawn(name: str, *words: object, coarse: str = "coarse.nc") -> xr.Dataset:
    how = "--prior", "prior.safetensors", "--members", 2, "--steps", 3
    done("downscale", coarse, name, *how, *words)
    return opened(name)


def test_members_and_statistics_lie_on_levels(place: Path) -> None:
    out = drawn("out.nc")
    assert out["ta"].dims == ("time", "realization", "level", "lat", "lon")
    assert out["ta_mean"].dims == ("time", "level", "lat", "lon")
    assert out["t2m"].dims == ("time", "realization", "lat", "lon")
    assert {"ta_spread", "ta_p10", "t2m_mean"} <= set(out)
    known = out["ta"].notnull().all(("time", "realization", "lat")).values
    assert known[1:].all()
    assert not known[0, :4].any()
    assert known[0, 12:].all()
    mean = out["ta"].mean("realization", dtype=float)
    np.testing.assert_allclose(out["ta_mean"], mean, rtol=1e-6, equal_nan=True)
    done("coarsen", "turned.nc", "other.nc", "--factor", FACTOR)
    turned_round = drawn("again.nc", coarse="other.nc")
    for name in ("ta", "t2m", "ta_spread"):
        np.testing.assert_array_equal(out[name], turned_round[name])


def test_zarr_holds_the_same(place: Path) -> None:
    out = drawn("out.nc")
    done("downscale", "coarse.nc", "out.zarr", "--prior", "prior.safetensors", "--members", 2,
         "--steps", 3)  # fmt: skip
    with xr.open_zarr("out.zarr") as store:
        assert store["ta"].encoding["chunks"] == (1, 1, *out["ta"].shape[2:])
        np.testing.assert_array_equal(store["ta"], out["ta"])


def test_a_part_of_the_levels_is_enough(place: Path) -> None:
    opened("coarse.nc").isel(level=[1]).drop_vars("t2m").to_netcdf("one.nc")
    out = drawn("out.nc", coarse="one.nc")
    assert out["level"].values.tolist() == [85000.0]
    assert "t2m" not in out


def test_scores_say_each_level_and_their_mean(place: Path) -> None:
    drawn("out.nc")
    table = evaluate_files(*map(Path, ("out.nc", "turned.nc", "coarse.nc")))
    heads = [line for line in table.text().splitlines() if "[K]" in line]
    levels = ["t1000 [K]", "t850 [K]", "t500 [K]"]
    assert heads == ["t2m [K]", *levels, "t [K], mean of 3 levels"]
    said = json.loads(table.to_json())
    rmse = {r["variable"]: r["rmse"] for r in said["rows"] if r["method"] == "lerp"}
    (mean,) = (r for r in said["means"] if r["method"] == "lerp")
    assert mean["rmse"] == pytest.approx(np.mean([rmse[n] for n in ("t1000", "t850", "t500")]))
    own = {r["variable"]: r["rmse"] for r in said["rows"] if r["method"] == "mean of 2"}
    for pressure in PRESSURES:
        truth = airy()["ta"].sel(plev=pressure, drop=True)
        mean = opened("out.nc")["ta_mean"].sel(level=100 * pressure, drop=True)
        square = ((mean - truth) ** 2).weighted(np.cos(np.radians(truth.lat))).mean()
        assert own[f"t{pressure:g}"] == pytest.approx(float(square) ** 0.5, rel=1e-3)


def test_families_have_names_and_units(place: Path) -> None:
    celsius = (airy()[["ta"]] - 273.15).rename(ta="x")
    celsius.to_netcdf("c.nc")
    refused("coarsen c.nc out.nc --factor 4 --var t=x", "t has a median of", "--units t=degC")
    done("coarsen", "c.nc", "out.nc", "--factor", 4, "--var", "t=x", "--units", "t=degC")
    out = opened("out.nc")
    assert out["x"].attrs["units"] == "degC"
    np.testing.assert_allclose(out["x"], opened("coarse.nc")["ta"] - 273.15, atol=1e-4)
    words = "--prior", "prior.safetensors", "--members", 1, "--steps", 2
    done("downscale", "out.nc", "fine.nc", *words, "--var", "t=x", "--units", "x=degC")
    assert opened("fine.nc")["x"].attrs["units"] == "degC"


@needs_cdo
def test_cdo_reads_levels(place: Path) -> None:
    drawn("out.nc", "--keep", "stats")

    def cdo(*words: str) -> str:
        ran = subprocess.run(["cdo", *words], capture_output=True, text=True, check=True)
        assert "arning" not in ran.stderr
        return ran.stdout

    said = cdo("sinfo", "coarse.nc")
    assert "pressure                 : levels=3" in said
    assert "100000 to 50000 Pa" in said
    cdo("-s", "sellevel,85000", "out.nc", "one.nc")
    np.testing.assert_array_equal(
        opened("one.nc")["ta_mean"][:, 0], opened("out.nc")["ta_mean"].sel(level=85000.0)
    )
    cdo("-s", "invertlev", "coarse.nc", "inverted.nc")
    done("lerp", "inverted.nc", "a.nc", "--factor", 2)
    done("lerp", "coarse.nc", "b.nc", "--factor", 2)
    np.testing.assert_array_equal(opened("a.nc")["ta"], opened("b.nc")["ta"])


def test_reconstructions_hold_levels(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    Path("coarse.nc").rename("in_0.nc")
    words = "--prior", "prior.safetensors", "--members", 3, "--steps", 2
    done("downscale", "in_0.nc", "fine.nc", *words)
    whole = opened("fine.nc")
    for layout in ("netcdf-yearly", "zarr"):
        done("reconstruct", plan(place, layout=layout, keep="all"), layout)
    done("reconstruct", "--verify", "plan.toml", layout)
    with xr.open_zarr("zarr/fine.zarr") as store:
        for name in ("ta", "ta_mean", "ta_spread", "t2m"):
            np.testing.assert_array_equal(opened("netcdf-yearly/fine_2000.nc")[name], whole[name])
            np.testing.assert_array_equal(store[name], whole[name])


def test_the_climate_of_each_level_is_adjusted_by_itself(place: Path) -> None:
    airy(24).to_netcdf("two.nc")
    done("coarsen", "two.nc", "series.nc", "--factor", FACTOR)
    series = open_fields("series.nc").load()
    warm = series.assign(t850=(series["t850"] + np.float32(5)).assign_attrs(series["t850"].attrs))
    prior = load_prior(Path("prior.safetensors"))
    plain, moved = (
        fit_bias_adjustment(f, prior, "mean", ["2000", "2001"]).step(3) for f in (series, warm)
    )
    for name in ("t1000", "t850", "t500", "t2m"):
        np.testing.assert_allclose(plain[name], moved[name], atol=1e-3)
        assert moved[name].attrs == series[name].attrs


def test_stations_pull_at_the_surface_of_a_column(place: Path) -> None:
    lines = "time,lat,lon,variable,value,units,error\n2000-02,30.2,120.4,t2m,330,K,0.5\n"
    Path("stations.csv").write_text(lines)
    words = "--prior", "prior.safetensors", "--members", 2, "--steps", 2, "--reject", 0
    done("assimilate", "stations.csv", "with.nc", "--coarse", "coarse.nc", *words)
    done("assimilate", "stations.csv", "alone.nc", "--grid", "truth.nc", *words)
    for name, mean in (("with.nc", "ta_mean"), ("alone.nc", "t_mean")):
        out = opened(name)
        assert out[mean].dims == ("time", "level", "lat", "lon")
        assert out[mean].attrs["standard_name"] == "air_temperature"
        assert float(out["t2m_mean"].sel(lat=30.5, lon=120.5).isel(time=1)) > 315


def test_model_levels_are_refused(place: Path) -> None:
    ds = airy()
    hybrid = {"standard_name": "atmosphere_hybrid_sigma_pressure_coordinate", "units": "1"}
    ds.assign_coords(plev=("plev", [0.1, 0.5, 1.0], hybrid)).to_netcdf("model.nc")
    refused("coarsen model.nc out.nc --factor 4", "ta is on 3 model levels", "pressure levels")
    refused(
        "downscale model.nc out.nc --prior prior.safetensors",
        "3 model levels",
        "pressure levels",
    )


def test_what_is_missing_on_one_level_leaves_a_cell_to_the_others() -> None:
    t500 = airy(12)["ta"].to_numpy()[:, 2]
    hidden = t500.copy()
    hidden[:, 10:20, 10:20] = np.nan
    channel = VariableSpec("t500", "", "", "K", "identity", 0.0, 1.0, ((4.0, 1.0),))
    ground, seasons = np.zeros((2, *GRID.shape), "f4"), [None] * 12
    whole, part = (
        residual_importance(
            TrainingSeries(np.stack([first, t500], 1), ground, GRID, seasons, (4, 4)),
            Normaliser((channel, channel)),
            np.arange(12),
        )
        for first in (t500, hidden)
    )
    for there in (slice(10, 20), slice(30, None)):  # inside, where it is missing, and far from it
        np.testing.assert_allclose(part[10:20, there], whole[10:20, there], rtol=1e-12)
