"""Downscale a coarse file to an ensemble of fine fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from dpdm.fields.named_grids import Target
from dpdm.fields.write import Writer
from dpdm.file_group import Source, paths_of
from dpdm.paths import check_output
from dpdm.prior import find_prior, load_prior
from dpdm.prior.model_card import warn_if_unskilled
from dpdm.states.cost import CostNotice, describe_cost, describe_ensemble
from dpdm.states.ensemble import ProgressCallback, ensemble_provenance, finish_layout
from dpdm.states.field_domain import fit_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions
from dpdm.states.sampling import choose_unguided_sampler, step_blocks
from dpdm.system import sha256


def downscale(
    coarse: Source,
    fine: Path,
    prior: str = "default",
    options: EnsembleOptions = EnsembleOptions(),
    grid: Target | None = None,
    own_statics: Path | None = None,
    overwrite: bool = False,
    report: ProgressCallback = lambda done, total: None,
    notify: Callable[[str], None] = lambda line: None,
) -> None:
    """Write the ensemble of coarse files, step by step; ``notify`` is told if that takes long."""
    path = find_prior(prior)
    inputs = [coarse, grid, own_statics, options, options.climatology_file, path]
    check_output(fine, inputs, overwrite)
    loaded = load_prior(path)
    options = choose_unguided_sampler(options, loaded)
    space = fit_field_space(coarse, loaded, options, grid, own_statics)
    warn_if_unskilled(loaded.contract, path.stem)
    content = "Fine fields" if options.members else "Ensemble means of fine fields"
    title = f"{content} downscaled from {coarse.name} with the prior {path.stem}"
    provenance = ensemble_provenance(path, paths_of(coarse), downscaling_settings(space))
    template = finish_layout(space.template(), title, provenance, options.history)
    report = CostNotice(space, template, notify, report)
    with Writer(fine, template, overwrite) as writer:
        done, total = 0, max(1, options.members) * len(space.steps)
        for step in space.steps:
            for block in step_blocks(space, step, space.members(step, range(options.members))):
                writer.write(block)
                done += 1
                report(min(done, total), total)


def check_downscaling(
    coarse: Source,
    fine: Path,
    prior: str,
    options: EnsembleOptions,
    grid: Target | None,
    own_statics: Path | None,
) -> Iterator[str]:
    """Yield what would be drawn and what it costs, line by line, without writing."""
    loaded = load_prior(find_prior(prior))
    options = choose_unguided_sampler(options, loaded)
    space = fit_field_space(coarse, loaded, options, grid, own_statics)
    yield from describe_ensemble(space)
    yield from describe_cost(space, space.members, fine)


def downscaling_settings(space: FieldSpace) -> dict[str, object]:
    """Return the settings of the output for its provenance; a mean has no seed or sampler."""
    options = space.options
    settings: dict[str, object] = {"consistent": str(options.consistent).lower(), **space.notes}
    if options.mask is not None:
        settings |= {"mask": options.mask.name, "mask_sha256": sha256(options.mask)}
    if not options.members:
        return settings
    drawn = {"seed": options.seed, "members": options.members}
    return settings | drawn | {"sampler": space.sampler.sampler, "steps": space.sampler.steps}
