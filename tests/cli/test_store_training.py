"""Training on files of the Climate Data Store: one command, its check, and training further."""

import json
import shutil
from pathlib import Path

import pytest

from dpdm.prior import load_prior
from tests.helpers.small_world import TOML, done, refused
from tests.helpers.store_files import write_land_files, write_store_files

FIVE = "train cds_avgua.nc cds_avgad.nc --statics z_lsm.nc --factor 8 --config small.toml"
OUT = "--out five.safetensors"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train on the files, and return the folder and what was printed."""
    folder = tmp_path_factory.mktemp("store")
    write_store_files(folder)
    (folder / "small.toml").write_text(TOML)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, done(*FIVE.split(), *OUT.split()).stderr


@pytest.fixture
def store(
    finished: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:  # fmt: skip
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dpdm.training.check.MEASURING_SECONDS", 0.1)
    monkeypatch.setattr("dpdm.training.check.PUBLISHED_WINDOW", 16)
    return tmp_path


def longer(steps: int) -> None:
    Path("small.toml").write_text(TOML.replace("steps = 12", f"steps = {steps}"))


def test_five_variables_of_two_requests_in_one_command(finished: tuple[Path, str]) -> None:
    folder, printed = finished
    assert "the 3 northern rows and 3 eastern columns of 35 x 19 cells" in printed
    assert "statics: z_lsm.nc" in printed
    assert "windows/s" in printed
    prior = load_prior(folder / "five.safetensors")
    assert sorted(prior.normaliser.names) == ["sp", "t2m", "tp", "u10", "v10"]
    assert (prior.contract.period, prior.contract.factors) == ("month", (8, 8))


def test_the_check_writes_nothing_and_names_what_is_learnt(store: Path) -> None:
    before = sorted(store.iterdir())
    lines = done(*FIVE.split(), "--check", "--minutes", 90, *OUT.split()).stdout.splitlines()
    assert sorted(store.iterdir()) == before
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert found["steps"] == "36 months, 2000-01 to 2002-12"
    assert found["held out"] == "the last 4, 2002-09 to 2002-12"
    assert found["grid"].startswith("32 x 16 cells of 0.25 x 0.25 degrees")
    assert found["windows"].startswith("32 x 16 cells")
    assert found["factor"] == "8, of block means"
    assert {"variables", "measured", "schedule", "memory", "disk space", "network"} <= found.keys()
    assert any("hours on two such cores" in line for line in lines)
    assert any("hours on a GPU" in line for line in lines)


def test_the_check_names_the_sea(store: Path) -> None:
    write_land_files(store)
    words = "train land.nc geo.nc lsm.nc --factor 8 --config small.toml --out l.safetensors"
    lines = done(*words.split(), "--check").stdout
    assert "missing values, which are ignored: t2m 49%, tp 49%" in lines
    assert "statics: z and lsm of geo.nc, lsm.nc" in lines


def test_a_finished_prior_is_trained_further(store: Path) -> None:
    first = load_prior(store / "five.safetensors")
    refused(f"{FIVE} {OUT}", "five.safetensors exists, and all 12 steps", "more steps")
    longer(18)
    refused(f"{FIVE} {OUT} --minutes 0.0001", "was trained for .* minutes", "--minutes")
    done(*FIVE.split(), *OUT.split())
    second = load_prior(store / "five.safetensors")
    assert [p.contract.training["steps"] for p in (first, second)] == [12, 18]
    log = [json.loads(line) for line in Path("five.jsonl").read_text().splitlines()]
    assert [(entry["step"], entry["run_steps"]) for entry in log] == [(6, 6), (12, 12), (18, 6)]


def test_other_data_do_not_train_a_prior_further(store: Path) -> None:
    longer(18)
    write_store_files(store, 30)
    refused(f"{FIVE} {OUT}", "other settings or other data", "--overwrite")


def test_the_check_refuses_what_it_does_not_measure(store: Path) -> None:
    words = "train cds_avgua.nc --window 3 --latent --check --out l.safetensors"
    refused(words, "--check does not support --latent", code=2)
