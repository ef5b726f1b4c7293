"""Check every value as it is read: declared codes become missing, impossible values are refused.

The checks are part of the lazy arrays, so that no step is read for them alone.

A unit wrong by a factor of ten or thirty leaves values that occur somewhere on Earth. But the
larger a region, the less its mean varies, so that an unlikely mean of a region triggers a warning.
The calendar-month means of ERA5, 2000 to 2025, over all boxes of three sizes lie between

    ==================  ======================  ==============
    latitude x longitude  precipitation, mm day-1  temperature, K
    ==================  ======================  ==============
    20 x 20 degrees     0.004 to 12.5           218 to 308
    40 x 40 degrees     0.35 to 8.3             244 to 303
    60 x 120 degrees    0.90 to 6.3             260 to 300
    ==================  ======================  ==============

Single months, days and other climates vary more: the warning is for means above twice the greatest
or below half the least precipitation, or 15 K outside. A desert of 20 degrees is never too dry.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning, prefix_file_name
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.level_names import read_level
from dpdm.fields.plausibility import (
    DOUBTFUL_CODES,
    MIN_FILL_VALUE,
    MISSING_VALUE_CODES,
    PLAUSIBLE_RANGES,
    MissingCodes,
)
from dpdm.fields.units import first_step, linear_conversion, parse_unit
from dpdm.fields.variables import Variable, canonical_variable
from dpdm.system import HDF5_LOCK, check_required_memory, damaged_file_error

if TYPE_CHECKING:
    import dask.array as da

Array = NDArray[np.floating[Any]]
Lazy = TypeVar("Lazy", xr.DataArray, xr.Dataset)
CODE_TOLERANCE = 5e-7  # relative; single precision
HUGE_CODE_TOLERANCE = 1e-2  # relative, of huge codes, which people round: 9.97e36


def common_missing_codes(missing: MissingCodes) -> MissingCodes:
    """Return the missing-value codes that apply to every variable."""
    return {"": missing[""]} if "" in missing else {}


def matches_code(values: Any, codes: Sequence[float], step: float = 0.0) -> NDArray[np.bool_]:
    """Tell which values equal one of some codes, in the precision of a file.

    Args:
        values: The values, as read.
        codes: The codes.
        step: The increment of packed values, half of which is rounding.
    """
    found = np.zeros(np.shape(values), bool)
    for code in codes:
        relative = HUGE_CODE_TOLERANCE if abs(code) >= MIN_FILL_VALUE else CODE_TOLERANCE
        found |= np.abs(values - code) <= max(relative * abs(code), step / 2)
    return found


@dataclass(frozen=True)
class BlockLocation:
    """The position of a block in a file, for messages.

    Attributes:
        path: The file.
        name: The variable.
        unit: The unit of the file.
        axes: Names and coordinates of the axes.
        starts: Where the blocks begin along each axis.
    """

    path: str
    name: str
    unit: str
    axes: Mapping[str, NDArray[Any]]
    starts: tuple[NDArray[np.integer[Any]], ...]

    def describe_first_value(
        self, array: Array, bad: NDArray[np.bool_], block: tuple[int, ...]
    ) -> str:
        """Return the first bad value, their number and position."""
        first = f"{format_code(array[bad][0])} {self.unit}".strip()
        return f"{self.path}: {self.name} is {first} {self.describe_location(bad, block)}"

    def describe_location(self, bad: NDArray[np.bool_], block: tuple[int, ...]) -> str:
        """Return the number of bad values, and the position of the first."""
        inside = np.unravel_index(int(np.argmax(bad)), bad.shape)
        at = [int(s[b] + i) for s, b, i in zip(self.starts, block, inside, strict=True)]
        found = {name: axis[i] for (name, axis), i in zip(self.axes.items(), at, strict=True)}
        member = f" of member {found['realization']}" if "realization" in found else ""
        time = f" at {str(found['time'])[:16]}" if "time" in found else ""
        return (
            f"in {int(bad.sum())} of {bad.size} cells{member}{time}, first at latitude "
            f"{found['lat']:g}, longitude {found['lon']:g}"
        )


def format_code(value: Any) -> str:
    """Return a value as the user would declare it.

    Example:
        >>> format_code(np.float32(-99.9)), format_code(np.float32(1e20)), format_code(-999.0)
        ('-99.9', '1e+20', '-999')
    """
    return str(np.asarray(value)[()]).removesuffix(".0")


def block_location(array: xr.DataArray, path: str, unit: str) -> BlockLocation:
    """Return the positions of the blocks of a lazy array."""
    axes = {
        str(d): array[d].values if d in array.coords else np.arange(n)
        for d, n in array.sizes.items()
    }
    starts = tuple(np.cumsum([0, *sizes[:-1]]) for sizes in array.data.chunks)
    return BlockLocation(path, str(array.name), unit, axes, starts)


def mask_missing_codes(
    array: xr.DataArray, codes: Sequence[float], step: float, known: bool, path: str
) -> xr.DataArray:
    """Set declared codes to missing, and refuse undeclared fill values when values are read.

    Args:
        array: Lazy values, in the unit of the file.
        codes: Codes that the user declared missing.
        step: The increment of packed values, 0 for others.
        known: Whether the variable has limits, so that outlying codes are found by them.
        path: The file.
    """
    where = block_location(array, path, str(array.attrs.get("units", "")))

    def clear(values: Array, block_id: tuple[int, ...]) -> Array:
        if codes:
            values = np.where(matches_code(values, codes, step), np.nan, values)
        low, high = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
        if low <= -MIN_FILL_VALUE or high >= MIN_FILL_VALUE:
            check_fill_values(values, where, block_id)
        if not known and matches_code(low, MISSING_VALUE_CODES).any():
            check_outlying_code(values, low, where, block_id)
        return values

    return apply_to_blocks(array, clear, [array.data], tuple(codes), step, known)


def check_fill_values(values: Array, where: BlockLocation, block: tuple[int, ...]) -> None:
    """Refuse infinities and fill values that the file does not declare."""
    if (bad := np.isinf(values)).any():
        raise DpdmError(
            f"{where.path}: {where.name} holds infinite values "
            f"{where.describe_location(bad, block)}.",
            "Set them to missing, or correct them.",
        )
    bad = np.abs(values) >= MIN_FILL_VALUE
    raise undeclared_code_error(values, bad, where, block)


def check_outlying_code(
    values: Array, code: float, where: BlockLocation, block: tuple[int, ...]
) -> None:
    """Refuse a usual code that lies further from the other values than their range."""
    bad = matches_code(values, [float(code)])
    rest = np.where(bad, np.nan, values)
    low, high = np.fmin.reduce(rest, None), np.fmax.reduce(rest, None)
    if bad.size > 1 and (np.isnan(low) or low - code > high - low):
        raise undeclared_code_error(values, bad, where, block)


def undeclared_code_error(
    values: Array, bad: NDArray[np.bool_], where: BlockLocation, block: tuple[int, ...]
) -> DpdmError:
    """Return the error for a missing-value code that neither file nor user declares."""
    return DpdmError(
        f"{where.describe_first_value(values, bad, block)}: a code for missing values that "
        f"the file does not "
        "declare.",
        f"If it is one, use --missing {format_code(values[bad][0])}.",
    )


def check_limits_on_read(
    array: xr.DataArray, raw: xr.DataArray, variable: Variable, path: str
) -> xr.DataArray:
    """Refuse impossible canonical values when they are read.

    Args:
        array: Lazy values in the canonical unit.
        raw: The same values in the unit of the file.
        variable: Their variable.
        path: The file.
    """
    unit = str(array.attrs.get("source_units", variable.units))
    limits, usual, _ = PLAUSIBLE_RANGES[variable.name]
    where = block_location(array, path, unit)

    def check(values: Array, given: Array, block_id: tuple[int, ...]) -> Array:
        low, high = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
        if low < limits[0] or high > limits[1]:
            check_limits(values, given, variable, where, block_id)
        if low < usual[0] or high > usual[1]:
            bad = ((values < usual[0]) | (values > usual[1])) & matches_code(
                given, MISSING_VALUE_CODES + DOUBTFUL_CODES
            )
            if bad.any():
                raise undeclared_code_error(given, bad, where, block_id)
        return values

    return apply_to_blocks(array, check, [array.data, raw.data.rechunk(array.data.chunks)])


def check_limits(
    values: Array, given: Array, variable: Variable, where: BlockLocation, block: tuple[int, ...]
) -> None:
    """Refuse values beyond the limits of a variable: a wrong unit, or a code."""
    low, high = PLAUSIBLE_RANGES[variable.name].limits
    bad = (values < low) | (values > high)
    first = format_code(given[bad][0])
    single = bool((given[bad] == given[bad][0]).all())
    if not (single and matches_code(given[bad][0], MISSING_VALUE_CODES + DOUBTFUL_CODES).any()):
        check_median(values, variable, where.unit, f"{where.path}: ")
    hint = f"If {first} stands for missing values, use --missing {first}"
    raise DpdmError(
        f"{where.describe_first_value(given, bad, block)}: outside {low:g} to {high:g} "
        f"{variable.units}.",
        f"{hint}." if single else f"{hint}; if the unit is another, --units {where.name}=UNIT.",
    )


def check_median(values: Array, variable: Variable, unit: str, prefix: str = "") -> None:
    """Refuse canonical values whose median does not fit their unit."""
    (low, high), units = PLAUSIBLE_RANGES[variable.name][1:]
    finite = np.asarray(values, dtype=np.float64)[np.isfinite(values)]
    median = float(np.median(finite)) if finite.size else low
    if low <= median <= high:
        return
    fits = [reinterpret_value(median, variable, unit, other) for other in units]
    likely = [other for other, value in zip(units, fits, strict=True) if low <= value <= high]
    raise DpdmError(
        f"{prefix}{variable.name} has a median of {median:.4g} {variable.units} when its unit is "
        f"'{unit}', outside {low:g} to {high:g}.",
        f"Use --units {variable.name}={likely[0] if likely else 'UNIT'} if that is its true unit.",
    )


def reinterpret_value(value: float, variable: Variable, unit: str, other: str) -> float:
    """Return a canonical value as if the file were in another unit."""
    old, new = (linear_conversion(parse_unit(each), variable, each) for each in (unit, other))
    return float((value - old[1]) / old[0] * new[0] + new[1])


def apply_to_blocks(
    array: xr.DataArray, rule: Callable[..., Array], blocks: Sequence[da.Array], *settings: Any
) -> xr.DataArray:
    """Apply a rule with settings to every block of an array when it is read."""
    import dask.array as da
    from dask.base import tokenize

    name = f"checked-{tokenize(*(block.name for block in blocks), str(array.name), settings)}"
    lazy = da.map_blocks(rule, *blocks, name=name, dtype=array.dtype, meta=array.data._meta)
    return array.copy(data=lazy)


LIKELY_MEANS = (
    ((60.0, 120.0), {"tp": (0.45, 12.6), "t2m": (245.0, 315.0)}),
    ((40.0, 40.0), {"tp": (0.17, 16.6), "t2m": (229.0, 318.0)}),
    ((20.0, 20.0), {"tp": (0.0, 25.0), "t2m": (203.0, 323.0)}),
)
EXAMPLE_UNITS = {"tp": "mm/month", "t2m": "degF"}
MIN_AREA_COVERED = 0.75  # of the region; a mean over a few islands is not comparable


def warn_if_implausible(fields: xr.Dataset, path: Path) -> None:
    """Issue a `DpdmWarning` for each variable whose first step has an unlikely mean."""
    grid = grid_of(fields)
    extent = tuple(float(edges[-1] - edges[0]) for edges in (grid.lat_edges, grid.lon_edges))
    for name, (low, high) in _likely_means(extent[0], extent[1]).items():
        mean = _first_step_mean(fields[name], grid) if name in fields else np.nan
        if mean < low or mean > high:
            array = fields[name]
            warnings.warn(
                _implausible_mean_message(array, mean, (low, high), extent, path), DpdmWarning, 2
            )


def _likely_means(height: float, width: float) -> dict[str, tuple[float, float]]:
    """Return the likely means of a region, those of the largest box that fits into it."""
    fits = [bounds for (lat, lon), bounds in LIKELY_MEANS if height >= lat and width >= lon]
    return fits[0] if fits else {}


def _first_step_mean(array: xr.DataArray, grid: Grid) -> float:
    """Return the area mean of the first step, NaN where much is missing."""
    values = np.asarray(compute_locally(first_step(array)).values, dtype=np.float64)
    weights = np.where(np.isfinite(values), grid.weights, 0.0)
    if weights.sum() < MIN_AREA_COVERED * grid.weights.sum():
        return float("nan")
    return float(np.average(np.where(weights > 0, values, 0.0), weights=weights))


def _implausible_mean_message(
    array: xr.DataArray,
    mean: float,
    likely: tuple[float, float],
    extent: tuple[float, ...],
    path: Path,
) -> str:
    name, unit = str(array.name), array.attrs["units"]
    return (
        f"{path}: {name} averages {mean:.3g} {unit} over {extent[0]:.0f} by {extent[1]:.0f} "
        f"degrees; {likely[0]:g} to {likely[1]:g} is likely. If its unit is not "
        f"'{array.attrs['source_units']}', use --units {name}={EXAMPLE_UNITS[name]}."
    )


def compute_locally(lazy: Lazy) -> Lazy:
    """Compute by threads of this process; to look for others, dask would import them, 0.2 s."""
    from dask.threaded import get

    return lazy.compute(scheduler=get)


def load_checked_fields(
    ds: xr.Dataset, path: Path | str | None = None, gaps: bool = False
) -> xr.Dataset:
    """Read lazy fields into memory, and check the values.

    Args:
        ds: The fields.
        path: The file, for messages.
        gaps: Whether fields may be missing completely.
    """
    path = path or ds.encoding.get("source", "the file")
    check_required_memory(
        ds.nbytes, f"A step of {path} takes", "Give a smaller region.", share=0.9
    )
    with translate_read_errors(path), HDF5_LOCK:
        loaded = compute_locally(ds)
    check_values(loaded, path, gaps)
    return loaded


def check_values(ds: xr.Dataset, path: Path | str, gaps: bool = False) -> None:
    """Refuse loaded fields without any value, or in a wrong unit."""
    with prefix_file_name(path):
        for name, array in ds.data_vars.items():
            if {"lat", "lon"} <= set(array.dims) and array.dtype.kind == "f":
                _check_field_values(array, str(name), gaps)


@contextmanager
def translate_read_errors(path: Path | str) -> Iterator[None]:
    """Report the exceptions of file libraries as a damaged file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)
            yield
    except (DpdmError, MemoryError):
        raise
    except Exception as fault:  # each library has kinds of its own
        raise damaged_file_error(path, fault) from fault


def _check_field_values(array: xr.DataArray, name: str, gaps: bool) -> None:
    if not gaps and bool(array.isnull().all(("lat", "lon")).any()):
        what = "step" if read_level(array) is None else "step or level"
        raise DpdmError(f"{name} has a field without a single value.", f"Leave that {what} out.")
    check_field_median(array, canonical_variable(array))


def check_field_median(array: xr.DataArray, variable: Variable | None) -> None:
    """Refuse a field of a variable whose median does not fit its unit."""
    if variable and variable.name in PLAUSIBLE_RANGES:
        unit = array.attrs.get("source_units", variable.units)
        check_median(compute_locally(array).values, variable, unit)
