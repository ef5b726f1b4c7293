"""Scores of a variable on levels: the means over its levels."""

from collections.abc import Mapping, Sequence

import numpy as np

from dpdm.evaluate.table import Row

MEANS = ("rmse", "bias", "acc", "ssim", "crps", "ssr", "consistency", "rank_histogram")
RATIOS = {"rmse_ratio": "rmse", "crps_ratio": "crps"}


def family_rows(rows: Sequence[Row], families: Mapping[str, Sequence[str]]) -> list[Row]:
    """Return a row for each family of levels and each method that all its levels have."""
    out = []
    for family, names in families.items():
        own = [row for row in rows if row["variable"] in names]
        for method in dict.fromkeys(row["method"] for row in own):
            alike = [row for row in own if row["method"] == method]
            if 1 < len(alike) == len(names):
                out.append(mean_row(family, alike))
    return out


def mean_row(family: str, rows: Sequence[Row]) -> Row:
    """Return the means of one method's scores over levels; ratios to lerp are those of means.

    Example:
        >>> level = {"units": "K", "method": "mean"}
        >>> rows = [{"rmse": 1.0, "rmse_ratio": 0.5}, {"rmse": 2.0, "rmse_ratio": 1.0}]
        >>> row = mean_row("t", [level | row for row in rows])
        >>> row["rmse"], row["rmse_ratio"]
        (1.5, 0.75)
    """
    keys = [*MEANS, *(key for key in rows[0] if key.startswith("spectrum_"))]
    held = [key for key in keys if all(row.get(key) is not None for row in rows)]
    means = {key: np.mean([row[key] for row in rows], axis=0).tolist() for key in held}
    ratios = {
        ratio: means[key] / float(np.mean([row[key] / row[ratio] for row in rows]))
        for ratio, key in RATIOS.items()
        if all(row.get(ratio) for row in rows)
    }
    same = {key: rows[0][key] for key in ("units", "method")}
    return {"variable": family, "levels": len(rows), **same, **means, **ratios}
