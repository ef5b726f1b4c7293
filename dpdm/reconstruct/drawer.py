"""Draw a unit: a pure function of the prior, and of the step that is sent along.

A `Drawer` is what every worker holds, once. The `Work` that it is sent is small: the coarse fields
of one step, its observations, and the numbers of the members.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.assimilate import doubted
from dpdm.coarse_error import CoarseError
from dpdm.downscale import fields
from dpdm.reconstruct.parts import Drawn
from dpdm.reconstruct.units import Unit
from dpdm.request import Seeing
from dpdm.seeing import Sights
from dpdm.task import Task


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
        task: The prior, the grid and how to sample; the coarse fields come with the work.
        seeing: How observations pull, if there are any.
        error: The law of the coarse field's error, if it is stated.
    """

    task: Task
    seeing: Seeing | None = None
    error: CoarseError | None = None

    def __call__(self, work: Work) -> Drawn:
        """Draw a unit."""
        task = replace(self.task, coarse=work.coarse)
        numbers = list(work.unit.numbers)
        if self.seeing is None or work.rows is None:
            drawn = [m.astype(np.float32) for m in fields(task, 0, numbers)]
            return Drawn(np.stack(drawn))
        sights = Sights(task, work.rows, self.seeing.reject, self.error)
        drawn = [m.astype(np.float32) for m in sights.members(0, numbers)]
        analysis = np.ascontiguousarray(sights.analysis[:, numbers])
        status = tuple(sights.table["status"])
        return Drawn(np.stack(drawn), sights.prior, analysis, status)


def drawer_of(task: Task, seeing: Seeing | None) -> Drawer:
    """Return what draws the units of a task; of its series it keeps the first step, unread."""
    error = None if seeing is None else doubted(task, seeing)
    return Drawer(replace(task, coarse=task.coarse.isel(time=[0])), seeing, error)
