"""Say what, where and when fields are, so that catalogues find them: ACDD 1.3.

The Attribute Convention for Data Discovery (https://wiki.esipfed.org/ACDD_1-3) wants global
attributes that repeat what the axes hold. They are made anew of the output's own axes: those of an
input tell of other cells and other days. What nobody said, an author or an identifier for example,
is left out; licence and institution stay as the input has them.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from dpdm.fields.levels import LEVEL
from dpdm.fields.time import days_between, period_of_length

CONVENTION = "ACDD-1.3"
# What tells of an input as it was published, and of nothing that is made of it.
OUTDATED = re.compile(
    r"dpdm_.*|geospatial_.*|time_coverage_.*|date_(created|modified|issued|metadata_modified)"
    r"|id|naming_authority|uuid|tracking_id|creation_date|summary|keywords(_vocabulary)?"
)
OF = re.compile(r".* over the ensemble of ")


def lasting(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of an input that hold of what is made of it."""
    return {key: value for key, value in attrs.items() if not OUTDATED.fullmatch(key)}


def discovery(fields: xr.Dataset, title: str, now: str) -> dict[str, Any]:
    """Return what a catalogue asks of fields that are described otherwise."""
    return (
        _words(fields, title)
        | _place(fields)
        | _height(fields)
        | _span(fields)
        | {"date_created": now, "standard_name_vocabulary": "CF Standard Name Table"}
    )


def _words(fields: xr.Dataset, title: str) -> dict[str, str]:
    """Sum up and give the standard names as keywords."""
    known = [a for a in fields.data_vars.values() if {"lat", "lon"} <= set(a.dims)]
    names = [str(a.attrs.get("standard_name") or a.name) for a in known]
    plain = [OF.sub("", str(a.attrs.get("long_name") or a.name)) for a in known]
    cells = f"{fields.sizes['lat']} x {fields.sizes['lon']} cells of latitude and longitude"
    return {
        "summary": f"{title}. On {cells}: {', '.join(dict.fromkeys(plain))}.",
        "keywords": ", ".join(dict.fromkeys(names)),
        "keywords_vocabulary": "CF Standard Names",
    }


def _place(fields: xr.Dataset) -> dict[str, Any]:
    """Return the least and the greatest centres."""
    out: dict[str, Any] = {}
    for axis, units in (("lat", "degrees_north"), ("lon", "degrees_east")):
        centres = fields[axis].values
        least, most = float(centres.min()), float(centres.max())
        said = {"min": least, "max": most, "units": units}
        if centres.size > 1:
            said["resolution"] = round((most - least) / (centres.size - 1), 9)
        out |= {f"geospatial_{axis}_{word}": value for word, value in said.items()}
    return out


def _height(fields: xr.Dataset) -> dict[str, Any]:
    """Return the lowest and the highest level."""
    if LEVEL not in fields.dims:
        return {}
    levels, said = fields[LEVEL].values, fields[LEVEL].attrs
    ends = {"min": float(levels.min()), "max": float(levels.max())}
    known = {key: said[key] for key in ("units", "positive") if key in said}
    return {f"geospatial_vertical_{word}": value for word, value in (ends | known).items()}


def _span(fields: xr.Dataset) -> dict[str, str]:
    """Return the first and the last date, and how far apart the steps are."""
    if "time" not in fields.dims or fields["time"].dtype.kind not in "MO":
        return {}
    time = fields["time"]
    first, last = time[[0, -1]].dt.strftime("%Y-%m-%dT%H:%M:%SZ").values.tolist()
    said = {"start": first, "end": last}
    if time.size > 1:
        days = days_between(time.values[:-1], time.values[1:])
        said |= {"duration": f"P{days.sum():.6g}D", "resolution": period(float(np.median(days)))}
    return {f"time_coverage_{word}": value for word, value in said.items()}


def period(days: float) -> str:
    """Write a length of time after ISO 8601; a month is one whatever its days.

    Example:
        >>> period(30.5), period(91), period(365), period(10), period(0.25)
        ('P1M', 'P3M', 'P1Y', 'P10D', 'PT6H')
    """
    known = {"day": "P1D", "month": "P1M", "season": "P3M", "year": "P1Y"}
    if found := known.get(period_of_length(days)):
        return found
    return f"P{days:.6g}D" if days >= 1 else f"PT{24 * days:.6g}H"
