"""Each shared option, spelled once."""

import errno
import math
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from dpdm import choices
from dpdm.config import OPTION_LIMITS

Command = Callable[..., Any]


class File(click.Path):
    """A file or folder on this machine: no address on the network, no link without an end."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path."""
        if isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
            self.fail(f"{value} is an address; fetch the file, and give its path.", param, ctx)
        path = Path(str(super().convert(value, param, ctx)))
        try:
            path.stat()
        except OSError as fault:
            if fault.errno == errno.ELOOP:
                self.fail(f"{path} is a symbolic link that leads back to itself.", param, ctx)
        return path


FILE = File(path_type=Path)


def pairs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, str]:
    """Return NAME=VALUE options as a mapping."""
    for value in values:
        if not all(value.partition("=")[::2]):
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE.")
    return dict(v.split("=", 1) for v in values)


class OneOf(click.Choice[str]):
    """One of a list of names, with those that a plug-in adds to it."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.choices = names  # type: ignore[assignment]  # the list itself, for it grows

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name; an unknown one is sought in installed plug-ins."""
        if value not in self.choices:
            choices.load_plugins()
        return super().convert(value, param, ctx)


class Real(click.FloatRange):
    """A finite number, in a range if there is one: nan passes every comparison of click's."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number

    def _describe_range(self) -> str:
        return "" if self.min is None and self.max is None else super()._describe_range()


def real(text: str) -> float:
    """Return the finite number that a part of an option is.

    Raises:
        click.BadParameter: It is none.
    """
    try:
        number = float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a number.") from error
    if not math.isfinite(number):
        raise click.BadParameter(f"{text!r} is not a finite number.")
    return number


def numbers(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, float]:
    """Return NAME=NUMBER options as a mapping."""
    return {name: real(number) for name, number in pairs(ctx, parameter, values).items()}


def of_variables(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, tuple[float, ...]]:
    """Return [NAME=]NUMBER options as the numbers of each name, empty for all variables."""
    found: dict[str, tuple[float, ...]] = {}
    for value in values:
        name, _, number = value.rpartition("=")
        found[name] = (*found.get(name, ()), real(number))
    return found


def codes(name: str, purpose: str) -> Callable[[Command], Command]:
    """Return an option that declares numbers that stand for missing values."""
    return click.option(
        name, multiple=True, callback=of_variables, metavar="[NAME=]VALUE", help=purpose
    )


def whole(name: str, least: int | None = None, most: str = "") -> click.IntRange:
    """Return the type of an option that takes a whole number.

    Args:
        name: Of the option; of `MOST`, where ``most`` does not name another.
        least: The least, where the command itself does not check it.
        most: The entry of `MOST`.
    """
    return click.IntRange(least, OPTION_LIMITS[most or name])


def box(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Return WEST,EAST,SOUTH,NORTH as numbers."""
    if value is None:
        return None
    parts = value.split(",")
    if len(parts) != 4:
        raise click.BadParameter(f"{value!r} is not four numbers: WEST,EAST,SOUTH,NORTH.")
    return tuple(real(part) for part in parts)


def of_file(name: str, metavar: str) -> Callable[[str], Callable[[Command], Command]]:
    """Return an option that names a file, which wants no more than what the file is for."""

    def option(purpose: str) -> Callable[[Command], Command]:
        return click.option(name, type=FILE, metavar=metavar, help=purpose)

    return option


def area(verb: str) -> Callable[[Command], Command]:
    """Return the option that names a box, with what is done with it."""
    return click.option(
        "--bbox", callback=box, metavar="WEST,EAST,SOUTH,NORTH",
        help=f"{verb} only this box, in degrees; it may cross the dateline.",
    )  # fmt: skip


def priors(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a bundled prior, or of a file where none begins so."""
    folder = resources.files("dpdm") / "data"
    found = (Path(item.name) for item in folder.iterdir())
    names = sorted(file.stem for file in found if file.suffix == ".safetensors")
    begun = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return begun or [CompletionItem(incomplete, type="file")]


def files_or_priors(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a file, or the name of a bundled prior that was begun."""
    return priors(ctx, parameter, incomplete) if incomplete else [CompletionItem("", type="file")]


overwrite = click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
prior = click.option(
    "--prior", default="default", show_default=True, metavar="NAME|FILE", shell_complete=priors,
    help="A bundled prior, or a .safetensors file that dpdm train wrote.",
)  # fmt: skip
period = click.option(
    "--period", type=click.Choice(["any"]), callback=lambda ctx, parameter, value: value or "",
    help="Accept input whose steps are of another period than those that the prior was trained on "
    "(days, months ...), with a warning and a note in the output.",
)  # fmt: skip
var = click.option(
    "--var", "rename", multiple=True, callback=pairs, metavar="NAME=VARIABLE",
    help="Which variable of the file is meant, as in tp=pr. Repeat for others.",
)  # fmt: skip
units = click.option(
    "--units", multiple=True, callback=pairs, metavar="NAME=UNIT",
    help="What the numbers are, where the file does not say or is wrong, as in tp=mm/month.",
)  # fmt: skip
missing = codes(
    "--missing",
    "Number that stands for a missing value where the file does not declare it, as -999 or "
    "tp=-9. Repeat for others.",
)
coarse = of_file("--coarse", "COARSE.nc")
truth = of_file("--truth", "TRUTH.nc")
background = of_file("--background", "BACKGROUND.nc")
points = of_file("--points", "STATIONS.csv")
statics = of_file("--statics", "S.nc")(
    "Your own surface altitude and land fraction, at least as fine as the target."
)
device = click.option(
    "--device", type=OneOf(choices.DEVICES), default="auto", show_default=True,
    help="Where to compute; auto takes a GPU if there is one.",
)  # fmt: skip
bbox = area("Write")
mask = of_file("--mask", "AREAS.geojson")(
    "Keep cells whose centre lies in these polygons; others are missing."
)
grid = of_file("--grid", "TARGET.nc")("A file on the grid to write.")

factor = click.option(
    "--factor", type=whole("factor", 1), metavar="N",
    help="The prior knows the state's means over N by N cells.  [default: the greatest it can]",
)  # fmt: skip
blind = click.option(
    "--blind", is_flag=True, help="The prior knows nothing: large scales are its own as well.",
)  # fmt: skip

layer = click.option(
    "--layer", default="mid", show_default=True, metavar="NAME[,NAME]",
    help="Layers of the network; a name that does not exist is answered with those that do.",
)  # fmt: skip


def command_line() -> str:
    """Return the command as the user gave it, for the output's history."""
    import shlex
    import sys

    return shlex.join(["dpdm", *sys.argv[1:]])
