"""The command dpdm."""

import click

from dpdm import __version__
from dpdm_cli import options
from dpdm_cli.adjust import adjust
from dpdm_cli.assimilate import assimilate
from dpdm_cli.coarsen import coarsen
from dpdm_cli.console import Group
from dpdm_cli.doctor import doctor
from dpdm_cli.downscale import downscale
from dpdm_cli.embed import embed
from dpdm_cli.evaluate import evaluate
from dpdm_cli.export import export
from dpdm_cli.forecast import forecast
from dpdm_cli.help import show_help
from dpdm_cli.info import info
from dpdm_cli.lerp import lerp
from dpdm_cli.observe import observe
from dpdm_cli.perturb import perturb
from dpdm_cli.plot import plot
from dpdm_cli.reconstruct import reconstruct
from dpdm_cli.status import status
from dpdm_cli.testbed import testbed
from dpdm_cli.train import train


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="dpdm")
def main() -> None:
    """Downscale coarse climate fields to fine ensembles with calibrated uncertainty.

    Reads and writes CF NetCDF and Zarr; reads GRIB if cfgrib is installed.
    """


for command in (
    downscale, adjust, assimilate, reconstruct, status, train, coarsen, lerp, evaluate, plot,
    testbed, observe, perturb, embed, forecast, export, info, doctor,
    show_help,
):  # fmt: skip
    main.add_command(options.verbose(options.quiet(command)))
