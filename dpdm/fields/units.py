"""Check and convert units; none is guessed in silence.

`to_canonical` converts an array to the unit of its `Variable` and stores the old one in
`attrs["source_units"]`; `from_canonical` is its inverse, unless `attrs["output_units"]` asks for
another unit (`dpdm.fields.output_units`). Every conversion is linear,
canonical = scale * value + offset, with numbers from pint. One kilogram of water on a square metre
is one millimetre; "per month" means the calendar month of each step.

An amount of precipitation becomes a rate through its period. The time bounds give the period of a
plain sum. The cell methods (CF-1.11, 7.3) may give another: ``time: sum within days time: mean
over days`` is the mean daily amount, whatever the bounds, and so is the monthly mean of daily
accumulations of ECMWF (step type ``avgad``). A mean of amounts without a period is refused: a
guess could be wrong by a factor of 30.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.plausibility import MIN_PRECIPITATION
from dpdm.fields.time import days_in_month, step_days
from dpdm.fields.variables import Variable, canonical_variable
from dpdm.system import hide_module

DAYS_PER_MONTH = 365.25 / 12
# Pint reads these otherwise (mb is a millibarn, degrees C an interval) or not at all.
_SPELLINGS = (
    (r"(?i)\s+(of )?(water( equivalent)?|w\.?e\.?)(?=\s|/|$)", ""),
    (r"(?i)^(deg(ree)?s?[ _.]*|[°º˚] ?|o ?)?c(el[sc]ius|entigrade)?$", "degC"),
    (r"(?i)^(deg(ree)?s?[ _.]*|[°º˚] ?)?f(ahrenheit)?$", "degF"),
    (r"(?i)^(deg(ree)?s?[ _.]*|[°º˚] ?)?k(elvins?)?$", "K"),
    (r"(?i)^mb$", "millibar"),
    (r"(?i)^kts?$", "knot"),
    (r"^(h?)pa$", r"\1Pa"),
    (r"(?i)\bpascals?\b", "Pa"),
    (r"\bKg\b", "kg"),
    (r"(?i)\b(mon?|mths?|months?)\b", "month"),
    (r"(?i)\b(dy|days?)\b", "day"),
)
_SCALED = re.compile(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*\*?\s*(?=[a-z°º])(.+)", re.I)  # 0.1 mm
_DIGITS = str.maketrans("0123456789.-+", "abcdefghijpmp")  # digits would be exponents
_PARTS = re.compile(r"(.+?)/\s*(\d+)\s*(|h|hrs?|hours?|d|days?)", re.I)  # K/10, mm/3h
MAX_UNIT_LENGTH = 100  # characters of a unit
_CELL_METHOD = re.compile(r"time: (\w+)(?: within (\w+))?(?: over (\w+))?(?: \(([^)]*)\))?")
_INTERVAL = re.compile(r"interval:\s*([\d.]+)\s*(hour|hr|h|day|d)s?\b")
DAYS_PER_PERIOD = {"hours": 1 / 24, "days": 1.0, "hour": 1 / 24, "day": 1.0}
# A power as units have it, of a name or a number and not of another power.
_POWER = re.compile(
    r"(?<!\^)(?<!\*\*)(?<![\w.])(\w*[^\W\d]|10|\([^()^*]*\))\s*(\*\*|\^)\s*"
    r"([-+]?\d{1,2}(\.\d)?|\([-+]?\d{1,2}(/\d)?\))(?![\w.(]|\s*(\*\*|\^))"
)
_LETTERS = re.compile(r"[\w\s.,*/^()%°'\"+·⋅⁻⁺-]*")


@lru_cache
def unit_registry() -> Any:
    """Load the CF unit registry; pint takes a third of a second, so only when it is needed."""
    log = logging.getLogger("pint.util")
    level = log.level
    log.setLevel(logging.ERROR)  # cf_xarray redefines units on purpose, percent for example
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of matplotlib, which is not needed
            with hide_module("matplotlib"):  # 0.15 s, for axes with units
                from cf_xarray.units import units
    finally:
        log.setLevel(level)
    return units


@lru_cache
def parse_unit(text: str) -> Any:
    """Parse a unit.

    Example:
        >>> str(parse_unit("m s**-1")), str(parse_unit("mb"))
        ('meter / second', 'millibar')
    """
    check_text(text)
    spelled = text.strip().lower() if text.isupper() else text.strip()  # M/S of older files
    try:
        if found := _SCALED.fullmatch(spelled):
            return _scale_unit(float(found[1]), found[2])
        if found := _PARTS.fullmatch(spelled):
            return _scale_unit(1 / float(found[2]), f"{found[1]}/{found[3]}".rstrip("/"))
        return unit_registry().Unit(_normalise_spelling(spelled))
    except Exception as fault:  # pint raises a dozen kinds, tokenizer errors among them
        raise _unknown_unit_error(text) from fault


def scale_factor(unit: str, target: str) -> float | None:
    """Return the factor from a unit to another one, None where they are not compatible.

    Example:
        >>> scale_factor("hPa", "Pa"), scale_factor("hPa", "m")
        (100.0, None)
    """
    parsed, wanted = parse_unit(unit), parse_unit(target)
    if not parsed.is_compatible_with(wanted):
        return None
    return float(unit_registry().Quantity(1.0, parsed).to(wanted).magnitude)


def check_text(text: str) -> None:
    """Refuse a text that is too long or has too large exponents for a unit.

    Example:
        >>> check_text("kg m**-2 s^-1")
        >>> check_text("9**9**9 mm")
        Traceback (most recent call last):
        ...
        dpdm.errors.DpdmError: '9**9**9 mm' is not a unit that can be read. Declare it, as in ...
    """
    if len(text) > MAX_UNIT_LENGTH or not _LETTERS.fullmatch(text):
        raise _unknown_unit_error(text)
    if re.search(r"\^|\*\*", _POWER.sub(" ", text)):
        raise _unknown_unit_error(text)


def _unknown_unit_error(text: str) -> DpdmError:
    short = text if len(text) <= MAX_UNIT_LENGTH else f"{text[:MAX_UNIT_LENGTH]}..."
    return DpdmError(
        f"'{short}' is not a unit that can be read.", "Declare it, as in --units t2m=K."
    )


def _normalise_spelling(text: str) -> str:
    """Return a unit in the spelling of pint."""
    for pattern, unit in _SPELLINGS:
        text = re.sub(pattern, unit, text)
    return text


def _scale_unit(factor: float, text: str) -> Any:
    """Return a unit times a factor, which pint allows only as a defined unit."""
    unit, ureg = _normalise_spelling(text), unit_registry()
    name = "times_" + repr(factor).translate(_DIGITS)
    offset = {"degC": "273.15", "degF": "233.15 + 200 / 9"}.get(unit)
    if offset:
        size, name = factor * (1.0 if unit == "degC" else 5 / 9), f"{name}_{unit}"
        line = f"{name} = {size!r} * kelvin; offset: {offset}"
    else:
        line = f"{name} = {factor!r}"
    if name not in ureg:
        ureg.define(line)
    return ureg.Unit(name if offset else f"{name} * {unit}")


def to_canonical(
    array: xr.DataArray,
    variable: Variable,
    declared: str | None = None,
    bounds: xr.DataArray | None = None,
) -> xr.DataArray:
    """Convert an array to the unit of its variable.

    Args:
        array: Values in the unit of `attrs["units"]`; dask arrays stay lazy.
        variable: The variable of the array.
        declared: The unit that the user declares, which takes precedence over the attribute.
        bounds: Time bounds (time, 2), the period of an amount.
    """
    unit = declared or str(array.attrs.get("units", "")).strip()
    if not unit:
        raise DpdmError(
            f"{variable.name} has no units.", f"{_units_option_hint(variable)}{variable.units}."
        )
    scale, offset = _conversion_line(array, variable, unit, bounds)
    same = _is_identity(scale, offset)
    out = array.copy(deep=False) if same else _restore_attributes(array * scale + offset, array)
    out.attrs = {
        "long_name": variable.long_name,
        **array.attrs,
        "units": variable.units,
        "standard_name": variable.standard_name,
        "source_units": unit,
    }
    if (synonym := array.attrs.get("standard_name")) in variable.synonyms:
        out.attrs["source_standard_name"] = synonym
    amount = variable.name == "tp" and unit != variable.units and _is_amount(parse_unit(unit))
    if amount and (rate := rate_unit(array, unit)):
        out.attrs |= {"source_units": rate, "cell_methods": mean_cell_methods(array)}
    if variable.name == "tp":
        out = out.where((out >= 0) | (out < MIN_PRECIPITATION) | out.isnull(), 0).assign_attrs(
            out.attrs
        )
    return out


def from_canonical(
    array: xr.DataArray, bounds: xr.DataArray | None = None, difference: bool = False
) -> xr.DataArray:
    """Convert an array of `to_canonical` to its `output_units`, or back to its `source_units`.

    Args:
        array: A variable in its canonical unit; one that is not known is returned unchanged.
        bounds: Time bounds (time, 2), needed where the source unit is an amount.
        difference: Whether the values are differences, as a spread is, without offset.
    """
    variable = canonical_variable(array)
    if variable is None:
        return array
    unit = array.attrs.get("output_units", array.attrs.get("source_units", variable.units))
    scale, offset = _conversion_line(array, variable, unit, bounds)
    offset = 0.0 if difference else offset
    same = _is_identity(scale, offset)
    out = array.copy(deep=False) if same else _restore_attributes((array - offset) / scale, array)
    own = ("source_units", "source_standard_name", "output_units")
    attrs = {key: value for key, value in array.attrs.items() if key not in own}
    known = array.attrs.get("source_standard_name", variable.standard_name)
    out.attrs = attrs | {"units": unit, "standard_name": _standard_name(variable, unit, known)}
    return out


def first_step(array: xr.DataArray) -> xr.DataArray:
    """Return the first (lat, lon) field of an array."""
    return array.isel({dim: 0 for dim in array.dims if dim not in ("lat", "lon")})


def _units_option_hint(variable: Variable) -> str:
    return f"Use --units {variable.name}="


def _conversion_line(
    array: xr.DataArray, variable: Variable, unit: str, bounds: xr.DataArray | None
) -> tuple[Any, float]:
    """Return scale and offset; the scale has a time axis where months or periods differ."""
    if unit == variable.units:  # as in most files, and pint is slow to load
        return 1.0, 0.0
    parsed = parse_unit(unit)
    if variable.name == "tp" and _is_amount(parsed):
        daily = linear_conversion(parsed / unit_registry().day, variable, unit)[0]
        return daily / accumulation_days(
            array, unit, bounds, partial(_first_field_range, array)
        ), 0.0
    if ("month", -1) in unit_registry().Quantity(1, parsed).unit_items():
        daily = parsed * unit_registry().month / unit_registry().day
        return linear_conversion(daily, variable, unit)[0] / _days_in_each_month(
            array, bounds
        ), 0.0
    return linear_conversion(parsed, variable, unit)


def linear_conversion(unit: Any, variable: Variable, text: str) -> tuple[float, float]:
    """Return scale and offset of a unit without a calendar, ``text`` in the file."""
    ureg, target = unit_registry(), parse_unit(variable.units)
    water = variable.name == "tp" and unit.dimensionality.get("[mass]", 0) == 1
    density = ureg.Quantity(1000, "kg m-3") if water else ureg.Quantity(1, "")
    if not (unit / density.units).is_compatible_with(target):
        raise DpdmError(
            f"{variable.name} is in '{text}', which cannot be converted to {variable.units}.",
            f"{_units_option_hint(variable)}'{variable.units}' if the file is wrong, or its "
            f"true unit.",
        )
    if water:
        return float((ureg.Quantity(1.0, unit) / density).to(target).magnitude), 0.0
    return _line_between(unit, target)


def _line_between(unit: Any, target: Any) -> tuple[float, float]:
    """Return scale and offset from a unit to a compatible one."""
    quantity = unit_registry().Quantity
    zero, one = (float(quantity(value, unit).to(target).magnitude) for value in (0.0, 1.0))
    return one - zero, zero


def unit_fits(array: xr.DataArray, variable: Variable | None, unit: str) -> bool:
    """Tell whether a variable, or without one the unit of an array, can be converted to a unit."""
    parsed = parse_unit(unit)
    if variable is None:
        own = str(array.attrs.get("units", "")).strip()
        return bool(own) and bool(parse_unit(own).is_compatible_with(parsed))
    rate = parsed / unit_registry().day if is_amount(variable, unit) else parsed
    try:
        linear_conversion(rate, variable, unit)
    except DpdmError:
        return False
    return True


def is_amount(variable: Variable, unit: str) -> bool:
    """Tell whether a unit of a variable is an amount of precipitation, not a rate."""
    return variable.name == "tp" and _is_amount(parse_unit(unit))


def convert_statistic(
    array: xr.DataArray,
    variable: Variable | None,
    unit: str,
    bounds: xr.DataArray | None,
    difference: bool,
) -> xr.DataArray:
    """Convert an array in the units of its file, a statistic for example, to another unit.

    Args:
        array: The array, lazy or not.
        variable: The known variable that it is of, or None.
        unit: The unit to convert to.
        bounds: Time bounds (time, 2), needed for amounts.
        difference: Whether the values are differences, as a spread is, without offset.
    """
    own = str(array.attrs["units"])
    if variable is None:
        scale, offset = _line_between(parse_unit(own), parse_unit(unit))
        converted = _restore_attributes(array * scale + (0.0 if difference else offset), array)
        return converted.assign_attrs(array.attrs | {"units": unit, "output_units": unit})
    out = change_cell_methods(array, variable, unit)
    scale, offset = _conversion_line(array, variable, own, bounds)
    to_scale, to_offset = _conversion_line(out, variable, unit, bounds)
    shift = 0.0 if difference else offset - to_offset
    known = array.attrs.get("source_standard_name", variable.standard_name)
    names = {
        "units": unit,
        "output_units": unit,
        "standard_name": _standard_name(variable, unit, known),
    }
    converted = _restore_attributes((array * scale + shift) / to_scale, array)
    return converted.assign_attrs(out.attrs | names)


def change_cell_methods(array: xr.DataArray, variable: Variable | None, unit: str) -> xr.DataArray:
    """Return precipitation with the cell methods of a unit: sums of amounts, means of rates."""
    if variable is None or variable.name != "tp":
        return array
    text = str(array.attrs.get("cell_methods", ""))
    own = str(array.attrs.get("source_units", array.attrs.get("units", "")))
    if is_amount(variable, own) == is_amount(variable, unit):
        return array
    operation = "sum" if is_amount(variable, unit) else "mean"
    years = " within years time: mean over years" if "over years" in text else ""
    methods = _replace_time_methods(text, f"time: {operation}{years}")
    return array.assign_attrs(cell_methods=methods)


def _replace_time_methods(text: str, methods: str) -> str:
    """Return cell methods with others of time, in the place of the old ones.

    Example:
        >>> _replace_time_methods("area: mean time: mean within days time: mean", "time: sum")
        'area: mean time: sum'
        >>> _replace_time_methods("realization: mean", "time: sum")
        'time: sum realization: mean'
    """
    if not (found := _CELL_METHOD.search(text)):
        return f"{methods} {text}".strip()
    before, after = text[: found.start()], _CELL_METHOD.sub("", text[found.start() :])
    return " ".join(f"{before} {methods} {after}".split())


def _is_amount(unit: Any) -> bool:
    amounts = ({"[length]": 1}, {"[mass]": 1, "[length]": -2})
    return dict(unit.dimensionality) in amounts


def _first_field_range(array: xr.DataArray) -> str:
    """Return the range of the first field, in the unit of its file."""
    field = first_step(array)
    return f"{float(field.min()):.3g} to {float(field.max()):.3g}"


def _days_in_each_month(array: xr.DataArray, bounds: xr.DataArray | None) -> Any:
    """Return the days of the calendar month of each step, or of a mean month without time."""
    return days_in_month(array["time"], bounds) if "time" in array.coords else DAYS_PER_MONTH


def _is_identity(scale: Any, offset: float) -> bool:
    return isinstance(scale, float) and scale == 1.0 and offset == 0.0


def _restore_attributes(out: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Restore name, order and precision, which the lengths of months would change."""
    return out.rename(like.name).transpose(*like.dims).astype(like.dtype)


