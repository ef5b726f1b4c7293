"""NetCDF files whose header or values are spoiled."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from scipy.io import netcdf_file

from benchmarks.hostile_inputs.case import Case
from tests.helpers.small_world import coarse_world

READERS = (
    "info bad.nc",
    "lerp bad.nc out.nc --factor 2",
    "coarsen bad.nc out.nc --factor 2",
    "downscale bad.nc out.nc --prior prior.safetensors --mean",
    "evaluate bad.nc coarse.nc",
    "export bad.nc out.csv --points stations.csv --variable t2m",
    "export bad.nc out.zarr --variable t2m",
    "assimilate bad.nc out.nc --prior prior.safetensors --coarse coarse.nc --members 2",
    "assimilate stations.csv out.nc --prior prior.safetensors --coarse bad.nc --members 2",
    "train bad.nc --out out.safetensors --factor 2 --config small.toml",
    "observe bad.nc out.nc --config observe.toml",
    "plot bad.nc out.png --variable t2m",
    "downscale coarse.nc out.nc --prior prior.safetensors --mean --grid bad.nc",
    "perturb bad.nc out.nc --prior prior.safetensors --members 2",
    "downscale coarse.nc out.nc --prior prior.safetensors --mean --statics bad.nc",
)
ATTRIBUTES = (
    "units", "scale_factor", "add_offset", "missing_value", "standard_name", "calendar",
    "valid_range", "valid_min", "coordinates", "grid_mapping", "bounds", "cell_methods", "axis",
    "positive", "long_name", "history", "Conventions", "_Unsigned", "dtype", "ancillary_variables",
    "cell_measures", "climatology", "formula_terms", "flag_values", "source", "units_metadata",
    "cf_role", "compress", "actual_range", "_Encoding",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    "two", "", "\x1b[31m", "é" * 9, "x" * 5000, "time lat", "days since 0000-00-00",
    "a: b c: d", "lat: mean (", 3, 0, -1, 1e308, float("nan"), float("inf"), [1, 2, 3],
    [0.0, 0.0], np.int8(5), np.array([], "f8"), ["a", "b"], "9**9**9 K", "K K K", "%n%s{0}",
)  # fmt: skip
WHERE = ("", "t2m", "tp", "lat", "lon", "time")


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield spoiled NetCDF files, each for another command."""
    kinds: tuple[Callable[[np.random.Generator], object], ...] = (
        attribute, attribute, classic_attribute, dimension, kind_of_values, values, axis,
        time_axis,
        units, flipped, flipped_classic, cut, declared,
    )  # fmt: skip
    for number in range(count):
        make = kinds[number % len(kinds)]
        words = READERS[(number // len(kinds) + number) % len(READERS)]
        yield Case(
            "NetCDF", f"{make.__name__} {number}", tuple(words.split()), make, seed + number
        )


def base(form: str = "NETCDF4") -> None:
    """Write coarse fields as bad.nc."""
    coarse_world().to_netcdf("bad.nc", format=form)


def one_of(rng: np.random.Generator, among: Any) -> Any:
    """Draw one of a list."""
    return among[int(rng.integers(len(among)))]


def attribute(rng: np.random.Generator) -> None:
    """Set one or two attributes to what they should not be."""
    base()
    with netCDF4.Dataset("bad.nc", "r+") as file:
        for _ in range(int(rng.integers(1, 3))):
            where = one_of(rng, WHERE)
            target = file[where] if where else file
            target.setncattr(one_of(rng, ATTRIBUTES), one_of(rng, VALUES))


def classic_attribute(rng: np.random.Generator) -> None:
    """Set attributes that the NetCDF library would not write: a fill value of another type."""
    base("NETCDF3_CLASSIC")
    with netcdf_file("bad.nc", "a", mmap=False) as file:
        where = one_of(rng, WHERE[1:])
        name = one_of(rng, ("_FillValue", "_FillValue", "scale_factor", "missing_value", "units"))
        said = (b"two", b"\xff\xfe\xe9", 3, 1e30, np.array([1.0, 2.0]), np.array([3], "i2"), b"")
        attributes = file.variables[where]._attributes
        attributes.pop("_FillValue", None)
        attributes[name.replace("_FillValue", "_FillValu_")] = one_of(rng, said)
    path = Path("bad.nc")
    path.write_bytes(path.read_bytes().replace(b"_FillValu_", b"_FillValue"))


def dimension(rng: np.random.Generator) -> None:
    """Give a variable dimensions in another order, of no length, or one too many or too few."""
    ds = coarse_world()
    orders = (("lat", "lon", "time"), ("lon", "lat", "time"), ("lon", "time", "lat"))
    changes: tuple[Callable[[], Any], ...] = (
        lambda: ds.transpose(*one_of(rng, orders)),
        lambda: ds.isel({one_of(rng, ("time", "lat", "lon")): slice(0)}),
        lambda: ds.isel({one_of(rng, ("time", "lat", "lon")): 0}),
        lambda: ds.isel({one_of(rng, ("time", "lat", "lon")): [1]}),
        lambda: ds.expand_dims({one_of(rng, ("band", "lev", "number", "a b", "é")): 3}),
        lambda: ds.drop_vars(one_of(rng, ("time", "lat", "lon", "t2m", "tp"))),
        lambda: ds.rename({one_of(rng, ("time", "lat", "lon")): one_of(rng, ("x", "0", "level"))}),
        lambda: (
            ds.assign_coords(lat=("lon", ds["lon"].values)) if rng.random() < 0 else ds[["tp"]]
        ),
        lambda: ds.stack(cell=("lat", "lon")).reset_index("cell"),
        lambda: ds.drop_dims("time").assign(t2m=((), 280.0)),
    )
    one_of(rng, changes)().to_netcdf("bad.nc")


def kind_of_values(rng: np.random.Generator) -> None:
    """Store a variable or an axis as another type: characters, texts, bytes, booleans, pairs."""
    ds = coarse_world()
    name = one_of(rng, ("t2m", "tp", "lat", "lon"))
    with netCDF4.Dataset("bad.nc", "w") as file:
        for dim, size in ds.sizes.items():
            file.createDimension(str(dim), size)
        pair = file.createCompoundType(np.dtype([("a", "f8"), ("b", "f8")]), "pair")
        several = file.createVLType(np.float32, "several")
        enum = file.createEnumType(np.int8, "cloud", {"no": 0, "yes": 1})
        kinds = ("S1", "str", "i1", "u1", "i8", "u8", "f8", "u4", pair, several, enum)
        for each, array in ds.variables.items():
            kind = one_of(rng, kinds) if each == name else "f8"
            made = file.createVariable(str(each), str if kind == "str" else kind, array.dims)
            made.setncatts({k: v for k, v in array.attrs.items() if k != "_FillValue"})
            if each == "time":
                made.units = "days since 2000-01-01"
                made[:] = [0, 31, 60]
            elif isinstance(kind, str) and kind[0] in "iuf":
                made[:] = array.values.astype(kind)


def values(rng: np.random.Generator) -> None:
    """Put values that cannot be among the others."""
    ds = coarse_world().load()
    name, value = one_of(rng, ("t2m", "tp")), one_of(rng, VALUES_OF_CELLS)
    cells = ds[name].values.reshape(-1)
    cells[rng.integers(0, cells.size, one_of(rng, (1, 5, cells.size)))] = value
    ds.to_netcdf("bad.nc")


VALUES_OF_CELLS = (-999.0, -99.9, 1e20, 3e38, -3e38, np.nan, np.inf, -np.inf, 0.0, 1e-40, -9999.0)


def axis(rng: np.random.Generator) -> None:
    """Spoil an axis: not a number, far away, unsorted, repeated, tiny steps."""
    ds = coarse_world()
    name = one_of(rng, ("lat", "lon"))
    line = ds[name].values.copy()
    spoiled: tuple[Any, ...] = (
        line[::-1], line * np.nan, line * 1e300, line * 0, line * 1e-300, np.where(line > 30,
        np.inf, line),
        line + 1e9, rng.permutation(line), line.astype(str), -line, line**2, np.round(line, -2),
        line * 1e-7,
    )  # fmt: skip
    ds.assign_coords({name: one_of(rng, spoiled)}).to_netcdf("bad.nc")


CLOCKS = (
    "days since 0000-01-01", "months since 2000-01-01", "fortnights since 1-1-1", "days since",
    "since 2000", "days since 2000-13-45", "seconds since 1970-01-01 25:00", "days", "", "K",
    "years since 1850-01-01", "days since 10000-01-01", "hours since 2000-02-30", "day as %Y%m%d",
    "days since 2000-01-01 00:00:00 +99:99", "nanoseconds since 1677-01-01", "\x00",
)  # fmt: skip
CALENDARS = ("none", "360_day", "noleap", "julian", "mayan", "", "standard", "tai")
STAMPS = (
    [0, 31, 60], [60, 31, 0], [0, 0, 0], [np.nan, 1, 2], [1e20, 2e20, 3e20], [-1e9, 0, 1e9],
    [200001, 200002, 200003], [0.5, np.inf, 2], [1e-300, 2e-300, 3e-300], [-2147483647, 0, 1],
)  # fmt: skip


def time_axis(rng: np.random.Generator) -> None:
    """Write a time axis of any units, calendar and stamps."""
    ds = coarse_world().drop_vars("time")
    attrs = {"units": one_of(rng, CLOCKS), "calendar": one_of(rng, CALENDARS)}
    if rng.random() < 0.5:
        attrs.pop("calendar")
    ds["time"] = ("time", np.array(one_of(rng, STAMPS), float), attrs)
    if rng.random() < 0.3:
        ds["time"].attrs["bounds"] = "time_bnds"
        ds["time_bnds"] = (
            ("time", "bnds"),
            np.full((3, 2), one_of(rng, (0.0, 1e20, np.nan, -5.0))),
        )
    ds.to_netcdf("bad.nc")


UNITS = (
    "", " ", "K" * 1000, "9**9**9 K", "K**-1", "degC degC", "mm/", "/day", "kg m-2 s-1 K", "°C",
    "10**999 K", "K ** 99999", "(((((K", "mm day-1;", "1e400 K", "__import__('os')", "delta_degC",
    "log(K)", "mm month-1", "in/fortnight", "0 K", "-1 K", "nan K", "inf mm/day", "\u2103", "[K]",
)  # fmt: skip


def units(rng: np.random.Generator) -> None:
    """Give a variable or an axis a unit that is none."""
    ds = coarse_world()
    ds[one_of(rng, ("t2m", "tp", "lat", "lon"))].attrs["units"] = one_of(rng, UNITS)
    ds.to_netcdf("bad.nc")


def flipped(rng: np.random.Generator) -> None:
    """Change some bytes of an HDF5 file."""
    base()
    spoil(Path("bad.nc"), rng, 8, None)


def flipped_classic(rng: np.random.Generator) -> None:
    """Change some bytes of the header of a classic file."""
    base(one_of(rng, ("NETCDF3_CLASSIC", "NETCDF3_64BIT")))
    spoil(Path("bad.nc"), rng, 4, 900)


def spoil(path: Path, rng: np.random.Generator, first: int, last: int | None) -> None:
    """Overwrite one to eight bytes of a file between two places."""
    content = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 9))):
        content[int(rng.integers(first, min(last or len(content), len(content))))] = int(
            rng.integers(256)
        )
    path.write_bytes(content)


def cut(rng: np.random.Generator) -> None:
    """Cut a file off somewhere."""
    base(one_of(rng, ("NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT")))
    path = Path("bad.nc")
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(0, len(content)))])


def declared(rng: np.random.Generator) -> None:
    """Declare fields that no machine holds, and store none of them."""
    rows, columns, steps = one_of(
        rng, ((10**9, 10**9, 1), (10**5, 10**5, 10), (180, 360, 10**9), (4, 4, 10**12))
    )
    with netCDF4.Dataset("bad.nc", "w") as file:
        for name, size in (("time", steps), ("lat", rows), ("lon", columns)):
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,), chunksizes=(min(size, 1000),), fill_value=0.0)
        file["time"].units = "days since 2000-01-01"
        file["lat"].units, file["lon"].units = "degrees_north", "degrees_east"
        sizes = tuple(min(size, 100) for size in (steps, rows, columns))
        whole = file.createVariable("t2m", "f4", ("time", "lat", "lon"), chunksizes=sizes)
        whole.units = "K"
