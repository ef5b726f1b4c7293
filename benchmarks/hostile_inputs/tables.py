"""Tables of observations and of stations that are spoiled."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.netcdf import one_of

READERS = (
    "assimilate bad.csv out.nc --prior prior.safetensors --coarse coarse.nc --members 2",
    "export fine.nc out.csv --points bad.csv --variable t2m",
    "plot fine.nc out.png --kind series --variable t2m --points bad.csv --at s1",
    "assimilate bad.csv out.nc --prior prior.safetensors --coarse coarse.nc --members 2",
    "plot fine.nc out.png --kind obs --report bad.csv",
)
CELLS = (
    "", "nan", "inf", "-inf", "1e400", "9" * 6000, "two", "=1+1", "\x1b[31m", "x" * 1_000_000,
    "0x10", "1_000", "\u0661\u0662", "1,5", "-999", "2000-13-45", "9" * 5, "0000-00-00", "24:00",
    "True",
    "9**9**9 K", "None", "99999-01-01", "'", '"', "\u202e", "1e308", "-0", "2000-01-16T25:61",
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield spoiled tables."""
    kinds = (cell, cell, header, encoded, shape, raw)
    for number in range(count):
        make = kinds[number % len(kinds)]
        words = READERS[(number // len(kinds) + number) % len(READERS)]
        yield Case("CSV", f"{make.__name__} {number}", tuple(words.split()), make, seed + number)


def rows() -> list[list[str]]:
    """Return the good table as cells, its header first."""
    return [line.split(",") for line in Path("stations.csv").read_text().splitlines()]


def write(table: list[list[str]], end: str = "\n", mark: str = ",") -> None:
    """Write cells as bad.csv."""
    text = end.join(mark.join(row) for row in table) + end
    Path("bad.csv").write_bytes(text.encode("utf-8", "surrogatepass"))


def cell(rng: np.random.Generator) -> None:
    """Give one cell, or a whole column, another value."""
    table = rows()
    column = int(rng.integers(len(table[0])))
    chosen = table[1:] if rng.random() < 0.3 else [table[int(rng.integers(1, len(table)))]]
    value = one_of(rng, CELLS)
    for row in chosen[:3] if len(value) > 10_000 else chosen:
        row[column] = value
    write(table)


def header(rng: np.random.Generator) -> None:
    """Spoil a heading, repeat it, or leave it out."""
    table = rows()
    column = int(rng.integers(len(table[0])))
    names = (
        "",
        table[0][0],
        table[0][column - 1],
        "t2m [9**9**9 K]",
        "t2m [",
        "é",
        "x" * 100_000,
        "time",
    )
    table[0][column] = one_of(rng, names)
    write(table)


def encoded(rng: np.random.Generator) -> None:
    """Write the table in another encoding, with other ends of lines or separators."""
    write(
        rows(), one_of(rng, ("\n", "\r\n", "\r", "\n\r", "\v")), one_of(rng, (",", ";", "\t", "|"))
    )
    text = Path("bad.csv").read_bytes().decode()
    encodings = ("utf-16", "utf-16-le", "utf-8-sig", "utf-32", "cp037", "utf-7")
    Path("bad.csv").write_bytes(text.encode(one_of(rng, encodings)))


def shape(rng: np.random.Generator) -> None:
    """Make rows ragged, repeat or drop columns or rows."""
    table = rows()
    spot = int(rng.integers(1, len(table)))
    what = int(rng.integers(6))
    if what == 0:
        table[spot] = table[spot][:-2]
    elif what == 1:
        table[spot] += ["1"] * one_of(rng, (1, 10_000))
    elif what == 2:
        table = [row + row[:3] for row in table]
    elif what == 3:
        table = [[c for i, c in enumerate(row) if i != spot % len(row)] for row in table]
    elif what == 4:
        table = table[:1]
    else:
        table = [table[0], *[table[1]] * 5000]
    write(table)


def raw(rng: np.random.Generator) -> None:
    """Write bytes that are no table."""
    good = Path("stations.csv").read_bytes()
    spoiled = (
        b"", b"\n\n\n", b"\0" * 100, good[:50] + b"\0" + good[50:], b"\xff\xfe", b"\xef\xbb\xbf",
        rng.bytes(3000),
        b'"' + good, good.replace(b",", b'","', 3), b"#" * 1_000_000, b"," * 1_000_000,
        good[: len(good) // 2],
        good + b"\x80\x81\n",
    )  # fmt: skip
    Path("bad.csv").write_bytes(one_of(rng, spoiled))
