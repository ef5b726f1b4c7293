"""Open users' files as canonical fields.

A file becomes a lazy `xr.Dataset` of known names and units on (realization, time, lat, lon), of
which realization and time may be absent; each level of a variable is a variable (see `levels`).
Whatever cannot be read without a guess is refused by a sentence that names the file. Values are
read later, step by step: `load` reads a step and refuses what only the values show, such as a
truncated file.
"""

import hashlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.aloft import place_of, renamed
from dpdm.fields.alone import HDF5
from dpdm.fields.axes import straighten
from dpdm.fields.checks import Missing, check_median, cleared, guarded
from dpdm.fields.clock import keep_time
from dpdm.fields.doubt import doubt
from dpdm.fields.groups import grouped, groups_of
from dpdm.fields.join import joined, versions_merged
from dpdm.fields.levels import families, split, unreadable
from dpdm.fields.names import spoken, wanted, words
from dpdm.fields.plausibility import PLAUSIBLE
from dpdm.fields.source import broken, open_raw
from dpdm.fields.units import first_step, to_canonical
from dpdm.fields.variables import ALOFT, KNOWN, meanings, variable_of
from dpdm.fields.yearless import YEAR, months_of
from dpdm.memory import check_room


@dataclass(frozen=True)
class Asked:
    """What is asked of a file, as `open_fields` has it.

    Attributes:
        whole: Whether this file must have everything, or other files may.
    """

    variables: Sequence[str] | None
    rename: Mapping[str, str]
    units: Mapping[str, str]
    needed: Sequence[str] | None
    whole: bool
    missing: Missing

    def needs(self, array: xr.DataArray, name: str) -> bool:
        """Tell whether the file is of no use without one array, ``name`` inside dpdm."""
        said = {*words(array, name), *meanings(array)}
        if self.needed is not None:
            return bool({*self.needed, *self.rename} & said)
        return bool({*(self.variables or ()), *self.rename, *KNOWN, *ALOFT} & said)


class LeftOut(DpdmWarning):
    """Name a variable of a file that cannot be read, and why."""


MEMBERS = ("realization", "realisation", "member", "number", "ensemble", "ens", "member_id")
ORDER = ("realization", "time", "lat", "lon")


