"""Pictures: what stands on them, that it fits, and that nothing is fetched."""

import shlex
from pathlib import Path

import cartopy.crs as ccrs
import matplotlib as mpl
import matplotlib.pyplot as plt
import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.contour import ContourSet
from matplotlib.testing.compare import compare_images

from dpdm import __version__
from dpdm.plot import PLOT_KINDS, default_kind, draw_page
from dpdm.plot.data import VERTICAL_KINDS, PlotOptions, open_plot_data
from dpdm.plot.kinds import draw_station_misfits
from dpdm.plot.page import PAGE_STYLE, PAGE_WIDTH
from dpdm.plot.scales import ScaleChoice, make_colour_scale
from dpdm_cli.main import main
from tests.helpers.labelled_fields import offline  # noqa: F401
from tests.helpers.plots import HOME, drawable, page_of
from tests.helpers.small_world import done, dpdm, refused

ROOT = Path(__file__).parents[2]
PICTURES = Path(__file__).parents[1] / "pictures"
TOLERANCE = 6.0  # of 255, root mean square; without its coast, a map is off by 8
pytestmark = pytest.mark.usefixtures("offline")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return drawable(tmp_path_factory.mktemp("plot"))


@pytest.fixture(scope="module")
def pages(files):
    return {kind: page_of(files, kind) for kind in PLOT_KINDS}


def words_of(page):
    return [t for t in page.figure.findobj(mpl.text.Text) if t.get_text() and t.get_visible()]


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_all_words_are_on_the_page_and_large_enough(pages, kind):
    page = pages[kind]
    wide, high = page.figure.canvas.get_width_height()
    assert page.figure.get_figwidth() == pytest.approx(PAGE_WIDTH) == 8.9 / 2.54
    assert {t.get_size() for t in words_of(page)} == {12.0}
    for text in page.figure.texts:
        box = text.get_window_extent()
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= wide + 1, text
        assert box.y1 <= high + 1, text
    for axes in page.figure.axes:
        box = axes.get_tightbbox()
        assert box.x0 >= -2, axes
        assert box.x1 <= wide + 2, axes
        assert box.y0 >= 0, axes


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_says_what_it_is_and_what_it_was_made_from(pages, kind):
    said = " ".join(t.get_text() for t in pages[kind].figure.texts)
    assert said.startswith("Temperature" if kind in VERTICAL_KINDS else "2 metre temperature")
    assert f"dpdm {__version__}; {HOME.get(kind, 'fine.nc')}" in said
    if kind != "trend":
        assert "prior default" in said
        assert said.count("coarse.nc") == 1  # the input, or a file beside
    date = {"compare": "July 2000", "trend": "1990 to 1999", "rank": "2000-01 to 2000-12",
            "series": "Seoul, 37.57°N 126.97°E", "spectrum": "scale",
            "profile": "47°N 8°E, 2000-01-01 to 2000-01-02",
            "section": "zonal mean, 2000-01-01 to 2000-01-02"}  # fmt: skip
    assert date.get(kind, "January 2000") in said


def images(page):
    return [axes.images[0] for axes in page.figure.axes if axes.images]


def test_compare_shares_one_scale_and_spread_has_its_own(pages):
    page = pages["compare"]
    titles = [axes.get_title() for axes in page.figure.axes if axes.images]
    assert titles == ["coarse", "mean of 4", "truth", "spread"]
    limits = [image.get_clim() for image in images(page)]
    assert limits[0] == limits[1] == limits[2] != limits[3]
    assert limits[3][0] == 0.0
    assert [axes.get_xlabel() for axes in page.figure.axes][-2:] == ["°C", "spread, K"]


def degrees_of(axes):
    return [t.get_text() for t in axes.texts if t.get_text().endswith(("°N", "°E"))]


@pytest.mark.parametrize("kind", ["compare", "members", "map", "spread", "obs"])
def test_maps_have_latitudes_at_their_left_and_longitudes_below(pages, kind):
    maps = [axes for axes in pages[kind].figure.axes if hasattr(axes, "projection")]
    lowest = min(axes.get_position().y0 for axes in maps)
    leftmost = min(axes.get_position().x0 for axes in maps)
    for axes in maps:
        words = degrees_of(axes)
        assert any(w.endswith("N") for w in words) == (
            abs(axes.get_position().x0 - leftmost) < 1e-6
        )
        assert any(w.endswith("E") for w in words) == (abs(axes.get_position().y0 - lowest) < 1e-6)


