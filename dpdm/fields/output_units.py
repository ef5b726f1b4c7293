"""The units of an output, where the user wants others than those of the input.

A unit is given for a variable, or alone for all variables that it fits. Statistics of an ensemble
follow their variable, and a spread is converted without the offset of a scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.file_names import file_name
from dpdm.fields.level_names import base_name, read_level, split_statistic
from dpdm.fields.units import (
    change_cell_methods,
    convert_statistic,
    is_amount,
    parse_unit,
    unit_fits,
)
from dpdm.fields.variables import Variable, canonical_variable, known_variable


class OutputUnit(NamedTuple):
    """A unit that the user wants.

    Attributes:
        name: The variable; empty for all that the unit fits.
        unit: The unit.
        is_default: Whether it is for any file, and left out where there is no such variable.
    """

    name: str
    unit: str
    is_default: bool = False


OutputUnits = Sequence[OutputUnit]


def assign_output_units(fields: xr.Dataset, wanted: OutputUnits) -> xr.Dataset:
    """Return canonical fields whose output has the units that the user wants.

    Known variables stay canonical: `from_canonical` converts them when they are written. Their
    statistics, and unknown variables, which are in the units of the file, are converted lazily.

    Args:
        fields: Canonical fields, with time bounds if there are any.
        wanted: The units.
    """
    units = _units_by_array(fields, wanted)
    bounds = fields.get("time_bnds")
    return fields.assign({n: _with_unit(fields[n], unit, bounds) for n, unit in units.items()})


def refuse_relabelling(array: xr.DataArray, name: str, unit: str, path: Path) -> None:
    """Refuse a declared unit of a variable whose unit its file states, as it converts nothing.

    Args:
        array: The variable as the file has it.
        name: Its name inside dpdm.
        unit: The unit of ``--units``.
        path: The file.
    """
    own = str(array.attrs.get("units", "")).strip()
    if own and _is_readable(own):
        raise DpdmError(
            f"the file states that {array.name} is in '{own}', and --units converts nothing.",
            f"To convert, use --out-units {name}='{unit}'; if the file is wrong, correct it: "
            f"ncatted -a units,{array.name},o,c,'{unit}' {path}.",
        )


def _is_readable(unit: str) -> bool:
    try:
        parse_unit(unit)
    except DpdmError:
        return False
    return True


def quantity_of(array: xr.DataArray) -> Variable | None:
    """Return the known variable that an array, or a statistic of an ensemble, is of, or None."""
    return known_variable(split_statistic(array.name)[0], read_level(array))


def _units_by_array(fields: xr.Dataset, wanted: OutputUnits) -> dict[str, str]:
    """Return the wanted unit of each array that is to have one."""
    found: dict[str, str] = {}
    for each in wanted:
        unit = each.unit
        for hit in _find_arrays(fields, each):
            if hit in found:
                raise DpdmError(
                    f"--out-units gives {hit} two units, {found[hit]} and {unit}.", "Give one."
                )
            found[hit] = unit
    return found


def _find_arrays(fields: xr.Dataset, wanted: OutputUnit) -> list[str]:
    """Return the arrays that a unit is for, and refuse one that is for none."""
    name, unit, is_default = wanted
    hits = _arrays_named(fields, name, unit) if name else _arrays_that_fit(fields, unit)
    if hits or is_default:
        return hits
    what = (
        f"names a variable that the output does not have: {name}" if name else "fits no variable"
    )
    raise DpdmError(
        f"--out-units {f'{name}={unit}' if name else unit} {what}.",
        f"The output has {', '.join(_describe(array) for array in fields.values())}.",
    )


def _arrays_named(fields: xr.Dataset, name: str, unit: str) -> list[str]:
    """Return a variable, or all its levels, with its statistics; refuse one that does not fit."""
    hits = [str(n) for n, array in fields.items() if name in _names_of(array)]
    for hit in hits:
        if not _fits(fields[hit], unit):
            raise DpdmError(
                f"{_describe(fields[hit])} cannot be converted to {unit}.",
                "Give a unit of the same quantity.",
            )
    return hits


def _arrays_that_fit(fields: xr.Dataset, unit: str) -> list[str]:
    """Return all arrays of the one quantity that a unit fits."""
    hits = [str(n) for n, array in fields.items() if _fits(array, unit)]
    quantities = {_canonical_unit(fields[hit]): hit for hit in hits}
    if len(quantities) > 1:
        names = sorted(quantities.values())
        raise DpdmError(
            f"--out-units {unit} fits {' and '.join(names)}.",
            f"Name the variable, as in --out-units {names[0]}={unit}.",
        )
    return hits


def _names_of(array: xr.DataArray) -> set[str]:
    """Return the names that a user may use for an array: with and without level and statistic."""
    name = str(array.name)
    names = name, base_name(array), file_name(array)
    return {name, *(split_statistic(each)[0] for each in names)}


def _describe(array: xr.DataArray) -> str:
    unit = array.attrs.get("source_units", array.attrs.get("units", "no unit"))
    return f"{array.name} [{unit}]"


def _canonical_unit(array: xr.DataArray) -> str:
    variable = quantity_of(array)
    return variable.units if variable else str(array.attrs.get("units", ""))


def _fits(array: xr.DataArray, unit: str) -> bool:
    """Tell whether an array can be converted to a unit."""
    try:
        parse_unit(unit)
    except DpdmError as error:
        raise DpdmError(error.what, "Give one such as --out-units t2m=degC.") from error
    return unit_fits(array, quantity_of(array), unit)


def _with_unit(array: xr.DataArray, unit: str, bounds: xr.DataArray | None) -> xr.DataArray:
    """Return an array whose output has a unit."""
    variable = quantity_of(array)
    if variable is not None and is_amount(variable, unit) and bounds is None:
        raise DpdmError(
            f"--out-units {array.name}={unit} is an amount per step, and the input has no time "
            "bounds that give the length of each step.",
            f"Give a rate, as in --out-units {array.name}={unit}/day or {unit}/month.",
        )
    if canonical_variable(array) is not None:
        out = array.assign_attrs(output_units=unit)
        return change_cell_methods(out, variable, unit)
    return convert_statistic(
        array, variable, unit, bounds, split_statistic(array.name)[1] == "spread"
    )
