"""Options that several commands share, and the types of their values."""

import errno
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from glob import glob
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from dpdm import choices
from dpdm.config import OPTION_LIMITS, is_period, parse_kilometres
from dpdm_cli.console import QUIET, log_to_terminal

if TYPE_CHECKING:
    from dpdm.fields.output_units import OutputUnit

Command = Callable[..., Any]


class File(click.Path):
    """A path to a local file or folder, neither a URL nor a cyclic link; a leading ~ is home."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path:
        """Return the path."""
        if isinstance(value, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", value):
            self.fail(f"{value} is a URL. Download the file and give its path.", param, ctx)
        path = expand_home(Path(str(super().convert(value, param, ctx))))
        try:
            path.stat()
        except OSError as fault:
            if fault.errno == errno.ELOOP:
                self.fail(f"{path} is a symbolic link to itself.", param, ctx)
        return path


FILE = File(path_type=Path)


def expand_home(path: Path) -> Path:
    """Return a path with its leading ~ expanded, which a shell does not do in quotes."""
    try:
        return path.expanduser()
    except RuntimeError:  # of an unknown user
        return path


def inputs_and_output(
    inputs: str, output: str, joined: bool = True
) -> Callable[[Command], Command]:
    """Return the arguments of a command: its input files, and its output last or by -o.

    The command receives them under these names in lower case: the inputs as one source of fields,
    or if not ``joined`` as a tuple of paths.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(files: tuple[Path, ...], output_file: Path | None, **rest: Any) -> Any:
            overwrite = bool(rest.get("overwrite"))
            read, written = split_output(files, output_file, output, overwrite)
            from dpdm.file_group import as_source

            source = as_source(read) if joined else read
            return command(**{inputs.lower(): source, output.lower(): written}, **rest)

        argument = click.argument(
            "files", nargs=-1, required=True, type=FILE, metavar=f"{inputs}... {output}"
        )
        return argument(output_option(run))

    return decorate


output_option = click.option(
    "-o", "--output", "output_file", type=FILE, metavar="FILE",
    help="Output file, instead of the last argument.",
)  # fmt: skip


def split_output(
    files: tuple[Path, ...], named: Path | None, metavar: str, overwrite: bool
) -> tuple[tuple[Path, ...], Path]:
    """Return the inputs and the output; refuse to replace what may be an input."""
    if named is not None:
        return files, named
    *inputs, last = files
    if not inputs:
        raise click.UsageError(f"Missing argument '{metavar}': the output, last or with -o.")
    risky = last.exists() and last not in inputs and (overwrite or len(inputs) > 1)
    if risky and may_be_input(last, inputs):
        raise click.UsageError(
            f"{last} exists, was not made from the files before it, and may be an input. Name the "
            "output with -o FILE."
        )
    return tuple(inputs), last


def may_be_input(last: Path, inputs: list[Path]) -> bool:
    """Tell whether the last file may be an input: a file of fields, not made from the others."""
    from dpdm.fields.write import read_provenance
    from dpdm.paths import OUTPUT_SUFFIXES

    if last.suffix not in OUTPUT_SUFFIXES:
        return last.suffix in {path.suffix for path in inputs}
    made = read_provenance(last)
    return made is None or (len(inputs) > 1 and not {path.name for path in inputs} & made)


def parse_pairs(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, str]:
    """Parse NAME=VALUE options as a mapping."""
    for value in values:
        if not all(value.partition("=")[::2]):
            raise click.BadParameter(f"{value!r} is not of the form NAME=VALUE.")
    return dict(v.split("=", 1) for v in values)


