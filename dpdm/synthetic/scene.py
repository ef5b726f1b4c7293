"""A file of fields or states, as something to look at: step by step, whatever its kind."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.fields.aloft import place_of
from dpdm.fields.grid import grid_of
from dpdm.fields.input import FileOptions
from dpdm.fields.source import open_raw
from dpdm.fields.store import load, one_member
from dpdm.operators.layout import Layout, globe, plane
from dpdm.remap import back

LEAPING = ("standard", "gregorian", "proleptic_gregorian")
PERIOD = 2 * np.pi  # of a test bed's plane


@dataclass(frozen=True)
class Scene:
    """What can be seen.

    Attributes:
        path: The file.
        attrs: Its global attributes.
        names: Its variables, in the order of the channels.
        units: Their units.
        layout: Where its cells are; None for states without space.
        components: Names of the components of such a state.
        trajectories: Numbers of its trajectories; none where there is but the world.
        times: Dates (T,), or numbers of a test bed's time; None where there is no time.
        clock: Metadata of the time.
        calendar: Of the dates; empty where they are numbers.
        levels: Pressures of the variables, Pa; 0 for those on none.
        read: Returns the fields (1, C, H, W), or states (1, C), of a trajectory's step.
    """

    path: Path
    attrs: dict[str, Any]
    names: tuple[str, ...]
    units: dict[str, str]
    layout: Layout | None
    trajectories: tuple[int, ...]
    times: Any
    read: Callable[[int, int], Tensor]
    components: tuple[str, ...] = ()
    levels: tuple[float, ...] = ()
    clock: dict[str, str] = field(default_factory=dict)
    calendar: str = ""

    @property
    def steps(self) -> int:
        """Count the steps."""
        return 1 if self.times is None else len(self.times)

    def labels(self, number: int, step: int) -> dict[str, Any]:
        """Return time and trajectory of a step, where the file has them."""
        time = {} if self.times is None else {"time": self.times[step : step + 1]}
        return time | ({"trajectory": np.int32(number)} if self.trajectories else {})


def scene_of(path: Path, ask: FileOptions, native: bool) -> Scene:
    """Open a file to look at.

    Args:
        path: A test bed's truth, or fields on latitude and longitude.
        ask: What the user said of variables and units.
        native: Whether fields keep the units of the file, instead of dpdm's.
    """
    raw = open_raw(path)
    if "trajectory" not in raw.dims:
        return _world(path, ask, native)
    if ask.rename or ask.units or ask.missing:
        raise DpdmError(
            f"{path} holds trajectories, and --var, --units and --missing are for fields on "
            "latitude and longitude.",
            "Leave them out.",
        )
    return _bed(path, raw)


def _world(path: Path, ask: FileOptions, native: bool) -> Scene:
    """Look at fields on latitude and longitude."""
    fields = ask.open(path)
    if fields.sizes.get("realization", 1) > 1:
        raise DpdmError(
            f"{path} holds {fields.sizes['realization']} members, not one truth.",
            one_member(fields),
        )
    fields = fields.squeeze("realization", drop=True) if "realization" in fields.dims else fields
    grid, names = grid_of(fields), tuple(map(str, fields.data_vars))
    key = "source_units" if native else "units"
    units = {n: str(fields[n].attrs.get(key, fields[n].attrs.get("units", "1"))) for n in names}

    def read(number: int, step: int) -> Tensor:
        one = load(fields.isel(time=[step]) if "time" in fields.dims else fields, path)
        return _stacked(back(one, one) if native else one, names)

    times = fields["time"].values if "time" in fields.dims else None
    calendar = "" if times is None else calendar_of(fields["time"])
    clock = {"standard_name": "time", "long_name": "time"}
    clock |= {"units_metadata": "leap_seconds: unknown"} if calendar in LEAPING else {}
    place = globe(grid.lat, grid.lon)
    levels = tuple(pressure_of(fields[name]) for name in names)
    return Scene(
        path, fields.attrs, names, units, place, (), times, read, (), levels, clock, calendar
    )


def pressure_of(array: xr.DataArray) -> float:
    """Return the pressure of a variable on a level, Pa; 0 for one that is on none."""
    place = place_of(array)
    return place.level if place is not None and place.units == "Pa" else 0.0


def calendar_of(time: xr.DataArray) -> str:
    """Return the calendar that the file says, of which dates in memory may know less."""
    return str(time.encoding.get("calendar", time.dt.calendar))


def _bed(path: Path, raw: xr.Dataset) -> Scene:
    """Look at trajectories of a test bed."""
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
            _stacked(one.load(), names) if layout else torch.from_numpy(one[names[0]].values)[None]
        )

    layout = plane(raw["y"].values, raw["x"].values, PERIOD) if "y" in raw.dims else None
    return Scene(
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


def _stacked(fields: xr.Dataset, names: tuple[str, ...]) -> Tensor:
    """Return one step's fields as (1, C, H, W), in double precision."""
    arrays = [np.asarray(fields[n].squeeze().values, dtype=float) for n in names]
    return torch.from_numpy(np.stack(arrays))[None]
