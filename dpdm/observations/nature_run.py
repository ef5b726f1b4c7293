"""A nature run: a file of fields or states, read step by step, and the observed locations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.fields.formats import open_raw
from dpdm.fields.grid import grid_of
from dpdm.fields.level_names import read_level
from dpdm.fields.read import FileOptions, select_member_hint
from dpdm.fields.units import restore_units
from dpdm.fields.value_checks import load_checked_fields
from dpdm.operators.geometry import GridAxis, GridLayout, globe_layout, plane_layout

LEAP_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
PLANE_PERIOD = 2 * np.pi  # of a test bed's plane


@dataclass(frozen=True)
class NatureRun:
    """A nature run.

    Attributes:
        path: The file.
        attrs: Its global attributes.
        names: Its variables, in the order of the channels.
        units: Their units.
        layout: Layout of its cells; None for states without space.
        components: Names of the components of such a state.
        trajectories: Numbers of its trajectories; empty for fields on the Earth.
        times: Dates (T,), or numbers of a test bed's time; None where there is no time.
        time_attrs: Metadata of the time.
        calendar: Calendar of the dates; empty for numbers.
        levels: Pressures of the variables, Pa; 0 for those on no level.
        read: Returns the fields (1, C, H, W), or states (1, C), of a trajectory's step.
    """

    path: Path
    attrs: dict[str, Any]
    names: tuple[str, ...]
    units: dict[str, str]
    layout: GridLayout | None
    trajectories: tuple[int, ...]
    times: Any
    read: Callable[[int, int], Tensor]
    components: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    time_attrs: dict[str, str] = field(default_factory=dict)
    calendar: str = ""

    @property
    def steps(self) -> int:
        """Count the steps."""
        return 1 if self.times is None else len(self.times)

    def labels(self, number: int, step: int) -> dict[str, Any]:
        """Return time and trajectory of a step, where the file has them."""
        time = {} if self.times is None else {"time": self.times[step : step + 1]}
        return time | ({"trajectory": np.int32(number)} if self.trajectories else {})


def open_nature_run(path: Path, ask: FileOptions, native: bool) -> NatureRun:
    """Open a nature run.

    Args:
        path: A test bed's truth, or fields on latitude and longitude.
        ask: The user's options for variables and units.
        native: Whether fields have the units of the file, instead of dpdm's.
    """
    raw = open_raw(path)
    if "trajectory" not in raw.dims:
        return _open_fields_run(path, ask, native)
    if ask.rename or ask.units or ask.missing:
        raise DpdmError(
            f"{path} holds trajectories, and --var, --units and --missing are for fields on "
            "latitude and longitude.",
            "Remove them.",
        )
    return _open_testbed_run(path, raw)


def _open_fields_run(path: Path, ask: FileOptions, native: bool) -> NatureRun:
    """Open fields on latitude and longitude."""
    fields = ask.open(path)
    if fields.sizes.get("realization", 1) > 1:
        raise DpdmError(
            f"{path} holds {fields.sizes['realization']} members, not one truth.",
            select_member_hint(fields),
        )
    fields = fields.squeeze("realization", drop=True) if "realization" in fields.dims else fields
    grid, names = grid_of(fields), tuple(map(str, fields.data_vars))
    key = "source_units" if native else "units"
    units = {n: str(fields[n].attrs.get(key, fields[n].attrs.get("units", "1"))) for n in names}

    def read(number: int, step: int) -> Tensor:
        one = load_checked_fields(
            fields.isel(time=[step]) if "time" in fields.dims else fields, path
        )
        return _stack_step(restore_units(one, one) if native else one, names)

    times = fields["time"].values if "time" in fields.dims else None
    calendar = "" if times is None else stored_calendar(fields["time"])
    clock = {"standard_name": "time", "long_name": "time"}
    clock |= {"units_metadata": "leap_seconds: unknown"} if calendar in LEAP_CALENDARS else {}
    place = globe_layout(grid.lat, grid.lon)
    levels = tuple(level_pressure(fields[name]) for name in names)
    return NatureRun(
        path, fields.attrs, names, units, place, (), times, read, (), levels, clock, calendar
    )


def level_pressure(array: xr.DataArray) -> float:
    """Return the pressure of a variable on a level, Pa; 0 for one on no level."""
    place = read_level(array)
    return place.level if place is not None and place.units == "Pa" else 0.0


def stored_calendar(time: xr.DataArray) -> str:
    """Return the calendar in the file, which decoded dates may not show."""
    return str(time.encoding.get("calendar", time.dt.calendar))


def _open_testbed_run(path: Path, raw: xr.Dataset) -> NatureRun:
    """Open trajectories of a test bed."""
    inner = ("y", "x") if "y" in raw.dims else ("component",)
    names = tuple(str(n) for n, a in raw.data_vars.items() if set(inner) <= set(a.dims))
    if not names or not {"time", *inner} <= raw.coords.keys():
        raise DpdmError(
            f"{path} holds neither u and v (trajectory, time, y, x) nor a state (trajectory, "
            "time, component).",
            "Make one: dpdm testbed --help.",
        )
    raw = raw.transpose("trajectory", "time", *inner, missing_dims="ignore")
    numbers = raw["trajectory"].values.astype(int)
    clock = {"long_name": "model time", "units": str(raw["time"].attrs.get("units", "1"))}

    def read(number: int, step: int) -> Tensor:
        one = raw.isel(trajectory=int(np.flatnonzero(numbers == number)[0]), time=step)
        return (
            _stack_step(one.load(), names)
            if layout
            else torch.from_numpy(one[names[0]].values)[None]
        )

    layout = (
        plane_layout(raw["y"].values, raw["x"].values, PLANE_PERIOD) if "y" in raw.dims else None
    )
    return NatureRun(
        path,
        raw.attrs,
        names,
        {n: str(raw[n].attrs.get("units", "1")) for n in names},
        layout,
        tuple(map(int, numbers)),
        raw["time"].values,
        read,
        tuple(map(str, raw["component"].values)) if layout is None else (),
        (0.0,) * len(names),
        clock,
    )


def _stack_step(fields: xr.Dataset, names: tuple[str, ...]) -> Tensor:
    """Return one step's fields as (1, C, H, W), in double precision."""
    arrays = [np.asarray(fields[n].squeeze().values, dtype=float) for n in names]
    return torch.from_numpy(np.stack(arrays))[None]


