"""Where a picture puts what: projections, pixels, coast; and the trend's arithmetic."""

import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from dpdm.fields.grid import Grid
from dpdm.fields.statics import read_bundled_statics
from dpdm.plot.graphs import graph_dates
from dpdm.plot.kinds import annual_means, fit_line, fit_trend
from dpdm.plot.map_axes import project_coast, read_coastlines
from dpdm.plot.page import (
    FONT_SIZE,
    PAGE_WIDTH,
    split_word,
    text_width,
    wrap_text,
)
from dpdm.plot.projection import choose_projection, project_grid, sample_nearest, sample_spline
from dpdm.plot.scales import make_colour_scale
from dpdm.plot.steps import find_first_step
from tests.helpers.small_world import refused


def axes(south, north, west, east, step):
    lat, lon = (np.arange(a + step / 2, b, step) for a, b in ((south, north), (west, east)))
    return Grid(lat, lon)


DOMAINS = {
    "EqualEarth": axes(-90, 90, 0, 360, 2.5),
    "Stereographic": axes(60, 90, -180, 180, 1.0),
    "LambertConformal": axes(15, 55, 95, 150, 0.5),
    "PlateCarree": axes(-20, 10, 150, 215, 1.0),
}
MORE = {
    "south pole": (axes(-90, -55, 0, 360, 1.0), "Stereographic"),
    "Svalbard": (axes(72, 84, 5, 40, 0.5), "Stereographic"),
    "Patagonia": (axes(-60, -20, 280, 320, 0.5), "LambertConformal"),
    "tropics": (axes(-30, 30, 0, 360, 1.0), "PlateCarree"),
    "Bering": (axes(50, 65, 160, 200, 0.5), "LambertConformal"),
}
ALL = DOMAINS | {name: grid for name, (grid, _) in MORE.items()}


@pytest.mark.parametrize("name", ALL)
def test_projection_follows_from_the_domain(name):
    wanted = MORE[name][1] if name in MORE else name
    assert type(choose_projection(ALL[name])).__name__ == wanted


@pytest.mark.parametrize("name", ALL)
def test_each_pixel_shows_the_cell_that_it_falls_in(name):
    """Law: fields of latitude and of longitude come back to half a cell, whatever the sheet."""
    grid = ALL[name]
    paper = project_grid(grid, 200)
    for values, pixels, spacing in (
        (np.repeat(grid.lat[:, None], len(grid.lon), 1), paper.lat, grid.spacing[0]),
        (np.repeat(grid.lon[None], len(grid.lat), 0), paper.lon, grid.spacing[1]),
    ):
        drawn = sample_nearest(paper, xr.DataArray(values, grid.coords(), ["lat", "lon"]))
        off = np.abs((drawn - pixels + 180) % 360 - 180)[np.isfinite(paper.lat)]
        assert off.max() <= spacing / 2 + 1e-6
        assert np.isnan(drawn[np.isnan(paper.lat)]).all()


@pytest.mark.parametrize("name", ALL)
def test_the_sheet_holds_the_whole_domain(name):
    """Every cell that is larger than some pixels is seen."""
    grid = ALL[name]
    number = np.arange(grid.lat.size * grid.lon.size, dtype=float).reshape(grid.shape)
    seen = sample_nearest(
        project_grid(grid, 900), xr.DataArray(number, grid.coords(), ["lat", "lon"])
    )
    rows = np.abs(grid.lat) < 85
    assert set(number[rows].ravel()) <= set(seen[np.isfinite(seen)])


def test_the_globe_is_drawn_on_equal_areas():
    """Oracle: the share of the sphere north of 30 degrees is (1 - sin 30) / 2."""
    paper = project_grid(DOMAINS["EqualEarth"], 800)
    lat = paper.lat[np.isfinite(paper.lat)]
    assert (lat > 30).mean() == pytest.approx(0.25, abs=1e-3)
    assert (np.abs(lat) < 30).mean() == pytest.approx(0.5, abs=1e-3)


def test_the_turn_of_the_longitudes_does_not_matter():
    """Law: 0 to 360 and -180 to 180 are one field."""
    grid = DOMAINS["EqualEarth"]
    values = np.random.default_rng(0).standard_normal(grid.shape)
    field = xr.DataArray(values, grid.coords(), ["lat", "lon"])
    other = field.assign_coords(lon=(field["lon"] + 180) % 360 - 180).sortby("lon")
    both = [
        sample_nearest(project_grid(Grid(f["lat"].values, f["lon"].values), 300), f)
        for f in (field, other)
    ]
    np.testing.assert_array_equal(*both)


def test_coast_lies_between_land_and_sea():
    """Oracle: beside the coast, the bundled land fraction is near one half."""
    points, first = read_coastlines()
    assert points.shape[1] == 2
    assert first[0]
    assert np.abs(points).max(0).tolist() <= [180.0, 90.0]
    south = points[points[:, 1] > -60]
    land = read_bundled_statics()["land_fraction"]
    at = {"lat": xr.DataArray(south[:, 1]), "lon": xr.DataArray((south[:, 0] + 180) % 360 - 180)}
    beside = land.assign_coords(lon=(land["lon"] + 180) % 360 - 180).sortby("lon")
    share = beside.interp(at).values
    assert np.nanmean(share) == pytest.approx(0.5, abs=0.1)
    assert np.nanmean((share > 0.02) & (share < 0.98)) > 0.8


def test_no_coast_runs_along_the_dateline_or_across_the_map():
    points, first = read_coastlines()
    edge = np.abs(points[:, 0]) > 179.98
    long = np.abs(np.diff(points[:, 1])) > 0.05  # an island of Fiji crosses it
    along = edge[1:] & edge[:-1] & ~first[1:] & long
    assert not along.any()
    for grid in ALL.values():
        paper = project_grid(grid, 300)
        longest = max(np.abs(np.diff(part, axis=0)).max() for part in project_coast(paper))
        assert longest < 0.25 * max(paper.size)


