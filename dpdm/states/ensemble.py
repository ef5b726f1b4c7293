"""The members and statistics of an ensemble, and the layout of its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from dpdm.fields.metadata import AXIS_ATTRS, FILL_VALUE, add_cf_metadata, file_attributes
from dpdm.fields.statistics import (
    StateLabel,
    ensemble_blocks,
    statistic_attrs,
)
from dpdm.states.options import EnsembleOptions
from dpdm.system import sha256

STORED_ENCODING = {
    "dtype": "float32",
    "_FillValue": FILL_VALUE,
    "zlib": True,
    "complevel": 1,
    "shuffle": True,
}
SINGLE_CHUNK_AXES = ("realization", "trajectory")  # axes with one entry a chunk
ProgressCallback = Callable[[int, int], None]


def add_statistic_attrs(array: xr.DataArray, statistic: str) -> xr.DataArray:
    """Return a statistic of the ensemble with its metadata."""
    if not statistic:
        return array
    return array.assign_attrs(statistic_attrs(array.attrs, str(array.name), statistic))


def ensemble_layout(
    shape: Sequence[int], options: EnsembleOptions, label: StateLabel, axes: Mapping[str, Any]
) -> xr.Dataset:
    """Return the layout of a file: every variable with its axes, without values.

    ``shape`` is that of a physical member of one step; "realization" of the axes is filled in.
    """
    one = [np.zeros(shape, np.float32)]
    keep = options.keep if options.members else "mean"
    first = xr.merge(ensemble_blocks(one, label, keep, options.quantiles))
    numbers = (
        "realization",
        np.arange(options.members, dtype=np.int32),
        AXIS_ATTRS["realization"],
    )
    has_members = "realization" in first.dims
    coords = {n: numbers if n == "realization" else axis for n, axis in axes.items()}
    layout = xr.Dataset(
        coords={n: a for n, a in coords.items() if has_members or a is not numbers}
    )
    out = {}
    for name, array in first.data_vars.items():
        sizes = {str(d): layout.sizes.get(d, n) for d, n in array.sizes.items()}
        chunks = [1 if d in SINGLE_CHUNK_AXES else n for d, n in sizes.items()]
        out[name] = empty_variable(sizes, chunks, array.attrs)
    return xr.Dataset(out, layout.coords)


def empty_variable(
    sizes: Mapping[str, int], chunks: Sequence[int], attrs: Mapping[str, Any]
) -> xr.Variable:
    """Return a variable without values, with its encoding."""
    empty = dask.array.zeros(tuple(sizes.values()), dtype=np.float32, chunks=tuple(chunks))
    return xr.Variable(tuple(sizes), empty, attrs, STORED_ENCODING | {"chunksizes": tuple(chunks)})


def finish_layout(
    layout: xr.Dataset, title: str, provenance: Mapping[str, str], history: str
) -> xr.Dataset:
    """Return a layout with title and provenance, and CF metadata on latitude and longitude."""
    if "lat" in layout.coords:
        return add_cf_metadata(layout, title, provenance, history)
    out = layout.copy(deep=False)
    for axis in out.coords.values():
        encoding = {
            k: axis.encoding[k] for k in ("units", "calendar", "dtype") if k in axis.encoding
        }
        axis.encoding = encoding | {"_FillValue": None}
    out.attrs = file_attributes(layout.attrs, title, provenance, history)
    return out


def ensemble_provenance(
    prior: Path,
    inputs: Sequence[Path] = (),
    settings: Mapping[str, object] = {},
    before: Mapping[str, object] = {},
) -> dict[str, str]:
    """Return the provenance of a file, with the settings that come before and after the inputs."""
    provenance = {**before, "prior": prior.stem, "prior_sha256": sha256(prior)}
    if inputs:
        provenance["input"] = " ".join(path.name for path in inputs)
        provenance["input_sha256"] = " ".join(map(sha256, inputs))
    return {key: format_setting(value) for key, value in {**provenance, **settings}.items()}


def format_setting(value: object) -> str:
    """Return a setting as it is typed on the command line.

    Example:
        >>> format_setting(("2012-01", "2012-02")), format_setting(300.0), format_setting("law")
        ('2012-01,2012-02', '300', 'law')
    """
    if isinstance(value, tuple | list):
        return ",".join(map(format_setting, value))
    return f"{value:.17g}" if isinstance(value, float) and value.is_integer() else str(value)
