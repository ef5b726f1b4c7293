"""Interactive pages: what they hold, that they fetch nothing, and the value at the cursor."""

import base64
import gzip
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.plot import interactive
from tests.helpers.browser import BROWSER, browse
from tests.helpers.labelled_fields import GRIDS, field, told, written
from tests.helpers.small_world import done, refused

pytest.importorskip("bokeh")
HOLE = (5, 7)  # row and column without a value
KELVIN = 273.15


def rain(grid, steps=3):
    """A flux whose values tell place and step, with a hole, and a name that is no name."""
    ds = field(grid, steps)
    flux = (ds["t2m"] - 200) / 86400
    flux.attrs = {"units": "kg m-2 s-1", "long_name": "$$x$$ </script><b>rain"}
    flux[:, *HOLE] = np.nan
    return flux.to_dataset(name="tp")


def page_of(folder: Path, ds: xr.Dataset, *words: object) -> Path:
    written(folder / "field.nc", ds)
    done("plot", folder / "field.nc", folder / "page.html", "--interactive", *words)
    return folder / "page.html"


def models_of(page: Path) -> list[dict]:
    """Return the models that a page holds."""
    (text,) = re.findall(
        r'<script type="application/json"[^>]*>(.*?)</script>', page.read_text(), re.DOTALL
    )
    (document,) = json.loads(html.unescape(text)).values()
    found = []

    def collect(part):
        if isinstance(part, dict):
            found.extend([part] if part.get("type") == "object" else [])
            part = list(part.values())
        for each in part if isinstance(part, list) else ():
            collect(each)

    collect(document)
    return found


def model(page: Path, **wanted) -> dict:
    """Return the attributes of the first model with given ones."""
    return next(
        m["attributes"]
        for m in models_of(page)
        if all(
            ({"kind": m["name"]} | m.get("attributes", {})).get(k) == v for k, v in wanted.items()
        )
    )


def columns(source: dict) -> dict:
    return dict(source["data"]["entries"])


def array(entry: dict) -> np.ndarray:
    data = gzip.decompress(base64.b64decode(entry["array"]["data"]))
    return np.frombuffer(data, entry["dtype"]).reshape(entry["shape"])


def images(source: dict) -> np.ndarray:
    return np.stack([array(each) for each in columns(source)["image"]])


