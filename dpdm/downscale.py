"""A coarse file in, an ensemble of fine fields out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpdm.draw import Posterior
from dpdm.ensemble import EnsembleOptions, Report, finished, provenance
from dpdm.fields.store import sha256
from dpdm.fields.write import Writer, check_output
from dpdm.prior import find, load
from dpdm.skill import warn_of
from dpdm.task import Task, label_of, plan


def downscale(
    coarse: Path,
    fine: Path,
    prior: str = "default",
    wish: EnsembleOptions = EnsembleOptions(),
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
    made = provenance(path, [coarse], said_of(task))
    template = finished(task.template(), title, made, wish.history)
    with Writer(fine, template, overwrite) as writer:
        done, total = 0, max(1, task.wish.members) * task.steps
        for step in range(task.steps):
            for block in task.blocks(step, fields(task, step, range(wish.members))):
                writer.write(block)
                done += 1
                report(min(done, total), total)


def said_of(task: Task) -> dict[str, object]:
    """Return what decides the output beside the files; a mean knows neither seed nor sampler."""
    wish = task.wish
    said: dict[str, object] = {"consistent": str(wish.consistent).lower(), **task.notes}
    if wish.mask is not None:
        said |= {"mask": wish.mask.name, "mask_sha256": sha256(wish.mask)}
    if not wish.members:
        return said
    drawn = {"seed": wish.seed, "members": wish.members}
    return said | drawn | {"sampler": task.how.sampler, "steps": task.how.steps}


def fields(task: Task, step: int, numbers: Sequence[int]) -> Iterator[NDArray[np.float64]]:
    """Yield some members (C, H, W) of one step, or the mean if there are none to be drawn."""
    posterior = Posterior(task.prior, task.given(step), task.how)
    lost = posterior.given.lerp.isnan().numpy()
    if not task.wish.members:
        yield from task.hiding([posterior.expectation()], lost)
    else:
        label = label_of(task.coarse, step)
        yield from task.hiding(posterior.members(numbers, task.wish.seed, label), lost)
