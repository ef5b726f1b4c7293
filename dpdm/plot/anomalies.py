"""The climatology of each step of a field, which anomalies refer to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import grid_of
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.reference_climatology import (
    BUNDLED,
    NONE,
    bundled_climatology,
    month_weights,
    open_climatology,
)
from dpdm.file_group import Source


class Climate(NamedTuple):
    """The climate of each step of a field.

    Attributes:
        title: Name and period of the climatology.
        states: The climate (time, lat, lon), lazy, or (lat, lon) without time; canonical units.
    """

    title: str
    states: xr.DataArray


@dataclass(frozen=True)
class ClimatologyRequest:
    """A climatology that anomalies refer to.

    Attributes:
        choice: Its name or file; by default the bundled one.
        period: First and last month or year of a file's series.
        name: The variable, canonical.
        missing: Codes of missing values of a file.
    """

    choice: str
    period: tuple[str, str] | None
    name: str
    missing: MissingCodes

    def open(self, field: xr.DataArray, bounds: xr.DataArray | None, path: Source) -> Climate:
        """Return the climate of a field's steps, which may have bounds, on its cells."""
        known = bundled_climatology().names
        if self.choice == NONE or (not self.choice and self.name not in known):
            raise DpdmError(
                f"There is no climatology of {self.name} for the anomalies of {path}.",
                f"Give a file with --climatology FILE; {BUNDLED} has {', '.join(known)}.",
            )
        reference = open_climatology(
            self.choice or BUNDLED, grid_of(field), [self.name], period=self.period,
            missing=self.missing,
        )  # fmt: skip
        assert reference is not None  # only of the choice "none"
        return Climate(reference.title, climate_states(reference.fields[self.name], field, bounds))


def climate_states(
    months: xr.DataArray, field: xr.DataArray, bounds: xr.DataArray | None
) -> xr.DataArray:
    """Return the climate of each step of a field from twelve months, lazily."""
    months = months.drop_vars("month")
    if "time" not in field.dims:
        shares = xr.DataArray(month_weights(None, None, 0), dims="month")
    else:
        time = field["time"]
        weights = np.stack([month_weights(time, bounds, step) for step in range(time.size)])
        shares = xr.DataArray(weights, {"time": time}, ("time", "month")).chunk(time=1)
    states = (shares * months).sum("month", skipna=False).assign_attrs(months.attrs)
    return states.assign_coords(lat=field["lat"], lon=field["lon"])