Array = NDArray[np.float64]


@dataclass(frozen=True)
class Network:
    """Section ``[where]``: the observed locations, by default all cells.

    Attributes:
        every: Every n-th cell along both axes, from the middle of the first n;
        box: those within west, east, south, north (x and y on a plane);
        random: a number of those, drawn by area without repetition.
        lat: Or at these latitudes,
        lon: and longitudes, bilinear between the cells' centres.
        y: Or at these positions of a plane,
        x: and these.
    """

    every: int = 1
    box: tuple[float, ...] = ()
    random: int = 0
    lat: tuple[float, ...] = ()
    lon: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    x: tuple[float, ...] = ()


def choose_locations(
    where: Network, layout: GridLayout, factor: int, seed: int, file: str
) -> tuple[Array, Array]:
    """Return N locations.

    Args:
        where: The settings.
        layout: The cells of the field.
        factor: Cells along the side of a block, which then replaces a cell; 0 for single cells.
        seed: Seed of random locations.
        file: The file of the settings.

    Returns:
        Latitudes (N,), or y; and longitudes, or x.
    """
    if where.lat or where.lon or where.y or where.x:
        return read_listed_locations(where, layout, factor, file)
    _check_network(where, layout, factor, file)
    edges = [axis.edges[:: max(factor, 1)] for axis in (layout.rows, layout.columns)]
    rows, columns = ((e[1:] + e[:-1]) / 2 for e in edges)
    i, j = (
        n.ravel() for n in np.meshgrid(*map(np.arange, (len(rows), len(columns))), indexing="ij")
    )
    half = where.every // 2
    kept = (i % where.every == half) & (j % where.every == half)
    kept &= locations_in_box(where.box, layout, rows[i], columns[j])
    i, j = i[kept], j[kept]
    if where.random:
        area = np.diff(layout.heights(edges[0]))[i]
        drawn = draw_cells(len(i), where.random, area, seed, file)
        i, j = i[drawn], j[drawn]
    if not len(i):
        raise DpdmError(f"{file}: no cell lies where [where] says.", "Give a larger box.")
    return rows[i], columns[j]


def locations_in_box(
    box: tuple[float, ...], layout: GridLayout, rows: Array, columns: Array
) -> NDArray[np.bool_]:
    """Tell which locations lie in a box, which may cross the seam of a periodic axis."""
    if not box:
        return np.ones(len(rows), dtype=bool)
    west, east, south, north = box
    return axis_in_range(layout.columns, columns, west, east) & axis_in_range(
        layout.rows, rows, south, north
    )


def axis_in_range(axis: GridAxis, places: Array, low: float, high: float) -> NDArray[np.bool_]:
    """Tell which positions of an axis lie in a range."""
    slack = 1e-9 * axis.step
    if not axis.period or high - low >= axis.period:
        return (places >= low - slack) & (places <= high + slack) | bool(axis.period)
    return (places - low + slack) % axis.period <= (high - low) % axis.period + 2 * slack


def draw_cells(count: int, wanted: int, area: Array, seed: int, file: str) -> NDArray[np.int64]:
    """Return random cells, drawn by area, in order."""
    if wanted > count:
        raise DpdmError(
            f"{file} asks for {wanted} random cells, but there are {count}.", "Give fewer."
        )
    draw = np.random.default_rng((seed, 0))
    return np.sort(draw.choice(count, wanted, replace=False, p=area / area.sum()))


def read_listed_locations(
    where: Network, layout: GridLayout, factor: int, file: str
) -> tuple[Array, Array]:
    """Return the listed locations."""
    names = ("lat", "lon") if layout.sphere else ("y", "x")
    rows, columns = (np.array(getattr(where, name), dtype=float) for name in names)
    other_settings = where.every != 1 or where.box or where.random or factor
    stray = where.y or where.x if layout.sphere else where.lat or where.lon
    if other_settings or stray or len(rows) != len(columns) or not len(rows):
        raise DpdmError(
            f"{file}: [where] lists places that do not fit each other, the field, or its other "
            "settings.",
            f"Give {names[0]} and {names[1]}, equally long, and nothing else.",
        )
    return rows, columns


def _check_network(where: Network, layout: GridLayout, factor: int, file: str) -> None:
    """Refuse invalid settings."""
    if where.every < 1 or where.random < 0 or len(where.box) not in (0, 4):
        raise DpdmError(
            f"{file}: [where] has every = {where.every}, random = {where.random} and a box of "
            f"{len(where.box)} numbers.",
            "Give 1 or more, 0 or more, and west, east, south, north.",
        )
    if factor < 0 or any(n % max(factor, 1) for n in layout.shape):
        raise DpdmError(
            f"{file}: blocks of {factor} do not cut {layout.shape[0]} x {layout.shape[1]} cells "
            "into whole ones.",
            "Choose a factor that divides both.",
        )
