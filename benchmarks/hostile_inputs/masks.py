"""GeoJSON files of areas that are spoiled."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.netcdf import one_of
from benchmarks.hostile_inputs.stores import places

READERS = (
    "downscale coarse.nc out.nc --prior prior.safetensors --mean --mask bad.geojson",
    "export fine.nc out.nc --variable t2m --mask bad.geojson",
)
VALUES: tuple[Any, ...] = (
    0, -1, 1e308, float("nan"), float("inf"), None, "", "two", [], [[]], [[[]]], [[[[]]]], {},
    True,
    10**400, [1], [[1, 2], [3, 4]], {"type": "Point", "coordinates": []}, "Polygon", "Feature",
    "GeometryCollection", [None], [[None, None]] * 4, ["a", "b"],
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield spoiled masks."""
    for number in range(count):
        make = text if number % 3 == 2 else key
        words = READERS[number // 3 % 2]
        yield Case(
            "GeoJSON", f"{make.__name__} {number}", tuple(words.split()), make, seed + number
        )


def key(rng: np.random.Generator) -> None:
    """Give one or two keys another value."""
    said = json.loads(Path("mask.geojson").read_text())
    for _ in range(int(rng.integers(1, 3))):
        found = list(places(said))
        holder, name = found[int(rng.integers(len(found)))]
        holder[name] = one_of(rng, VALUES)
    Path("bad.geojson").write_text(json.dumps(said))


def text(rng: np.random.Generator) -> None:
    """Write what is deep, empty, huge or no JSON."""
    inner = '{"type":"GeometryCollection","geometries":['
    feature = '{"type":"Feature","properties":null,"geometry":'
    ring = [[100 + np.cos(a), 30 + np.sin(a)] for a in np.linspace(0, 2 * np.pi, 20_000)]
    loop = {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
    bow = {
        "type": "Polygon",
        "coordinates": [[[105, 25], [140, 45], [105, 45], [140, 25], [105, 25]]],
    }
    spoiled = (
        inner * 50_000, inner * 900 + "]}" * 900, "[" * 1_000_000, '{"type":' * 50_000, "",
        "null", "3", "[]", "{}",
        feature * 2000 + "null" + "}" * 2000, json.dumps(loop), json.dumps(bow), "\x00",
        '{"type": 5}',
        '{"type":"Polygon","coordinates":' + "[" * 900 + "]" * 900 + "}",
        '{"type":"FeatureCollection","features":[]}',
        '{"type":"Polygon","coordinates":[[[1e309,2],[3,4],[5,6],[1e309,2]]]}',
        '{"type":"FeatureCollection","features":' + "9" * 6000 + "}",
    )  # fmt: skip
    Path("bad.geojson").write_text(one_of(rng, spoiled))
