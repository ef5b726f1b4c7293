"""Joint scores against scoringrules and numpy, and what holds for any fields."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scoringrules
import xarray as xr
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.evaluate import evaluate, joint_fields
from dpdm.evaluate.joint_scores import (
    correlation_matrix,
    energy_score,
    moment_matrix,
    variogram_score,
)
from dpdm.evaluate.sections import SectionChoice
from dpdm.evaluate.table import Table
from dpdm.fields.grid import grid_of
from dpdm.fields.regrid import average_conservative
from dpdm.fields.subset import select_spatial
from tests.helpers.evaluation import COARSE, climatology_of, world
from tests.helpers.small_world import done, refused

Array = NDArray[np.floating]
JOINT = SectionChoice(frozenset({"joint"}))
EXACT = 1e-10  # float64 sums of at most 1e5 terms in another order
SMALL = {"lat": slice(8), "lon": slice(10)}


def small(seed: int, count: int = 3, members: int = 0) -> xr.Dataset:
    """Return t2m, tp and u10, of which t2m and u10 are correlated."""
    fields = world(seed, count, members).isel(SMALL)
    wind = 0.3 * (fields["t2m"] - 280) + (fields["tp"] - 3) ** 2 / 9
    fields["u10"] = wind.assign_attrs(units="m s-1")
    return fields


def joint_rows(table: Table) -> dict[str, dict[str, Any]]:
    """Return the joint rows by method."""
    return {row["method"]: row for row in table.sections["joint"].rows}


def standardise(fields: xr.Dataset, truth: xr.Dataset, centre: xr.Dataset) -> Array:
    """Return anomalies over the truth's area-weighted deviation, variables last."""
    areas = grid_of(truth).weights
    columns = []
    for name in truth.data_vars:
        values = (truth - centre)[name].transpose("time", "lat", "lon").values
        area = np.where(np.isnan(values), 0.0, np.broadcast_to(areas, values.shape))
        filled = np.nan_to_num(values)
        mean = np.average(filled, weights=area)
        deviation = np.average((filled - mean) ** 2, weights=area) ** 0.5
        dims = [d for d in ("realization", "time", "lat", "lon") if d in fields[name].dims]
        columns.append(((fields - centre)[name].transpose(*dims) / deviation).values)
    return np.stack(columns, -1)


def area_means(field: Array, truth: xr.Dataset) -> float:
    """Return the mean over times of area means (time, lat, lon) of finite cells."""
    areas = np.where(np.isnan(field), 0.0, grid_of(truth).weights)
    return float(np.mean((np.nan_to_num(field) * areas).sum((1, 2)) / areas.sum((1, 2))))


@pytest.mark.parametrize(("members", "variables"), [(2, 2), (7, 2), (7, 5), (33, 3)])
def test_scores_of_cells_are_those_of_scoringrules(members: int, variables: int) -> None:
    random = np.random.default_rng(members)
    x, y = random.normal(size=(members, variables, 50)), random.normal(size=(variables, 50))
    swapped = y.T, x.transpose(2, 0, 1)
    pairs = {
        scoringrules.es_ensemble: energy_score,
        scoringrules.vs_ensemble: variogram_score,
    }
    for oracle, score in pairs.items():
        expected = oracle(*swapped, estimator="fair")
        np.testing.assert_allclose(score(x, y), expected, rtol=EXACT, atol=1e-12)
        alone = oracle(y.T, x[:1].transpose(2, 0, 1), estimator="nrg")
        np.testing.assert_allclose(score(x[:1], y), alone, rtol=EXACT)


def test_correlations_are_those_of_numpy_whatever_the_missing_cells() -> None:
    random = np.random.default_rng(0)
    values, weights = random.normal(size=(4, 3, 60)) + 5, random.uniform(0.5, 1.5, 60)
    expected = np.corrcoef(np.concatenate(list(values), 1))
    found = correlation_matrix(moment_matrix(values, np.ones(60)))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    values[2, 1, 7] = np.nan
    columns = np.concatenate(list(values), 1)
    seen = np.isfinite(columns).all(0)
    cov = np.cov(columns[:, seen], aweights=np.tile(weights, 4)[seen])
    scale = np.sqrt(cov.diagonal())
    found = correlation_matrix(moment_matrix(values, weights))
    np.testing.assert_allclose(found, cov / np.outer(scale, scale), rtol=1e-9)
    constant = np.stack([values[0, 0], np.full(60, 3.0)])
    assert np.isnan(correlation_matrix(moment_matrix(constant, weights))[0, 1])


