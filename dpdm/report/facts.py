"""State what a report compares: period, region, members, prior and climatology."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dpdm.evaluate.comparison import Comparison
from dpdm.evaluate.normals import OWN_MEAN, OWN_MONTHS, describe_reference
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.time import period_of, time_bounds
from dpdm.report.accumulate import comparison_labels
from dpdm.report.figures import format_latitude, format_longitude

UNKNOWN = "not stated in the forecast"


def comparison_facts(comparison: Comparison) -> dict[str, str]:
    """Return the facts that the scores are of, by their names."""
    attrs = {str(key): str(value) for key, value in comparison.forecast.attrs.items()}
    return {
        "Period": describe_period(comparison),
        "Region": describe_region(grid_of(comparison.truth)),
        "Members": describe_members(comparison, attrs),
        "Prior": Path(attrs.get("dpdm_prior", "")).name or UNKNOWN,
        "Climatology of the forecast": describe_climatology(attrs),
        "Climatology of the scores": describe_normals(comparison),
    }


def describe_period(comparison: Comparison) -> str:
    """Return the first and the last time, and their number and length."""
    labels, truth = comparison_labels(comparison), comparison.truth
    length = period_of(truth["time"], time_bounds(truth)) or "time"
    count = f"{len(labels)} {length}{'s' * (len(labels) != 1)}"
    return f"{' to '.join(dict.fromkeys([labels[0], labels[-1]]))}, {count}"


def describe_region(grid: Grid) -> str:
    """Return the outermost centres of a grid, and its cells."""
    south, north = (format_latitude(float(grid.lat[i])) for i in (0, -1))
    west, east = (format_longitude(float(grid.lon[i])) for i in (0, -1))
    cells = f"{grid.shape[0]} x {grid.shape[1]} cells of"
    spacing = " x ".join(dict.fromkeys(f"{step:.4g}°" for step in grid.spacing))
    return f"{south} to {north}, {west} to {east}; {cells} {spacing}"


def describe_members(comparison: Comparison, attrs: Mapping[str, str]) -> str:
    """Return the number of members, or that a forecast has none."""
    count = comparison.forecast.sizes.get("realization", 0)
    if count:
        return str(count)
    stated = attrs.get("dpdm_members", "0")
    return f"none; the mean of {stated} is stored" if stated != "0" else "none: a single field"


def describe_climatology(attrs: Mapping[str, str]) -> str:
    """Return the climatology that a forecast was made with."""
    name, period = attrs.get("dpdm_climatology", ""), attrs.get("dpdm_climatology_period", "")
    return (f"{name} ({period})" if period else name) or UNKNOWN


def describe_normals(comparison: Comparison) -> str:
    """Return the climatologies that anomalies refer to, and the delta method adds."""
    normals = comparison.normals
    names = [] if normals.reference is None else [describe_reference(normals.reference)]
    if normals.own.data_vars:
        names.append(OWN_MEAN if 0 in normals.own["month"] else OWN_MONTHS)
    return "; ".join(names)
