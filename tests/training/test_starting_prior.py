"""The prior that a training begins with: the bundled one where it fits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dpdm.fields.grid import Grid
from dpdm.prior import find_prior, load_prior
from dpdm.training import TrainingFiles
from dpdm.training.config import DataSettings, FieldNetSettings, FieldRecipe
from dpdm.training.starting_prior import bundled_starting_prior, fine_tuning_recipe

FILES = TrainingFiles([Path("fine.nc")], [], None, None, None, {}, {}, bundled_start=True)
NAMES = ["tp", "t2m"]


def region(spacing: float = 0.25, count: int = 64) -> Grid:
    return Grid(20 + spacing * np.arange(count), 100 + spacing * np.arange(count))


def test_the_bundled_prior_is_begun_with_where_it_fits() -> None:
    assert bundled_starting_prior(FILES, region(), NAMES, (4, 10), FieldRecipe()) is not None


@pytest.mark.parametrize(
    ("files", "spacing", "names", "factor", "recipe"),
    [
        (replace(FILES, bundled_start=False), 0.25, NAMES, (4, 4), FieldRecipe()),
        (FILES, 0.1, NAMES, (4, 4), FieldRecipe()),
        (FILES, 0.25, ["t2m"], (4, 4), FieldRecipe()),
        (FILES, 0.25, NAMES, (2, 4), FieldRecipe()),
        (FILES, 0.25, NAMES, (4, 4), FieldRecipe(net=FieldNetSettings(widths=(32, 64)))),
        (FILES, 0.25, NAMES, (4, 4), FieldRecipe(DataSettings(climatology="pseudo"))),
    ],
    ids=["--start none", "spacing", "variables", "factor", "network", "pseudo-years"],
)
def test_nothing_is_begun_with_where_it_does_not_fit(
    files: TrainingFiles, spacing: float, names: list[str], factor: tuple[int, int],
    recipe: FieldRecipe,
) -> None:  # fmt: skip
    assert bundled_starting_prior(files, region(spacing), names, factor, recipe) is None


def test_a_short_series_is_seen_often_enough_and_not_more() -> None:
    prior, recipe = load_prior(find_prior("default")), FieldRecipe()
    short = fine_tuning_recipe(recipe, prior, 84, region(count=32))
    assert short.train.steps == 683  # 130 views of 84 windows in batches of 16
    assert short.net.dropout == 0.15
    assert fine_tuning_recipe(recipe, prior, 12 * 60, region(count=640)).train.steps == 20000
    own = replace(recipe, net=replace(recipe.net, dropout=0.3))
    assert fine_tuning_recipe(own, prior, 84, region()).net.dropout == 0.3
