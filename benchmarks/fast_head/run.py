"""Judge ways to draw a member in few network evaluations, next to the prior's own sampler.

The ways are the prior's sampler, its fast head, and students of `benchmarks.fast_head.distil`
(``--student FILE``). They are judged on the months of East Asia, which the bundled prior has
never seen, without a climatology, and on ``--fine`` files with the bundled climatology, by four.
Ratios are to the prior's own sampler with the same noise. Fine power, the 99th percentile and the
extremes of the rank histogram (share of the truth below and above all members, times members plus
one) are next to the truth.
"""

import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from benchmarks import common
from benchmarks.draws import Array, labelled
from benchmarks.fast_head.distil import draw_few
from benchmarks.fast_head.figure import draw_members
from benchmarks.months.run import join_variables
from dpdm.diffusion.tile import tile_denoiser
from dpdm.evaluate import evaluate
from dpdm.evaluate.sections import SectionChoice
from dpdm.fields.read import open_fields
from dpdm.fields.regrid import coarsen_fields
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.states.field_domain import fit_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions
from dpdm.states.sampling import draw_ensemble

Figures = dict[str, Any]
Way = Callable[[FieldSpace, int, range], Iterator[Array]]
HEAD = ("way", "variable", "CRPS", "RMSE", "SSR", "fine power", "p99", "below", "above",
        "energy", "variogram", "s a member")  # fmt: skip
BOUNDS = {"CRPS": (0, 1.01), "RMSE": (0, 1.01), "SSR": (0.9, 1.1), "fine power": (0.9, 1.15),
          "p99": (0.95, 1.05), "energy": (0, 1.01), "variogram": (0, 1.01)}  # fmt: skip


def main() -> None:
    """Judge all ways on all cases."""
    parser = common.parser(__doc__)
    parser.add_argument("--fine", type=Path, nargs="+", help="monthly series of t2m, tp or both")
    parser.add_argument("--judge", default="2012,2014", help="first and last year of these")
    parser.add_argument("--members", type=int, default=33)
    parser.add_argument("--months", type=int, default=0, help="interval of months; 0 for all")
    parser.add_argument("--student", type=Path, nargs="*", default=[], help="distilled priors")
    parser.add_argument("--picture", type=Path, help="a PNG of members of one month")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judge(options, Path(folder))


def judge(options: Namespace, folder: Path) -> None:
    """Draw and score, and print the tables."""
    found: dict[str, dict[str, Figures]] = {}
    cases = {"East Asia": (common.COARSE, common.TRUTH, "none")}
    if options.fine:
        cases["months"] = (*write_months(options, folder), "era5")
    for case, (coarse, truth, climatology) in cases.items():
        ways = ways_of(options)
        found[case] = {
            name: score(prior, way, coarse, truth, climatology, options)
            for name, (prior, way) in ways.items()
        }
        add_ratios(found[case])
        print(f"\n{case}\n{common.table(HEAD, rows(found[case]))}", flush=True)
    if options.picture:
        draw_members(find_prior(options.prior), options.picture)
    common.close("fast_head", {"members": options.members, **found}, targets(found))


def write_months(options: Namespace, folder: Path) -> tuple[Path, Path]:
    """Write the block means of the years to judge, and the years."""
    fields = join_variables(options.fine, 4).sel(time=slice(*options.judge.split(",")))
    coarse, truth = folder / "coarse.nc", folder / "truth.nc"
    coarsen_fields(fields, 4).to_netcdf(coarse)
    fields.to_netcdf(truth)
    return coarse, truth


def ways_of(options: Namespace) -> dict[str, tuple[Prior, Way]]:
    """Return the ways to judge, each with its prior."""
    prior = load_prior(find_prior(options.prior))
    sampling = prior.contract.sampling
    ways: dict[str, tuple[Prior, Way]] = {
        f"{sampling['sampler']} {sampling['steps']}": (prior, as_users_draw)
    }
    if prior.contract.fast:
        ways["fast"] = (with_fast_default(prior), as_users_draw)
    for path in options.student:
        student = load_prior(path)
        count = int(student.contract.training["fast"]["evaluations"])
        ways[f"{path.stem} {count}"] = (with_fast_default(student), partial(as_taught, count))
    return ways


def with_fast_default(prior: Prior) -> Prior:
    """Mark a prior, that members are drawn with its head."""
    training = prior.contract.training | {"drawn": "fast"}
    return replace(prior, contract=replace(prior.contract, training=training))


