"""The prior whose weights a training of fields begins with."""

from __future__ import annotations

from dataclasses import asdict, replace
from math import ceil
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.prior import Prior, find_prior, load_prior, read_prior_header
from dpdm.training import TrainingFiles, network_arguments
from dpdm.training.config import SIZE_KEYS, FieldRecipe

BUNDLED_PRIOR = "default"
FINE_TUNING_VIEWS = 130  # of each window of a series, after which fine-tuning overfits
SPACING_RATIOS = (0.75, 1.33)  # of the grid to the bundled prior's, to begin with it


def bundled_starting_prior(
    sources: TrainingFiles, grid: Grid, names: list[str], factor: tuple[int, int],
    recipe: FieldRecipe,
) -> Prior | None:  # fmt: skip
    """Return the bundled prior if training may begin with it.

    It must have the same variables, network and about the same spacing, and the factors.
    """
    if not sources.bundled_start or recipe.data.climatology == "pseudo":
        return None
    path = find_prior(BUNDLED_PRIOR)
    header = read_prior_header(path)
    contract, known = header.contract, [c.name for c in header.channels]
    own, its = network_arguments(asdict(recipe.net)), network_arguments(contract.net)
    least, most = SPACING_RATIOS
    fits = sorted(names) == sorted(known) and all(own[key] == its[key] for key in SIZE_KEYS)
    near = all(least <= a / b <= most for a, b in zip(grid.spacing, contract.spacing, strict=True))
    inside = contract.factors[0] <= factor[0] and factor[1] <= contract.factors[1]
    return load_prior(path) if fits and near and inside else None


def read_starting_prior(path: Path, fine: xr.Dataset, recipe: FieldRecipe) -> Prior:
    """Return the prior to begin with, which must have the same variables and network."""
    start = load_prior(path)
    if start.contract.states:
        raise DpdmError(f"{path} is a prior of trajectories.", "Begin with a prior of fields.")
    missing = [n for n in start.normaliser.names if n not in fine]
    other = [n for n in map(str, fine.data_vars) if n not in start.normaliser.names]
    if missing or other:
        raise DpdmError(
            f"{path} is a prior of {', '.join(start.normaliser.names)}; the files hold "
            f"{', '.join(map(str, fine.data_vars))}.",
            "Begin with a prior of the same variables, or without --start.",
        )
    own, its = network_arguments(asdict(recipe.net)), network_arguments(start.contract.net)
    for key in SIZE_KEYS:
        if own[key] != its[key]:
            raise DpdmError(
                f"{path} has a network of another size: {key} is {its[key]}, not {own[key]}.",
                "Give its sizes under [net].",
            )
    return start


def fine_tuning_recipe(recipe: FieldRecipe, start: Prior, steps: int, grid: Grid) -> FieldRecipe:
    """Return the settings of a training that begins with the bundled prior.

    Dropout is the prior's where the settings have none, and the schedule ends when each window of
    a short series has been seen often enough.

    Args:
        recipe: The settings.
        start: The bundled prior.
        steps: Training steps of the series.
        grid: Its grid.
    """
    windows = steps * max(1.0, grid.shape[0] * grid.shape[1] / recipe.net.window**2)
    most = ceil(FINE_TUNING_VIEWS * windows / recipe.train.batch)
    dropout = recipe.net.dropout or float(start.contract.net.get("dropout", 0.0))
    return replace(
        recipe,
        net=replace(recipe.net, dropout=dropout),
        train=replace(recipe.train, steps=min(recipe.train.steps, most)),
    )
