"""The scores of parts: of each calendar month, and of the cells of each class.

A month's come from the evaluation's own scores of its times. A class has the sums over time on its
cells, and its interval is of tiles alone, for the times are summed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import xarray as xr

from dpdm.evaluate import Case, rows_of
from dpdm.evaluate.bootstrap import tile_sums
from dpdm.evaluate.metrics import Row, method_rows
from dpdm.evaluate.scores import area_mean
from dpdm.fields.grid import Array
from dpdm.report.gather import Kept
from dpdm.report.strata import Cells

NAMES = "January February March April May June July August September October November December"
MONTHS = NAMES.split()


def worded(verdict: str) -> str:
    """Return a verdict in a word or two.

    Example:
        >>> worded("better than lerp at the 95% level"), worded("not tested against lerp")
        ('better', 'not tested')
    """
    words = verdict.partition(" lerp")[0] if verdict.endswith(("lerp", "level")) else verdict
    return words.removesuffix(" than").removesuffix(" from").removesuffix(" against")


@dataclass(frozen=True)
class Part:
    """Hold the scores of one month or one class.

    Attributes:
        label: In words.
        size: How many times, or which share of the area.
        rows: Scores by method, of those with maps.
        members: Scores of the members together, or those of a forecast without.
    """

    label: str
    size: float
    rows: dict[str, Row]
    members: Row

    @property
    def forecast(self) -> Row:
        """Return the scores of the forecast's mean."""
        return list(self.rows.values())[-1]

    @property
    def ratio(self) -> tuple[float, float, float]:
        """Return the ratio of RMSEs to lerp and the ends of its interval, NaN without lerp."""
        ratio, low, high = (
            float(self.forecast.get(f"rmse_ratio{end}", np.nan)) for end in ("", "_low", "_high")
        )
        return ratio, low, high

    @property
    def word(self) -> str:
        """Say the verdict in a word or two, for a column of a table; empty without lerp."""
        return worded(str(self.forecast.get("verdict", "")))


@dataclass(frozen=True)
class Breakdown:
    """A way to break the scores of a variable down.

    Attributes:
        key: By what, in words.
        size: What the size of a part is: "times" or a share of the "area".
        aggregate: Returns the scores of all parts of a variable.
    """

    key: str
    size: str
    aggregate: Callable[[Case, str, Kept], list[Part]]


def breakdowns(classes: Mapping[str, Mapping[str, Cells]]) -> list[Breakdown]:
    """Return the ways in which a report breaks scores down: by month, and by classes of cells."""
    return [
        Breakdown("month", "times", by_month),
        *(Breakdown(key, "area", partial(by_class, cells)) for key, cells in classes.items()),
    ]


def part(label: str, size: float, rows: Sequence[Row], methods: Sequence[str]) -> Part:
    """Return the scores of a part, with the members' in the last of the rows."""
    kept = {row["method"]: row for row in rows if row["method"] in methods}
    return Part(label, size, kept, rows[-1])


def by_month(case: Case, name: str, kept: Kept) -> list[Part]:
    """Return the scores of each calendar month that there is, none where times are not dates."""
    months = [case.month(step) for step in range(case.steps)]
    found = []
    for month in sorted({*months} - {0}):
        steps = [kept.scores[step] for step, other in enumerate(months) if other == month]
        rows = rows_of(case, name, steps)
        found.append(part(MONTHS[month - 1], len(steps), rows, kept.methods))
    return found


def by_class(classes: Mapping[str, Cells], case: Case, name: str, kept: Kept) -> list[Part]:
    """Return the scores of each class of cells that has some."""
    counted = {word: cells & (kept.count > 0) for word, cells in classes.items()}
    return [of_class(case, kept, word, cells) for word, cells in counted.items() if cells.any()]


def of_class(case: Case, kept: Kept, word: str, cells: Cells) -> Part:
    """Return the scores of a class from the maps."""
    parts = {method: summed(case, kept, method, cells) for method in kept.methods}
    if kept.crps is not None:
        parts["ensemble"] = xr.Dataset({"crps": mean_of(case, kept, kept.crps, cells)})
    area = case.weights.values
    size = float(area[cells].sum() / area[kept.count > 0].sum())
    return part(word, size, method_rows(parts, np.nan), kept.methods)


def summed(case: Case, kept: Kept, method: str, cells: Cells) -> xr.Dataset:
    """Return the statistics of a method on some cells that its maps give."""
    square = case.weights * np.where(cells, kept.square[method], 0.0)
    return xr.Dataset(
        {
            "mse": mean_of(case, kept, kept.square[method], cells),
            "bias": mean_of(case, kept, kept.error[method], cells),
            "crps": mean_of(case, kept, kept.absolute[method], cells),
            "squares": tile_sums(square).expand_dims("time"),
        }
    )


def mean_of(case: Case, kept: Kept, total: Array, cells: Cells) -> float:
    """Return the mean over some cells, by area, and over the times that count."""
    field = xr.DataArray(np.where(cells, total, np.nan), dims=("lat", "lon"))
    often = xr.DataArray(np.where(cells, kept.count, np.nan), dims=("lat", "lon"))
    weights = case.weights.drop_vars(["lat", "lon"])
    return float(area_mean(field, weights) / area_mean(often, weights))