def overlapping(page):
    """Pairs of texts on a page whose extents meet."""
    ticks = [t for axes in page.figure.axes for side in (axes.xaxis, axes.yaxis)
             for t in side.get_ticklabels() if hasattr(axes, "_colorbar")]  # fmt: skip
    texts = [t for axes in page.figure.axes for t in (*axes.texts, axes.title, axes.xaxis.label)]
    shown = [t for t in [*texts, *ticks, *page.figure.texts] if t.get_text() and t.get_visible()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown]
    return [
        (one, other)
        for i, (one, box) in enumerate(boxes)
        for other, beside in boxes[:i]
        if box.overlaps(beside)
    ]


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_no_words_meet(pages, kind):
    assert overlapping(pages[kind]) == []


@pytest.mark.parametrize(
    ("factor", "box"),
    [(1e-3, None), (0.125, (125, 127, 33, 35)), (1e4, (125, 126, 33, 36)), (1e9, None)],
)
def test_no_words_meet_whatever_the_values_and_the_region(files, tmp_path, factor, box):
    with xr.open_dataset(files / "fine.nc") as fine:
        flux = ((fine["tp"] - 3) * factor).isel(time=[0]).rename("flux")
        flux.assign_attrs(units="W m-2").to_dataset().to_netcdf(tmp_path / "flux.nc")
    page = page_of(tmp_path, "compare", "flux.nc", truth=None, coarse=None, bbox=box, time="")
    assert overlapping(page) == []
    bars = [axes for axes in page.figure.axes if hasattr(axes, "_colorbar")]
    assert all(len([t for t in bar.get_xticklabels() if t.get_text()]) > 1 for bar in bars)


def test_three_maps_leave_no_place_empty(files):
    """The colour bars are drawn in the fourth place."""
    page = page_of(files, "compare", coarse=None)
    maps = [axes.get_position() for axes in page.figure.axes if hasattr(axes, "projection")]
    bars = [axes.get_position() for axes in page.figure.axes if hasattr(axes, "_colorbar")]
    assert (len(maps), len(bars)) == (3, 2)
    assert all(bar.x0 > maps[2].x1 and bar.y1 < maps[1].y0 for bar in bars)
    assert all(bar.y0 > maps[2].y0 - 0.12 for bar in bars)


def test_maps_have_coast_and_relief(pages):
    for kind in ("map", "compare", "members", "spread", "trend"):
        maps = [axes for axes in pages[kind].figure.axes if axes.images]
        for axes in maps:
            field_and_relief = kind in ("map", "members") or axes.get_title() in (
                "coarse", "truth", "mean of 4"
            )  # fmt: skip
            assert len(axes.images) == 1 + field_and_relief, kind  # a spread has no relief
            coast = [c for c in axes.collections if type(c) is LineCollection]
            assert max(len(c.get_segments()) for c in coast) > 5


def test_members_are_drawn_as_they_are(files, pages):
    """Oracle: the values of the pixels are those of the member's cells, in degrees Celsius."""
    with xr.open_dataset(files / "fine.nc") as fine:
        member = fine["t2m"].isel(realization=2, time=0)
        cells = {f"{value:.3f}" for value in np.unique(member.values - np.float32(273.15))}
    drawn = images(pages["members"])[2].get_array()
    pixels = {f"{value:.3f}" for value in np.unique(drawn.compressed())}
    assert len(pixels - cells) <= 0.002 * len(pixels)  # of rounding
    assert len(pixels) > 0.99 * len(cells)


