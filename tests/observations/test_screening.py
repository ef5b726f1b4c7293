"""What is seen of columns of air: from tables and settings to values, errors and refusals."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from dpdm.assimilate.analysis import Analysis
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.observations.observation_operator import (
    channel_weighting,
    observation_operator,
    whitening_operator,
)
from dpdm.observations.sounder import SounderChannels
from dpdm.observations.status import ObsStatus, accept
from dpdm.observations.table import read_observations
from dpdm.operators.geometry import globe_layout
from dpdm.operators.radiance import STEFAN_BOLTZMANN, emission_shares
from dpdm.operators.registry import ObsLocations
from dpdm.prior import Prior, load_prior
from dpdm.states.globe import GlobalSpace, observed_globe_states
from dpdm.states.options import EnsembleOptions, SamplerConfig
from sample_data.channels import gaussian_channels
from tests.helpers.globe_states import taught, weather
from tests.helpers.small_world import done, refused

LAT, LON = np.arange(-75.0, 90, 30), np.arange(0.0, 360, 45)
HPA = (850.0, 500.0, 250.0)
NAMES = ("t850", "t500", "t250", "t2m")
PLACE = "time,lat,lon"
SAMPLER = SamplerConfig("ddim", 4, 80.0, corrections=1)
COMMAND = "assimilate obs.csv out.nc --prior prior.safetensors --grid truth.nc --members 2"
CHANNELS = (
    "channel,level [hPa],weight,error\n1,850,0.7,0.5\n1,500,0.3,0.5\n2,850,0.2,0.4\n2,500,0.8,\n"
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prior of t on two levels and sp, and a week that it has not seen."""
    folder = tmp_path_factory.mktemp("air")
    torch.set_num_threads(1)
    taught(folder)
    weather().isel(time=slice(380, 386)).to_netcdf(folder / "truth.nc")
    (folder / "channels.csv").write_text(CHANNELS)
    (folder / "bare.csv").write_text(re.sub(r",[0-9.]*$", "", CHANNELS, flags=re.MULTILINE))
    return folder


