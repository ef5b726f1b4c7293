"""Read the Met Office's PP format, as far as the GloSea4 fields of iris-sample-data need it.

A file is a run of pairs of Fortran records, big-endian: a header of 45 integers and 19 reals, and
the values. Words are counted from zero here, from one in the Unified Model documentation (F03).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from relief import axes

SURFACE_TEMPERATURE = 24  # STASH item
Integers = NDArray[np.int32]
Reals = NDArray[np.float32]


def records(path: Path) -> Iterator[bytes]:
    """Yield the records of a Fortran file, without the lengths around them."""
    data, start = path.read_bytes(), 0
    while start < len(data):
        end = start + 4 + int(np.frombuffer(data, ">i4", 1, start)[0])
        yield data[start + 4 : end]
        start = end + 4


def fields(path: Path) -> Iterator[tuple[Integers, Reals, Reals]]:
    """Yield the integers and the reals of each header, and its values (H, W).

    Raises:
        ValueError: When the values are packed.
    """
    parts = records(path)
    for header, values in zip(parts, parts, strict=True):
        whole = np.frombuffer(header, ">i4", 45).astype(np.int32)
        real = np.frombuffer(header, ">f4", 19, 180).astype(np.float32)
        if whole[20]:
            raise ValueError(f"{path} is packed ({whole[20]}).")
        yield whole, real, np.frombuffer(values, ">f4").reshape(whole[17:19]).astype(np.float32)


def moment(words: Integers) -> np.datetime64:
    """Return the time of year, month, day, hour and minute."""
    year, month, day, hour, minute = map(int, words)
    return np.datetime64(f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}", "ns")


def surface_temperature(path: Path) -> xr.Dataset:
    """Read the surface temperature of one member, with time bounds."""
    found = [f for f in fields(path) if f[0][41] == SURFACE_TEMPERATURE]
    bounds = np.array([[moment(w[0:5]), moment(w[6:11])] for w, _, _ in found])
    (rows, columns), real = found[0][2].shape, found[0][1].astype(float)
    lat = real[13] + real[14] * np.arange(1, rows + 1)
    lon = real[15] + real[16] * np.arange(1, columns + 1)
    attrs = {"standard_name": "surface_temperature", "units": "K", "cell_methods": "time: mean"}
    values = np.stack([v for _, _, v in found])
    middle = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2
    units = {"units": "hours since 2011-01-01", "calendar": "standard", "dtype": "float64"}
    time = xr.Variable("time", middle, {"bounds": "time_bnds"}, units)
    return xr.Dataset(
        {"surface_temperature": (("time", "lat", "lon"), values, attrs)},
        coords={"time": time, "time_bnds": (("time", "bnds"), bounds), **axes(lat, lon)},
    )
