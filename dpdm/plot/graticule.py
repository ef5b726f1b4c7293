"""Choose parallels and meridians of a map, and label them where no label meets another.

Latitudes are written at the left edge of the domain and longitudes below it. A polar cap has the
meridians that reach these sides, and latitudes on the disc.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dpdm.fields.grid import Array
from dpdm.plot.page import FONT_SIZE, patheffects, text_width
from dpdm.plot.projection import ProjectedGrid, domain_edges, project_places, wrap_longitude

DEGREE_STEPS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0
)  # fmt: skip
MAX_LINES = 4  # parallels, or meridians, of a region
GLOBAL_STEPS = (30.0, 60.0)  # degrees between parallels and meridians of the globe
LABEL_PAD = 4.0  # points between a map and its labels
LABEL_GAP = 3.0  # points between labels
CAP_BEARING = 135.0  # degrees clockwise from the top, of the latitudes on a disc


def graticule(sheet: ProjectedGrid) -> tuple[list[float], list[float]]:
    """Return the parallels and the meridians of a map, degrees."""
    if sheet.is_global:
        lat, lon = GLOBAL_STEPS
        return [lat * each for each in range(-2, 3)], [lon * each for each in range(-2, 3)]
    parallels = graticule_steps(sheet.grid.lat_edges, MAX_LINES)
    if sheet.is_polar_cap:
        return parallels, [GLOBAL_STEPS[1] / 2 * each for each in range(-6, 6)]
    return parallels, graticule_steps(sheet.grid.lon_edges, MAX_LINES)


def graticule_steps(edges: Array, count: int) -> list[float]:
    """Return at most ``count`` round degrees within the edges of an axis.

    Example:
        >>> graticule_steps(np.array([-30.0, 30.0]), 4)
        [-20.0, 0.0, 20.0]
    """
    low, high = float(edges[0]), float(edges[-1])
    for step in DEGREE_STEPS:
        first, last = int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9))
        if last - first < count:
            break
    return [step * each for each in range(first, last + 1)]


def format_degree(degree: float, sides: str) -> str:
    """Format a latitude or longitude.

    Example:
        >>> format_degree(-20.0, "NS"), format_degree(180.0, "EW")
        ('20°S', '180°')
    """
    side = "" if abs(degree) in (0, 180) else sides[degree < 0]
    return f"{abs(degree):g}°{side}"


class DegreeLabel(NamedTuple):
    """A label of a parallel or meridian.

    Attributes:
        text: The label.
        side: "left", "bottom" or "inside".
        xy: The position that it belongs to, in projected coordinates.
        box: Its extent: left, right, bottom and top, in points from the lower left of the map.
    """

    text: str
    side: str
    xy: Array
    box: tuple[float, float, float, float]


class MapLabels(NamedTuple):
    """The labels of a map.

    Attributes:
        labels: Labels that do not meet.
        below: Room below the map that they need, inches.
    """

    labels: list[DegreeLabel]
    below: float


def label_room(sheet: ProjectedGrid) -> float:
    """Return the room at the left of a map that its labels need, inches."""
    words = [text for text, side, _ in candidate_labels(sheet) if side == "left"]
    widest = max((text_width(word, FONT_SIZE) for word in words), default=-LABEL_PAD)
    return (widest + LABEL_PAD) / 72


def candidate_labels(sheet: ProjectedGrid) -> list[tuple[str, str, Array]]:
    """Return text, side and position of all labels that a map might have."""
    parallels, meridians = graticule(sheet)
    west, _, south, _ = domain_edges(sheet.grid)
    if sheet.is_polar_cap:
        return cap_labels(sheet, parallels)
    if sheet.is_global:
        west, south = -180.0, -90.0
    left = [(format_degree(lat, "NS"), "left", (west, lat)) for lat in parallels]
    bottom = [
        (format_degree(wrap_longitude(lon), "EW"), "bottom", (lon, south)) for lon in meridians
    ]
    return [(text, side, _project(sheet, *place)) for text, side, place in [*left, *bottom]]


def cap_labels(sheet: ProjectedGrid, parallels: list[float]) -> list[tuple[str, str, Array]]:
    """Return the labels of a disc around a pole."""
    _, _, south, north = domain_edges(sheet.grid)
    edge, below = (south, 0.0) if north > 0 else (north, 180.0)
    bearing = CAP_BEARING if north < 0 else 180.0 - CAP_BEARING
    found = [
        ("90°W", "left", _project(sheet, -90.0, edge)),
        (format_degree(below, "EW"), "bottom", _project(sheet, below, edge)),
    ]
    inside = [lat for lat in parallels if abs(lat) < 90 and abs(lat - edge) > 1e-6]
    return found + [
        (format_degree(lat, "NS"), "inside", _project(sheet, bearing, lat)) for lat in inside
    ]


def _project(sheet: ProjectedGrid, lon: float, lat: float) -> Array:
    """Return the projected coordinates (2,) of a position."""
    xy: Array = project_places(sheet.crs, sheet.grid, np.array([lon]), np.array([lat]))[0]
    return xy


def place_labels(sheet: ProjectedGrid, width: float, overhang: float) -> MapLabels:
    """Return the labels of a map that meet neither each other nor what lies at its right.

    Args:
        sheet: The map.
        width: Its width, inches.
        overhang: What a longitude may reach beyond its left or right edge, inches.
    """
    scale, corner = 72 * width / sheet.size[0], np.array(sheet.extent)[[0, 2]]
    taken: list[DegreeLabel] = []
    for text, side, xy in candidate_labels(sheet):
        label = DegreeLabel(text, side, xy, label_box(text, side, scale * (xy - corner)))
        free = all(not boxes_meet(label.box, other.box) for other in taken)
        inside = -overhang <= label.box[0] / 72 and label.box[1] / 72 <= width + overhang
        if free and (inside or side == "left"):
            taken.append(label)
    lowest = min((label.box[2] for label in taken), default=0.0)
    return MapLabels(taken, max(0.0, -lowest) / 72)


def label_box(text: str, side: str, xy: Array) -> tuple[float, float, float, float]:
    """Return the extent of a label (points) that belongs to a position."""
    wide, (x, y) = text_width(text, FONT_SIZE), xy
    left = {"left": x - LABEL_PAD - wide}.get(side, x - wide / 2)
    bottom = {"bottom": y - LABEL_PAD - FONT_SIZE}.get(side, y - FONT_SIZE / 2)
    return float(left), float(left + wide), float(bottom), float(bottom + FONT_SIZE)


def boxes_meet(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Return whether two extents (left, right, bottom, top) overlap or nearly do.

    Example:
        >>> boxes_meet((0, 9, 0, 9), (10, 19, 0, 9)), boxes_meet((0, 9, 0, 9), (20, 29, 0, 9))
        (True, False)
    """
    across = one[0] < other[1] + LABEL_GAP and other[0] < one[1] + LABEL_GAP
    return across and one[2] < other[3] and other[2] < one[3]


def draw_labels(axes: Any, labels: MapLabels, sides: bool, bottom: bool) -> None:
    """Write the labels of a map: those at its left, those below it, and those on it."""
    shown = {"left": sides, "bottom": bottom, "inside": True}
    offsets = {"left": (-LABEL_PAD, 0), "bottom": (0, -LABEL_PAD), "inside": (0, 0)}
    anchors = {"left": ("right", "center"), "bottom": ("center", "top")}
    for label in labels.labels:
        if shown[label.side]:
            across, up = anchors.get(label.side, ("center", "center"))
            words = axes.annotate(
                label.text, label.xy, offsets[label.side], textcoords="offset points",
                ha=across, va=up, annotation_clip=False, zorder=8,
            )  # fmt: skip
            if label.side == "inside":
                words.set_path_effects([patheffects.withStroke(linewidth=2, foreground="white")])
