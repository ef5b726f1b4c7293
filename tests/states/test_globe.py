"""States on the globe: seasons, poles, areas, what is learnt from, and analyses."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.diffusion.denoise import Denoiser
from dpdm.fields.climatology import fit_harmonics, harmonic_basis
from dpdm.nets.unet import UNet, pad_globe
from dpdm.prior import load_prior
from dpdm.prior.windows import average_code_cells, state_scaling, window_denoiser
from tests.helpers.globe_states import COLUMNS, ROWS, taught, weather
from tests.helpers.small_world import dpdm, refused


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a prior of states."""
    return taught(tmp_path_factory.mktemp("globe"))


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Make a truth of five days that no prior has seen, and stations in it."""
    folder = tmp_path_factory.mktemp("seen")
    weather(460).isel(time=slice(450, 455)).to_netcdf(folder / "truth.nc")
    (folder / "stations.toml").write_text(
        '[what]\nvariables = ["t850", "sp"]\n[where]\nrandom = 30\n[error]\nstd = [0.5, 50.0]\n'
    )
    out = folder / "stations.nc"
    done = dpdm("observe", folder / "truth.nc", out, "--config", folder / "stations.toml")
    assert done.exit_code == 0, done.output
    return folder / "truth.nc", out


def test_seasons_are_fitted_exactly_where_they_are_harmonics() -> None:
    """Values made of two harmonics come back, to the rounding of float32, gaps or not."""
    rng = np.random.default_rng(0)
    season = [float(s) for s in np.arange(500) / 365.25 % 1]
    true = rng.standard_normal((5, 2, 3, 4))
    states = np.einsum("tk,kchw->tchw", harmonic_basis(season), true).astype("f4")
    states[rng.random(states.shape) < 0.3] = np.nan
    states[:, 0, 0, 0] = np.nan
    found = fit_harmonics(states, season)
    assert np.isnan(found[:, 0, 0, 0]).all()
    true[:, 0, 0, 0] = np.nan
    np.testing.assert_allclose(found, true, atol=1e-5)


def test_a_short_series_has_a_mean_and_no_seasons() -> None:
    """Of half a year, what belongs to the season is not told from the mean."""
    states = np.random.default_rng(0).standard_normal((180, 1, 2, 2)).astype("f4")
    found = fit_harmonics(states, [float(s) for s in np.arange(180) / 365.25])
    np.testing.assert_allclose(found[0], states.mean(0), atol=1e-6)
    assert not found[1:].any()


def test_beyond_a_pole_lies_the_opposite_meridian() -> None:
    """A smooth function of the sphere goes on smoothly beyond the rim."""
    lat = (np.arange(-1, ROWS + 1) + 0.5) * 180 / ROWS - 90
    lon = np.arange(-1, COLUMNS + 1) * 360 / COLUMNS
    y, x = np.radians(lat)[:, None], np.radians(lon)
    wide = torch.from_numpy(np.cos(y) * np.cos(x) + 0.3 * np.cos(y) * np.sin(x) + np.sin(y))
    inside = wide[None, None, 1:-1, 1:-1]
    # Beyond the pole the angle goes on past 90 degrees: cos y changes sign, as cos(x + pi) does.
    torch.testing.assert_close(pad_globe(inside)[0, 0], wide, atol=1e-12, rtol=0)


def test_the_network_knows_no_first_meridian() -> None:
    """Fields turned about the axis by whole blocks give an answer turned as much."""
    torch.manual_seed(0)
    denoiser = Denoiser(UNet(3, 2, (8, 8, 8), (8, 8), 1, globe=True)).double().eval()
    for parameter in denoiser.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    x, given = (torch.randn(1, n, ROWS, COLUMNS).double() for n in (3, 2))
    sigma = torch.ones(1).double()
    plain = denoiser(x, sigma, given)
    turned = denoiser(x.roll(8, -1), sigma, given.roll(8, -1))
    assert plain.std() > 0.1
    torch.testing.assert_close(turned, plain.roll(8, -1), atol=1e-12, rtol=0)


def test_cells_count_by_their_area() -> None:
    """The loss of an error at one cell is that cell's share of the sphere."""
    denoiser = Denoiser(UNet(1, 1, (8, 8, 8), (8, 8), 1, globe=True)).eval()
    area = torch.linspace(0.5, 1.5, ROWS)[:, None]
    x, zero = torch.zeros(1, 1, ROWS, COLUMNS), torch.zeros(1, 1, ROWS, COLUMNS)
    noise = zero.clone()
    noise[0, 0, 3, 5] = 1.0
    given, sigma = torch.zeros(1, 1, ROWS, COLUMNS), torch.full((1,), 0.1)
    with torch.no_grad():
        base = denoiser.loss(x, sigma, zero, given, area)[0]
        even = denoiser.loss(x, sigma, noise, given)[0]
        weighed = denoiser.loss(x, sigma, noise, given, area)[0]
    assert float(base) == 0
    torch.testing.assert_close(weighed, even * area[3], atol=1e-9, rtol=1e-5)


def test_states_are_departures_of_unit_variance(prior: Path) -> None:
    """Scaled back, normalised states are those of the file; their variance by area is 1."""
    known, truth = load_prior(prior), weather()
    season = [float(s) for s in (truth["time"].dt.dayofyear.values - 0.5) / 365.25]
    mean, std = state_scaling(known, season)
    assert known.normaliser.names == ["sp", "t850", "t500"]
    values = torch.from_numpy(truth["t"].values[:, 0]).double()
    x = ((values - mean[:, 1]) / std[1])[:320]
    area = torch.from_numpy(np.cos(np.radians(truth["lat"].values)))[:, None]
    assert float((x.square() * area).mean() / area.mean()) == pytest.approx(1, abs=0.01)
    assert float(x.mean(0).abs().max()) < 0.05
    assert known.contract.globe
    assert known.contract.states == 3