@pytest.mark.parametrize("origin", ["climatology", "own mean", "one time"])
def test_rows_are_the_area_means_of_standardised_scores(
    origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joint_fields, "BAND_VALUES", 500)  # many bands
    truth = small(0, 1 if origin == "one time" else 3)
    truth["tp"][0, 2, 3] = np.nan
    forecast = truth + 0.5 * (small(1, truth.sizes["time"], members=6) - small(2).mean())
    forecast = forecast.transpose("time", "lat", "realization", "lon")
    normal, centre = None, truth.mean("time") if origin == "own mean" else truth.mean() * 0.0
    if origin == "climatology":
        normal = climatology_of(small(3, 12))
        centre = normal.fields.sel(month=truth["time.month"])
    elif origin == "one time":
        centre = xr.Dataset(
            {n: truth[n].weighted(xr.DataArray(grid_of(truth).weights, dims=("lat", "lon"))).mean()
             for n in truth}
        )  # fmt: skip
    found = joint_rows(evaluate(forecast, truth, climatology=normal, sections=JOINT))
    x, y = standardise(forecast, truth, centre), standardise(truth, truth, centre)
    gap = np.isnan(y).any(-1)
    x = np.where(gap[..., None], np.nan, x)
    together, mean = found["ensemble of 6"], found["mean of 6"]
    energy = scoringrules.es_ensemble(y, x, m_axis=0, v_axis=-1, estimator="fair")
    assert together["energy_score"] == pytest.approx(area_means(energy, truth), rel=EXACT)
    variogram = scoringrules.vs_ensemble(y, x, m_axis=0, v_axis=-1, estimator="fair")
    assert together["variogram_score"] == pytest.approx(area_means(variogram, truth), rel=EXACT)
    distance = np.linalg.norm(x.mean(0) - y, axis=-1)
    assert mean["energy_score"] == pytest.approx(area_means(distance, truth), rel=EXACT)
    areas = np.broadcast_to(grid_of(truth).weights, gap.shape)
    ours, true = (
        np.cov(f[..., ~gap, :].reshape(-1, 3).T, aweights=np.tile(areas[~gap], n))
        for f, n in ((x, 6), (y, 1))
    )
    one, other = (c / np.sqrt(np.outer(c.diagonal(), c.diagonal())) for c in (ours, true))
    upper = np.triu_indices(3, 1)
    error = np.mean((one - other)[upper] ** 2) ** 0.5
    assert together["correlation_error"] == pytest.approx(error, rel=1e-8)
    pair = together["correlations"]["t2m, u10"]
    assert pair["forecast"] == pytest.approx(one[0, 2], rel=1e-8)
    assert pair["truth"] == pytest.approx(other[0, 2], rel=1e-8)


def test_a_perfect_forecast_has_no_joint_error() -> None:
    truth = small(0)
    row = joint_rows(evaluate(truth, truth, sections=JOINT))["forecast"]
    assert row["energy_score"] == row["variogram_score"] == row["correlation_error"] == 0
    assert row["variables"] == ["t2m", "tp", "u10"]
    assert "energy_score_ratio" not in row


def test_the_unit_of_a_variable_does_not_matter() -> None:
    truth, forecast = small(0), small(1, members=3)
    scaled = [
        f.assign(u10=(1e4 * f["u10"]).assign_attrs(units="m s-1")) for f in (forecast, truth)
    ]
    plain, other = (
        joint_rows(evaluate(f, t, sections=JOINT))["ensemble of 3"]
        for f, t in ((forecast, truth), scaled)
    )
    for key in ("energy_score", "variogram_score", "correlation_error"):
        assert other[key] == pytest.approx(plain[key], rel=1e-9)