def _standard_name(variable: Variable, unit: str, known: str) -> str:
    """Return the CF standard name of the file, or of precipitation another one that has the unit.

    Example:
        >>> from dpdm.fields.variables import SURFACE_VARIABLES
        >>> tp, known = SURFACE_VARIABLES["tp"], "rainfall_flux"
        >>> [_standard_name(tp, unit, known) for unit in ("kg m-2 s-1", "mm day-1", "mm")]
        ['rainfall_flux', 'lwe_precipitation_rate', 'lwe_thickness_of_precipitation_amount']
    """
    if variable.name != "tp":
        return known
    parsed = parse_unit(unit)
    mass = parsed.dimensionality.get("[mass]", 0) == 1
    if _is_amount(parsed):
        kind = "amount" if mass else "lwe_thickness_of_precipitation_amount"
    else:
        kind = "flux" if mass else "rate"
    fitting = {
        "amount": known.endswith("_amount") and not known.startswith("lwe_thickness"),
        "lwe_thickness_of_precipitation_amount": known == kind,
        "flux": known.endswith("_flux"),
        "rate": known.endswith("_rate"),
    }
    usual = {"rate": "lwe_precipitation_rate"}.get(kind, f"precipitation_{kind}")
    return known if fitting[kind] else kind if kind.startswith("lwe") else usual


