"""Coastlines of Natural Earth, as lines in hundredths of a degree.

TopoJSON keeps each stretch of a coast once, as an *arc* of steps between quantised points. Where
the land polygons were cut, at the dateline and at the south pole, there is no coast: those steps
are left out.
"""

import json
from pathlib import Path

import numpy as np

UNITS = 100  # of the stored integers, to a degree


def coastlines(source: Path, target: Path) -> None:
    """Write the arcs of a TopoJSON file as one array of points, and where each line begins."""
    topology = json.loads(source.read_text())
    scale, shift = (np.array(topology["transform"][name]) for name in ("scale", "translate"))
    whole = [np.cumsum(arc, axis=0) * scale + shift for arc in topology["arcs"]]
    lines = [np.rint(part * UNITS).astype(np.int16) for arc in whole for part in coasts(arc)]
    starts = np.cumsum([0, *map(len, lines[:-1])], dtype=np.int32)
    np.savez_compressed(target, points=np.concatenate(lines), starts=starts)
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def coasts(arc: np.ndarray) -> list[np.ndarray]:
    """Cut an arc (N, 2) where it runs along the dateline or the end of the map."""
    edge = (np.abs(arc[:, 0]) > 179.99) | (arc[:, 1] < -89.9)
    cuts = np.flatnonzero(edge[1:] & edge[:-1]) + 1
    return [part for part in np.split(arc, cuts) if len(part) > 1]
