"""Cloud-optimised GeoTIFF: a band a step, north up, so that GDAL and QGIS read it as it is.

In such a file tiles of 256 by 256 cells and smaller copies of the whole come in an order that lets
a reader far away fetch what it shows and no more. GDAL writes that order only when it copies a
finished raster; so there is a raw one first. Bands lie one after the other, for a map shows one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.export.select import OutputLayer, file_labels, iso_dates
from dpdm.export.warp import RASTER_FORMAT, RasterGrid
from dpdm.fields.metadata import creation_time
from dpdm.system import import_extra

TILE_PIXELS = 256
GEOTIFF_PROFILE = {
    "driver": "GTiff", "tiled": True, "blockxsize": TILE_PIXELS, "blockysize": TILE_PIXELS,
    "compress": "deflate", "predictor": 3, "interleave": "band", "bigtiff": "if_safer",
}  # fmt: skip
COG_PROFILE = GEOTIFF_PROFILE | {"copy_src_overviews": True, "zlevel": 9}


@dataclass(frozen=True)
class BandInfo:
    """Say what a written band holds.

    Attributes:
        date: ISO date of the step, empty where there is no time.
        name: The variable.
        unit: Its unit.
        statistics: GDAL's names for the least, greatest, mean and so on of its values.
    """

    date: str
    name: str
    unit: str
    statistics: Mapping[str, float]


def write_raster(
    path: Path, layer: OutputLayer, page: RasterGrid, steps: Sequence[int], tags: Mapping[str, str]
) -> list[BandInfo]:
    """Write some steps of a layer as a GeoTIFF, and tell what its bands are."""
    raw = path.with_suffix(".raw.tif")
    try:
        bands = _write_raw(raw, layer, page, steps, tags)
        import_extra("rasterio.shutil", RASTER_FORMAT).copy(raw, path, **COG_PROFILE)
    finally:
        raw.unlink(missing_ok=True)
    return bands


def _write_raw(
    raw: Path, layer: OutputLayer, page: RasterGrid, steps: Sequence[int], tags: Mapping[str, str]
) -> list[BandInfo]:
    """Write the raw raster, step by step, with its smaller copies."""
    rasterio = import_extra("rasterio", RASTER_FORMAT)
    rows, columns = page.shape
    form = GEOTIFF_PROFILE | {
        "height": rows,
        "width": columns,
        "count": len(steps),
        "dtype": "float32",
    }
    timed = "time" in layer.array.dims
    names = file_labels(layer.array["time"]) if timed else [layer.name]
    place = {"crs": page.crs, "transform": page.transform, "nodata": np.nan}
    bands = []
    with rasterio.open(raw, "w", **place, **form) as file:
        file.update_tags(**tags, **tiff_tags(tags), AREA_OR_POINT="Area")
        for index, step in enumerate(steps, 1):
            array = layer.output_step(step)
            values = page.resample_field(north_up(array))
            file.write(values, index)
            bands.append(describe_band(array, values))
            file.set_band_description(index, names[step])
            _set_band_metadata(file, index, bands[-1], array)
        file.build_overviews(overview_factors(page.shape), rasterio.enums.Resampling.average)
    if not any(band.statistics for band in bands):
        raise DpdmError(
            f"{layer.path}: {layer.name} has no value in the raster, which is of {page.crs}.",
            "Choose another time, --bbox, --mask or --crs.",
        )
    return bands


def north_up(array: xr.DataArray) -> NDArray[np.float32]:
    """Return one step's values (H, W), the northernmost row first."""
    field = array.squeeze("time") if "time" in array.dims else array
    values: NDArray[np.float32] = field.values[::-1].astype(np.float32)
    return np.ascontiguousarray(values)


def describe_band(array: xr.DataArray, values: NDArray[np.float32]) -> BandInfo:
    """Say what a band holds."""
    date = iso_dates(array["time"])[0] if "time" in array.dims else ""
    unit = str(array.attrs.get("units", ""))
    return BandInfo(date, str(array.name), unit, band_statistics(values))


def band_statistics(values: NDArray[np.float32]) -> dict[str, float]:
    """Return the statistics of the values that are there, by GDAL's names."""
    there = values[np.isfinite(values)].astype(float)
    if not there.size:
        return {}
    return {
        "STATISTICS_MINIMUM": float(there.min()),
        "STATISTICS_MAXIMUM": float(there.max()),
        "STATISTICS_MEAN": float(there.mean()),
        "STATISTICS_STDDEV": float(there.std()),
        "STATISTICS_VALID_PERCENT": round(100 * there.size / values.size, 4),
    }


def _set_band_metadata(file: Any, index: int, band: BandInfo, array: xr.DataArray) -> None:
    words = {k: str(array.attrs[k]) for k in ("standard_name", "long_name") if k in array.attrs}
    file.set_band_unit(index, band.unit)
    said = {"variable": band.name, "units": band.unit, "time": band.date}
    file.update_tags(index, **{k: v for k, v in said.items() if v}, **words, **band.statistics)


def tiff_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what TIFF itself has a place for."""
    return {
        "TIFFTAG_IMAGEDESCRIPTION": tags["title"],
        "TIFFTAG_SOFTWARE": tags["source"].partition(";")[0],
        "TIFFTAG_DATETIME": f"{creation_time():%Y:%m:%d %H:%M:%S}",
    }


def overview_factors(shape: tuple[int, int]) -> list[int]:
    """Return the factors of the smaller copies, until one fits into a tile.

    Example:
        >>> overview_factors((720, 1440)), overview_factors((180, 240))
        ([2, 4, 8], [])
    """
    factors = [2**n for n in range(1, 32)]
    return [f for f in factors if max(shape) * 2 / f > TILE_PIXELS]
