"""Pack the climatology that is bundled with dpdm: differences of whole numbers, in tiles.

Temperature is rounded to .05 K, and rain to .01 in log(1 + mm/day), a hundredth of the amount
where it rains much. Finer steps would cost more than they tell: the means of 26 years are
uncertain by ten times as much.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dpdm.fields.packed_climatology import FORMAT_VERSION, MAGIC, encode_tile

TILE = (48, 96)  # cells; twice as many a side would save 1%
# Months differ smoothly where temperature is concerned; rain is coded a tenth smaller without.
STEPS: dict[str, dict[str, Any]] = {
    "t2m": {"transform": "identity", "step": 0.05, "offset": 250.0, "axes": [0, 1, 2]},
    "tp": {"transform": "log1p", "step": 0.01, "offset": 0.0, "axes": [1, 2]},
}
FORWARD = {"identity": lambda value: value, "log1p": np.log1p}
KEPT_ATTRS = ("title", "institution", "source", "license", "references")


def pack(fields: xr.Dataset, period: str, target: Path, tile: tuple[int, int] = TILE) -> None:
    """Write twelve months (time, lat, lon) of known variables on a regular grid."""
    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "attrs": {name: fields.attrs[name] for name in KEPT_ATTRS} | {"period": period},
        **{name: axis(fields[name].values) for name in ("lat", "lon")},
        "tile": tile,
        "variables": [],
    }
    data = []
    for name, array in fields.data_vars.items():
        tiles = [encode_tile(part, STEPS[name]["axes"]) for part in cut(whole(array), tile)]
        words = {key: array.attrs[key] for key in ("standard_name", "long_name", "units")}
        sizes = [len(part) for part in tiles]
        header["variables"].append({"name": name, "attrs": words, **STEPS[name], "sizes": sizes})
        data += tiles
    text = json.dumps(header, separators=(",", ":")).encode()
    target.write_bytes(b"".join([MAGIC, len(text).to_bytes(4, "little"), text, *data]))
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")


def axis(centres: np.ndarray) -> list[float]:
    """Return the first centre, the spacing and the number of centres."""
    return [float(centres[0]), float(centres[1] - centres[0]), len(centres)]


def whole(array: xr.DataArray) -> np.ndarray:
    """Return the whole numbers of steps (12, H, W)."""
    how = STEPS[str(array.name)]
    values = FORWARD[how["transform"]](array.values.astype(float))
    return np.rint((values - how["offset"]) / how["step"]).astype(np.int32)


def cut(numbers: np.ndarray, tile: tuple[int, int]) -> list[np.ndarray]:
    """Return the tiles, row by row."""
    _, rows, columns = numbers.shape
    return [
        numbers[:, i : i + tile[0], j : j + tile[1]]
        for i in range(0, rows, tile[0])
        for j in range(0, columns, tile[1])
    ]