def test_the_last_tenth_is_never_looked_at(prior: Path, tmp_path: Path) -> None:
    """Another end of the series gives the same prior, byte for byte but for the minutes."""
    other = weather()
    other["t"][360:] += 50.0
    again = load_prior(taught(tmp_path, series=other))
    for name, value in load_prior(prior).denoiser.state_dict().items():
        assert torch.equal(value, again.denoiser.state_dict()[name])


def test_an_analysis_follows_its_stations(
    prior: Path, seen: tuple[Path, Path], tmp_path: Path
) -> None:
    """Even a hardly trained prior comes closer to what is observed; levels are one variable."""
    out, report = tmp_path / "analysis.nc", tmp_path / "report.csv"
    result = dpdm(
        "assimilate", seen[1], out, "--prior", prior, "--grid", seen[0], "--members", 3,
        "--steps", 8, "--report", report,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "biased" not in result.output  # longer than a window, but its law is one of all days
    table = {line.split(",")[0]: line.split() for line in result.output.splitlines()}
    before, after, chi_square = (float(table["t850"][n]) for n in (3, 4, 9))
    assert after < 0.4 * before
    assert 0.5 < chi_square < 2
    with xr.open_dataset(out) as analysis, xr.open_dataset(seen[0]) as truth:
        assert analysis["t"].dims == ("time", "realization", "level", "lat", "lon")
        assert list(analysis["level"]) == [85000.0, 50000.0]
        assert (analysis["time"] == truth["time"]).all()
        assert {"t_mean", "t_spread", "sp_mean"} <= set(analysis)


def test_a_member_is_the_same_whichever_are_asked_for(
    prior: Path, seen: tuple[Path, Path], tmp_path: Path
) -> None:
    """The first of one member is the first of two."""
    found = []
    for members in (1, 2):
        out = tmp_path / f"{members}.nc"
        words = ("--prior", prior, "--grid", seen[0], "--members", members, "--steps", 4)
        assert dpdm("assimilate", seen[1], out, *words, "--keep", "members").exit_code == 0
        with xr.open_dataset(out) as file:
            found.append(hashlib.sha256(file["t"].sel(realization=0).values.tobytes()).hexdigest())
    assert found[0] == found[1]


def test_a_window_knows_its_season(prior: Path) -> None:
    """Winter and summer are given to the network, and a season goes round."""
    torch.set_default_dtype(torch.float32)  # conftest turns it back
    known = load_prior(prior)
    x, sigma = torch.randn(1, 3, 3, ROWS, COLUMNS), torch.ones(1)
    january, july, next_january = (
        window_denoiser(known, season=season)(x, sigma) for season in (0.0, 0.5, 1.0)
    )
    assert not torch.equal(january, july)
    torch.testing.assert_close(january, next_january, atol=1e-5, rtol=0)


def test_blocks_of_the_ground_are_means() -> None:
    """A cell of a code stands for the mean of its sixteen cells; rows alone are averaged too."""
    ground = torch.arange(8.0 * 8).reshape(1, 8, 8)
    assert average_code_cells(ground)[0, 0, 0] == ground[0, :4, :4].mean()
    assert average_code_cells(ground[0, :, :1]).shape == (2, 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ds: ds.isel(lat=slice(2, None)), "does not cover the globe"),
        (lambda ds: ds.isel(time=slice(12)), "a tenth of them"),
        (lambda ds: ds.isel(time=0, drop=True), "no time axis"),
        (lambda ds: ds.expand_dims(realization=[0, 1]), "holds 2 members"),
        (lambda ds: ds.isel(time=[*range(50), *range(60, 200)]), "apart in time"),
    ],
)
def test_series_that_do_not_serve_are_refused(
    change: Callable[[xr.Dataset], xr.Dataset],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A part of the globe, a short series and one with a gap."""
    change(weather(200)).to_netcdf(tmp_path / "w.nc")
    monkeypatch.chdir(tmp_path)
    refused("train w.nc --window 3 --out p.safetensors", said)


def test_times_and_grids_must_be_the_priors(
    prior: Path, seen: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other day, and another grid, are refused."""
    monkeypatch.chdir(tmp_path)
    with xr.open_dataset(seen[0]) as truth:
        truth.isel(time=slice(None, None, 2)).to_netcdf(tmp_path / "days.nc")
        truth.isel(lon=slice(None, None, 2)).to_netcdf(tmp_path / "grid.nc")
    words = f"assimilate {seen[1]} a.nc --prior {prior} --grid"
    refused(f"{words} days.nc", "2 apart, the prior's 1")
    refused(f"{words} grid.nc", "not on the prior's grid")


def test_an_autoencoder_of_other_states_is_not_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies beside the prior is used again only for the same states and sizes."""
    taught(tmp_path, "--latent")
    (tmp_path / "prior.safetensors").unlink()
    weather(300).to_netcdf(tmp_path / "others.nc")
    monkeypatch.chdir(tmp_path)
    words = "train others.nc --window 3 --latent --out prior.safetensors --config globe.toml"
    refused(words, "autoencoder of other states", "--overwrite")
    refused(f"{words} --start default", "another|without --start")
