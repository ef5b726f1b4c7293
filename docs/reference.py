"""Write commands.md from the commands' help, and settings.md from the recipe's docstrings."""

import dataclasses
import re
from pathlib import Path

import click
from click.testing import CliRunner

from dpdm.recipe import Data, Fit, Net
from dpdm_cli.main import main

HERE = Path(__file__).parent


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
        "Exit codes: 0 done; 1 dpdm could not do it, and says why in two lines; 2 the command\n"
        "was misspelt; 3 `dpdm doctor` found something wrong; 130 interrupted, 143 terminated:\n"
        "nothing half-written is left.\n\n"
    )
    return head + codes + "\n".join(pages)


def table(section: str, recipe: type) -> str:
    """Return the settings of one section, from its dataclass."""
    said = (recipe.__doc__ or "").split("Attributes:")[1]
    meanings = re.findall(r"\n        (\w+): (.*?)(?=\n        \w+: |\Z)", said, re.DOTALL)
    default = {f.name: toml(f.default) for f in dataclasses.fields(recipe)}
    rows = [f"| `{k}` | `{default[k]}` | {' '.join(text.split())} |" for k, text in meanings]
    head = [f"## `[{section}]`\n", "| key | default | meaning |", "|---|---|---|"]
    return "\n".join([*head, *rows])


def toml(value: object) -> str:
    """Return a default as one writes it in TOML."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def settings() -> str:
    """Return the page of all settings of training."""
    head = "# Settings of dpdm train\n\nMade from `dpdm/recipe.py` by `docs/reference.py`.\n"
    sections = (("data", Data), ("net", Net), ("train", Fit))
    return "\n\n".join([head, *(table(*section) for section in sections)]) + "\n"


PAGES = {"commands.md": commands, "settings.md": settings}

if __name__ == "__main__":
    for page, make in PAGES.items():
        (HERE / page).write_text(make(), encoding="utf-8")
