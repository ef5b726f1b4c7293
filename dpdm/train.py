"""A fine series in, a prior out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import open_fields
from dpdm.fields.statics import make_statics
from dpdm.fields.time_axis import select_with_bounds
from dpdm.fields.trajectories import holds_trajectories, is_component_state, open_trajectories
from dpdm.fields.value_checks import common_missing_codes, load_checked_fields
from dpdm.fields.write import check_distinct_paths, check_output
from dpdm.prior import Prior, load_prior
from dpdm.prior.skill import skill_warning
from dpdm.system import check_field_memory, choose_device, sha256
from dpdm.training.config import (
    SIZE_KEYS,
    FieldRecipe,
    GlobeRecipe,
    PerceptronRecipe,
    PlaneRecipe,
    read_recipe,
)
from dpdm.training.field_series import FieldTrainingSet, prepare_field_training
from dpdm.training.globe_windows import (
    GlobeTrainingSet,
    autoencoder_task,
    check_autoencoder,
    latent_task,
)
from dpdm.training.globe_windows import prepare_globe_training as prepare_globes
from dpdm.training.loop import LOG_SUFFIX, TrainingCallback, TrainingProgress, run_training
from dpdm.training.trajectory_windows import TrajectoryTrainingSet
from dpdm.training.trajectory_windows import prepare_trajectory_training as prepare_trajectories


@dataclass(frozen=True)
class TrainingFiles:
    """The files to learn from.

    Attributes:
        fine: The fine series.
        coarse: The user's own coarse series at the same times, or nothing.
        statics: The user's own statics, or nothing.
        config: Settings, or nothing.
        start: The prior to begin with, or nothing.
        rename: Variables' names in the files, by canonical name.
        units: Units declared by the user, by variable.
        missing: Numbers that stand for missing values, by variable; of all under "".
    """

    fine: Sequence[Path]
    coarse: Sequence[Path]
    statics: Path | None
    config: Path | None
    start: Path | None
    rename: Mapping[str, str]
    units: Mapping[str, str]
    missing: MissingCodes = field(default_factory=dict)


def train(
    sources: TrainingFiles,
    out: Path,
    factor: tuple[int, int] | None = None,
    minutes: float = 0.0,
    device: str = "auto",
    overwrite: bool = False,
    report: TrainingCallback = lambda progress: None,
    window: int | None = None,
    latent: bool = False,
) -> TrainingProgress:
    """Train a prior, or go on with one that was interrupted."""
    if out.suffix != ".safetensors":
        raise DpdmError(f"{out} is not a .safetensors file.", "Call it NAME.safetensors.")
    half = out.with_name(out.name + ".resume")
    check_output(out, sources, overwrite or half.exists(), suffixes=(".safetensors",))
    for other in (half, out.with_suffix(LOG_SUFFIX), autoencoder_path(out)):
        check_distinct_paths(other, sources)
    subject = (
        build_field_set(sources, factor) if window is None else build_state_set(sources, window)
    )
    if sources.start is not None:
        subject.contract.training["start_sha256"] = sha256(sources.start)
    if latent:
        again = overwrite and not half.exists()
        subject = prepare_codes(subject, out, minutes, device, report, again)
        minutes *= 1 - subject.recipe.code.share
    reached = run_training(subject, out, minutes, choose_device(device), report)
    said = skill_warning(subject.contract, reached.scores) if reached.run_steps else ""
    if said:
        warnings.warn(f"{out}: {said}", DpdmWarning, 2)
    return reached


def prepare_codes(
    subject: FieldTrainingSet | TrajectoryTrainingSet | GlobeTrainingSet, out: Path, minutes:
        float, device: str,
    report: TrainingCallback, again: bool,
) -> GlobeTrainingSet:  # fmt: skip
    """Return the lesson of codes, whose autoencoder is trained first, if it is not there yet."""
    if not isinstance(subject, GlobeTrainingSet) or subject.start is not None:
        raise DpdmError(
            "--latent is for states on the globe, and learns from nothing.",
            "Leave it out, or give fields of the whole globe and --window, without --start.",
        )
    path = autoencoder_path(out)
    lesson, half = autoencoder_task(subject), path.with_name(path.name + ".resume")
    if again or not path.exists() or half.exists():
        run_training(
            lesson, path, minutes * subject.recipe.code.share, choose_device(device), report
        )
    prior = load_prior(path)
    check_autoencoder(prior, lesson, path)
    return latent_task(subject, prior)


def autoencoder_path(out: Path) -> Path:
    """Return the file of the autoencoder of a prior of codes."""
    return out.with_name(f"{out.stem}.coder.safetensors")


def build_field_set(sources: TrainingFiles, factor: tuple[int, int] | None) -> FieldTrainingSet:
    """Return the lesson of fields on the Earth."""
    if holds_trajectories(sources.fine[0]):
        raise DpdmError(
            f"{sources.fine[0]} holds trajectories.",
            "Say how many states make a window, as --window 5, and no --factor or --coarse.",
        )
    recipe = read_recipe(sources.config, FieldRecipe)
    fine = load_files(sources.fine, sources)
    coarse = load_files(sources.coarse, sources) if sources.coarse else None
    fine, coarse = match_fields(fine, coarse)
    own = read_own_statics(sources)
    ground = make_statics(grid_of(fine), own)[["topography", "land_fraction"]]
    factor = factor or training_factor(fine, coarse)
    check_training_factor(factor, grid_of(fine))
    start = None if sources.start is None else read_starting_prior(sources.start, fine, recipe)
    if start is not None:
        fine, coarse = match_fields(select_with_bounds(fine, start.normaliser.names), coarse)
    return prepare_field_training(fine, ground, factor, recipe, coarse, start)


def read_own_statics(sources: TrainingFiles) -> xr.Dataset | None:
    """Return the user's own statics, if there are any."""
    if sources.statics is None:
        return None
    return open_fields(sources.statics, missing=common_missing_codes(sources.missing))


