"""Reference systems by code, PROJ string or WKT, read without a file and without the network.

GDAL and PROJ also take addresses of web pages, names of files and grids of shifts that lie at
either; a raster needs none of them.
"""

from __future__ import annotations

import re
from typing import Any

from dpdm.errors import DpdmError
from dpdm.system import import_extra

MAX_CRS_LENGTH = 20_000  # characters
CODE_PATTERN = re.compile(r"(?i)[a-z][a-z0-9_]{1,15}:[a-z0-9.]{1,20}")
PROJ_PATTERN = re.compile(r"\+[a-z_0-9]+(=[-+\w.,^]*)?")  # a word of it: neither path nor address
WKT_PATTERN = re.compile(r"(?s)[A-Z0-9_]{4,20}\s*\[.*\]")
EXTERNAL_PATTERN = re.compile(r"(?i)grids|PARAMETERFILE|\+init|\+file")
CRS_ADVICE = "Use a code such as EPSG:3035, a PROJ string or WKT."


def parse_crs(text: str) -> Any:
    """Return a reference system."""
    name = f"EPSG:{text.strip()}" if text.strip().isdecimal() else text.strip()
    rasterio = import_extra("rasterio", "GeoTIFFs")
    if not is_self_contained(name):
        raise _unreadable_error(text)
    try:
        with rasterio.Env():  # which takes what PROJ prints
            return rasterio.crs.CRS.from_user_input(name)
    except rasterio.errors.CRSError as fault:
        raise _unreadable_error(text) from fault


def is_self_contained(text: str) -> bool:
    """Tell whether a text is a code, a PROJ string or WKT that refers to nothing elsewhere.

    Example:
        >>> is_self_contained("EPSG:3035"), is_self_contained("+proj=moll +lon_0=10"), is_self_contained("http://a.b/c")
        (True, True, False)
        >>> is_self_contained("+proj=longlat +nadgrids=/etc/passwd")
        False
    """
    here = text.replace("+nadgrids=@null", "")  # no grid, as in Web Mercator
    if len(text) > MAX_CRS_LENGTH or not here or EXTERNAL_PATTERN.search(here):
        return False
    return bool(CODE_PATTERN.fullmatch(here) or WKT_PATTERN.fullmatch(here)) or all(
        PROJ_PATTERN.fullmatch(word) for word in here.split()
    )


def _unreadable_error(text: str) -> DpdmError:
    return DpdmError(
        f"'{text[:100]}' is no coordinate reference system that can be read.", CRS_ADVICE
    )
