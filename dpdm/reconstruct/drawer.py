"""Draw a unit: a pure function of the prior, and of the step that is sent along.

A `Drawer` is what every worker holds, once. The `Work` that it is sent is small: the coarse fields
of one step, its observations, and the numbers of the members.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.analysis import Analysis
from dpdm.assimilate import stated_coarse_error
from dpdm.coarse_error import CoarseError
from dpdm.reconstruct.parts import Drawn
from dpdm.reconstruct.units import Unit
from dpdm.request import AssimilationOptions
from dpdm.states.fields import FieldSpace


@dataclass(frozen=True)
class Work:
    """A unit with all that its worker lacks.

    Attributes:
        unit: Which step and members.
        coarse: The canonical coarse fields of the step, adjusted, in memory.
        rows: The observations of the step, if observations are assimilated.
    """

    unit: Unit
    coarse: xr.Dataset
    rows: pd.DataFrame | None = None


@dataclass(frozen=True)
class Drawer:
    """What draws units.

    Attributes:
        space: The prior, the grid and how to sample; the coarse fields come with the work.
        said: How observations pull, if there are any.
        error: The law of the coarse field's error, if it is stated.
    """

    space: FieldSpace
    said: AssimilationOptions | None = None
    error: CoarseError | None = None

    def __call__(self, work: Work) -> Drawn:
        """Draw a unit."""
        space = replace(self.space, coarse=work.coarse)
        numbers = list(work.unit.numbers)
        if self.said is None or work.rows is None:
            drawn = [m.astype(np.float32) for m in space.members(0, numbers)]
            return Drawn(np.stack(drawn))
        analysis = Analysis(space, work.rows, self.said.reject, self.error)
        drawn = [m.astype(np.float32) for m in analysis.members(0, numbers)]
        noted = np.ascontiguousarray(analysis.analysis[:, numbers])
        status = tuple(analysis.table["status"])
        return Drawn(np.stack(drawn), analysis.prior, noted, status)


def drawer_of(space: FieldSpace, said: AssimilationOptions | None) -> Drawer:
    """Return what draws the units of a space; of its series it keeps the first step, unread."""
    error = None if said is None else stated_coarse_error(space, said)
    return Drawer(replace(space, coarse=space.coarse.isel(time=[0])), said, error)
