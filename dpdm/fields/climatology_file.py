"""Read a file as a climatology: twelve months, one field, or a series of months or days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from dpdm.fields.plausibility import MissingCodes

MONTH_NAMES = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
YEAR_PATTERN_HINT = "Give first and last month, as in --climatology-period 1991-01,2020-12."


@dataclass(frozen=True)
class MonthlyMeans:
    """The means of each calendar month of a file.

    Attributes:
        path: The file.
        period: First and last month; empty if unknown.
        fields: Canonical fields (month, lat, lon).
        sha256: Digest of the file.
    """

    path: Path
    period: str
    fields: xr.Dataset
    sha256: str


def read_monthly_means(
    path: Path,
    names: Sequence[str],
    period: tuple[str, str] | None,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: MissingCodes,
) -> MonthlyMeans:
    """Return the mean of each calendar month of a file."""
    raise NotImplementedError
