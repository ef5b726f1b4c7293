"""Adjust the climate of a coarse file to that of a prior or of a climatology.

The result is a coarse file with the names, units, calendar and grid of the input, and marked:
`dpdm downscale` takes it as it is, and refuses to adjust it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.driver_climate import select_stencil
from dpdm.fields.file_names import restore_names
from dpdm.fields.grid import grid_of
from dpdm.fields.join import join_files
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.read import open_fields
from dpdm.fields.time import time_labels
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.units import restore_units
from dpdm.fields.write import Writer
from dpdm.paths import check_output
from dpdm.prior import Prior, check_field_prior, find_prior, load_prior
from dpdm.states.bias_adjustment import BiasAdjustment, fit_anomalies, fit_bias_adjustment
from dpdm.states.driver_adjustment import check_reference
from dpdm.states.ensemble import ProgressCallback, ensemble_provenance
from dpdm.states.field_domain import build_target_grid
from dpdm.states.options import EnsembleOptions
from dpdm.states.physical_variables import physical_sources
from dpdm.states.reference import open_coarse_climatology, open_reference
from dpdm.states.requirements import select_prior_variables


def adjust(
    coarse: Path,
    target: Path,
    method: str,
    prior: str = "default",
    options: EnsembleOptions = EnsembleOptions(),
    overwrite: bool = False,
    report: ProgressCallback = lambda done, total: None,
) -> str:
    """Write the adjusted fields of a coarse file, step by step, and return what was done.

    Args:
        coarse: The coarse file.
        target: The file to write.
        method: "anomalies", "quantile" or "mean", as in a plan.
        prior: The prior to whose climate, or on whose climatology, the fields are adjusted.
        options: Reference period and its files, climatology, box, and how files are read.
        overwrite: Whether an existing output is replaced.
        report: Called with the number of finished steps and of all steps.
    """
    path = find_prior(prior)
    check_output(target, [coarse, options, options.climatology_file, path], overwrite)
    loaded = load_prior(path)
    check_field_prior(loaded)
    complete, own = open_complete_series(coarse, loaded, options)
    adjustment = fit_adjustment(complete, loaded, method, options)
    assert adjustment.match is not None
    settings = {
        "adjustment": adjustment.describe(),
        "adjustment_method": method,
        "adjusted_variables": " ".join(adjustment.match.climate.names),
    }
    provenance = ensemble_provenance(path, [coarse, *options.reference], settings)
    write_steps(target, adjustment, own, provenance, options, overwrite, report)
    return adjustment.describe()


def open_complete_series(
    coarse: Path, prior: Prior, options: EnsembleOptions
) -> tuple[xr.Dataset, range]:
    """Return the fields of a file and of its reference period in order of time, and its steps."""
    opened = {
        path: open_all_variables(path, prior, options) for path in (coarse, *options.reference)
    }
    own = opened[coarse]
    if "time" not in own.dims:
        raise DpdmError(f"{coarse} has no time axis.", "Give a series of months.")
    for path in options.reference:
        check_reference(opened[path], own, coarse.name)
        opened[path] = select_with_bounds(opened[path], list(own.data_vars))
    paths = sorted(opened, key=lambda path: time_labels(opened[path])[0])
    complete = join_files([opened[path] for path in paths], paths) if len(paths) > 1 else own
    complete = complete.assign_attrs(own.attrs)
    complete.encoding = {"source": str(coarse)}
    before = time_labels(complete).index(time_labels(own)[0])
    return complete, range(before, before + own.sizes["time"])


def open_all_variables(path: Path, prior: Prior, options: EnsembleOptions) -> xr.Dataset:
    """Return the variables of one member of a file, of which some are the prior's."""
    channels = prior.normaliser.channels
    needed = [name for c in channels for name in (c.name, c.family) if name]
    fields = open_fields(
        path,
        None,
        options.rename,
        options.units,
        [*needed, *physical_sources(prior)],
        options.missing,
    )
    select_prior_variables(fields, prior, path, options.rename)  # refuses what does not fit
    return fields.squeeze("realization", drop=True) if "realization" in fields.dims else fields


def fit_adjustment(
    complete: xr.Dataset, prior: Prior, method: str, options: EnsembleOptions
) -> BiasAdjustment:
    """Return the adjustment of a series, on the coarse cells around the box."""
    source, reference = grid_of(complete), options.reference_period or ()
    grid = build_target_grid(source, prior, None, options)[0]
    fields = complete if options.bbox is None else select_stencil(complete, grid)
    if method != "anomalies":
        return fit_bias_adjustment(fields, prior, method, reference)
    if prior.takes_reference:
        known = open_reference(prior, grid, source, options)[1]
    else:
        known = open_coarse_climatology(prior, grid, source, options)
    return fit_anomalies(select_stencil(complete, grid), prior, grid, known, reference)


def write_steps(
    target: Path,
    adjustment: BiasAdjustment,
    own: range,
    provenance: dict[str, str],
    options: EnsembleOptions,
    overwrite: bool,
    report: ProgressCallback,
) -> None:
    """Write some steps of an adjusted series, in the units of its file."""
    lazy = adjustment.fields.isel(time=slice(own.start, own.stop))
    title = f"Coarse fields of {provenance['input']}, adjusted to another climate"
    layout = add_cf_metadata(
        restore_names(restore_units(lazy, lazy)), title, provenance, options.history
    )
    with Writer(target, layout, overwrite) as writer:
        for number, fields in enumerate(adjusted_steps(adjustment, own)):
            writer.write(fields)
            report(number + 1, len(own))


def adjusted_steps(adjustment: BiasAdjustment, own: range) -> Iterator[xr.Dataset]:
    """Yield adjusted steps (time, lat, lon) in the units of their file."""
    for step in own:
        like = adjustment.fields.isel(time=[step])
        fields = adjustment.step(step).drop_vars("time_bnds", errors="ignore")
        yield restore_names(restore_units(fields.expand_dims("time"), like))
