"""Series as they come: many files, odd calendars, gaps, overlaps, units that change."""

import pickle
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.reconstruct.series import concat_lazily
from dpdm.reconstruct.setup import ReconstructionSetup, prepare_reconstruction
from tests.helpers.monthly_files import add, bare, dated, found, planned, put
from tests.helpers.reconstruction import opened, plan, replace, tree, winter
from tests.helpers.small_world import Taught, done, refused

RUN = "reconstruct plan.toml out"


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    return bare(tmp_path, taught, monkeypatch)


# The axis of time


@pytest.mark.parametrize("calendar", ["standard", "noleap", "360_day"])
def test_dates_before_1900_are_one_series_for_all(site: Path, calendar: str) -> None:
    put(dated("1835-11-01", 4, calendar), [0, 1, 2], [3])
    done(*RUN.split())
    wanted = ["1835-11-01", "1835-12-01", "1836-01-01", "1836-02-01"]
    with opened(Path("out")) as ds:
        assert [str(t)[:10] for t in ds["time"].values] == wanted
        calendars = {"standard": "proleptic_gregorian"}
        assert ds["time"].dt.calendar == calendars.get(calendar, calendar)
    files = sorted(map(str, Path("out").glob("fine_*.nc")))
    assert [Path(f).name for f in files] == ["fine_1835.nc", "fine_1836.nc"]
    if shutil.which("cdo"):
        told("cdo", "-s", "mergetime", *files, "merged.nc")
        assert told("cdo", "-s", "showdate", "merged.nc").split() == wanted
    if shutil.which("ncdump"):
        dumped = told("ncdump", "-t", "-v", "time", files[1])
        assert re.search(r'time = "1836-01-01[^"]*", "1836-02-01', dumped)
    done("reconstruct", "--verify", "plan.toml", "out")


def told(*words: str) -> str:
    return subprocess.run(words, capture_output=True, check=True, text=True).stdout


