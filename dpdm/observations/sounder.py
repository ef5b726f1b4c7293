"""The weighting functions of a sounder's channels, read from a file.

The weight of a level is its share of the brightness temperature, so that the weights of a channel,
with that of the surface, add up to 1. NetCDF:

    weight(channel, level)                      level with units; channel: names or numbers
    surface_weight(channel)                     optional
    error(channel)                              optional, K
    error_correlation(channel, channel_2)       optional

or CSV, one weight a line; the surface is a level of that name:

    channel,level [hPa],weight,error
    5,500,0.4,0.3
    5,850,0.5,0.3
    5,surface,0.1,0.3
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from dpdm.errors import DpdmError
from dpdm.fields.level_names import round_level
from dpdm.fields.units import scale_factor

Array: TypeAlias = NDArray[np.float64]
CHANNEL_FILE_SUFFIXES = (".nc", ".nc4", ".cdf")
SURFACE_LEVEL = "surface"
CHANNEL_SUM_TOLERANCE = 0.01  # rounding of printed weights, whose sum is 1
CHANNEL_COLUMNS_HINT = (
    "Give weight(channel, level) in NetCDF, or channel, level [hPa] and weight in CSV."
)
_UNIT = re.compile(r"^\s*level\s*[\[(]([^\])]+)[\])]\s*$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class SounderChannels:
    """The channels of a sounder.

    Attributes:
        name: Name of each in observations, C of them.
        level: Pressures, rising, with shape (L,), Pa.
        weight: Share of each level in a channel's brightness temperature, with shape (C, L).
        surface: Share of the air at the surface, with shape (C,).
        error: Standard deviation, with shape (C,), K; NaN where unknown.
        correlation: Between the errors of the channels, with shape (C, C).
    """

    name: tuple[str, ...]
    level: Array
    weight: Array
    surface: Array
    error: Array
    correlation: Array

    def channel_index(self, name: str) -> int:
        """Return the index of a channel by its name; 5 and 5.0 are the same."""
        if normalise_channel_name(name) not in self.name:
            raise DpdmError(
                f"The channel {normalise_channel_name(name)} is observed, but the file of "
                f"channels holds "
                f"{', '.join(self.name)}.",
                "Add its weights there, or remove these observations.",
            )
        return self.name.index(normalise_channel_name(name))


def normalise_channel_name(name: object) -> str:
    """Return a channel's name for comparison.

    Example:
        >>> [normalise_channel_name(name) for name in (5.0, " 5 ", "ch5")]
        ['5', '5', 'ch5']
    """
    return re.sub(r"\.0+$", "", str(name).strip())


def read_channels(path: Path) -> SounderChannels:
    """Read the channels of a file."""
    try:
        found = (
            _read_netcdf_channels(path)
            if path.suffix in CHANNEL_FILE_SUFFIXES
            else _read_csv_channels(path)
        )
    except DpdmError as fault:
        raise DpdmError(f"{path}: {fault.what}", fault.hint) from fault
    except (OSError, ValueError) as fault:
        raise DpdmError(f"{path} cannot be read: {fault}.", CHANNEL_COLUMNS_HINT) from fault
    return _check_channels(found, path)


def _read_netcdf_channels(path: Path) -> SounderChannels:
    with xr.open_dataset(path) as ds:
        file = ds.load()
    if "weight" not in file or set(file["weight"].dims) != {"channel", "level"}:
        raise DpdmError("it has no variable weight(channel, level).", CHANNEL_COLUMNS_HINT)
    count = file.sizes["channel"]
    names = file["channel"].values if "channel" in file.coords else np.arange(1, count + 1)
    if "level" not in file.coords:
        raise DpdmError("its levels have no pressure.", CHANNEL_COLUMNS_HINT)
    level = _levels_to_pascal(file["level"].values, str(file["level"].attrs.get("units", "")))
    order = np.argsort(level)
    weight = file["weight"].transpose("channel", "level").values[:, order]

    def one(name: str, otherwise: Array) -> Array:
        return np.asarray(file[name].values if name in file else otherwise, dtype=float)

    return SounderChannels(
        tuple(map(normalise_channel_name, names)),
        level[order],
        np.asarray(weight, dtype=float),
        one("surface_weight", np.zeros(count)),
        one("error", np.full(count, np.nan)),
        one("error_correlation", np.eye(count)),
    )


def _read_csv_channels(path: Path) -> SounderChannels:
    table = pd.read_csv(path, comment="#", skipinitialspace=True, dtype=str)
    units = [found[1] for name in table if (found := _UNIT.match(name))]
    table = table.rename(columns=lambda name: "level" if _UNIT.match(name) else name.strip())
    if lost := [name for name in ("channel", "level", "weight") if name not in table]:
        raise DpdmError(f"it has no column {' and no '.join(lost)}.", CHANNEL_COLUMNS_HINT)
    table["channel"] = table["channel"].map(normalise_channel_name)
    table["weight"] = _read_optional_numbers(table["weight"])
    names = tuple(dict.fromkeys(table["channel"]))
    low = table["level"].str.strip().str.lower() == SURFACE_LEVEL
    units = table["units"][~low].unique() if "units" in table else units or [""]
    if len(units) != 1:
        raise DpdmError(f"its levels are in {', '.join(map(str, units))}.", "Use one unit.")
    air = table[~low].assign(
        level=_levels_to_pascal(_read_optional_numbers(table["level"][~low]).to_numpy(), units[0])
    )
    if air.duplicated(["channel", "level"]).any() or table[low].duplicated("channel").any():
        raise DpdmError("a channel has two weights on one level.", "Remove one.")
    weight = air.pivot(index="channel", columns="level", values="weight").reindex(list(names))
    surface = table[low].set_index("channel")["weight"].reindex(list(names))
    return SounderChannels(
        names,
        weight.columns.to_numpy(dtype=float),
        weight.fillna(0.0).to_numpy(dtype=float),
        surface.fillna(0.0).to_numpy(dtype=float),
        _read_channel_errors(table, names),
        np.eye(len(names)),
    )


def _read_channel_errors(table: pd.DataFrame, names: tuple[str, ...]) -> Array:
    """Return the error of each channel, stated in one or more of its lines."""
    if "error" not in table:
        return np.full(len(names), np.nan)
    stated = table.assign(error=_read_optional_numbers(table["error"])).groupby("channel")["error"]
    if (stated.nunique() > 1).any():
        raise DpdmError("a channel has two errors.", "State one for each channel.")
    errors: Array = stated.first().reindex(list(names)).to_numpy(dtype=float)
    return errors


def _read_optional_numbers(cells: pd.Series) -> pd.Series:
    """Read a column of numbers, NaN where a cell is empty."""
    return pd.to_numeric(cells)


def _levels_to_pascal(values: ArrayLike, unit: str) -> Array:
    """Convert pressures to Pa."""
    if not unit.strip():
        raise DpdmError("its levels have no units.", "Give hPa or Pa: level [hPa], or units.")
    scale = scale_factor(unit, "Pa")
    if scale is None:
        raise DpdmError(f"its levels are in {unit}, not a pressure.", CHANNEL_COLUMNS_HINT)
    return np.array(
        [round_level(float(value) * scale) for value in np.asarray(values, dtype=float)]
    )


def _check_channels(found: SounderChannels, path: Path) -> SounderChannels:
    """Check weights, errors and correlations, and normalise rounded weights."""
    total = found.weight.sum(1) + found.surface
    for name, one in zip(found.name, total, strict=True):
        if not abs(one - 1) <= CHANNEL_SUM_TOLERANCE:
            raise DpdmError(
                f"{path}: the weights of channel {name} add up to {one:g}, not to 1.",
                "Each must be the share of its level, not a density; divide them by their sum.",
            )
    if len(set(found.name)) < len(found.name) or not np.all(found.level > 0):
        raise DpdmError(
            f"{path}: a channel is repeated, or a level is not above 0.", CHANNEL_COLUMNS_HINT
        )
    if (found.error <= 0).any():
        raise DpdmError(f"{path}: an error is not above 0.", "Give standard deviations, in K.")
    if not _is_correlation_matrix(found.correlation, len(found.name)):
        raise DpdmError(
            f"{path}: error_correlation is not a correlation matrix.",
            "It must be symmetric and positive definite, with ones on its diagonal.",
        )
    return SounderChannels(
        found.name,
        found.level,
        found.weight / total[:, None],
        found.surface / total,
        found.error,
        found.correlation,
    )


def _is_correlation_matrix(matrix: Array, count: int) -> bool:
    """Tell whether a matrix is a correlation matrix."""
    if matrix.shape != (count, count) or not np.allclose(matrix, matrix.T, atol=1e-6):
        return False
    ones = np.allclose(np.diag(matrix), 1, atol=1e-6)
    return bool(ones and np.linalg.eigvalsh(matrix).min() > 0)