@pytest.fixture
def here(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    for name in ("prior.safetensors", "truth.nc", "channels.csv", "bare.csv"):
        Path(name).symlink_to(world / name)
    return None


def test_a_table_is_seen_as_numpy_sees_the_columns(tmp_path: Path) -> None:
    """At centres of cells: log-p interpolation, weighting functions and the grey atmosphere."""
    text = (
        f"{PLACE},variable,pressure [hPa],channel,value,units,error\n"
        "2001-01-01,15,45,t,700,,280,K,1\n"
        "2001-01-01,-45,90,tb,,b,250,K,1\n"
        "2001-01-01,75,0,t,300,,230,K,1\n"
        "2001-01-01,15,45,olr,,,240,W m-2,9\n"
        "2001-01-01,15,45,tb,,a,250,K,1\n"
    )
    (tmp_path / "obs.csv").write_text(text)
    rows = read_observations([tmp_path / "obs.csv"])
    levels = tuple(100 * p for p in HPA)
    x = torch.from_numpy(np.random.default_rng(0).uniform(200, 300, (1, 4, len(LAT), len(LON))))
    share = {"a": np.array([0.1, 0.3, 0.4, 0.2]), "b": np.array([0.6, 0.4, 0, 0])}

    def place(some: pd.DataFrame) -> ObsLocations:
        return ObsLocations(
            globe_layout(LAT, LON), NAMES, some["lat"].to_numpy(), some["lon"].to_numpy(),
            pressure=some["pressure"].to_numpy(), levels=(*levels, 0.0), weights=share,
        )  # fmt: skip

    def column(i: int, j: int) -> np.ndarray:
        return x[0, [2, 1, 0, 3], i, j].numpy()  # from the highest level down, then t2m

    def at(p: float, air: np.ndarray) -> float:
        return float(np.interp(np.log(p), np.log(HPA[::-1]), air[:3]))

    low, south, pole = column(3, 1), column(1, 2), column(5, 0)
    leaving = emission_shares(levels[::-1], [15.0])[0] @ (STEFAN_BOLTZMANN * low**4)
    expected = [at(700, low), share["b"] @ south, at(300, pole), leaving, share["a"] @ low]
    np.testing.assert_allclose(observation_operator(rows, place)(x)[0], expected, rtol=1e-12)


def profiles(top_down: bool, unit: str) -> xr.Dataset:
    """Return the same two profiles in another order of levels and another unit."""
    p = np.array([1000.0, 850.0, 500.0])
    t = np.array([[np.nan, 280.0, 255.0], [290.0, 281.0, 256.0]])
    order = slice(None, None, -1 if top_down else 1)
    return xr.Dataset(
        {"ta": (("station", "plev"), t[:, order], {"units": "K"})},
        {
            "plev": ("plev", p[order] * (100 if unit == "Pa" else 1), {"units": unit}),
            "lat": ("station", [10.0, 20.0], {"units": "degrees_north"}),
            "lon": ("station", [1.0, 2.0], {"units": "degrees_east"}),
            "time": ("station", pd.date_range("2001-01-01", periods=2)),
        },
    )


def test_order_and_unit_of_levels_do_not_matter(tmp_path: Path) -> None:
    found = []
    for top_down, unit in ((False, "Pa"), (True, "hPa"), (True, "Pa"), (False, "mb")):
        profiles(top_down, unit).to_netcdf(tmp_path / "p.nc")
        table = read_observations([tmp_path / "p.nc"]).drop(columns="row")
        found.append(table.sort_values(["lat", "pressure"], ignore_index=True))
    for other in found[1:]:
        pd.testing.assert_frame_equal(found[0], other)
    assert list(found[0]["pressure"]) == [5e4, 8.5e4, 1e5] * 2
    assert list(found[0]["status"]) == ["", "", "missing", "", "", ""]
    assert set(found[0]["variable"]) == {"t"}


@pytest.mark.parametrize(
    ("head", "row", "seen"),
    [
        ("pressure [hPa],t [degC]", "850,0", ("t", 85000.0, 273.15)),
        ("level [Pa],ta [K]", "85000,270", ("t", 85000.0, 270.0)),
        ("plev [mb],q [g/kg]", "850,5", ("q", 85000.0, 0.005)),
        ("pressure [hPa],t2m [K]", "850,270", ("t2m", None, 270.0)),
        ("t850 [degC]", "0", ("t850", None, 273.15)),
    ],
)
def test_a_pressure_is_of_what_is_known_on_levels(
    tmp_path: Path, head: str, row: str, seen: tuple[str, float | None, float]
) -> None:
    (tmp_path / "obs.csv").write_text(f"{PLACE},{head}\n2001-01-01,1,2,{row}\n")
    table = read_observations([tmp_path / "obs.csv"])
    assert table["variable"][0] == seen[0]
    assert (table["pressure"][0] if "pressure" in table else None) == seen[1]
    assert table["value"][0] == pytest.approx(seen[2], rel=1e-12)


def space(sounder: SounderChannels | None = None) -> GlobalSpace:
    """Return the week to estimate."""
    prior, options = load_prior(Path("prior.safetensors")), EnsembleOptions(members=2)
    found = observed_globe_states(prior, pd.DataFrame(), Path("truth.nc"), "obs", options, sounder)
    return replace(found, sampler=SAMPLER)


def checked(text: str, sounder: SounderChannels | None = None) -> pd.DataFrame:
    """Return a table of text, checked against the week, with what it accepts in use."""
    Path("obs.csv").write_text(text)
    table = space(sounder).screen(read_observations([Path("obs.csv")], channels=sounder))
    return accept(table)


@pytest.mark.usefixtures("here")
def test_each_row_says_why_it_is_of_no_use() -> None:
    table = checked(
        f"{PLACE},variable,pressure [hPa],channel,value,units,error\n"
        "2002-01-17,1,2,t,850,,270,K,1\n"
        "2002-01-17,1,2,t,849,,270,K,1\n"
        "2002-01-17,1,2,t700,,,270,K,1\n"
        "2002-01-17,1,2,t,300,,270,K,1\n"
        "2002-01-17,1,2,t,1000,,270,K,1\n"
        "2002-01-17,1,2,u,500,,20,m/s,1\n"
        "2002-01-17,1,2,t,,,270,K,1\n"
        "2002-01-17,1,2,tb,,,270,K,1\n"
        "2002-01-17,1,2,t2m,,,270,K,1\n"
        "1999-01-17,1,2,t,850,,270,K,1\n"
        "2002-01-17,1,2,t,850,,280,K,1\n"
    )
    merged, late = "merged into row 2 of obs.csv", "no step at that time"
    assert list(table["status"]) == [
        *3 * [ObsStatus.ASSIMILATED], *2 * [ObsStatus.BEYOND_LEVELS], ObsStatus.NO_VARIABLE,
        ObsStatus.NO_PRESSURE, "no channel", ObsStatus.NO_VARIABLE, late, merged,
    ]  # fmt: skip
    assert table["value"][0] == pytest.approx(275)


@pytest.fixture
def sounder() -> SounderChannels:
    return gaussian_channels([850, 600, 500], levels=[850, 500], near=0.6)


TB = (
    f"{PLACE},variable,pressure [hPa],channel,value,units,error\n"
    "2002-01-17,1,2,tb,,2,270,K,0.5\n"
    "2002-01-17,1,2,t,700,,270,K,2\n"
    "2002-01-17,1,2,tb,,1,271,K,0.4\n"
    "2002-01-18,1,2,tb,,1,272,K,0.3\n"
    "2002-01-17,1,2,tb,,3,273,K,0.2\n"
)


def covariance(table: pd.DataFrame, sounder: SounderChannels) -> np.ndarray:
    """Return the whole covariance of a table's errors, pair by pair."""
    error, step = table["error"].to_numpy(), table["step"].to_numpy()
    whole = np.diag(error**2)
    for i, one in enumerate(table["channel"]):
        for j, other in enumerate(table["channel"]):
            if one and other and step[i] == step[j]:
                related = sounder.correlation[
                    sounder.channel_index(one), sounder.channel_index(other)
                ]
                whole[i, j] = related * error[i] * error[j]
    return whole


@pytest.mark.usefixtures("here", "warned")
def test_the_posterior_sees_the_whole_quadratic_form(sounder: SounderChannels) -> None:
    """Whitened misfits over unit variances add up to d^T R^-1 d, in single precision."""
    table, week = checked(TB, sounder), space(sounder)
    analysis = Analysis(week, table)
    here, operator = analysis.background(None)
    seen = analysis.observation(None, here)
    assert operator is not None
    assert seen is not None
    x = torch.randn(1, *week.shape).double()
    d = (table["value"].to_numpy() - operator(week.physical(x))[0].numpy())[:, None]
    exact = (d.T @ np.linalg.solve(covariance(table, sounder), d)).item()
    chi = seen.misfit(x).square() / seen.variance
    assert float(chi.sum()) == pytest.approx(exact, rel=1e-4)


@pytest.fixture
def warned() -> Iterator[None]:
    """The prior has no t2m, and channels see the ground."""
    with pytest.warns(DpdmWarning, match="there is no t2m"):
        yield


def test_independent_channels_are_left_as_they_are() -> None:
    rows = pd.DataFrame({"variable": ["tb"], "channel": ["1"], "error": [1.0], "lat": 1.0})
    assert whitening_operator(rows, gaussian_channels([850, 500])) is None
    assert (
        whitening_operator(rows.assign(variable="t"), gaussian_channels([850, 500], near=0.5))
        is None
    )


def test_weights_of_other_levels_are_interpolated_with_a_word() -> None:
    sounder = gaussian_channels([500], levels=[1000, 700, 400, 100])
    with pytest.warns(DpdmWarning, match="have 4 levels, the fields 2: they are interpolated"):
        found = channel_weighting(["t850", "t500"], [85000.0, 50000.0], sounder)["1"]
    assert found.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.usefixtures("here")
def test_what_is_missing_in_the_states_that_were_learnt_from_is_not_seen() -> None:
    table = checked(f"{PLACE},sp [Pa]\n2002-01-17,39.4,22.5\n2002-01-18,-39.4,22.5\n".replace(
        "22.5\n", "22.5,101000\n"))  # fmt: skip
    found = space()
    examples = found.prior.climatology["examples"].clone()
    j = int(np.argmin(np.abs(found.grid.lat - 39.4)))
    examples[0, :, j, 2] = torch.nan
    holed: Prior = replace(
        found.prior, climatology=found.prior.climatology | {"examples": examples}
    )
    analysis = Analysis(replace(found, prior=holed), table)
    here, operator = analysis.background(None)
    assert list(table["status"]) == [ObsStatus.UNSEEN, ObsStatus.ASSIMILATED]
    assert list(here) == [1]
    assert operator is not None
    assert np.isfinite(analysis.prior[1]).all()


@pytest.mark.usefixtures("here")
def test_soundings_pull_the_levels_around_them() -> None:
    """The command takes levels, channels and radiation at once, and comes nearer to them."""
    Path("obs.csv").write_text(
        f"{PLACE},variable,pressure [hPa],channel,value,units,error\n"
        "2002-01-17,5.6,45,t,600,,285,K,0.5\n"
        "2002-01-17,5.6,90,tb,,1,285,K,\n"
        "2002-01-17,5.6,90,tb,,2,280,K,0.5\n"
        "2002-01-17,5.6,180,olr,,,280,W m-2,\n"
    )
    said = done(*f"{COMMAND} --channels channels.csv --report r.csv --reject 0".split())
    assert said.stderr.count("The surface contributes to a channel, and there is no t2m") == 1
    report = pd.read_csv("r.csv")
    assert (report["status"] == ObsStatus.ASSIMILATED).all()
    assert list(report["error"]) == [0.5, 0.5, 0.5, 30.0]
    gain = report["innovation"].abs() - report["residual"].abs()
    assert (gain[:3] > 0).all()
    with xr.open_dataset("out.nc") as out:
        assert out["t"].sizes["level"] == 2
        assert out.attrs["dpdm_channels"] == "channels.csv"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("text", "options", "what"),
    [
        ("pressure,t [K]\n2002-01-17,1,2,850,270", "", "at a pressure that has no units"),
        ("pressure [m],t [K]\n2002-01-17,1,2,850,270", "", "pressure of the rows is in 'm'"),
        ("pressure [Pa],t [K]\n2002-01-17,1,2,0.8,270", "", "line 2: the pressure is 0.8 Pa"),
        ("pressure [hPa],temp [K]\n2002-01-17,1,2,850,270", "", "temp may be t2m, or t at"),
        (
            "channel,tb [K]\n2002-01-17,1,2,1,270",
            "--error tb=1",
            "its weighting function is unknown",
        ),
        ("channel,tb [K]\n2002-01-17,1,2,1,270", "", "tb of channel 1 has no error"),
        ("channel,tb [K]\n2002-01-17,1,2,7,270", "--channels channels.csv", "channel 7 is obs"),
        ("sp [Pa]\n2002-01-17,1,2,101000", "--channels channels.csv", "no brightness temp"),
        ("sp [Pa]\n2002-01-17,1,2,101000", "--channels gone.csv", "gone.csv"),
        (
            "channel,tb [K]\n1999-05-05,1,2,1,270",
            "--channels channels.csv",
            "No observation is left.*They are from 1999-05-05, and the field is from 2002-01-16",
        ),
    ],
)
def test_bad_soundings_are_refused(text: str, options: str, what: str) -> None:
    Path("obs.csv").write_text(f"{PLACE},{text}\n")
    refused(f"{COMMAND} {options}", f"(?s){what}")


