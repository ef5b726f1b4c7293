"""NetCDF and Zarr: the chosen steps, cells and variables as CF fields, which GDAL places rightly.

Rows stay south first, as CDO likes them; GDAL reads either order.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from dpdm.export.select import ExportOptions, OutputLayer
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.write import Writer


def write_cube(
    target: Path,
    wanted: Sequence[OutputLayer],
    fields: xr.Dataset,
    about: dict[str, Any],
    ask: ExportOptions,
) -> None:
    """Write layers step by step, whole or not at all.

    Args:
        target: A NetCDF file or a Zarr store.
        wanted: The variables.
        fields: What they come from: its times, members and attributes.
        about: Title and provenance.
        ask: History, and whether to replace.
    """
    template = add_cf_metadata(cube_structure(wanted, fields), history=ask.history, **about)
    steps = wanted[0].steps
    with Writer(target, template, ask.overwrite) as writer:
        for step in range(steps):
            for layer in wanted:
                writer.write(layer.output_step(step).to_dataset())
            ask.progress(step + 1, steps)


def cube_structure(wanted: Sequence[OutputLayer], fields: xr.Dataset) -> xr.Dataset:
    """Return the structure of all steps, from that of the first."""
    coords = {n: fields[n] for n in ("lat", "lon", "time", "time_bnds") if n in fields.variables}
    out = {}
    for layer in wanted:
        first = layer.output_step(0)
        if "realization" in first.dims:
            coords["realization"] = fields["realization"]
        shape = [layer.steps if dim == "time" else size for dim, size in first.sizes.items()]
        empty = dask.array.zeros(shape, dtype=np.float32)
        out[layer.name] = xr.DataArray(empty, dims=first.dims, attrs=first.attrs)
    return xr.Dataset(out, coords, fields.attrs)
