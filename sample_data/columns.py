"""Columns of air over North America: the analysis of a weather model, at one time, by GRIB.

NCEP's North American Mesoscale model, 00 UTC of 17 September 2018, on 65 by 93 points 81 km apart,
as the source package of cfgrib carries it for its tests.

Neighbours are alike, so the columns are split by blocks: 3 by 4 of them, 22 by 24 points each,
with 3 points between two blocks left out. Eight blocks are to learn from, one to choose by, three
to test on.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

BLOCK = (22, 24)
GAP = 3
KINDS = {"train": 0, "validation": 1, "test": 2, "gap": 3}
TEST, VALIDATION = ((0, 0), (0, 3), (2, 2)), ((1, 1),)
WORDS = {
    "t": {"standard_name": "air_temperature", "long_name": "air temperature", "units": "K"},
    "t2m": {"standard_name": "air_temperature", "long_name": "2 metre temperature", "units": "K"},
    "sp": {
        "standard_name": "surface_air_pressure",
        "long_name": "surface pressure",
        "units": "Pa",
    },
    "orography": {"standard_name": "surface_altitude", "long_name": "relief", "units": "m"},
    "lat": {"standard_name": "latitude", "units": "degrees_north"},
    "lon": {"standard_name": "longitude", "units": "degrees_east"},
}
LEVEL = {
    "standard_name": "air_pressure",
    "long_name": "pressure",
    "units": "Pa",
    "positive": "down",
    "axis": "Z",
}
KELVIN = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 250.0}
PACKED = {
    name: {"zlib": True, "complevel": 9, "shuffle": True, "_FillValue": fill, **kind}
    for name, fill, kind in (
        ("t", np.int16(-32768), KELVIN),
        ("t2m", np.int16(-32768), KELVIN),
        ("sp", np.int32(-1), {"dtype": "int32"}),
        ("orography", np.int16(-32768), {"dtype": "int16"}),
        ("lat", None, {"dtype": "float32"}),
        ("lon", None, {"dtype": "float32"}),
        ("split", None, {"dtype": "int8"}),
    )
} | {"time": {"dtype": "float64", "units": "hours since 2018-09-17", "_FillValue": None}}


def columns(path: Path) -> xr.Dataset:
    """Read the columns, from the lowest level up; a level below ground is missing."""
    aloft = message(path, "isobaricInhPa", "t")["t"]
    near = message(path, "heightAboveGround", "2t")["t2m"]
    level = aloft["isobaricInhPa"].values * 100
    sp = message(path, "surface", "sp")["sp"].values.ravel()
    t = aloft.values.reshape(len(level), -1).T
    values = {
        "t": np.where(level <= sp[:, None], t, np.nan),
        "t2m": near.values.ravel(),
        "sp": sp,
        "orography": message(path, "surface", "orog")["orog"].values.ravel(),
        "lat": aloft["latitude"].values.ravel(),
        "lon": (aloft["longitude"].values.ravel() + 180) % 360 - 180,
    }
    arrays: dict[str, Any] = {
        name: (("column", "level")[: value.ndim], value, WORDS[name])
        for name, value in values.items()
    }
    arrays["split"] = ("column", split(aloft.shape[1:]).ravel(), said())
    number = ("column", np.arange(len(sp), dtype=np.int32), {"cf_role": "profile_id"})
    coords = {
        "column": number,
        "level": ("level", level, LEVEL),
        "time": aloft["valid_time"].values,
    }
    out = xr.Dataset(arrays, coords).set_coords(["lat", "lon"])
    out["time"].attrs = {"standard_name": "time"}
    return out


def message(path: Path, level: str, name: str) -> xr.Dataset:
    """Read one variable on one kind of level of a GRIB file."""
    wanted = {"typeOfLevel": level, "shortName": name}
    kept = {"indexpath": "", "filter_by_keys": wanted}
    return xr.open_dataset(path, engine="cfgrib", backend_kwargs=kept)


def said() -> dict[str, Any]:
    """Return the attributes of the split."""
    return {
        "long_name": "what a column is for",
        "flag_values": np.array(list(KINDS.values()), dtype=np.int8),
        "flag_meanings": " ".join(KINDS),
    }


def split(shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Return what each point is for, by blocks."""
    out = np.zeros(shape, dtype=np.int8)
    (by, y), (bx, x) = (np.divmod(np.arange(n), b) for n, b in zip(shape, BLOCK, strict=True))
    for kind, blocks in (("test", TEST), ("validation", VALIDATION)):
        for row, column in blocks:
            out[np.ix_(by == row, bx == column)] = KINDS[kind]
    out[(by > 0) & (y < GAP)] = KINDS["gap"]
    out[:, (bx > 0) & (x < GAP)] = KINDS["gap"]
    return out
