"""A coarse file in, an ensemble of fine fields out."""

from __future__ import annotations

from pathlib import Path

from dpdm.fields.write import Writer, check_output
from dpdm.prior import find_prior, load_prior
from dpdm.prior.skill import warn_if_unskilled
from dpdm.states.ensemble import (
    EnsembleOptions,
    ProgressCallback,
    ensemble_provenance,
    finish_layout,
)
from dpdm.states.field_domain import fit_field_space
from dpdm.states.fields import FieldSpace
from dpdm.system import sha256


def downscale(
    coarse: Path,
    fine: Path,
    prior: str = "default",
    options: EnsembleOptions = EnsembleOptions(),
    grid: Path | None = None,
    own_statics: Path | None = None,
    overwrite: bool = False,
    report: ProgressCallback = lambda done, total: None,
) -> None:
    """Write the fine ensemble of a coarse file, step by step, whole or not at all."""
    path = find_prior(prior)
    check_output(fine, [coarse, grid, own_statics, options, path], overwrite)
    known = load_prior(path)
    space = fit_field_space(coarse, known, options, grid, own_statics)
    warn_if_unskilled(known.contract, path.stem)
    what = "Fine fields" if options.members else "Mean of the infinite ensemble of fine fields"
    title = f"{what} downscaled from {coarse.name} with the prior {path.stem}"
    made = ensemble_provenance(path, [coarse], downscaling_settings(space))
    template = finish_layout(space.template(), title, made, options.history)
    with Writer(fine, template, overwrite) as writer:
        done, total = 0, max(1, options.members) * len(space.steps)
        for step in space.steps:
            for block in space.blocks(step, space.members(step, range(options.members))):
                writer.write(block)
                done += 1
                report(min(done, total), total)


def downscaling_settings(space: FieldSpace) -> dict[str, object]:
    """Return what decides the output beside the files; a mean knows neither seed nor sampler."""
    options = space.options
    said: dict[str, object] = {"consistent": str(options.consistent).lower(), **space.notes}
    if options.mask is not None:
        said |= {"mask": options.mask.name, "mask_sha256": sha256(options.mask)}
    if not options.members:
        return said
    drawn = {"seed": options.seed, "members": options.members}
    return said | drawn | {"sampler": space.sampler.sampler, "steps": space.sampler.steps}
