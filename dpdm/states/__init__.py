"""The states in a user's file, as a prior sees them: fields on the Earth, or trajectories.

What is made *of* a state (an ensemble around it, features, a forecast) begins here: the file is
opened, checked against the prior, and given state by state in physical values, with the prior's
denoiser bound to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.draw import How
from dpdm.ensemble import EnsembleOptions
from dpdm.errors import DpdmError
from dpdm.prior import Prior
from dpdm.states.globe import Globe
from dpdm.states.maps import Around, Maps
from dpdm.states.paths import Paths

Array = NDArray[np.float64]


class States(Protocol):
    """States of a file: time steps of fields, or whole trajectories."""

    prior: Prior
    wish: EnsembleOptions
    how: How
    before: int  # axes of a state before that of its variables

    @property
    def attrs(self) -> Mapping[str, Any]:
        """Give what the file says of itself."""

    @property
    def weights(self) -> Array:
        """Give the share of each cell in a mean over cells, 1 on average."""

    def axes(self, number: int | None) -> dict[str, xr.DataArray]:
        """Return the axes of one state or, without a number, of all, in order."""

    @property
    def count(self) -> int:
        """Count the states."""

    @property
    def names(self) -> list[str]:
        """Name the variables, or the components of the one there is."""

    def values(self, number: int) -> Array:
        """Return a state in physical values, without a missing one."""

    def near(self, number: int, sigma: float, members: Sequence[int]) -> Iterator[Array]:
        """Yield members around a state: noise up to a level, and taken away again."""

    def centred(self, members: Array, number: int) -> Array:
        """Return members (M, ...), moved so that their mean is the state."""

    def spread(self, members: Array) -> dict[str, float]:
        """Return the standard deviation over members (M, ...), RMS over cells, by variable."""

    def timed(self, laid: xr.Dataset) -> xr.Dataset:
        """Return a layout with what else is known of its times."""

    def template(self) -> xr.Dataset:
        """Return the layout of an ensemble."""

    def blocks(self, number: int, members: Array) -> Iterator[xr.Dataset]:
        """Yield what is written of an ensemble of one state."""


def states_of(
    path: Path, prior: Prior, wish: EnsembleOptions, around: Around = Around()
) -> States:
    """Return the states of a file, which fit the prior.

    Raises:
        DpdmError: When they do not.
    """
    if not prior.contract.states:
        return Maps(path, prior, wish, around)
    codes = () if prior.contract.globe else wish.missing
    if around != Around() or wish.consistent or wish.rename or wish.units or codes:
        raise DpdmError(
            "--factor, --blind, --consistent, --statics, --var, --units and --missing are for "
            "fields on the Earth, and this prior knows trajectories.",
            "Leave them out, or choose another --prior.",
        )
    return (Globe if prior.contract.globe else Paths)(path, prior, wish)
