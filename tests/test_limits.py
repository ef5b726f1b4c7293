"""What no machine can do is refused before anything is taken."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

from dpdm import recipe, train
from dpdm.config import Rule
from dpdm.reconstruct import plan
from dpdm_cli.main import main
from tests.worlds import refused

HUGE = 10**12


def whole_options() -> Iterator[tuple[str, click.Option]]:
    for name, command in main.commands.items():
        for option in command.params:
            if isinstance(option, click.Option) and isinstance(
                option.type, click.IntRange | click.types.IntParamType
            ):
                yield f"{name} {option.opts[0]}", option


def test_every_whole_option_has_a_greatest_value() -> None:
    found = dict(whole_options())
    assert len(found) > 20
    endless = [n for n, o in found.items() if getattr(o.type, "max", None) is None]
    assert endless == []


def whole_settings(shape: Any, rules: dict[str, Rule]) -> Iterator[tuple[str, Any, Rule | None]]:
    for section, kind in get_type_hints(shape).items():
        for key, said in get_type_hints(kind).items():
            if said in (int, tuple[int, ...]):
                usual = getattr(kind(), key)
                value = HUGE if said is int else (HUGE,) * (len(usual) or 1)
                yield f"{section}.{key}", value, rules.get(f"{section}.{key}")


@pytest.mark.parametrize(
    ("shape", "rules"),
    [
        (plan.Plan, plan.RULES),
        *((kind, train.RULES) for _, kind in sorted(vars(recipe).items()) if "Recipe" in _),
    ],
)
def test_every_whole_setting_has_a_greatest_value(shape: Any, rules: dict[str, Rule]) -> None:
    assert dataclasses.is_dataclass(shape)
    endless = [
        key
        for key, value, rule in whole_settings(shape, rules)
        if not key.endswith("seed") and (rule is None or rule[0](value))
    ]
    assert endless == []


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a = " + "[" * 50_000, "nested too deep"),
        ("[draw]\nseed = " + "9" * 6000, "not valid TOML"),
        ("[draw]\nseed = " + "9" * 30, "64 bits"),
        ("[draw]\nseed = " + "1_0" * 1000, "64 bits"),
        ("[draw]\nmembers = 1_000_000_000", "100000"),
        ("[draw]\nsteps = 1_000_000_000", "1000"),
        ("[run]\nworkers = 1_000_000_000", "1024"),
    ],
)
def test_a_plan_without_end_is_refused(here: Path, text: str, what: str) -> None:
    Path("plan.toml").write_text(f'[input]\nfiles = ["coarse.nc"]\n{text}\n')
    refused("reconstruct plan.toml out", what)
