"""The scores of parts: of each calendar month, and of the cells of each class.

A month's come from the evaluation's own scores of its times. A class has the sums over time on its
cells, and its interval is of tiles alone, for the times are summed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from dpdm.evaluate import Case, rows_of
from dpdm.evaluate.bootstrap import tile_sums
from dpdm.evaluate.scores import area_mean
from dpdm.evaluate.tally import REFERENCE, against
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
        rmse: By method.
        bias: Of the forecast's mean.
        crps: Of the members, or the mean absolute error of a forecast without.
        crps_lerp: The mean absolute error of lerp; NaN without.
        ratio: The forecast's RMSE over lerp's, NaN without; with the ends of its 95% interval.
        low: The lower end.
        high: The upper end.
        verdict: What they say; empty without lerp.
    """

    label: str
    size: float
    rmse: dict[str, float]
    bias: float
    crps: float
    crps_lerp: float
    ratio: float
    low: float
    high: float
    verdict: str

    @property
    def word(self) -> str:
        """Say the verdict in a word or two, for a column of a table."""
        return worded(self.verdict)


def by_month(case: Case, name: str, kept: Kept) -> list[Part]:
    """Return the scores of each calendar month that there is, none where times are not dates."""
    months = [case.month(step) for step in range(case.steps)]
    return [
        of_month(case, name, kept, month, [s for s, m in enumerate(months) if m == month])
        for month in sorted(set(months))
        if month
    ]


def of_month(case: Case, name: str, kept: Kept, month: int, steps: list[int]) -> Part:
    """Return the scores of a month from those of its times."""
    rows = rows_of(case, name, [kept.scores[step] for step in steps])
    methods = {row["method"]: row for row in rows if row["method"] in kept.methods}
    last = methods[kept.methods[-1]]
    return Part(
        label=MONTHS[month - 1],
        size=len(steps),
        rmse={method: row["rmse"] for method, row in methods.items()},
        bias=last["bias"],
        crps=rows[-1]["crps"],
        crps_lerp=methods.get(REFERENCE, {}).get("crps", np.nan),
        **interval(last),
    )


def interval(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's ratio to lerp as a part has it."""
    keys = {"ratio": "rmse_ratio", "low": "rmse_ratio_low", "high": "rmse_ratio_high"}
    found: dict[str, Any] = {key: row.get(long, np.nan) for key, long in keys.items()}
    return found | {"verdict": row.get("verdict", "")}


def by_class(case: Case, kept: Kept, classes: Mapping[str, Cells]) -> list[Part]:
    """Return the scores of each class of cells that has some."""
    counted = {word: cells & (kept.count > 0) for word, cells in classes.items()}
    return [of_class(case, kept, word, cells) for word, cells in counted.items() if cells.any()]


def of_class(case: Case, kept: Kept, word: str, cells: Cells) -> Part:
    """Return the scores of a class from the maps."""
    parts = {method: summed(case, kept, method, cells) for method in kept.methods}
    lerp, last = parts.get(REFERENCE), parts[kept.methods[-1]]
    area = case.weights.values
    return Part(
        label=word,
        size=float(area[cells].sum() / area[kept.count > 0].sum()),
        rmse={method: float(part["mse"]) ** 0.5 for method, part in parts.items()},
        bias=mean_of(case, kept, kept.error[kept.methods[-1]], cells),
        crps=float(last["crps"]) if kept.crps is None else mean_of(case, kept, kept.crps, cells),
        crps_lerp=np.nan if lerp is None else float(lerp["crps"]),
        **interval(against(last, lerp)),
    )


def summed(case: Case, kept: Kept, method: str, cells: Cells) -> xr.Dataset:
    """Return a method's scores on some cells, as `against` compares them."""
    square = case.weights * np.where(cells, kept.square[method], 0.0)
    return xr.Dataset(
        {
            "mse": mean_of(case, kept, kept.square[method], cells),
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
