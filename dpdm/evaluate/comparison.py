"""Align forecasts and reference methods to the cells and times of the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.evaluate.alignment import match_times
from dpdm.evaluate.baselines import apply_lapse_rate, subgrid_detail
from dpdm.evaluate.normals import Normals, make_normals, truth_months
from dpdm.evaluate.scores import area_weights
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.reference_climatology import ReferenceClimatology
from dpdm.fields.regrid import interpolate_bilinear
from dpdm.fields.subset import cut_to_grid, describe_extent, select_spatial
from dpdm.fields.time import time_bounds

MAX_SINGLE_MEMBERS = 5  # members whose scores are averaged as "one member"
SUBENSEMBLE_SIZES = (10, 33)  # of the ensemble means, besides that of all members


@dataclass(frozen=True)
class Comparison:
    """Forecasts and truth with equal cells and times.

    Attributes:
        truth: With dimensions time, lat and lon; lazy, as are the next three.
        forecast: With or without dimension ``realization``.
        rivals: Further forecasts to score, by method.
        coarse: The coarse fields, on their own cells.
        normals: The climatology of each variable.
        height: Elevation detail (m).
        value_range: Range of the truth, by variable.
        weights: Area of the truth's cells.
    """

    truth: xr.Dataset
    forecast: xr.Dataset
    rivals: dict[str, xr.Dataset]
    coarse: xr.Dataset | None
    normals: Normals
    height: xr.DataArray | None
    value_range: dict[str, float]
    weights: xr.DataArray

    @property
    def names(self) -> list[str]:
        """List the variables."""
        return [str(name) for name in self.truth.data_vars]

    @property
    def steps(self) -> int:
        """Count the time steps."""
        return int(self.truth.sizes["time"])

    def month(self, step: int) -> int:
        """Return the calendar month of a time step, 0 if times are not dates."""
        return int(truth_months(self.truth)[step])

    def climatology_at(self, name: str, step: int) -> xr.DataArray | None:
        """Return the climatology that anomalies refer to, None where there are none."""
        return self.normals.at(name, self.truth, step)


class Snapshot(NamedTuple):
    """The fields of one variable at one time, in memory.

    Attributes:
        name: The variable.
        step: The time step.
        truth: With dimensions lat and lon.
        ensemble: With dimension ``realization`` if there are members.
        fields: The fields to score one by one, on dimension ``method``.
    """

    name: str
    step: int
    truth: xr.DataArray
    ensemble: xr.DataArray
    fields: xr.DataArray

    @property
    def valid_truth(self) -> xr.DataArray:
        """Return the truth in cells that no method misses."""
        return self.truth.where(self.fields.notnull().all("method"))


def prepare_comparison(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    coarse: xr.Dataset | None,
    climatology: ReferenceClimatology | None,
    topography: xr.DataArray | None,
    also: Mapping[str, xr.Dataset],
) -> Comparison:
    """Align all fields to the truth's cells and the times that all files share."""
    bounds = time_bounds(truth)
    rivals = {"forecast": forecast} | {f"'{method}'": fields for method, fields in also.items()}
    truth = shared_variables(
        truth, {**rivals, **({} if coarse is None else {"coarse file": coarse})}
    )
    fields = {
        what: cut_to_grid(select_spatial(f), grid_of(truth), what) for what, f in rivals.items()
    }
    if coarse is not None:
        fields["coarse file"] = require_coverage(select_spatial(coarse), grid_of(truth))
    fields = match_times({"truth": truth, **fields})
    truth, ranges = restore_bounds(fields["truth"], bounds), value_ranges(fields["truth"])
    return Comparison(
        truth=truth,
        forecast=fields["forecast"],
        rivals={method: fields[f"'{method}'"] for method in also},
        coarse=fields.get("coarse file"),
        normals=make_normals(truth, coarse, climatology, ranges),
        height=elevation_detail(truth, coarse, topography),
        value_range=ranges,
        weights=area_weights(truth),
    )


