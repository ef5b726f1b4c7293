"""Kinds of states: one module each, and here the register of them.

What is made *of* a state (an ensemble around it, features, a forecast), and what observations say
of it, begins here: a space of states is opened that fits the prior. A new kind of state is one
module with a `StateSpace` of its own, and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from dpdm.errors import DpdmError
from dpdm.prior import Prior
from dpdm.states import field_domain, globe, trajectory_domain
from dpdm.states.ensemble import EnsembleOptions
from dpdm.states.field_domain import FieldConditioning
from dpdm.states.request import Request
from dpdm.states.sampling import StateSpace
from dpdm.states.trajectory_domain import trajectory_request


@dataclass(frozen=True)
class StateKind:
    """How spaces of one kind of states are opened.

    Attributes:
        of_file: For the states of a file, bound to what the prior is conditioning of them.
        of_observations: For an analysis.
    """

    of_file: Callable[[Path, Prior, EnsembleOptions, FieldConditioning], StateSpace]
    of_observations: Callable[[Prior, pd.DataFrame, Request], StateSpace]


def open_trajectories(
    path: Path, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> StateSpace:
    """Return the trajectories of a file."""
    refuse_field_options(options, conditioning, bool(options.missing))
    return trajectory_domain.open_trajectory_file(path, prior, options)


def open_globe_states(
    path: Path, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> StateSpace:
    """Return the states of the globe of a file."""
    refuse_field_options(options, conditioning)
    return globe.open_globe_file(path, prior, options)


STATE_KINDS: dict[str, StateKind] = {
    "fields": StateKind(field_domain.open_field_file, field_domain.observed_fields),
    "trajectories": StateKind(
        open_trajectories,
        lambda prior, rows, said: trajectory_domain.observed_trajectories(
            prior, rows, *trajectory_request(said)
        ),
    ),
    "globe": StateKind(
        open_globe_states,
        lambda prior, rows, said: globe.observed_globe_states(
            prior, rows, *trajectory_request(said)
        ),
    ),
}


def find_state_kind(prior: Prior) -> StateKind:
    """Return the kind of states that a prior knows."""
    return STATE_KINDS[prior.contract.kind]


def open_states(
    path: Path,
    prior: Prior,
    options: EnsembleOptions,
    conditioning: FieldConditioning = FieldConditioning(),
) -> StateSpace:
    """Return the states of a file, which fit the prior."""
    return find_state_kind(prior).of_file(path, prior, options, conditioning)


def refuse_field_options(
    options: EnsembleOptions, conditioning: FieldConditioning, codes: bool = False
) -> None:
    """Refuse what is said of fields on the Earth where the prior knows trajectories."""
    said = options.consistent, options.rename, options.units, codes
    if conditioning != FieldConditioning() or any(said):
        raise DpdmError(
            "--factor, --blind, --consistent, --statics, --var, --units and --missing are for "
            "fields on the Earth, and this prior knows trajectories.",
            "Leave them out, or choose another --prior.",
        )
