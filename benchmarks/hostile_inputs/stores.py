"""Zarr stores whose metadata are spoiled."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.netcdf import one_of
from tests.helpers.small_world import coarse_world

READERS = (
    "info bad.zarr",
    "lerp bad.zarr out.nc --factor 2",
    "downscale bad.zarr out.nc --prior prior.safetensors --mean",
    "evaluate bad.zarr coarse.nc",
    "export bad.zarr out.nc --variable t2m",
    "assimilate bad.zarr out.nc --prior prior.safetensors --coarse coarse.nc --members 2",
)
VALUES: tuple[Any, ...] = (
    0, -1, 10**12, 1e308, None, "", "two", [], [0, 0, 0], [10**12] * 3, {}, True, [[[]]], "<f4",
    [1, 2], {"id": "nothing"}, [{"name": "nothing"}], float("nan"), "|O", "<M8[ns]",
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield spoiled stores of both formats."""
    kinds = (key, key, text, chunk, lost)
    for number in range(count):
        make = kinds[number % len(kinds)]
        words = READERS[(number // len(kinds) + number) % len(READERS)]
        yield Case("Zarr", f"{make.__name__} {number}", tuple(words.split()), make, seed + number)


def base(rng: np.random.Generator) -> Path:
    """Write coarse fields as bad.zarr; return one of its files of metadata."""
    kind, whole = int(rng.integers(2, 4)), bool(rng.random() < 0.5)
    coarse_world().to_zarr("bad.zarr", zarr_format=kind, consolidated=whole)
    names = (".zarray", ".zattrs", ".zgroup", ".zmetadata", "zarr.json")
    files = sorted(p for p in Path("bad.zarr").rglob("*") if p.name in names)
    return files[int(rng.integers(len(files)))]


def places(said: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every place of nested JSON: what holds it, and its key."""
    items = said.items() if isinstance(said, dict) else enumerate(said)
    for key_, value in list(items):
        yield said, key_
        if isinstance(value, dict | list):
            yield from places(value)


def key(rng: np.random.Generator) -> None:
    """Give one key of the metadata another value, or remove it."""
    path = base(rng)
    said = json.loads(path.read_text())
    found = list(places(said))
    if not found:
        return
    holder, name = found[int(rng.integers(len(found)))]
    if rng.random() < 0.2 and isinstance(holder, dict):
        del holder[name]
    else:
        holder[name] = one_of(rng, VALUES)
    path.write_text(json.dumps(said))


def text(rng: np.random.Generator) -> None:
    """Write metadata that are no JSON, or are deep."""
    deep = "[" * 100_000
    spoiled = (
        b"{",
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        deep.encode(),
        b'{"a":' + b"9" * 6000 + b"}",
        b"3",
    )
    base(rng).write_bytes(one_of(rng, spoiled))


def chunk(rng: np.random.Generator) -> None:
    """Spoil or cut a file of values."""
    names = {base(rng).name}
    files = sorted(
        p
        for p in Path("bad.zarr").rglob("*")
        if p.is_file() and not p.name.startswith((".z", "zarr"))
    )
    assert names
    path = files[int(rng.integers(len(files)))]
    content = path.read_bytes()
    path.write_bytes(
        one_of(rng, (b"", content[: len(content) // 2], b"\0" * 40, rng.bytes(len(content))))
    )


def lost(rng: np.random.Generator) -> None:
    """Remove a file of metadata, or put a folder in its place."""
    path = base(rng)
    path.unlink()
    if rng.random() < 0.5:
        path.mkdir()
