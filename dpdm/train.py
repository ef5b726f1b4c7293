"""A fine series in, a prior out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from dpdm.config import read
from dpdm.device import choose
from dpdm.errors import DpdmError
from dpdm.fields.grid import grid_of
from dpdm.fields.statics import statics
from dpdm.fields.store import load, open_fields
from dpdm.fields.write import check_output
from dpdm.learn import Progress, Report, learn
from dpdm.lesson import prepare
from dpdm.memory import check_memory
from dpdm.recipe import Recipe


@dataclass(frozen=True)
class Sources:
    """The files to learn from.

    Attributes:
        fine: The fine series.
        coarse: The user's own coarse series at the same times, or nothing.
        statics: The user's own statics, or nothing.
        config: Settings, or nothing.
        rename: Variables' names in the files, by canonical name.
        units: Units declared by the user, by variable.
    """

    fine: Sequence[Path]
    coarse: Sequence[Path]
    statics: Path | None
    config: Path | None
    rename: Mapping[str, str]
    units: Mapping[str, str]

    def everything(self) -> list[Path]:
        """List all files."""
        return [*self.fine, *self.coarse, *(p for p in (self.statics, self.config) if p)]


def train(
    sources: Sources,
    out: Path,
    factor: tuple[int, int] | None = None,
    minutes: float = 0.0,
    device: str = "auto",
    overwrite: bool = False,
    report: Report = lambda progress: None,
) -> Progress:
    """Train a prior, or go on with one that was interrupted.

    Raises:
        DpdmError: When the files do not fit each other, or a finished prior is in the way.
    """
    if out.suffix != ".safetensors":
        raise DpdmError(f"{out} is not a .safetensors file.", "Call it NAME.safetensors.")
    half = out.with_name(out.name + ".resume")
    check_output(out, sources.everything(), overwrite or half.exists(), suffixes=(".safetensors",))
    recipe = Recipe() if sources.config is None else read(sources.config, Recipe)
    fine = loaded(sources.fine, sources)
    coarse = loaded(sources.coarse, sources) if sources.coarse else None
    fine, coarse = matched(fine, coarse)
    own = None if sources.statics is None else open_fields(sources.statics)
    ground = statics(grid_of(fine), own)[["topography", "land_fraction"]]
    lesson = prepare(fine, ground, factor or factor_of(fine, coarse), recipe, coarse)
    return learn(lesson, out, minutes, choose(device), report)


def loaded(paths: Sequence[Path], sources: Sources) -> xr.Dataset:
    """Return files in memory, checked, if they fit."""
    fields = open_fields(paths, None, sources.rename, sources.units)
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
    return fine[names].sel(time=times), coarse[names].sel(time=times)


def factor_of(fine: xr.Dataset, coarse: xr.Dataset | None) -> tuple[int, int]:
    """Return coarse over fine spacing, as the one factor of training."""
    if coarse is None:
        raise DpdmError("Neither a factor nor coarse files were given.", "Give --factor 10.")
    found = round(
        float(np.sqrt(np.prod(grid_of(coarse).spacing) / np.prod(grid_of(fine).spacing)))
    )
    return found, found
