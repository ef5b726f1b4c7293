"""Read dates of text files: year first, in the first calendar that has them all."""

from __future__ import annotations

import re
from datetime import timedelta

import cftime
import numpy as np

from dpdm.errors import DpdmError

MISSING_WORDS = {"", "na", "n/a", "nan", "nat", "-", "--", "m", "null", "none", "missing"}
DATE_CALENDARS = ("standard", "360_day")
YEAR_LIMITS = (1678, 2261)  # the range of datetime64[ns]
_DATE = re.compile(
    r"(\d{4})[-/.](\d{1,2})(?:[-/.](\d{1,2}))?"
    r"(?:[T ]+(\d{1,2})(?::?(\d{2}))?(?::?(\d{2})(?:\.\d+)?)?)?"
    r"T?\s*(?:Z|UTC|([+-])(\d{2}):?(\d{2}))?",
    re.IGNORECASE,
)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})?(\d{2})?(\d{2})?")


def parse_times(cells: list[str]) -> np.ndarray:
    """Read dates, or numbers of steps or of a model's own time.

    Returns:
        datetime64, NaT where there is none; numbers, NaN where there is none; or cftime objects,
        None where there is none, of dates before 1678 and of months of 30 days.

    Example:
        >>> parse_times(["2012-01-16T12:00", "2012/02", "20120316", ""]).astype("datetime64[D]")
        array(['2012-01-16', '2012-02-01', '2012-03-16', 'NaT'], dtype='datetime64[D]')
    """
    texts = [cell.strip() for cell in cells]
    known = {cell for cell in texts if cell.lower() not in MISSING_WORDS}
    if known and all(is_number(cell) and not _is_compact_date(cell) for cell in known):
        return _parse_step_numbers(texts, known)
    dates = _dates_by_calendar({cell: _parse_date_parts(cell) for cell in known})
    out = np.array([dates.get(cell) for cell in texts], dtype=object)
    if all(
        d.calendar == "standard" and YEAR_LIMITS[0] <= d.year <= YEAR_LIMITS[1]
        for d in dates.values()
    ):
        texts = [date.isoformat() if date is not None else "NaT" for date in out]
        return np.array(texts, dtype="datetime64[ns]")
    return out


def is_number(cell: str) -> bool:
    """Tell whether a cell can be read as a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _parse_step_numbers(texts: list[str], known: set[str]) -> np.ndarray:
    years = {cell for cell in known if float(cell) in range(1600, 2201)}
    if years == known:
        raise DpdmError(f"time {texts[0]} may be a year or a step.", "Write a date as 2012-07-01.")
    return np.array([float(cell) if cell in known else np.nan for cell in texts])


def _is_compact_date(cell: str) -> bool:
    """Tell whether a cell is a date of digits only, as 20120716 is."""
    found = _COMPACT.fullmatch(cell)
    return bool(found and 1 <= int(found[2]) <= 12 and 1600 <= int(found[1]) <= 2200)


def _parse_date_parts(cell: str) -> tuple[list[int], timedelta]:
    """Return year, month, day, hour, minute and second of a date, and its offset from UTC."""
    if _is_compact_date(cell):
        return _parse_date_parts(f"{cell[:4]}-{cell[4:6]}-{cell[6:8] or '01'}T{cell[8:] or '00'}")
    found = _DATE.fullmatch(cell)
    if found is None or int(found[1]) == 0:
        raise _unreadable_date_error(cell)
    year, month, day, *clock = (int(word or 0) for word in found.groups()[:6])
    zone = timedelta(hours=int(found[8] or 0), minutes=int(found[9] or 0))
    return [year, month, day or 1, *clock], -zone if found[7] == "-" else zone


def _dates_by_calendar(
    parts: dict[str, tuple[list[int], timedelta]],
) -> dict[str, cftime.datetime]:
    """Return dates in the first calendar that has every one of them."""
    for calendar in DATE_CALENDARS:
        dates = {}
        for cell, (numbers, zone) in parts.items():
            try:
                dates[cell] = cftime.datetime(*numbers, calendar=calendar) - zone
            except ValueError:
                wrong = cell
                break
        else:
            return dates
    raise _unreadable_date_error(wrong)


def _unreadable_date_error(cell: str) -> DpdmError:
    return DpdmError(
        f"'{cell}' is not a date that can be read.",
        "Write dates year first, as 2012-07-16 or 2012-07-16T12:00.",
    )