def restore_units(remapped: xr.Dataset, fields: xr.Dataset) -> xr.Dataset:
    """Convert canonical fields back to the units of their file."""
    bounds = fields.get("time_bnds")
    arrays = {name: from_canonical(array, bounds) for name, array in remapped.data_vars.items()}
    out = xr.Dataset(arrays, attrs=remapped.attrs)
    return out if bounds is None else out.assign_coords(time_bnds=bounds)


class CellMethod(NamedTuple):
    """One cell method of the time axis: its operation, over what, and the interval of the data."""

    name: str
    within: str
    over: str
    comment: str


def time_cell_methods(array: xr.DataArray) -> list[CellMethod]:
    """Return the cell methods of a variable's time axis, in the order they were applied.

    Example:
        >>> text = "area: mean time: sum within days time: mean over days"
        >>> [each[:3] for each in time_cell_methods(xr.DataArray(attrs={"cell_methods": text}))]
        [('sum', 'days', ''), ('mean', '', 'days')]
    """
    text = str(array.attrs.get("cell_methods", ""))
    return [CellMethod(*(part or "" for part in found)) for found in _CELL_METHOD.findall(text)]


def accumulation_days(
    array: xr.DataArray, unit: str, bounds: xr.DataArray | None, extent: Callable[[], str] = str
) -> Any:
    """Return the days over which each amount fell: one number, or one a step (time).

    Args:
        array: An amount, with the attributes of its file.
        unit: Its unit, for error messages.
        bounds: The bounds of its steps (time, 2).
        extent: Returns its range, for error messages.
    """
    methods = time_cell_methods(array)
    if array.attrs.get("GRIB_stepType") == "avgad":
        return 1.0
    if (days := _days_from_cell_methods(methods)) is not None:
        return days
    if any(method.name == "mean" for method in methods) and not _is_plain_sum(methods):
        raise DpdmError(
            f"{array.name} is a mean of amounts ({unit}, cell_methods "
            f"'{array.attrs['cell_methods']}'), and the period of each amount is unknown.",
            f"If it is per day, use --units tp={unit}/day; per month, --units tp={unit}/month.",
        )
    if bounds is None:
        raise DpdmError(
            f"{array.name} is an amount ({extent()} {unit}), and no time bounds give the period "
            "in which it fell.",
            f"If it is per day, use --units tp={unit}/day; per month, --units tp={unit}/month.",
        )
    lengths = step_days(array["time"], bounds)
    if not bool((lengths > 0).all()):
        raise DpdmError(
            f"The time bounds of {array.name} enclose no time.", f"Use --units tp={unit}/day."
        )
    return lengths


