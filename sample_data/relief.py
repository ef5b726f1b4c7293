r"""Topography and land fraction on the 0.25 degree grid, from four public sources.

A model of 0.25 degrees does not see the mean over its cells, but a relief from which all that it
cannot resolve was filtered out. So both fields are a Gaussian filter, isotropic on the sphere,
of sources on a 5 minute grid, read at the centres of the 0.25 degree cells:

.. math:: y(\phi, \lambda) = \int G_s(\phi - \phi')\, G_{s / \cos\phi}(\lambda - \lambda')\, x\,.

``docs/statics.md`` shows the evidence for every number below. Arrays are global, ascending in
latitude and longitude, and start at 90S, 0E; those on 5 minute cells have shape (2160, 4320).
"""

from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from numpy.typing import NDArray

Array = NDArray[np.float32]

WIDTH = 0.15  # degrees: standard deviation of the filter
STEP = 1 / 12  # degrees: spacing of the sources
LAT = np.arange(-360, 361) / 4.0
LON = np.arange(1440) / 4.0
ROWS = -90 + STEP * (np.arange(2160) + 0.5)
NO_DATA = 255
CASPIAN_LEVEL = -28  # m


def altitude(path: Path) -> tuple[Array, NDArray[np.bool_]]:
    """Read pvlib's relief: altitude in m (0 where there is none), and where there is some.

    It is coded in one byte as 28 m steps from -450 m, from 90N, 180W, on 5 minute cells.
    """
    with netCDF4.Dataset(path) as file:
        code = from_dateline(np.asarray(file["Altitude"][:])[::-1])
    known = code != NO_DATA
    return single(np.where(known, code * np.float32(28) - 450, 0)), known


def coarse_relief(path: Path) -> Array:
    """Read the half-degree relief of ``cdo topo`` on 5 minute cells, in m, the sea floor at 0."""
    with xr.open_dataset(path) as file:
        relief = np.maximum(from_dateline(file["topo"].values), 0)
    return blur(np.kron(relief, np.ones((6, 6), np.float32)), 0.2)


def land(path: Path) -> Array:
    """Read global-land-mask: the share of each 5 minute cell that is not ocean."""
    with np.load(path) as file:
        return from_dateline(cells(~file["mask"][::-1]))


def lakes(path: Path) -> Array:
    """Read a one-byte raster of 1 minute cells from 90N, 180W: the lake share of larger cells."""
    raster = np.fromfile(path, np.uint8).reshape(10800, 21600)
    return from_dateline(cells(raster[::-1]))