def build_state_set(
    sources: TrainingFiles, window: int
) -> TrajectoryTrainingSet | GlobeTrainingSet:
    """Return the lesson of successive states: of a dynamical system, or of the globe."""
    if holds_trajectories(sources.fine[0]):
        return build_trajectory_set(sources, window)
    recipe = read_recipe(sources.config, GlobeRecipe)
    fields = open_fields(
        sources.fine, None, sources.rename, sources.units, missing=sources.missing
    )
    check_field_memory(fields)
    own = read_own_statics(sources)
    ground = make_statics(grid_of(fields), own)[["topography", "land_fraction"]].to_array().values
    start = None if sources.start is None else load_prior(sources.start)
    named = ", ".join(p.name for p in sources.fine)
    return prepare_globes(fields, ground, named, window, recipe, start)


def build_trajectory_set(sources: TrainingFiles, window: int) -> TrajectoryTrainingSet:
    """Return the lesson of trajectories of a dynamical system."""
    path = sources.fine[0]
    if len(sources.fine) > 1:
        raise DpdmError(
            f"{', '.join(map(str, sources.fine))} are several files of trajectories.",
            "Give one file with a dimension trajectory, as dpdm testbed writes it.",
        )
    if sources.statics or sources.rename or sources.units or sources.missing:
        raise DpdmError(
            f"{path} holds trajectories; --statics, --var, --units and --missing are for fields.",
            "Leave them out.",
        )
    start = None if sources.start is None else load_prior(sources.start)
    with open_trajectories(path) as ds:
        recipe: PerceptronRecipe | PlaneRecipe = (
            read_recipe(sources.config, PerceptronRecipe)
            if is_component_state(ds)
            else read_recipe(sources.config, PlaneRecipe)
        )
        return prepare_trajectories(ds, path, window, recipe, start)


def read_starting_prior(path: Path, fine: xr.Dataset, recipe: FieldRecipe) -> Prior:
    """Return the prior to begin with, if it is of the same variables and the same network."""
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
    own, its = network_sizes(asdict(recipe.net)), network_sizes(start.contract.net)
    for key in own:
        if own[key] != its[key]:
            raise DpdmError(
                f"{path} has a network of another size: {key} is {its[key]}, not {own[key]}.",
                "Give its sizes under [net].",
            )
    return start


def network_sizes(net: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the shapes of a network's weights."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in net.items() if k in SIZE_KEYS}


def load_files(paths: Sequence[Path], sources: TrainingFiles) -> xr.Dataset:
    """Return files in memory, checked, if they fit."""
    fields = open_fields(paths, None, sources.rename, sources.units, missing=sources.missing)
    check_field_memory(fields)
    return load_checked_fields(fields)


def match_fields(
    fine: xr.Dataset, coarse: xr.Dataset | None
) -> tuple[xr.Dataset, xr.Dataset | None]:
    """Return fine and coarse fields at the times and of the variables that both have."""
    if coarse is None:
        return fine, None
    names = [n for n in fine.data_vars if n in coarse]
    times = np.intersect1d(fine["time"].values, coarse["time"].values)
    if not names or not len(times):
        raise DpdmError(
            f"The fine and the coarse files share {len(names)} variables and {len(times)} times.",
            "Give the same variables at the same time stamps in both.",
        )
    if not grid_of(coarse).covers(grid_of(fine)):
        raise DpdmError("The fine grid reaches beyond the coarse one.", "Cut the fine files.")
    return select_with_bounds(fine, names).sel(time=times), select_with_bounds(coarse, names).sel(
        time=times
    )


def check_training_factor(factor: tuple[int, int], grid: Grid) -> None:
    """Refuse blocks of which fewer than two fit on the grid."""
    if 2 * factor[1] > min(grid.shape):
        height, width = grid.shape
        raise DpdmError(
            f"A factor of {factor[1]} leaves less than two blocks of {height} by {width} cells.",
            "Give a smaller --factor, or fields of a larger region.",
        )


def training_factor(fine: xr.Dataset, coarse: xr.Dataset | None) -> tuple[int, int]:
    """Return coarse over fine spacing, as the one factor of training."""
    if coarse is None:
        raise DpdmError("Neither a factor nor coarse files were given.", "Give --factor 10.")
    found = round(
        float(np.sqrt(np.prod(grid_of(coarse).spacing) / np.prod(grid_of(fine).spacing)))
    )
    return found, found
