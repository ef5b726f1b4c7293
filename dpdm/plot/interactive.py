"""Write a map as one web page: pan, zoom, the value at the cursor, and a slider over the steps.

Bokeh draws it; its scripts, the values and the coastlines are inside the page, which fetches
nothing. Values are those of the cells, as float32, in longitude and latitude.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid, recentre_grid
from dpdm.fields.subset import select_on_grid
from dpdm.plot.data import PlotData, PlotVariable
from dpdm.plot.map_axes import read_coastlines
from dpdm.plot.page import colors
from dpdm.plot.scales import ColourScale, make_colour_scale
from dpdm.plot.statistics import ShownField, read_statistic
from dpdm.plot.steps import StepChoice, find_steps, format_date, select_steps, time_resolution
from dpdm.publish import open_draft
from dpdm.system import import_extra

WHAT, EXTRA = "Interactive pages", "interactive"
MAX_VALUES = 10_000_000  # of a page: 40 MB before compression
MAX_WIDTH, MAX_HEIGHT = 1000, 640  # of a map, pixels
MISSING_COLOUR = "#d9d9d9"
COLOUR_COUNT = 256
MAX_COAST_STEP = 90.0  # degrees between points of a line
COAST_MARGIN = 1.0  # degrees, so that lines reach the edges of the map
# Neither a script nor a text of the file can make a browser fetch something.
POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    'img-src data: blob:; font-src data:">'
)
# Bokeh itself writes NaN for a missing value, so that the cell is looked up.
SHOW_VALUE = """
const column = Math.floor((special_vars.x - west) / across)
const row = Math.floor((special_vars.y - south) / up)
const found = shown.data.image[0][row * width + column]
return Number.isFinite(found) ? Number(found.toPrecision(6)) + units : "no data"
"""
SHOW_PLACE = """
const lat = special_vars.y, lon = (special_vars.x + 540) % 360 - 180
const side = (x, signs) => Math.abs(x).toFixed(3) + "°" + signs[x < 0 ? 1 : 0]
return side(lat, "NS") + " " + side(lon, "EW")
"""
SHOW_STEP = """
const step = this.value
shown.data = {...shown.data, image: [steps.data.image[step]]}
label.text = steps.data.label[step]
this.title = steps.data.date[step]
"""


class PageFields(NamedTuple):
    """The fields of a page.

    Attributes:
        grid: Their cells, with longitudes from -180 if they close the circle.
        values: The values (H, W) of each step, from the south, with NaN for missing ones.
        dates: The date of each step, empty without time.
        shown: What the first of them is.
    """

    grid: Grid
    values: list[NDArray[np.float32]]
    dates: list[str]
    shown: ShownField


def write_interactive(data: PlotData, out: Path) -> None:
    """Write the page of a map atomically."""
    page = make_page(data)
    with open_draft(out, data.options.overwrite) as draft:
        draft.write_text(page, encoding="utf-8")


def make_page(data: PlotData) -> str:
    """Return the page of a map as HTML."""
    layouts, embed, resources = (
        import_extra(name, WHAT, EXTRA)
        for name in ("bokeh.layouts", "bokeh.embed", "bokeh.resources")
    )
    fields = read_page_fields(data)
    scale = make_colour_scale(fields.shown.colour_kind, fields.values, data.options.colours)
    parts = draw_map(data, fields, scale)
    page: str = embed.file_html(layouts.column(*parts), resources.INLINE, title=data.heading()[0])
    return page.replace("<head>", f"<head>{POLICY}", 1)


def read_page_fields(data: PlotData) -> PageFields:
    """Read the fields of all steps that --time leaves, or their mean over a season."""
    source, options = data.source, data.options
    choices = select_choices(source, options.time, options.season)
    check_size(source.grid, len(choices))
    fields = [read_statistic(source, choice.steps, options.stat) for choice in choices]
    grid = recentre_grid(source.grid) if source.grid.cyclic else source.grid
    values = [_values_on_grid(each.field, grid) for each in fields]
    return PageFields(grid, values, [choice.label for choice in choices], fields[0])


def select_choices(source: PlotVariable, date: str, season: str) -> list[StepChoice]:
    """Return each step whose date begins with a text, or the steps of a season together."""
    if season or "time" not in source.full_array.dims:
        return [select_steps(source, date, season)]
    steps = find_steps(source.time, date, source.path)
    resolution = time_resolution(source.time)
    return [StepChoice([i], format_date(source.time[i], resolution)) for i in steps]


def check_size(grid: Grid, steps: int) -> None:
    """Refuse a page that would be too large for a browser."""
    count = steps * grid.lat.size * grid.lon.size
    if count > MAX_VALUES:
        raise DpdmError(
            f"The page would hold {count:,} values in {steps} step{'s' * (steps != 1)}, more than "
            f"the {MAX_VALUES:,} that a browser shows at ease.",
            "Choose fewer with --time, --season or --bbox.",
        )


def _values_on_grid(field: xr.DataArray, grid: Grid) -> NDArray[np.float32]:
    """Return the values (H, W) of a field on its own cells, whose longitudes may be turned."""
    part = select_on_grid(field.to_dataset(name="field"), grid)
    assert part is not None  # its own cells
    return part["field"].transpose("lat", "lon").values.astype(np.float32)


def draw_map(data: PlotData, fields: PageFields, scale: ColourScale) -> list[Any]:
    """Return the parts of a page: heading, slider if there are several steps, map, provenance."""
    models, plotting = (
        import_extra(name, WHAT, EXTRA) for name in ("bokeh.models", "bokeh.plotting")
    )
    shown = models.ColumnDataSource({"image": fields.values[:1]}, name="shown")
    figure = _empty_map(plotting, fields.grid)
    _add_image(models, figure, shown, fields, scale)
    lon, lat = coastlines_within(fields.grid)
    figure.line(lon, lat, color="black", line_width=0.8)
    head, words = data.heading(fields.dates[0], fields.shown.label)
    label = _text(models, words, name="label")
    slider = _time_slider(models, shown, label, fields, data)
    title = _text(models, head, styles={"font-size": "1.3em", "font-weight": "bold"})
    return [title, label, *slider, figure, _text(models, data.footer)]


def _text(models: Any, text: str, **more: Any) -> Any:
    """Return a line of plain text."""
    return models.Div(text=text, render_as_text=True, disable_math=True, **more)


def _empty_map(plotting: Any, grid: Grid) -> Any:
    """Return a figure whose axes are degrees, as long as on the ground at its middle latitude."""
    (rows, columns), (height, width) = grid.spacing, grid.shape
    across = width * columns * max(0.2, float(np.cos(np.radians(grid.lat.mean()))))
    scale = min(MAX_WIDTH / across, MAX_HEIGHT / (height * rows))
    west, south = grid.lon[0] - columns / 2, grid.lat[0] - rows / 2
    figure = plotting.figure(
        name="map", frame_width=max(80, round(scale * across)),
        frame_height=max(80, round(scale * height * rows)),
        x_range=(west, west + width * columns), y_range=(south, south + height * rows),
        x_axis_label="longitude, °E", y_axis_label="latitude, °N",
        tools="pan,wheel_zoom,box_zoom,reset,save", active_scroll="wheel_zoom",
        background_fill_color="white",
    )  # fmt: skip
    figure.toolbar.logo = None  # a link to the site of bokeh
    figure.grid.visible = False
    return figure


def _add_image(
    models: Any, figure: Any, shown: Any, fields: PageFields, scale: ColourScale
) -> None:
    """Draw the field, the value at the cursor and the colour bar."""
    (x0, x1), (y0, y1) = ((r.start, r.end) for r in (figure.x_range, figure.y_range))
    colours = [colors.to_hex(c) for c in scale.colours(np.linspace(0, 1, COLOUR_COUNT))]
    mapper = models.LinearColorMapper(
        palette=colours, low=scale.low, high=scale.high, nan_color=MISSING_COLOUR
    )
    image = figure.image(
        "image", source=shown, x=x0, y=y0, dw=x1 - x0, dh=y1 - y0, color_mapper=mapper
    )
    cells = {
        "shown": shown, "west": x0, "south": y0, "across": fields.grid.spacing[1],
        "up": fields.grid.spacing[0], "width": fields.grid.shape[1],
        "units": f" {fields.shown.units}".removesuffix(" 1"),
    }  # fmt: skip
    figure.add_tools(
        models.HoverTool(
            renderers=[image], point_policy="follow_mouse",
            tooltips=[("value", "$y{custom}"), ("at", "$x{custom}")],
            formatters={
                "$y": models.CustomJSHover(code=SHOW_VALUE, args=cells),
                "$x": models.CustomJSHover(code=SHOW_PLACE),
            },
        )
    )  # fmt: skip
    title = models.PlainText(text=fields.shown.units)
    figure.add_layout(models.ColorBar(color_mapper=mapper, title=title), "right")


def _time_slider(
    models: Any, shown: Any, label: Any, fields: PageFields, data: PlotData
) -> list[Any]:
    """Return a slider over the steps, none for a single one."""
    if len(fields.values) == 1:
        return []
    words = [data.heading(date, fields.shown.label)[1] for date in fields.dates]
    steps = models.ColumnDataSource(
        {"image": fields.values, "label": words, "date": fields.dates}, name="steps"
    )
    slider = models.Slider(
        name="time", start=0, end=len(words) - 1, step=1, value=0, show_value=False,
        title=fields.dates[0], width=MAX_WIDTH // 2,
    )  # fmt: skip
    arguments = {"shown": shown, "steps": steps, "label": label}
    slider.js_on_change("value", models.CustomJS(args=arguments, code=SHOW_STEP))
    return [slider]


def coastlines_within(grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return longitudes and latitudes of the coastlines of a grid, with NaN between lines."""
    points, first = read_coastlines()
    margin = np.array([-COAST_MARGIN, COAST_MARGIN])
    east, north = grid.lon_edges[[0, -1]] + margin, grid.lat_edges[[0, -1]] + margin
    parts = [
        cut_lines(points + np.array([turn, 0.0]), first, east, north)
        for turn in (-360.0, 0.0, 360.0)
    ]
    lines = np.concatenate(parts).astype(np.float32)
    return lines[:, 0], lines[:, 1]


def cut_lines(points: Array, first: NDArray[np.bool_], lon: Any, lat: Any) -> Array:
    """Return the points (N, 2) of lines within a box, with NaN where a line begins.

    Example:
        >>> line = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [2.0, 0.0]])
        >>> cut_lines(line, np.array([True, False, False, False]), [0, 5], [0, 5])[:, 0].tolist()
        [nan, 0.0, 1.0, nan, 2.0]
    """
    ends = np.array([lon, lat])
    inside = np.all((points >= ends[:, 0]) & (points <= ends[:, 1]), axis=1)
    jump = np.abs(np.diff(points[:, 0])) > MAX_COAST_STEP  # at the dateline
    begins: NDArray[np.bool_] = first | np.r_[True, jump | ~inside[:-1]]
    kept, starts = points[inside], np.flatnonzero(begins[inside])
    lines: Array = np.insert(kept, starts, np.nan, axis=0)
    return lines
