"""One HTML file that says how a forecast did: sentences first, then tables, maps and charts.

`report` watches the evaluation and keeps sums over time (`gather`), so the file costs no second
reading and its size does not grow with the series. The numbers are those of `dpdm evaluate`, and
the same functions give those of parts: months, heights, distances to the coast (`parts`,
`strata`). The file holds its pictures and its style, and asks nothing of the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dpdm import __version__, utc
from dpdm.errors import DpdmError
from dpdm.evaluate import Case, Table
from dpdm.evaluate.files import evaluate_files
from dpdm.fields.checks import Missing, everywhere
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.input import FileOptions
from dpdm.fields.statics import bundled, onto, statics
from dpdm.fields.store import open_fields, sha256
from dpdm.fields.write import check_output, paths_in, write_text
from dpdm.report.figures import styled
from dpdm.report.gather import Gather
from dpdm.report.libraries import jinja2
from dpdm.report.parts import breakdowns
from dpdm.report.section import section
from dpdm.report.strata import Cells, by_coast, by_height, land_on

__all__ = ["report"]

SUFFIXES = (".html", ".htm")
NOTES = (
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
    inputs = list(paths_in([forecast, truth, coarse, climatology, own_statics, also]))
    check_output(path, inputs, options.overwrite, SUFFIXES)
    seen = Gather()
    table = evaluate_files(forecast, truth, coarse, climatology, also, own_statics, options, seen)
    assert seen.case is not None  # an evaluation has at least one time
    about = {
        "forecast": forecast.name,
        "truth": truth.name,
        "command": options.history,
        "files": {str(file): sha256(file) for file in inputs},
    }
    page = html(seen, seen.case, table, about, own_statics, options.missing)
    write_text(path, page, options.overwrite)
    return table


def html(
    seen: Gather,
    case: Case,
    table: Table,
    about: Mapping[str, object],
    own: Path | None,
    missing: Missing = {},
) -> str:
    """Return the page."""
    classes, relief = strata(grid_of(case.truth), own, missing)
    land, ways = land_on(grid_of(case.truth)), breakdowns(classes)
    with styled():
        found = [section(name, case, kept, table, ways, land) for name, kept in seen.kept.items()]
    notes = [*table.notes, *(note.format(relief=relief) for note in NOTES)]
    page = template().render(
        sections=found, notes=notes, version=__version__, made=utc.now(), **about
    )
    return page + "\n"


def strata(
    grid: Grid, own: Path | None, missing: Missing = {}
) -> tuple[dict[str, dict[str, Cells]], str]:
    """Return the classes of cells, and whose topography they are by.

    The user's own counts where it covers the grid; else the bundled one, for a class of height
    needs no relief as fine as the cells.
    """
    land = land_on(grid)
    try:
        mine = (
            None if own is None else statics(grid, open_fields(own, missing=everywhere(missing)))
        )
    except DpdmError:
        mine = None
    topography = (onto(bundled(), grid) if mine is None else mine)["topography"]
    word = "bundled topography" if mine is None else "topography that was given"
    return {
        "height": by_height(topography, land),
        "distance to the coast": by_coast(grid, land),
    }, word


def template() -> jinja2.Template:
    """Load the page's template, which escapes whatever is put in."""
    loader = jinja2.PackageLoader("dpdm.report", "")
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    return made.get_template("report.html.j2")
