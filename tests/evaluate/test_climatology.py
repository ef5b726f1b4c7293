"""What `dpdm evaluate` says of climatologies, on a box of the samples."""

import json
from pathlib import Path

import numpy as np
import pytest

from dpdm.fields.read import open_fields
from dpdm.fields.regrid import coarsen_fields
from tests.helpers.small_world import done, dpdm, refused

SAMPLE = Path(__file__).parents[2] / "sample_data" / "east_asia_fine.nc"
ERA5 = "ERA5 2000-2025 monthly climatology"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with normal.nc, which is the climatology, truth.nc, which is not, and others."""
    monkeypatch.chdir(tmp_path)
    normal = open_fields(SAMPLE).isel(lat=slice(40, 72), lon=slice(60, 92), time=slice(2)).load()
    smooth = np.sin(normal["lat"]) * np.cos(normal["lon"] / 2)
    truth = normal.assign(t2m=normal["t2m"] + smooth, tp=normal["tp"] * (1 + 0.3 * smooth))
    for name in truth:
        truth[name].attrs = normal[name].attrs
    for name, fields in {"normal": normal, "truth": truth}.items():
        fields.to_netcdf(f"{name}.nc")
        coarsen_fields(fields, 4).to_netcdf(f"coarse_{name}.nc")
    return tmp_path


def scores(*words: str) -> tuple[dict[tuple[str, str], dict[str, float]], list[str]]:
    """Return the rows of an evaluation by variable and method, and its notes."""
    said = json.loads(done("evaluate", *words, "--json").stdout)
    return {(row["variable"], row["method"]): row for row in said["rows"]}, said["notes"]


def test_the_delta_method_and_acc_take_the_bundled_climatology(folder: Path) -> None:
    words = ("normal.nc", "truth.nc", "--coarse", "coarse_truth.nc")
    found, notes = scores(*words)
    for name in ("t2m", "tp"):
        delta, lerp = found[name, "delta method"], found[name, "lerp"]
        assert delta["rmse"] < 0.4 * lerp["rmse"]  # a smooth anomaly, known climatology
        assert delta["acc"] > 0.95
    assert any(note.startswith(f"ACC against {ERA5}") for note in notes)
    assert any(note.startswith("delta method") and ERA5 in note for note in notes)
    again, _ = scores(*words, "--climatology", "era5")
    assert again == found


def test_without_a_climatology_the_truth_itself_is_the_reference(folder: Path) -> None:
    found, notes = scores(
        "normal.nc", "truth.nc", "--coarse", "coarse_truth.nc", "--climatology", "none"
    )
    assert {method for _, method in found} == {"lerp", "lerp + lapse rate", "forecast"}
    assert not any("ERA5" in note or "delta" in note for note in notes)
    truth, other = (open_fields(Path(f"{n}.nc")).load()["t2m"] for n in ("truth", "normal"))
    areas = np.broadcast_to(np.cos(np.radians(truth["lat"].values))[:, None], truth.shape[1:])
    a, b = ((f - truth.mean("time")).values.reshape(2, -1) for f in (other, truth))
    covs = [np.cov(x, y, aweights=areas.ravel()) for x, y in zip(a, b, strict=True)]
    expected = np.mean([c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]) for c in covs])
    assert found["t2m", "forecast"]["acc"] == pytest.approx(expected, abs=1e-4)


def test_a_file_brings_its_own_climatology_and_the_years_that_are_chosen(folder: Path) -> None:
    normal = open_fields(Path("normal.nc")).load()
    times = np.arange("2010-01", "2012-01", dtype="M8[M]").astype("M8[ns]")
    years = normal.isel(time=[0, 1] * 12).assign_coords(time=times)
    (years + (2011 - years["time.year"]) * 9).assign_attrs(years.attrs).to_netcdf("years.nc")
    words = ("normal.nc", "truth.nc", "--coarse", "coarse_truth.nc", "--climatology", "years.nc")
    found, notes = scores(*words, "--climatology-period", "2011,2011")
    assert any(note.startswith("ACC against years.nc 2011 monthly climatology") for note in notes)
    bundled, _ = scores(*words[:4])
    for name in ("t2m", "tp"):
        delta, other = (rows[name, "delta method"] for rows in (found, bundled))
        assert delta["rmse"] == pytest.approx(other["rmse"], rel=0.05)  # the packing differs
        assert delta["acc"] == pytest.approx(other["acc"], abs=0.01)


def test_a_truth_that_is_the_bundled_climatology_is_said(folder: Path) -> None:
    said = dpdm("evaluate", "truth.nc", "normal.nc", "--coarse", "coarse_normal.nc")
    sentence = f"For t2m and tp the truth is {ERA5} itself"
    assert said.exit_code == 0
    assert said.stderr.startswith(f"Warning: {sentence}")
    assert said.stderr.count("\n") == 1
    assert f"- {sentence}" in said.stdout
    assert "delta method   " not in said.stdout
    assert " ACC " not in said.stdout.partition("\n- ")[0]
    plain = dpdm("evaluate", "truth.nc", "normal.nc", "--climatology", "none")
    assert plain.stderr == ""
    assert " ACC " in plain.stdout.partition("\n- ")[0]


def test_a_period_that_is_none_is_refused(folder: Path) -> None:
    wrong = dpdm("evaluate", "normal.nc", "truth.nc", "--climatology-period", "1991")
    assert wrong.exit_code == 2
    assert "is not two months" in wrong.stderr
    refused("evaluate normal.nc truth.nc --climatology absent.nc", "absent.nc does not exist")
