"""Linear operators out of NetCDF files of weights.

Two kinds are read. **SCRIP** files, as ``cdo gencon`` or ``cdo genbil`` writes them, name their
cells by latitude and longitude, so they fit whichever way the axes of the file ran that they were
made for. The simple kind is what a few lines of Python write:

    dimensions: link
    variables:  row(link), col(link)    value and cell (row by row), counted from 0
                weight(link)
    attributes: rows, cols              how many values and cells there are
"""

from pathlib import Path
from typing import Any, TypeAlias

import netCDF4
import numpy as np
import torch
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.operators.layout import Array, Axis, Layout
from dpdm.operators.linear import Links

Numbers: TypeAlias = NDArray[np.int64]
SCRIP = (
    "src_address",
    "dst_address",
    "remap_matrix",
    "src_grid_center_lat",
    "src_grid_center_lon",
)
LIMIT = 10**8  # links or values: 2.4 GB in memory
SIMPLE = ("row", "col", "weight")


def read_links(path: Path, layout: Layout) -> Links:
    """Return the linear operator that a file of weights describes.

    Args:
        path: A SCRIP or simple NetCDF file.
        layout: The cells of the fields that it will be applied to.

    Raises:
        DpdmError: When the file cannot be read, is of no known kind, or is for other cells.
    """
    try:
        data = netCDF4.Dataset(path)
    except OSError as error:
        raise DpdmError(
            f"{path} cannot be read as NetCDF: {error.strerror or error}.", "Check the path."
        ) from error
    with data:
        data.set_auto_mask(False)
        if "remap_matrix" in data.variables:
            return scrip(data, path, layout)
        return simple(data, path, layout)


def scrip(data: Any, path: Path, layout: Layout) -> Links:
    """Return the operator of a SCRIP file."""
    needed(data, path, SCRIP)
    sizes = {name: len(dimension) for name, dimension in data.dimensions.items()}
    count = sizes.get("dst_grid_size", 0)
    fitting(path, sizes.get("src_grid_size", 0), count, sizes.get("num_links", 0), layout)
    normal = getattr(data, "normalization", "")
    if sizes.get("num_wgts") != 1 or (normal == "none" and "dst_grid_area" in data.variables):
        raise DpdmError(
            f"{path} holds weights of second order or without normalisation.",
            "Make it: cdo gencon,TARGET.nc IN.nc WEIGHTS.nc.",
        )
    number = renumber(data, path, layout)
    source = numbers(data, path, "src_address", len(number), first=1)
    target = numbers(data, path, "dst_address", count, first=1)
    return linked(layout, count, target, number[source], weights(data, path, "remap_matrix"))


def simple(data: Any, path: Path, layout: Layout) -> Links:
    """Return the operator of a simple file of links."""
    needed(data, path, SIMPLE)
    count, cells = (getattr(data, name, None) for name in ("rows", "cols"))
    if count is None or cells is None:
        raise DpdmError(
            f"{path} does not say how many values and cells it links.",
            "Give it the global attributes rows and cols.",
        )
    fitting(path, int(cells), int(count), len(data["row"]), layout)
    row, cell = (
        numbers(data, path, n, int(m), first=0) for n, m in (("row", count), ("col", cells))
    )
    return linked(layout, int(count), row, cell, weights(data, path, "weight"))


def needed(data: Any, path: Path, names: tuple[str, ...]) -> None:
    """Refuse a file that lacks a variable, or whose links are not one list."""
    missing = [name for name in names if name not in data.variables]
    if missing:
        raise DpdmError(
            f"{path} lacks the variable {missing[0]}.",
            "Give a SCRIP file, or one with row(link), col(link) and weight(link).",
        )
    lengths = {name: data[name].shape[0] for name in names[:3]}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {size}" for name, size in lengths.items())
        raise DpdmError(f"{path} has links of different numbers: {said}.", "Write it anew.")


def fitting(path: Path, cells: int, count: int, links: int, layout: Layout) -> None:
    """Refuse weights for another number of cells, and more links than memory could hold."""
    height, width = layout.shape
    if cells != height * width:
        raise DpdmError(
            f"{path} is for fields of {cells} cells, but these have {height} x {width}.",
            "Make the weights for the grid of the analysis.",
        )
    if links > cells * count or max(links, count) > LIMIT:
        raise DpdmError(
            f"{path} holds {links} links to {count} values, more than there can be.",
            f"Leave out links without weight; {LIMIT} are the most.",
        )


def numbers(data: Any, path: Path, name: str, count: int, first: int) -> Numbers:
    """Return addresses counted from 0, refusing those beyond the last."""
    given = data[name]
    if given.dtype.kind not in "iu":
        raise DpdmError(f"{path}, {name}: not whole numbers.", "Write it as an integer.")
    address: Numbers = given[:].astype(np.int64) - first
    beyond = (address < 0) | (address >= count)
    if beyond.any():
        raise DpdmError(
            f"{path}, {name}: {address[beyond][0] + first} is not between {first} and "
            f"{count - 1 + first}.",
            "Write the file anew.",
        )
    return address


def weights(data: Any, path: Path, name: str) -> Array:
    """Return the weights, refusing those that are no numbers."""
    weight: Array = data[name][:].astype(float).reshape(-1)
    if not np.isfinite(weight).all():
        raise DpdmError(f"{path}, {name}: a weight is not finite.", "Write the file anew.")
    return weight


def renumber(data: Any, path: Path, layout: Layout) -> Numbers:
    """Return, for each source cell of a SCRIP file, the number of the cell at the same place."""
    rows = placed(data, path, "src_grid_center_lat", layout.rows)
    columns = placed(data, path, "src_grid_center_lon", layout.columns)
    return rows * layout.shape[1] + columns


def placed(data: Any, path: Path, name: str, axis: Axis) -> Numbers:
    """Return the number of the centre on an axis that each source cell has."""
    given = data[name]
    centre = given[:].astype(float)
    if "radian" in getattr(given, "units", "radians").lower():
        centre = np.degrees(centre)
    place = (axis.turned(centre) - axis.centres[0]) / axis.step
    number: Numbers = np.round(place).astype(np.int64)
    count = len(axis.centres)
    wrong = (np.abs(place - number) > 1e-3) | (number < 0) | (number >= count)
    if wrong.any():
        raise DpdmError(
            f"{path} has a cell at {axis.name} {centre[wrong][0]:g}, but the field has no centre "
            "there.",
            "Make the weights for the grid of the analysis.",
        )
    return number


def linked(layout: Layout, count: int, row: Numbers, cell: Numbers, weight: Array) -> Links:
    """Return the operator of links read from a file."""
    tensors = (torch.as_tensor(each) for each in (row, cell, weight))
    return Links(layout.shape, count, *tensors)
