"""Odd time axes through the commands: each works in silence or is refused in two lines."""

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.small_world import dpdm
from tests.helpers.time_axes import months

WORKS = {
    "months": {"values": np.arange(3), "units": "months since 2000-01-15"},
    "packed": {"values": np.array([200001, 200002, 200003])},
    "text": {"values": ["2000-01", "2000-02", "2000-03"]},
    "year 0": {"values": np.array([15.0, 45, 74]), "units": "days since 0000-01-01"},
    "year 9999": {"values": np.arange(3), "units": "months since 9999-01-15"},
    "paleo": {"values": np.arange(3), "units": "years since -21000-01-01", "calendar": "noleap"},
}
FAILS = {
    "none": {},
    "numbers": {"values": np.array([1.0, 2, 3])},
    "calendar": {"values": np.arange(3), "units": "days since 2000-01-01", "calendar": "none"},
    "unit": {"values": np.arange(3), "units": "moons since 2000-01-01"},
    "beyond": {"values": np.array([0, 1, 1e20]), "units": "days since 2000-01-01"},
    "gap": {"values": np.array([0, np.nan, 2]), "units": "days since 2000-01-01",
            "calendar": "360_day"},
    "types": {"values": np.arange(3), "units": 5, "calendar": 7},
}  # fmt: skip
COMMANDS = (
    "info in.nc", "coarsen in.nc out.nc --factor 2", "evaluate in.nc in.nc",
    "plot in.nc out.png --kind series --at 1,1", "export in.nc out.csv --points points.csv",
    "observe in.nc out.nc --config obs.toml",
)  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("points.csv").write_text("lat,lon\n1,1\n")
    words = '[what]\nvariables = ["t2m"]\n[where]\nrandom = 3\n[error]\nstd = [1.0]\n'
    Path("obs.toml").write_text(f"seed = 1\n{words}")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("axis", WORKS)
def test_times_that_can_be_read_are_read_in_silence(axis: str, command: str) -> None:
    months(Path("in.nc"), **WORKS[axis])
    result = dpdm(*command.split())
    assert result.exit_code == 0, result.output
    assert not [
        s for s in result.stderr.splitlines() if not s.startswith(("Wrote", "Warning: in"))
    ]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("axis", FAILS)
def test_times_that_cannot_be_read_are_refused(axis: str, command: str) -> None:
    months(Path("in.nc"), **FAILS[axis])
    result = dpdm(*command.split())
    error, hint = result.stderr.splitlines()
    assert (result.exit_code, type(result.exception)) == (1, SystemExit)
    assert error.startswith("Error: in.nc: ")
    assert hint.startswith("Hint: ")
