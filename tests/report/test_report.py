"""The report: its numbers against the evaluation's and closed forms, its page as a page."""

import importlib
import json
import re
import socket
import sys
import tracemalloc
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate import evaluate
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.regrid import average_conservative
from dpdm.fields.statics import read_bundled_statics
from dpdm.report import report
from dpdm.report.accumulate import ReportAccumulator, add_bins, bin_values, binned_quantile
from dpdm.report.groups import (
    coast_classes,
    coast_distance,
    elevation_classes,
    find_sea,
    interpolate_land,
    scores_by_class,
    scores_by_month,
)
from dpdm.report.tables import write_conclusion
from tests.helpers.evaluation import COARSE, FINE, rows, world
from tests.helpers.small_world import done, refused

VOID = {"meta", "img", "link", "br"}
KOREA = Grid(np.arange(33.125, 43, 0.25), np.arange(124.125, 132, 0.25))


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing reach out."""

    def refuse(*words: Any, **more: Any) -> None:
        raise AssertionError("a connection was sought")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def near(truth: xr.Dataset, members: int = 4, error: float = 0.1) -> xr.Dataset:
    """Return members around the truth."""
    noise = error * (world(1, truth.sizes["time"], members) - 280)[list(truth.data_vars)]
    noise = noise.assign_coords(time=truth["time"])
    return xr.Dataset({n: (truth[n] + noise[n]).assign_attrs(truth[n].attrs) for n in truth})


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with forecast.nc, truth.nc and coarse.nc, of t2m at three months."""
    truth = world(0)[["t2m"]]
    fields = {
        "forecast": near(truth),
        "truth": truth,
        "coarse": average_conservative(truth, COARSE),
    }
    for name, dataset in fields.items():
        dataset.to_netcdf(tmp_path / f"{name}.nc")
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(HTMLParser):
    """A page as its elements, each of which must end where it may."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, Any]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.elements if name == tag]


def watched(*fields: xr.Dataset) -> tuple[ReportAccumulator, dict[str, dict[str, Any]]]:
    """Evaluate fields under a watch; return what it kept and the rows of t2m."""
    seen = ReportAccumulator()
    return seen, rows(evaluate(*fields, watch=seen))


def test_quantiles_are_those_of_sorted_values_to_a_bin() -> None:
    random = np.random.default_rng(0)
    values, weights = random.gamma(1.0, 3.0, (2, 900)), random.random((2, 900))
    values[:, 0] = np.nan
    mass = add_bins(*(bin_values(v, w, 0.01) for v, w in zip(values, weights, strict=True)))
    seen = ~np.isnan(values)
    order = np.argsort(values[seen])
    below = np.cumsum(weights[seen][order]) / weights[seen].sum()
    for share in (0.001, 0.05, 0.5, 0.99, 1.0):
        place = min(int(np.searchsorted(below, share)), order.size - 1)
        assert binned_quantile(mass, 0.01, share) == pytest.approx(
            values[seen][order][place], abs=0.01
        )


def test_a_month_has_the_scores_of_its_own_times_alone() -> None:
    truth = world(0, 13)[["t2m"]].isel(time=[0, 1, 12])
    forecast, coarse = near(truth), average_conservative(truth, COARSE)
    seen, _ = watched(forecast, truth, coarse)
    months = scores_by_month(seen.comparison, "t2m", seen.sums["t2m"])
    assert [(m.label, m.size) for m in months] == [("January", 2), ("February", 1)]
    january = {"time": [0, 2]}
    alone = rows(evaluate(forecast.isel(january), truth.isel(january), coarse.isel(january)))
    last = alone["mean of 4"]
    assert months[0].rows["mean of 4"]["rmse"] == pytest.approx(last["rmse"], rel=1e-12)
    assert months[0].members["crps"] == pytest.approx(alone["ensemble of 4"]["crps"], rel=1e-12)
    assert months[0].ratio[1:] == (last["rmse_ratio_low"], last["rmse_ratio_high"])
    assert months[0].short_verdict == "better"


def test_one_class_of_all_cells_has_the_scores_of_the_whole() -> None:
    truth = world(0)[["t2m"]]
    truth["t2m"][:, 5:9, 3:20] = np.nan
    seen, whole = watched(near(truth), truth, average_conservative(world(0)[["t2m"]], COARSE))
    every = {"all": np.ones(FINE.shape, bool), "none": np.zeros(FINE.shape, bool)}
    (part,) = scores_by_class(every, seen.comparison, "t2m", seen.sums["t2m"])
    for method in ("lerp", "mean of 4"):
        assert part.rows[method]["rmse"] == pytest.approx(whole[method]["rmse"], rel=1e-12)
    assert part.forecast["bias"] == pytest.approx(whole["mean of 4"]["bias"], rel=1e-10)
    assert part.members["crps"] == pytest.approx(whole["ensemble of 4"]["crps"], rel=1e-12)
    assert part.rows["lerp"]["crps"] == pytest.approx(whole["lerp"]["crps"], rel=1e-12)
    assert part.size == pytest.approx(1.0)


def test_squared_errors_of_classes_add_up_by_area() -> None:
    truth = world(0)[["t2m"]]
    seen, whole = watched(near(truth), truth)
    land = interpolate_land(FINE)
    found = scores_by_class(coast_classes(FINE, land), seen.comparison, "t2m", seen.sums["t2m"])
    total = sum(part.size * part.rows["mean of 4"]["rmse"] ** 2 for part in found)
    assert len(found) > 2
    assert total == pytest.approx(whole["mean of 4"]["rmse"] ** 2, rel=1e-12)


def test_every_cell_is_of_one_class_of_height_and_one_of_coast() -> None:
    land = interpolate_land(KOREA)
    height = xr.DataArray(500 + 100 * land, KOREA.coords(), ("lat", "lon"))
    for classes in (elevation_classes(height, land), coast_classes(KOREA, land)):
        assert np.array_equal(sum(classes.values()), np.ones(KOREA.shape))
    assert elevation_classes(height, land)["500 to 1000 m"].sum() == (land >= 0.5).sum()


def test_distance_to_the_coast_is_that_of_the_sphere() -> None:
    """Brute force with haversines, on Korea's cells and the coasts around it."""
    away = coast_distance(KOREA)
    land = read_bundled_statics()["land_fraction"].sel(lat=slice(31, 45), lon=slice(122, 134))
    dry, grid = land.values >= 0.5, grid_of(land)
    rows_, columns = np.nonzero(dry[1:] != dry[:-1])
    lat, lon = list(grid.lat_edges[1:-1][rows_]), list(grid.lon[columns])
    rows_, columns = np.nonzero(dry[:, 1:] != dry[:, :-1])
    lat, lon = np.r_[lat, grid.lat[rows_]], np.r_[lon, grid.lon_edges[1:-1][columns]]
    for i, j in ((0, 0), (20, 15), (39, 31)):
        phi, other = np.radians(KOREA.lat[i]), np.radians(lat)
        half = np.sin((other - phi) / 2) ** 2
        half += np.cos(phi) * np.cos(other) * np.sin(np.radians(lon - KOREA.lon[j]) / 2) ** 2
        assert away[i, j] == pytest.approx(2 * 6371 * np.arcsin(np.sqrt(half)).min(), rel=1e-6)


