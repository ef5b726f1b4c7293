"""Files of months whose time axes are written in odd ways."""

from pathlib import Path

import netCDF4
import numpy as np


def months(path: Path, **axis: object) -> Path:
    """Write three steps as a file with an odd time axis has them; the third is 282 K."""
    values = axis.pop("values", None)
    with netCDF4.Dataset(path, "w") as file:
        for name, size in (("time", 3), ("lat", 4), ("lon", 6)):
            file.createDimension(name, size)
        for name, line in (("lat", np.arange(4.0)), ("lon", np.arange(6.0))):
            file.createVariable(name, "f8", (name,))[:] = line
        if values is not None:
            kind = str if isinstance(values[0], str) else np.asarray(values).dtype
            time = file.createVariable("time", kind, ("time",))
            time[:] = np.array(values, dtype=object if kind is str else None)
            time.setncatts(axis)
        tas = file.createVariable("tas", "f4", ("time", "lat", "lon"))
        tas[:] = np.arange(280.0, 283.0)[:, None, None]
        tas.units = "K"
    return path
