"""The status of an observation: assimilated, withheld, or rejected for a reason.

A row keeps its first reason. Some reasons are followed by details: the row that it was merged
into, its distance from the background, the days of a month that it covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class ObsStatus(StrEnum):
    """The status of an observation in files and reports."""

    USABLE = ""  # passed all checks so far
    ASSIMILATED = "assimilated"
    WITHHELD = "withheld"
    VERIFICATION = "verification"  # of a file that is only scored
    SCORED_ONLY = "also in the files for verification"
    # The row itself.
    MISSING = "missing"
    FLAGGED = "flagged in its file"
    IMPOSSIBLE = "impossible value"
    NO_POSITION = "no position"
    NO_TIME = "no time"
    NO_PRESSURE = "no pressure"
    NO_CHANNEL = "no channel"
    NO_TRAJECTORY = "no trajectory"
    NO_Y = "no y"
    NO_X = "no x"
    NO_COMPONENT = "no component"
    # The row compared with other rows: see `series_checks`.
    DUPLICATE = "duplicate of row"  # of a file
    AMBIGUOUS = "ambiguous"  # two values at one time
    REPEATED = "repeated value"
    DRY = "dry among wet neighbours"
    UNLIKE = "unlike its neighbours"  # for years
    SPIKE = "spike"
    # The row compared with the field.
    OUTSIDE = "outside the domain"
    NO_LAND = "no land grid cell nearby"
    OFF_RELIEF = "height off the relief"
    NO_STEP = "no step at that time"
    OTHER_STEP = "other step"  # one that is not analysed
    SEVERAL_STEPS = "a mean over several steps"
    SPARSE = "covers"  # e.g. 3 of 31 days
    MERGED = "merged into row"  # of a file
    # The row compared with the prior.
    NO_VARIABLE = "not a variable of the prior"
    OTHER_COMPONENT = "not a component of the prior"
    BEYOND_LEVELS = "above or below the levels"
    UNSEEN = "not seen by the prior"
    REJECTED = "rejected"  # N standard deviations from the background

    def of(self, details: str) -> str:
        """Return the status with details of a row.

        Example:
            >>> ObsStatus.MERGED.of("3 of a.csv")
            'merged into row 3 of a.csv'
        """
        return f"{self} {details}"


IN_USE = (ObsStatus.ASSIMILATED, ObsStatus.WITHHELD, ObsStatus.VERIFICATION)


def is_usable(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which rows passed all checks so far."""
    found: NDArray[np.bool_] = (table["status"] == ObsStatus.USABLE.value).to_numpy(bool)
    return found


def has_status(table: pd.DataFrame, *statuses: ObsStatus) -> NDArray[np.bool_]:
    """Tell which rows have one of some statuses."""
    found: NDArray[np.bool_] = table["status"].isin(statuses).to_numpy()
    return found


def mark_status(
    table: pd.DataFrame, wrong: NDArray[np.bool_] | pd.Series[bool], why: ObsStatus
) -> None:
    """Set the status of rows, in place, that have none yet."""
    chosen = np.asarray(wrong, bool) & is_usable(table)
    if chosen.any():
        table.loc[chosen, "status"] = why.value


def overrule_status(
    table: pd.DataFrame, rows: NDArray[np.int64], why: str | Sequence[str]
) -> None:
    """Set the status of rows by their numbers, in place, whatever it was before."""
    if rows.size:
        text = str(why) if isinstance(why, str) else why
        table.iloc[rows, table.columns.get_loc("status")] = text


def accept(table: pd.DataFrame) -> pd.DataFrame:
    """Mark all usable observations as assimilated."""
    status = table["status"].mask(is_usable(table), ObsStatus.ASSIMILATED.value)
    return table.assign(status=status)


def status_reasons(table: pd.DataFrame) -> pd.Series:
    """Return the status of each row without details.

    Example:
        >>> statuses = ["withheld", "merged into row 3 of a.csv", "rejected: 7.1 standard ..."]
        >>> list(status_reasons(pd.DataFrame({"status": statuses})))
        ['withheld', 'merged', 'rejected']
    """
    detailed = "merged|rejected|duplicate|ambiguous|repeated value|dry among wet neighbours|spike|"
    detailed += "unlike its neighbours"
    codes, statuses = pd.factorize(table["status"])  # far fewer than rows
    reasons = pd.Series(statuses).str.replace(rf"^({detailed})\b.*", r"\1", regex=True)
    return pd.Series(reasons.to_numpy()[codes], table.index, dtype=table["status"].dtype)