def open_fields(
    paths: Sequence[Path] | Path,
    variables: Sequence[str] | None = None,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    needed: Sequence[str] | None = None,
    missing: Missing = {},
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
    out = opened[0] if len(opened) == 1 else joined(opened, paths)
    for name in variables or rename:
        if name not in out and name not in families(out):
            raise DpdmError(f"There is no {name} in {', '.join(map(str, paths))}.", "Add a file.")
    with _reading(paths[0]):
        doubt(out, paths[0])
    return out


def open_each(
    paths: Sequence[Path],
    variables: Sequence[str] | None = None,
    rename: Mapping[str, str] = {},
    units: Mapping[str, str] = {},
    needed: Sequence[str] | None = None,
    missing: Missing = {},
) -> list[xr.Dataset]:
    """Open files as `open_fields` does, and leave them apart."""
    if not paths:
        raise DpdmError("No file was given.", "Name at least one.")
    opened: list[xr.Dataset] = []
    seen: set[str] = set()
    for path in paths:
        asked = Asked(variables, rename, units, needed, len(paths) == 1, missing)
        ds, known = _open_one(path, asked)
        opened.append(ds)
        seen |= known
        _warn(ds, path)
    _check_declared("A unit", units, seen, paths)
    _check_declared("A missing value", missing.keys() - {""}, seen, paths)
    return opened


def _warn(ds: xr.Dataset, path: Path) -> None:
    """Warn of variables that are left out."""
    for name, reason in ds.encoding["unreadable"].items():
        warnings.warn(f"{path}: {name} is left out: {reason}", LeftOut, 3)


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


def load(ds: xr.Dataset, path: Path | str | None = None, gaps: bool = False) -> xr.Dataset:
    """Read lazy fields into memory, and check the values.

    Args:
        ds: The fields.
        path: What a message calls them.
        gaps: Whether whole fields may be missing.
    """
    path = path or ds.encoding.get("source", "the file")
    check_room(ds.nbytes, f"A step of {path} takes", "Give a smaller region.", share=0.9)
    with _reading(path), HDF5:
        loaded = ds.compute()
    check_values(loaded, path, gaps)
    return loaded


def check_values(ds: xr.Dataset, path: Path | str, gaps: bool = False) -> None:
    """Refuse loaded fields that hold no value at all, or are in a wrong unit."""
    with naming(path):
        for name, array in ds.data_vars.items():
            if {"lat", "lon"} <= set(array.dims) and array.dtype.kind == "f":
                _check_field(array, str(name), gaps)


@contextmanager
def naming(path: Path | str) -> Iterator[None]:
    """Put the file's name before any complaint about what it holds."""
    try:
        yield
    except DpdmError as fault:
        if fault.what.startswith(f"{path}: "):
            raise
        raise DpdmError(f"{path}: {fault.what}", fault.hint) from fault.__cause__


@contextmanager
def _reading(path: Path | str) -> Iterator[None]:
    """Say what the libraries below throw at a damaged file as a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", xr.SerializationWarning)
            yield
    except (DpdmError, MemoryError):
        raise
    except Exception as fault:  # each library has kinds of its own
        raise broken(path, fault) from fault


def sha256(path: Path) -> str:
    """Digest a file, or a Zarr store over its files in order of their names."""
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    for file in files:
        if path.is_dir():
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _check_field(array: xr.DataArray, name: str, gaps: bool) -> None:
    if not gaps and bool(array.isnull().all(("lat", "lon")).any()):
        what = "step" if place_of(array) is None else "step or level"
        raise DpdmError(f"{name} has a field without a single value.", f"Leave that {what} out.")
    _check_unit(array)


def _check_unit(array: xr.DataArray) -> None:
    """Refuse a field of which the median cannot be what its unit says."""
    variable = variable_of(array)
    if variable and variable.name in PLAUSIBLE:
        unit = array.attrs.get("source_units", variable.units)
        check_median(array.values, variable, unit)


def _open_one(path: Path, asked: Asked) -> tuple[xr.Dataset, set[str]]:
    """Open one file; give its fields and all names by which a user may speak of them."""
    raw = open_raw(path)
    if dim := months_of(raw):
        said = f"{path}: its twelve months ({dim}) have no year; they are dated {YEAR}."
        warnings.warn(said, DpdmWarning, 3)
    if not _has_fields(raw) and (groups := groups_of(path)):
        raise grouped(path, groups)
    with _reading(path), naming(path):
        ds, bounds = keep_time(_members(raw))
        ds = straighten(ds.chunk({dim: 1 for dim in ("realization", "time") if dim in ds.dims}))
        found = _on_grid(split(versions_merged(ds)))
        names = wanted(found, asked.variables, asked.rename, asked.whole)
        arrays, odd = _readable(found, names, asked, bounds, path)
        out = xr.Dataset(arrays, attrs=raw.attrs)
        if bounds is not None and "time" in out.dims:
            out = out.assign_coords(time_bnds=bounds)
        _check_families(out)
    out.encoding = {"source": str(path), "unreadable": odd, "members": _ensemble(raw)}
    return out, spoken(names, found)


def _has_fields(ds: xr.Dataset) -> bool:
    return any(array.ndim > 1 for array in ds.data_vars.values())


def _readable(
    found: Mapping[str, xr.DataArray],
    names: Mapping[str, str],
    asked: Asked,
    bounds: xr.DataArray | None,
    path: Path,
) -> tuple[dict[str, xr.DataArray], dict[str, str]]:
    """Return the variables that can be read, and why others cannot."""
    arrays: dict[str, xr.DataArray] = {}
    faults: dict[str, DpdmError] = {}
    for new, old in names.items():
        try:
            with _reading(old):
                arrays[new] = _canonical(found[old], new, asked, bounds, path)
        except DpdmError as fault:
            if asked.needs(found[old], new):
                raise
            faults[old] = fault
    if faults and not arrays:
        raise next(iter(faults.values()))
    return arrays, {old: str(fault) for old, fault in faults.items()}


def _on_grid(ds: xr.Dataset) -> dict[str, xr.DataArray]:
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
    for names in families(ds).values():
        _check_unit(first_step(ds[names[len(names) // 2]]))


def _members(ds: xr.Dataset) -> xr.Dataset:
    """Call the dimension of ensemble members realization."""
    dim = _ensemble(ds)
    return ds.rename({dim: "realization"}) if dim not in ("", "realization") else ds


def _ensemble(ds: xr.Dataset) -> str:
    """Return what a file calls the dimension of its members, nothing where there is none."""
    for dim in ds.dims:
        standard = ds[dim].attrs.get("standard_name") if dim in ds.coords else None
        if standard == "realization" or str(dim).lower() in MEMBERS:
            return str(dim)
    return ""


def one_member(fields: xr.Dataset) -> str:
    """Return how to take one member out of the file of some fields."""
    dim = fields.encoding.get("members") or "realization"
    return f"Select one: ncks -d {dim},0 IN.nc OUT.nc."


def _canonical(
    array: xr.DataArray, name: str, asked: Asked, bounds: xr.DataArray | None, path: Path
) -> xr.DataArray:
    """Give one variable its canonical name, dimensions, precision, unit and checks."""
    spoken = words(array, name)
    declared = next((asked.units[word] for word in spoken if word in asked.units), None)
    codes = [code for word in ("", *spoken) for code in asked.missing.get(word, ())]
    packing = float(array.encoding.get("scale_factor", 0.0))
    array = renamed(_squeezed(array).astype(_precision(array)), name)
    keep = {dim for dim in ORDER if dim in array.dims}
    array = array.drop_vars([c for c in array.coords if c not in keep])
    variable = variable_of(array)
    limited = variable is not None and variable.name in PLAUSIBLE
    array = cleared(array, codes, packing, limited, str(path))
    if variable is None:
        return array.assign_attrs(units=declared) if declared else array
    out = to_canonical(array, variable, declared, bounds)
    out = guarded(out, array, variable, str(path)) if limited else out
    if place_of(out) is None:  # of a family, one level is looked at
        _check_unit(first_step(out))
    return out


def _squeezed(array: xr.DataArray) -> xr.DataArray:
    """Drop dimensions of one element; put the rest in order."""
    for dim in set(array.dims) - set(ORDER):
        if array.sizes[dim] > 1:
            raise unreadable(array, str(dim))
        array = array.isel({dim: 0}, drop=True)
    return array.transpose(*[dim for dim in ORDER if dim in array.dims])


def _precision(array: xr.DataArray) -> np.dtype:
    """Keep doubles; all else, packed integers too, fits single precision."""
    stored = np.dtype(array.encoding.get("dtype", array.dtype))
    return np.dtype(np.float64 if stored == np.float64 else np.float32)
