"""The log: every line of standard error with its time, appended to what is there."""

import re
from pathlib import Path

import numpy as np

from tests.helpers.small_world import coarse_world, done, dpdm, refused

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (.*)")


def logged(path: str = "dpdm.log") -> list[str]:
    """Return the lines of a log without their times, and all after a command line."""
    found = [LINE.fullmatch(line) for line in Path(path).read_text().splitlines()]
    assert all(found)
    return [match[1] for match in found if match]


def test_results_warnings_and_errors_are_logged_one_run_after_the_other(here: Path) -> None:
    ds = coarse_world()
    ds["tp"][:] = np.float32(40.0)  # an unlikely mean
    ds.to_netcdf("wet.nc")
    first = done("coarsen", "wet.nc", "out.nc", "--factor", 2, "--log", "dpdm.log")
    assert "Warning: wet.nc: tp averages 40" in first.stderr
    lines = logged()
    assert lines[0].startswith("dpdm")  # the command line
    assert lines[1:] == first.stderr.splitlines()
    again = dpdm("coarsen", "wet.nc", "out.nc", "--factor", 2, "--log", "dpdm.log")
    assert again.exit_code == 1
    after = logged()[len(lines) :]
    assert after[1:] == again.stderr.splitlines()
    assert after[1] == "Error: out.nc exists."
    usage = dpdm("coarsen", "wet.nc", "o.nc", "--factor", "half", "--log", "dpdm.log")
    assert usage.exit_code == 2
    assert logged()[-1] == usage.stderr.splitlines()[-1]
    for words in (("--facter", 2), ("--factor", 2, "--defaults", "no.toml")):
        wrong = dpdm("coarsen", "wet.nc", "o.nc", *words, "--log", "dpdm.log")
        first = next(line for line in wrong.stderr.splitlines() if line.startswith("Error: "))
        assert first in logged()[-2:]


def test_a_log_is_plain_and_one_line_stays_one(here: Path) -> None:
    coarse_world().to_netcdf("a\x1b[31m\n.nc")
    done("coarsen", "a\x1b[31m\n.nc", "o.nc", "--factor", 2, "--log", "dpdm.log")
    assert "\x1b" not in Path("dpdm.log").read_text()


def test_progress_of_a_reconstruction_is_stamped_once(here: Path) -> None:
    Path("plan.toml").write_text(
        '[input]\nfiles = ["coarse.nc"]\n[prior]\nname = "prior.safetensors"\n'
        "[draw]\nmembers = 0\n"
    )
    Path("lab.toml").write_text('[reconstruct]\nlog = "run.log"\n')
    done("reconstruct", "plan.toml", "out", "--defaults", "lab.toml")
    assert logged("run.log")[-1] == "all of out is done"


def test_a_log_never_damages_another_file(here: Path) -> None:
    command = "coarsen fine.nc out.nc --factor 2 --log"
    refused(f"{command} fine.nc", "fine.nc is another file of the command too", code=2)
    refused(f"{command} out.nc", "out.nc is another file of the command too", code=2)
    refused(f"{command} coarse.nc", "coarse.nc exists, and is not a log", "another file")
    refused(f"{command} .", "is not a file", "another")
