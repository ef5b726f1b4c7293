"""Generate pages from the code.

commands.md comes from the help of the commands, settings.md and plan.md from docstrings, and the
floors and modules of architecture.md from pyproject.toml and the tree.
"""

import ast
import dataclasses
import re
import tomllib
from pathlib import Path

import click
from click.testing import CliRunner

from dpdm.fields.variables import SURFACE_VARIABLES
from dpdm.reconstruct.plan import Plan
from dpdm.training.config import (
    AutoencoderSettings,
    DataSettings,
    FieldNetSettings,
    GlobeNetSettings,
    GlobeTrainSettings,
    PerceptronSettings,
    PerceptronTrainSettings,
    PlaneNetSettings,
    PlaneTrainSettings,
    TrainSettings,
)
from dpdm_cli.main import main

HERE = Path(__file__).parent
FILES = """## Files

Input is NetCDF, a Zarr store or, if cfgrib is installed, GRIB. Output is NetCDF (`.nc`, `.nc4`)
or, with the suffix `.zarr`, a Zarr store.

Several files are read as one: `dpdm downscale tas_*.nc pr_*.nc fine.nc`, where the last is the
output, or `-o fine.nc`. Files of the same variables are concatenated in time, in any order;
files of different variables are merged by the periods of their steps. Gaps between files and
identical steps in two files trigger a warning; contradictions, different grids and different
periods are refused. `--coarse` and `--truth` are repeatable, and take patterns in quotes. An
existing last argument that was not made from the others is not replaced, because it may be an
input; name the output with `-o`. URLs are refused, and `~` in quotes is the home directory.

Variables are found by CF standard name and short name, in any case. Outputs have the names,
attributes and units of the input: from `tas` they contain `tas`, `tas_mean` and `tas_p90`. dpdm
calls it `t2m` in tables of scores, tables of observations and messages, and options take either
name; `dpdm info` and the message about the written file show `tas -> t2m`. Fields without input,
made from observations alone, have the names of dpdm:

{table}

`--var tp=NAME` (`var = {{ tp = "NAME" }}` in plans) selects one of several variables, or one
with another name. Any other variable keeps its name and units. Statistics of an ensemble end in
`_mean`, `_spread`, `_p10`, `_p50` and `_p90`.

Outputs have the units of the input, or those of `--out-units`, for one variable (`tp=mm/month`)
or for all compatible variables (`degC`). The units in the table are those used internally.
`--units tp=mm/month` declares the units of the input, without conversion. A month is the calendar
month of the step, in the calendar of the file: 28, 29, 30 or 31 days, or 30.4375 in a file without
time. An amount, in mm, m or kg m-2, refers to the period of its cell methods (`sum within days`),
else to the time bounds of its step; without either it is refused. Units that make values
impossible are refused, and units that give a large region an unlikely mean trigger a warning.

A step represents the interval between its bounds, regardless of its time stamp: the times of a
file stamped at the end of its months, as raw CESM files are, are moved to the middle of the
months. Without bounds, the time step decides whether steps are days, months, seasons or years,
and each is the day, month, season or year of its time stamp. Files match by these periods: a
month stamped on its first day is the same month as one stamped on the 16th.

Times may be counted in seconds to weeks, or in calendar months or years, since a date; be packed
into numbers (201201, 20120115, `day as %Y%m%d.%f`); be decimal years or text. A forecast with
start and lead times has its valid times, and twelve months without a year are dated 2001.
Outputs count days since 1850, or hours to seconds where days are not exact, in the calendar of the
input. The bounds of a climatology are kept. ERA5 and ERA5T in one file (`expver`) become one
series. An anomaly (by its name or long name) is not mistaken for the variable itself.

A variable that cannot be read, on a depth axis for example, is left out with a warning; if it is
needed, the file is refused. `dpdm info` lists such variables, and the groups of a file.

`--grid` sets the output grid: a file on that grid, a CDO name such as `r1440x720` (the first
column centred on Greenwich; an odd number of rows includes the poles), `global_0.25`, or a file
with the output of `cdo griddes`. `--res 0.25` is `global_0.25`: its cells have their edges at
multiples of 0.25 degrees, like those into which dpdm divides coarse cells of 1 or 2.5 degrees;
the native grid of ERA5 is `r1440x721`. A global grid is cut to the extent of the input;
`--bbox W,E,S,N`, or `--lon W,E` and `--lat S,N`, selects a part.

In outputs latitudes and longitudes ascend. Longitudes keep the range of the input, 0 to 360 or
-180 to 180; a region that crosses the end of that range becomes contiguous, as in -10 to 10 or 170
to 190.
"""


DEFAULTS = """## Defaults and logs

`--defaults FILE.toml`, or the variable `DPDM_DEFAULTS`, names a file with a table for each
command. Its keys are options without the leading dashes, and the command line takes precedence:

```toml
[downscale]
members = 10
keep = "stats"
out-units = { t2m = "degC", tp = "mm/month" }
bbox = [100, 130, 10, 40]
log = "dpdm.log"

[plot]
out-units = "degC"
```

An unknown command or option is refused, with the name of the file. An option on the command line
also overrides a conflicting one, as `--mean` overrides `members`. The history of an output
contains the options of the file as if they had been typed.

`--log FILE` appends the command line and all lines of standard error, including errors, with their
time (UTC). A file that is not such a log is left unchanged.

"""


def help_of(*words: str) -> str:
    """Return a command's help, 96 columns wide."""
    result = CliRunner().invoke(
        main, [*words, "--help"], prog_name="dpdm", terminal_width=96, max_content_width=96
    )
    return click.unstyle(result.output).rstrip()


