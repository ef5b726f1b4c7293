"""Kinds of states: a module each, and their registry.

A new kind of state is a module with a `StateSpace` of its own and an entry in `STATE_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.file_group import FileGroup, Source
from dpdm.prior import Prior
from dpdm.states.field_domain import open_field_file
from dpdm.states.globe import observed_globe_states, open_globe_file
from dpdm.states.observed_fields import observed_fields
from dpdm.states.options import EnsembleOptions, FieldConditioning, Request
from dpdm.states.requirements import refuse_field_request
from dpdm.states.sampling import StateSpace
from dpdm.states.trajectory_domain import observed_trajectories, open_trajectory_file

ObservedSpace = Callable[[Prior, pd.DataFrame, Request], StateSpace]


@dataclass(frozen=True)
class StateKind:
    """The functions that open spaces of one kind of states.

    Attributes:
        open_file: Open the states of a file, with the prior's conditioning.
        open_observed: Open the states to estimate from observations.
    """

    open_file: Callable[[Any, Prior, EnsembleOptions, FieldConditioning], StateSpace]
    open_observed: ObservedSpace


def trajectories_of_request(open_space: Callable[..., StateSpace]) -> ObservedSpace:
    """Return a function that opens the trajectories of a request."""

    def open_observed(prior: Prior, table: pd.DataFrame, request: Request) -> StateSpace:
        refuse_field_request(request)
        files = request.files
        source = ", ".join(path.name for path in files.observations)
        if isinstance(files.grid, Grid):
            raise DpdmError(
                "--grid gives cells, and this prior has its own.",
                "Give --grid FILE with the times to estimate, or leave it out.",
            )
        return open_space(prior, table, files.grid, source, request.ensemble, request.sounder)

    return open_observed


STATE_KINDS = {
    "fields": StateKind(open_field_file, observed_fields),
    "trajectories": StateKind(
        open_trajectory_file, trajectories_of_request(observed_trajectories)
    ),
    "globe": StateKind(open_globe_file, trajectories_of_request(observed_globe_states)),
}


def open_states(
    source: Source,
    prior: Prior,
    options: EnsembleOptions,
    conditioning: FieldConditioning = FieldConditioning(),
) -> StateSpace:
    """Return the states of files as the prior represents them."""
    kind = prior.contract.kind
    if kind != "fields" and isinstance(source, FileGroup):
        raise DpdmError(
            f"The prior is of {kind}, and {source} are several files.", "Give one file."
        )
    return STATE_KINDS[kind].open_file(source, prior, options, conditioning)


def open_observed_states(prior: Prior, table: pd.DataFrame, request: Request) -> StateSpace:
    """Return the states to estimate from observations."""
    return STATE_KINDS[prior.contract.kind].open_observed(prior, table, request)
