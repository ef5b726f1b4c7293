"""Write the style file of QGIS for a raster: a colour ramp with labels in its unit.

QGIS applies OUT.qml to OUT.tif when the raster is added. Without it, QGIS draws the first three
steps as red, green and blue. The colours are those of pictures (`dpdm.colours`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from dpdm.colours import (
    colour_map_name,
    find_colour_map,
    format_values,
    round_values,
    scale_limits,
)
from dpdm.errors import escape_controls
from dpdm.export.warp import BandInfo
from dpdm.fields.grid import Array
from dpdm.system import import_extra

CLASS_COUNT = 12  # intervals of the ramp at most
DOCTYPE = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"


def qgis_style(kind: str, bands: Sequence[BandInfo]) -> str:
    """Return the style of a raster as XML.

    Args:
        kind: The quantity that decides the colours: a variable, spread or probability.
        bands: All bands that share the colours.
    """
    tails = [band.tails for band in bands if band.tails]
    ends = min(low for low, _ in tails), max(high for _, high in tails)
    low, high, signed = scale_limits(kind, *ends)
    values = ramp_values(low, high)
    colours = find_colour_map(colour_map_name(kind, signed))((values - low) / (high - low))
    root = ElementTree.Element("qgis", version="3.22", styleCategories="Symbology")
    renderer = _renderer(root, low, high)
    shader = ElementTree.SubElement(
        ElementTree.SubElement(renderer, "rastershader"), "colorrampshader",
        colorRampType="INTERPOLATED", classificationMode="1", clip="0", labelPrecision="6",
        minimumValue=repr(low), maximumValue=repr(high),
    )  # fmt: skip
    _add_items(shader, values, colours, bands[0].unit)
    ElementTree.indent(root)
    return DOCTYPE + ElementTree.tostring(root, encoding="unicode") + "\n"


def ramp_values(low: float, high: float) -> Array:
    """Return the values of a ramp: its ends, and round values between.

    Example:
        >>> ramp_values(0.0, 15.0)[[0, 1, -1]].tolist()
        [0.0, 2.0, 15.0]
    """
    values: Array = np.unique([low, *round_values(low, high, CLASS_COUNT), high])
    far = np.diff(values) > 1e-6 * (high - low)
    return values[np.r_[True, far]]


def _renderer(root: ElementTree.Element, low: float, high: float) -> ElementTree.Element:
    """Add the renderer of one band to a style."""
    renderer = ElementTree.SubElement(
        ElementTree.SubElement(root, "pipe"), "rasterrenderer",
        type="singlebandpseudocolor", band="1", opacity="1", alphaBand="-1", nodataColor="",
        classificationMin=repr(low), classificationMax=repr(high),
    )  # fmt: skip
    origin = ElementTree.SubElement(renderer, "minMaxOrigin")
    for tag, text in (("limits", "None"), ("extent", "WholeRaster"), ("statAccuracy", "Exact")):
        ElementTree.SubElement(origin, tag).text = text
    return renderer


def _add_items(shader: ElementTree.Element, values: Array, colours: Any, unit: str) -> None:
    """Add the values, colours and labels of a ramp."""
    to_hex = import_extra("matplotlib.colors", "Colours").to_hex
    unit = "" if unit == "1" else escape_controls(unit)
    labels = format_values(values, float(values[-1] - values[0]))
    for value, colour, label in zip(values, colours, labels, strict=True):
        ElementTree.SubElement(
            shader, "item", value=repr(float(value)), color=to_hex(colour), alpha="255",
            label=f"{label} {unit}".strip(),
        )  # fmt: skip
    ElementTree.SubElement(shader, "rampLegendSettings", useContinuousLegend="0")
