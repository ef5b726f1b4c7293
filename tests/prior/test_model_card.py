"""Priors whose headers nobody's training wrote: a sentence each, at once, in little memory."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from dpdm.errors import DpdmError
from dpdm.prior import list_bundled_priors, load_prior, read_prior_header
from dpdm.training.loop import TrainingState, load_checkpoint, save_checkpoint
from tests.helpers.forged_headers import containers, forge, forgeries, said_of, worst
from tests.helpers.gaussian_prior import gaussian
from tests.helpers.small_world import done, refused

FORGED = Path("forged.safetensors")


@pytest.fixture(params=["fields", "trajectories"])
def prior(here: Path, request: pytest.FixtureRequest) -> Path:
    if request.param == "fields":
        return here / "prior.safetensors"
    torch.set_default_dtype(torch.float32)
    gaussian(3)
    return here / "gaussian.safetensors"


def written(prior: Path) -> Iterator[str]:
    """Write forged.safetensors in many ways, and yield what was changed."""
    said = said_of(prior)
    for what, text in chain(worst(said), islice(forgeries(said, 1), 40)):
        forge(prior, text, FORGED)
        yield what
    for what, content in containers(prior):
        FORGED.write_bytes(content)
        yield what


def refusal(read: Callable[[Path], object]) -> str:
    """Return the sentences with which forged.safetensors is refused; empty if it is read."""
    try:
        read(FORGED)
    except DpdmError as fault:
        return str(fault)
    return ""


def test_a_forged_header_is_refused_or_does_no_harm(prior: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = []
    for what in written(prior):
        begun = time.process_time()
        said.append(refusal(load_prior))
        assert time.process_time() - begun < 2, what
    assert max(map(len, said)) < 600
    assert 0 < said.count("") < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


def test_no_value_of_the_worst_is_believed(here: Path) -> None:
    """But for what no result depends on, and a newer version that states what this one knows."""
    for what, text in worst(said_of(here / "prior.safetensors")):
        forge(here / "prior.safetensors", text, FORGED)
        harmless = what.startswith(("contract.training = {", "contract.scores = {", "dpdm = '99"))
        assert bool(refusal(read_prior_header)) != harmless, what


def test_the_command_refuses_in_two_lines(here: Path) -> None:
    said = said_of(here / "prior.safetensors")
    said["contract"]["window"] = 10**9
    forge(here / "prior.safetensors", json.dumps(said), FORGED)
    for command in (
        "info forged.safetensors",
        "downscale coarse.nc o.nc --prior forged.safetensors",
    ):
        refused(command, "forged.safetensors is not a valid prior: .* window is 1000000000")


def test_a_prior_of_a_newer_version_is_refused_as_such(here: Path) -> None:
    said = said_of(here / "prior.safetensors") | {"dpdm": "99.1"}
    forge(here / "prior.safetensors", json.dumps(said), FORGED)
    done("info", FORGED)  # what it states is known, whoever wrote it
    said["contract"]["season_length"] = 3
    forge(here / "prior.safetensors", json.dumps(said), FORGED)
    what = "written by dpdm 99.1, which is newer than this dpdm .*unknown key season_length"
    refused("info forged.safetensors", what, "pip install --upgrade dpdm")


def test_tensors_are_those_of_the_network(here: Path) -> None:
    tensors, said = load_file("prior.safetensors"), said_of(here / "prior.safetensors")
    stated = {"dpdm_prior": json.dumps(said)}
    name = "backbone.enter.weight"
    for changed, what in (
        ({k: v for k, v in tensors.items() if k != name}, f"it lacks {name}"),
        (tensors | {"more": torch.ones(2)}, "'more' is unknown"),
        (tensors | {name: tensors[name][:1].clone()}, f"{name} has the shape"),
        (tensors | {name: tensors[name].to(torch.int32)}, f"{name} has the shape .* type I32"),
        (tensors | {"coarse.lat": torch.ones(2)}, "coarse.* has the shape"),
    ):
        save_file(changed, FORGED, stated)
        refused(
            "downscale coarse.nc o.nc --prior forged.safetensors",
            f"forged.safetensors do not fit .*{what}",
        )
    refused("info forged.safetensors", "coarse.* has the shape")  # weights it leaves unread


def test_a_forged_checkpoint_is_refused(tmp_path: Path) -> None:
    net, path = torch.nn.Linear(3, 2), tmp_path / "out.safetensors.resume"
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    state = TrainingState(
        net, {k: v.clone() for k, v in net.state_dict().items()}, optimiser, 7, 8.5
    )
    save_checkpoint(state, path, "mine")
    load_checkpoint(state, path, "mine")
    tensors, usual = load_file(path), {"step": "7", "seconds": "8.5", "identity": "mine"}
    first = {"net.weight": torch.ones(4, 3)}
    for changed, stated, what in (
        (tensors | first, usual, "net.weight has the shape"),
        (tensors | {"optimiser.x.step": torch.ones(1)}, usual, "'optimiser.x.step' is unknown"),
        ({k: v for k, v in tensors.items() if k != "ema.bias"}, usual, "lacks ema.bias"),
        (tensors, usual | {"step": "-1"}, "damaged"),
        (tensors, usual | {"seconds": "nan"}, "damaged"),
        (tensors, {"identity": "mine"}, "damaged"),
        (tensors, usual | {"identity": "another"}, "other settings"),
    ):
        save_file(changed, path, stated)
        with pytest.raises(DpdmError, match=f"out.safetensors.resume is.*{what}"):
            load_checkpoint(state, path, "mine")
    assert (state.step, state.seconds) == (7, 8.5)


def test_the_bundled_prior_is_read_as_it_was_written() -> None:
    for path in list_bundled_priors().values():
        contract = read_prior_header(path).contract
        assert (contract.window, contract.sampling["steps"], contract.states) == (64, 10, 0)
