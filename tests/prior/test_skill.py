"""Training that diverges stops, and a prior that is no good is not used in silence."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpdm.errors import DpdmError
from dpdm.prior import find_prior, load_prior, read_prior_header
from dpdm.prior.model_card import ModelCard, skill_warning
from tests.helpers.small_world import TOML, Taught, done, dpdm, refused

DOWNSCALE = "downscale coarse.nc out.nc --mean --overwrite --prior"


def changed(name: str, tensors: Any = dict, **contract: Any) -> Path:
    """Write prior.safetensors anew with other tensors, or other words in its contract."""
    found = read_prior_header(Path("prior.safetensors"))
    assert found.contract.scores
    said = stored(Path("prior.safetensors"))
    said["contract"] |= contract
    weights = load_file("prior.safetensors")
    save_file(weights | tensors(weights), name, {"dpdm_prior": json.dumps(said)})
    return Path(name)


def stored(path: Path) -> dict[str, Any]:
    """Return the header of a prior as it lies in the file."""
    length = int.from_bytes(path.read_bytes()[:8], "little")
    whole = json.loads(path.read_bytes()[8 : 8 + length])
    return dict(json.loads(whole["__metadata__"]["dpdm_prior"]))


def test_training_that_diverges_stops_and_publishes_nothing(here: Path, taught: Taught) -> None:
    Path("big.toml").write_text(TOML.replace("steps = 12", "steps = 12\nlearning_rate = 1e30"))
    told = dpdm(*f"train {taught.fine} --out n.safetensors --factor 4 --config big.toml".split())
    assert told.exit_code == 1
    assert re.search(
        r"Training diverged at step 1: the loss is .* at a learning rate of 4.91e\+29", told.stderr
    )
    assert "Hint: Use a smaller learning_rate in [train]" in told.stderr
    assert not list(Path().glob("n.*"))


def test_a_diverged_run_resumes_at_a_smaller_rate(
    here: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dpdm.training import loop

    step_on, half = loop.train_step, Path("new.safetensors.resume")

    def stopped(subject: Any, state: Any, *rest: Any) -> float:
        if state.step == 8:
            raise KeyboardInterrupt
        return step_on(subject, state, *rest)

    command = f"train {taught.fine} --out new.safetensors --factor 4 --config a.toml"
    Path("a.toml").write_text(TOML)
    monkeypatch.setattr(loop, "train_step", stopped)
    with pytest.raises(AssertionError, match="Interrupted"):
        done(*command.split())
    monkeypatch.setattr(loop, "train_step", step_on)
    kept = half.read_bytes()
    Path("a.toml").write_text(TOML.replace("steps = 12", "steps = 12\nlearning_rate = 1e30"))
    told = dpdm(*command.split())
    assert told.exit_code == 1
    assert "Training diverged at step 9" in told.stderr
    assert half.read_bytes() == kept
    Path("a.toml").write_text(TOML.replace("steps = 12", "steps = 12\nlearning_rate = 1e-4"))
    assert "12 training steps" in done(*command.split()).stderr
    assert all(bool(v.isfinite().all()) for v in load_file("new.safetensors").values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_prior_of_weights_that_are_not_finite_is_refused(here: Path, bad: float) -> None:
    def spoil(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = min(weights)
        return {name: torch.full_like(weights[name], bad)}

    changed("bad.safetensors", spoil)
    refused(f"{DOWNSCALE} bad.safetensors", "bad.safetensors is not a valid prior: .* not finite")


def test_a_prior_whose_climate_is_missing_everywhere_is_refused(here: Path) -> None:
    changed("bad.safetensors", lambda w: {"coarse.mean": w["coarse.mean"] * float("nan")})
    with pytest.raises(DpdmError, match=r"coarse\.mean is not finite"):
        load_prior(Path("bad.safetensors"))


def test_an_output_without_a_value_is_refused(here: Path) -> None:
    def huge(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {k: torch.full_like(v, 1e30) for k, v in weights.items() if v.ndim == 4}

    changed("huge.safetensors", huge)
    refused(f"{DOWNSCALE} huge.safetensors", "draws no finite value of t2m", "another --prior")


def test_a_prior_worse_than_bilinear_interpolation_is_used_with_a_warning(here: Path) -> None:
    changed("bad.safetensors", scores={"t2m": 0.8, "tp": 1.25})
    told = done(*f"{DOWNSCALE} bad.safetensors".split())
    assert told.stderr.count("Warning") == 1
    assert "on held-out data the prior is worse than bilinear interpolation" in told.stderr
    assert "tp (1.25)" in told.stderr
    assert "t2m (" not in told.stderr
    assert "tp (1.25)" in done("info", "bad.safetensors").stdout


def test_a_prior_of_which_nothing_was_held_out_is_used_with_a_warning(here: Path) -> None:
    changed("bad.safetensors", scores={})
    assert "no data were held out" in done(*f"{DOWNSCALE} bad.safetensors".split()).stderr
    assert "nothing was held out" in done("info", "bad.safetensors").stdout
    Path("s.csv").write_text("time,lat,lon,t2m [K]\n2000-01-01,30,120,280\n")
    command = "assimilate s.csv a.nc --coarse coarse.nc --members 1 --prior bad.safetensors"
    assert "no data were held out" in done(*command.split()).stderr


def test_a_good_prior_is_used_without_a_warning(here: Path) -> None:
    assert "Warning" not in done(*f"{DOWNSCALE} prior.safetensors".split()).stderr
    contract = read_prior_header(find_prior("default")).contract
    assert skill_warning(contract, contract.scores) == ""


def test_training_states_at_its_end_that_nothing_was_held_out(here: Path) -> None:
    Path("a.toml").write_text(TOML.replace("steps = 12", "steps = 2"))
    command = "train fine.nc --out n.safetensors --factor 4 --config a.toml"
    told = done(*command.split())
    assert "Warning: n.safetensors: no data were held out" in told.stderr


def test_a_prior_that_adds_nothing_to_the_delta_method_is_named() -> None:
    scores = {"t2m": 0.3, "t2m, over the delta method": 1.02, "tp": 0.6}
    card = ModelCard((0.25, 0.25), (4, 4), 32, 30.4, (0.002, 80.0), {"depth": 1})
    warning = skill_warning(card, scores)
    assert "worse than the delta method" in warning
    assert "t2m (1.02)" in warning
    assert "tp" not in warning
    assert skill_warning(card, {"t2m": 0.3, "t2m, over the delta method": 0.98}) == ""