def test_trend_is_hatched_where_it_is_chance(pages):
    (axes,) = [axes for axes in pages["trend"].figure.axes if axes.images]
    (hatched,) = [c for c in axes.collections if isinstance(c, ContourSet) and any(c.hatches)]
    west, east = axes.get_xlim()
    rows = np.linspace(*axes.get_ylim(), 42)[1:-1]
    (path,) = hatched.get_paths()

    def share(*columns):
        points = [(west + c * (east - west), y) for c in columns for y in rows]
        return path.contains_points(points).mean()

    assert share(0.6, 0.7, 0.8) > 0.75  # there is no trend in the east, and one in 20 is chance
    assert share(0.2, 0.3, 0.4) < 0.25
    slope = axes.images[0].get_array()
    assert slope[slope.shape[0] // 2, : slope.shape[1] // 3].mean() == pytest.approx(3.0, abs=0.2)


def test_obs_shows_what_was_used_and_what_was_withheld(pages):
    maps = [axes for axes in pages["obs"].figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in maps] == ["prior, rms 1.6", "analysis, rms 0.79"]
    for axes, values in zip(maps, ([1.0, -2.0], [0.5, -1.0]), strict=True):
        dots = [c for c in axes.collections if isinstance(c, PathCollection)]
        shown = [c.get_array().tolist() for c in dots if c.get_array() is not None]
        assert [value for some in shown for value in some] == values
        assert len(dots[-1].get_offsets()) == 1  # below zero there is a bar


def test_diamonds_are_stations_for_verification():
    figure = plt.figure()
    axes = figure.add_subplot(projection=ccrs.PlateCarree())
    rows = pd.DataFrame({"lon": [1.0, 2.0], "lat": [3.0, 4.0]})
    rows["status"] = ["assimilated", "verification"]
    shared = make_colour_scale("difference", [np.array([1.0, 2.0])])
    draw_station_misfits(rows, np.array([1.0, 2.0]), shared, axes)
    offsets = [c.get_offsets().tolist() for c in axes.collections]
    assert offsets == [[[1.0, 3.0]], [], [[2.0, 4.0]], []]
    corners = [len(c.get_paths()[0].vertices) for c in axes.collections[:3]]
    assert corners[0] > corners[1] == corners[2]  # a circle, and two quadrangles
    plt.close(figure)


def test_series_shows_the_bands_of_the_members(files, pages):
    axes = pages["series"].figure.axes[0]
    labels = axes.get_legend_handles_labels()[1]
    assert sorted(labels) == ["coarse", "median", "range of 4 members", "truth"]
    (band,) = pages["series"].figure.axes[0].collections
    with xr.open_dataset(files / "fine.nc") as fine:
        at = fine["t2m"].interp(lat=37.57, lon=126.97) - 273.15
        median = at.median("realization").values
        low, high = at.min("realization").values, at.max("realization").values
    corners = band.get_paths()[0].vertices[:, 1]
    assert set(np.round(np.r_[low, high], 2)) <= set(np.round(corners, 2))  # no percentile of four
    (line,) = [line for line in axes.lines if line.get_label() == "median"]
    np.testing.assert_allclose(line.get_ydata(), median, atol=1e-3)  # of single precision


def test_ranks_add_up(pages):
    bars = pages["rank"].figure.axes[0].patches
    assert len(bars) == 5
    assert sum(bar.get_height() for bar in bars) == pytest.approx(100.0)


def test_spectrum_falls_with_the_coarse_field_below_the_truth(pages):
    lines = {line.get_label(): line for line in pages["spectrum"].figure.axes[0].lines}
    assert list(lines) == ["members", "mean of 4", "truth", "coarse, lerp"]
    tail = {name: line.get_ydata()[-8:].mean() for name, line in lines.items()}
    assert tail["coarse, lerp"] < 0.05 * tail["truth"] < tail["members"]


def test_another_unit_is_the_same_picture(files, tmp_path):
    """Law: degrees Celsius and statistics in them are drawn as kelvins are."""
    with xr.open_dataset(files / "fine.nc") as fine:
        kept = {
            "mean": fine["t2m"].mean("realization"),
            "spread": fine["t2m"].std("realization", ddof=1),
        }
        attrs = {"standard_name": "air_temperature", "units": "degC"}
        fields = {
            "t2m_mean": (kept["mean"] - 273.15).assign_attrs(attrs),
            "t2m_spread": kept["spread"].assign_attrs(attrs),
        }
        xr.Dataset(fields).to_netcdf(tmp_path / "stats.nc")
    ask = PlotOptions("compare")
    both = []
    for path in (files / "fine.nc", tmp_path / "stats.nc"):
        with mpl.rc_context(PAGE_STYLE):
            both.append(images(draw_page(open_plot_data(path, ask), "compare")))
    for one, other in zip(*both, strict=True):
        np.testing.assert_allclose(one.get_array(), other.get_array(), atol=1e-3)


def draw_one(files, kind, name="", **more):
    return images(page_of(files, kind, name, **more))[0]


def test_one_member_is_a_map_without_spread_or_band(files, tmp_path, monkeypatch):
    """The spread that is stored of one member is missing everywhere."""
    with xr.open_dataset(files / "fine.nc") as fine:
        member = fine["t2m"].isel(realization=[0]).load()
    mean = member.mean("realization", keep_attrs=True)
    one = {"t2m": member} | {f"t2m_{kind}": mean for kind in ("mean", "p10", "p90")}
    xr.Dataset(one | {"t2m_spread": mean * np.nan}).to_netcdf(tmp_path / "one.nc")
    monkeypatch.chdir(tmp_path)
    assert dpdm("plot", "one.nc", "map.png").stderr == "Wrote map.png: map\n"
    refused("plot one.nc spread.png --kind spread", "has no spread", "--members 2")
    source = open_plot_data(Path("one.nc"), PlotOptions()).source
    assert [*source.statistics] == ["mean"]  # and no band of percentiles


def test_a_season_is_the_mean_of_its_months(files):
    """Oracle: the pixels are cells of the mean of December, January and February."""
    with xr.open_dataset(files / "truth.nc") as truth:
        winter = truth["t2m"].isel(time=[0, 1, 11]).mean("time") - 273.15
    drawn = np.unique(draw_one(files, "map", "truth.nc", season="DJF").get_array().compressed())
    gaps = np.abs(drawn[:, None] - winter.values.ravel()).min(1)
    assert gaps.max() < 1e-3
    assert drawn.size > 0.9 * winter.size


def test_a_statistic_of_a_season_is_that_of_the_members_means(files):
    """Oracle: the spread of the summer's means is not the mean of the months' spreads."""
    with xr.open_dataset(files / "fine.nc") as fine:
        spread = fine["t2m"].isel(time=[5, 6, 7]).mean("time").std("realization", ddof=1)
    for kind, more in (("map", {"stat": "spread"}), ("spread", {})):
        drawn = draw_one(files, kind, season="JJA", **more).get_array().compressed()
        assert np.abs(np.unique(drawn)[:, None] - spread.values.ravel()).min(1).max() < 1e-4


@pytest.mark.filterwarnings("ignore:.*years of its twelve")
def test_anomalies_are_from_the_climate_of_the_month(files, tmp_path):
    """Oracle: above a climate that is a kelvin colder, in kelvins and on a signed scale."""
    with xr.open_dataset(files / "truth.nc") as truth:
        colder = (truth["t2m"] - 1).assign_attrs(truth["t2m"].attrs)
        colder.to_dataset().to_netcdf(tmp_path / "colder.nc")
    own = {"anomaly": True, "climatology": str(tmp_path / "colder.nc")}
    page = page_of(files, "map", "truth.nc", time="2000-07", **own)
    (image,) = next(axes.images for axes in page.figure.axes if axes.images)  # no relief
    assert np.abs(image.get_array() - 1).max() < 1e-3
    assert image.get_clim()[0] == -image.get_clim()[1]
    assert "anomaly from colder.nc" in page.figure.texts[1].get_text()
    assert page.figure.axes[-1].get_xlabel() == "K"


def test_colours_and_the_page_are_as_chosen(files):
    more = {"cmap": "viridis", "vmin": -5.0, "vmax": 25.0, "size": 18.0, "title": "Heat"}
    page = page_of(files, "map", "truth.nc", no_relief=True, **more)
    (image,) = next(axes.images for axes in page.figure.axes if axes.images)
    assert (image.get_clim(), image.get_cmap().name) == ((-5.0, 25.0), "viridis")
    assert page.figure.get_figwidth() == pytest.approx(18 / 2.54)
    assert page.figure.texts[0].get_text() == "Heat"


def test_white_stays_at_zero_between_chosen_ends():
    scale = make_colour_scale("u10", [np.array([-3.0, 7.0])], ScaleChoice(vmin=-2.0, vmax=8.0))
    assert min(scale.colours(scale.norm(0.0))[:3]) > 0.9
    one = make_colour_scale("u10", [np.array([-3.0, 7.0])], ScaleChoice(vmax=5.0))
    assert (one.low, one.high) == (-5.0, 5.0)


def test_default_kind_follows_from_what_there_is(files):
    def kind(name, **more):
        return default_kind(open_plot_data(files / name, PlotOptions(**more)))

    assert kind("truth.nc") == "map"
    assert kind("fine.nc") == "compare"
    assert kind("truth.nc", coarse=files / "coarse.nc") == "compare"
    assert kind("fine.nc", at="37,127") == "series"
    assert kind("fine.nc", report=files / "report.csv") == "obs"


@pytest.mark.parametrize("kind", PLOT_KINDS)
def test_looks_as_it_did(pages, kind, tmp_path):
    pages[kind].figure.savefig(tmp_path / f"{kind}.png", dpi=35)
    found = compare_images(str(PICTURES / f"{kind}.png"), str(tmp_path / f"{kind}.png"), TOLERANCE)
    assert found is None, found


@pytest.mark.parametrize(
    ("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_command_writes_what_the_suffix_says(files, tmp_path, suffix, magic):
    out = tmp_path / f"a.{suffix}"
    result = done("plot", files / "truth.nc", out, "--variable", "tp", "--time", "2000-03")
    assert result.stderr == f"Wrote {out}: map\n"
    assert out.read_bytes().startswith(magic)
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    assert dpdm("plot", files / "truth.nc", out).exit_code == 1  # it exists


def test_the_same_work_gives_the_same_bytes(files, tmp_path):
    words = ("plot", files / "truth.nc", tmp_path / "a.svg", "--overwrite", "--time", "2000-03")
    done(*words)
    before = (tmp_path / "a.svg").read_bytes()
    done(*words)
    assert (tmp_path / "a.svg").read_bytes() == before


def test_a_fault_while_writing_leaves_nothing(files, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dpdm.publish.sync_to_disk", lambda path: (_ for _ in ()).throw(OSError("full"))
    )
    assert dpdm("plot", files / "truth.nc", tmp_path / "a.png").exit_code == 1
    assert list(tmp_path.iterdir()) == []


REFUSALS = {
    "fine.nc a.png --variable t2n": "has no variable t2n; it has t2m",
    "fine.nc a.png --time 2001-07": "has no time 2001-07; its dates are 2000-01-01 to 2000-12",
    "fine.nc a.gif": r"a.gif ends in '.gif'",
    "truth.nc a.png --kind members": "has no members of t2m",
    "truth.nc a.png --kind spread": "has no spread of t2m",
    "truth.nc a.png --kind compare": "nothing to compare truth.nc with",
    "fine.nc a.png --kind rank": "needs the truth",
    "truth.nc a.png --kind rank --truth truth.nc": "has no members",
    "truth.nc a.png --kind trend": "has 1 whole year, too few",
    "fine.nc a.png --kind obs": "needs the report",
    "fine.nc a.png --report stations.csv": "not a report of an assimilation",
    "fine.nc a.png --report report.csv --time 2000-02": "no observation of t2m in the field of F",
    "fine.nc a.png --kind series": "needs a location",
    "fine.nc a.png --at 37,227": "37°N 133°W lies outside fine.nc",
    "fine.nc a.png --at 127,37": "latitude 127",
    "fine.nc a.png --at Seoul": "there is no table of stations",
    "fine.nc a.png --at Soeul --points stations.csv": "has no station Soeul",
    "fine.nc a.png --at Seoul --points report.csv": "no column station",
    "fine.nc a.png --bbox 0,10,0,10": "is not within the grid",
    "fine.nc a.png --kind map --truth truth.nc": "does not use --truth",
    "fine.nc a.png --truth years.nc": "has no field of January 2000",
    "fine.nc a.png --report report.csv --bbox 140,143,31,33": "no observation of t2m in the field",
    "fine.nc a.png --truth far.nc": "field truth has no value in the domain of fine.nc",
    "fine.nc a.png --kind series --at 37,127 --cmap viridis": "does not use --cmap",
    "fine.nc a.png --kind spread --no-relief": "kind spread does not use --no-relief",
    "fine.nc a.png --kind rank --climatology era5": "does not use --climatology",
    "fine.nc a.png --climatology era5": "--climatology is what --anomaly subtracts",
    "fine.nc a.png --anomaly --climatology none": "There is no climatology of t2m",
    "fine.nc a.png --kind compare --stat p90": "kind compare does not use --stat",
    "fine.nc a.png --stat p101": "'p101' is not a statistic",
    "truth.nc a.png --stat p90": "no members of t2m, and no p90",
    "fine.nc a.png --cmap virdis": "There is no colour map virdis",
    "fine.nc a.png --vmin 30 --vmax 0": "The colours would go from 30 to 0",
    "fine.nc a.png --season DFJ": "not the initials of successive months",
    "fine.nc a.png --season JJA --time 2000-06": "has no step of month 7 in 2000-06",
    "fine.nc none/a.png": "The folder of none/a.png does not exist",
    "fine.nc fine.nc": "fine.nc is an input too",
}


@pytest.mark.parametrize("words", REFUSALS)
def test_refuses_in_two_lines(files, monkeypatch, words):
    monkeypatch.chdir(files)
    refused(f"plot {words}", REFUSALS[words])


def test_a_kind_that_nobody_knows_is_a_slip_of_usage(files, monkeypatch):
    monkeypatch.chdir(files)
    refused("plot fine.nc a.png --kind pie", "pie", code=2)
    refused("plot fine.nc a.png --size 3", "3.0 is not in the range 7<=x<=60", code=2)
    refused("plot fine.nc a.png --dpi 9000", "9000 is not in the range", code=2)


def test_a_field_without_time_has_no_series(files, tmp_path, monkeypatch):
    with xr.open_dataset(files / "truth.nc") as truth:
        truth.isel(time=0, drop=True).to_netcdf(tmp_path / "still.nc")
    monkeypatch.chdir(tmp_path)
    refused("plot still.nc a.png --at 37,127", "still.nc has no time axis")
    refused("plot still.nc a.png --kind trend", "still.nc has no time axis")
    done("plot", "still.nc", "a.png")


@pytest.mark.parametrize("since", ["0000-01-15", "12000-01-15"])
def test_a_series_of_remote_years_is_drawn(files, tmp_path, monkeypatch, since):
    monkeypatch.chdir(tmp_path)
    with xr.open_dataset(files / "truth.nc") as truth:
        truth.drop_encoding().to_netcdf("remote.nc")
    with netCDF4.Dataset("remote.nc", "a") as file:
        file["time"].setncatts({"units": f"months since {since}", "calendar": "standard"})
        file["time"][:] = range(file["time"].size)
    done("plot", "remote.nc", "a.png", "--kind", "series", "--at", "37,127")


GALLERY = (ROOT / "docs/gallery.md").read_text(encoding="utf-8").replace("\\\n", " ")
COMMANDS = [shlex.split(n) for n in GALLERY.splitlines() if n.startswith("dpdm plot")]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: Path(words[3]).stem)
def test_pictures_of_the_gallery_are_those_of_its_commands(words, tmp_path):
    """Those that need no more than the sample data are drawn again; of all, words must parse."""
    picture, again = ROOT / words[3], tmp_path / "a.png"
    assert f"](pictures/{picture.name})" in GALLERY
    command = main.commands["plot"]
    command.make_context("plot", words[2:])
    if words[2].startswith("sample_data"):
        done("plot", ROOT / words[2], again, *words[4:])
        assert compare_images(str(picture), str(again), TOLERANCE) is None
    assert picture.stat().st_size > 10_000
