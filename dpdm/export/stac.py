"""A STAC item, which says in JSON where and when a raster is, so that catalogues find it.

SpatioTemporal Asset Catalog 1.1.0 (https://stacspec.org), with the extension `projection` 2.0.0.
"""

import calendar
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.export.footprint import footprint
from dpdm.export.frame import Sheet
from dpdm.export.raster import Band
from dpdm.fields.grid import Grid

VERSION = "1.1.0"
EXTENSIONS = ["https://stac-extensions.github.io/projection/v2.0.0/schema.json"]
COG = "image/tiff; application=geotiff; profile=cloud-optimized"


def item(
    path: Path,
    grid: Grid,
    page: Sheet,
    time: xr.DataArray,
    bands: Sequence[Band],
    tags: Mapping[str, str],
) -> str:
    """Return the item of a raster, as JSON.

    Args:
        path: The raster.
        grid: The cells of the field.
        page: The pixels of the raster.
        time: The dates of its bands.
        bands: What they hold.
        tags: Its provenance.
    """
    asset = {
        "href": f"./{path.name}",
        "type": COG,
        "title": tags["title"],
        "roles": ["data"],
        "bands": [_band(band) for band in bands],
    }
    bounds, place = footprint(grid, page)
    said = {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": EXTENSIONS,
        "id": path.stem,
        "bbox": bounds,
        "geometry": place,
        "properties": when(time) | _projection(page) | {"title": tags["title"]},
        "links": [],
        "assets": {"data": asset},
    }
    return json.dumps(said, indent=2) + "\n"


def _band(band: Band) -> dict[str, Any]:
    names = {
        "minimum": "MINIMUM", "maximum": "MAXIMUM", "mean": "MEAN", "stddev": "STDDEV",
        "valid_percent": "VALID_PERCENT",
    }  # fmt: skip
    found = {k: band.statistics[f"STATISTICS_{v}"] for k, v in names.items() if band.statistics}
    said = {"data_type": "float32", "nodata": "nan", "unit": band.unit, "name": band.name}
    return said | {"description": band.date} | ({"statistics": found} if found else {})


def _projection(page: Sheet) -> dict[str, Any]:
    known = page.crs.to_authority()
    code = {"proj:code": ":".join(known)} if known else {"proj:wkt2": page.crs.to_wkt()}
    shape = {"proj:shape": list(page.shape), "proj:transform": list(page.transform)[:6]}
    return code | shape


def when(time: xr.DataArray) -> dict[str, Any]:
    """Return the date of an item, or the first and the last."""
    first, last = (stamp(time[i]) for i in (0, -1))
    if first == last:
        return {"datetime": first}
    return {"datetime": None, "start_datetime": first, "end_datetime": last}


def stamp(time: xr.DataArray) -> str:
    """Return a date as the internet has it (RFC 3339).

    February has 30 days in some models' calendars; the last that it has stands for those.
    """
    year, month, day = (int(getattr(time.dt, part)) for part in ("year", "month", "day"))
    day = min(day, calendar.monthrange(year, month)[1])
    return f"{year:04d}-{month:02d}-{day:02d}T{time.dt.strftime('%H:%M:%S').item()}Z"


def check_dated(fields: xr.Dataset) -> None:
    """Refuse fields without time, for a STAC item has one."""
    if "time" not in fields.dims:
        raise DpdmError(
            "The field has no time, and a STAC item must have one.",
            "Leave --stac out, or set the time: cdo setdate,2012-01-16 IN.nc OUT.nc.",
        )
