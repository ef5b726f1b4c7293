"""A fine series in, a prior out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xarray as xr

from dpdm.config import SHARE, Rule, at_least, check, counts, one_of, read, share, within
from dpdm.device import choose
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.checks import Missing, everywhere
from dpdm.fields.clock import pick
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.statics import statics
from dpdm.fields.store import load, open_fields, sha256
from dpdm.fields.trajectories import holds_trajectories, on_components, opened
from dpdm.fields.write import check_apart, check_output
from dpdm.globes import Globes
from dpdm.globes import prepare as prepare_globes
from dpdm.latent import check_coder, coded, coding
from dpdm.learn import LOG, Progress, Report, learn
from dpdm.lesson import Lesson, prepare
from dpdm.limits import MOST
from dpdm.memory import check_memory
from dpdm.prior import Prior
from dpdm.prior import load as load_prior
from dpdm.recipe import GlobesRecipe, LayersRecipe, PlanesRecipe, Recipe
from dpdm.skill import doubt_of
from dpdm.trajectories import Trajectories
from dpdm.trajectories import prepare as prepare_trajectories

Some = TypeVar("Some", Recipe, LayersRecipe, PlanesRecipe, GlobesRecipe)


@dataclass(frozen=True)
class Sources:
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
    missing: Missing = field(default_factory=dict)


def train(
    sources: Sources,
    out: Path,
    factor: tuple[int, int] | None = None,
    minutes: float = 0.0,
    device: str = "auto",
    overwrite: bool = False,
    report: Report = lambda progress: None,
    window: int | None = None,
    latent: bool = False,
) -> Progress:
    """Train a prior, or go on with one that was interrupted.

    Raises:
        DpdmError: When the files do not fit each other, or a finished prior is in the way.
    """
    if out.suffix != ".safetensors":
        raise DpdmError(f"{out} is not a .safetensors file.", "Call it NAME.safetensors.")
    half = out.with_name(out.name + ".resume")
    check_output(out, sources, overwrite or half.exists(), suffixes=(".safetensors",))
    for other in (half, out.with_suffix(LOG), coder_of(out)):
        check_apart(other, sources)
    subject = of_fields(sources, factor) if window is None else of_states(sources, window)
    if sources.start is not None:
        subject.contract.training["start_sha256"] = sha256(sources.start)
    if latent:
        again = overwrite and not half.exists()
        subject = codes_of(subject, out, minutes, device, report, again)
        minutes *= 1 - subject.recipe.code.share
    reached = learn(subject, out, minutes, choose(device), report)
    said = doubt_of(subject.contract, reached.scores) if reached.run_steps else ""
    if said:
        warnings.warn(f"{out}: {said}", DpdmWarning, 2)
    return reached


def codes_of(
    subject: Lesson | Trajectories | Globes, out: Path, minutes: float, device: str,
    report: Report, again: bool,
) -> Globes:  # fmt: skip
    """Return the lesson of codes, whose autoencoder is trained first, if it is not there yet.

    Raises:
        DpdmError: When the lesson is not of states on the globe, begins with a prior, or the
            autoencoder that is there is of others.
    """
    if not isinstance(subject, Globes) or subject.start is not None:
        raise DpdmError(
            "--latent is for states on the globe, and learns from nothing.",
            "Leave it out, or give fields of the whole globe and --window, without --start.",
        )
    path = coder_of(out)
    lesson, half = coding(subject), path.with_name(path.name + ".resume")
    if again or not path.exists() or half.exists():
        learn(lesson, path, minutes * subject.recipe.code.share, choose(device), report)
    prior = load_prior(path)
    check_coder(prior, lesson, path)
    return coded(subject, prior)


def coder_of(out: Path) -> Path:
    """Return the file of the autoencoder of a prior of codes."""
    return out.with_name(f"{out.stem}.coder.safetensors")


def of_fields(sources: Sources, factor: tuple[int, int] | None) -> Lesson:
    """Return the lesson of fields on the Earth."""
    if holds_trajectories(sources.fine[0]):
        raise DpdmError(
            f"{sources.fine[0]} holds trajectories.",
            "Say how many states make a window, as --window 5, and no --factor or --coarse.",
        )
    recipe = recipe_of(sources.config, Recipe)
    fine = loaded(sources.fine, sources)
    coarse = loaded(sources.coarse, sources) if sources.coarse else None
    fine, coarse = matched(fine, coarse)
    own = own_statics(sources)
    ground = statics(grid_of(fine), own)[["topography", "land_fraction"]]
    factor = factor or factor_of(fine, coarse)
    check_factor(factor, grid_of(fine))
    start = None if sources.start is None else starting(sources.start, fine, recipe)
    if start is not None:
        fine, coarse = matched(pick(fine, start.normaliser.names), coarse)
    return prepare(fine, ground, factor, recipe, coarse, start)


def own_statics(sources: Sources) -> xr.Dataset | None:
    """Return the user's own statics, if there are any."""
    if sources.statics is None:
        return None
    return open_fields(sources.statics, missing=everywhere(sources.missing))


