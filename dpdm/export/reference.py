"""Reference systems by code, PROJ string or WKT, read without a file and without the network.

GDAL and PROJ also take addresses of web pages, names of files and grids of shifts that lie at
either; a raster needs none of them.
"""

from __future__ import annotations

import re
from typing import Any

from dpdm.errors import DpdmError
from dpdm.fields.extra import extra

LONGEST = 20_000  # characters
CODE = re.compile(r"(?i)[a-z][a-z0-9_]{1,15}:[a-z0-9.]{1,20}")
PROJ = re.compile(r"\+[a-z_0-9]+(=[-+\w.,^]*)?")  # a word of it: neither path nor address
WKT = re.compile(r"(?s)[A-Z0-9_]{4,20}\s*\[.*\]")
ELSEWHERE = re.compile(r"(?i)grids|PARAMETERFILE|\+init|\+file")
FORMS = "Use a code such as EPSG:3035, a PROJ string or WKT."


def reference(text: str) -> Any:
    """Return a reference system."""
    name = f"EPSG:{text.strip()}" if text.strip().isdecimal() else text.strip()
    rasterio = extra("rasterio", "GeoTIFFs")
    if not readable(name):
        raise _none(text)
    try:
        with rasterio.Env():  # which takes what PROJ prints
            return rasterio.crs.CRS.from_user_input(name)
    except rasterio.errors.CRSError as fault:
        raise _none(text) from fault


def readable(text: str) -> bool:
    """Tell whether a text is a code, a PROJ string or WKT that refers to nothing elsewhere.

    Example:
        >>> readable("EPSG:3035"), readable("+proj=moll +lon_0=10"), readable("http://a.b/c")
        (True, True, False)
        >>> readable("+proj=longlat +nadgrids=/etc/passwd")
        False
    """
    here = text.replace("+nadgrids=@null", "")  # no grid, as in Web Mercator
    if len(text) > LONGEST or not here or ELSEWHERE.search(here):
        return False
    return bool(CODE.fullmatch(here) or WKT.fullmatch(here)) or all(
        PROJ.fullmatch(word) for word in here.split()
    )


def _none(text: str) -> DpdmError:
    return DpdmError(f"'{text[:100]}' is no coordinate reference system that can be read.", FORMS)
