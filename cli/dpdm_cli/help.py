"""dpdm help."""

import click
from click.shell_completion import CompletionItem

from dpdm_cli.command import command
from dpdm_cli.console import echo


def complete_command(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a command."""
    group = ctx.find_root().command
    names = group.commands if isinstance(group, click.Group) else {}
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@command("dpdm help", "dpdm help downscale")
@click.argument("command", required=False, shell_complete=complete_command)
@click.pass_context
def show_help(ctx: click.Context, command: str | None) -> None:
    """Show the help of a command, or the list of all commands."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    if command is None:
        echo(root.command.get_help(root))
        return
    name, found, _ = root.command.resolve_command(root, [command])
    assert found is not None
    with click.Context(found, info_name=name, parent=root, **root.command.context_settings) as sub:
        echo(found.get_help(sub))


show_help.name = "help"
