"""Open users' files as canonical fields.

A file becomes a lazy `xr.Dataset` of known names and units on (realization, time, lat, lon), of
which realization and time may be absent; each level of a variable is a variable (see `levels`).
Whatever cannot be read without a guess is refused by a sentence that names the file. Values are
read later, step by step: `load` reads a step and refuses what only the values show, such as a
truncated file.

Join files: those of the same variables along time, those of other variables side by side.

Within a file, `versions_merged` joins the final and the preliminary part of a reanalysis.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning, prefix_file_name
from dpdm.fields.axes import standardise_axes
from dpdm.fields.formats import grouped_variables_error, list_groups, open_raw
from dpdm.fields.level_names import read_level, rename_variable
from dpdm.fields.levels import group_families, split_levels, unreadable_dim_error
from dpdm.fields.plausibility import PLAUSIBLE_RANGES, MissingCodes
from dpdm.fields.time import copy_times
from dpdm.fields.time_axis import CLIMATOLOGY_YEAR, find_month_dim, standardise_time
from dpdm.fields.units import first_step, to_canonical
from dpdm.fields.value_checks import (
    check_field_median,
    check_limits_on_read,
    mask_missing_codes,
    translate_read_errors,
    warn_if_implausible,
)
from dpdm.fields.variable_names import accepted_names, array_names, select_variables
from dpdm.fields.variables import (
    LEVEL_VARIABLES,
    SURFACE_VARIABLES,
    candidate_variables,
    canonical_variable,
)


def join_files(parts: list[xr.Dataset], paths: Sequence[Path]) -> xr.Dataset:
    """Join files along time; files of different variables lie side by side."""
    groups: dict[tuple[str, ...], list[tuple[xr.Dataset, Path]]] = {}
    for ds, path in zip(parts, paths, strict=True):
        _check_grid(ds, parts[0], path, paths[0])
        groups.setdefault(tuple(sorted(map(str, ds.data_vars))), []).append((ds, path))
    rows = align_variables([_concatenate_in_time(group) for group in groups.values()])
    try:
        out = xr.merge(rows, join="exact", compat="no_conflicts", combine_attrs="drop_conflicts")
    except ValueError as fault:
        raise DpdmError(
            f"{', '.join(map(str, paths))} do not hold the same times.",
            "Give files that cover the same period for every variable.",
        ) from fault
    out.encoding = {"source": ", ".join(map(str, paths))}
    return out.assign_attrs(parts[0].attrs)


def align_variables(rows: list[xr.Dataset]) -> list[xr.Dataset]:
    """Return datasets of different variables under the stamps and bounds of the first one."""
    first, *rest = rows
    if "time_bnds" in first.coords:
        rest = [copy_times(ds, first).drop_vars("time_bnds", errors="ignore") for ds in rest]
    else:
        rest = [copy_times(ds, first) for ds in rest]
    return [first, *rest]


def _check_grid(ds: xr.Dataset, first: xr.Dataset, path: Path, other: Path) -> None:
    if not all(np.array_equal(ds[axis], first[axis]) for axis in ("lat", "lon")):
        raise DpdmError(f"{path} and {other} lie on different grids.", "Interpolate one first.")


def _concatenate_in_time(group: list[tuple[xr.Dataset, Path]]) -> xr.Dataset:
    parts = [ds for ds, _ in group]
    if len(parts) == 1:
        return parts[0]
    if not all("time_bnds" in ds.coords for ds in parts):
        parts = [ds.drop_vars("time_bnds", errors="ignore") for ds in parts]
    for (left, first), (right, second) in pairwise(group):
        if "time" not in left.dims or "time" not in right.dims:
            raise DpdmError(
                f"{first} and {second} hold the same variables without time.",
                "Give one of them, or set their times.",
            )
        if not _precedes(left, right):
            raise DpdmError(
                f"{second} starts at {right['time'].values[0]}, not after {first} ends at "
                f"{left['time'].values[-1]}.",
                "Give files in order of time and without overlap.",
            )
    out: xr.Dataset = xr.concat(
        parts,
        "time",
        join="exact",
        data_vars="minimal",
        coords="minimal",
        compat="override",
        combine_attrs="override",
    )
    return out


def _precedes(left: xr.Dataset, right: xr.Dataset) -> bool:
    try:
        return bool(left["time"].values[-1] < right["time"].values[0])
    except TypeError as fault:
        raise DpdmError(
            "The files differ in their calendars.", "Give all files one calendar."
        ) from fault


def merge_versions(ds: xr.Dataset) -> xr.Dataset:
    """Fill what is missing in the final version of a reanalysis from the preliminary one.

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


