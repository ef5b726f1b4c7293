"""Requirements of a prior on files of states and on options."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning, variables_not_found
from dpdm.fields.file_names import drop_statistic
from dpdm.fields.grid import Grid
from dpdm.fields.read import select_member_hint
from dpdm.fields.regrid import is_nested
from dpdm.fields.time import PERIOD_DAYS, period_of, step_length, time_bounds
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.trajectories import check_times, trajectory_cadence
from dpdm.fields.variables import is_anomaly
from dpdm.file_group import Source
from dpdm.prior import Prior
from dpdm.states.options import EnsembleOptions, FieldConditioning, Request

Array = NDArray[np.float64]
MAX_STATES = 1_000_000
SPACING_RATIOS = (0.74, 1.35)  # of a target over the prior


def select_prior_variables(
    fields: xr.Dataset,
    prior: Prior,
    path: Source,
    rename: Mapping[str, str],
    others: Sequence[str] = (),
) -> xr.Dataset:
    """Return the variables of the prior, and others that need no network, of one member."""
    names = [*prior.normaliser.names, *others]
    families = {channel.family for channel in prior.normaliser.channels}
    for name, old in rename.items():
        if name not in names and name not in families:
            raise DpdmError(
                f"--var {name}={old} names a variable that the prior does not have.",
                f"Its variables are {', '.join(names)}: write --var {names[0]}={old}.",
            )
    available = [n for n in names if n in fields]
    if not available and (anomalies := [str(n) for n, a in fields.items() if is_anomaly(a)]):
        raise DpdmError(
            f"{path} holds anomalies ({', '.join(anomalies)}), and the prior's variables are "
            f"{', '.join(names)} themselves.",
            "Add the climatology to the anomalies first.",
        )
    if not available:
        raise variables_not_found(path, "the prior's", names, fields.data_vars)
    for channel in prior.normaliser.channels:
        units = (
            fields[channel.name].attrs.get("units") if channel.name in fields else channel.units
        )
        if units != channel.units:
            raise DpdmError(
                f"{path}: {channel.name} is in {units!r}, the prior's in {channel.units!r}.",
                f"Convert it, or declare it: --units {channel.name}='{channel.units}'.",
            )
    if fields.sizes.get("realization", 1) > 1:
        raise DpdmError(
            f"{path} holds {fields.sizes['realization']} members; dpdm downscales one at a time.",
            f"{select_member_hint(fields)} Give each its own --seed.",
        )
    out = select_with_bounds(fields, available)
    out = out.assign({name: drop_statistic(out[name]) for name in available})
    return out.squeeze("realization", drop=True) if "realization" in fields.dims else out


LONGER_PERIODS = {"month": ("season", "year"), "season": ("year",)}  # for a season flag


def period_mismatch_note(
    fields: xr.Dataset, prior: Prior, path: Source | str, accepted: str = ""
) -> str:
    """Return the difference between the periods of input and prior, empty if they agree.

    With "any" accepted, a difference is a warning instead of an error.
    """
    trained = prior.contract.step
    period = unsupported_period(fields, trained)
    if not period:
        return ""
    note = f"steps of {period}, prior of {trained}s"
    mismatch = f"{path} has steps of {period}, and the prior was trained on {trained}s"
    if accepted != "any":
        shorter = step_length(fields.get("time"), time_bounds(fields)) < PERIOD_DAYS[trained][0]
        if shorter and trained == "month":
            hint = "Average it first: cdo monmean IN.nc OUT.nc. Or use --period any."
        else:
            hint = "Use a prior of such steps, or --period any."
        raise DpdmError(f"{mismatch}.", hint)
    warnings.warn(
        f"{mismatch}: spread and detail are those of {trained}s.", DpdmWarning, stacklevel=2
    )
    return note


def unsupported_period(fields: xr.Dataset, trained: str) -> str:
    """Return the period of fields if it is known and a prior does not support it."""
    time, bounds = fields.get("time"), time_bounds(fields)
    period, days = period_of(time, bounds), step_length(time, bounds)
    if not trained or period in (trained, *LONGER_PERIODS.get(trained, ())):
        return ""
    if period:
        return f"{period}s"
    return f"{days:.3g} days" if 0 < days < PERIOD_DAYS[trained][0] else ""


def check_finer(source: Grid, grid: Grid) -> None:
    """Refuse a target that is coarser than the input."""
    for axis, name in enumerate(("latitude", "longitude")):
        coarse, fine = source.spacing[axis], grid.spacing[axis]
        if fine > coarse * 1.001:
            raise DpdmError(
                f"The target is coarser in {name} ({fine:g} degrees) than the input ({coarse:g}).",
                "Use dpdm coarsen for that.",
            )


def check_spacing(grid: Grid, prior: Prior) -> None:
    """Refuse a target whose spacing differs from the prior's."""
    for axis, name in enumerate(("latitude", "longitude")):
        fine, prior_spacing = grid.spacing[axis], prior.contract.spacing[axis]
        if not SPACING_RATIOS[0] < fine / prior_spacing < SPACING_RATIOS[1]:
            raise DpdmError(
                f"The target's {name} spacing is {fine:g} degrees, the prior's {prior_spacing:g}.",
                "Choose a target near that, or train a prior for it with dpdm train.",
            )


def has_spacing(grid: Grid, prior: Prior) -> bool:
    """Tell whether a target has about the prior's spacing."""
    ratios = (t / s for t, s in zip(grid.spacing, prior.contract.spacing, strict=True))
    return all(SPACING_RATIOS[0] < ratio < SPACING_RATIOS[1] for ratio in ratios)


