"""One HTML file that says how a forecast did: sentences first, then tables, maps and charts.

`report` watches the evaluation and keeps sums over time (`gather`), so the file costs no second
reading and its size does not grow with the series. The numbers are those of `dpdm evaluate`, and
the same functions give those of parts: months, heights, distances to the coast (`parts`,
`strata`). The file holds its pictures and its style, and asks nothing of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dpdm import __version__
from dpdm.errors import DpdmError
from dpdm.evaluate.comparison import Comparison
from dpdm.evaluate.files import evaluate_files
from dpdm.evaluate.table import Table
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import FileOptions, open_fields
from dpdm.fields.statics import make_statics, read_bundled_statics, regrid_statics
from dpdm.fields.value_checks import common_missing_codes
from dpdm.fields.write import check_output, iterate_paths, write_text
from dpdm.report.accumulate import ReportAccumulator
from dpdm.report.figures import chart_style, jinja2
from dpdm.report.groups import (
    CellMask,
    breakdowns,
    coast_classes,
    height_classes,
    interpolate_land,
)
from dpdm.report.sections import make_section
from dpdm.system import sha256, utc_now

__all__ = ["report"]

REPORT_SUFFIXES = (".html", ".htm")
REPORT_NOTES = (
    "By month: the same bootstrap over the month's own times and tiles. Of twenty months that are "
    "in truth no different, one will seem different.",
    "By height and coast: sums over time; the interval is a bootstrap over tiles alone.",
    "Height is that of the {relief}; the coast is where the bundled "
    "land fraction passes one half. Lakes count as land.",
    "Quantiles are right to a five-thousandth of the truth's range.",
    "Colours of a map end at the 99th percentile.",
)


def report(
    path: Path,
    forecast: Path,
    truth: Path,
    coarse: Path | None = None,
    climatology: Path | None = None,
    also: Mapping[str, Path] = {},
    own_statics: Path | None = None,
    options: FileOptions = FileOptions(history=""),
) -> Table:
    """Write a report as HTML, and return the scores, as `evaluate_files` does."""
    inputs = list(iterate_paths([forecast, truth, coarse, climatology, own_statics, also]))
    check_output(path, inputs, options.overwrite, REPORT_SUFFIXES)
    seen = ReportAccumulator()
    table = evaluate_files(forecast, truth, coarse, climatology, also, own_statics, options, seen)
    assert seen.case is not None  # an evaluation has at least one time
    about = {
        "forecast": forecast.name,
        "truth": truth.name,
        "command": options.history,
        "files": {str(file): sha256(file) for file in inputs},
    }
    page = render_report(seen, seen.case, table, about, own_statics, options.missing)
    write_text(path, page, options.overwrite)
    return table


def render_report(
    seen: ReportAccumulator,
    case: Comparison,
    table: Table,
    about: Mapping[str, object],
    own: Path | None,
    missing: MissingCodes = {},
) -> str:
    """Return the page."""
    classes, relief = classify_cells(grid_of(case.truth), own, missing)
    land, ways = interpolate_land(grid_of(case.truth)), breakdowns(classes)
    with chart_style():
        found = [
            make_section(name, case, kept, table, ways, land) for name, kept in seen.kept.items()
        ]
    notes = [*table.notes, *(note.format(relief=relief) for note in REPORT_NOTES)]
    page = load_template().render(
        sections=found, notes=notes, version=__version__, made=utc_now(), **about
    )
    return page + "\n"


def classify_cells(
    grid: Grid, own: Path | None, missing: MissingCodes = {}
) -> tuple[dict[str, dict[str, CellMask]], str]:
    """Return the classes of cells, and whose topography they are by.

    The user's own counts where it covers the grid; else the bundled one, for a class of height
    needs no relief as fine as the cells.
    """
    land = interpolate_land(grid)
    try:
        mine = (
            None
            if own is None
            else make_statics(grid, open_fields(own, missing=common_missing_codes(missing)))
        )
    except DpdmError:
        mine = None
    topography = (regrid_statics(read_bundled_statics(), grid) if mine is None else mine)[
        "topography"
    ]
    word = "bundled topography" if mine is None else "topography that was given"
    return {
        "height": height_classes(topography, land),
        "distance to the coast": coast_classes(grid, land),
    }, word


def load_template() -> jinja2.Template:
    """Load the page's template, which escapes whatever is put in."""
    loader = jinja2.PackageLoader("dpdm.report", "")
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return made.get_template("report.html.j2")
