"""Check every value as it is read: declared codes become missing, impossible values are refused.

The checks are part of the lazy arrays, so whatever reads a step, and however often, reads checked
values; nothing is read for the checks alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.plausibility import CODES, DOUBTFUL, HUGE, PLAUSIBLE
from dpdm.fields.units import parse, straight
from dpdm.fields.variables import Variable

Array = NDArray[np.floating[Any]]
Missing = Mapping[str, tuple[float, ...]]  # codes by variable; those of all under ""
ROUNDING = 5e-7  # relative; single precision
LOOSE = 1e-2  # relative, of huge codes, which people round: 9.97e36


def everywhere(missing: Missing) -> Missing:
    """Return the codes that hold for every variable, and so for files of other variables."""
    return {"": missing[""]} if "" in missing else {}


def is_code(values: Any, codes: Sequence[float], step: float = 0.0) -> NDArray[np.bool_]:
    """Tell which values are one of some codes, in the precision of a file.

    Args:
        values: The values, as read.
        codes: The codes.
        step: That of packed values, of which half is rounding.
    """
    found = np.zeros(np.shape(values), bool)
    for code in codes:
        relative = LOOSE if abs(code) >= HUGE else ROUNDING
        found |= np.abs(values - code) <= max(relative * abs(code), step / 2)
    return found


@dataclass(frozen=True)
class Sight:
    """Where the values of a block stand, for a message.

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

    def value(self, array: Array, bad: NDArray[np.bool_], block: tuple[int, ...]) -> str:
        """Return the first bad value, how many there are, and where they lie."""
        first = f"{spelled(array[bad][0])} {self.unit}".strip()
        return f"{self.path}: {self.name} is {first} {self.place(bad, block)}"

    def place(self, bad: NDArray[np.bool_], block: tuple[int, ...]) -> str:
        """Return how many bad values there are, and where the first lies."""
        inside = np.unravel_index(int(np.argmax(bad)), bad.shape)
        at = [int(s[b] + i) for s, b, i in zip(self.starts, block, inside, strict=True)]
        found = {name: axis[i] for (name, axis), i in zip(self.axes.items(), at, strict=True)}
        who = f" of member {found['realization']}" if "realization" in found else ""
        when = f" at {str(found['time'])[:16]}" if "time" in found else ""
        return (
            f"in {int(bad.sum())} of {bad.size} cells{who}{when}, first at latitude "
            f"{found['lat']:g}, longitude {found['lon']:g}"
        )


def spelled(value: Any) -> str:
    """Return a value as one would declare it.

    Example:
        >>> spelled(np.float32(-99.9)), spelled(np.float32(1e20)), spelled(-999.0)
        ('-99.9', '1e+20', '-999')
    """
    return str(np.asarray(value)[()]).removesuffix(".0")


def sight(array: xr.DataArray, path: str, unit: str) -> Sight:
    """Return where the blocks of a lazy array stand."""
    axes = {
        str(d): array[d].values if d in array.coords else np.arange(n)
        for d, n in array.sizes.items()
    }
    starts = tuple(np.cumsum([0, *sizes[:-1]]) for sizes in array.data.chunks)
    return Sight(path, str(array.name), unit, axes, starts)


def cleared(
    array: xr.DataArray, codes: Sequence[float], step: float, known: bool, path: str
) -> xr.DataArray:
    """Return the values of a file, declared codes missing, and fill values refused when read.

    Args:
        array: Lazy values, in the unit of the file.
        codes: What the user declared missing.
        step: That of packed values, 0 for others.
        known: Whether the variable has limits, so that a value need not look like a code.
        path: The file.
    """
    where = sight(array, path, str(array.attrs.get("units", "")))

    def clear(values: Array, block_id: tuple[int, ...]) -> Array:
        if codes:
            values = np.where(is_code(values, codes, step), np.nan, values)
        low, high = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
        if low <= -HUGE or high >= HUGE:
            refuse_huge(values, where, block_id)
        if not known and is_code(low, CODES).any():
            refuse_apart(values, low, where, block_id)
        return values

    return mapped(array, clear, [array.data], tuple(codes), step, known)


def refuse_huge(values: Array, where: Sight, block: tuple[int, ...]) -> None:
    """Refuse infinities and fill values that the file does not declare."""
    if (bad := np.isinf(values)).any():
        raise DpdmError(
            f"{where.path}: {where.name} holds infinite values {where.place(bad, block)}.",
            "Set them to missing or mend them.",
        )
    bad = np.abs(values) >= HUGE
    raise undeclared(values, bad, where, block)


