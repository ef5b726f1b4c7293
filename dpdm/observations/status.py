"""What becomes of an observation: assimilated, withheld, or of no use for one of these reasons.

A row keeps the first reason that is found. Some reasons go on with particulars of the row: which
one it was merged into, how far it lies from the prior, how many days of a month it covers.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray


class ObsStatus(StrEnum):
    """The status of an observation, as files and reports have it."""

    USABLE = ""  # nothing is found against it so far
    ASSIMILATED = "assimilated"
    WITHHELD = "withheld"
    # The row itself.
    MISSING = "missing"
    IMPOSSIBLE = "impossible value"
    NO_POSITION = "no position"
    NO_TIME = "no time"
    NO_PRESSURE = "no pressure"
    NO_CHANNEL = "no channel"
    NO_TRAJECTORY = "no trajectory"
    NO_Y = "no y"
    NO_X = "no x"
    NO_COMPONENT = "no component"
    # The row beside the field that it is to inform.
    OUTSIDE = "outside the domain"
    NO_LAND = "no land within a cell"
    OFF_RELIEF = "height off the relief"
    NO_STEP = "no step at that time"
    SEVERAL_STEPS = "a mean over several steps"
    SPARSE = "covers"  # so many of so many days
    MERGED = "merged into row"  # of a file
    # The row beside the prior.
    NO_VARIABLE = "not a variable of the prior"
    OTHER_COMPONENT = "not a component of the prior"
    BEYOND_LEVELS = "above or below the levels"
    UNSEEN = "not seen by the prior"
    REJECTED = "rejected"  # at so many standard deviations from the prior

    def of(self, particulars: str) -> str:
        """Return the status with particulars of a row.

        Example:
            >>> ObsStatus.MERGED.of("3 of a.csv")
            'merged into row 3 of a.csv'
        """
        return f"{self} {particulars}"


IN_USE = (ObsStatus.ASSIMILATED, ObsStatus.WITHHELD)


def is_usable(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows nothing is found against so far."""
    return has_status(table, ObsStatus.USABLE)


def has_status(table: pd.DataFrame, *statuses: ObsStatus) -> NDArray[np.bool_]:
    """Return which rows have one of some statuses."""
    found: NDArray[np.bool_] = table["status"].isin(statuses).to_numpy()
    return found


def mark_status(
    table: pd.DataFrame, wrong: NDArray[np.bool_] | pd.Series[bool], why: ObsStatus
) -> None:
    """Give a status to those rows, in place, that had none before."""
    table.loc[np.asarray(wrong, bool) & is_usable(table), "status"] = why.value


def overrule_status(
    table: pd.DataFrame, rows: NDArray[np.int64], why: str | Sequence[str]
) -> None:
    """Give a status to rows by their numbers, in place, whatever they had before."""
    table.iloc[rows, table.columns.get_loc("status")] = str(why) if isinstance(why, str) else why


def accept(table: pd.DataFrame) -> pd.DataFrame:
    """Return observations of which those that nothing is found against are assimilated."""
    status = table["status"].mask(is_usable(table), ObsStatus.ASSIMILATED.value)
    return table.assign(status=status)


def status_reasons(table: pd.DataFrame) -> pd.Series:
    """Return the status of each row without its particulars.

    Example:
        >>> statuses = ["withheld", "merged into row 3 of a.csv", "rejected: 7.1 standard ..."]
        >>> list(status_reasons(pd.DataFrame({"status": statuses})))
        ['withheld', 'merged', 'rejected']
    """
    return table["status"].str.replace(r"^(merged|rejected)\b.*", r"\1", regex=True)
