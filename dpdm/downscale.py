"""A coarse file in, an ensemble of fine fields out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from dpdm.draw import Posterior
from dpdm.ensemble import Report, blocks, hiding, labelled, template_of
from dpdm.fields.cf import finish
from dpdm.fields.store import sha256
from dpdm.fields.write import Writer, check_output
from dpdm.prior import find, load
from dpdm.skill import warn_of
from dpdm.task import Task, Wish, label_of, plan


def downscale(
    coarse: Path,
    fine: Path,
    prior: str = "default",
    wish: Wish = Wish(),
    grid: Path | None = None,
    own_statics: Path | None = None,
    overwrite: bool = False,
    report: Report = lambda done, total: None,
) -> None:
    """Write the fine ensemble of a coarse file, step by step, whole or not at all.

    Raises:
        DpdmError: When input, target, prior or output do not fit each other.
    """
    path = find(prior)
    check_output(fine, [coarse, grid, own_statics, wish, path], overwrite)
    known = load(path)
    task = plan(coarse, known, wish, grid, own_statics)
    warn_of(known.contract, path.stem)
    what = "Fine fields" if wish.members else "Mean of the infinite ensemble of fine fields"
    title = f"{what} downscaled from {coarse.name} with the prior {path.stem}"
    template = finish(template_of(task), title, provenance(task, path, coarse), wish.history)
    with Writer(fine, template, overwrite) as writer:
        done, total = 0, max(1, task.wish.members) * task.steps
        for step in range(task.steps):
            for block in results(task, step):
                writer.write(block)
                done += 1
                report(min(done, total), total)


def provenance(task: Task, prior: Path, coarse: Path) -> dict[str, str]:
    """Return what the output was made from; a mean knows neither seed nor sampler."""
    made = {
        "prior": prior.stem,
        "prior_sha256": sha256(prior),
        "input": coarse.name,
        "input_sha256": sha256(coarse),
        "consistent": str(task.wish.consistent).lower(),
        **task.notes,
    }
    if task.wish.mask is not None:
        made |= {"mask": task.wish.mask.name, "mask_sha256": sha256(task.wish.mask)}
    if not task.wish.members:
        return made
    return made | {
        "seed": str(task.wish.seed),
        "members": str(task.wish.members),
        "sampler": task.how.sampler,
        "steps": str(task.how.steps),
    }


def results(task: Task, step: int) -> Iterator[xr.Dataset]:
    """Yield one step's results: the mean alone, or every member and then the statistics."""
    drawn = fields(task, step, range(task.wish.members))
    if task.wish.members:
        yield from blocks(task, step, drawn)
    else:
        yield labelled(task, next(drawn), step)


def fields(task: Task, step: int, numbers: Sequence[int]) -> Iterator[NDArray[np.float64]]:
    """Yield some members (C, H, W) of one step, or the mean if there are none to be drawn."""
    posterior = Posterior(task.prior, task.given(step), task.how)
    lost = posterior.given.lerp.isnan().numpy()
    if not task.wish.members:
        yield from hiding(task, [posterior.expectation()], lost)
    else:
        label = label_of(task.coarse, step)
        yield from hiding(task, posterior.members(numbers, task.wish.seed, label), lost)
