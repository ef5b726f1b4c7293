"""Profiles and sections: what is drawn is what numpy makes of the files."""

import numpy as np
import pytest
import xarray as xr

from dpdm.plot import default_kind
from dpdm.plot.data import VERTICAL_KINDS, PlotOptions, open_plot_data
from tests.helpers.labelled_fields import offline  # noqa: F401
from tests.helpers.plots import LEVELS, drawable, page_of
from tests.helpers.small_world import done, refused

CLOSE = dict(rtol=0, atol=2e-4)  # single precision of 300 K, summed
pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return drawable(tmp_path_factory.mktemp("plot"))


@pytest.fixture(scope="module")
def pages(files):
    return {kind: page_of(files, kind) for kind in VERTICAL_KINDS}


def read(files):
    """Members, truth and background in degrees Celsius, from the file as it lies there."""
    names = ("air.nc", "air_truth.nc", "air_before.nc")
    return [xr.open_dataset(files / name)["t"].load().astype(float) - 273.15 for name in names]


def lines_of(axes):
    return {line.get_label(): line for line in axes.lines}


def weighted(array):
    share = np.cos(
        np.radians(array["lat"])
    )  # of equal bands: sin differences are the same to 1e-9
    return array.weighted(share).mean(("lat", "lon"))


def test_a_profile_at_a_point_is_what_lies_there(files, pages):
    members, truth, before = read(files)
    values, misses = pages["profile"].figure.axes[:2]
    drawn = lines_of(values)
    at = dict(lat=47.0, lon=8.0)
    expected = {"mean of 4": members.mean("realization"), "truth": truth, "background": before}
    for title, field in expected.items():
        there = field.interp(at).mean("time")
        np.testing.assert_allclose(drawn[title].get_xdata(), there, **CLOSE)
        np.testing.assert_allclose(drawn[title].get_ydata(), LEVELS / 100)
    error = (members.mean("realization") - truth).interp(at)
    np.testing.assert_allclose(
        misses.lines[0].get_xdata(), np.sqrt((error**2).mean("time")), **CLOSE
    )
    np.testing.assert_allclose(misses.lines[1].get_xdata(), 2.0, **CLOSE)
    spread = members.interp(at).std("realization", ddof=1)
    wide = np.sqrt((spread**2).mean("time"))
    np.testing.assert_allclose(lines_of(misses)["spread"].get_xdata(), wide, **CLOSE)


def test_pressure_falls_upwards_on_a_logarithmic_axis(pages):
    for axes in pages["profile"].figure.axes[:2] + pages["section"].figure.axes[:1]:
        bottom, top = axes.get_ylim()
        assert bottom > top
        assert axes.get_yscale() == "log"
    assert pages["profile"].figure.axes[0].get_ylabel() == "hPa"


def test_a_profile_over_an_area_weighs_by_area_and_by_one_date(files):
    members, truth, _ = read(files)
    page = page_of(files, "profile", at="", time="2000-01-02", bbox=(0, 180, 0, 90))
    there = dict(lat=slice(0, 90), lon=slice(0, 180))
    mean = members.mean("realization").sel(there).isel(time=1)
    drawn = lines_of(page.figure.axes[0])
    np.testing.assert_allclose(drawn["mean of 4"].get_xdata(), weighted(mean), atol=0.01)
    error = weighted((mean - truth.sel(there).isel(time=1)) ** 2) ** 0.5
    np.testing.assert_allclose(page.figure.axes[1].lines[0].get_xdata(), error, atol=0.01)


