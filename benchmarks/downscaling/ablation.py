"""Train short priors without parts of what the bundled one is given: ``--ablation``.

All see the same series, box and minutes; windows of another size come in such numbers that a step
sees as many cells. Without topography, the altitude is zero in training and in use; without
elevation detail, the part of altitude and land share that the coarse grid cannot show is.
"""

from argparse import Namespace
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks import common
from benchmarks.draws import labelled, task_of
from dpdm.config import read_settings
from dpdm.evaluate import evaluate
from dpdm.fields.grid import grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.statics import make_statics
from dpdm.states.fields import FieldSpace
from dpdm.training.config import FieldRecipe
from dpdm.training.field_series import FieldTrainingSet, prepare_field_training
from dpdm.training.field_windows import CoarseView, Index, PhysicalWindow, TrainingSeries
from dpdm.training.loop import run_training

RECIPE = common.ROOT / "benchmarks" / "prior" / "first.toml"
FACTORS = (4, 12)
WINDOW = 64


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        window: Cells along a window's sides.
        topography: Whether altitude is given.
        detail: Whether the elevation detail is.
    """

    window: int = WINDOW
    topography: bool = True
    detail: bool = True


VARIANTS = {
    "all, window 64": Variant(),
    "without topography": Variant(topography=False),
    "without elevation detail": Variant(detail=False),
    "window 32": Variant(window=32),
    "window 128": Variant(window=128),
}


class Smooth(TrainingSeries):
    """A series whose statics show no more than the coarse grid does."""

    def scene(
        self, steps: slice, season: float | None, view: CoarseView, rows: Index, columns: Index
    ) -> PhysicalWindow:
        """Return a window whose statics are the smooth ones."""
        whole = super().scene(steps, season, view, rows, columns)
        return replace(whole, statics=whole.smooth)


def compare(options: Namespace, folder: Path) -> None:
    """Print the ratios of RMSE to lerp, of the mean in one evaluation."""
    series = open_fields(common.needed(options.build / "era5_climatology.nc")).compute()
    truth, coarse = (open_fields(p).compute() for p in (common.TRUTH, common.COARSE))
    found: dict[str, dict[str, float]] = {}
    for name, variant in VARIANTS.items():
        prior = folder / f"{name.replace(' ', '_')}.safetensors"
        done = run_training(lesson(series, variant), prior, options.minutes)
        space = altered(task_of(common.COARSE, str(prior)), variant)
        rows = evaluate(expected(space), truth, coarse).rows
        found[name] = {r["variable"]: r["rmse_ratio"] for r in rows if r["method"] == "forecast"}
        found[name]["steps"] = done.step
        print(name, found[name], flush=True)
    head = ("trained", *map(str, truth.data_vars), "steps")
    print("\n" + common.table(head, [(n, *f.values()) for n, f in found.items()]))
    common.close("ablation", {"minutes": options.minutes, **found}, {})


def lesson(series: xr.Dataset, variant: Variant) -> FieldTrainingSet:
    """Return what a variant learns from."""
    recipe = read_settings(RECIPE, FieldRecipe)
    batch = round(recipe.train.batch * (WINDOW / variant.window) ** 2)
    recipe = replace(
        recipe,
        net=replace(recipe.net, window=variant.window),
        train=replace(recipe.train, batch=batch),
    )
    ground = make_statics(grid_of(series))[["topography", "land_fraction"]]
    if not variant.topography:
        ground["topography"] = ground["topography"] * 0.0
    whole = prepare_field_training(series, ground, FACTORS, recipe)
    return whole if variant.detail else replace(whole, archive=smoothed(whole.archive))


def smoothed(archive: TrainingSeries) -> Smooth:
    """Return the same series without the detail of the statics."""
    return Smooth(**{f.name: getattr(archive, f.name) for f in fields(archive)})


def altered(space: FieldSpace, variant: Variant) -> FieldSpace:
    """Return a space that is given what the variant was trained with."""
    kept = np.array([variant.topography, 1.0])[:, None, None]
    below, smooth = kept * space.statics, kept * space.smooth
    return replace(space, statics=below if variant.detail else smooth, smooth=smooth)


def expected(space: FieldSpace) -> xr.Dataset:
    """Return the means of all steps, in one evaluation each."""
    steps = space.steps
    means = (space.posterior(s).expectation() for s in steps)
    return labelled(space, steps, [mean[None] for mean in means]).isel(realization=0)
