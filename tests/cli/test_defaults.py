"""Defaults from a file: below the command line, checked, and told by the history."""

import re
from pathlib import Path

import pytest
import xarray as xr

from dpdm_cli.defaults import read_defaults
from dpdm_cli.main import main
from tests.helpers.small_world import done, refused

ROOT = Path(__file__).parents[2]

LAB = """
[coarsen]
factor = 4
out-units = { t2m = "degC" }
[downscale]
prior = "prior.safetensors"
members = 2
steps = 2
keep = "members"
bbox = [110, 130, 25, 45]
reference_period = ["2000-01", "2000-03"]
[lerp]
factor = 2
"""


@pytest.fixture
def lab(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (here / "lab.toml").write_text(LAB)
    return here / "lab.toml"


def load(path: str) -> xr.Dataset:
    with xr.open_dataset(path) as ds:
        return ds.load()


def test_a_file_of_defaults_is_as_the_same_options(lab: Path) -> None:
    done("coarsen", "fine.nc", "file.nc", "--defaults", "lab.toml")
    done("coarsen", "fine.nc", "words.nc", "--factor", 4, "--out-units", "t2m=degC")
    one, other = load("file.nc"), load("words.nc")
    xr.testing.assert_equal(one, other)
    assert one["t2m"].attrs["units"] == "degC"
    history = one.attrs["history"].splitlines()[0]
    assert "--factor 4 --out-units t2m=degC" in history  # with it the command can be repeated
    assert "--factor" not in other.attrs["history"].splitlines()[0]  # of pytest, not of the test


def test_the_command_line_beats_the_file_and_the_file_named_beats_the_environment(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPDM_DEFAULTS", "lab.toml")
    done("coarsen", "fine.nc", "env.nc")
    assert load("env.nc").sizes["lat"] == 8
    done("coarsen", "fine.nc", "two.nc", "--factor", 2)
    two = load("two.nc")
    assert (two.sizes["lat"], two["t2m"].attrs["units"]) == (16, "degC")
    assert "--factor" not in two.attrs["history"].splitlines()[0]
    Path("other.toml").write_text("[coarsen]\nfactor = 8\n")
    done("coarsen", "fine.nc", "other.nc", "--defaults", "other.toml")
    other = load("other.nc")
    assert (other.sizes["lat"], other["t2m"].attrs["units"]) == (4, "K")
    monkeypatch.setenv("DPDM_DEFAULTS", "")
    refused("coarsen fine.nc none.nc", "Missing option '--factor'", code=2)


def test_default_units_are_for_the_files_that_have_such_variables(lab: Path) -> None:
    lab.write_text('[export]\nout-units = { t2m = "degC", tp = "mm/month", sst = "degC" }\n')
    done("export", "fine.nc", "t2m.nc", "--variable", "t2m", "--defaults", "lab.toml")
    assert load("t2m.nc")["t2m"].attrs["units"] == "degC"
    lab.write_text('[export]\nout-units = { t2m = "mm" }\n')
    refused("export fine.nc o.nc --defaults lab.toml", "cannot be converted to mm")


def test_an_option_of_the_command_line_replaces_one_that_it_excludes(lab: Path) -> None:
    done("lerp", "coarse.nc", "same.nc", "--grid", "fine.nc", "--defaults", "lab.toml")
    assert load("same.nc").sizes["lat"] == 32  # not: Give either --grid or --factor
    lab.write_text('[downscale]\nprior = "prior.safetensors"\nmembers = 2\n')
    done("downscale", "coarse.nc", "mean.nc", "--mean", "--defaults", "lab.toml")
    assert "realization" not in load("mean.nc").dims
    lab.write_text(lab.read_text() + "mean = true\n")
    refused("downscale coarse.nc o.nc --defaults lab.toml", "either --mean or --mem", code=2)


def test_the_example_of_the_documents_is_valid(here: Path) -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    Path("lab.toml").write_text(text)
    found = {n: read_defaults(Path("lab.toml"), main.commands[n], main) for n in main.commands}
    assert found["plot"].words == {"out_units": ["--out-units", "degC"]}
    assert found["downscale"].words["bbox"] == ["--bbox", "100,130,10,40"]


WRONG = {
    "[downscale]\nmember = 3": ("lab.toml, downscale has an unknown key member", "members?"),
    "[downscal]\nmembers = 3": ("unknown key downscal, which is not a command", "downscale?"),
    "members = 3": ("lab.toml has an unknown key members", "as in [downscale]"),
    "[plot]\nfactor = 3": ("lab.toml, plot has an unknown key factor", "Did you mean"),
    "downscale = 3": ("lab.toml, downscale is 3", "[downscale]"),
    "[coarsen]\nfactor = true": ("lab.toml, coarsen, factor is True", "not true or false"),
    "[coarsen]\noverwrite = 1": ("lab.toml, coarsen, overwrite is 1", "true or false"),
    "[coarsen]\nfactor = { a = 1 }": ("coarsen, factor is {'a': 1}", "single value"),
    "[coarsen]\nfactor = 'half'": ("lab.toml, coarsen, factor: 'half' is not a", "command line"),
    "[coarsen]\ndefaults = 'x.toml'": ("unknown key defaults", "Did you mean"),
    "[coarsen": ("lab.toml is not valid TOML", "toml.io"),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_file_is_refused_by_name(lab: Path, text: str) -> None:
    lab.write_text(text)
    what, hint = WRONG[text]
    refused("coarsen fine.nc out.nc --defaults lab.toml", re.escape(what), hint)


def test_a_file_that_is_not_there_is_refused(here: Path) -> None:
    refused("coarsen fine.nc out.nc --defaults no.toml", "no.toml does not exist")
    assert done("coarsen", "--help", "--defaults", "no.toml").stdout.startswith("Usage")