def test_a_section_is_the_zonal_mean_and_its_errors(files, pages):
    members, truth, before = read(files)
    mean, error, before_error, spread = (
        axes.collections[0].get_array() for axes in pages["section"].figure.axes[::2]
    )
    zonal = ("lon", "time")
    centre = members.mean("realization")
    np.testing.assert_allclose(mean, centre.mean(zonal), **CLOSE)
    np.testing.assert_allclose(error, (centre - truth).mean(zonal), **CLOSE)
    np.testing.assert_allclose(before_error, (before - truth).mean(zonal), **CLOSE)
    wide = np.sqrt((members.std("realization", ddof=1) ** 2).mean(zonal))
    np.testing.assert_allclose(spread, wide, **CLOSE)
    titles = [axes.get_title() for axes in pages["section"].figure.axes[::2]]
    assert titles == [
        "mean of 4, °C", "error of mean of 4, K", "error of background, K", "spread, K",
    ]  # fmt: skip


def test_a_section_along_a_parallel_lies_between_its_rows(files):
    members, _, _ = read(files)
    page = page_of(files, "section", at="10,0")  # half way between rows at 5 and 15 degrees
    drawn = page.figure.axes[0].collections[0].get_array()
    along = members.mean(("realization", "time")).sel(lat=[5, 15]).mean("lat")
    np.testing.assert_allclose(drawn, along, **CLOSE)


def test_levels_that_both_files_have_are_compared(files, tmp_path):
    with xr.open_dataset(files / "air_truth.nc") as truth:
        truth.isel(level=[4, 1]).to_netcdf(tmp_path / "few.nc")
    page = page_of(files, "profile", truth=tmp_path / "few.nc", background=None)
    (error,) = (line for line in page.figure.axes[1].lines if line.get_label() != "spread")
    assert error.get_ydata().tolist() == [850.0, 300.0]


def test_what_lies_below_the_ground_is_left_out(files, tmp_path):
    with xr.open_dataset(files / "air.nc") as air:
        air["t"].where((air["lat"] > 0) | (air["level"] < 9e4)).to_netcdf(tmp_path / "gap.nc")
    page = page_of(files, "section", truth=None, background=None)
    holed = page_of(tmp_path, "section", name="gap.nc", truth=None, background=None)
    whole, part = (p.figure.axes[0].collections[0].get_array() for p in (page, holed))
    assert np.ma.getmaskarray(part)[0].tolist() == [True] * 9 + [False] * 9
    np.testing.assert_allclose(part[:, 9:], whole[:, 9:], **CLOSE)


def test_the_name_of_a_family_asks_for_a_profile(files):
    assert default_kind(open_plot_data(files / "air.nc", PlotOptions(variable="t"))) == "profile"
    assert (
        default_kind(open_plot_data(files / "air.nc", PlotOptions(variable="t850"))) == "compare"
    )
    assert (
        default_kind(
            open_plot_data(files / "air.nc", PlotOptions(kind="section", variable="t850"))
        )
        == "profile"
    )


def test_a_level_is_drawn_as_a_map(files, tmp_path):
    done("plot", files / "air.nc", tmp_path / "a.png", "--variable", "t850", "--kind", "map")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fine.nc a.png --kind profile", "fine.nc has no variable on levels"),
        ("air.nc a.png --kind section --variable q", "has no variable q; it has t"),
        ("air.nc a.png --kind profile --at 99,0", "latitude 99"),
        ("air.nc a.png --kind profile --coarse coarse.nc", "does not use --coarse"),
        ("air.nc a.png --kind profile --truth fine.nc", "fine.nc has no variable on levels"),
        ("fine.nc a.png --kind map --background fine.nc", "does not use --background"),
    ],
)
def test_refuses_in_two_lines(files, monkeypatch, words, said):
    monkeypatch.chdir(files)
    refused(f"plot {words}", said)


def test_no_level_in_common_is_refused(files, tmp_path, monkeypatch):
    with xr.open_dataset(files / "air_truth.nc") as truth:
        truth.assign_coords(level=truth["level"] + 50).to_netcdf(tmp_path / "other.nc")
    monkeypatch.chdir(tmp_path)
    refused(f"plot {files}/air.nc a.png --kind profile --truth other.nc", "share no level")
