"""Commands with grouped help, examples, defaults from a file and a log."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dpdm.errors import DpdmError
from dpdm_cli import layout, options
from dpdm_cli.defaults import Defaults, read_defaults, without_excluded
from dpdm_cli.log import start_log

DEFAULTS_VARIABLE = "DPDM_DEFAULTS"


def run_options() -> list[click.Parameter]:
    """Return the options of every command."""
    defaults = click.Option(
        ["--defaults"], type=options.FILE, envvar=DEFAULTS_VARIABLE, show_envvar=True,
        expose_value=False, metavar="FILE.toml",
        help="File of default options, with a table per command; the command line takes "
        "precedence.",
    )  # fmt: skip
    log = click.Option(
        ["--log"], type=options.FILE, expose_value=False, metavar="FILE",
        help="Append all messages to this file, with their time.",
    )  # fmt: skip
    return [defaults, log]


class Command(click.Command):
    """A command of dpdm."""

    def __init__(self, *args: Any, examples: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(*args, **more)
        self.examples = examples
        self.params += run_options()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by their groups."""
        layout.write_options(self.get_params(ctx), ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        layout.write_examples(self.examples, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, over the defaults of a file."""
        if ctx.resilient_parsing:
            return super().parse_args(ctx, args)
        given = self.find_given(ctx, args)
        asked = self.get_help_option(ctx)
        if asked is not None and asked.name in given:
            return super().parse_args(ctx, args)
        try:
            defaults = self.find_defaults(ctx, given)
        finally:  # an error of the defaults is logged too
            open_log(ctx, given)
        try:
            return super().parse_args(ctx, args)
        except click.BadParameter as error:
            raise_default_error(ctx, error, defaults)
            raise

    def find_given(self, ctx: click.Context, args: list[str]) -> Mapping[str, Any]:
        """Return what the command line gives, by parameter; log an error of it."""
        try:
            return self.make_parser(ctx).parse_args(args=list(args))[0]
        except click.UsageError:
            if "--log" in args[:-1]:
                open_log(ctx, {"log": args[args.index("--log") + 1]})
            raise

    def find_defaults(self, ctx: click.Context, given: Mapping[str, Any]) -> Defaults | None:
        """Read the file of defaults, if there is one."""
        path = given.get("defaults") or os.environ.get(DEFAULTS_VARIABLE)
        group = ctx.find_root().command
        if not path or not isinstance(group, click.Group):
            return None
        defaults = read_defaults(options.FILE.convert(path, None, ctx), self, group)
        names = {each.name for each in self.params if isinstance(each, click.Option)}
        ctx.default_map = without_excluded(defaults.values, names & given.keys())
        ctx.meta[options.DEFAULT_WORDS] = defaults.words
        return defaults


def open_log(ctx: click.Context, given: Mapping[str, Any]) -> None:
    """Start the log, if there is one and it is no other file of the command."""
    name = given.get("log", (ctx.default_map or {}).get("log"))
    if not name:
        return
    path = options.FILE.convert(name, None, ctx)
    words = [word for key, value in given.items() if key != "log" for word in iterate_words(value)]
    if path.resolve() in {Path(word).resolve() for word in words}:
        ctx.fail(f"--log {path} is another file of the command too.")
    start_log(path, options.command_line(), ctx)


def iterate_words(value: Any) -> Iterator[str]:
    """Yield the words of a value of the parser."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from iterate_words(each)


def raise_default_error(
    ctx: click.Context, error: click.BadParameter, defaults: Defaults | None
) -> None:
    """Raise an error that names the file, if a wrong value is from the file of defaults."""
    name = error.param.name if error.param else None
    if (
        defaults is None
        or name is None
        or ctx.get_parameter_source(name) is not ParameterSource.DEFAULT_MAP
    ):
        return
    option = error.param.opts[0] if error.param else name
    raise DpdmError(
        f"{defaults.path}, {ctx.info_name}, {option.lstrip('-')}: {error.message}",
        "Correct it there, or give the option on the command line.",
    ) from error


def command(*examples: str) -> Callable[[Callable[..., Any]], Command]:
    """Return the decorator of a command with examples."""
    return click.command(cls=Command, examples=examples)
