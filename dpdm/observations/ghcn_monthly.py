"""Read monthly mean temperatures of GHCN-Monthly version 4.

A ``.dat`` file has a line a station and year: the station (columns 1-11), the year (12-15), the
element (16-19) and twelve times a value in hundredths of a degree (5 columns, -9999 for none) with
three flags, of measurement, quality and source. A value with a flag of quality has failed a check:
it is kept with that status, and not used. The inventory, an ``.inv`` file of the same name, or the
only one in the folder, has the positions.

References:
    Menne et al. (2018), The Global Historical Climatology Network Monthly Temperature Dataset,
    Version 4, https://doi.org/10.1175/JCLI-D-18-0094.1, and the README of its files.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.observations.faults import Faults
from dpdm.observations.layout import ColumnMeaning, FileLayout
from dpdm.observations.status import ObsStatus
from dpdm.observations.text_table import unpack

LINE = 19 + 12 * 8  # characters
ELEMENT = b"TAVG"
MISSING = -9999
INVENTORY = {"station": (0, 11), "lat": (12, 20), "lon": (21, 30), "elevation": (31, 37)}
_FIRST_LINE = re.compile(rb"[A-Z0-9_-]{11}\d{4}T(AVG|MAX|MIN)[ \d-]{5}")
_INVENTORY_LINE = re.compile(r"\S{11} [ \d.-]{8} [ \d.-]{9} [ \d.-]{6}( |$)")


def is_ghcn_monthly(head: bytes) -> bool:
    """Tell whether a file begins as those of GHCN-Monthly do."""
    return _FIRST_LINE.match(head) is not None


def read_ghcn_monthly(path: Path, faults: Faults) -> tuple[pd.DataFrame, FileLayout]:
    """Read a ``.dat`` file as a raw table, and what is in it."""
    numbered = [(i, line) for i, line in enumerate(unpack(path).splitlines(), 1) if line.strip()]
    lines = np.array([line.ljust(LINE)[:LINE] for _, line in numbered], dtype=f"S{LINE}")
    rows = np.array([number for number, _ in numbered], dtype=np.int64)
    letters = lines.view("S1").reshape(len(lines), LINE)
    element = _text(letters[:, 15:19])
    used = element == ELEMENT
    if not used.any():
        raise DpdmError(
            f"its element is {element[0].decode('latin-1')}, and only TAVG is known.",
            "Give the file of mean temperatures, as ghcnm.tavg.*.qcf.dat.",
        )
    table = _read_months(letters[used], rows[used], faults)
    inventory = find_inventory(path)
    positions = read_inventory(inventory)
    lost = sorted(set(table["station"]) - set(positions.index))
    if lost:
        raise DpdmError(
            f"{inventory.name} lacks {', '.join(lost[:5])}"
            f"{f' and {len(lost) - 5} more' if len(lost) > 5 else ''}.",
            "Fetch the .inv file of the same release.",
        )
    places = positions.index.get_indexer(table["station"])
    for name in ("lat", "lon", "elevation"):
        table[name] = positions[name].to_numpy()[places]
    return table, _describe(path, inventory, len(lines), int((~used).sum()))


def _describe(path: Path, inventory: Path, rows: int, others: int) -> FileLayout:
    columns = [
        ColumnMeaning("columns 1-11", "station"),
        ColumnMeaning("columns 12-15", "time"),
        ColumnMeaning("TAVG", "t2m", "degC/100"),
        *(ColumnMeaning(inventory.name, name) for name in ("lat", "lon")),
        ColumnMeaning(inventory.name, "elevation", "m"),
    ]
    ignored = [f"{others} lines of other elements"] if others else []
    return FileLayout(path.name, rows, columns, ignored)


def _text(letters: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """Return rows of single letters (N, L) as strings (N,)."""
    width = letters.shape[1]
    joined = np.ascontiguousarray(letters).view(f"S{width}")[:, 0]
    return np.char.strip(joined)


def _read_months(
    letters: NDArray[np.bytes_], rows: NDArray[np.int64], faults: Faults
) -> pd.DataFrame:
    """Return a row a station and month."""
    station = np.char.decode(_text(letters[:, :11]), "latin-1").astype(object)
    years = _whole_numbers(letters[:, 11:15], rows, "the year", faults)
    fields = letters[:, 19:].reshape(-1, 8)
    numbers = np.repeat(rows, 12)
    value = _whole_numbers(fields[:, :5], numbers, "a value", faults)
    flag = _text(fields[:, 6:7])
    missing = value == MISSING
    flagged = (flag != b"") & ~missing
    months = np.repeat((years - 1970) * 12, 12) + np.tile(np.arange(12), len(years))
    status = np.where(flagged, ObsStatus.FLAGGED.value, ObsStatus.USABLE.value)
    return pd.DataFrame(
        {
            "row": numbers,
            "time": months.astype("datetime64[M]").astype("datetime64[ns]"),
            "station": np.repeat(station, 12),
            "old": "t2m",
            "value": np.where(missing | flagged, np.nan, value / 100.0),
            "error": np.nan,
            "units": "degC",
            "status": status,
        }
    )


def _whole_numbers(
    letters: NDArray[np.bytes_], rows: NDArray[np.int64], what: str, faults: Faults
) -> NDArray[np.int64]:
    """Return whole numbers of a fixed width; blanks are missing."""
    words, inverse = np.unique(_text(letters), return_inverse=True)
    bad = np.array([not re.fullmatch(rb"[+-]?\d+|", word) for word in words], bool)
    wrong = np.flatnonzero(bad[inverse])
    faults.add(
        rows[wrong],
        lambda i: f"{what} is '{words[inverse[wrong[i]]].decode('latin-1')}', not a number.",
        "Fetch the file again; its columns are of fixed width.",
    )
    plain = [MISSING if b or not w else int(w) for w, b in zip(words, bad, strict=True)]
    return np.array(plain, np.int64)[inverse]


def find_inventory(path: Path) -> Path:
    """Return the inventory beside a file: of the same name, or the only one."""
    stem = path.name.removesuffix(".gz").removesuffix(".dat")
    for own in (path.with_name(f"{stem}.inv"), path.with_name(f"{stem}.inv.gz")):
        if own.is_file():
            return own
    found = sorted(path.parent.glob("*.inv"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(p.name for p in found) or "none"
    raise DpdmError(
        f"its folder has no {stem}.inv, the inventory with the positions; it has {names}.",
        "Put the .inv file of the same release there.",
    )


def read_inventory(path: Path) -> pd.DataFrame:
    """Return latitude, longitude and elevation (m) by station."""
    lines = [w for w in unpack(path).decode("latin-1").splitlines() if w.strip()]
    if bad := [i for i, line in enumerate(lines, 1) if not _INVENTORY_LINE.match(line)]:
        raise DpdmError(
            f"{path.name}: line {bad[0]} is not of an inventory of GHCN-Monthly.",
            "Fetch it again.",
        )
    cells = {n: [line[slice(*span)].strip() for line in lines] for n, span in INVENTORY.items()}
    table = pd.DataFrame(cells).drop_duplicates("station").set_index("station")
    return table.apply(pd.to_numeric, errors="coerce")