def check_target(source: Grid, grid: Grid, prior: Prior, consistent: bool) -> None:
    """Refuse a target that the prior does not support from this source."""
    for axis, name in enumerate(("latitude", "longitude")):
        coarse, fine = source.spacing[axis], grid.spacing[axis]
        smallest, largest = prior.contract.factors
        if not 0.74 * smallest < coarse / fine < 1.35 * largest:
            raise DpdmError(
                f"From {coarse:g} to {fine:g} degrees of {name} is a factor of "
                f"{coarse / fine:.3g}; the prior was trained for {smallest} to {largest}.",
                "Use another prior, or train one with dpdm train --factor.",
            )
    if not source.covers(grid):
        raise DpdmError(
            "The target grid reaches beyond the cells of the input.",
            "Use a smaller target or a larger input: nothing is extrapolated.",
        )
    if consistent and not is_nested(grid, source):
        raise DpdmError(
            "--consistent needs whole fine cells in every coarse cell, and this target cuts some.",
            "Leave out --grid or --bbox, which make such a target, or leave out --consistent.",
        )


def check_complete_state(fields: xr.Dataset, prior: Prior, path: Source) -> None:
    """Refuse states without all variables of the prior, whose distribution is joint."""
    if missing := [n for n in prior.normaliser.names if n not in fields]:
        raise DpdmError(
            f"{path} has no {', '.join(missing)}, and the prior is of "
            f"{', '.join(prior.normaliser.names)} jointly.",
            "Give a file with all of them, or use a prior of fewer.",
        )


def check_no_gaps(path: object, fields: Mapping[str, Array]) -> None:
    """Refuse fields with missing values."""
    for name, values in fields.items():
        if count := int(np.isnan(values).sum()):
            raise DpdmError(
                f"{path}: {name} is missing in {count} of {values.size} cells.",
                "States must have no missing values: select a region, or fill them.",
            )


def check_state_count(count: int, prior: Prior, source: str) -> None:
    """Refuse no states, or implausibly many."""
    if not 0 < count <= MAX_STATES:
        raise DpdmError(
            f"From the first to the last time of {source} there are {count} states, "
            f"{prior.contract.cadence:g} apart.",
            "Check the times, or select them with a file for --grid.",
        )


def check_trajectory_axes(axes: xr.Dataset, prior: Prior, path: Path | None) -> None:
    """Refuse states of another grid or time step than the prior's."""
    trained = tuple(prior.contract.plane)
    plane = tuple(axes.sizes.get(side, 0) for side in ("y", "x"))
    if (plane if any(plane) else ()) != trained:
        raise DpdmError(
            f"The states of {path} are {describe_plane(plane)}, the prior's "
            f"{describe_plane(trained)}.",
            "Give a file like those that the prior was trained on.",
        )
    if path is not None:
        check_times(axes, path)
    check_cadence(axes, prior, path)


def check_cadence(states: xr.Dataset, prior: Prior, path: Path | None) -> None:
    """Refuse states with another time step than the prior's."""
    cadence = prior.contract.cadence
    step = trajectory_cadence(states) if states.sizes["time"] > 1 else cadence
    if not math.isclose(step, cadence, rel_tol=1e-2):
        raise DpdmError(
            f"The states of {path} are {step:g} apart, the prior's {cadence:g}.",
            "Use the time step that the prior was trained on.",
        )


def describe_plane(plane: tuple[int, ...]) -> str:
    """Return what a state is in words.

    Example:
        >>> describe_plane((32, 64)), describe_plane(())
        ('fields of 32 by 64 cells', 'components')
    """
    return f"fields of {plane[0]} by {plane[1]} cells" if any(plane) else "components"


def check_components(count: int, prior: Prior, path: Path) -> None:
    """Refuse states of another number of components or variables."""
    names = prior.normaliser.names
    if count != len(names):
        raise DpdmError(
            f"The states of {path} have {count} components or variables, the prior's "
            f"{len(names)}: {', '.join(names)}.",
            "Give a file like those that the prior was trained on.",
        )


def refuse_field_options(
    options: EnsembleOptions, conditioning: FieldConditioning, codes: bool = False
) -> None:
    """Refuse options of fields on the Earth for a prior of trajectories."""
    chosen = options.climatology, options.climatology_period
    field_options = options.consistent, options.rename, options.units, codes, *chosen
    if conditioning != FieldConditioning() or any(field_options):
        raise DpdmError(
            "--factor, --blind, --consistent, --statics, --climatology, --climatology-period, "
            "--var, --units and --missing apply to fields on the Earth, and this is a prior of "
            "trajectories.",
            "Leave them out, or choose another --prior.",
        )


def refuse_field_request(request: Request) -> None:
    """Refuse options of fields for an analysis of trajectories."""
    files, ensemble = request.files, request.ensemble
    field_options = {
        "--coarse": files.coarse, "--statics": files.statics, "--bbox": ensemble.bbox,
        "--var": ensemble.rename, "--units": ensemble.units, "--missing": ensemble.missing,
        "--climatology": ensemble.climatology, "--climatology-period": ensemble.climatology_period,
        "--coarse-error": request.observations.coarse_error,
        "--dates": request.observations.dates,
    }  # fmt: skip
    for option, value in field_options.items():
        if value:
            raise DpdmError(
                f"{option} applies to fields on the Earth, and this is a prior of trajectories.",
                "Leave it out, or choose another --prior.",
            )