def parse_out_units(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> "tuple[OutputUnit, ...]":
    """Parse [NAME=]UNIT options; those of a file of defaults need not fit any variable."""
    if not values:
        return ()
    from dpdm.fields.output_units import OutputUnit

    source = ctx.get_parameter_source(str(parameter.name))
    is_default = source is click.core.ParameterSource.DEFAULT_MAP
    wanted = []
    for value in values:
        name, equals, unit = value.rpartition("=")
        if not unit or (equals and not name):
            raise click.BadParameter(f"{value!r} is not of the form [NAME=]UNIT.")
        wanted.append(OutputUnit(name, unit, is_default))
    return tuple(wanted)


class Climatology(click.ParamType[str]):
    """The name of a climatology, or a file."""

    name = "climatology"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name or the path."""
        return value if value in ("", *choices.CLIMATOLOGIES) else str(FILE(value, param, ctx))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete a name, or else a file."""
        names = [name for name in choices.CLIMATOLOGIES if name.startswith(incomplete)]
        return [CompletionItem(n) for n in names] or [CompletionItem(incomplete, type="file")]


def parse_months(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, str] | None:
    """Parse FROM,TO of --climatology-period: two years or months, in order, with a file."""
    if value is None:
        return None
    first, _, last = value.partition(",")
    if not all(re.fullmatch(r"\d{4}(-(0[1-9]|1[0-2]))?", date) for date in (first, last)):
        raise click.BadParameter(f"{value!r} is not two months, as in 1991-01,2020-12.")
    if ctx.params.get("climatology", "") in ("", *choices.CLIMATOLOGIES):
        raise click.UsageError("--climatology-period requires --climatology FILE.")
    return first, last


class Choice(click.Choice[str]):
    """One of a list of names, to which plug-ins may add."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.choices = names  # type: ignore[assignment]  # the list itself, which grows

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, after loading plug-ins for an unknown one."""
        if value not in self.choices:
            choices.load_plugins()
        return super().convert(value, param, ctx)


class FiniteFloat(click.FloatRange):
    """A finite number in a range; click itself accepts nan."""

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


class Kilometres(click.ParamType[float]):
    """A length with its unit, as in 100km."""

    name = "km"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the length in km."""
        try:
            return value if isinstance(value, float) else parse_kilometres(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def parse_number(text: str) -> float:
    """Parse a finite number."""
    try:
        number = float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a number.") from error
    if not math.isfinite(number):
        raise click.BadParameter(f"{text!r} is not a finite number.")
    return number


def parse_numbers(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, float]:
    """Parse NAME=NUMBER options as a mapping."""
    return {
        name: parse_number(number) for name, number in parse_pairs(ctx, parameter, values).items()
    }


def parse_coarse_error(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, float]:
    """Parse NAME=STD options, where STD or the whole may be "auto", as numbers by name.

    NaN stands for "auto", and the empty name for all variables.
    """
    everything = {"": math.nan} if "auto" in values else {}
    pairs = parse_pairs(ctx, parameter, tuple(value for value in values if value != "auto"))
    return everything | {
        name: math.nan if number == "auto" else parse_number(number)
        for name, number in pairs.items()
    }


def parse_missing(
    ctx: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> Mapping[str, tuple[float, ...]]:
    """Parse [NAME=]NUMBER options as numbers by name, which is empty for all variables."""
    codes: dict[str, tuple[float, ...]] = {}
    for value in values:
        name, _, number = value.rpartition("=")
        codes[name] = (*codes.get(name, ()), parse_number(number))
    return codes


def missing_option(name: str, text: str) -> Callable[[Command], Command]:
    """Return an option for codes of missing values."""
    return click.option(
        name, multiple=True, callback=parse_missing, metavar="[NAME=]VALUE", help=text
    )


def integer(name: str, minimum: int | None = None) -> click.IntRange:
    """Return the type of an integer option with a minimum and its entry of OPTION_LIMITS."""
    return click.IntRange(minimum, OPTION_LIMITS[name])


def parse_box(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """Parse WEST,EAST,SOUTH,NORTH, or take the box of --lon and --lat."""
    lon, lat = (ctx.meta.get(f"dpdm.{name}_range") for name in ("lon", "lat"))
    if value is None:
        return (*(lon or (-180.0, 180.0)), *(lat or (-90.0, 90.0))) if lon or lat else None
    if lon or lat:
        raise click.UsageError("Give either --bbox or --lon and --lat.")
    parts = value.split(",")
    if len(parts) != 4:
        raise click.BadParameter(f"{value!r} is not four numbers: WEST,EAST,SOUTH,NORTH.")
    return tuple(parse_number(part) for part in parts)


def parse_period(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, str] | None:
    """Parse FROM,TO, two months or years in order."""
    if value is None:
        return None
    from dpdm.errors import DpdmError
    from dpdm.fields.reference_period import parse_month_span

    first, _, last = value.partition(",")
    try:
        parse_month_span([first, last])
    except DpdmError as error:
        raise click.BadParameter(
            f"{value!r} is not a first and a last month, as in 1981-01,2010-12."
        ) from error
    return first, last


def parse_dates(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[str, str] | None:
    """Parse FIRST,LAST of --dates: two years, months or days in order."""
    if value is None:
        return None
    first, _, last = value.partition(",")
    if not is_period([first, last]):
        raise click.BadParameter(
            f"{value!r} is not a first and a last date, as in 1993-01,1993-12."
        )
    return first, last


def file_option(name: str, metavar: str) -> Callable[[str], Callable[[Command], Command]]:
    """Return an option for a file, as a function of its help."""

    def option(text: str) -> Callable[[Command], Command]:
        return click.option(name, type=FILE, metavar=metavar, help=text)

    return option


def parse_range(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[float, float] | None:
    """Parse two numbers, and keep them for the option --bbox."""
    if value is None:
        return None
    parts = value.split(",")
    if len(parts) != 2:
        raise click.BadParameter(f"{value!r} is not two numbers: {parameter.metavar}.")
    ends = parse_number(parts[0]), parse_number(parts[1])
    ctx.meta[f"dpdm.{parameter.name}"] = ends
    return ends


def box_option(verb: str) -> Callable[[Command], Command]:
    """Return the options --bbox, --lon and --lat, with the verb of their help."""
    box = click.option(
        "--bbox", callback=parse_box, metavar="WEST,EAST,SOUTH,NORTH",
        help=f"{verb} only this box, in degrees; it may cross the dateline.",
    )  # fmt: skip
    lon, lat = (
        click.option(
            f"--{name}", f"{name}_range", callback=parse_range, metavar=metavar, is_eager=True,
            expose_value=False, help=f"{verb} only these {what}, as --bbox does.",
        )
        for name, metavar, what in (
            ("lon", "WEST,EAST", "longitudes"), ("lat", "SOUTH,NORTH", "latitudes"),
        )
    )  # fmt: skip
    return lambda command: box(lon(lat(command)))


def complete_prior(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a bundled prior, or else of a file."""
    folder = resources.files("dpdm") / "data"
    files = (Path(item.name) for item in folder.iterdir())
    names = sorted(file.stem for file in files if file.suffix == ".safetensors")
    matches = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return matches or [CompletionItem(incomplete, type="file")]


def complete_file_or_prior(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete a file, or the name of a bundled prior that has been started."""
    if not incomplete:
        return [CompletionItem("", type="file")]
    return complete_prior(ctx, parameter, incomplete)


def check_option(text: str) -> Callable[[Command], Command]:
    """Return --check, which has a second name, with its help."""
    return click.option("--check", "--dry-run", "check", is_flag=True, help=text)


overwrite = click.option(
    "-O", "--overwrite", is_flag=True, help="Replace the output if it exists."
)
prior = click.option(
    "--prior", default="default", show_default=True, metavar="NAME|FILE",
    shell_complete=complete_prior,
    help="A bundled prior, or a .safetensors file written by dpdm train.",
)  # fmt: skip
period = click.option(
    "--period", type=click.Choice(["any"]), callback=lambda ctx, parameter, value: value or "",
    help="Accept steps of another length (days, months, ...) than those of the training data, "
    "with a warning and a note in the output.",
)  # fmt: skip
var = click.option(
    "--var", "rename", multiple=True, callback=parse_pairs, metavar="NAME=VARIABLE",
    help="Name of a variable in the file, as in tp=pr. Repeatable.",
)  # fmt: skip
units = click.option(
    "--units", multiple=True, callback=parse_pairs, metavar="NAME=UNIT",
    help="Units of the input, if missing or wrong in the file, as in tp=mm/month; to convert, "
    "use --out-units. Repeatable.",
)  # fmt: skip
out_units = click.option(
    "--out-units", multiple=True, callback=parse_out_units, metavar="[NAME=]UNIT",
    help="Units of the output, as in degC or tp=mm/month; by default those of the input. "
    "Repeatable.",
)  # fmt: skip
missing = missing_option(
    "--missing",
    "Missing-value code that the file does not declare, as in -999 or tp=-9. Repeatable.",
)


def parse_files(ctx: click.Context, parameter: click.Parameter, values: tuple[Path, ...]) -> Any:
    """Return the files of a repeatable option, patterns in quotes expanded, as one source."""
    from dpdm.file_group import as_source

    found = [path for value in values for path in expand_pattern(value)]
    return as_source(found) if found else None


def expand_pattern(path: Path) -> list[Path]:
    """Return the files of a pattern, as tas_*.nc in quotes, or the path itself."""
    found = [] if path.exists() else sorted(glob(str(path)))
    return [Path(name) for name in found] or [path]


def files_option(name: str, metavar: str) -> Callable[[str], Callable[[Command], Command]]:
    """Return a repeatable option for files that are read as one, as a function of its help."""

    def option(text: str) -> Callable[[Command], Command]:
        return click.option(
            name, type=FILE, multiple=True, callback=parse_files, metavar=metavar,
            help=f"{text} Repeatable, for files of different variables or years.",
        )  # fmt: skip

    return option


coarse = files_option("--coarse", "COARSE.nc")
truth = files_option("--truth", "TRUTH.nc")
background = file_option("--background", "BACKGROUND.nc")
points = file_option("--points", "STATIONS.csv")
statics = file_option("--statics", "S.nc")(
    "Surface altitude and land fraction, if not the bundled ones; at least as fine as the output."
)


def climatology_options(text: str) -> Callable[[Command], Command]:
    """Return --climatology, with the end of its help, and --climatology-period."""
    choice = click.option(
        "--climatology", type=Climatology(), default="", is_eager=True, metavar="NAME|FILE|none",
        help=f"Monthly climatology of the fine grid: era5 (bundled), a file, or none{text}",
    )  # fmt: skip
    period = click.option(
        "--climatology-period", callback=parse_months, metavar="FROM,TO",
        help="First and last month of the climatology, if FILE is a series.  [default: all]",
    )  # fmt: skip
    return lambda command: choice(period(command))


climatology = climatology_options(".  [default: the prior's own, or era5 where it fits]")
device = click.option(
    "--device", type=Choice(choices.DEVICES), default="auto", show_default=True,
    help="Computing device; auto uses a GPU if one is available.",
)  # fmt: skip
bbox = box_option("Write")
mask = file_option("--mask", "AREAS.geojson")("Mask cells with a centre outside these polygons.")


def own_period(text: str) -> Callable[[Command], Command]:
    """Return the option --reference-period with its help."""
    return click.option("--reference-period", callback=parse_period, metavar="FROM,TO", help=text)


reference_period = own_period(
    "Add anomalies of the input to the climatology; they refer to the mean of the input over "
    "this period, as in 1981-01,2010-12."
)
reference = click.option(
    "--reference", type=FILE, multiple=True, metavar="FILE.nc",
    help="File of the reference period on the grid of the input, if the input does not include "
    "the period. Repeatable.",
)  # fmt: skip


class GridChoice(click.ParamType[Any]):
    """A file on a grid, or a grid by its name or by CDO's description."""

    name = "grid"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the grid, or the path of a file of fields."""
        from dpdm.fields.named_grids import is_grid_name, read_grid

        text = str(value)
        return read_grid(text if is_grid_name(text) else str(FILE(text, param, ctx)))


def parse_spacing(
    ctx: click.Context, parameter: click.Parameter, value: float | None
) -> float | None:
    """Keep the spacing for the option --grid."""
    ctx.meta["dpdm.spacing"] = value
    return value


def choose_grid(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Return the grid of --grid or --res."""
    if (spacing := ctx.meta.get("dpdm.spacing")) is None:
        return value
    if value is not None:
        raise click.UsageError("Give either --grid or --res.")
    from dpdm.fields.named_grids import grid_of_spacing

    return grid_of_spacing(spacing)


def grid(command: Command) -> Command:
    """Add the options --grid and --res, both for the parameter ``grid``."""
    named = click.option(
        "--grid", type=GridChoice(), callback=choose_grid, metavar="TARGET.nc|NAME",
        help="Output grid: a file on that grid, a CDO grid name (r1440x720, global_0.25), or a "
        "CDO grid description file. A global grid is cut to the extent of the input.",
    )  # fmt: skip
    spacing = click.option(
        "--res", type=FiniteFloat(min=0, min_open=True), callback=parse_spacing, is_eager=True,
        expose_value=False, metavar="DEGREES",
        help="Output grid of this spacing, with cell edges at multiples of DEGREES.",
    )  # fmt: skip
    return named(spacing(command))


factor = click.option(
    "--factor", type=integer("factor", 1), metavar="N",
    help="Condition on the means of the state over N by N cells.  [default: the largest possible]",
)  # fmt: skip
blind = click.option(
    "--blind", is_flag=True, help="Unconditional: ignore the coarse field, including the large "
    "scales.",
)  # fmt: skip

layer = click.option(
    "--layer", default="mid", show_default=True, metavar="NAME[,NAME]",
    help="Layers of the network; an unknown name lists the available ones.",
)  # fmt: skip


def set_quiet(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Keep the wish for silence for the whole command."""
    if value:
        ctx.find_root().meta[QUIET] = True


def set_verbose(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Print what the library logs."""
    if value:
        log_to_terminal()


quiet = click.option(
    "-q", "--quiet", is_flag=True, expose_value=False, callback=set_quiet,
    help="Print results, warnings and errors only.",
)  # fmt: skip
verbose = click.option(
    "-v", "--verbose", is_flag=True, expose_value=False, callback=set_verbose,
    help="Also print how each file is interpreted, and the grid.",
)  # fmt: skip

DEFAULT_WORDS = "dpdm.defaults"  # key of a context's options from a file of defaults


def command_line() -> str:
    """Return the command line, with options from a file of defaults, for the output's history."""
    import shlex
    import sys

    words = ["dpdm", *sys.argv[1:]]
    ctx = click.get_current_context(silent=True)
    if ctx is None:
        return shlex.join(words)
    found = ctx.meta.get(DEFAULT_WORDS, {})
    used = [word for name in found if name in (ctx.default_map or {}) for word in found[name]]
    at = words.index(ctx.info_name) + 1 if ctx.info_name in words else len(words)
    return shlex.join([*words[:at], *used, *words[at:]])