def as_users_draw(space: FieldSpace, step: int, numbers: range) -> Iterator[Array]:
    """Yield the members that every user gets."""
    yield from draw_ensemble(space, step, space.sampler, numbers, 0)


@torch.no_grad()
def as_taught(evaluations: int, space: FieldSpace, step: int, numbers: range) -> Iterator[Array]:
    """Yield members of a student, from as many evaluations as it was taught."""
    posterior, sampler = space.posterior(step), space.sampler
    head = tile_denoiser([posterior.window_head(f) for f in posterior.features], posterior.windows)
    mean, noise = posterior.prior_moment(0), space.noise(step, 0)
    for number in numbers:
        x = draw_few(head, mean + sampler.sigma_max * noise([number]), evaluations)
        yield posterior.member((mean + sampler.inflation * (x - mean))[0])


def score(
    prior: Prior, way: Way, coarse: Path, truth: Path, climatology: str, options: Namespace
) -> Figures:
    """Return the scores of one way on one case, by variable."""
    sampler = prior.contract.training.get("drawn", "")
    asked = EnsembleOptions(climatology=climatology, sampler=sampler)
    grid = None if climatology == "none" else truth  # with a margin, or as of benchmarks.months
    space = fit_field_space(coarse, prior, asked, grid, None)
    steps, count = range(0, len(space.steps), max(1, options.months)), options.members
    began = time.perf_counter()
    drawn = [np.stack([*way(space, s, range(count))]).astype(np.float32) for s in steps]
    seconds = (time.perf_counter() - began) / len(steps) / count
    true = open_fields(truth).compute().isel(time=list(steps))
    seen = open_fields(coarse).compute().isel(time=list(steps))
    members = labelled(space, steps, drawn)
    table = evaluate(members, true, seen, sections=SectionChoice(has_all=True))
    joint = [r for s in table.sections.values() for r in s.rows if "variogram_score" in r]
    both = next((r for r in joint if r["method"].startswith("ensemble")), {})
    return {
        str(name): {
            **figures(table.rows, str(name), count), **percentile(members, true, str(name)),
            "energy": both.get("energy_score", np.nan),
            "variogram": both.get("variogram_score", np.nan), "s a member": seconds,
        }
        for name in true.data_vars
    }  # fmt: skip


def figures(rows: list[dict[str, Any]], name: str, count: int) -> Figures:
    """Return the scores of a variable from the rows of a table."""
    by = {row["method"]: row for row in rows if row["variable"] == name}
    ensemble = by[f"ensemble of {count}"]
    ranks = ensemble["rank_histogram"]
    return {
        "CRPS": ensemble["crps"], "RMSE": by[f"mean of {count}"]["rmse"], "SSR": ensemble["ssr"],
        "fine power": by["one member"]["spectrum_small"], "below": ranks[0] * len(ranks),
        "above": ranks[-1] * len(ranks),
    }  # fmt: skip


def percentile(members: xr.Dataset, truth: xr.Dataset, name: str) -> Figures:
    """Return the 99th percentile of all cells and months over the truth's."""
    cells = members[name].sel(lat=truth["lat"], lon=truth["lon"], method="nearest")
    return {"p99": float(np.nanquantile(cells, 0.99) / np.nanquantile(truth[name], 0.99))}


def add_ratios(ways: dict[str, Figures]) -> None:
    """Divide the scores by those of the first way, the prior's own sampler."""
    own = {name: dict(values) for name, values in next(iter(ways.values())).items()}
    for figures in ways.values():
        for name, values in figures.items():
            for key in ("CRPS", "RMSE", "energy", "variogram"):
                values[key] = values[key] / own[name][key]


def rows(ways: dict[str, Figures]) -> Iterator[tuple[object, ...]]:
    """Yield the lines of the table."""
    for way, variables in ways.items():
        for name, values in variables.items():
            yield (way, name, *(float(values[key]) for key in HEAD[2:]))


def targets(found: dict[str, dict[str, Figures]]) -> dict[str, common.Target]:
    """Return what was wanted of the fast head."""
    return {
        f"{case}, {name} {key}": common.target(values[key], *BOUNDS[key])
        for case, ways in found.items()
        for name, values in ways.get("fast", {}).items()
        for key in BOUNDS
        if np.isfinite(values[key])
    }


if __name__ == "__main__":
    main()