@dataclass(frozen=True)
class ReadRequest:
    """What is asked of a file, as `open_fields` has it.

    Attributes:
        must_hold_all: Whether this file must have everything, or other files may.
    """

    variables: Sequence[str] | None
    rename: Mapping[str, str]
    units: Mapping[str, str]
    needed: Sequence[str] | None
    must_hold_all: bool
    missing: MissingCodes

    def requires(self, array: xr.DataArray, name: str) -> bool:
        """Tell whether the file is of no use without one array, ``name`` inside dpdm."""
        said = {*array_names(array, name), *candidate_variables(array)}
        if self.needed is not None:
            return bool({*self.needed, *self.rename} & said)
        return bool(
            {*(self.variables or ()), *self.rename, *SURFACE_VARIABLES, *LEVEL_VARIABLES} & said
        )


class OmittedVariableWarning(DpdmWarning):
    """Name a variable of a file that cannot be read, and why."""


MEMBER_DIM_NAMES = (
    "realization",
    "realisation",
    "member",
    "number",
    "ensemble",
    "ens",
    "member_id",
)
CANONICAL_DIMS = ("realization", "time", "lat", "lon")


def open_fields(
    paths: Sequence[Path] | Path,
    variables: Sequence[str] | None = None,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    needed: Sequence[str] | None = None,
    missing: MissingCodes = {},
) -> xr.Dataset:
    """Open one file, or several that follow each other in time, as canonical fields.

    Args:
        paths: NetCDF or GRIB files, or Zarr stores.
        variables: Canonical names, or names in the file, to open; None opens every variable that
            lies on the grid.
        rename: The user's choice of variables, canonical name to name in the file.
        units: The user's word for units, by either name.
        needed: Without which of the variables the file is of no use; by default, without any
            that is known or chosen.
        missing: Numbers that stand for missing values, by either name, "" for all variables.

    Returns:
        Lazy fields in chunks of one step of one member, latitude and longitude ascending.

    Warns:
        DpdmWarning: A mean is such as a wrong unit gives.
        LeftOut: A variable that is not needed cannot be read.
    """
    paths = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    opened = open_each(paths, variables, rename, units, needed, missing)
    out = opened[0] if len(opened) == 1 else join_files(opened, paths)
    for name in variables or rename:
        if name not in out and name not in group_families(out):
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
) -> list[xr.Dataset]:
    """Open files as `open_fields` does, and leave them apart."""
    if not paths:
        raise DpdmError("No file was given.", "Name at least one.")
    opened: list[xr.Dataset] = []
    seen: set[str] = set()
    for path in paths:
        asked = ReadRequest(variables, rename, units, needed, len(paths) == 1, missing)
        ds, known = _open_file(path, asked)
        opened.append(ds)
        seen |= known
        _warn_of_omitted(ds, path)
    _check_declared("A unit", units, seen, paths)
    _check_declared("A missing value", missing.keys() - {""}, seen, paths)
    return opened


def _warn_of_omitted(ds: xr.Dataset, path: Path) -> None:
    """Warn of variables that are left out."""
    for name, reason in ds.encoding["unreadable"].items():
        warnings.warn(f"{path}: {name} is left out: {reason}", OmittedVariableWarning, 3)


def _check_declared(
    what: str, names: Collection[str], seen: set[str], paths: Sequence[Path]
) -> None:
    """Refuse what is declared of a variable that is not read: a slip of the pen."""
    if stray := set(names) - seen:
        raise DpdmError(
            f"{what} is declared for {', '.join(sorted(stray))}, which is not read from "
            f"{', '.join(map(str, paths))}.",
            f"Declare it for one of {', '.join(sorted(seen))}.",
        )


def _open_file(path: Path, asked: ReadRequest) -> tuple[xr.Dataset, set[str]]:
    """Open one file; give its fields and all names by which a user may speak of them."""
    raw = open_raw(path)
    if dim := find_month_dim(raw):
        said = (
            f"{path}: its twelve months ({dim}) have no year; they are dated {CLIMATOLOGY_YEAR}."
        )
        warnings.warn(said, DpdmWarning, 3)
    if not _has_fields(raw) and (groups := list_groups(path)):
        raise grouped_variables_error(path, groups)
    with translate_read_errors(path), prefix_file_name(path):
        ds, bounds = standardise_time(_rename_member_dim(raw))
        ds = standardise_axes(
            ds.chunk({dim: 1 for dim in ("realization", "time") if dim in ds.dims})
        )
        found = _gridded_variables(split_levels(merge_versions(ds)))
        names = select_variables(found, asked.variables, asked.rename, asked.must_hold_all)
        arrays, odd = _standardise_variables(found, names, asked, bounds, path)
        out = xr.Dataset(arrays, attrs=raw.attrs)
        if bounds is not None and "time" in out.dims:
            out = out.assign_coords(time_bnds=bounds)
        _check_families(out)
    out.encoding = {"source": str(path), "unreadable": odd, "members": _find_member_dim(raw)}
    return out, accepted_names(names, found)


def _has_fields(ds: xr.Dataset) -> bool:
    return any(array.ndim > 1 for array in ds.data_vars.values())


