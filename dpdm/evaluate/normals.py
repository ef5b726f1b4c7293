"""Choose the climatology of each variable: anomalies refer to it, the delta method adds it.

Where a climatology of the place is known, it is the mean of each calendar month. Else anomalies
refer to the truth's own calendar-month means, if each of its months comes in two years or more,
and else to its mean over time. A truth that is the climatology itself has no anomalies, and the
delta method would reproduce it: both are left out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr

from dpdm.errors import DpdmWarning
from dpdm.evaluate.baselines import AMOUNTS, apply_delta_method, monthly_means, subgrid_detail
from dpdm.evaluate.table import join_in_sentence
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.reference_climatology import (
    BUNDLED,
    ReferenceClimatology,
    bundled_climatology,
)
from dpdm.fields.subset import cut_to_grid
from dpdm.fields.time import Numbers, is_dated, step_months, step_years, time_bounds

MIN_YEARS = 2  # of each calendar month, for anomalies from the truth's own
EQUAL_SHARE = 1e-3  # of the truth's range: more than the rounding of packed files
OWN_MONTHS, OWN_MEAN = "the truth's own calendar-month means", "the truth's mean over time"


@dataclass(frozen=True)
class Normals:
    """The climatology of each variable.

    Attributes:
        reference: The known climatology on the truth's cells, of the variables that it has.
        detail: The reference minus the interpolation of its coarse means, of the variables to
            which the delta method adds it; None without coarse fields.
        known: The cells where the climatology is known, for the detail.
        own: Means of the truth itself, of the other variables: of each calendar month, or over
            time (month 0).
        equal: Variables whose truth is the reference itself.
    """

    reference: ReferenceClimatology | None
    detail: ReferenceClimatology | None
    known: Grid | None
    own: xr.Dataset
    equal: tuple[str, ...] = ()

    def at(self, name: str, truth: xr.Dataset, step: int) -> xr.DataArray | None:
        """Return what anomalies of a variable refer to at a step, None where there are none."""
        if name in self.equal:
            return None
        if self.reference is not None and name in self.reference.fields:
            alone = replace(self.reference, fields=self.reference.fields[[name]])
            return state_at(alone, truth, step)[name]
        month = 0 if 0 in self.own["month"] else truth_months(truth)[step]
        return self.own[name].sel(month=month, drop=True)

    def delta_method(self, coarse: xr.Dataset, truth: xr.Dataset, step: int) -> xr.Dataset | None:
        """Return the delta method's fields of a step, None without a climatology."""
        if self.detail is None or self.known is None:
            return None
        return apply_delta_method(coarse, state_at(self.detail, truth, step), self.known)

    def notes(self) -> list[str]:
        """Say which climatology is taken, a sentence each."""
        groups = {}
        if self.reference is not None:
            known = [str(n) for n in self.reference.fields.data_vars if n not in self.equal]
            groups[describe_reference(self.reference)] = known
        if self.own.data_vars:
            text = OWN_MEAN if 0 in self.own["month"] else OWN_MONTHS
            groups[text] = [str(n) for n in self.own.data_vars]
        some = len(groups) > 1 or self.equal
        notes = [
            f"ACC{f' of {join_in_sentence(names)}' if some else ''} against {text}: "
            "centred correlation of the anomalies from it."
            for text, names in groups.items()
            if names
        ]
        if self.reference is not None and self.detail is not None:
            notes.append(
                "delta method: bilinear interpolation + climatology - bilinear interpolation of "
                f"its coarse means; {describe_reference(self.reference)}."
            )
        if self.reference is not None and self.equal:
            notes.append(equal_sentence(self.equal, self.reference))
        return notes


def make_normals(
    truth: xr.Dataset,
    coarse: xr.Dataset | None,
    reference: ReferenceClimatology | None,
    ranges: dict[str, float],
) -> Normals:
    """Choose the climatology of each variable.

    Args:
        truth: The truth, with times.
        coarse: The coarse fields, if any.
        reference: The known climatology, on the truth's cells, with a margin around them where
            possible: interpolation at their edge needs coarse cells beyond.
        ranges: Range of the truth, by variable.

    Warns:
        DpdmWarning: The truth is the climatology.
    """
    known = [] if reference is None else [n for n in truth.data_vars if n in reference.fields]
    others = [n for n in truth.data_vars if n not in known]
    own = own_means(truth[others]) if others else xr.Dataset()
    if reference is None or not known:
        return Normals(None, None, None, own)
    wide = replace(reference, fields=reference.fields[known])
    normal = cut_climatology(wide, grid_of(truth))
    equal = find_equal(truth, normal, ranges)
    if equal:
        warnings.warn(equal_sentence(equal, reference), DpdmWarning, stacklevel=2)
    left = [name for name in known if name not in equal]
    if coarse is None or not left:
        return Normals(normal, None, None, own, equal)
    detail = replace(wide, fields=subgrid_detail(wide.fields[left], grid_of(coarse)))
    cut = cut_climatology(detail, grid_of(truth))
    return Normals(normal, cut, grid_of(wide.fields), own, equal)


