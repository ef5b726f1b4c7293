"""An ensemble: what the user asks of it, its statistics, and the file that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import dask.array
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.fields.metadata import AXIS_ATTRS, FILL_VALUE, add_cf_metadata, file_attributes
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.statistics import (
    QUANTILES,
    compute_ensemble_statistics,
    statistic_attrs,
    statistic_names,
)
from dpdm.fields.subset import Box
from dpdm.system import sha256

STORED_ENCODING = {
    "dtype": "float32",
    "_FillValue": FILL_VALUE,
    "zlib": True,
    "complevel": 1,
    "shuffle": True,
}
SINGLE_CHUNK_AXES = ("realization", "trajectory")  # axes of which a chunk of a file holds one
ProgressCallback = Callable[[int, int], None]


@dataclass(frozen=True)
class EnsembleOptions:
    """What the user asks of an ensemble.

    Attributes:
        members: Size of the ensemble; 0 for the mean alone.
        seed: Seed of the ensemble.
        steps: Noise levels, 0 for the prior's own number.
        sampler: Sampler, empty for the prior's own.
        keep: "members", "stats" or "all".
        consistent: Whether block means must equal the input.
        device: "auto", "cpu" or "cuda".
        rename: Variables' names in the file, by canonical name.
        units: Units declared by the user, by variable.
        quantiles: Percentiles among the statistics.
        bbox: West, east, south and north of what is written, degrees, or nothing for all.
        history: The command line, for the output's history.
        mask: A GeoJSON file; cells outside its polygons are missing.
        period: "any" to accept input of another period than the prior was trained on.
        missing: Numbers that stand for missing values, by variable; of all under "".
    """

    members: int = 33
    seed: int = 0
    steps: int = 0
    sampler: str = ""
    keep: str = "all"
    consistent: bool = False
    device: str = "auto"
    rename: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    quantiles: tuple[int, ...] = QUANTILES
    bbox: Box | None = None
    history: str = "dpdm downscale"
    mask: Path | None = None
    period: str = ""
    missing: MissingCodes = field(default_factory=dict)


class StateLabel(Protocol):
    """Gives a member, or a statistic of all, its axes and metadata."""

    def __call__(
        self, values: NDArray[Any], member: int | None = None, statistic: str = ""
    ) -> xr.Dataset:
        """Return physical values, labelled."""


def add_statistic_attrs(array: xr.DataArray, statistic: str) -> xr.DataArray:
    """Return a statistic of the ensemble that says so."""
    if not statistic:
        return array
    return array.assign_attrs(statistic_attrs(array.attrs, str(array.name), statistic))


def ensemble_blocks(
    members: Iterable[NDArray[Any]], options: EnsembleOptions, label: StateLabel
) -> Iterator[xr.Dataset]:
    """Yield what one step writes: a block for every member, the statistics after the last.

    Args:
        members: Physical members, in order; the mean alone where no members are asked for.
        options: Which of them are kept.
        label: What gives them their axes.
    """
    if not options.members:
        yield label(next(iter(members)))
        return
    kept = []
    for number, drawn in enumerate(members):
        member = drawn.astype(np.float32)
        if options.keep != "members":
            kept.append(member)
        yield label(member, number) if options.keep != "stats" else xr.Dataset()
    if kept:
        found = compute_ensemble_statistics(
            np.stack(kept), statistic_names(options.quantiles)
        ).items()
        yield xr.merge([label(values, statistic=name) for name, values in found])


def ensemble_layout(
    shape: Sequence[int], options: EnsembleOptions, label: StateLabel, axes: Mapping[str, Any]
) -> xr.Dataset:
    """Return the layout of a file: every variable with its axes, and no values yet.

    Args:
        shape: Shape of one physical member of one step.
        options: What is kept of the ensemble.
        label: What gives members their axes.
        axes: The whole axes of the file, in order; that of the members is made here.
    """
    one = replace(options, members=min(1, options.members))
    first = xr.merge(ensemble_blocks([np.zeros(shape, np.float32)], one, label))
    numbers = (
        "realization",
        np.arange(options.members, dtype=np.int32),
        AXIS_ATTRS["realization"],
    )
    several = "realization" in first.dims
    coords = {n: numbers if n == "realization" else axis for n, axis in axes.items()}
    whole = xr.Dataset(coords={n: a for n, a in coords.items() if several or a is not numbers})
    out = {}
    for name, array in first.data_vars.items():
        sizes = {str(d): whole.sizes.get(d, n) for d, n in array.sizes.items()}
        chunks = [1 if d in SINGLE_CHUNK_AXES else n for d, n in sizes.items()]
        out[name] = empty_variable(sizes, chunks, array.attrs)
    return xr.Dataset(out, whole.coords)


def empty_variable(
    sizes: Mapping[str, int], chunks: Sequence[int], attrs: Mapping[str, Any]
) -> xr.Variable:
    """Return a variable that is to be filled, and how it is stored."""
    empty = dask.array.zeros(tuple(sizes.values()), dtype=np.float32, chunks=tuple(chunks))
    return xr.Variable(tuple(sizes), empty, attrs, STORED_ENCODING | {"chunksizes": tuple(chunks)})


def finish_layout(
    laid_out: xr.Dataset, title: str, made: Mapping[str, str], history: str
) -> xr.Dataset:
    """Return a layout with provenance: after CF where it lies on the Earth."""
    if "lat" in laid_out.coords:
        return add_cf_metadata(laid_out, title, made, history)
    out = laid_out.copy(deep=False)
    for axis in out.coords.values():
        kept = {k: axis.encoding[k] for k in ("units", "calendar", "dtype") if k in axis.encoding}
        axis.encoding = kept | {"_FillValue": None}
    out.attrs = file_attributes(laid_out.attrs, title, made, history)
    return out


def ensemble_provenance(
    prior: Path,
    inputs: Sequence[Path] = (),
    said: Mapping[str, object] = {},
    before: Mapping[str, object] = {},
) -> dict[str, str]:
    """Return what a file was made from.

    Args:
        prior: The prior's file.
        inputs: The files that were read.
        said: What else decided the values.
        before: What is to stand in front.
    """
    made = {**before, "prior": prior.stem, "prior_sha256": sha256(prior)}
    if inputs:
        made["input"] = " ".join(path.name for path in inputs)
        made["input_sha256"] = " ".join(map(sha256, inputs))
    return {key: str(value) for key, value in {**made, **said}.items()}