def _standardise_variables(
    found: Mapping[str, xr.DataArray],
    names: Mapping[str, str],
    asked: ReadRequest,
    bounds: xr.DataArray | None,
    path: Path,
) -> tuple[dict[str, xr.DataArray], dict[str, str]]:
    """Return the variables that can be read, and why others cannot."""
    arrays: dict[str, xr.DataArray] = {}
    faults: dict[str, DpdmError] = {}
    for new, old in names.items():
        try:
            with translate_read_errors(old):
                arrays[new] = _standardise_variable(found[old], new, asked, bounds, path)
        except DpdmError as fault:
            if asked.requires(found[old], new):
                raise
            faults[old] = fault
    if faults and not arrays:
        raise next(iter(faults.values()))
    return arrays, {old: str(fault) for old, fault in faults.items()}


def _gridded_variables(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    """Return the numbers that lie on the grid."""
    arrays = {
        str(name): array
        for name, array in ds.data_vars.items()
        if {"lat", "lon"} <= set(array.dims) and array.dtype.kind in "fiu"
    }
    if not arrays:
        raise DpdmError(
            "no variable lies on a latitude by longitude grid.",
            "Give fields on latitude and longitude.",
        )
    return arrays


def _check_families(ds: xr.Dataset) -> None:
    """Look at the middle level of each family, for all levels are in one unit."""
    for names in group_families(ds).values():
        check_field_median(first_step(ds[names[len(names) // 2]]))


def _rename_member_dim(ds: xr.Dataset) -> xr.Dataset:
    """Call the dimension of ensemble members realization."""
    dim = _find_member_dim(ds)
    return ds.rename({dim: "realization"}) if dim not in ("", "realization") else ds


def _find_member_dim(ds: xr.Dataset) -> str:
    """Return what a file calls the dimension of its members, nothing where there is none."""
    for dim in ds.dims:
        standard = ds[dim].attrs.get("standard_name") if dim in ds.coords else None
        if standard == "realization" or str(dim).lower() in MEMBER_DIM_NAMES:
            return str(dim)
    return ""


def select_member_hint(fields: xr.Dataset) -> str:
    """Return how to take one member out of the file of some fields."""
    dim = fields.encoding.get("members") or "realization"
    return f"Select one: ncks -d {dim},0 IN.nc OUT.nc."


def _standardise_variable(
    array: xr.DataArray, name: str, asked: ReadRequest, bounds: xr.DataArray | None, path: Path
) -> xr.DataArray:
    """Give one variable its canonical name, dimensions, precision, unit and checks."""
    spoken = array_names(array, name)
    declared = next((asked.units[word] for word in spoken if word in asked.units), None)
    codes = [code for word in ("", *spoken) for code in asked.missing.get(word, ())]
    packing = float(array.encoding.get("scale_factor", 0.0))
    array = rename_variable(_squeeze_dims(array).astype(_storage_dtype(array)), name)
    keep = {dim for dim in CANONICAL_DIMS if dim in array.dims}
    array = array.drop_vars([c for c in array.coords if c not in keep])
    variable = canonical_variable(array)
    limited = variable is not None and variable.name in PLAUSIBLE_RANGES
    array = mask_missing_codes(array, codes, packing, limited, str(path))
    if variable is None:
        return array.assign_attrs(units=declared) if declared else array
    out = to_canonical(array, variable, declared, bounds)
    out = check_limits_on_read(out, array, variable, str(path)) if limited else out
    if read_level(out) is None:  # of a family, one level is looked at
        check_field_median(first_step(out))
    return out


def _squeeze_dims(array: xr.DataArray) -> xr.DataArray:
    """Drop dimensions of one element; put the rest in order."""
    for dim in set(array.dims) - set(CANONICAL_DIMS):
        if array.sizes[dim] > 1:
            raise unreadable_dim_error(array, str(dim))
        array = array.isel({dim: 0}, drop=True)
    return array.transpose(*[dim for dim in CANONICAL_DIMS if dim in array.dims])


def _storage_dtype(array: xr.DataArray) -> np.dtype:
    """Keep doubles; all else, packed integers too, fits single precision."""
    stored = np.dtype(array.encoding.get("dtype", array.dtype))
    return np.dtype(np.float64 if stored == np.float64 else np.float32)


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """What the user said beside the names of files.

    Attributes:
        rename: Variables' names in the file, by canonical name.
        units: Units declared by the user, by variable.
        missing: Numbers that stand for missing values, by variable; of all under "".
        history: The command line, for the output's history.
        overwrite: Whether an existing output is replaced.
        progress: Told steps done and all steps.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    missing: MissingCodes = field(default_factory=dict)
    history: str = "dpdm"
    overwrite: bool = False
    progress: Callable[[int, int], None] = lambda done, total: None

    def open(self, path: Path, needed: Sequence[str] | None = None) -> xr.Dataset:
        """Return a file's canonical fields; ``needed`` as in `open_fields`."""
        return open_fields(path, None, self.rename, self.units, needed, self.missing)
