"""Faults of GDAL, as sentences."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.fields.extra import extra


@contextmanager
def saying(path: Path) -> Iterator[None]:
    """Say a fault of GDAL's as a sentence."""
    faults = (extra("rasterio.errors", "GeoTIFFs").RasterioError, cpl())
    try:
        yield
    except faults as fault:
        why = str(fault.__cause__ or fault).rstrip(".")
        raise DpdmError(
            f"{path} cannot be written: {why}.", "Check the folder, the disk and its quota."
        ) from fault


def cpl() -> type[Exception]:
    """Return the kind of faults that GDAL itself throws."""
    kind: type[Exception] = extra("rasterio._err", "GeoTIFFs").CPLE_BaseError
    return kind
