"""The layout of help: groups of commands and of options, and examples."""

from collections.abc import Mapping, Sequence

import click

COMMAND_GROUPS: dict[str, tuple[str, ...]] = {
    "Produce": ("downscale", "adjust", "assimilate", "reconstruct", "status"),
    "Train": ("train",),
    "Inspect": ("info", "evaluate", "plot", "doctor", "help"),
    "Export": ("export", "coarsen", "lerp"),
    "Research": ("testbed", "observe", "perturb", "embed", "forecast"),
}
OPTION_GROUPS: dict[str, str] = {
    "Input": "prior coarse truth background statics config start also points channels "
    "climatology climatology-period reference-period reference period var units missing",
    "Observations": "stations verify obs-var obs-units obs-missing error coverage qc reject "
    "withhold withhold-blocks",
    "Domain and selection": "grid res bbox lon lat mask crs dates variable time season at stat "
    "anomaly kind",
    "Method": "members mean seed steps sampler consistent method guidance corrections tau gamma "
    "iterations zeta coarse-error coarse-length factor blind window latent strength "
    "target-spread centred sigma layer pool draws lead tune trajectories length years burn-in "
    "interval deterministic size resolution joint indices",
    "Output": "output out keep out-units split stac qml interactive report json title cmap vmin "
    "vmax no-relief dpi overwrite",
    "Run": "check dry-run minutes fast-minutes budget workers scheduler accept-change device "
    "defaults log quiet verbose version help",
}
OTHERS = "Others"
Rows = list[tuple[str, str]]


def write_commands(commands: Mapping[str, click.Command], formatter: click.HelpFormatter) -> None:
    """Write a section for each group of commands, with their whole first sentences."""
    listed = {name for names in COMMAND_GROUPS.values() for name in names}
    others = tuple(name for name in commands if name not in listed)
    for title, names in (COMMAND_GROUPS | {OTHERS: others}).items():
        rows = [(n, first_sentence(commands[n])) for n in names if n in commands]
        write_section(formatter, title, rows)


def first_sentence(command: click.Command) -> str:
    """Return the first sentence of a command's help, however long."""
    return command.get_short_help_str(limit=1000)


def option_group(parameter: click.Parameter) -> str:
    """Return the title of an option's group."""
    names = {text.lstrip("-") for text in parameter.opts}
    titles = (title for title, words in OPTION_GROUPS.items() if names & set(words.split()))
    return next(titles, OTHERS)


def write_options(
    parameters: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    """Write a section for each group of options."""
    groups: dict[str, Rows] = {title: [] for title in (*OPTION_GROUPS, OTHERS)}
    for parameter in parameters:
        record = parameter.get_help_record(ctx)
        if record and isinstance(parameter, click.Option):
            groups[option_group(parameter)].append(record)
    for title, rows in groups.items():
        write_section(formatter, title, rows)


def write_section(formatter: click.HelpFormatter, title: str, rows: Rows) -> None:
    """Write a section, unless it is empty."""
    if rows:
        with formatter.section(title):
            formatter.write_dl(rows)


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """Write examples as they are typed, each on one line."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
