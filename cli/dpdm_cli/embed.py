"""dpdm embed."""

from collections.abc import Mapping
from pathlib import Path

import click

from dpdm_cli import options
from dpdm_cli.console import echo, progress


@click.command(
    epilog="Example: dpdm embed fine.nc features.nc --sigma 0.4 --layer mid --pool mean"
)
@click.argument("field", type=options.FILE)
@click.argument("features", type=options.FILE)
@options.prior
@click.option(
    "--sigma", type=options.Real(), default=0.4, show_default=True,
    help="Noise level of the denoiser.",
)  # fmt: skip
@options.layer
@click.option(
    "--pool", type=click.Choice(["none", "mean"]), default="none", show_default=True,
    help="Keep the features of every cell, or their mean over area.",
)  # fmt: skip
@click.option(
    "--draws", type=options.whole("draws", 0), default=0, show_default=True,
    help="Average over so many draws of the noise; 0 takes the field as it is.",
)  # fmt: skip
@click.option(
    "--seed",
    type=options.whole("seed", 0),
    default=0,
    show_default=True,
    help="Seed of the draws.",
)
@options.factor
@options.blind
@options.statics
@options.device
@options.period
@options.var
@options.units
@options.missing
@options.overwrite
def embed(
    field: Path,
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
    device: str,
    period: str,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    missing: Mapping[str, tuple[float, ...]],
    overwrite: bool,
) -> None:
    """Write the inner FEATURES of the prior's denoiser for each FIELD, or trajectory, of a file.

    What the network has learnt of fields, as numbers from which other things may follow
    linearly.
    """  # fmt: skip
    if factor is not None and blind:
        raise click.UsageError("Give either --factor or --blind.")
    from dpdm.embed import embed
    from dpdm.states.features import FeatureOptions
    from dpdm.states.options import EnsembleOptions, FieldConditioning

    asked = EnsembleOptions(
        device=device, rename=rename, units=units, missing=missing,
        history=options.command_line(), period=period,
    )  # fmt: skip
    look = FeatureOptions(sigma, tuple(layer.split(",")), draws, seed)
    around = FieldConditioning(factor or 0, blind, statics)
    with progress("Embedding", "states") as report:
        embed(field, features, prior, asked, look, pool, around, overwrite, report)
    echo(f"Wrote {features}", err=True)
