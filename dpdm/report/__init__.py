"""Write the scores of a forecast as one HTML file: conclusions, tables, maps and charts.

`report` watches the evaluation and accumulates sums over time, so that fields are read once and
the size of the file does not grow with the series. The scores are those of `dpdm evaluate`, also
by month, elevation and distance to the coast. Pictures and style are in the file.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm import __version__
from dpdm.errors import DpdmError
from dpdm.evaluate import climatology_file, evaluate_files
from dpdm.evaluate.accumulators import WET_RATE
from dpdm.evaluate.comparison import Comparison
from dpdm.evaluate.metrics import FIELDS, INDICES, JOINT_SECTION, REFERENCE, Row, method_label
from dpdm.evaluate.sections import SectionChoice
from dpdm.evaluate.table import Table, join_in_sentence, rmse_decimals
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import FileOptions, open_fields
from dpdm.fields.statics import make_statics, read_bundled_statics, regrid_statics
from dpdm.fields.value_checks import common_missing_codes
from dpdm.fields.write import write_text
from dpdm.file_group import Source
from dpdm.paths import check_output, iterate_paths
from dpdm.report import figures, tables
from dpdm.report.accumulate import (
    ALL_TIMES,
    SINGLE_LABEL,
    TRUTH_LABEL,
    PartScores,
    ReportAccumulator,
    VariableSums,
    binned_quantile,
    comparison_labels,
)
from dpdm.report.facts import comparison_facts
from dpdm.report.figures import chart_style, jinja2
from dpdm.report.groups import (
    Breakdown,
    CellMask,
    breakdowns,
    coast_classes,
    elevation_classes,
    interpolate_land,
)
from dpdm.report.tables import ReportTable
from dpdm.system import sha256, utc_now

REPORT_SUFFIXES = (".html", ".htm")
TEST_NOTES = (
    "By month: the same bootstrap over the month's own times and tiles. One in twenty months "
    "without any true difference is expected to test as different.",
    "By elevation and coast: sums over time; the interval is a bootstrap over tiles alone.",
)
REPORT_NOTES = (
    "Elevation is that of the {relief}; the coast is where the bundled "
    "land fraction crosses one half. Lakes count as land.",
    "Quantiles are accurate to a five-thousandth of the truth's range.",
    "Colours of a map end at the 99th percentile, of fields also at the first.",
)
QUANTILE_SHARES = (0.001, 0.005, 0.01, *np.linspace(0.02, 0.98, 49), 0.99, 0.995, 0.999)


def report(
    path: Path,
    forecast: Source,
    truth: Source,
    coarse: Source | None = None,
    climatology: str = "",
    also: Mapping[str, Path] = {},
    statics: Path | None = None,
    options: FileOptions = FileOptions(history=""),
    climatology_period: tuple[str, str] | None = None,
    sections: SectionChoice = SectionChoice(has_all=True),
) -> Table:
    """Evaluate files as `evaluate_files` does, and write a report as HTML."""
    normal = climatology_file(climatology)
    inputs = list(iterate_paths([forecast, truth, coarse, normal, statics, also]))
    check_output(path, inputs, options.overwrite, REPORT_SUFFIXES)
    accumulator = ReportAccumulator()
    table = evaluate_files(
        forecast, truth, coarse, climatology, also, statics, options, accumulator,
        climatology_period, sections,
    )  # fmt: skip
    assert accumulator.comparison is not None  # an evaluation has at least one time
    about = {
        "forecast": forecast.name,
        "truth": truth.name,
        "command": options.history,
        "files": {str(file): sha256(file) for file in inputs},
    }
    page = render_report(
        accumulator, accumulator.comparison, table, about, statics, options.missing
    )
    write_text(path, page, options.overwrite)
    return table


def render_report(
    accumulator: ReportAccumulator,
    comparison: Comparison,
    table: Table,
    about: Mapping[str, object],
    statics: Path | None,
    missing: MissingCodes = {},
) -> str:
    """Return the page as HTML."""
    classes, relief = classify_cells(grid_of(comparison.truth), statics, missing)
    land, ways = interpolate_land(grid_of(comparison.truth)), breakdowns(classes)
    with chart_style():
        sections = [
            make_section(name, comparison, sums, table, ways, land)
            for name, sums in accumulator.sums.items()
        ]
    sections += make_joint_section(table)
    notes = [*table.all_notes(), *(note.format(relief=relief) for note in REPORT_NOTES)]
    if any(np.isfinite(row.get("rmse_ratio_low", np.nan)) for row in table.rows):
        notes += TEST_NOTES
    page = load_template().render(
        sections=sections,
        notes=notes,
        facts=comparison_facts(comparison),
        version=__version__,
        made=utc_now(),
        **about,
    )
    return page + "\n"


def classify_cells(
    grid: Grid, statics: Path | None, missing: MissingCodes = {}
) -> tuple[dict[str, dict[str, CellMask]], str]:
    """Return the classes of cells, and the name of the topography that they are based on.

    The user's own topography is used if it covers the grid; else the bundled one, whatever the
    spacing of the grid.
    """
    land, word = interpolate_land(grid), "bundled topography"
    fields = regrid_statics(read_bundled_statics(), grid)
    if statics is not None:
        with suppress(DpdmError):
            own = open_fields(statics, missing=common_missing_codes(missing))
            fields, word = make_statics(grid, own), "topography that was given"
    return {
        "elevation": elevation_classes(fields["topography"], land),
        "distance to the coast": coast_classes(grid, land),
    }, word


def load_template() -> jinja2.Template:
    """Load the template of the page, with HTML escaping."""
    loader = jinja2.PackageLoader("dpdm.report", "")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("report.html.j2")


@dataclass(frozen=True)
class Picture:
    """A picture: an SVG element, or the address of a PNG with a text alternative."""

    caption: str
    svg: str = ""
    address: str = ""
    words: str = ""
    wide: bool = False


@dataclass(frozen=True)
class ReportBlock:
    """Tables and pictures under one heading."""

    key: str
    heading: str
    tables: list[ReportTable]
    pictures: list[Picture]


@dataclass(frozen=True)
class ReportSection:
    """The blocks of one variable, its conclusion, and its HTML identifier."""

    key: str
    title: str
    conclusion: str
    blocks: list[ReportBlock]


def make_section(
    name: str,
    comparison: Comparison,
    sums: VariableSums,
    table: Table,
    ways: Sequence[Breakdown],
    land: Array,
) -> ReportSection:
    """Make the section of a variable."""
    rows = [row for row in table.rows if row["variable"] == name]
    title, unit, places = (
        tables.describe_variable(name),
        tables.format_unit(rows[0]["units"]),
        rmse_decimals(rows),
    )
    ensemble = "" if sums.crps is None else ensemble_name(comparison)
    parts = {way.key: way.aggregate(comparison, name, sums) for way in ways}
    blocks = [
        ReportBlock("scores", "Scores", [tables.scores_table(rows, title)], []),
        ReportBlock(
            "means", "Truth and forecast", [], draw_means(name, comparison, sums, land, unit)
        ),
        *(parts_block(way, parts[way.key], name, unit, places, ensemble) for way in ways),
        ReportBlock("maps", "Maps of errors", [], draw_maps(name, comparison, sums, land, unit)),
        ReportBlock(
            "spread",
            "Rank histogram, quantiles and spectra",
            [],
            draw_spread(name, rows, sums, unit),
        ),
        extremes_block(name, comparison, sums, places, unit),
        indices_block(name, table, title),
    ]
    conclusion = tables.write_conclusion(name, rows, parts["month"], sums.methods[-1])
    filled = [block for block in blocks if block.tables or block.pictures]
    return ReportSection(identifier_key(name), title, conclusion, filled)


def indices_block(name: str, table: Table, title: str) -> ReportBlock:
    """Show the climate indices of a variable, and the distances of its distributions."""
    shown = [
        tables.columns_table(rows, columns, f"{title}: climate indices")
        for other, rows, columns in (table.index_blocks() if INDICES in table.sections else [])
        if other == name
    ]
    return ReportBlock("indices", "Climate indices", shown, [])


def make_joint_section(table: Table) -> list[ReportSection]:
    """Make the section of all variables together, if they have joint scores."""
    section = table.sections.get(JOINT_SECTION)
    if section is None or not section.rows:
        return []
    title = f"{join_in_sentence(section.rows[0]['variables'])} jointly"
    shown = tables.columns_table(section.rows, section.columns, title)
    block = ReportBlock("scores", "Scores", [shown], [])
    return [ReportSection("joint", title, tables.conclude_jointly(title, section.rows), [block])]


def identifier_key(name: str) -> str:
    """Return a unique HTML identifier for a variable's name.

    Example:
        >>> identifier_key("t2m"), identifier_key("2 m, dew")
        ('v-t2m', 'v-2-m-dew-e42bdbcb')
    """
    plain = re.sub(r"\W+", "-", name)
    return f"v-{plain}" if plain == name else f"v-{plain}-{zlib.crc32(name.encode()):x}"


def parts_block(
    way: Breakdown, parts: Sequence[PartScores], name: str, unit: str, places: int, ensemble: str
) -> ReportBlock:
    """Show the scores of months or classes."""
    slug, heading = way.key.replace(" ", "-"), f"By {way.key}"
    if not parts:
        return ReportBlock(slug, heading, [], [])
    title = f"{tables.describe_variable(name)} {heading.lower()}"
    caption = title + f", in {unit}" * bool(unit)
    table = tables.parts_table(parts, caption, way.key, way.size, places, ensemble)
    pictures = []
    if any(np.isfinite(part.ratio[0]) for part in parts):
        ratios = {part.label: part.ratio for part in parts}
        tested = any(np.isfinite(part.ratio[1]) for part in parts)
        caption = f"{title}: RMSE relative to bilinear" + " with 95% range" * tested
        svg = figures.plot_ratios(ratios, f"{identifier_key(name)}-{slug}", caption)
        pictures = [Picture(caption, svg, wide=True)]
    return ReportBlock(slug, heading, [table], pictures)


def draw_means(
    name: str, comparison: Comparison, sums: VariableSums, land: Array, unit: str
) -> list[Picture]:
    """Draw truth and forecast over all times and in seasons, errors there, and wet steps."""
    grid, last, title = grid_of(comparison.truth), sums.methods[-1], tables.describe_variable(name)
    pictures = []
    for period, own in sums.periods.items():
        panels = {label: own.mean(label) for label in (TRUTH_LABEL, last)}
        what = f"mean of {period}"
        caption = f"{title}: {what}, {unit}, over {own.steps} times"
        style = figures.value_style(name, panels)
        pictures.append(map_picture(caption, what, panels, grid, land, unit, style))
    errors = {
        f"{last} {tables.MINUS} {TRUTH_LABEL}, {period}": own.mean(last) - own.mean(TRUTH_LABEL)
        for period, own in sums.periods.items()
        if period != ALL_TIMES
    }
    if errors:
        caption = f"{title}: mean error in seasons, {unit}"
        style = figures.error_style(errors, signed=True)
        what = "mean error in seasons"
        pictures.append(map_picture(caption, what, errors, grid, land, unit, style))
    if sums.wet:
        panels = {label: sums.over_time(total) for label, total in sums.wet.items()}
        what = f"share of wet steps, those with {WET_RATE:g} mm/day or more"
        style = figures.MapStyle("YlGnBu", 0.0, 1.0, "neither")
        pictures.append(map_picture(f"{title}: {what}", what, panels, grid, land, "", style))
    return pictures


def map_picture(
    caption: str, what: str, panels: Mapping[str, Array], grid: Grid, land: Array, unit: str,
    style: figures.MapStyle,
) -> Picture:  # fmt: skip
    """Return maps on one scale as a picture."""
    address = figures.plot_maps(panels, grid, land, unit, style)
    words = describe_maps(what, panels, unit)
    return Picture(caption, address=address, words=words, wide=len(panels) > 1)


def draw_maps(
    name: str, comparison: Comparison, sums: VariableSums, land: Array, unit: str
) -> list[Picture]:
    """Draw maps of RMSE, mean error and CRPS of the forecast and bilinear interpolation."""
    grid, last = grid_of(comparison.truth), sums.methods[-1]
    methods = [method for method in (REFERENCE, last) if method in sums.methods]
    single = methods if sums.crps is None else [m for m in methods if m != last]
    crps = {m: sums.over_time(sums.absolute[m]) for m in single}
    if sums.crps is not None:
        crps[ensemble_name(comparison)] = sums.over_time(sums.crps)
    maps = {
        "RMSE": {method: sums.rmse(method) for method in methods},
        "Mean error": {method: sums.over_time(sums.error[method]) for method in methods},
        "Mean absolute error" if sums.crps is None else "CRPS": crps,
    }
    title = tables.describe_variable(name)
    return [
        map_picture(
            f"{title}: {kind}, {unit}, over {comparison.steps} times", kind, panels, grid, land,
            unit, figures.error_style(panels, signed=kind == "Mean error"),
        )
        for kind, panels in maps.items()
    ]  # fmt: skip


def ensemble_name(comparison: Comparison) -> str:
    """Return the name of the ensemble with its size."""
    return f"ensemble of {comparison.forecast.sizes['realization']}"


def describe_maps(kind: str, panels: Mapping[str, Array], unit: str) -> str:
    """Return a text alternative of maps.

    Example:
        >>> describe_maps("RMSE", {"lerp": np.array([[1.0, 2.0, 3.0]])}, "K")
        'Maps of RMSE. bilinear: median 2, 5% to 95% of the cells 1.1 to 2.9 K.'
    """
    sentences = [f"Maps of {kind}."]
    for method, field in panels.items():
        values = field[np.isfinite(field)]
        if not values.size:
            sentences.append(f"{method_label(method)}: no values.")
            continue
        low, middle, high = np.percentile(values, (5, 50, 95))
        ends = f"{low:.2g} to {high:.2g}"
        sentences.append(
            f"{method_label(method)}: median {middle:.2g}, 5% to 95% of the cells {ends} {unit}."
        )
    return " ".join(sentences)


def draw_spread(name: str, rows: Sequence[Row], sums: VariableSums, unit: str) -> list[Picture]:
    """Draw the rank histogram of an ensemble, and the spectra."""
    title, key, pictures = tables.describe_variable(name), identifier_key(name), []
    if "rank_histogram" in rows[-1]:
        caption = f"{title}: rank histogram; a calibrated ensemble is flat"
        svg = figures.plot_ranks(rows[-1]["rank_histogram"], f"{key}-r", caption)
        pictures.append(Picture(caption, svg))
    caption = f"{title}: quantiles over times and cells, from 0.1% to 99.9%"
    svg = figures.plot_quantiles(method_quantiles(sums), unit, f"{key}-q", caption)
    pictures.append(Picture(caption, svg))
    caption = f"{title}: variance at each wavelength"
    svg = figures.plot_spectra(method_spectra(sums), unit, f"{key}-s", caption)
    return [*pictures, Picture(caption, svg)]


def method_quantiles(sums: VariableSums) -> dict[str, Array]:
    """Return quantiles of the truth and of the methods whose spectra are shown."""
    methods = (TRUTH_LABEL, REFERENCE, sums.methods[-1], SINGLE_LABEL)
    return {
        method: np.array(
            [binned_quantile(sums.bin_weights[method], sums.width, s) for s in QUANTILE_SHARES]
        )
        for method in dict.fromkeys(methods)
        if method in sums.bin_weights
    }


def method_spectra(sums: VariableSums) -> dict[str, tuple[Array, Array]]:
    """Return wavelengths in cells and the variance there, averaged over time, by method."""
    total, truth = (
        xr.concat([score[FIELDS][name] for score in sums.scores], "time").mean("time")
        for name in ("power", "truth_power")
    )
    waves: Array = 2 / truth["wavenumber"].values
    shown = [m for m in (REFERENCE, sums.methods[-1], SINGLE_LABEL) if m in total["method"].values]
    means = {m: total.values[np.flatnonzero(total["method"].values == m)].mean(0) for m in shown}
    return {m: (waves, power) for m, power in {TRUTH_LABEL: truth.values, **means}.items()}


def extremes_block(
    name: str, comparison: Comparison, sums: VariableSums, places: int, unit: str
) -> ReportBlock:
    """Show the tails of all values, and the times with the highest means."""
    title = tables.describe_variable(name) + f", in {unit}" * bool(unit)
    quantiles = {
        method: [
            binned_quantile(sums.bin_weights[method], sums.width, share)
            for share in tables.REPORT_QUANTILES
        ]
        for method in tables.order_methods(sums)
    }
    shown = [
        tables.quantiles_table(title, quantiles, places),
        tables.highest_times_table(name, title, sums, comparison_labels(comparison), places),
    ]
    return ReportBlock("extremes", "Extremes", shown, [])
