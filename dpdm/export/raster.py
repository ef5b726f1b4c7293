"""Write cloud-optimised GeoTIFFs, north up, with a band for each step.

GDAL writes tiles and overviews in the order of a cloud-optimised file only when it copies a
finished raster, so a raw raster is written first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.colours import tail_values
from dpdm.errors import DpdmError
from dpdm.export.select import OutputLayer, file_labels, iso_dates
from dpdm.export.warp import RASTER_FORMAT, BandInfo, RasterGrid
from dpdm.fields.metadata import creation_time
from dpdm.system import import_extra

TILE_PIXELS = 256
GEOTIFF_PROFILE = {
    "driver": "GTiff", "tiled": True, "blockxsize": TILE_PIXELS, "blockysize": TILE_PIXELS,
    "compress": "deflate", "predictor": 3, "interleave": "band", "bigtiff": "if_safer",
}  # fmt: skip
COG_PROFILE = GEOTIFF_PROFILE | {"copy_src_overviews": True, "zlevel": 9}


def write_raster(
    path: Path,
    layer: OutputLayer,
    pixels: RasterGrid,
    steps: Sequence[int],
    tags: Mapping[str, str],
) -> list[BandInfo]:
    """Write steps of a layer as a GeoTIFF, and return its bands."""
    raw = path.with_suffix(".raw.tif")
    try:
        bands = _write_raw(raw, layer, pixels, steps, tags)
        import_extra("rasterio.shutil", RASTER_FORMAT).copy(raw, path, **COG_PROFILE)
    finally:
        raw.unlink(missing_ok=True)
    return bands


def _write_raw(
    raw: Path,
    layer: OutputLayer,
    pixels: RasterGrid,
    steps: Sequence[int],
    tags: Mapping[str, str],
) -> list[BandInfo]:
    """Write the raw raster, step by step, with overviews."""
    rasterio = import_extra("rasterio", RASTER_FORMAT)
    rows, columns = pixels.shape
    profile = GEOTIFF_PROFILE | {
        "height": rows,
        "width": columns,
        "count": len(steps),
        "dtype": "float32",
    }
    timed = "time" in layer.array.dims
    names = file_labels(layer.array["time"]) if timed else [layer.name]
    georeference = {"crs": pixels.crs, "transform": pixels.transform, "nodata": np.nan}
    bands = []
    with rasterio.open(raw, "w", **georeference, **profile) as file:
        file.update_tags(**tags, **tiff_tags(tags), AREA_OR_POINT="Area")
        for index, step in enumerate(steps, 1):
            array = layer.output_step(step)
            values = pixels.resample_field(north_up(array))
            file.write(values, index)
            bands.append(describe_band(array, values))
            file.set_band_description(index, names[step])
            _set_band_metadata(file, index, bands[-1], array)
        file.build_overviews(overview_factors(pixels.shape), rasterio.enums.Resampling.average)
    if not any(band.statistics for band in bands):
        raise DpdmError(
            f"{layer.path}: {layer.name} has no value in the raster in {pixels.crs}.",
            "Choose another time, --bbox, --mask or --crs.",
        )
    return bands


def north_up(array: xr.DataArray) -> NDArray[np.float32]:
    """Return the values (H, W) of one step, from the north."""
    field = array.squeeze("time") if "time" in array.dims else array
    values: NDArray[np.float32] = field.values[::-1].astype(np.float32)
    return np.ascontiguousarray(values)


def describe_band(array: xr.DataArray, values: NDArray[np.float32]) -> BandInfo:
    """Return the date, unit, statistics and tails of a band."""
    date = iso_dates(array["time"])[0] if "time" in array.dims else ""
    unit = str(array.attrs.get("units", ""))
    finite = values[np.isfinite(values)]
    tails = tail_values(finite) if finite.size else ()
    return BandInfo(date, str(array.name), unit, band_statistics(values), tails)


def band_statistics(values: NDArray[np.float32]) -> dict[str, float]:
    """Return the statistics of finite values, by GDAL's names."""
    finite = values[np.isfinite(values)].astype(float)
    if not finite.size:
        return {}
    return {
        "STATISTICS_MINIMUM": float(finite.min()),
        "STATISTICS_MAXIMUM": float(finite.max()),
        "STATISTICS_MEAN": float(finite.mean()),
        "STATISTICS_STDDEV": float(finite.std()),
        "STATISTICS_VALID_PERCENT": round(100 * finite.size / values.size, 4),
    }


def _set_band_metadata(file: Any, index: int, band: BandInfo, array: xr.DataArray) -> None:
    names = {k: str(array.attrs[k]) for k in ("standard_name", "long_name") if k in array.attrs}
    file.set_band_unit(index, band.unit)
    tags = {"variable": band.name, "units": band.unit, "time": band.date}
    file.update_tags(index, **{k: v for k, v in tags.items() if v}, **names, **band.statistics)


def tiff_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of the TIFF standard."""
    return {
        "TIFFTAG_IMAGEDESCRIPTION": tags["title"],
        "TIFFTAG_SOFTWARE": tags["source"].partition(";")[0],
        "TIFFTAG_DATETIME": f"{creation_time():%Y:%m:%d %H:%M:%S}",
    }


def pixel_tags(pixels: RasterGrid) -> dict[str, str]:
    """Return a tag that gives the reason of pixels that are not square.

    Example:
        >>> pixels = RasterGrid("EPSG:4326", (1.25, 0, 0, 0, -0.5, 90), (360, 288), None)
        >>> pixel_tags(pixels)["pixels"]
        '1.25 by 0.5 degrees: the cells of the field, so that no value is interpolated. ...'
    """
    width, height = abs(pixels.transform[0]), abs(pixels.transform[4])
    if abs(width - height) < 1e-6 * width:
        return {}
    reason = (
        f"{width:g} by {height:g} degrees: the cells of the field, so that no value is "
        "interpolated. A projection, as --crs EPSG:3857, gives square pixels."
    )
    return {"pixels": reason}


def overview_factors(shape: tuple[int, int]) -> list[int]:
    """Return the factors of the overviews, up to one that fits in a tile.

    Example:
        >>> overview_factors((720, 1440)), overview_factors((180, 240))
        ([2, 4, 8], [])
    """
    factors = [2**n for n in range(1, 32)]
    return [f for f in factors if max(shape) * 2 / f > TILE_PIXELS]
