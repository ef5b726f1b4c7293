"""Completion in the shells themselves, and words that are almost a command or an option."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dpdm.prior import list_bundled_priors
from dpdm_cli.main import main
from tests.helpers.small_world import refused

ROOT = Path(__file__).parents[2]
COMMANDS = list(main.commands)
ASK = """
compopt() {{ printf "compopt %s %s\\n" "$@"; }}
eval "$(_DPDM_COMPLETE=bash_source dpdm)"
COMP_WORDS=({words})
COMP_CWORD=$(({count} - 1))
_dpdm_completion dpdm
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# A terminal for zsh: its completion works only while a line is edited.
ZPTY = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=ready; autoload -U compinit && compinit -u -d {folder}/dump'
zpty -w shell 'eval "$(_DPDM_COMPLETE=zsh_source dpdm)"; echo s''et'
zpty -r shell seen '*set*'
zpty -n -w shell '{line}'$'\\t'
zpty -r shell seen '*{expected}*' && echo "$seen"
zpty -d shell
"""


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not here")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which dpdm is a command."""
    script = f"#!{sys.executable}\nimport sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'cli')]!r}\n"
    (tmp_path / "dpdm").write_text(script + "from dpdm_cli.main import main; main()\n")
    (tmp_path / "dpdm").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb"}


def output(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return done.stdout


def bash(environment: dict[str, str], *words: str) -> list[str]:
    """Return what bash offers for the last of the words."""
    quoted = " ".join(f"'{word}'" for word in ("dpdm", *words))
    script = ASK.format(words=quoted, count=len(words) + 1)
    return output(["bash", "--norc", "-c", script], environment).split("\n")[:-1]


@needs("bash")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ([""], COMMANDS),
        (["down"], ["downscale"]),
        (["downscale", "--ov"], ["--overwrite"]),
        (["downscale", "--sampler", ""], ["heun", "multistep", "ddim", "fast"]),
        (["testbed", "lor"], ["lorenz63"]),
        (["downscale", "--prior", ""], list(list_bundled_priors())),
        (["info", "def"], ["default"]),
        (["train", "--start", "de"], ["default"]),
        (["downscale", "--prior", "./my"], ["compopt -o default", ""]),
        (["info", ""], ["compopt -o default", ""]),
        (["evaluate", "fine"], ["compopt -o default", ""]),
        (["evaluate", "fine.nc", "truth.nc", "--report", "r"], ["compopt -o default", ""]),
    ],
)
def test_bash_completes_commands_options_choices_priors_and_files(
    environment: dict[str, str], words: list[str], offered: list[str]
) -> None:
    assert bash(environment, *words) == offered


@needs("fish")
def test_fish_completes(environment: dict[str, str]) -> None:
    Path(environment["HOME"], "fine.nc").touch()
    source = "_DPDM_COMPLETE=fish_source dpdm | source; cd; complete -C 'dpdm {}'"

    def fish(words: str) -> list[str]:
        lines = output(["fish", "--no-config", "-c", source.format(words)], environment)
        return [line.partition("\t")[0] for line in lines.splitlines()]

    assert fish("ev") == ["evaluate"]
    assert fish("downscale --prior d") == ["default"]
    assert fish("evaluate fi") == ["fine.nc"]


@needs("zsh")
@pytest.mark.parametrize(
    ("line", "expected"),
    [("dpdm eval", "evaluate "), ("dpdm downscale --prior d", "default ")],
)
def test_zsh_completes(environment: dict[str, str], line: str, expected: str) -> None:
    script = ZPTY.format(folder=environment["HOME"], line=line, expected=expected)
    assert expected in output(["zsh", "-f", "-c", script], environment)


def test_completion_imports_nothing_heavy(environment: dict[str, str]) -> None:
    heavy = "torch", "xarray", "numpy", "netCDF4", "dask", "scipy", "rich", "zarr", "matplotlib"
    asked = {"_DPDM_COMPLETE": "bash_complete", "COMP_WORDS": "dpdm downscale --prior d",
             "COMP_CWORD": "3"}  # fmt: skip
    launcher = str(Path(environment["HOME"]) / "dpdm")
    found = subprocess.run(
        [sys.executable, "-X", "importtime", launcher], env=environment | asked,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert found.stdout == "plain,default\n"
    imported = set(re.findall(r"\| +(\w+)$", found.stderr, re.MULTILINE))
    assert "click" in imported
    assert not imported & set(heavy)


def test_a_misspelt_command_or_option_is_answered_with_the_nearest() -> None:
    refused("downscal", "No such command 'downscal'", "Did you mean 'downscale'?", code=2)
    refused("evaluat f.nc t.nc", "No such command 'evaluat'", "'evaluate'", code=2)
    refused("downscale --member 3", "No such option:? '?--member", "--members", code=2)
    refused("zzz", "No such command 'zzz'", code=2)
