"""What a coarse file, a prior and a target must have in common, and what to say if not."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning, none_found
from dpdm.fields.clock import pick
from dpdm.fields.grid import Grid, nested
from dpdm.fields.store import one_member
from dpdm.fields.time import PERIODS, bounds_of, length_of, period_of
from dpdm.fields.variables import is_anomaly
from dpdm.prior import Prior


def wanted(fields: xr.Dataset, prior: Prior, path: Path, rename: Mapping[str, str]) -> xr.Dataset:
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
        raise none_found(path, "the prior's", names, fields.data_vars)
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
            f"{one_member(fields)} Give each its own --seed.",
        )
    out = pick(fields, found)
    return out.squeeze("realization", drop=True) if "realization" in fields.dims else out


def spoken(prior: Prior) -> list[str]:
    """Return the names of a prior's variables, and of their families."""
    return [name for c in prior.normaliser.channels for name in (c.name, c.family) if name]


LONGER = {"month": ("season", "year"), "season": ("year",)}  # means that the season flag covers


def period_note(fields: xr.Dataset, prior: Prior, path: Path | str, accepted: str = "") -> str:
    """Return how the period of the input differs from the prior's, empty where it does not.

    Args:
        fields: Canonical fields.
        prior: A prior of fields.
        path: What a message calls the fields.
        accepted: "any" to go on with a warning where they differ.
    """
    own, given = prior.contract.step, other_period(fields, prior.contract.step)
    if not given:
        return ""
    note = f"steps of {given}, prior of {own}s"
    what = f"{path} has steps of {given}, and the prior was trained on {own}s"
    if accepted != "any":
        shorter = length_of(fields.get("time"), bounds_of(fields)) < PERIODS[own][0]
        if shorter and own == "month":
            hint = "Average it first: cdo monmean IN.nc OUT.nc. Or use --period any."
        else:
            hint = "Use a prior of such steps, or --period any."
        raise DpdmError(f"{what}.", hint)
    warnings.warn(f"{what}: spread and detail are those of {own}s.", DpdmWarning, stacklevel=2)
    return note


def other_period(fields: xr.Dataset, own: str) -> str:
    """Return the period of fields where it is known and is not one that a prior serves."""
    time, bounds = fields.get("time"), bounds_of(fields)
    given, days = period_of(time, bounds), length_of(time, bounds)
    if not own or given in (own, *LONGER.get(own, ())):
        return ""
    if given:
        return f"{given}s"
    return f"{days:.3g} days" if 0 < days < PERIODS[own][0] else ""


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
    if consistent and not nested(grid, source):
        raise DpdmError(
            "--consistent needs whole fine cells in every coarse cell, and this target cuts some.",
            "Leave out --grid or --bbox, which make such a target, or leave out --consistent.",
        )