def of_states(sources: Sources, window: int) -> Trajectories | Globes:
    """Return the lesson of successive states: of a dynamical system, or of the globe."""
    if holds_trajectories(sources.fine[0]):
        return of_trajectories(sources, window)
    recipe = recipe_of(sources.config, GlobesRecipe)
    fields = open_fields(
        sources.fine, None, sources.rename, sources.units, missing=sources.missing
    )
    check_memory(fields)
    own = own_statics(sources)
    ground = statics(grid_of(fields), own)[["topography", "land_fraction"]].to_array().values
    start = None if sources.start is None else load_prior(sources.start)
    named = ", ".join(p.name for p in sources.fine)
    return prepare_globes(fields, ground, named, window, recipe, start)


def of_trajectories(sources: Sources, window: int) -> Trajectories:
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
    with opened(path) as ds:
        recipe: LayersRecipe | PlanesRecipe = (
            recipe_of(sources.config, LayersRecipe)
            if on_components(ds)
            else recipe_of(sources.config, PlanesRecipe)
        )
        return prepare_trajectories(ds, path, window, recipe, start)


BOX: Rule = (
    lambda said: (
        not said or (len(said) == 4 and said[0] != said[1] and -90 <= said[2] < said[3] <= 90)
    ),
    "Give a list of 4: west, east, south, north, in degrees.",
)
SIZES = ("read", "widths", "depth")
RULES: dict[str, Rule] = {
    "data.exclude": BOX,
    "data.validation_box": BOX,
    "data.validation_share": SHARE,
    "data.climatology": one_of("auto", "yes", "no"),
    "net.window": (
        lambda said: 32 <= said <= 256 and said % 4 == 0,
        "Give a multiple of 4 from 32 to 256.",
    ),
    "net.read": counts(3, 1, MOST["width"]),
    "net.widths": counts(2, 1, MOST["width"]),
    "net.hidden": within(4, MOST["width"]),
    "net.modes": within(1, MOST["width"]),
    "net.dropout": SHARE,
    "code.share": SHARE,
    **{key: within(1, MOST["depth"]) for key in ("net.depth", "net.layers", "code.depth")},
    **{f"code.{key}": within(1, MOST["width"]) for key in ("codes", "encode", "decode")},
    **{f"train.{key}": within(1, MOST["batch"]) for key in ("batch", "draws")},
    **{
        f"train.{key}": within(1, MOST["training_steps"])
        for key in ("steps", "warmup", "validate")
    },
    **{f"train.{key}": at_least(0) for key in ("learning_rate", "weight_decay", "nats")},
    "train.seed": within(0, MOST["seed"]),
    "train.ema": SHARE,
    "train.sigma": (
        lambda said: len(said) == 2 and 0 < said[0] < said[1],
        "Give a list of 2, the least and the greatest, above 0.",
    ),
    "train.log_sigma": (
        lambda said: len(said) == 2 and said[1] > 0,
        "Give a list of 2: a mean, and a standard deviation above 0.",
    ),
    "train.drop": (
        lambda said: len(said) == 3 and all(map(share, said)),
        "Give a list of 3 numbers from 0 to less than 1.",
    ),
    "train.precision": one_of("auto", "float32", "bfloat16"),
}


def recipe_of(path: Path | None, shape: type[Some]) -> Some:
    """Return the settings of a file, or the usual ones.

    Raises:
        DpdmError: When a setting is unknown, of another type, or senseless.
    """
    recipe = shape() if path is None else read(path, shape)
    check(recipe, RULES, path)
    return recipe


def starting(path: Path, fine: xr.Dataset, recipe: Recipe) -> Prior:
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
    own, its = sizes(asdict(recipe.net)), sizes(start.contract.net)
    for key in own:
        if own[key] != its[key]:
            raise DpdmError(
                f"{path} has a network of another size: {key} is {its[key]}, not {own[key]}.",
                "Give its sizes under [net].",
            )
    return start


def sizes(net: dict[str, Any]) -> dict[str, Any]:
    """Return what decides the shapes of a network's weights."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in net.items() if k in SIZES}


def loaded(paths: Sequence[Path], sources: Sources) -> xr.Dataset:
    """Return files in memory, checked, if they fit."""
    fields = open_fields(paths, None, sources.rename, sources.units, missing=sources.missing)
    check_memory(fields)
    return load(fields)


def matched(fine: xr.Dataset, coarse: xr.Dataset | None) -> tuple[xr.Dataset, xr.Dataset | None]:
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
    return pick(fine, names).sel(time=times), pick(coarse, names).sel(time=times)


def check_factor(factor: tuple[int, int], grid: Grid) -> None:
    """Refuse blocks of which fewer than two fit on the grid."""
    if 2 * factor[1] > min(grid.shape):
        height, width = grid.shape
        raise DpdmError(
            f"A factor of {factor[1]} leaves less than two blocks of {height} by {width} cells.",
            "Give a smaller --factor, or fields of a larger region.",
        )


def factor_of(fine: xr.Dataset, coarse: xr.Dataset | None) -> tuple[int, int]:
    """Return coarse over fine spacing, as the one factor of training."""
    if coarse is None:
        raise DpdmError("Neither a factor nor coarse files were given.", "Give --factor 10.")
    found = round(
        float(np.sqrt(np.prod(grid_of(coarse).spacing) / np.prod(grid_of(fine).spacing)))
    )
    return found, found
