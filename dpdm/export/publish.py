"""Put files in their place when all of them are whole, and leave nothing when one is not."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dpdm.errors import DpdmError
from dpdm.fields.extra import extra
from dpdm.fields.write import discard, sync


@contextmanager
def hidden(targets: list[Path]) -> Iterator[list[Path]]:
    """Give a hidden name beside each target, and rename them all if what is done with them ends.

    Raises:
        DpdmError: What was written could not be.
    """
    names = [path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}") for path in targets]
    try:
        yield names
        for name, target in zip(names, targets, strict=True):
            sync(name)
            os.replace(name, target)
        for folder in {target.resolve().parent for target in targets}:
            sync(folder)
    finally:
        for name in names:
            discard(name)


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