def observed(what: str, std: str = "") -> pd.DataFrame:
    """Return what the command sees of the week."""
    places = "[where]\nlat = [5.625, -39.375]\nlon = [45.0, 90.0]\n"
    Path("obs.toml").write_text(
        f"[what]\n{what}\n{places}{std and f'[error]{chr(10)}std = {std}'}"
    )
    done("observe", "truth.nc", "obs.nc", "--config", "obs.toml", "--overwrite")
    return read_observations([Path("obs.nc")])


@pytest.mark.usefixtures("here")
def test_levels_are_observed_where_profiles_are_linear() -> None:
    table = observed('variables = ["t"]\npressures = [850, 652, 500]', "[1e-9]")
    with xr.open_dataset("truth.nc") as truth:
        t = truth["t"].sel(lat=[5.625, -39.375], lon=[45, 90]).values.astype(float)
    t = np.stack([t[:, :, 0, 0], t[:, :, 1, 1]], -1)  # (time, level, place)
    share = np.log(652 / 500) / np.log(850 / 500)
    middle = share * t[:, 0] + (1 - share) * t[:, 1]
    expected = np.stack([t[:, 0], middle, t[:, 1]], 1).ravel()
    np.testing.assert_allclose(table["value"], expected, rtol=0, atol=1e-6)
    assert list(table["pressure"][:6:2]) == [85000.0, 65200.0, 50000.0]