def test_a_method_without_one_of_the_variables_is_absent_and_ratios_are_to_lerp() -> None:
    truth = world(0)
    coarse, mine = average_conservative(truth, COARSE), {"mine": truth[["tp"]] + 1}
    table = evaluate(truth + 1, truth, coarse, also=mine, sections=JOINT)
    found = joint_rows(table)
    assert list(found) == ["lerp", "forecast"]
    ratio = found["forecast"]["energy_score"] / found["lerp"]["energy_score"]
    assert found["forecast"]["energy_score_ratio"] == pytest.approx(ratio, rel=EXACT)
    assert found["lerp"]["energy_score_ratio"] == 1.0


def test_a_time_without_any_value_counts_for_nothing() -> None:
    truth, forecast = small(0), small(1, members=3)
    normal = climatology_of(small(3, 12))
    seen = truth["time"] != truth["time"][2]  # two months are left, and known as such
    left, right = (
        joint_rows(evaluate(forecast, t, climatology=normal, sections=JOINT))["ensemble of 3"]
        for t in (truth.where(seen), truth.isel(time=np.flatnonzero(seen)))
    )
    for key in ("energy_score", "variogram_score", "correlation_error"):
        assert left[key] == pytest.approx(right[key], rel=1e-9)


def test_one_variable_or_a_constant_one_is_refused_where_joint_scores_are_required() -> None:
    truth = small(0)
    with pytest.raises(DpdmError, match=r"two variables or more.* tp alone"):
        evaluate(truth[["tp"]], truth[["tp"]], sections=JOINT)
    dry = truth.assign(tp=(0.0 * truth["tp"] + 0.1).assign_attrs(units="mm day-1"))
    with pytest.raises(DpdmError, match="the truth's tp is the same at all cells"):
        evaluate(truth, dry, sections=JOINT)
    table = evaluate(truth, dry, sections=SectionChoice(has_all=True))
    assert not table.sections["joint"].rows
    assert any("the truth's tp is the same" in note for note in table.all_notes())


def test_a_constant_forecast_has_no_correlations() -> None:
    truth = small(0)
    still = xr.Dataset(
        {n: (0 * truth[n] + truth[n].mean("time")).assign_attrs(truth[n].attrs) for n in truth}
    )
    row = joint_rows(evaluate(still, truth, sections=JOINT))["forecast"]
    assert row["energy_score"] > 0
    assert "correlation_error" not in row


def test_many_variables_are_left_out_with_a_sentence_unless_required() -> None:
    truth = select_spatial(small(0, 1))
    many = xr.Dataset({f"v{i}": (truth["u10"] + i * truth["tp"]) for i in range(9)})
    table = evaluate(many, many, sections=SectionChoice(has_all=True))
    assert any("9 variables are many; --joint computes it" in note for note in table.all_notes())
    assert joint_rows(evaluate(many, many, sections=JOINT))


def test_the_command_prints_joint_scores_where_required_and_refuses_one_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    truth = small(0, 1)
    truth.to_netcdf("truth.nc")
    truth[["tp"]].to_netcdf("rain.nc")
    small(1, 1, members=3).to_netcdf("forecast.nc")
    command = "evaluate", "forecast.nc", "truth.nc", "--climatology", "none"
    assert "jointly" not in done(*command).stdout
    text = done(*command, "--joint").stdout
    assert "t2m, tp and u10, jointly" in text
    assert "- energy score: fair; of a single field the distance to the truth." in text
    found = json.loads(done(*command, "--json").stdout)
    assert [row["method"] for row in found["joint"]] == [
        "one member",
        "mean of 3",
        "ensemble of 3",
    ]
    refused("evaluate rain.nc rain.nc --climatology none --joint", "tp alone", "Omit --joint")
    refused("evaluate truth.nc forecast.nc --climatology none", "holds 3 members", "ncks -d")
    alone = json.loads(
        done("evaluate", "rain.nc", "rain.nc", "--climatology", "none", "--json").stdout
    )
    assert "joint" not in alone
    assert any(note.startswith("Left out, joint: ") for note in alone["notes"])
