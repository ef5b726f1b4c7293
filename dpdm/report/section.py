"""All that a report shows of one variable: its sentence, its tables and its pictures."""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr

from dpdm.evaluate import Case, Table
from dpdm.evaluate.metrics import FIELDS, REFERENCE, Row
from dpdm.evaluate.table import digits
from dpdm.fields.grid import Array, grid_of
from dpdm.report import figures, tables, words
from dpdm.report.gather import SINGLE, TRUTH, Kept, labels
from dpdm.report.parts import Breakdown, Part
from dpdm.report.quantiles import quantile
from dpdm.report.tables import Tabulated


@dataclass(frozen=True)
class Picture:
    """Hold a picture: an SVG element, or the address of a PNG with words for who cannot see it."""

    caption: str
    svg: str = ""
    address: str = ""
    words: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Block:
    """Hold a heading and what is shown under it."""

    key: str
    heading: str
    tables: list[Tabulated]
    pictures: list[Picture]


@dataclass(frozen=True)
class Section:
    """Hold the blocks of one variable and the sentence that sums them up.

    Its key is a name that HTML allows, whatever the file calls the variable.
    """

    key: str
    title: str
    conclusion: str
    blocks: list[Block]


def section(
    name: str, case: Case, kept: Kept, table: Table, breakdowns: Sequence[Breakdown], land: Array
) -> Section:  # fmt: skip
    """Make the section of a variable."""
    rows = [row for row in table.rows if row["variable"] == name]
    unit, places = words.units(rows[0]["units"]), digits(rows)
    same = name, unit, places, "" if kept.crps is None else case_name(case)
    found = {each: each.aggregate(case, name, kept) for each in breakdowns}
    months = next(parts for each, parts in found.items() if each.key == "month")
    blocks = [
        Block("scores", "Scores", [tables.scores(rows, words.called(name))], []),
        *(of_parts(each.key, parts, each.size, *same) for each, parts in found.items()),
        Block("maps", "Maps", [], maps(name, case, kept, land, unit)),
        Block("spread", "Ranks and scales", [], spread(name, rows, kept, unit)),
        extremes(name, case, kept, places, unit),
    ]  # fmt: skip
    said = words.conclusion(name, rows, months, kept.methods[-1])
    full = [block for block in blocks if block.tables or block.pictures]
    return Section(key_of(name), words.called(name), said, full)


def key_of(name: str) -> str:
    """Return a variable's name as part of an identifier; no two names have the same.

    Example:
        >>> key_of("t2m"), key_of("2 m, dew")
        ('v-t2m', 'v-2-m-dew-e42bdbcb')
    """
    plain = re.sub(r"\W+", "-", name)
    return f"v-{plain}" if plain == name else f"v-{plain}-{zlib.crc32(name.encode()):x}"


def of_parts(
    key: str, found: Sequence[Part], size: str, name: str, unit: str, places: int, several: str
) -> Block:
    """Show the scores of months or classes."""
    slug, heading = key.replace(" ", "-"), f"By {key}"
    if not found:
        return Block(slug, heading, [], [])
    title = f"{words.called(name)} {heading.lower()}"
    shown = tables.parts(found, title + (f", in {unit}" * bool(unit)), key, size, places, several)
    pictures = []
    if any(np.isfinite(part.ratio[0]) for part in found):
        said = f"{title}: RMSE over lerp's with its 95% range"
        pictures = [
            Picture(said, figures.ratios(found, f"{key_of(name)}-{slug}", said), wide=True)
        ]
    return Block(slug, heading, [shown], pictures)


def maps(name: str, case: Case, kept: Kept, land: Array, unit: str) -> list[Picture]:
    """Draw RMSE, mean error and CRPS on the map, lerp beside the forecast."""
    grid, last = grid_of(case.truth), kept.methods[-1]
    both = [method for method in (REFERENCE, last) if method in kept.methods]
    several = kept.crps is not None
    crps = {m: kept.over_time(kept.absolute[m]) for m in both if not (several and m == last)}
    if kept.crps is not None:
        crps[case_name(case)] = kept.over_time(kept.crps)
    kinds = {
        "RMSE": {method: kept.rmse(method) for method in both},
        "Mean error": {method: kept.over_time(kept.error[method]) for method in both},
        "CRPS" if several else "Mean absolute error": crps,
    }
    return [
        Picture(
            f"{words.called(name)}: {kind}, {unit}, over {case.steps} times",
            address=figures.maps(panels, grid, land, unit, kind == "Mean error"),
            words=described(kind, panels, unit),
            wide=len(panels) > 1,
        )
        for kind, panels in kinds.items()
    ]


def case_name(case: Case) -> str:
    """Name the members together."""
    return f"ensemble of {case.forecast.sizes['realization']}"


def described(kind: str, panels: Mapping[str, Array], unit: str) -> str:
    """Say in numbers what maps show.

    Example:
        >>> described("RMSE", {"lerp": np.array([[1.0, 2.0, 3.0]])}, "K")
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


def spread(name: str, rows: Sequence[Row], kept: Kept, unit: str) -> list[Picture]:
    """Draw the rank histogram, where there are members, and the spectra."""
    title, found = words.called(name), []
    if "rank_histogram" in rows[-1]:
        said = f"{title}: rank histogram; a calibrated ensemble is flat"
        found.append(
            Picture(said, figures.ranks(rows[-1]["rank_histogram"], f"{key_of(name)}-r", said))
        )
    said = f"{title}: variance at each wavelength"
    found.append(Picture(said, figures.spectra(powers(kept), unit, f"{key_of(name)}-s", said)))
    return found


def powers(kept: Kept) -> dict[str, tuple[Array, Array]]:
    """Return wavelengths in cells and the variance there, a mean over times, by method."""
    total, truth = (
        xr.concat([score[FIELDS][name] for score in kept.scores], "time").mean("time")
        for name in ("power", "truth_power")
    )
    waves: Array = 2 / truth["wavenumber"].values
    shown = [m for m in (REFERENCE, kept.methods[-1], SINGLE) if m in total["method"].values]
    means = {m: total.values[np.flatnonzero(total["method"].values == m)].mean(0) for m in shown}
    return {m: (waves, power) for m, power in {TRUTH: truth.values, **means}.items()}


def extremes(name: str, case: Case, kept: Kept, places: int, unit: str) -> Block:
    """Show the tails of all values, and the times with the highest means."""
    title = words.called(name) + f", in {unit}" * bool(unit)
    found = {
        method: [quantile(kept.mass[method], kept.width, share) for share in tables.QUANTILES]
        for method in tables.ordered(kept)
    }
    both = [
        tables.quantiles(title, kept, found, places),
        tables.wettest(name, title, kept, labels(case), places),
    ]
    return Block("extremes", "Extremes", both, [])