def test_a_sea_across_the_end_of_the_axis_is_one_and_a_lake_is_none() -> None:
    grid = Grid(np.arange(-88.0, 90, 4), np.arange(0.0, 360, 4))  # a cell at 0: 198,000 km2
    wet = np.zeros(grid.shape, bool)
    wet[42, [0, -1]] = True  # two cells at 80 degrees, 34,000 km2 each
    assert not find_sea(wet, grid).any()
    wet[38:44, [0, -1]] = True  # 12 cells, about 70,000 km2 or less each: more than a lake
    assert np.array_equal(find_sea(wet, grid), wet)
    wet[:] = False
    wet[22, 40] = True
    assert find_sea(wet, grid).sum() == 1  # it is larger than a lake


def test_the_table_is_that_of_the_evaluation(files: Path) -> None:
    said = done("evaluate", "forecast.nc", "truth.nc", "--coarse", "coarse.nc", "--json")
    more = done("evaluate", "forecast.nc", "truth.nc", "--coarse", "coarse.nc", "--json",
                "--report", "r.html")  # fmt: skip
    assert json.loads(more.stdout) == json.loads(said.stdout)
    assert more.stderr.strip() == "Wrote r.html"


def test_the_page_is_whole_accessible_and_asks_nothing_of_the_network(files: Path) -> None:
    done("evaluate", "forecast.nc", "truth.nc", "--coarse", "coarse.nc", "--report", "r.html")
    text = Path("r.html").read_text(encoding="utf-8")
    page = Page(text)
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs[key] for _, attrs in page.elements
             for key in ("href", "src", "xlink:href") if key in attrs]  # fmt: skip
    assert all(link.startswith("data:") or link[1:] in ids for link in links)
    used = re.findall(r"url\(#([^)]*)\)", text)
    assert set(used) <= set(ids)
    assert "@import" not in text
    assert not page.all("script")
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"].startswith("Maps of") for image in page.all("img"))
    assert {svg["role"] for svg in page.all("svg")} == {"img"}
    assert all(svg["aria-label"] for svg in page.all("svg"))
    assert all("scope" in head for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert (len(page.all("img")), len(page.all("svg"))) == (6, 6)
    assert "RMSE of delta method" in page.words
    assert any("ACC against ERA5 2000-2025 monthly climatology" in word for word in page.words)


def test_the_conclusion_counts_months_and_says_what_the_spread_is(files: Path) -> None:
    # One tile: a month of a single time cannot be tested.
    truth = world(0, 15)[["t2m"]].isel(time=[0, 1, 2, 5, 12, 13, 14])
    truth.to_netcdf("truth.nc")
    near(truth).to_netcdf("forecast.nc")
    average_conservative(truth, COARSE).to_netcdf("coarse.nc")
    table = report(Path("r.html"), Path("forecast.nc"), Path("truth.nc"), Path("coarse.nc"))
    words = " ".join("".join(Page(Path("r.html").read_text(encoding="utf-8")).words).split())
    row = rows(table)["mean of 4"]
    ends = f"(ratio {row['rmse_ratio_low']:.2f} to {row['rmse_ratio_high']:.2f})"
    assert f"better than bilinear at the 95% level {ends}, and better in 3 of 3 months" in words
    assert "its ensemble spread is too large" in words  # no bias in the noise, so sqrt(5) is due


def test_the_top_says_what_was_compared(files: Path) -> None:
    with xr.open_dataset("forecast.nc") as forecast:
        made = {"dpdm_prior": "korea", "dpdm_climatology": "own.nc", "dpdm_members": "4"}
        forecast.assign_attrs(made).load().to_netcdf("made.nc")
    report(Path("r.html"), Path("made.nc"), Path("truth.nc"))
    page = Path("r.html").read_text(encoding="utf-8")
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", page))
    lat, lon = FINE.lat, FINE.lon
    assert facts["Period"] == "2001-01 to 2001-03, 3 months"
    assert facts["Region"].startswith(
        f"{lat[0]:g}°N to {lat[-1]:g}°N, {lon[0]:g}°E to {lon[-1]:g}°E"
    )
    assert (facts["Members"], facts["Prior"]) == ("4", "korea")
    assert facts["Climatology of the forecast"] == "own.nc"
    assert facts["Climatology of the scores"] == "ERA5 2000-2025 monthly climatology"


def test_maps_of_seasons_are_means_of_their_months() -> None:
    """Oracle: the mean of the fields themselves."""
    truth = world(0, 13)[["t2m"]].isel(time=[0, 1, 5, 11, 12])
    truth["t2m"][0, 3, 4] = np.nan
    forecast = near(truth)
    seen, _ = watched(forecast, truth)
    periods = seen.sums["t2m"].periods
    assert {name: own.steps for name, own in periods.items()} == {
        "all times": 5, "DJF": 4, "JJA": 1
    }  # fmt: skip
    winter = truth["t2m"].isel(time=[0, 1, 3, 4]).mean("time").values
    np.testing.assert_allclose(periods["DJF"].mean("truth"), winter, rtol=1e-6)
    summer = forecast["t2m"].mean("realization").isel(time=2).transpose("lat", "lon").values
    np.testing.assert_allclose(periods["JJA"].mean("mean of 4"), summer, rtol=1e-5)


def test_wet_steps_are_counted_in_members_and_not_in_their_mean() -> None:
    """Oracle: of two members, one always wet and one always dry, half of the steps are wet."""
    truth = world(0)[["t2m"]].rename(t2m="tp") * 0 + 2.0
    truth["tp"].attrs["units"] = "mm day-1"
    forecast = xr.concat([truth, truth * 0 + 0.5], "realization")
    forecast["tp"].attrs["units"] = "mm day-1"
    seen, _ = watched(forecast, truth)
    sums = seen.sums["tp"]
    assert np.all(sums.over_time(sums.wet["truth"]) == 1.0)
    assert np.all(sums.over_time(sums.wet["one member"]) == 0.5)


def test_an_interval_is_named_only_where_one_is_drawn(tmp_path: Path) -> None:
    """One time on one tile cannot be resampled: no range, no verdict of better."""
    fine = {"lat": slice(0, 8), "lon": slice(0, 8)}
    truth = world(0)[["t2m"]].isel(time=[0], **fine)
    coarse = average_conservative(world(0)[["t2m"]], COARSE).isel(time=[0])
    for name, fields in {"f": near(truth), "t": truth, "c": coarse}.items():
        fields.to_netcdf(tmp_path / f"{name}.nc")
    report(tmp_path / "r.html", tmp_path / "f.nc", tmp_path / "t.nc", tmp_path / "c.nc")
    page = " ".join(Page((tmp_path / "r.html").read_text(encoding="utf-8")).words)
    assert "not tested against bilinear" in page
    assert "95% range" not in page
    assert not re.search(r"\bbetter\b", page.partition("Conclusions")[2])  # after the style


def test_a_conclusion_without_lerp_or_members_says_less() -> None:
    row = {"variable": "tp", "units": "mm day-1", "method": "forecast", "rmse": 1.5, "bias": -0.5}
    said = write_conclusion("tp", [row], [], "forecast")
    assert said == (
        "Precipitation (tp): the forecast has an RMSE of 1.50 mm day⁻¹ and a bias of "
        "\N{MINUS SIGN}0.50 mm day⁻¹."
    )


def test_a_conclusion_names_the_baseline_that_is_better() -> None:
    rows_ = [
        {"units": "K", "method": "lerp", "rmse": 2.0, "bias": 0.0},
        {"units": "K", "method": "lerp + lapse rate", "rmse": 0.5, "bias": 0.0},
        {"units": "K", "method": "forecast", "rmse": 1.0, "bias": 0.0, "rmse_ratio_low": 0.4,
         "rmse_ratio_high": 0.6, "verdict": "better than bilinear at the 95% level"},
    ]  # fmt: skip
    said = write_conclusion("t2m", rows_, [], "forecast")
    assert said.endswith("(ratio 0.40 to 0.60); bilinear + lapse rate has the smallest, 0.50 K.")


def test_extremes_are_those_of_the_truth(files: Path) -> None:
    report(Path("r.html"), Path("forecast.nc"), Path("truth.nc"))
    page = Path("r.html").read_text(encoding="utf-8")
    truth = world(0)["t2m"]
    weights = np.cos(np.radians(truth["lat"]))
    means = truth.weighted(weights).mean(("lat", "lon"))
    order = np.argsort(-means.values)
    found = re.findall(r'<th scope="row">(2001-\d\d)</th><td>([\d.]+)</td>', page)
    assert [month for month, _ in found] == [f"2001-{i + 1:02d}" for i in order]
    assert [float(m) for _, m in found] == pytest.approx(means.values[order], abs=2e-3)


ODD = 'dew <b>"2 m" & $x_1$'


@pytest.mark.parametrize("kind", ["odd", "constant", "once", "gaps", "dateline", "single"])
def test_unusual_fields_are_reported_without_a_warning(tmp_path: Path, kind: str) -> None:
    truth = world(0)[["t2m"]]
    forecast = near(truth)
    match kind:
        case "odd":
            truth, forecast = (f.rename(t2m=ODD) for f in (truth, forecast))
        case "constant":
            truth["t2m"][:] = 280.0
            forecast = truth
        case "once":
            truth, forecast = (f.isel(time=0, drop=True) for f in (truth, forecast))
        case "gaps":
            truth["t2m"][0] = np.nan
            forecast["t2m"][:, :, :9] = np.nan
        case "dateline":
            truth, forecast = (f.assign_coords(lon=f["lon"] + 75.0) for f in (truth, forecast))
        case "single":
            forecast = forecast.isel(realization=0, drop=True)
    truth.to_netcdf(tmp_path / "t.nc")
    forecast.to_netcdf(tmp_path / "f.nc")
    report(tmp_path / "r.html", tmp_path / "f.nc", tmp_path / "t.nc")
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert not page.all("b")
    assert not any("nan" in word.split() for word in page.words)


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        ("--report r.pdf", "ends in '.pdf'", ".html"),
        ("--report no/r.html", "does not exist", "mkdir"),
        ("--report there.html", "there.html exists", "--overwrite"),
        ("--report r.html --coarse absent.nc", "absent.nc", ""),
        ("--report r.html --statics absent.nc --coarse coarse.nc", "absent.nc", ""),
    ],
)
def test_what_cannot_be_reported_is_refused_and_leaves_nothing(
    files: Path, words: str, what: str, hint: str
) -> None:
    (files / "there.html").write_text("mine")
    refused(f"evaluate forecast.nc truth.nc {words}", what, hint)


def test_overwrite_replaces_a_report(files: Path) -> None:
    (files / "r.html").write_text("mine")
    done("evaluate", "forecast.nc", "truth.nc", "--report", "r.html", "--overwrite")
    assert (files / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("library", ["jinja2", "matplotlib"])
def test_a_missing_library_is_said_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "dpdm.report.figures")
    with pytest.raises(DpdmError, match=f"Reports need {library}, which is not installed") as said:
        importlib.import_module("dpdm.report.figures")
    assert said.value.hint == "Run: pip install 'dpdm[gis]'."


def test_memory_does_not_grow_with_time(tmp_path: Path) -> None:
    peaks = []
    for count in (2, 8):
        world(7, count, members=8)[["t2m"]].to_netcdf(tmp_path / "f.nc")
        with xr.open_dataset(tmp_path / "f.nc") as forecast:
            tracemalloc.start()
            evaluate(forecast, world(8, count)[["t2m"]], watch=ReportAccumulator())
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.25 * peaks[0]
