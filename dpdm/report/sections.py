"""All that a report shows of one variable: its sentence, its tables and its pictures."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dpdm.evaluate.comparison import Comparison
from dpdm.evaluate.metrics import FIELDS, REFERENCE, Row
from dpdm.evaluate.table import Table, rmse_decimals
from dpdm.fields.grid import Array, grid_of
from dpdm.report import figures, tables
from dpdm.report.accumulate import (
    SINGLE_LABEL,
    TRUTH_LABEL,
    VariableSums,
    binned_quantile,
    comparison_labels,
)
from dpdm.report.groups import Breakdown, PartScores
from dpdm.report.tables import ReportTable


@dataclass(frozen=True)
class Picture:
    """Hold a picture: an SVG element, or the address of a PNG with words for who cannot see it."""

    caption: str
    svg: str = ""
    address: str = ""
    words: str = ""
    wide: bool = False


@dataclass(frozen=True)
class ReportBlock:
    """Hold a heading and what is shown under it."""

    key: str
    heading: str
    tables: list[ReportTable]
    pictures: list[Picture]


@dataclass(frozen=True)
class ReportSection:
    """Hold the blocks of one variable and the sentence that sums them up.

    Its key is a name that HTML allows, whatever the file calls the variable.
    """

    key: str
    title: str
    conclusion: str
    blocks: list[ReportBlock]


def make_section(
    name: str, case: Comparison, kept: VariableSums, table: Table, breakdowns:
        Sequence[Breakdown], land: Array
) -> ReportSection:  # fmt: skip
    """Make the section of a variable."""
    rows = [row for row in table.rows if row["variable"] == name]
    unit, places = tables.format_unit(rows[0]["units"]), rmse_decimals(rows)
    same = name, unit, places, "" if kept.crps is None else members_name(case)
    found = {each: each.aggregate(case, name, kept) for each in breakdowns}
    months = next(parts for each, parts in found.items() if each.key == "month")
    blocks = [
        ReportBlock("scores", "Scores", [tables.scores_table(rows,
        tables.describe_variable(name))], []),
        *(parts_block(each.key, parts, each.size, *same) for each, parts in found.items()),
        ReportBlock("maps", "Maps", [], maps_block(name, case, kept, land, unit)),
        ReportBlock("spread", "Ranks and scales", [], spread_block(name, rows, kept, unit)),
        extremes_block(name, case, kept, places, unit),
    ]  # fmt: skip
    said = tables.write_conclusion(name, rows, months, kept.methods[-1])
    full = [block for block in blocks if block.tables or block.pictures]
    return ReportSection(identifier_key(name), tables.describe_variable(name), said, full)


def identifier_key(name: str) -> str:
    """Return a variable's name as part of an identifier; no two names have the same.

    Example:
        >>> identifier_key("t2m"), identifier_key("2 m, dew")
        ('v-t2m', 'v-2-m-dew-e42bdbcb')
    """
    plain = re.sub(r"\W+", "-", name)
    return f"v-{plain}" if plain == name else f"v-{plain}-{zlib.crc32(name.encode()):x}"


def parts_block(
    key: str,
    found: Sequence[PartScores],
    size: str,
    name: str,
    unit: str,
    places: int,
    several: str,
) -> ReportBlock:
    """Show the scores of months or classes."""
    slug, heading = key.replace(" ", "-"), f"By {key}"
    if not found:
        return ReportBlock(slug, heading, [], [])
    title = f"{tables.describe_variable(name)} {heading.lower()}"
    shown = tables.parts_table(
        found, title + (f", in {unit}" * bool(unit)), key, size, places, several
    )
    pictures = []
    if any(np.isfinite(part.ratio[0]) for part in found):
        said = f"{title}: RMSE over lerp's with its 95% range"
        pictures = [
            Picture(
                said, figures.plot_ratios(found, f"{identifier_key(name)}-{slug}", said), wide=True
            )
        ]
    return ReportBlock(slug, heading, [shown], pictures)


def maps_block(
    name: str, case: Comparison, kept: VariableSums, land: Array, unit: str
) -> list[Picture]:
    """Draw RMSE, mean error and CRPS on the map, lerp beside the forecast."""
    grid, last = grid_of(case.truth), kept.methods[-1]
    both = [method for method in (REFERENCE, last) if method in kept.methods]
    several = kept.crps is not None
    crps = {m: kept.over_time(kept.absolute[m]) for m in both if not (several and m == last)}
    if kept.crps is not None:
        crps[members_name(case)] = kept.over_time(kept.crps)
    kinds = {
        "RMSE": {method: kept.rmse(method) for method in both},
        "Mean error": {method: kept.over_time(kept.error[method]) for method in both},
        "CRPS" if several else "Mean absolute error": crps,
    }
    return [
        Picture(
            f"{tables.describe_variable(name)}: {kind}, {unit}, over {case.steps} times",
            address=figures.plot_maps(panels, grid, land, unit, kind == "Mean error"),
            words=describe_maps(kind, panels, unit),
            wide=len(panels) > 1,
        )
        for kind, panels in kinds.items()
    ]


def members_name(case: Comparison) -> str:
    """Name the members together."""
    return f"ensemble of {case.forecast.sizes['realization']}"


def describe_maps(kind: str, panels: Mapping[str, Array], unit: str) -> str:
    """Say in numbers what maps show.

    Example:
        >>> describe_maps("RMSE", {"lerp": np.array([[1.0, 2.0, 3.0]])}, "K")
        'Maps of RMSE. lerp: median 2, 5% to 95% of the cells 1.1 to 2.9 K.'
    """
    said = []
    for method, field in panels.items():
        values = field[np.isfinite(field)]
        if not values.size:
            said.append(f"{method}: no values.")
            continue
        low, middle, high = np.percentile(values, (5, 50, 95))
        ends = f"{low:.2g} to {high:.2g}"
        said.append(f"{method}: median {middle:.2g}, 5% to 95% of the cells {ends} {unit}.")
    return " ".join([f"Maps of {kind}.", *said])


def spread_block(name: str, rows: Sequence[Row], kept: VariableSums, unit: str) -> list[Picture]:
    """Draw the rank histogram, where there are members, and the spectra."""
    title, found = tables.describe_variable(name), []
    if "rank_histogram" in rows[-1]:
        said = f"{title}: rank histogram; a calibrated ensemble is flat"
        found.append(
            Picture(
                said,
                figures.plot_ranks(rows[-1]["rank_histogram"], f"{identifier_key(name)}-r", said),
            )
        )
    said = f"{title}: variance at each wavelength"
    found.append(
        Picture(
            said,
            figures.plot_spectra(method_spectra(kept), unit, f"{identifier_key(name)}-s", said),
        )
    )
    return found


def method_spectra(kept: VariableSums) -> dict[str, tuple[Array, Array]]:
    """Return wavelengths in cells and the variance there, a mean over times, by method."""
    total, truth = (
        xr.concat([score[FIELDS][name] for score in kept.scores], "time").mean("time")
        for name in ("power", "truth_power")
    )
    waves: Array = 2 / truth["wavenumber"].values
    shown = [m for m in (REFERENCE, kept.methods[-1], SINGLE_LABEL) if m in total["method"].values]
    means = {m: total.values[np.flatnonzero(total["method"].values == m)].mean(0) for m in shown}
    return {m: (waves, power) for m, power in {TRUTH_LABEL: truth.values, **means}.items()}


def extremes_block(
    name: str, case: Comparison, kept: VariableSums, places: int, unit: str
) -> ReportBlock:
    """Show the tails of all values, and the times with the highest means."""
    title = tables.describe_variable(name) + f", in {unit}" * bool(unit)
    found = {
        method: [
            binned_quantile(kept.bin_weights[method], kept.width, share)
            for share in tables.REPORT_QUANTILES
        ]
        for method in tables.order_methods(kept)
    }
    both = [
        tables.quantiles_table(title, kept, found, places),
        tables.highest_times_table(name, title, kept, comparison_labels(case), places),
    ]
    return ReportBlock("extremes", "Extremes", both, [])
