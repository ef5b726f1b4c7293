"""dpdm embed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dpdm_cli import options
from dpdm_cli.checks import check_paths, climatology_file
from dpdm_cli.command import command
from dpdm_cli.console import note, progress

if TYPE_CHECKING:
    from dpdm.file_group import Source


@command(
    "dpdm embed fine.nc features.nc --sigma 0.4 --layer mid --pool mean",
    "dpdm embed fine.nc features.nc --layer list",
)
@options.inputs_and_output("FIELD", "FEATURES")
@options.prior
@click.option(
    "--sigma", type=options.FiniteFloat(), default=0.4, show_default=True,
    help="Noise level of the denoiser.",
)  # fmt: skip
@options.layer
@click.option(
    "--pool", type=click.Choice(["none", "mean"]), default="none", show_default=True,
    help="Write the features of every cell (none), or their area mean.",
)  # fmt: skip
@click.option(
    "--draws", type=options.integer("draws", 0), default=0, show_default=True,
    help="Number of noise realisations to average over; 0 adds no noise.",
)  # fmt: skip
@click.option(
    "--seed",
    type=options.integer("seed", 0),
    default=0,
    show_default=True,
    help="Random seed of the noise.",
)
@options.factor
@options.blind
@options.statics
@options.climatology
@options.device
@options.period
@options.var
@options.units
@options.missing
@options.overwrite
def embed(
    field: "Source",
    features: Path,
    prior: str,
    sigma: float,
    layer: str,
    pool: str,
    draws: int,
    seed: int,
    factor: int | None,
    blind: bool,
    statics: Path | None,
    climatology: str,
    climatology_period: tuple[str, str] | None,
    device: str,
    period: str,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: Mapping[str, tuple[float, ...]],
    overwrite: bool,
) -> None:
    """Write features of fields or trajectories: activations of the network of the prior.

    They can serve as predictors in a linear regression.
    """
    if factor is not None and blind:
        raise click.UsageError("Give either --factor or --blind.")
    check_paths((field, statics, climatology_file(climatology)), features, overwrite, prior)
    from dpdm.embed import embed
    from dpdm.states.features import FeatureOptions
    from dpdm.states.options import EnsembleOptions, FieldConditioning

    ensemble_options = EnsembleOptions(
        device=device, rename=rename, units=units, missing=missing,
        history=options.command_line(), period=period,
        climatology=climatology, climatology_period=climatology_period,
    )  # fmt: skip
    feature_options = FeatureOptions(sigma, tuple(layer.split(",")), draws, seed)
    conditioning = FieldConditioning(factor or 0, blind, statics)
    with progress("Embedding", "states") as report:
        embed(
            field, features, prior, ensemble_options, feature_options, pool, conditioning,
            overwrite, report,
        )  # fmt: skip
    note(f"Wrote {features}")
