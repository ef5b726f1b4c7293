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
from dpdm.plot.scales import make_colour_scale
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


def test_maps_have_coast_and_relief(pages):
    for kind in ("map", "compare", "members", "spread", "trend"):
        maps = [axes for axes in pages[kind].figure.axes if axes.images]
        for axes in maps:
            assert len(axes.images) == 2, kind  # field and relief
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
    assert sorted(labels) == ["50%", "90%", "coarse", "median", "truth"]
    with xr.open_dataset(files / "fine.nc") as fine:
        at = fine["t2m"].interp(lat=37.57, lon=126.97) - 273.15
        median = at.median("realization").values
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
    "fine.nc none/a.png": "The folder of none/a.png does not exist",
    "fine.nc fine.nc": "ends in '.nc'",
}


@pytest.mark.parametrize("words", REFUSALS)
def test_refuses_in_two_lines(files, monkeypatch, words):
    monkeypatch.chdir(files)
    refused(f"plot {words}", REFUSALS[words])


def test_a_kind_that_nobody_knows_is_a_slip_of_usage(files, monkeypatch):
    monkeypatch.chdir(files)
    refused("plot fine.nc a.png --kind pie", "pie", code=2)


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
