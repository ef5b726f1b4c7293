"""Write the inner features of a denoiser for the states of a file.

A denoiser has learnt the distribution of states, and other quantities are nearly linear in the
outputs of its layers. So features are inputs of regressions and forecasts.

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
from dpdm.fields.write import Writer
from dpdm.file_group import Source, paths_of
from dpdm.paths import check_output
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
    field: Source,
    features: Path,
    prior: str = "default",
    options: EnsembleOptions = EnsembleOptions(),
    feature_options: FeatureOptions = FeatureOptions(),
    pool: str = "none",
    conditioning: FieldConditioning = FieldConditioning(),
    overwrite: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the features of every state of a file."""
    path = find_prior(prior)
    inputs = [field, conditioning, options, options.climatology_file, path]
    check_output(features, inputs, overwrite)
    loaded = load_prior(path)
    feature_options.select_layers(loaded)
    space = open_states(field, loaded, options, conditioning)
    check_pool(space, pool)
    first = pool_features(space, space.steps[0], feature_options, pool)
    hint = "Use fewer layers, a smaller field, or --pool mean."
    check_required_memory(4 * first.nbytes, "The features of a state take", hint)
    settings = feature_settings(space, feature_options, pool)
    provenance = ensemble_provenance(path, paths_of(field), settings)
    title = f"Features of {field.name} in the denoiser of the prior {path.stem}"
    layout = feature_template(space, first, pool)
    finished = finish_layout(layout, title, provenance, options.history)
    with Writer(features, arrange_features(finished, layout), overwrite) as writer:
        for done, step in enumerate(space.steps, 1):
            values = first if done == 1 else pool_features(space, step, feature_options, pool)
            writer.write(feature_block(space, step, values, pool))
            report(done, len(space.steps))


def check_pool(space: StateSpace, pool: str) -> None:
    """Refuse a mean over cells of states without cells."""
    if pool == "mean" and not any(axis in space.axes(space.steps[0]) for axis in CELL_DIMS):
        raise DpdmError(
            "--pool mean is a mean over cells, and these states have none.", "Leave it out."
        )


def pool_features(
    space: StateSpace, step: Step, options: FeatureOptions, pool: str
) -> NDArray[np.float32]:
    """Return the features of a state: (F, ...) of fields, (T, F, ...) of a trajectory."""
    values: NDArray[np.float32] = state_features(space, step, options).numpy()
    if pool == "mean":
        values = (values * space.weights).mean((-2, -1)).astype(np.float32)
    return values


def feature_axes(
    axes: dict[str, xr.DataArray], shape: tuple[int, ...], pool: str
) -> tuple[list[str], xr.Dataset]:
    """Return dimensions and axes of features of a shape, from the axes of states."""
    cells = [n for n in axes if n in CELL_DIMS]
    count = shape[-1 - (len(cells) if pool == "none" else 0)]
    outer = [n for n in axes if n not in cells]
    attrs = {"long_name": "number of the feature"}
    feature = xr.DataArray(np.arange(count, dtype=np.int32), dims="feature", attrs=attrs)
    dims = [*outer, "feature", *(cells if pool == "none" else [])]
    return dims, xr.Dataset(coords={n: (axes | {"feature": feature})[n] for n in dims})


def feature_block(
    space: StateSpace, step: Step, values: NDArray[np.float32], pool: str
) -> xr.Dataset:
    """Return the features of one state with axes."""
    dims, axes = feature_axes(space.axes(step), values.shape, pool)
    return axes.assign(
        features=(dims, values.reshape([axes.sizes[d] for d in dims]), FEATURE_ATTRS)
    )


def feature_template(space: StateSpace, first: NDArray[np.float32], pool: str) -> xr.Dataset:
    """Return the layout of the file, in chunks of one state."""
    dims, axes = feature_axes(space.axes(), first.shape, pool)
    sizes = {d: axes.sizes[d] for d in dims}
    chunks = (*(1 for _ in dims[first.ndim :]), *first.shape)
    layout = axes.assign(features=empty_variable(sizes, chunks, FEATURE_ATTRS))
    return (space.add_times(layout) if "lat" in dims else layout).assign_attrs(space.attrs)


def arrange_features(finished: xr.Dataset, layout: xr.Dataset) -> xr.Dataset:
    """Return a finished layout with its dimensions in the original order, cells last."""
    original = layout["features"]
    array = finished["features"].transpose(*original.dims)
    chunks = {"chunksizes": original.encoding["chunksizes"]}
    array.encoding = finished["features"].encoding | chunks
    return finished.assign(features=array)


def feature_settings(space: StateSpace, options: FeatureOptions, pool: str) -> dict[str, object]:
    """Return the settings of the features for their provenance."""
    settings: dict[str, object] = {
        "sigma": f"{options.sigma:g}", "layer": ",".join(options.layers), "pool": pool,
        "draws": options.draws,
    }  # fmt: skip
    settings |= {"seed": options.seed} if options.draws else {}
    return settings | space.notes
