"""Open users' files as canonical fields, in one pass.

A file becomes a lazy `xr.Dataset` of known names and units on (realization, time, lat, lon), of
which realization and time may be absent; each level of a variable is a variable (see `levels`).
The pass goes through `formats`, `time`, `axes`, `levels`, `variable_names`, `units` and
`value_checks`, each once: time before the horizontal axes, because chunks of one step need it.
What cannot be read without a guess is refused with the name of the file. Values are read later,
step by step (`value_checks.load_checked_fields`).

Several files are joined: those of the same variables along time, others side by side.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning, prefix_file_name
from dpdm.fields.axes import standardise_axes
from dpdm.fields.file_names import file_name, name_attributes
from dpdm.fields.formats import grouped_variables_error, list_groups, open_raw
from dpdm.fields.grid import grid_of
from dpdm.fields.join import join_files
from dpdm.fields.level_names import LEVEL_ATTR_NAMES
from dpdm.fields.levels import group_families, split_levels, unreadable_dim_error
from dpdm.fields.output_units import OutputUnits, refuse_relabelling
from dpdm.fields.plausibility import PLAUSIBLE_RANGES, MissingCodes
from dpdm.fields.subset import describe_extent
from dpdm.fields.time_axis import (
    CLIMATOLOGY_YEAR,
    date_twelve_months,
    find_month_dim,
    standardise_time,
)
from dpdm.fields.units import first_step, to_canonical
from dpdm.fields.value_checks import (
    check_field_median,
    check_limits_on_read,
    mask_missing_codes,
    translate_read_errors,
    warn_if_implausible,
)
from dpdm.fields.variable_names import SelectedVariable, select_variables
from dpdm.fields.variables import (
    LEVEL_VARIABLES,
    SURFACE_VARIABLES,
    FileVariable,
    candidate_variables,
    canonical_variable,
    known_variable,
)
from dpdm.file_group import Source, paths_of

LOG = logging.getLogger(__name__)
CANONICAL_DIMS = ("realization", "time", "lat", "lon")
MEMBER_DIM_NAMES = frozenset(
    ("realization", "realisation", "member", "number", "ensemble", "ens", "member_id")
)


class OmittedVariableWarning(DpdmWarning):
    """Name a variable of a file that cannot be read, and why."""


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """The options of commands that read and write files.

    Attributes:
        rename: Variables' names in the file, by canonical name.
        units: Units declared by the user, by variable.
        missing: Missing-value codes, by variable; those of all under "".
        history: The command line, for the output's history.
        overwrite: Whether an existing output is replaced.
        out_units: Units of the output, where they differ from those of the input.
        progress: Called with the number of finished steps and of all steps.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    missing: MissingCodes = field(default_factory=dict)
    history: str = "dpdm"
    overwrite: bool = False
    out_units: OutputUnits = ()
    progress: Callable[[int, int], None] = lambda done, total: None

    def open(
        self, source: Source, needed: Sequence[str] | None = None, relabel: bool = True
    ) -> xr.Dataset:
        """Return the canonical fields of files; ``needed`` and ``relabel`` as in `open_fields`."""
        names = self.rename, self.units, needed, self.missing
        return open_fields(paths_of(source), None, *names, relabel=relabel)


@dataclass(frozen=True)
class ReadRequest:
    """The variables to read from one file, as in `open_fields`.

    Attributes:
        must_hold_all: Whether this file must have every variable, or other files may.
        undated: Whether twelve steps without dates are January to December.
        relabel: Whether the user's units take precedence over those that the file states.
    """

    variables: Sequence[str] | None
    rename: Mapping[str, str]
    units: Mapping[str, str]
    needed: Sequence[str] | None
    must_hold_all: bool
    missing: MissingCodes
    undated: bool = False
    relabel: bool = True

    def requires(self, selected: SelectedVariable) -> bool:
        """Tell whether the file is useless without a variable."""
        names = {*selected.accepted_names, *candidate_variables(selected.source)}
        if self.needed is not None:
            return bool({*self.needed, *self.rename} & names)
        known = {*SURFACE_VARIABLES, *LEVEL_VARIABLES}
        return bool({*(self.variables or ()), *self.rename, *known} & names)


def open_fields(
    paths: Sequence[Path] | Path,
    variables: Sequence[str] | None = None,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    needed: Sequence[str] | None = None,
    missing: MissingCodes = {},
    undated: bool = False,
    relabel: bool = True,
) -> xr.Dataset:
    """Open one file, or several that follow each other in time, as canonical fields.

    Args:
        paths: NetCDF or GRIB files, or Zarr stores.
        variables: Canonical names, or names in the file, to open; None opens every variable that
            lies on the grid.
        rename: The user's choice of variables, canonical name to name in the file.
        units: Units declared by the user, by either name.
        needed: The variables without which the file is useless; by default, those that are known
            or chosen.
        missing: Missing-value codes, by either name, "" for all variables.
        undated: Whether twelve steps without dates are January to December.
        relabel: Whether ``units`` take precedence over units that the file states; otherwise they
            are refused, because the output would only be labelled anew.

    Returns:
        Lazy fields in chunks of one step of one member, latitude and longitude ascending.

    Warns:
        DpdmWarning: A mean indicates a wrong unit.
        OmittedVariableWarning: A variable that is not needed cannot be read.
    """
    paths = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    opened = open_each(paths, variables, rename, units, needed, missing, undated, relabel)
    return join_opened(opened, paths, variables or tuple(rename))