@pytest.mark.usefixtures("here")
def test_channels_are_observed_with_errors_that_go_together() -> None:
    """2 x 4 channels, with and without errors: 3,000 pairs give correlations to .06 (3 sigma)."""
    names = ["a", "b"]
    xr.Dataset(
        {
            "weight": (("channel", "level"), [[0.5, 0.5], [0.2, 0.7]]),
            "surface_weight": ("channel", [0.0, 0.1]),
            "error": ("channel", [0.5, 2.0], {"units": "K"}),
            "error_correlation": (("channel", "channel_2"), [[1, 0.7], [0.7, 1]]),
        },
        {"channel": names, "level": ("level", [850.0, 500.0], {"units": "hPa"})},
    ).to_netcdf("ab.nc")
    what = 'operator = "brightness"\nchannels = "ab.nc"'
    Path("obs.toml").write_text(f"[what]\n{what}\n")
    said = done("observe", "truth.nc", "obs.nc", "--config", "obs.toml")
    assert "there is no t2m" in said.stderr
    table = read_observations([Path("obs.nc")])
    with xr.open_dataset("truth.nc") as truth:
        low, high = (truth["t"].isel(level=k).values.reshape(6, -1).astype(float) for k in (0, 1))
    exact = np.stack([0.5 * low + 0.5 * high, 0.3 * low + 0.7 * high], 1)
    error = (table["value"].to_numpy().reshape(exact.shape) - exact).swapaxes(0, 1).reshape(2, -1)
    np.testing.assert_allclose(error.std(1), [0.5, 2.0], rtol=0.04)
    assert np.corrcoef(error)[0, 1] == pytest.approx(0.7, abs=0.06)
    assert set(table["variable"]) == {"tb"}
    assert set(zip(table["channel"], table["error"], strict=True)) == {("a", 0.5), ("b", 2.0)}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("what", "std", "said"),
    [
        ('operator = "brightness"', "[1]", "needs one"),
        ('operator = "olr"\nchannels = "channels.csv"', "[1]", "belongs to operator"),
        ("pressures = [850]", "[1]", "gives pressures without variables"),
        ('variables = ["u"]\npressures = [850]', "[1]", "asks for u on levels"),
        ('variables = ["t"]\npressures = [85000]', "[1]", "observed at 85000 hPa, but the levels"),
        ('variables = ["t"]\noperator = "olr"', "[1]", "gives variables for olr"),
        ('operator = "brightness"\nchannels = "bare.csv"', "", "0 standard deviations for 2"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::dpdm.errors.DpdmWarning")
def test_settings_of_columns_that_do_not_fit_are_refused(what: str, std: str, said: str) -> None:
    Path("obs.toml").write_text(f"[what]\n{what}\n{std and f'[error]{chr(10)}std = {std}'}")
    refused("observe truth.nc obs.nc --config obs.toml", said)


def test_pressures_need_units(tmp_path: Path) -> None:
    (tmp_path / "obs.csv").write_text(f"{PLACE},pressure,t [K]\n2001-01-01,1,2,850,270\n")
    with pytest.raises(DpdmError, match="no units"):
        read_observations([tmp_path / "obs.csv"])
    table = read_observations([tmp_path / "obs.csv"], units={"pressure": "hPa"})
    assert table["pressure"][0] == 85000
