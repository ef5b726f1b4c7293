"""Kinds of states: one module each, and here the register of them.

What is made *of* a state (an ensemble around it, features, a forecast), and what observations say
of it, begins here: a space of states is opened that fits the prior. A new kind of state is one
module with a `StateSpace` of its own, and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd  # type: ignore[import-untyped]

from dpdm.draw import StateSpace
from dpdm.ensemble import EnsembleOptions
from dpdm.errors import DpdmError
from dpdm.prior import Prior
from dpdm.request import Request
from dpdm.states import axes, domain, globe
from dpdm.states.axes import trajectory_request
from dpdm.states.domain import FieldConditioning


@dataclass(frozen=True)
class Kind:
    """How spaces of one kind of states are opened.

    Attributes:
        of_file: For the states of a file, bound to what the prior is conditioning of them.
        of_observations: For an analysis.
    """

    of_file: Callable[[Path, Prior, EnsembleOptions, FieldConditioning], StateSpace]
    of_observations: Callable[[Prior, pd.DataFrame, Request], StateSpace]


def trajectories_of(
    path: Path, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> StateSpace:
    """Return the trajectories of a file."""
    refuse_field_options(options, conditioning, bool(options.missing))
    return axes.of_file(path, prior, options)


def globe_of(
    path: Path, prior: Prior, options: EnsembleOptions, conditioning: FieldConditioning
) -> StateSpace:
    """Return the states of the globe of a file."""
    refuse_field_options(options, conditioning)
    return globe.of_file(path, prior, options)


KINDS: dict[str, Kind] = {
    "fields": Kind(domain.of_file, domain.of_observations),
    "trajectories": Kind(
        trajectories_of,
        lambda prior, rows, said: axes.observed_space(prior, rows, *trajectory_request(said)),
    ),
    "globe": Kind(
        globe_of,
        lambda prior, rows, said: globe.observed_space(prior, rows, *trajectory_request(said)),
    ),
}


def kind_of(prior: Prior) -> Kind:
    """Return the kind of states that a prior knows."""
    return KINDS[prior.contract.kind]


def states_of(
    path: Path,
    prior: Prior,
    options: EnsembleOptions,
    conditioning: FieldConditioning = FieldConditioning(),
) -> StateSpace:
    """Return the states of a file, which fit the prior."""
    return kind_of(prior).of_file(path, prior, options, conditioning)


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