def commands() -> str:
    """Return the page of all commands."""
    pages = [f"## dpdm {name}\n\n```\n{help_of(name)}\n```\n" for name in main.commands]
    head = "# Commands\n\nMade from `--help` by `python docs/reference.py`.\n\n"
    codes = (
        "Exit codes: 0 success; 1 an error, explained in two lines; 2 wrong usage; 3 a\n"
        "check of `dpdm doctor` failed; 130 interrupted, 143 terminated, without incomplete\n"
        "files; 75 another run uses the folder.\n\n"
        "An `Internal error` (exit code 1) is a bug of dpdm, not an error of the input: please\n"
        "report it with the traceback that `DPDM_TRACEBACK=1 dpdm ...` prints.\n\n"
    )
    return head + codes + DEFAULTS + "\n".join([*pages, variables()])


def variables() -> str:
    """Return what is known of variables, axes and units, from the code that knows it."""
    head = ["| name | CF standard name | units | other names |", "|---|---|---|---|"]
    rows = []
    for known in SURFACE_VARIABLES.values():
        others = [word for word in (*known.synonyms, *known.aliases) if word != known.name]
        words = ", ".join(f"`{word}`" for word in others)
        rows.append(f"| `{known.name}` | `{known.standard_name}` | {known.units} | {words} |")
    return FILES.format(table="\n".join([*head, *rows]))


def table(title: str, recipe: type) -> str:
    """Return the settings of one section, from its dataclass or the one that it changes."""
    pages = [str(each.__doc__) for each in recipe.__mro__]
    said = next(page for page in pages if "Attributes:" in page).split("Attributes:")[1]
    meanings = re.findall(r"\n        (\w+): (.*?)(?=\n        \w+: |\Z)", said, re.DOTALL)
    default = {name: toml(value) for name, value in vars(recipe()).items()}
    rows = [f"| `{k}` | `{default[k]}` | {' '.join(text.split())} |" for k, text in meanings]
    head = [f"## {title}\n", "| key | default | meaning |", "|---|---|---|"]
    return "\n".join([*head, *rows])


def toml(value: object) -> str:
    """Return a default as one writes it in TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, dict):
        return "{}"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def settings() -> str:
    """Return the page of all settings of training."""
    head = (
        "# Settings of dpdm train\n\nMade from `dpdm/training/config.py` by `docs/reference.py`.\n"
    )
    few, plane = "trajectories of a few components", "trajectories on a plane"
    globe = "states of the globe"
    sections = (
        ("`[data]`", DataSettings), ("`[net]`", FieldNetSettings), ("`[train]`", TrainSettings),
        (f"`[net]` for {few}", PerceptronSettings), (f"`[train]` for {few}",
        PerceptronTrainSettings),
        (f"`[net]` for {plane}", PlaneNetSettings), (f"`[train]` for {plane}", PlaneTrainSettings),
        (f"`[net]` for {globe}", GlobeNetSettings), (f"`[train]` for {globe}", GlobeTrainSettings),
        (f"`[code]` for {globe}, with `--latent`", AutoencoderSettings),
    )  # fmt: skip
    return "\n\n".join([head, *(table(*section) for section in sections)]) + "\n"


def plan() -> str:
    """Return the page of all keys of a plan."""
    head = (
        "# Keys of a plan\n\nMade from `dpdm/reconstruct/plan.py` by `docs/reference.py`. "
        "[reconstruct.md](reconstruct.md)\nexplains their use.\n"
    )
    sections = [
        table(f"`[{f.name}]`", type(getattr(Plan(), f.name))) for f in dataclasses.fields(Plan)
    ]
    return "\n\n".join([head, *sections]) + "\n"


FLOORS = """## Floors

Each floor imports only from floors below. Modules and packages of one floor do not import each
other, except on the lowest. `make check` enforces this (import-linter, in `pyproject.toml`).
`dpdm.diffusion`, `dpdm.nets`, `dpdm.operators` and `dpdm.testbeds` use neither files nor xarray,
dpdm uses neither click nor rich, and `dpdm --help` imports neither torch nor xarray.
"""


def floors() -> str:
    """Return the floors of the import contract, from the top."""
    text = (HERE.parent / "pyproject.toml").read_text(encoding="utf-8")
    contracts = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c.get("containers") == ["dpdm"])
    rows = ["`dpdm_cli`", *(f"`{re.sub(' [|:] ', '`, `', layer)}`" for layer in layers)]
    count = len(rows) - 1
    lines = [f"| {count + 1 - i} | {row} |" for i, row in enumerate(rows)]
    return "\n".join(["| floor | modules and packages of dpdm |", "|---|---|", *lines])


def summary(path: Path) -> str:
    """Return the first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


def modules() -> str:
    """Return a table of the modules of each package with their summaries."""
    root = HERE.parent / "dpdm"
    folders = [root, *(path.parent for path in sorted(root.glob("*/__init__.py")))]
    parts = []
    for folder in folders:
        rows = [
            f"| `{path.relative_to(root.parent)}` | {summary(path)} |"
            for path in sorted(folder.glob("*.py"))
            if summary(path)
        ]
        name = f"dpdm.{folder.name}" if folder != root else "dpdm"
        parts.append("\n".join([f"### {name}\n", "| module | task |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def architecture() -> str:
    """Return architecture.md with its generated part replaced."""
    text = (HERE / "architecture.md").read_text(encoding="utf-8")
    start, end = "<!-- made by docs/reference.py -->\n", "<!-- end -->"
    made = f"{FLOORS}\n{floors()}\n\n## Modules\n\n{modules()}\n"
    return re.sub(f"{start}.*{end}", lambda match: start + made + end, text, flags=re.DOTALL)


PAGES = {
    "commands.md": commands,
    "settings.md": settings,
    "plan.md": plan,
    "architecture.md": architecture,
}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).write_text(make(), encoding="utf-8")
