r"""Departures of background and analysis from assimilated and from withheld observations.

An **innovation** is y - A(prior mean), a **residual** y - A(analysis mean). At withheld
observations they are forecast errors plus observation errors R, and are scored as such; the
ensemble is calibrated if the mean of its variance plus R equals the mean squared residual.
At assimilated observations they measure the fit of the analysis. With members x_m

.. math:: \chi^2 = \overline{(y - A(x_m))^2 / R}, \qquad
          \overline{\log p(y \mid x_m)} = -\tfrac12 \sum (\chi^2 + \log 2 \pi R)

over all members; for the true fields the first is 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.evaluate.metrics import Row
from dpdm.evaluate.scores import fair_crps
from dpdm.evaluate.table import align_column
from dpdm.observations.status import IN_USE, ObsStatus, overrule_status, status_reasons

Array = NDArray[np.float64]
CHI_SQUARE_RANGE = (0.25, 2.0)  # outside it a warning is given
MIN_OBSERVATIONS = 10  # with fewer, such a misfit may be chance
MAX_CHI_SQUARE = 10.0  # with fewer observations
DEPARTURE_HEADINGS = {
    "count": "count", "prior_rmse": "prior RMSE", "rmse": "RMSE", "prior_bias": "prior bias",
    "bias": "bias", "prior_crps": "prior CRPS", "crps": "CRPS", "ssr": "SSR",
    "chi_square": "chi-square", "log_likelihood": "log p(y|x)",
    "log_likelihood_of_truth": "expected",
}  # fmt: skip


def departures(table: pd.DataFrame, prior: Array, members: Array) -> pd.DataFrame:
    """Return the table of observations with background and analysis of each.

    Prior equivalents have shape (N, P), those of the members (N, M).
    """
    out = table.drop(columns="usual_error", errors="ignore")
    value = table["value"].to_numpy(float)
    for name, drawn in (("prior", prior), ("analysis", members)):
        out[name] = drawn.mean(1)
        out[f"{name}_spread"] = drawn.std(1, ddof=1) if drawn.shape[1] > 1 else np.nan
    out["innovation"] = value - out["prior"]
    out["residual"] = value - out["analysis"]
    return out


def background_check(
    table: pd.DataFrame,
    rows: NDArray[np.int64],
    prior: Array,
    reject: float,
    coarse_std: Array | float = 0.0,
) -> None:
    """Reject rows whose innovation is too large: the background check.

    Args:
        table: Observations with ``value``, ``error`` and ``status``, changed in place.
        rows: Numbers of the rows to check, with shape (N,).
        prior: Prior equivalents of each, with shape (N, P).
        reject: Largest innovation, in standard deviations; 0 rejects none.
        coarse_std: Error standard deviation of the coarse input, with shape (N,).
    """
    value, error = (table[n].to_numpy(float)[rows] for n in ("value", "error"))
    deviation = np.sqrt(error**2 + prior.var(1) + np.square(coarse_std))
    departure = np.abs(value - prior.mean(1)) / deviation
    far = (departure > reject) & (reject > 0)
    reasons = [
        f"{ObsStatus.REJECTED}: {size:.1f} standard deviations from the background"
        for size in departure[far]
    ]
    overrule_status(table, rows[far], reasons)


def summarise_departures(table: pd.DataFrame, prior: Array, members: Array) -> list[Row]:
    """Return scores of each variable and operator, for assimilated and withheld observations.

    Other observations have a row for each status, with their count only.
    """
    rows, names, kinds = [], label_observations(table), status_reasons(table)
    for kind in dict.fromkeys((*IN_USE, *kinds)):
        for name in dict.fromkeys(names):
            chosen = ((kinds == kind) & (names == name)).to_numpy()
            scores: Row = {"count": int(chosen.sum())}
            if chosen.any() and kind in IN_USE:
                scores = compare_departures(table[chosen], prior[chosen], members[chosen])
            if chosen.any():
                rows.append({"variable": name, "observations": str(kind)} | scores)
    return rows


def label_observations(table: pd.DataFrame) -> pd.Series:
    """Return the row label of each observation: its variable, and its operator if not a point."""
    if "operator" not in table:
        return table["variable"]
    plain = table["operator"].isin(("", "point"))
    return table["variable"].where(plain, table["operator"] + " of " + table["variable"])


def compare_departures(table: pd.DataFrame, prior: Array, members: Array) -> Row:
    """Return the scores of one variable, of prior and analysis."""
    value, variance = (table[n].to_numpy(float) for n in ("value", "error"))
    variance = variance**2
    misfit = members - value[:, None]
    before, after = (value - drawn.mean(1) for drawn in (prior, members))
    count = members.shape[1]
    spread = members.var(1, ddof=1) * (count + 1) / count if count > 1 else np.nan
    chi = (misfit**2 / variance[:, None]).mean(1)
    return {
        "count": len(table),
        "prior_rmse": rms(before), "rmse": rms(after),
        "prior_bias": -float(before.mean()), "bias": -float(after.mean()),
        "prior_crps": float(fair_crps(prior - value[:, None]).mean()),
        "crps": float(fair_crps(misfit).mean()),
        "ssr": float(np.sqrt(np.mean(spread + variance))) / (rms(after) or np.nan),
        "chi_square": float(chi.mean()),
        "log_likelihood": float(-(chi + np.log(2 * np.pi * variance)).sum() / 2),
        "log_likelihood_of_truth": float(-(1 + np.log(2 * np.pi * variance)).sum() / 2),
    }  # fmt: skip


def rms(values: Array) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.mean(values**2)))


def misfit_warnings(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a warning for each variable whose analysis does not fit its observations."""
    for row in rows:
        if row["observations"] != ObsStatus.ASSIMILATED:
            continue
        low, high = CHI_SQUARE_RANGE if row["count"] >= MIN_OBSERVATIONS else (0.0, MAX_CHI_SQUARE)
        if not low <= row["chi_square"] <= high:
            closer = "closer" if row["chi_square"] < 1 else "less closely"
            yield (
                f"The analysis fits the observations of {row['variable']} {closer} than their "
                f"stated errors allow: chi-square is {row['chi_square']:.2f}, and should be near "
                "1. The errors, the prior's spread or the guidance may be wrong."
            )


def format_departures(rows: Sequence[Row]) -> str:
    """Return the summary as an aligned table."""
    head = ["method", *DEPARTURE_HEADINGS.values()]
    body = [
        [
            f"{row['variable']}, {row['observations']}",
            *(format_entry(row.get(key, np.nan)) for key in DEPARTURE_HEADINGS),
        ]
        for row in rows
    ]
    columns = [align_column(column) for column in zip(head, *body, strict=True)]
    columns[0][0] = "observations".ljust(len(columns[0][0]))
    return "\n".join("  ".join(line).rstrip() for line in zip(*columns, strict=True))


def format_entry(value: float) -> str:
    """Return a number with three significant digits, and at most three decimals.

    Example:
        >>> [format_entry(value) for value in (46, 0.7, 1.0, 30.84, -102.3, 0.0, float("nan"))]
        ['46', '0.700', '1.00', '30.8', '-102', '0.000', '-']
    """
    if isinstance(value, int):
        return str(value)
    if not np.isfinite(value):
        return "-"
    size = max(0.1, abs(value))
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(size))))}f}"
