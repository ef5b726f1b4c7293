"""The series that a plan reconstructs: of its input files, or of the climatology of the place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.driver_climate import select_stencil
from dpdm.fields.named_grids import Target, is_grid_name, read_grid
from dpdm.fields.output_units import assign_output_units
from dpdm.fields.step_axis import number_periods, period_axis
from dpdm.fields.time import time_labels
from dpdm.observations.collocation import date_components
from dpdm.observations.stations import is_for_verification
from dpdm.observations.status import is_usable
from dpdm.prior import Prior
from dpdm.prior.model_card import ModelCard
from dpdm.reconstruct.plan import LATEST, Plan, find_plan_file, find_plan_files
from dpdm.reconstruct.series import (
    DAY,
    HOUR,
    MONTH,
    CoarseSeries,
    open_series,
    shortest_labels,
)
from dpdm.states.climatological_background import climatological_space
from dpdm.states.driver_adjustment import warn_of_shift
from dpdm.states.field_domain import make_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.observed_steps import period_steps
from dpdm.states.options import EnsembleOptions
from dpdm.states.station_domain import (
    check_any_inside,
    missing_target_error,
    open_target_grids,
)

SHIFT_HINT = 'Set method = "anomalies" in [adjust] if it is a bias of the model.'
LONG_PERIODS = ("month", "season", "year")


@dataclass(frozen=True)
class PlanFiles:
    """A plan with the file that it is read from."""

    plan: Plan
    path: Path

    @property
    def folder(self) -> Path:
        """Return the folder from which names of files start."""
        return self.path.resolve().parent

    @property
    def grid(self) -> Target | None:
        """Return the file on the target grid or the grid itself, if there is one."""
        name = self.plan.output.grid
        if is_grid_name(name):
            return read_grid(name)
        path = find_plan_file(name, self.folder)
        return None if path is None else read_grid(str(path))

    @property
    def statics(self) -> Path | None:
        """Return the file of the user's own statics, if there is one."""
        return find_plan_file(self.plan.output.statics, self.folder)

    def find(self, section: str, key: str) -> list[Path]:
        """Return the files that match the globs of a key."""
        patterns = getattr(getattr(self.plan, section), key)
        return find_plan_files(patterns, self.folder, f"{self.path}, {section}, {key}")


def open_source(
    files: PlanFiles, prior: Prior, options: EnsembleOptions, table: pd.DataFrame | None
) -> tuple[CoarseSeries, FieldSpace]:
    """Return the coarse series of a plan, and the space of its steps.

    Args:
        files: The plan.
        prior: The prior.
        options: Options of the ensemble.
        table: The observations as read, or None.
    """
    if files.plan.input.files:
        return open_driver(files, prior, options)
    assert table is not None
    return open_climatology(files, prior, options, table)


def open_driver(
    files: PlanFiles, prior: Prior, options: EnsembleOptions
) -> tuple[CoarseSeries, FieldSpace]:
    """Return the series of the input files, and the space of its steps."""
    plan, paths = files.plan, files.find("input", "files")
    series = open_series(
        paths, prior, options.rename, plan.input.units, plan.input.period, options.missing,
        physics=not plan.observations.coarse_error,
    )  # fmt: skip
    series = replace(series, fields=assign_output_units(series.fields, options.out_units))
    space = make_field_space(series.fields, prior, options, files.grid, files.statics, paths[0])
    if plan.adjust.method == "anomalies":
        space = replace(space, coarse=select_stencil(space.coarse, space.grid))
    elif plan.adjust.method == "none":
        warn_of_shift(space, "the input", SHIFT_HINT)
    return series, space


def open_climatology(
    files: PlanFiles, prior: Prior, options: EnsembleOptions, table: pd.DataFrame
) -> tuple[CoarseSeries, FieldSpace]:
    """Return the climatology as a series of all steps of the period, and its space."""
    if files.grid is None and options.bbox is None:
        raise missing_target_error(table)
    grids = open_target_grids(prior, files.grid, options)
    check_any_inside(table, grids[1] or grids[0])
    axis = plan_steps(files.plan.input.period, prior.contract, table)
    space = None
    if prior.takes_reference:
        space = climatological_space(prior, axis, grids, options, files.statics, files.grid)
    if space is None:
        raise DpdmError(
            f"{files.path} has no input files, and no climatology is known to the prior there, so "
            "there is no background.",
            'Give climatology = "FILE.nc" in [prior], or a prior that takes one.',
        )
    return climate_series(space.coarse, prior.contract), space


def plan_steps(period: Sequence[str], contract: ModelCard, table: pd.DataFrame) -> xr.Dataset:
    """Return time and bounds of the steps of a period, which may end with the last observed."""
    first, last = period
    if last != LATEST:
        return period_steps((first, last), contract)
    used = table["time"].notna().to_numpy() & is_usable(table) & ~is_for_verification(table)
    if not used.any() or table["time"].dtype.kind in "if":
        raise DpdmError(
            "The period ends with the last step observed, and no observation has a date.",
            "Give the last month of the period.",
        )
    parts = date_components(table.loc[used, "time"].drop_duplicates().to_numpy())
    latest = number_periods(parts, contract.step, contract.cadence).max()
    stamp = time_labels(period_axis([latest], contract.step, contract.cadence))[0]
    return period_steps((first, stamp[:DAY]), contract)


def climate_series(fields: xr.Dataset, contract: ModelCard) -> CoarseSeries:
    """Return the climatology at some steps as a series of no files, with no step missing."""
    shortest = MONTH if contract.step in LONG_PERIODS else DAY if contract.cadence >= 1 else HOUR
    labels = shortest_labels(time_labels(fields), shortest)
    return CoarseSeries(fields, fields, 0, labels, (), (), ())