def rate_unit(array: xr.DataArray, unit: str) -> str:
    """Return the unit of an amount as a rate, or an empty string without a stated period.

    A file in that unit can be read without cell methods.
    """
    avgad = array.attrs.get("GRIB_stepType") == "avgad"
    days = 1.0 if avgad else _days_from_cell_methods(time_cell_methods(array))
    if days is None:
        return ""
    return {1.0: f"{unit} day-1", 1 / 24: f"{unit} hour-1"}.get(days, "mm day-1")


def mean_cell_methods(array: xr.DataArray) -> str:
    """Return the cell methods of a rate: those of space, and a mean over time.

    Example:
        >>> text = "area: mean time: sum within days time: mean over days"
        >>> mean_cell_methods(xr.DataArray(attrs={"cell_methods": text}))
        'area: mean time: mean'
    """
    text = _CELL_METHOD.sub("", str(array.attrs.get("cell_methods", "")))
    return " ".join([*text.split(), "time: mean"])


def _days_from_cell_methods(methods: list[CellMethod]) -> float | None:
    """Return the days of an amount according to the cell methods, or None."""
    sums = [method for method in methods if method.name == "sum"]
    if sums and sums[0].within in DAYS_PER_PERIOD:
        return DAYS_PER_PERIOD[sums[0].within]
    means = [method for method in methods if method.name == "mean"]
    if means and not _is_plain_sum(methods) and (found := _INTERVAL.search(means[-1].comment)):
        return float(found[1]) * (1.0 if found[2].startswith("d") else 1 / 24)
    return None


def _is_plain_sum(methods: list[CellMethod]) -> bool:
    """Tell whether amounts were summed over the step.

    A mean over the years of a climatology does not change that.
    """
    others = [method for method in methods if (method.name, method.over) != ("mean", "years")]
    return bool(others) and others[-1].name == "sum" and others[-1].within in ("", "years")
