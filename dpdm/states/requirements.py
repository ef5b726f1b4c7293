"""Requirements of a prior on the files of states that it is given."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning, variables_not_found
from dpdm.fields.grid import Grid
from dpdm.fields.read import select_member_hint
from dpdm.fields.regrid import is_nested
from dpdm.fields.time import PERIOD_DAYS, period_of, step_length, time_bounds
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.trajectories import check_times, trajectory_cadence
from dpdm.fields.variables import is_anomaly
from dpdm.prior import Prior
from dpdm.states.options import EnsembleOptions, FieldConditioning, Request

Array = NDArray[np.float64]
MAX_STATES = 1_000_000  # states


def select_prior_variables(
    fields: xr.Dataset, prior: Prior, path: Path, rename: Mapping[str, str]
) -> xr.Dataset:
    """Return the variables that the prior has."""
    names = prior.normaliser.names
    families = {channel.family for channel in prior.normaliser.channels}
    for name, old in rename.items():
        if name not in names and name not in families:
            raise DpdmError(
                f"--var {name}={old} names a variable that the prior does not have.",
                f"Its variables are {', '.join(names)}: write --var {names[0]}={old}.",
            )
    found = [n for n in names if n in fields]
    if not found and (departures := [str(n) for n, a in fields.items() if is_anomaly(a)]):
        raise DpdmError(
            f"{path} holds anomalies ({', '.join(departures)}), and the prior's variables are "
            f"{', '.join(names)} themselves.",
            "Add the climatology that they are departures from.",
        )
    if not found:
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
    out = select_with_bounds(fields, found)
    return out.squeeze("realization", drop=True) if "realization" in fields.dims else out


def prior_variable_names(prior: Prior) -> list[str]:
    """Return the names of a prior's variables, and of their families."""
    return [name for c in prior.normaliser.channels for name in (c.name, c.family) if name]


LONGER_PERIODS = {
    "month": ("season", "year"),
    "season": ("year",),
}  # means that the season flag covers


def period_mismatch_note(
    fields: xr.Dataset, prior: Prior, path: Path | str, accepted: str = ""
) -> str:
    """Return how the period of the input differs from the prior's, empty where it does not.

    Args:
        fields: Canonical fields.
        prior: A prior of fields.
        path: What a message calls the fields.
        accepted: "any" to go on with a warning where they differ.
    """
    own, given = prior.contract.step, unsupported_period(fields, prior.contract.step)
    if not given:
        return ""
    note = f"steps of {given}, prior of {own}s"
    what = f"{path} has steps of {given}, and the prior was trained on {own}s"
    if accepted != "any":
        shorter = step_length(fields.get("time"), time_bounds(fields)) < PERIOD_DAYS[own][0]
        if shorter and own == "month":
            hint = "Average it first: cdo monmean IN.nc OUT.nc. Or use --period any."
        else:
            hint = "Use a prior of such steps, or --period any."
        raise DpdmError(f"{what}.", hint)
    warnings.warn(f"{what}: spread and detail are those of {own}s.", DpdmWarning, stacklevel=2)
    return note


def unsupported_period(fields: xr.Dataset, own: str) -> str:
    """Return the period of fields where it is known and is not one that a prior serves."""
    time, bounds = fields.get("time"), time_bounds(fields)
    given, days = period_of(time, bounds), step_length(time, bounds)
    if not own or given in (own, *LONGER_PERIODS.get(own, ())):
        return ""
    if given:
        return f"{given}s"
    return f"{days:.3g} days" if 0 < days < PERIOD_DAYS[own][0] else ""


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
    """Refuse a target whose spacing is not the prior's."""
    for axis, name in enumerate(("latitude", "longitude")):
        fine, trained = grid.spacing[axis], prior.contract.spacing[axis]
        if not 0.74 < fine / trained < 1.35:
            raise DpdmError(
                f"The target's {name} spacing is {fine:g} degrees, the prior's {trained:g}.",
                "Choose a target near that, or train a prior for it with dpdm train.",
            )