@pytest.mark.parametrize("name", ["globe of 0 to 360", "across the dateline", "globe with poles"])
def test_a_page_holds_the_values_of_the_file_from_the_south(tmp_path, name):
    grid = GRIDS[name]
    page = page_of(tmp_path, field(grid, 2))
    steps = model(page, name="steps")
    values = images(steps)
    box = model(page, kind="Image")
    (rows, across), (height, width) = grid.spacing, grid.shape
    assert values.shape == (2, height, width)
    assert [box["dw"]["value"], box["dh"]["value"]] == pytest.approx(
        [width * across, height * rows]
    )
    lat = box["y"]["value"] + rows * (np.arange(height) + 0.5)
    lon = box["x"]["value"] + across * (np.arange(width) + 0.5)
    expected = told(lat[:, None], lon) - KELVIN
    np.testing.assert_allclose(values, [expected, expected + 1], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(images(model(page, name="shown"))[0], values[0])
    assert columns(steps)["date"] == ["January 2012", "February 2012"]
    assert model(page, name="time")["end"] == 1
    assert -180 - across < box["x"]["value"] < 180


def test_coastlines_are_drawn_within_the_map(tmp_path):
    lon, lat = interactive.coastlines_within(Grid(np.arange(45.5, 62), np.arange(350.5, 363)))
    known = np.isfinite(lon)
    assert (lon[known].min() >= 349, lon[known].max() <= 364, lat[known].max() <= 63) == (
        True,
    ) * 3
    globe = interactive.coastlines_within(GRIDS["globe of -180 to 180"])[0]
    assert np.nanmax(np.abs(np.diff(globe))) < 90  # no line from one edge to the other
    cornwall = np.hypot(lon - (360 - 5.7), lat - 50.07)  # Land's End
    assert np.nanmin(cornwall) < 0.1


def test_time_season_and_statistic_choose_as_in_pictures(tmp_path):
    grid = GRIDS["across the dateline"]
    ds = field(grid, 12, members=4)
    page = page_of(tmp_path, ds, "--stat", "p90", "--time", "2012-03")
    assert not [m for m in models_of(page) if m["name"] == "Slider"]
    wanted = np.percentile(ds["t2m"].isel(time=2), 90, axis=0) - KELVIN
    np.testing.assert_allclose(images(model(page, name="shown"))[0], wanted, atol=1e-4)
    assert model(page, name="label")["text"] == "March 2012, 90th percentile of 4"
    page.unlink()
    page = page_of(tmp_path, ds, "--season", "JJA")
    summer = ds["t2m"].sel(time=slice("2012-06", "2012-08")).mean(("realization", "time"))
    np.testing.assert_allclose(images(model(page, name="shown"))[0], summer - KELVIN, atol=1e-4)


def test_a_page_names_no_other_and_hides_no_markup(tmp_path):
    page = page_of(tmp_path, rain(GRIDS["across Greenwich"]))
    text = page.read_text()
    body = re.sub(r"<script[^>]*>.*?</script>", "<script/>", text, flags=re.DOTALL)
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=", body)
    assert not re.search("(?i)https?:|//", body.replace("<!--", ""))
    assert "<title>$$x$$ &lt;/script&gt;&lt;b&gt;rain</title>" in body
    assert "<b>rain" not in text
    assert "default-src 'none'" in body
    assert page.stat().st_size < 3e6


def test_what_a_page_cannot_do_is_refused(tmp_path, monkeypatch):
    page_of(tmp_path, field(GRIDS["across the dateline"], 3))
    plot = f"plot {tmp_path}/field.nc {tmp_path}"
    refused(f"{plot}/a.html", "is a web page", "Add --interactive.")
    refused(f"{plot}/a.png --interactive", "ends in '.png'", "End it in .html.")
    refused(f"{plot}/a.html --interactive --kind series", "is a map, not", "Leave out --kind")
    refused(f"{plot}/a.html --interactive --dpi 300", "does not use --dpi", "Leave it out")
    refused(f"{plot}/a.html --interactive --no-relief", "does not use --no-relief")
    monkeypatch.setattr(interactive, "MAX_VALUES", 1000)
    refused(f"{plot}/a.html --interactive", "would hold 1,800 values in 3 steps", "--bbox")
    monkeypatch.setitem(__import__("sys").modules, "bokeh.layouts", None)
    refused(f"{plot}/a.html --interactive --time 2012-01", "need bokeh", "dpdm[interactive]")
    assert not (tmp_path / "a.html").exists()


WORDS = """(function words(root) {
  return [...root.childNodes].map(n => n.nodeType == 3 ? n.data :
    ["STYLE", "SCRIPT"].includes(n.tagName) ? "" :
    (n.shadowRoot ? words(n.shadowRoot) : "") + words(n)).join(" ").replace(/\\s+/g, " ")
})(document.body)"""
PLACE = """(function() {
  const view = Bokeh.index.find_one(Bokeh.documents[0].get_model_by_name("map"))
  const area = view.canvas_view?.el ?? view.canvas.el
  const box = area.getBoundingClientRect(), frame = view.frame
  return [box.left + frame.x_scale.compute(%f), box.top + frame.y_scale.compute(%f)]
})()"""
RANGE = 'Bokeh.documents[0].get_model_by_name("map").x_range'
READY = "document.readyState == 'complete' && Bokeh.documents.length && Bokeh.documents[0].is_idle"


@pytest.mark.skipif(not BROWSER, reason="no Chromium is here")
def test_the_cursor_shows_the_value_of_its_cell_in_a_browser(tmp_path):
    grid = GRIDS["across Greenwich"]
    ds = rain(grid)
    page = page_of(tmp_path, ds)

    async def visit(tab):
        await tab.until(READY)

        async def hover(row, column):
            x, y = await tab.evaluate(PLACE % (grid.lon[column], grid.lat[row]))
            for shift in (2, 0):
                await tab.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + shift, y=y)
            return await tab.until(
                f"(({WORDS}).match(/value:? *(\\S+( mm.day)?|no data) *at.*[EW]/)||[''])[0]"
            )

        said = [await hover(70, 3), await hover(2, 60), await hover(*HOLE)]
        await tab.evaluate('Bokeh.documents[0].get_model_by_name("time").value = 2')
        await tab.until(f"({WORDS}).includes('March 2012')")
        said += [await hover(2, 60)]
        x, y = await tab.evaluate(PLACE % (0.0, 50.0))
        wheel = {"type": "mouseWheel", "deltaX": 0, "deltaY": -240}
        await tab.send("Input.dispatchMouseEvent", x=x, y=y, **wheel)
        await tab.until(f"{RANGE}.end - {RANGE}.start < 19")  # of 20 degrees
        west = await tab.evaluate(f"{RANGE}.start")
        for kind, shift in (("mousePressed", 0), ("mouseMoved", 30), ("mouseReleased", 60)):
            await tab.send(
                "Input.dispatchMouseEvent", type=kind, x=x + shift, y=y, button="left",
                buttons=1, clickCount=1,
            )  # fmt: skip
        await tab.until(f"{RANGE}.start < {west} - 0.1")
        return said, tab.requests(), tab.faults()

    said, requests, faults = browse(page, visit)
    assert faults == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    for text, (step, row, column) in zip(
        said, [(0, 70, 3), (0, 2, 60), (0, *HOLE), (2, 2, 60)], strict=True
    ):
        value, lat, lon = re.search(
            r"value:? *(\S+).* at:? *([\d.]+)°N ([\d.]+)°[EW]", text
        ).groups()
        assert float(lat) == pytest.approx(grid.lat[row], abs=grid.spacing[0] / 2)
        assert float(lon) == pytest.approx(abs(grid.lon[column]), abs=grid.spacing[1] / 2)
        if (row, column) == HOLE:
            assert "no data" in text
        else:
            assert float(value) == pytest.approx(
                86400 * float(ds["tp"][step, row, column]), rel=1e-5
            )
            assert "mm/day" in text