def join_opened(
    opened: list[xr.Dataset],
    paths: Sequence[Path],
    variables: Sequence[str],
    common_times: bool = False,
) -> xr.Dataset:
    """Join opened files, and check that they hold some variables, with plausible means.

    Args:
        opened: The files.
        paths: Their paths.
        variables: Canonical names that must be there.
        common_times: Whether variables of different periods are cut to the common steps.
    """
    out = opened[0] if len(opened) == 1 else join_files(opened, paths, common_times)
    families = group_families(out)
    for name in variables:
        if name not in out and name not in families:
            raise DpdmError(f"There is no {name} in {', '.join(map(str, paths))}.", "Add a file.")
    with translate_read_errors(paths[0]):
        warn_if_implausible(out, paths[0])
    return out


def open_each(
    paths: Sequence[Path],
    variables: Sequence[str] | None = None,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    needed: Sequence[str] | None = None,
    missing: MissingCodes = {},
    undated: bool = False,
    relabel: bool = True,
) -> list[xr.Dataset]:
    """Open files as `open_fields` does, without joining them."""
    if not paths:
        raise DpdmError("No file was given.", "Name at least one.")
    opened: list[xr.Dataset] = []
    names: set[str] = set()
    for path in paths:
        alone = len(paths) == 1
        chosen = variables, rename, units, needed
        request = ReadRequest(*chosen, alone, missing, undated, relabel)
        ds, accepted = _open_file(path, request)
        opened.append(ds)
        names |= accepted
        for name, reason in ds.encoding["unreadable"].items():
            warnings.warn(f"{path}: {name} is left out: {reason}", OmittedVariableWarning, 2)
    _check_declared("A unit", units, names, paths)
    _check_declared("A missing value", missing.keys() - {""}, names, paths)
    return opened


def _check_declared(
    what: str, declared: Collection[str], names: set[str], paths: Sequence[Path]
) -> None:
    """Refuse declarations for variables that are not read."""
    if stray := set(declared) - names:
        raise DpdmError(
            f"{what} is declared for {', '.join(sorted(stray))}, which is not read from "
            f"{', '.join(map(str, paths))}.",
            f"Declare it for one of {', '.join(sorted(names))}.",
        )


def _open_file(path: Path, request: ReadRequest) -> tuple[xr.Dataset, set[str]]:
    """Open one file, and return its fields and all names that the user may use for them."""
    raw = date_twelve_months(open_raw(path)) if request.undated else open_raw(path)
    if (dim := find_month_dim(raw)) and not request.undated:
        message = f"{path}: its twelve months ({dim}) have no year; they are dated "
        warnings.warn(f"{message}{CLIMATOLOGY_YEAR}.", DpdmWarning, 3)
    if all(array.ndim < 2 for array in raw.data_vars.values()) and (groups := list_groups(path)):
        raise grouped_variables_error(path, groups)
    members = _find_member_dim(raw)
    with translate_read_errors(path), prefix_file_name(path):
        ds = raw.rename({members: "realization"} if members not in ("", "realization") else {})
        ds, bounds = standardise_time(ds)
        ds = ds.chunk({dim: 1 for dim in ("realization", "time") if dim in ds.dims})
        ds = split_levels(_merge_versions(standardise_axes(ds)))
        selected = select_variables(
            _gridded_variables(ds), request.variables, request.rename, request.must_hold_all
        )
        arrays, unreadable = _standardise_variables(selected, request, bounds, path)
        out = xr.Dataset(arrays, attrs=raw.attrs)
        if bounds is not None and "time" in out.dims:
            out = out.assign_coords(time_bnds=bounds)
        _check_families(out)
    out.encoding = {"source": str(path), "unreadable": unreadable, "members": members}
    LOG.info("Read %s: %s", path, describe_fields(out))
    return out, {name for each in selected for name in each.accepted_names}


def describe_fields(fields: xr.Dataset) -> str:
    """Return variables, units, steps and cells of opened fields."""
    variables = ", ".join(
        f"{file_name(a)}{'' if file_name(a) == name else f' -> {name}'} "
        f"[{a.attrs.get('source_units', a.attrs.get('units', 'no units'))}]"
        for name, a in fields.data_vars.items()
    )
    steps = f"{fields.sizes['time']} steps, " if "time" in fields.dims else ""
    return f"{variables}; {steps}{describe_extent(grid_of(fields))}"


def _find_member_dim(ds: xr.Dataset) -> str:
    """Return the dimension of a file's ensemble members, or an empty string."""
    for dim in ds.dims:
        standard = ds[dim].attrs.get("standard_name") if dim in ds.coords else None
        if standard == "realization" or str(dim).lower() in MEMBER_DIM_NAMES:
            return str(dim)
    return ""