def test_a_month_that_lacks_is_told_by_all_and_filled_by_none(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpdm.reconstruct.estimate.MEASURING_SECONDS", 0.0)
    put(winter(), [0, 1], [3, 5])
    assert "missing: 2000-12, 2001-02" in done("reconstruct", "--check", "plan.toml").stdout
    assert "skipped: 2000-12, 2001-02" in done(*RUN.split()).stderr
    assert "missing in the input: 2000-12, 2001-02" in done("status", "out").stdout
    assert (
        "missing in the input: 2000-12, 2001-02"
        in done("reconstruct", "--verify", "plan.toml", "out").stdout
    )
    with opened(Path("out")) as ds:
        assert [str(t)[:7] for t in ds["time"].values] == [
            "2000-10", "2000-11", "2001-01", "2001-03"
        ]  # fmt: skip


GAPS = {  # steps that are there, the period, what lacks
    "some": ([0, 2, 3, 5], "", ("2000-11", "2001-02")),
    "ends": ([1, 2, 3], '["2000", "2001-03"]', ("2000-01 to 2000-10", "2001-02 to 2001-03")),
    "none": ([0, 1, 2, 3, 4, 5], '["2000-10", "2001-03"]', ()),
    "cut": ([0, 2, 3, 5], '["2000-12", "2001-01-31"]', ()),
}


@pytest.mark.parametrize("case", GAPS)
def test_months_that_lack_are_counted_within_the_period(site: Path, case: str) -> None:
    steps, period, lacking = GAPS[case]
    put(winter(), steps)
    assert found(input=f"period = {period}" if period else "").missing == lacking


def planned_here() -> ReconstructionSetup:
    return prepare_reconstruction(Path("plan.toml"))


@pytest.mark.filterwarnings("ignore:.*steps of days")
@pytest.mark.parametrize(
    ("freq", "missing"), [("YS", "1 after 1838-01-01"), ("D", "1 after 1836-01-03")]
)
def test_other_rhythms_have_gaps(site: Path, freq: str, missing: str) -> None:
    put(dated("1836-01-01", 6, "360_day", freq), [0, 1, 2], [4, 5])
    add("prior", 'period = "any"')
    series = planned_here().series
    assert series.missing == (missing,)
    length = {"YS": 7, "D": 10}[freq]
    assert series.labels[0] == "1836-01-01"[:length]
    assert len(set(series.labels)) == 5


@pytest.mark.filterwarnings("ignore:.*steps of days")
@pytest.mark.parametrize(
    ("first", "days", "label"),
    [("2000-10-01", 31, "2000-10"), ("2000-10-16", 1, "2000-10-16"), ("2000-10-16", 0, "2000-10"),
     ("2000-10-03", 0, "2000-10-03")],
)  # fmt: skip
def test_a_lone_step_is_a_month_or_a_day_as_it_will_be_in_a_series(
    site: Path, first: str, days: int, label: str
) -> None:
    ds = dated(first, 1, "standard", "D")
    if days:
        ends = np.array([[0, days]]) + ds["time"].values[:, None].astype("M8[D]")
        ds["time_bnds"] = (("time", "bnds"), ends.astype("M8[ns]"))
        ds["time"].attrs["bounds"] = "time_bnds"
        ds["time"].encoding["units"] = "days since 2000-01-01"
    put(ds, [0])
    add("prior", 'period = "any"')
    assert planned_here().series.labels == (label,)


def test_a_period_cuts_and_changes_no_value(site: Path) -> None:
    put(winter(), [0, 1, 2], [3, 4, 5])
    plan(site, members=2)
    done(*RUN.split())
    plan(site, members=2, input='period = ["2000-12", "2001-01"]')
    done("reconstruct", "plan.toml", "cut")
    with opened(Path("out")) as whole, opened(Path("cut")) as part:
        xr.testing.assert_equal(part, whole.isel(time=[2, 3]))
    plan(site, input='period = ["2010", "2011"]')
    refused("reconstruct plan.toml new", "from 2000-10-01T00 to 2001-03-01T00, which is", "period")


def test_steps_without_a_date_are_refused(site: Path) -> None:
    put(winter(), [0, 1])
    winter().isel(time=2, drop=True).to_netcdf("in_1.nc")
    refused(RUN, "in_1.nc has no time axis", "dpdm downscale")


def test_two_calendars_are_refused_by_name(site: Path) -> None:
    put(winter(), [0, 1])
    dated("2001-01-01", 2, "noleap").to_netcdf("in_1.nc")
    refused(RUN, "in_0.nc is proleptic_gregorian, that of .*in_1.nc is noleap", "one calendar")


def test_a_month_under_two_stamps_is_refused(site: Path) -> None:
    ds = winter()
    put(ds, [0, 1, 2, 3])
    late = ds.isel(time=[3, 4, 5])
    late.assign_coords(time=late["time"] + np.timedelta64(14, "D")).to_netcdf("in_1.nc")
    refused(RUN, "Two steps of this monthly series are in 2001-01", "time stamps")


# Many files


def test_a_month_in_two_files_is_used_once(site: Path) -> None:
    put(winter())
    done("reconstruct", "plan.toml", "whole")
    put(winter(), [0, 1, 2, 3], [2, 3, 4, 5])
    assert "used once: 2000-12, 2001-01" in done(*RUN.split()).stderr
    assert tree(Path("out")) == tree(Path("whole"))


def test_a_month_in_two_files_that_differ_is_refused(site: Path) -> None:
    put(winter(), [0, 1, 2, 3])
    other = winter().isel(time=slice(3, None))
    other["tp"][0] += 1
    other.to_netcdf("in_1.nc")
    refused(RUN, "in_0.nc and .*in_1.nc both hold tp of 2001-01-01T00, and differ", "Leave one")


def test_how_variables_are_spread_over_files_does_not_matter(site: Path) -> None:
    put(winter())
    done("reconstruct", "plan.toml", "whole")
    ds = winter()
    put(ds, [0, 1])
    ds[["t2m"]].isel(time=slice(2, None)).to_netcdf("in_1.nc")
    ds[["tp"]].isel(time=[2, 3]).to_netcdf("in_2.nc")
    ds[["tp"]].isel(time=[4, 5]).to_netcdf("in_3.nc")
    done(*RUN.split())
    assert tree(Path("out")) == tree(Path("whole"))
    assert found().missing == ()


def test_a_month_that_one_variable_lacks_is_missing(site: Path) -> None:
    ds = winter()
    ds[["t2m"]].to_netcdf("in_0.nc")
    ds[["tp"]].isel(time=[0, 2, 3]).to_netcdf("in_1.nc")
    series = found()
    assert series.labels == ("2000-10", "2000-12", "2001-01")
    assert series.missing == ("2000-11", "2001-02 to 2001-03")
    replace(ds[["tp"]].assign_coords(time=ds["time"] + np.timedelta64(9, "D")), "in_1.nc")
    assert found().labels[0] == "2000-10"  # months stamped on their tenth day are the same months
    replace(ds[["tp"]].assign_coords(time=ds["time"] + np.timedelta64(990, "D")), "in_1.nc")
    refused(RUN, "no time in common: t2m from 2000-10-01T00, tp from 2003-06-18T00")


def test_a_step_costs_the_same_however_many_files_there_are(site: Path) -> None:
    put(winter())
    one, alone = found().fields, len(pickle.dumps(planned().unit_sampler))
    put(winter(), *([n] for n in range(6)))
    many, spread = found().fields, len(pickle.dumps(planned().unit_sampler))
    assert len(many["tp"].data.dask.layers) == len(one["tp"].data.dask.layers)
    assert abs(spread - alone) < 4000  # bytes, for what says where it comes from
    xr.testing.assert_equal(many, one)


def test_a_stack_is_its_parts_end_to_end() -> None:
    rng, dims = np.random.default_rng(0), ("time", "lat", "lon")
    arrays = [rng.standard_normal((n, 3, 4)).astype(kind) for n, kind in ((2, "f4"), (5, "f8"))]
    whole, stack = (
        np.concatenate(arrays),
        concat_lazily([xr.DataArray(a, dims=dims) for a in arrays]),
    )
    assert stack.dtype == whole.dtype
    for key in (slice(None), 2, -1, slice(1, 6, 2), (slice(1, 4), slice(1, 2), 3)):
        np.testing.assert_array_equal(stack[key].compute(), whole[key])


def test_zarr_is_read_as_netcdf_is(site: Path) -> None:
    put(winter())
    done("reconstruct", "plan.toml", "whole")
    winter().to_zarr("in.zarr", zarr_format=2)
    plan(site, members=0, files='"in.zarr"')
    done(*RUN.split())
    assert tree(Path("out")) == tree(Path("whole"))


def test_variables_that_the_prior_does_not_know_are_left(site: Path) -> None:
    ds = winter()
    put(ds)
    plain = found().fields
    put(ds.assign(depth=ds["t2m"].drop_attrs() * 0))
    xr.testing.assert_identical(found().fields, plain)
    ds[["tp"]].rename(tp="depth").drop_attrs().to_netcdf("in_1.nc")
    refused(
        RUN,
        "in_1.nc has none of the prior's variables t2m, tp, u10, v10, sp; it has depth",
        "[input]",
    )


def test_files_of_two_grids_are_refused_by_name(site: Path) -> None:
    put(winter(), [0, 1])
    winter().isel(time=[2, 3], lat=slice(1, None)).to_netcdf("in_1.nc")
    refused(RUN, "in_0.nc lie on different grids|in_1.nc lie on different grids", "Interpolate")


# Names and units


def test_a_unit_may_change_on_the_way(site: Path) -> None:
    celsius = winter()
    celsius["t2m"] = (celsius["t2m"] - 273.15).assign_attrs(units="degC")
    put(celsius)
    done("reconstruct", "plan.toml", "whole")
    put(celsius, [0, 1, 2])
    winter().isel(time=[3, 4, 5]).to_netcdf("in_1.nc")
    done(*RUN.split())
    with opened(Path("out")) as ds, opened(Path("whole")) as whole:
        assert ds["t2m"].attrs["units"] == "degC"
        np.testing.assert_allclose(ds["t2m"], whole["t2m"], atol=1e-4)  # single, at 300 K
        np.testing.assert_array_equal(ds["tp"], whole["tp"])


def test_names_and_units_that_the_plan_says(site: Path) -> None:
    put(winter())
    plain = found().fields
    put(winter().rename(t2m="a", tp="b").drop_attrs())
    says = 'var = { t2m = "a", tp = "b" }\n'
    series = found(input=f'{says}units = {{ t2m = "K", tp = "mm day-1" }}')
    xr.testing.assert_equal(series.fields, plain)
    plan(site, input=says)
    refused(RUN, "in_0.nc: t2m has no units", 'units = { t2m = "K" } in [input]')
