"""No option and no setting is a number that is none."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dpdm.config import parse_value
from dpdm.errors import DpdmError
from dpdm_cli.main import main
from dpdm_cli.options import FiniteFloat
from tests.helpers.small_world import refused

BAD = ("nan", "inf", "-inf", "1e999")


def of_numbers() -> list[tuple[click.Command, click.Option]]:
    """Return every option of every command that takes a number with a point."""
    return [
        (command, option)
        for command in main.commands.values()
        for option in command.params
        if isinstance(option, click.Option) and isinstance(option.type, click.types.FloatParamType)
    ]


@pytest.mark.parametrize("bad", BAD)
def test_every_option_of_a_number_refuses_one_that_is_not_finite(bad: str) -> None:
    options = of_numbers()
    assert len(options) > 10
    for command, option in options:
        assert isinstance(option.type, FiniteFloat), f"{command.name} {option.opts[0]}"
        with pytest.raises(click.BadParameter):
            option.type_cast_value(click.Context(command), bad)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    "words",
    [
        "train a.nc --out p.safetensors --factor 4 --minutes={}",
        "assimilate s.csv a.nc --reject={}", "assimilate s.csv a.nc --withhold={}",
        "assimilate s.csv a.nc --gamma={}", "assimilate s.csv a.nc --tau={}",
        "assimilate s.csv a.nc --coarse-error=t2m={}", "assimilate s.csv a.nc --error=t2m={}",
        "assimilate s.csv a.nc --missing={}", "assimilate s.csv a.nc --obs-missing=t2m={}",
        "downscale a.nc b.nc --bbox={},20,0,10", "export a.nc b.nc --bbox=0,20,0,{}",
        "downscale a.nc b.nc --missing={}", "downscale a.nc b.nc --missing=t2m={}",
        "perturb a.nc b.nc --strength={}", "perturb a.nc b.nc --target-spread=t2m={}",
        "perturb a.nc b.nc --target-spread={}", "embed a.nc b.nc --sigma={}",
        "forecast a.nc b.nc c.nc --tune={}", "testbed lorenz63 a.nc --interval={}",
        "reconstruct a.toml out --budget={}",
    ],
)  # fmt: skip
def test_a_number_that_is_not_finite_is_a_usage_error(words: str, bad: str) -> None:
    told = CliRunner().invoke(main, words.format(bad).split())
    assert told.exit_code == 2, told.output
    assert "Traceback" not in told.output


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_setting_in_toml_is_a_number_that_is_not_finite(bad: float) -> None:
    for kind, said in (
        (float, bad),
        (tuple[float, ...], [1.0, bad]),
        (dict[str, float], {"a": bad}),
    ):
        with pytest.raises(DpdmError, match=r"a\.toml, key is (nan|inf|-inf)"):
            parse_value(kind, said, "a.toml, key")


def test_a_plan_a_recipe_and_a_threshold_refuse_it(here: Path) -> None:
    Path("p.toml").write_text('[input]\nfiles = ["coarse.nc"]\n[observations]\nreject = nan\n')
    refused("reconstruct p.toml --check", "observations, reject is nan", "finite")
    Path("r.toml").write_text("[train]\nlearning_rate = inf\n")
    refused("train fine.nc --out n.safetensors --factor 4 --config r.toml", "learning_rate is inf")
    refused("export coarse.nc o.nc --variable t2m --stat probability>nan", "no threshold")
