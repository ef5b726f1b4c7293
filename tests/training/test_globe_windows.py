"""States on the globe with holes, in other calendars, and trainings that were cut short."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.prior import load_prior
from dpdm.train import train
from dpdm.training import TrainingFiles
from dpdm.training.loop import TrainingProgress
from tests.helpers.commands import Nursery
from tests.helpers.globe_states import TOML, taught, weather
from tests.helpers.processes import FULL
from tests.helpers.small_world import done, refused

HOLE = {"lat": slice(4, 7), "lon": slice(4, 8)}  # below ground, always
RIM = {"lat": 7, "lon": slice(4, 8)}  # below ground every other day
WORDS = "--grid truth.nc --members 2 --steps 2 --corrections 1 --overwrite"


def mountainous(ds: xr.Dataset) -> xr.Dataset:
    """Return the weather without t850 where it would lie below ground."""
    t = ds["t"].transpose("time", "level", "lat", "lon").copy(deep=True)
    low = t[:, 0]
    low[HOLE] = np.nan
    low[dict(time=slice(None, None, 2)) | RIM] = np.nan
    return ds.assign(t=t)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prior of codes of states with holes, a truth without."""
    torch.set_num_threads(1)
    made = tmp_path_factory.mktemp("mountains")
    taught(made, "--latent", series=mountainous(weather(150)))
    weather(150).isel(time=slice(140, 143)).to_netcdf(made / "truth.nc")
    return made


@pytest.fixture
def here(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def soundings(truth: xr.Dataset, cells: list[tuple[int, int]]) -> None:
    """Write a table of t850 at some cells on the first day."""
    lines = ["time,lat,lon,variable,value,units,error"]
    day = str(truth["time"].values[0])[:10]
    for row, column in cells:
        lat, lon = float(truth["lat"][row]), float(truth["lon"][column])
        lines.append(f"{day},{lat},{lon},t850,{float(truth['t'][0, 0, row, column])},K,1")
    Path("obs.csv").write_text("\n".join(lines) + "\n")


def test_what_is_always_below_ground_stays_missing_and_nothing_else(here: Path) -> None:
    """Members of codes are whole at the rim, and an observation in the hole is of no use."""
    with xr.open_dataset("truth.nc") as truth:
        soundings(truth.load(), [(5, 5), (12, 20)])
    result = done(*f"assimilate obs.csv out.nc --prior prior.safetensors {WORDS}".split())
    assert "t850, not seen by the prior      1" in result.output
    assert "t850, assimilated                1" in result.output
    with xr.open_dataset("out.nc") as out:
        low, high = (out["t"].sel(level=p).isnull() for p in (85000.0, 50000.0))
        assert low[HOLE].all()
        assert int(low.sum()) == 2 * 3 * 12
        assert not high.any()
        assert not out["sp"].isnull().any()


def everywhere(t: Any) -> None:
    t[:, 0] = np.nan


def infinite(t: Any) -> None:
    t[3, 1, 2, 2] = np.inf


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(everywhere, "t850 is missing in all"), (infinite, "w.nc: t500 holds infinite values")],
)
def test_what_teaches_nothing_is_refused(
    spoil: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    series = weather(60)
    t = series["t"].transpose("time", "level", "lat", "lon").copy(deep=True)
    spoil(t.values)
    series.assign(t=t).to_netcdf("w.nc")
    refused("train w.nc --window 3 --out p.safetensors", said)


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_other_calendars_are_taught_seen_and_kept(
    calendar: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    series = weather(100)
    days = xr.date_range("2001-01-01", periods=100, freq="D", calendar=calendar)
    series = series.assign_coords(time=days)
    taught(tmp_path, series=series)
    truth = series.isel(time=slice(56, 60))  # the end of February
    truth.to_netcdf("truth.nc")
    config = '[what]\nvariables = ["sp"]\n[where]\nrandom = 9\n[error]\nstd = [50.0]\n'
    Path("what.toml").write_text(config)
    done("observe", "truth.nc", "obs.nc", "--config", "what.toml")
    done(*f"assimilate obs.nc out.nc --prior prior.safetensors {WORDS}".split())
    with xr.open_dataset("out.nc", decode_times=xr.coders.CFDatetimeCoder(use_cftime=True)) as out:
        assert out["time"].dt.calendar == calendar
        assert (out["time"] == truth["time"]).all()
    refused(
        "assimilate obs.nc new.nc --prior prior.safetensors", "no dates of the standard", "--grid"
    )


@pytest.mark.filterwarnings("ignore:.*worse than no prediction")
def test_codes_go_on_without_training_the_autoencoder_again(folder: Path, tmp_path: Path) -> None:
    """Cut short in the training of codes, the same command ends with the same weights."""

    def interrupt(progress: TrainingProgress) -> None:
        if progress.measure == "RMSE over noise" and progress.step == 7:
            raise KeyboardInterrupt

    (tmp_path / "globe.toml").write_text(TOML)
    sources = TrainingFiles(
        [folder / "weather.nc"], [], None, tmp_path / "globe.toml", None, {}, {}
    )  # fmt: skip
    out = tmp_path / "prior.safetensors"
    torch.set_default_dtype(torch.float32)  # conftest turns it back
    with pytest.raises(KeyboardInterrupt):
        train(sources, out, window=3, latent=True, report=interrupt)
    coder = tmp_path / "prior.coder.safetensors"
    before = coder.stat().st_mtime_ns
    train(sources, out, window=3, latent=True)
    assert coder.stat().st_mtime_ns == before
    whole, resumed = (load_prior(p / out.name).denoiser.state_dict() for p in (folder, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_full_disk_leaves_no_half_analysis(here: Path, nursery: Nursery) -> None:
    with xr.open_dataset("truth.nc") as truth:
        soundings(truth.load(), [(12, 20)])
    before = {p.name for p in here.iterdir()}
    words = f"assimilate obs.csv out.nc --prior prior.safetensors {WORDS} --report said.csv"
    result = nursery.run(*words.split(), before=FULL.format(limit=20_000))
    assert result.returncode == 1
    assert "Error: out.nc cannot be written" in result.stderr
    assert {p.name for p in here.iterdir()} == before
