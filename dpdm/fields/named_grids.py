"""Target grids by name, by spacing, or by a grid description of CDO.

The names and the descriptions are those of CDO: ``r1440x720`` has the centre of its first column
at Greenwich, ``global_0.25`` an edge at 180 degrees west. A spacing means the latter: the edges of
its cells lie at multiples of the spacing, so that they nest in coarse cells whose edges do.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dpdm.errors import DpdmError
from dpdm.fields.grid import Array, Grid
from dpdm.system import read_text

NAME = re.compile(r"r(\d+)x(\d+)|global_(\d+(?:\.\d+)?)")
DATA_SUFFIXES = (".nc", ".nc4", ".zarr", ".grib", ".grb", ".grib2", ".grb2", ".cdf", ".h5")
DESCRIPTION_HINT = "Give xsize, xfirst, xinc, ysize, yfirst and yinc, as in the output of griddes."
LARGEST_AXIS = 1_000_000  # cells
Target: TypeAlias = Path | Grid  # a file on the target grid, or the grid itself


def target_path(target: Target | None) -> Path | str:
    """Return the file of a target for messages, empty for one without."""
    return target if isinstance(target, Path) else ""


def is_grid_name(text: str) -> bool:
    """Tell whether a text is the name of a grid."""
    return NAME.fullmatch(text) is not None


def read_grid(text: str) -> Target:
    """Return the grid of a name or of CDO's description, or else the path of a file of fields."""
    path = Path(text).expanduser()
    found = NAME.fullmatch(text)
    if found and not path.exists():
        if found[3]:
            return grid_of_spacing(float(found[3]))
        return lonlat_grid(int(found[1]), int(found[2]))
    if path.suffix.lower() in DATA_SUFFIXES or not path.is_file():
        return path
    with path.open("rb") as stream:
        head = stream.read(4096)
    return parse_description(read_text(path), path) if b"gridtype" in head else path


def lonlat_grid(columns: int, rows: int) -> Grid:
    """Return CDO's global grid ``r<columns>x<rows>``; an odd number of rows includes the poles.

    Example:
        >>> lonlat_grid(8, 4).lat.tolist(), lonlat_grid(8, 5).lat.tolist()
        ([-67.5, -22.5, 22.5, 67.5], [-90.0, -45.0, 0.0, 45.0, 90.0])
    """
    if not (2 <= columns <= LARGEST_AXIS and 2 <= rows <= LARGEST_AXIS):
        raise DpdmError(
            f"r{columns}x{rows} is not a grid of two by two cells or more.",
            "Give columns and rows, as in r1440x720.",
        )
    step, first = (180 / (rows - 1), -90.0) if rows % 2 else (180 / rows, -90 + 90 / rows)
    return Grid(regular_axis(first, step, rows), regular_axis(0.0, 360 / columns, columns))


def regular_axis(first: float, step: float, size: int) -> Array:
    """Return the centres of a regular axis."""
    centres: Array = first + step * np.arange(size, dtype=np.float64)
    return centres


def grid_of_spacing(degrees: float) -> Grid:
    """Return the global grid of square cells whose edges lie at multiples of a spacing.

    Example:
        >>> grid_of_spacing(45).lon.tolist()
        [-157.5, -112.5, -67.5, -22.5, 22.5, 67.5, 112.5, 157.5]
    """
    rows = round(180 / degrees) if 180 / LARGEST_AXIS < degrees <= 90 else 0
    if not rows or abs(rows * degrees - 180) > 1e-6:
        raise DpdmError(
            f"180 degrees are no whole number of cells of {degrees:g} degrees.",
            "Give a spacing that divides them, such as 0.25, or --grid with CDO's description.",
        )
    side, half = 180 / rows, 90 / rows
    return Grid(regular_axis(half - 90, side, rows), regular_axis(half - 180, side, 2 * rows))


def parse_description(text: str, path: Path) -> Grid:
    """Return the grid of a description, as ``cdo griddes`` prints it."""
    lines = "\n".join(line.partition("#")[0] for line in text.splitlines())
    pairs = re.findall(r"(\w+)\s*=\s*((?:(?!\w+\s*=).)*)", lines, re.DOTALL)
    keys = {key.lower(): value.strip().strip('"') for key, value in pairs}
    kind = keys.get("gridtype", "")
    if kind.lower() not in ("lonlat", "latlon"):
        raise DpdmError(
            f"{path} describes a grid of type {kind!r}.", "Give a regular grid: gridtype = lonlat."
        )
    lat, lon = (_described_axis(keys, axis, path) for axis in ("y", "x"))
    if np.abs(lat).max() > 90 + 1e-9:
        raise DpdmError(f"{path} describes latitudes beyond 90 degrees.", DESCRIPTION_HINT)
    return Grid(lat, lon)


def _described_axis(keys: dict[str, str], axis: str, path: Path) -> Array:
    """Return the ascending centres of an axis of a description."""
    try:
        if values := keys.get(f"{axis}vals"):
            centres = np.array([float(word) for word in values.split()])
        else:
            first, step = float(keys[f"{axis}first"]), float(keys[f"{axis}inc"])
            size = min(int(keys[f"{axis}size"]), LARGEST_AXIS)
            centres = regular_axis(first, step, size)
    except KeyError as fault:
        raise DpdmError(f"{path} has no {fault.args[0]}.", DESCRIPTION_HINT) from fault
    except ValueError as fault:
        raise DpdmError(f"{path} has an unreadable number: {fault}.", DESCRIPTION_HINT) from fault
    centres = np.sort(centres)
    steps = np.diff(centres)
    if len(steps) < 1 or not steps.min() > 0 or np.ptp(steps) > 1e-3 * steps.mean():
        raise DpdmError(
            f"{path} describes no regular axis {axis} of two cells or more.", DESCRIPTION_HINT
        )
    return centres


def fit_grid(grid: Grid, source: Grid) -> Grid:
    """Return a target for an input: of a global grid, the cells that the input's cells cover.

    Longitudes then lie on the turn of the input's, so that a region is contiguous.

    Example:
        >>> source = Grid(np.array([1.0, 3.0]), np.array([-2.0, 0.0, 2.0]))
        >>> part = fit_grid(grid_of_spacing(1.0), source)
        >>> part.lat.tolist(), part.lon.tolist()
        ([0.5, 1.5, 2.5, 3.5], [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    """
    if not grid.cyclic:
        return grid
    slack = 1e-6 * grid.spacing[0]
    south, north = source.lat_edges[0] - slack, source.lat_edges[-1] + slack
    lat = grid.lat[(grid.lat_edges[:-1] >= south) & (grid.lat_edges[1:] <= north)]
    lon = grid.lon if source.cyclic else _columns_within(grid, source)
    if min(len(lat), len(lon)) < 2:
        raise DpdmError(
            "The input covers fewer than two by two cells of the target grid.",
            "Give a finer grid, or a larger input.",
        )
    return Grid(lat, lon)


def _columns_within(grid: Grid, source: Grid) -> Array:
    """Return the centres of the columns of a global grid that lie within a region's cells."""
    step, slack = grid.spacing[1], 1e-6
    west, east = source.lon_edges[[0, -1]]
    first = np.ceil((west - grid.lon[0]) / step + 0.5 - slack)
    last = np.floor((east - grid.lon[0]) / step - 0.5 + slack)
    columns: Array = grid.lon[0] + step * np.arange(first, last + 1)
    return columns
