"""A file of states in, the inner features of the denoiser out, for regression or forecasting.

A denoiser that tells likely fields from noise has had to learn what they look like, and its layers
hold it in numbers from which other things follow linearly.

References:
    Finn et al. (2024), https://doi.org/10.5194/npg-31-409-2024, section 3.2.
    Baranchuk et al. (2022), https://arxiv.org/abs/2112.03126.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.write import Writer, check_output
from dpdm.prior import find_prior, load_prior
from dpdm.states import open_states
from dpdm.states.ensemble import empty_variable, ensemble_provenance, finish_layout
from dpdm.states.features import FeatureOptions, state_features
from dpdm.states.options import EnsembleOptions, FieldConditioning
from dpdm.states.sampling import StateSpace, Step
from dpdm.system import check_required_memory

CELL_DIMS = ("lat", "lon", "y", "x")
FEATURE_ATTRS = {"long_name": "inner features of the prior's denoiser", "units": "1"}


def embed(
    field: Path,
    features: Path,
    prior: str = "default",
    options: EnsembleOptions = EnsembleOptions(),
    look: FeatureOptions = FeatureOptions(),
    pool: str = "none",
    conditioning: FieldConditioning = FieldConditioning(),
    overwrite: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the features of every state of a file, whole or not at all."""
    path = find_prior(prior)
    check_output(features, [field, conditioning, options, path], overwrite)
    known = load_prior(path)
    look.select_layers(known)
    space = open_states(field, known, options, conditioning)
    check_pool(space, pool)
    first = pool_features(space, space.steps[0], look, pool)
    hint = "Give fewer layers or a smaller field, or --pool mean."
    check_required_memory(4 * first.nbytes, "The features of a state take", hint)
    made = ensemble_provenance(path, [field], feature_settings(space, look, pool))
    title = f"Features of {field.name} in the denoiser of the prior {path.stem}"
    bare = feature_template(space, first, pool)
    whole = arrange_features(finish_layout(bare, title, made, options.history), bare)
    with Writer(features, whole, overwrite) as writer:
        for done, step in enumerate(space.steps, 1):
            values = first if done == 1 else pool_features(space, step, look, pool)
            writer.write(feature_block(space, step, values, pool))
            report(done, len(space.steps))


def check_pool(space: StateSpace, pool: str) -> None:
    """Refuse a mean over cells where a state has none."""
    if pool == "mean" and not any(axis in space.axes(space.steps[0]) for axis in CELL_DIMS):
        raise DpdmError(
            "--pool mean is over the cells of a field, and these states are components.",
            "Leave it out.",
        )


def pool_features(
    space: StateSpace, step: Step, look: FeatureOptions, pool: str
) -> NDArray[np.float32]:
    """Return the features of a state: (F, ...) of fields, (T, F, ...) of a trajectory."""
    values: NDArray[np.float32] = state_features(space, step, look).numpy()
    if pool == "mean":
        values = (values * space.weights).mean((-2, -1)).astype(np.float32)
    return values


def feature_axes(
    axes: dict[str, xr.DataArray], shape: tuple[int, ...], pool: str
) -> tuple[list[str], xr.Dataset]:
    """Return dimensions and axes of features of that shape, on the axes of states."""
    cells = [n for n in axes if n in CELL_DIMS]
    count = shape[-1 - (len(cells) if pool == "none" else 0)]
    outer = [n for n in axes if n not in cells]
    words = {"long_name": "number of the feature"}
    feature = xr.DataArray(np.arange(count, dtype=np.int32), dims="feature", attrs=words)
    dims = [*outer, "feature", *(cells if pool == "none" else [])]
    return dims, xr.Dataset(coords={n: (axes | {"feature": feature})[n] for n in dims})


def feature_block(
    space: StateSpace, step: Step, values: NDArray[np.float32], pool: str
) -> xr.Dataset:
    """Return the features of one state, labelled."""
    dims, axes = feature_axes(space.axes(step), values.shape, pool)
    return axes.assign(
        features=(dims, values.reshape([axes.sizes[d] for d in dims]), FEATURE_ATTRS)
    )


def feature_template(space: StateSpace, first: NDArray[np.float32], pool: str) -> xr.Dataset:
    """Return the layout of the file, in chunks of one state."""
    dims, axes = feature_axes(space.axes(), first.shape, pool)
    sizes = {d: axes.sizes[d] for d in dims}
    chunks = (*(1 for _ in dims[first.ndim :]), *first.shape)
    whole = axes.assign(features=empty_variable(sizes, chunks, FEATURE_ATTRS))
    return (space.add_times(whole) if "lat" in dims else whole).assign_attrs(space.attrs)


def arrange_features(whole: xr.Dataset, laid_out: xr.Dataset) -> xr.Dataset:
    """Return a finished layout in which a map of each feature lies together."""
    like = laid_out["features"]
    array = whole["features"].transpose(*like.dims)
    array.encoding = whole["features"].encoding | {"chunksizes": like.encoding["chunksizes"]}
    return whole.assign(features=array)


def feature_settings(space: StateSpace, look: FeatureOptions, pool: str) -> dict[str, object]:
    """Return what decides the features beside the files."""
    said: dict[str, object] = {
        "sigma": f"{look.sigma:g}", "layer": ",".join(look.layers), "pool": pool,
        "draws": look.draws,
    }  # fmt: skip
    said |= {"seed": look.seed} if look.draws else {}
    return said | space.notes