def select_member_hint(fields: xr.Dataset) -> str:
    """Return the command that takes one member out of the fields' file."""
    dim = fields.encoding.get("members") or "realization"
    return f"Select one: ncks -d {dim},0 IN.nc OUT.nc."


def _merge_versions(ds: xr.Dataset) -> xr.Dataset:
    """Fill the missing steps of the final version of a reanalysis from the preliminary one.

    The Climate Data Store gives the latest months of ERA5 with a dimension `expver`: 1 is ERA5,
    5 is ERA5T, and each step is in one of the two.
    """
    if "expver" not in ds.dims:
        return ds
    order = np.argsort(ds["expver"].values.astype(int)) if "expver" in ds.coords else [0, 1]
    first, *others = (ds.isel(expver=at, drop=True) for at in order)
    arrays = {name: array for name, array in first.data_vars.items() if "expver" in ds[name].dims}
    for other in others:
        arrays = {name: array.fillna(other[name]) for name, array in arrays.items()}
    for name, array in arrays.items():
        array.encoding = dict(ds[name].encoding)
    return first.assign(arrays)


def _gridded_variables(ds: xr.Dataset) -> dict[str, FileVariable]:
    """Return the numeric variables on the grid, each with its level."""
    found = {
        str(name): FileVariable.read(array)
        for name, array in ds.data_vars.items()
        if {"lat", "lon"} <= set(array.dims) and array.dtype.kind in "fiu"
    }
    if not found:
        raise DpdmError(
            "no variable lies on a latitude by longitude grid.",
            "Give fields on latitude and longitude.",
        )
    return found


def _standardise_variables(
    selected: Sequence[SelectedVariable],
    request: ReadRequest,
    bounds: xr.DataArray | None,
    path: Path,
) -> tuple[dict[str, xr.DataArray], dict[str, str]]:
    """Return the variables that can be read, and the reasons why others cannot."""
    arrays: dict[str, xr.DataArray] = {}
    faults: dict[str, DpdmError] = {}
    for each in selected:
        try:
            with translate_read_errors(each.source.name):
                arrays[each.name] = _standardise_variable(each, request, bounds, path)
        except DpdmError as fault:
            if request.requires(each):
                raise
            faults[each.source.name] = fault
    if faults and not arrays:
        raise next(iter(faults.values()))
    return arrays, {old: str(fault) for old, fault in faults.items()}


def _standardise_variable(
    selected: SelectedVariable, request: ReadRequest, bounds: xr.DataArray | None, path: Path
) -> xr.DataArray:
    """Give one variable its canonical name, dimensions, precision, unit and checks."""
    names, source = selected.accepted_names, selected.source.array
    declared = next((request.units[name] for name in names if name in request.units), None)
    if declared and not request.relabel:
        refuse_relabelling(source, selected.name, declared, path)
    codes = [code for name in ("", *names) for code in request.missing.get(name, ())]
    packing = float(source.encoding.get("scale_factor", 0.0))
    array = _rename(_squeeze_dims(source).astype(_storage_dtype(source)), selected)
    variable = known_variable(selected.name, selected.level)
    limited = variable is not None and variable.name in PLAUSIBLE_RANGES
    array = mask_missing_codes(array, codes, packing, limited, str(path))
    if variable is None:
        return array.assign_attrs(units=declared) if declared else array
    out = to_canonical(array, variable, declared, bounds)
    out = check_limits_on_read(out, array, variable, str(path)) if limited else out
    if selected.level is None:  # of a family, only the middle level is checked
        check_field_median(first_step(out), variable)
    return out


def _rename(array: xr.DataArray, selected: SelectedVariable) -> xr.DataArray:
    """Give an array its canonical name and level, without auxiliary coordinates."""
    out = array.drop_vars([name for name in array.coords if name not in array.dims])
    out = out.rename(selected.name)
    if selected.source.level is not None:
        attrs = {k: value for k, value in array.attrs.items() if k not in LEVEL_ATTR_NAMES}
        out.attrs = attrs | (selected.level.attributes if selected.level else {})
    return out.assign_attrs(name_attributes(*selected.names))


def _squeeze_dims(array: xr.DataArray) -> xr.DataArray:
    """Drop dimensions of one element, and put the others in order."""
    for dim in set(array.dims) - set(CANONICAL_DIMS):
        if array.sizes[dim] > 1:
            raise unreadable_dim_error(array, str(dim))
        array = array.isel({dim: 0}, drop=True)
    return array.transpose(*[dim for dim in CANONICAL_DIMS if dim in array.dims])


def _storage_dtype(array: xr.DataArray) -> np.dtype:
    """Return double precision for doubles, single for all others, packed integers too."""
    stored = np.dtype(array.encoding.get("dtype", array.dtype))
    return np.dtype(np.float64 if stored == np.float64 else np.float32)


def _check_families(ds: xr.Dataset) -> None:
    """Check the median of the middle level of each family, because all levels share a unit."""
    for names in group_families(ds).values():
        middle = ds[names[len(names) // 2]]
        check_field_median(first_step(middle), canonical_variable(middle))