def from_dateline(field: NDArray[Any]) -> NDArray[Any]:
    """Turn a field that starts at 180W so that it starts at 0E."""
    return np.roll(field, field.shape[1] // 2, axis=1)


def cells(field: NDArray[Any]) -> Array:
    """Return the means over 5 minute cells."""
    n = field.shape[0] // 2160
    means: Array = field.reshape(2160, n, 4320, n).mean((1, 3), dtype=np.float32)
    return means


def smooth(field: Array, width: float, lat: NDArray[Any], west: float = 0.0) -> Array:
    """Filter a field of 5 minute cells, and read it at other latitudes and 4320 longitudes.

    Args:
        field: Values with shape (2160, 4320).
        width: Standard deviation of the Gaussian, in degrees of a great circle.
        lat: Latitudes to read at; beyond a pole the filter goes on down the other side.
        west: Longitude of the first column to read.
    """
    across = [from_dateline(part) for part in (field[:120][::-1], field[-120:][::-1])]
    rows = np.concatenate([across[0], field, across[1]])
    y = np.arange(-120, 2160 + 120) * STEP + ROWS[0]
    kernel = np.exp(-0.5 * ((lat[:, None] - y) / width) ** 2)
    kernel /= kernel.sum(1, keepdims=True)
    waves = 2 * np.pi * np.fft.rfftfreq(4320, STEP)
    stretch = np.maximum(np.cos(np.radians(lat)), 1e-6)[:, None]
    response = np.exp(-0.5 * (waves * width / stretch) ** 2 + 1j * waves * (west - STEP / 2))
    spectrum = np.fft.rfft(kernel.astype(np.float32) @ rows, axis=1) * response
    return single(np.fft.irfft(spectrum, 4320, axis=1))


def blur(field: Array, width: float) -> Array:
    """Filter a field of 5 minute cells, and read it at their centres."""
    return smooth(field, width, ROWS, STEP / 2)


def single(field: NDArray[Any]) -> Array:
    """Return the field in single precision."""
    return field.astype(np.float32)


def surface(relief: Array, known: NDArray[np.bool_], other: Array, soil: Array) -> Array:
    """Mend the relief where it is not the surface of ice or of the Caspian Sea.

    North of 58N and south of 58S pvlib's relief is bedrock wherever the other source stands far
    above it; it has no data for a part of Antarctica, nor south of 85S.
    """
    far = np.abs(ROWS)[:, None] > 58
    ice = np.clip((blur(other, 0.5) - blur(relief, 0.5) - 200) / 200, 0, 1)
    share = blur(single(np.where(far, ice, 0)), 0.1)
    blank = (~known & (soil > 0.5) & (ROWS < -60)[:, None]) | (ROWS < -85)[:, None]
    mended = np.where(blank, other, (1 - share) * relief + share * other)
    return single(np.where(caspian(known), CASPIAN_LEVEL, mended))


def caspian(known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the Caspian Sea: the cells without a relief inside its box."""
    lon = STEP * (np.arange(4320) + 0.5)
    rows, columns = np.abs(ROWS - 42) < 6, np.abs(lon - 50.75) < 4.75
    return np.asarray(rows[:, None] & columns & ~known)


def ground(known: NDArray[np.bool_], soil: Array, water: Array) -> Array:
    """Mend the land share: ice shelves are land, lakes and the Caspian Sea are not."""
    shelf = (known & (ROWS < -60)[:, None]) | (ROWS < -84)[:, None]
    dry = np.where(shelf, 1, np.where(caspian(known), 0, soil)) - water
    return single(np.clip(dry, 0, 1))


def statics(files: dict[str, Path]) -> xr.Dataset:
    """Make the bundled fields from the files ``pvlib``, ``cdo``, ``mask`` and ``lakes``."""
    relief, known = altitude(files["pvlib"])
    soil, water = land(files["mask"]), lakes(files["lakes"])
    high = surface(relief, known, coarse_relief(files["cdo"]), soil)
    dry = ground(known, soil, water)
    fields = {"topography": high, "land_fraction": dry, "shore": np.maximum(soil, dry)}
    seen = {name: smooth(field, WIDTH, LAT)[:, ::3] for name, field in fields.items()}
    altitudes = np.where(seen["shore"] < 0.005, 0, np.round(seen["topography"]))
    return dataset(altitudes, np.clip(seen["land_fraction"], 0, 1))


def dataset(topography: Array, land_fraction: Array) -> xr.Dataset:
    """Name the two fields and their axes as CF does."""
    height = {"standard_name": "surface_altitude", "long_name": "altitude of land, ice and water"}
    share = {"standard_name": "land_area_fraction", "long_name": "land that is not a lake"}
    return xr.Dataset(
        {
            "topography": (("lat", "lon"), topography, height | {"units": "m"}),
            "land_fraction": (("lat", "lon"), land_fraction, share | {"units": "1"}),
        },
        coords=axes(LAT, LON),
    )


def axes(lat: NDArray[np.float64], lon: NDArray[np.float64]) -> dict[str, Any]:
    """Give latitude and longitude with the attributes of CF."""
    north = {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}
    east = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
    return {"lat": ("lat", lat, north), "lon": ("lon", lon, east)}