def shared_variables(truth: xr.Dataset, others: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Select the truth's variables that the forecast has, and check their units."""
    names = [name for name in select_spatial(truth).data_vars if name in others["forecast"]]
    if not names:
        raise DpdmError(
            f"The forecast ({', '.join(map(str, others['forecast'].data_vars))}) and the truth "
            f"({', '.join(map(str, truth.data_vars))}) share no variable.",
            "Name the variable with --var, as in --var "
            f"{next(iter(truth.data_vars))}={next(iter(others['forecast'].data_vars))}.",
        )
    for what, fields in others.items():
        for name in (n for n in names if n in fields):
            units = [f[name].attrs.get("units") for f in (truth, fields)]
            if None not in units and units[0] != units[1]:
                raise DpdmError(
                    f"{name} is in {units[1]} in the {what} and in {units[0]} in the truth.",
                    "Convert one of them.",
                )
    return truth[names]


def require_coverage(coarse: xr.Dataset, grid: Grid) -> xr.Dataset:
    """Require that the coarse fields cover a grid."""
    if grid_of(coarse).covers(grid):
        return coarse
    raise DpdmError(
        f"The coarse file ({describe_extent(grid_of(coarse))}) does not cover the truth "
        f"({describe_extent(grid)}).",
        "Give the file that the forecast was made from, or cut the truth.",
    )


def restore_bounds(truth: xr.Dataset, bounds: xr.DataArray | None) -> xr.Dataset:
    """Return the truth with the bounds of its steps, which tell the months of a season."""
    if bounds is None or "time" not in bounds.dims:
        return truth
    return truth.assign_coords(time_bnds=bounds.sel(time=truth["time"]).compute())


def elevation_detail(
    truth: xr.Dataset, coarse: xr.Dataset | None, topography: xr.DataArray | None
) -> xr.DataArray | None:
    """Return the elevation detail (m) on the truth's cells."""
    if coarse is None or topography is None:
        return None
    height = subgrid_detail(topography.to_dataset(name="height"), grid_of(coarse))
    return cut_to_grid(height, grid_of(truth), "topography")["height"]


def value_ranges(truth: xr.Dataset) -> dict[str, float]:
    """Return the range of each variable over all cells and times."""
    steps = (truth.isel(time=i, drop=True).compute() for i in range(truth.sizes["time"]))
    ends = xr.concat([xr.concat([s.min(), s.max()], "end") for s in steps], "end")
    return {str(name): float(v) for name, v in (ends.max() - ends.min()).data_vars.items()}


def read_rivals(comparison: Comparison, step: int) -> dict[str, xr.Dataset]:
    """Read the reference methods and further forecasts of a time step, by method."""
    also = {m: f.isel(time=step, drop=True).compute() for m, f in comparison.rivals.items()}
    means = {
        m: f.mean("realization", skipna=False) if "realization" in f.dims else f
        for m, f in also.items()
    }
    return {**compute_baselines(comparison, step), **means}


def read_snapshot(
    comparison: Comparison, name: str, step: int, rivals: Mapping[str, xr.Dataset]
) -> Snapshot:
    """Read one variable at one time."""
    truth, ensemble = (
        f[name].isel(time=step, drop=True).compute()
        for f in (comparison.truth, comparison.forecast)
    )
    return Snapshot(name, step, truth, ensemble, stack_candidates(name, ensemble, rivals))


def compute_baselines(comparison: Comparison, step: int) -> dict[str, xr.Dataset]:
    """Compute the reference methods of a time step from its coarse field."""
    if comparison.coarse is None:
        return {}
    coarse = comparison.coarse.isel(time=step, drop=True).compute()
    lerped = interpolate_bilinear(coarse, grid_of(comparison.truth))
    baselines = {"lerp": lerped}
    if comparison.height is not None:
        baselines["lerp + lapse rate"] = apply_lapse_rate(lerped, comparison.height)
    delta = comparison.normals.delta_method(coarse, comparison.truth, step)
    if delta is not None:
        baselines["delta method"] = delta
    return baselines


def stack_candidates(
    name: str, ensemble: xr.DataArray, rivals: Mapping[str, xr.Dataset]
) -> xr.DataArray:
    """Stack the fields of a variable to score one by one, on dimension ``method``.

    All single members have the same label.
    """
    fields = [(what, f[name]) for what, f in rivals.items() if name in f]
    fields += [*single_members(ensemble), *subensemble_means(ensemble)]
    bare = [f.astype(float).reset_coords(drop=True).transpose("lat", "lon") for _, f in fields]
    labels = xr.DataArray([what for what, _ in fields], dims="method", name="method")
    return xr.concat(bare, dim=labels, join="exact")


def single_members(ensemble: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    """Return the first members, or the forecast itself if it has none."""
    if "realization" not in ensemble.dims:
        return [("forecast", ensemble)]
    count = min(MAX_SINGLE_MEMBERS, ensemble.sizes["realization"])
    return [("one member", ensemble.isel(realization=i)) for i in range(count)]


def subensemble_means(ensemble: xr.DataArray) -> list[tuple[str, xr.DataArray]]:
    """Return the means of the first 10, the first 33 and all members."""
    every = ensemble.sizes.get("realization", 1)
    sizes = sorted({size for size in (*SUBENSEMBLE_SIZES, every) if 1 < size <= every})
    return [
        (f"mean of {n}", ensemble[{"realization": slice(n)}].mean("realization", skipna=False))
        for n in sizes
    ]
