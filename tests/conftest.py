"""Every test runs in float64 from seed 0, on one thread, and leaves no trace."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cartopy.crs  # noqa: F401  before any file is read: the wheels' C libraries clash otherwise
import pytest
import torch

if TYPE_CHECKING:
    from tests.helpers.commands import Nursery
    from tests.helpers.small_world import Taught


collect_ignore = ["helpers/qgis_render.py"]  # which the Python of QGIS runs


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    before = torch.get_default_dtype()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.set_default_dtype(torch.float64)
        yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session", autouse=True)
def tracebacks() -> Iterator[None]:
    """A fault of dpdm's own is shown where it arises, not in two lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DPDM_TRACEBACK", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Training gives the same bits only for the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def taught(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> "Taught":
    """A prior of the small world, trained once for all tests that need one."""
    from tests.helpers.small_world import teach

    return teach(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="session")
def nursery() -> "Iterator[Nursery]":
    """A process that has imported everything, to fork commands from."""
    from tests.helpers.commands import Nursery

    with Nursery() as alive:
        yield alive


@pytest.fixture
def here(tmp_path: Path, taught: "Taught", monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with coarse.nc, fine.nc, prior.safetensors and small.toml."""
    from tests.helpers.small_world import TOML, coarse_world, world

    coarse_world().to_netcdf(tmp_path / "coarse.nc")
    world().to_netcdf(tmp_path / "fine.nc")
    (tmp_path / "prior.safetensors").write_bytes(taught.prior.read_bytes())
    (tmp_path / "small.toml").write_text(TOML)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spirals, and the prior that knows no more of them than their covariance."""
    from tests.helpers.gaussian_prior import gaussian

    monkeypatch.chdir(tmp_path)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    gaussian()
    torch.set_default_dtype(before)