def check_target(source: Grid, grid: Grid, prior: Prior, consistent: bool) -> None:
    """Refuse a target that the prior cannot serve from this source."""
    for axis, name in enumerate(("latitude", "longitude")):
        coarse, fine = source.spacing[axis], grid.spacing[axis]
        least, most = prior.contract.factors
        if not 0.74 * least < coarse / fine < 1.35 * most:
            raise DpdmError(
                f"From {coarse:g} to {fine:g} degrees of {name} is a factor of "
                f"{coarse / fine:.3g}; the prior was trained for {least} to {most}.",
                "Use another prior, or train one with dpdm train --factor.",
            )
    if not source.covers(grid):
        raise DpdmError(
            "The target grid reaches beyond the cells of the input.",
            "Cut the target, or give a larger input: nothing is extrapolated.",
        )
    if consistent and not is_nested(grid, source):
        raise DpdmError(
            "--consistent needs whole fine cells in every coarse cell, and this target cuts some.",
            "Leave out --grid or --bbox, which make such a target, or leave out --consistent.",
        )


def check_complete_state(fields: xr.Dataset, prior: Prior, path: Path) -> None:
    """Refuse a state that lacks variables of the prior, which knows them together."""
    if missing := [n for n in prior.normaliser.names if n not in fields]:
        raise DpdmError(
            f"{path} has no {', '.join(missing)}, and the prior knows "
            f"{', '.join(prior.normaliser.names)} together.",
            "Give a file with all of them, or a prior of fewer.",
        )


def check_no_gaps(path: Path, fields: Mapping[str, Array]) -> None:
    """Refuse fields with missing values."""
    for name, values in fields.items():
        if count := int(np.isnan(values).sum()):
            raise DpdmError(
                f"{path}: {name} is missing in {count} of {values.size} cells.",
                "A state must be whole: cut the field, or fill them.",
            )


def check_state_count(count: int, prior: Prior, named: str) -> None:
    """Refuse more states than make sense."""
    if not 0 < count <= MAX_STATES:
        raise DpdmError(
            f"From first to last time of {named} there are {count} states, "
            f"{prior.contract.cadence:g} apart.",
            "Check the times, or say with --grid which are wanted.",
        )


def check_like(like: xr.Dataset, prior: Prior, path: Path | None) -> None:
    """Refuse a file whose states are not the prior's."""
    said, plane = prior.contract, tuple(like.sizes.get(side, 0) for side in ("y", "x"))
    if (plane if any(plane) else ()) != tuple(said.plane):
        raise DpdmError(
            f"The states of {path} are {describe_plane(plane)}, the prior's "
            f"{describe_plane(said.plane)}.",
            "Give a file like those that the prior was trained on.",
        )
    if path is not None:
        check_times(like, path)
    check_cadence(like, prior, path)


def check_cadence(like: xr.Dataset, prior: Prior, path: Path | None) -> None:
    """Refuse states that are further apart, or closer, than the prior's."""
    cadence = prior.contract.cadence
    if like.sizes["time"] > 1 and not math.isclose(
        trajectory_cadence(like), cadence, rel_tol=1e-2
    ):
        raise DpdmError(
            f"The states of {path} are {trajectory_cadence(like):g} apart, the prior's "
            f"{cadence:g}.",
            "Give the times that the prior was trained for.",
        )


def describe_plane(plane: tuple[int, ...]) -> str:
    """Say what a state is.

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
    field_options = options.consistent, options.rename, options.units, codes
    if conditioning != FieldConditioning() or any(field_options):
        raise DpdmError(
            "--factor, --blind, --consistent, --statics, --var, --units and --missing apply to "
            "fields on the Earth, and this is a prior of trajectories.",
            "Leave them out, or choose another --prior.",
        )


def refuse_field_request(request: Request) -> None:
    """Refuse options of fields for an analysis of trajectories."""
    files, ensemble = request.files, request.ensemble
    field_options = {
        "--coarse": files.coarse, "--statics": files.statics, "--bbox": ensemble.bbox,
        "--var": ensemble.rename, "--units": ensemble.units, "--missing": ensemble.missing,
        "--coarse-error": request.observations.coarse_error,
    }  # fmt: skip
    for option, value in field_options.items():
        if value:
            raise DpdmError(
                f"{option} applies to fields on the Earth, and this is a prior of trajectories.",
                "Leave it out, or choose another --prior.",
            )
