"""Score files: open them, find the relief, and hand all to `evaluate`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from dpdm.choices import load_plugins
from dpdm.errors import DpdmError, variables_not_found
from dpdm.evaluate import Watch, evaluate, ignore_scores
from dpdm.evaluate.table import Table
from dpdm.fields.grid import extend_grid, grid_of
from dpdm.fields.level_names import statistic_name
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import FileOptions, open_fields
from dpdm.fields.statics import make_statics
from dpdm.fields.value_checks import common_missing_codes


def evaluate_files(
    forecast: Path,
    truth: Path,
    coarse: Path | None = None,
    climatology: Path | None = None,
    also: Mapping[str, Path] = {},
    own_statics: Path | None = None,
    options: FileOptions = FileOptions(),
    watch: Watch = ignore_scores,
) -> Table:
    """Return the scores of a forecast file; ``also`` names others to score beside it.

    ``watch`` is shown each variable at each time, as in `evaluate`.
    """
    load_plugins()
    names = [*map(str, options.open(truth).data_vars)]
    true = select_compared(truth, names, options)
    opened = {
        str(path): select_compared(path, names, options)
        for path in (forecast, coarse, climatology, *also.values())
        if path
    }
    seen = opened.get(str(coarse))
    height = None if seen is None else read_topography(true, seen, own_statics, options.missing)
    rivals = {name: opened[str(path)] for name, path in also.items()}
    past = opened.get(str(climatology))
    return evaluate(opened[str(forecast)], true, seen, past, height, rivals, watch)


def select_compared(path: Path, names: list[str], options: FileOptions) -> xr.Dataset:
    """Return the variables of a file that the truth has, the mean where members are not kept."""
    fields = options.open(path)
    means = {statistic_name(n, "mean"): n for n in names if n not in fields}
    fields = fields.rename({old: new for old, new in means.items() if old in fields})
    found = [n for n in names if n in fields]
    if not found:
        raise variables_not_found(path, "the truth's", names, fields.data_vars)
    return xr.Dataset({n: fields[n] for n in found}, attrs=fields.attrs)


def read_topography(
    truth: xr.Dataset, coarse: xr.Dataset, own: Path | None, missing: MissingCodes = {}
) -> xr.DataArray | None:
    """Return topography around the truth, a coarse cell wider, or nothing where none is known."""
    grid, other = grid_of(truth), grid_of(coarse)
    more = [math.ceil(c / f) for c, f in zip(other.spacing, grid.spacing, strict=True)]
    around = extend_grid(grid, *more)
    mine = None if own is None else open_fields(own, missing=common_missing_codes(missing))
    for target in (around, grid):
        try:
            return make_statics(target, mine)["topography"]
        except DpdmError:
            continue
    return None