def test_coast_of_the_dateline_is_whole():
    """Law: the two sides of the dateline are the two sides of the sheet."""
    paper = project_grid(MORE["Bering"][0], 300)
    x = np.concatenate(project_coast(paper))[:, 0]
    assert (x < 0).sum() > 50
    assert (x > 0).sum() > 50


def test_relief_is_that_of_the_place():
    paper = project_grid(axes(26, 30, 85, 89, 0.1), 200)
    height = sample_spline(paper, read_bundled_statics()["topography"])
    tibet, plain = height[paper.lat > 29.5], height[paper.lat < 26.5]
    assert np.nanmin(tibet) > 3000
    assert np.nanmax(plain) < 1000


def test_scales_are_of_the_kind_of_the_variable():
    rain = make_colour_scale("tp", [np.array([0.0, 1.0, 18.7])])
    wind = make_colour_scale("u10", [np.array([-3.2, 7.7])])
    warm = make_colour_scale("t2m", [np.array([-31.2, 27.9])])
    odd = make_colour_scale("sst_anomaly", [np.array([-1.0, 2.0])])
    assert (rain.low, rain.signed, rain.colours.name) == (0.0, False, "rain")
    assert (wind.low, wind.high, wind.colours.name) == (-8.0, 8.0, "balance")
    assert (warm.signed, warm.colours.name) == (False, "thermal")
    assert odd.signed
    assert warm.low <= -31.0
    assert warm.high >= 27.0


@pytest.mark.parametrize(("kind", "values"), [("t2m", (0, 9)), ("tp", (0, 9)), ("spread", (0, 9))])
def test_colours_can_be_read_in_grey(kind, values):
    """Law: what has one direction grows only lighter or only darker."""
    colours = make_colour_scale(kind, [np.array(values, float)]).colours(np.linspace(0, 1, 64))[
        :, :3
    ]
    linear = np.where(colours > 0.04045, ((colours + 0.055) / 1.055) ** 2.4, colours / 12.92)
    steps = np.diff(linear @ [0.2126, 0.7152, 0.0722])
    assert (steps > -1e-4).all() or (steps < 1e-4).all()


def test_nothing_to_draw_is_refused():
    with pytest.raises(Exception, match="no value to draw"):
        make_colour_scale("t2m", [np.full((2, 2), np.nan)])


def test_slope_and_chance_are_those_of_scipy():
    """Oracle: where residuals do not remember, Santer's test is the usual one."""
    x = np.arange(1980, 2000.0)
    y = 0.1 * (x - 1990) + np.where(np.arange(20) % 2, 1.0, -1.0)
    slope, p = fit_line(x, y[:, None])
    found = stats.linregress(x, y)
    assert slope[0] == pytest.approx(found.slope, rel=1e-12)
    assert p[0] == pytest.approx(found.pvalue, rel=1e-9)


def test_memory_is_not_taken_for_a_trend():
    """Law: of red noise, the usual test finds a third significant; ours about what it says."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((80, 4000))
    for i in range(1, 80):
        noise[i] += 0.6 * noise[i - 1]
    x = np.arange(80.0)
    _, p = fit_line(x, noise)
    usual = [stats.linregress(x, series).pvalue for series in noise[:, :400].T]
    assert np.mean(np.array(usual) < 0.05) > 0.25
    assert np.mean(p < 0.05) < 0.12


def test_a_season_is_no_trend():
    """Oracle: a season and a line give the line's slope per decade, whole years only."""
    time = xr.date_range("1990-03", periods=124, freq="MS")
    decades = np.arange(124) / 120
    values = 9 * np.sin(np.arange(124) * np.pi / 6) + 2 * decades
    grid = Grid(np.arange(2.0), np.arange(3.0))
    field = xr.DataArray(
        np.broadcast_to(values[:, None, None], (124, 2, 3)), grid.coords() | {"time": time},
        ["time", "lat", "lon"],
    )  # fmt: skip
    found = fit_trend(annual_means(field, "a.nc"))
    assert (found.first, found.last) == (1991, 1999)
    np.testing.assert_allclose(found.slope, 2.0, rtol=1e-9)
    assert float(found.p.max()) < 1e-6


def test_dates_of_any_calendar_have_a_place_on_the_axis():
    time = xr.date_range("2000-01-30", periods=3, freq="30D", calendar="360_day", use_cftime=True)
    days = graph_dates(xr.DataArray(time, dims="time"))
    assert [(d.month, d.day) for d in days] == [(1, 30), (2, 29), (3, 30)]
    assert find_first_step(xr.DataArray(time, dims="time"), "2000-02-30", "a.nc") == 1


def test_words_are_broken_to_the_width_of_the_page():
    text = "Precipitation over a_file_with_a_very_long_name_without_any_break_at_all_for_pages.nc"
    room = (PAGE_WIDTH - 0.16) * 72
    lines = wrap_text(text, FONT_SIZE)
    assert all(text_width(part, FONT_SIZE) <= room + 0.1 for part in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert split_word("short", FONT_SIZE, room) == ["short"]


@pytest.mark.parametrize("library", ["cartopy", "cmocean", "matplotlib"])
def test_a_library_that_is_missing_is_named(library, monkeypatch, tmp_path):
    for name in [n for n in sys.modules if n.startswith("dpdm.plot")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [n for n in sys.modules if n == library or n.startswith(f"{library}.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.chdir(tmp_path)
    Path("a.nc").touch()  # inputs are checked first
    said = f"Maps need {library}, which is not installed."
    refused("plot a.nc a.png", said, "Run: pip install 'dpdm[gis]'.")
