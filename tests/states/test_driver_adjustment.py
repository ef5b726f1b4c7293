"""Anomalies from the driver's own climate: trends pass, and its climate is the climatology's."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.climatology import TRACE_AMOUNT
from dpdm.fields.driver_climate import select_stencil
from dpdm.fields.grid import Grid
from dpdm.fields.regrid import average_conservative, coarsen_fields, interpolate_bilinear
from dpdm.prior import Prior, load_prior
from dpdm.states.driver_adjustment import warn_of_shift
from dpdm.states.field_domain import fit_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions
from dpdm.states.reference import open_coarse_climatology
from tests.helpers.climate_model import COARSE, model_months
from tests.helpers.small_world import Taught, done, refused, world
from tests.states.test_reference import climate, prior_with

PERIOD = ("1981-01", "1985-12")  # 60 steps
SOME = (0, 17, 38, 59, 60, 71)  # in and after it
quiet = pytest.mark.filterwarnings("ignore:.*do not overlap")
GLOBE = Grid(np.arange(-87.5, 90, 5), np.arange(0, 360, 5.0))


@pytest.fixture
def prior(taught: Taught) -> Prior:
    return load_prior(taught.prior)


def opened(
    folder: Path, model: xr.Dataset, prior: Prior, taught: Taught,
    ends: tuple[str, str] | None = PERIOD, reference: xr.Dataset | None = None,
    **options: Any,
) -> FieldSpace:  # fmt: skip
    """Return the space of a model's months, with the climatology of the small world."""
    folder = folder / str(len(list(folder.iterdir())))  # earlier files may be open
    folder.mkdir()
    model.to_netcdf(path := folder / "gcm.nc")
    files: tuple[Path, ...] = ()
    if reference is not None:
        reference.to_netcdf(folder / "past.nc")
        files = (folder / "past.nc",)
    chosen = EnsembleOptions(
        device="cpu", reference_period=ends, reference=files, **climatology_of(taught)
    )  # fmt: skip
    return fit_field_space(path, prior, replace(chosen, **options), None, None)


def compared(folder: Path, model: xr.Dataset, prior: Prior, taught: Taught) -> None:
    """Compare a model's months with the climatology of the small world."""
    space = opened(folder, model, prior, taught, None, climatology="none", climatology_period=None)
    options = replace(space.options, **climatology_of(taught))
    known = open_coarse_climatology(prior, space.grid, COARSE, options)
    warn_of_shift(replace(space, coarse_climatology=known), "gcm.nc")


def climatology_of(taught: Taught) -> dict[str, Any]:
    return {"climatology": str(taught.fine), "climatology_period": ("2001", "2001")}


def steps(space: FieldSpace, some: Iterable[int] = SOME) -> xr.Dataset:
    """Return coarse steps as one series, in double precision."""
    each = [space.coarse_step(step).drop_vars("time_bnds") for step in some]
    return xr.concat(each, "time", coords="minimal", compat="override").astype(float)


def world_climate() -> xr.Dataset:
    """Return the small world's monthly climate on the model's cells."""
    year = world(24).astype(float).isel(time=slice(12, None))
    return average_conservative(year, COARSE).rename(time="month")


# What is kept