def cut_climatology(climatology: ReferenceClimatology, grid: Grid) -> ReferenceClimatology:
    """Return the climatology on the cells of a grid."""
    return replace(climatology, fields=cut_to_grid(climatology.fields, grid, "climatology"))


def state_at(climatology: ReferenceClimatology, truth: xr.Dataset, step: int) -> xr.Dataset:
    """Return the climatological fields of a step of the truth, its annual mean without dates."""
    time = truth["time"] if is_dated(truth["time"]) else None
    return climatology.state(time, time_bounds(truth), step)


def truth_months(truth: xr.Dataset) -> Numbers:
    """Return the calendar month (time,) of each step, 0 if times are not dates."""
    time = truth["time"]
    if not is_dated(time):
        return np.zeros(time.size, np.int64)
    return step_months(time, time_bounds(truth))


def own_means(truth: xr.Dataset) -> xr.Dataset:
    """Return the truth's mean of each calendar month, or over time where years are too few."""
    months = truth_months(truth)
    if months.any():
        years = step_years(truth["time"], time_bounds(truth))
        counts = [len(set(years[months == month])) for month in set(months)]
        if len(counts) > 1 and min(counts) >= MIN_YEARS:
            return monthly_means(truth, months)
    return monthly_means(truth, np.zeros_like(months))


def find_equal(
    truth: xr.Dataset, reference: ReferenceClimatology, ranges: dict[str, float]
) -> tuple[str, ...]:
    """Return the variables whose truth is the climatology at all times, but for rounding."""
    names = [str(name) for name in reference.fields.data_vars]
    for step in range(truth.sizes["time"]):
        if not names:
            break
        field = truth[names].isel(time=step, drop=True).compute()
        error = departure(field, state_at(reference, truth, step))
        names = [n for n in names if not error[n] >= rounding(n, reference, ranges[n])]
    return tuple(names)


def departure(field: xr.Dataset, normal: xr.Dataset) -> xr.Dataset:
    """Return the RMS difference of each variable, of log(1 + x) for amounts."""
    one, other = (
        f.assign({n: np.log1p(f[n]) for n in AMOUNTS if n in f}) for f in (field, normal)
    )
    error: xr.Dataset = ((one - other) ** 2).mean() ** 0.5
    return error


def rounding(name: str, reference: ReferenceClimatology, span: float) -> float:
    """Return the RMS difference below which two fields are equal but for their rounding.

    Args:
        name: The variable.
        reference: Its climatology; the bundled one is rounded to known steps.
        span: Range of the truth.
    """
    if reference.name == BUNDLED:
        return next(v.step for v in bundled_climatology().variables if v.name == name)
    return EQUAL_SHARE * (float(np.log1p(span)) if name in AMOUNTS else span)


def equal_sentence(names: Sequence[str], reference: ReferenceClimatology) -> str:
    """Say that the truth is the climatology itself, and what follows."""
    return (
        f"For {join_in_sentence(names)} the truth is {describe_reference(reference)} itself: the "
        "delta method would be perfect and ACC undefined, so both are left out; "
        "--climatology none takes the truth's own mean."
    )


def describe_reference(reference: ReferenceClimatology) -> str:
    """Return the name and the years of a climatology.

    Example:
        >>> describe_reference(ReferenceClimatology("era5", "2000-01 to 2025-12", xr.Dataset()))
        'ERA5 2000-2025 monthly climatology'
    """
    name = reference.name.upper() if reference.name == "era5" else reference.name
    first, _, last = reference.period.partition(" to ")
    whole = first.endswith("-01") and last.endswith("-12")
    ends = dict.fromkeys((first[:-3], last[:-3]))
    years = "-".join(ends) if whole else reference.period
    return " ".join(filter(None, (name, years, "monthly climatology")))