def refuse_apart(values: Array, code: float, where: Sight, block: tuple[int, ...]) -> None:
    """Refuse a usual code that is further from all other values than they are from each other."""
    bad = is_code(values, [float(code)])
    rest = np.where(bad, np.nan, values)
    low, high = np.fmin.reduce(rest, None), np.fmax.reduce(rest, None)
    if bad.size > 1 and (np.isnan(low) or low - code > high - low):
        raise undeclared(values, bad, where, block)


def undeclared(
    values: Array, bad: NDArray[np.bool_], where: Sight, block: tuple[int, ...]
) -> DpdmError:
    """Report a code for missing values that neither file nor user declares."""
    return DpdmError(
        f"{where.value(values, bad, block)}: a code for missing values that the file does not "
        "declare.",
        f"If it is one, use --missing {spelled(values[bad][0])}.",
    )


def guarded(array: xr.DataArray, raw: xr.DataArray, variable: Variable, path: str) -> xr.DataArray:
    """Return canonical values that refuse, when read, what the variable cannot be.

    Args:
        array: Lazy values in the canonical unit.
        raw: The same in the unit of the file.
        variable: What they are.
        path: The file.
    """
    unit = str(array.attrs.get("source_units", variable.units))
    limits, usual, _ = PLAUSIBLE[variable.name]
    where = sight(array, path, unit)

    def check(values: Array, given: Array, block_id: tuple[int, ...]) -> Array:
        low, high = np.fmin.reduce(values, None), np.fmax.reduce(values, None)
        if low < limits[0] or high > limits[1]:
            refuse_impossible(values, given, variable, where, block_id)
        if low < usual[0] or high > usual[1]:
            bad = ((values < usual[0]) | (values > usual[1])) & is_code(given, CODES + DOUBTFUL)
            if bad.any():
                raise undeclared(given, bad, where, block_id)
        return values

    return mapped(array, check, [array.data, raw.data.rechunk(array.data.chunks)])


def refuse_impossible(
    values: Array, given: Array, variable: Variable, where: Sight, block: tuple[int, ...]
) -> None:
    """Refuse values beyond the limits of a variable: in a wrong unit, or a code."""
    low, high = PLAUSIBLE[variable.name].limits
    bad = (values < low) | (values > high)
    first = spelled(given[bad][0])
    lone = bool((given[bad] == given[bad][0]).all())
    if not (lone and is_code(given[bad][0], CODES + DOUBTFUL).any()):
        check_median(values, variable, where.unit, f"{where.path}: ")
    hint = f"If {first} stands for missing values, use --missing {first}"
    raise DpdmError(
        f"{where.value(given, bad, block)}: outside {low:g} to {high:g} {variable.units}.",
        f"{hint}." if lone else f"{hint}; if the unit is another, --units {where.name}=UNIT.",
    )


def check_median(values: Array, variable: Variable, unit: str, prefix: str = "") -> None:
    """Refuse canonical values whose median cannot be what their unit says."""
    (low, high), units = PLAUSIBLE[variable.name][1:]
    finite = np.asarray(values, dtype=np.float64)[np.isfinite(values)]
    median = float(np.median(finite)) if finite.size else low
    if low <= median <= high:
        return
    fits = [again(median, variable, unit, other) for other in units]
    likely = [other for other, value in zip(units, fits, strict=True) if low <= value <= high]
    raise DpdmError(
        f"{prefix}{variable.name} has a median of {median:.4g} {variable.units} when its unit is "
        f"'{unit}', outside {low:g} to {high:g}.",
        f"Use --units {variable.name}={likely[0] if likely else 'UNIT'} if that is its true unit.",
    )


def again(value: float, variable: Variable, unit: str, other: str) -> float:
    """Return a canonical value as if the file had meant another unit."""
    old, new = (straight(parse(each), variable, each) for each in (unit, other))
    return float((value - old[1]) / old[0] * new[0] + new[1])


def mapped(
    array: xr.DataArray, rule: Callable[..., Array], blocks: Sequence[da.Array], *settings: Any
) -> xr.DataArray:
    """Return an array of which every block passes through a rule, of some settings, when read."""
    name = f"checked-{tokenize(*(block.name for block in blocks), str(array.name), settings)}"
    lazy = da.map_blocks(rule, *blocks, name=name, dtype=array.dtype, meta=array.data._meta)
    return array.copy(data=lazy)