@quiet
def test_a_trend_of_the_driver_is_that_of_the_adjusted(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    steady, warming = (
        steps(opened(tmp_path, model_months(trend=t), prior, taught)) for t in (0, 0.5)
    )
    rise = (warming["t2m"] - steady["t2m"]).transpose("time", ...).values
    middle = 24 + np.array(SOME) % 12  # of the months of the period
    wanted = 0.5 * (np.array(SOME) - middle) / 12
    np.testing.assert_allclose(rise, np.full(rise.shape, wanted[:, None, None]), atol=1e-9)
    xr.testing.assert_allclose(warming["tp"], steady["tp"], rtol=1e-12)


@quiet
def test_the_climate_of_the_period_is_that_of_the_climatology(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    space = opened(tmp_path, model_months(years=5, warm=5, wet=1.7), prior, taught)
    found = steps(space, range(60)).groupby("time.month").mean()
    wanted = world_climate()
    for name in ("t2m", "tp"):
        known = wanted[name].values
        some = known > (TRACE_AMOUNT if name == "tp" else 0)
        assert some.mean() > 0.7
        np.testing.assert_allclose(
            found[name].transpose("month", "lat", "lon").values[some], known[some], rtol=1e-6
        )  # the climatology is stored in single precision


@quiet
def test_a_bias_of_the_driver_does_not_matter(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    one, two = (
        steps(opened(tmp_path, model_months(warm=warm, wet=wet), prior, taught))
        for warm, wet in ((0, 1), (-7, 2.5))
    )
    xr.testing.assert_allclose(one["t2m"], two["t2m"], atol=1e-9)
    xr.testing.assert_allclose(one["tp"], two["tp"], rtol=1e-9)


@quiet
def test_the_period_may_lie_in_other_files(tmp_path: Path, prior: Prior, taught: Taught) -> None:
    whole = model_months(warm=3)
    late = whole.isel(time=slice(60, None))
    late["time"].encoding = whole["time"].encoding
    both = steps(opened(tmp_path, whole, prior, taught), (60, 71))
    space = opened(tmp_path, late, prior, taught, reference=whole.isel(time=slice(60)))
    xr.testing.assert_equal(steps(space, (0, 11)), both)
    assert space.notes["reference_input"] == "past.nc"


@quiet
def test_days_have_the_climate_of_their_month(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    days = xr.date_range("1981-01-01", "1981-12-31", calendar="noleap", use_cftime=True)
    model = model_months(years=1).drop_vars("time_bnds")
    model["time"].attrs.clear()
    daily = model.isel(time=days.month - 1).assign_coords(time=days)
    with pytest.warns(DpdmWarning, match="fewer than 5 years|steps of days"):
        space = opened(tmp_path, daily, prior, taught, ("1981", "1981"), period="any")
    found = space.coarse_step(40)  # every day of a month is its mean
    wanted = world_climate().isel(month=1)
    np.testing.assert_allclose(found["t2m"], wanted["t2m"].transpose("lat", "lon"), rtol=1e-6)


@quiet
def test_a_box_is_adjusted_as_the_whole_region_is(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    whole = opened(tmp_path, model_months(), prior, taught)
    box = opened(tmp_path, model_months(), prior, taught, bbox=(112.0, 124.0, 30.0, 40.0))
    part = box.coarse_step(3)
    assert part["lat"].size < whole.coarse["lat"].size or part["lon"].size < COARSE.shape[1]
    xr.testing.assert_equal(part, whole.coarse_step(3).sel(lat=part["lat"], lon=part["lon"]))


@pytest.mark.parametrize("west", [-10.5, 100.5, 350.5])
def test_the_stencil_is_enough_to_interpolate(west: float) -> None:
    rng = np.random.default_rng(1)
    globe = xr.Dataset({"t2m": (("lat", "lon"), rng.standard_normal(GLOBE.shape))}, GLOBE.coords())
    fine = Grid(np.arange(40.5, 60), np.arange(west, west + 30))
    part = select_stencil(globe, fine)
    assert part.sizes["lat"] == 6
    assert part.sizes["lon"] <= 8
    one, two = (interpolate_bilinear(each, fine)["t2m"] for each in (globe, part))
    np.testing.assert_allclose(one, two, atol=1e-12)


# What a prior that takes a climatology is given


@pytest.fixture
def biased(tmp_path: Path) -> Path:
    """A year of the bundled climatology's coarse means, 3 K too warm and half as wet again."""
    year = coarsen_fields(climate(), 4)
    year = year.assign(t2m=year["t2m"] + 3, tp=1.5 * year["tp"])
    year["t2m"].attrs["units"], year["tp"].attrs["units"] = "K", "mm day-1"
    year.to_netcdf(tmp_path / "biased.nc")
    return tmp_path / "biased.nc"


def test_a_bias_is_no_anomaly(biased: Path) -> None:
    options = EnsembleOptions(reference_period=("2001", "2001"))
    with pytest.warns(DpdmWarning, match="fewer than 5 years"):
        space = fit_field_space(biased, prior_with(), options, None, None)
    given = space.conditioning(6)
    assert given.reference is not None
    np.testing.assert_allclose(given.lerp, given.reference[1], rtol=1e-5)


def test_without_a_period_a_bias_is_an_anomaly_and_is_said(biased: Path) -> None:
    with pytest.warns(DpdmWarning) as said:
        space = fit_field_space(biased, prior_with(), EnsembleOptions(), None, None)
    dates, known = "(2001-01 to 2001-12)", "the climatology era5 (2000-01 to 2025-12)"
    taken = ": the difference is interpreted as climate change"
    advice = ". Give --reference-period if it is a bias of the model."
    assert [str(each.message) for each in said] == [
        f"t2m of biased.nc {dates} is on average 3 K higher than in {known}{taken}{advice}",
        f"tp of biased.nc {dates} is on average 50% higher than in {known}{taken}{advice}",
    ]
    given = space.conditioning(6)
    assert given.reference is not None
    np.testing.assert_allclose(given.lerp[0] - given.reference[1][0], 3, atol=1e-3)


# What is said


def test_the_shift_of_a_driver_without_a_period_is_said(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    model = model_months(years=2, warm=-10, wet=3)
    with pytest.warns(DpdmWarning) as said:
        compared(tmp_path, model, prior, taught)
    own = world_climate()
    weights = xr.DataArray(COARSE.weights, dims=("lat", "lon"))
    shift = (model["tas"].mean("time") - own["t2m"].mean("month")).weighted(weights).mean()
    words = [str(each.message) for each in said]
    assert words[0] == (
        f"t2m of gcm.nc (1981-01 to 1982-12) is on average {-float(shift):.2g} K lower than in "
        "the climatology fine.nc (2001-01 to 2001-12): the difference is interpreted as climate "
        "change. Give --reference-period if it is a bias of the model."
    )
    assert words[1].startswith("tp of gcm.nc (1981-01 to 1982-12) is on average ")
    assert "% higher" in words[1]


@pytest.mark.parametrize("months", [11, 24])
def test_a_short_or_a_near_series_is_quiet(
    months: int, tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    own = average_conservative(world(24), COARSE).isel(time=slice(months))
    own = own.assign(t2m=own["t2m"] + (9.0 if months < 12 else 0.4))
    compared(tmp_path, own, prior, taught)  # a warning is an error


def test_periods_that_do_not_overlap_are_said_with_the_shift(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    with pytest.warns(DpdmWarning) as said:
        opened(tmp_path, model_months(warm=-10), prior, taught)
    assert [str(each.message).split()[0] for each in said] == ["t2m", "tp"]
    assert "gcm.nc (1981-01 to 1985-12) is on average" in str(said[0].message)
    assert "do not overlap" in str(said[0].message)


def test_a_common_period_is_quiet_and_noted(tmp_path: Path, prior: Prior, taught: Taught) -> None:
    model = model_months(first=1996, warm=9)
    space = opened(tmp_path, model, prior, taught, ("1996", "2001"))
    assert space.notes["reference_period"] == "1996-01 to 2001-12"


def test_a_variable_that_the_climatology_lacks_is_left_alone(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    world(24)[["t2m"]].to_netcdf(tmp_path / "warmth.nc")
    model = model_months(first=1996, warm=9)
    with pytest.warns(DpdmWarning, match="tp of gcm.nc is left as it is"):
        space = opened(
            tmp_path, model, prior, taught, ("1996", "2001"),
            climatology=str(tmp_path / "warmth.nc"),
        )  # fmt: skip
    found = space.coarse_step(5)
    np.testing.assert_allclose(found["tp"], 86400 * model["pr"].isel(time=5), rtol=1e-12)
    assert float(abs(found["t2m"] - model["tas"].isel(time=5)).min()) > 0.1


# What is refused


def summers(model: xr.Dataset) -> xr.Dataset:
    return model.isel(time=np.flatnonzero(model["time.month"].isin([6, 7, 8])))


def undated(model: xr.Dataset) -> xr.Dataset:
    return model.isel(time=0).drop_vars(["time", "time_bnds"])


def seasons(model: xr.Dataset) -> xr.Dataset:
    first = model["time_bnds"][::3, 0].values
    bounds = np.stack([first[:-1], first[1:]], 1)
    out = model.isel(time=slice(0, 69, 3)).assign(time_bnds=(("time", "bnds"), bounds))
    return out.assign_coords(time=first[:-1])


BARE = {"climatology": "none", "climatology_period": None}
REFUSED: dict[str, Any] = {
    "outside": (None, ("1961", "1990"), {}, "gcm.nc is from 1981-01 to 1986-12, .* from 1961-01"),
    "part": (None, ("1981-01", "1981-08"), {}, "gcm.nc has no month 9 in"),
    "summers": (summers, ("1981-06", "1986-08"), {}, "gcm.nc has no month 1 in"),
    "undated": (undated, PERIOD, {}, "gcm.nc has no dates"),
    "seasons": (seasons, PERIOD, {}, "gcm.nc has steps of 9[0-2] days"),
    "none": (None, PERIOD, BARE, "There is no climatology of t2m, tp around gcm.nc"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(
    case: str, tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    change, period, options, what = REFUSED[case]
    model = model_months() if change is None else change(model_months())
    with pytest.raises(DpdmError, match=what) as fault:
        opened(tmp_path, model, prior, taught, period, **options)
    assert fault.value.hint


@quiet
def test_cells_that_either_climate_lacks_are_refused(
    tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    model = model_months(first=1996)
    model["tas"][:60, 0, 0] = np.nan  # but not in 2001
    space = opened(tmp_path, model, prior, taught, ("1996", "2000"))
    assert np.isnan(space.coarse_step(0)["t2m"][0, 0])
    with pytest.raises(DpdmError, match="t2m has values in 1 of 96 coarse cells where"):
        space.coarse_step(60)
    world(24).isel(lat=slice(0, 20)).to_netcdf(tmp_path / "south.nc")
    with pytest.raises(DpdmError, match=r"south.nc reaches over latitudes 20 to 40") as fault:
        opened(
            tmp_path, model_months(first=1996), prior, taught, ("1996", "2000"),
            climatology=str(tmp_path / "south.nc"), bbox=(104.0, 144.0, 24.0, 36.0),
        )  # fmt: skip
    assert "--bbox" in fault.value.hint


@pytest.mark.parametrize("fault", ["grid", "variable"])
def test_a_reference_that_does_not_match_is_refused(
    fault: str, tmp_path: Path, prior: Prior, taught: Taught
) -> None:
    past, what, hint = {
        "grid": (model_months().isel(lat=slice(0, 4)), "is not that of gcm.nc", "cdo remapcon"),
        "variable": (model_months().drop_vars("pr"), "--reference has no tp", "all variables"),
    }[fault]
    with pytest.raises(DpdmError, match=what) as found:
        opened(tmp_path, model_months(), prior, taught, reference=past)
    assert hint in found.value.hint


# The command


def test_the_command_names_period_and_files(here: Path) -> None:
    model = model_months(first=1996, warm=4)
    model.isel(time=slice(60)).to_netcdf("past.nc")
    model.isel(time=[60]).to_netcdf("gcm.nc")
    words = "--prior prior.safetensors --mean --climatology-period 1996,2001"
    world(72).assign_coords(time=model["time"].values).to_netcdf("normals.nc")
    done(
        "downscale", "gcm.nc", "out.nc", *words.split(), "--climatology", "normals.nc",
        "--reference-period", "1996,2000", "--reference", "past.nc",
    )  # fmt: skip
    with xr.open_dataset("out.nc") as out:
        said = {key: out.attrs[f"dpdm_reference_{key}"] for key in ("period", "input")}
        assert said == {"period": "1996-01 to 2000-12", "input": "past.nc"}
        assert out.sizes["time"] == 1


@pytest.mark.parametrize("period", ["2010-12,1981-01", "1981", "1981-13,1990-01", "a,b"])
def test_a_period_that_is_none_is_a_usage_error(here: Path, period: str) -> None:
    refused(
        f"downscale coarse.nc out.nc --reference-period {period}",
        "is not a first and a last month, as in 1981-01,2010-12", code=2,
    )  # fmt: skip


def test_reference_files_need_a_period(here: Path) -> None:
    refused(
        "downscale coarse.nc out.nc --reference fine.nc",
        "--reference requires --reference-period", code=2,
    )  # fmt: skip
