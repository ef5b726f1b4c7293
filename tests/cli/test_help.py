"""Help: commands and options by what they are for, whole sentences, examples that are valid."""

import shlex
from pathlib import Path

import click
import pytest

from dpdm_cli.layout import COMMAND_GROUPS, OPTION_GROUPS, OTHERS
from dpdm_cli.main import main
from tests.helpers.small_world import done, refused


def test_every_command_has_a_place_and_its_whole_sentence() -> None:
    assert sorted(name for names in COMMAND_GROUPS.values() for name in names) == sorted(
        main.commands
    )
    text = done("--help").stdout
    titles = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert titles == ["Options", *COMMAND_GROUPS]
    assert "..." not in text.partition("Produce:")[2]
    words = " ".join(text.split())
    for name, command in main.commands.items():
        sentence = " ".join((command.help or "").partition("\n\n")[0].split())
        assert f" {name} {sentence}" in words
    assert done("help").stdout == text


@pytest.mark.parametrize("name", main.commands)
def test_a_command_groups_its_options_and_shows_two_valid_examples(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the log of an example is started there
    command = main.commands[name]
    text = done("help", name).stdout
    assert text == done(name, "--help").stdout
    titles = [line[:-1] for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    known = [*OPTION_GROUPS, "Examples"]
    assert titles == [title for title in known if title in titles]  # in this order, no others
    assert OTHERS not in titles
    shown = [line.strip() for line in text.partition("Examples:\n")[2].strip().splitlines()]
    assert len(set(shown)) == 2
    assert tuple(shown) == command.examples
    for example in shown:
        words = shlex.split(example.partition(" || ")[0])
        assert words[:2] == ["dpdm", name]
        with main.make_context("dpdm", ["help"]) as root:
            command.make_context(name, words[2:], parent=root).close()


def test_an_invalid_example_would_be_noticed() -> None:
    with pytest.raises(click.UsageError), main.make_context("dpdm", ["help"]) as root:
        main.commands["lerp"].make_context("lerp", ["a.nc", "b.nc", "--facter", "2"], parent=root)


def test_help_on_an_unknown_command_suggests_one() -> None:
    refused("help downscal", "Did you mean 'downscale'", code=2)
