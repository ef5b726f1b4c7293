"""What `dpdm assimilate` promises, on a small world whose stations are known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from tests.helpers.small_world import done, refused

COMMAND = "assimilate stations.csv out.nc --prior prior.safetensors"
COARSE = f"{COMMAND} --coarse coarse.nc"


@pytest.fixture
def seen(here: Path) -> pd.DataFrame:
    """Twelve stations that measured the fine world, exactly, in its first month."""
    fine = xr.open_dataset("fine.nc").isel(time=0).load()
    rng = np.random.default_rng(0)
    rows = []
    for number in range(12):
        i, j = int(rng.integers(4, 28)), int(rng.integers(4, 44))
        at = {"lat": float(fine["lat"][i]), "lon": float(fine["lon"][j])}
        for name, units in (("t2m", "K"), ("tp", "mm/day")):
            value = float(fine[name][i, j])
            row = {"station": f"s{number}", "time": "2000-01-16", **at}
            rows.append(row | {"variable": name, "value": value, "units": units, "error": 0.3})
    table = pd.DataFrame(rows)
    table.to_csv("stations.csv", index=False)
    return table


def members(path: str = "out.nc") -> np.ndarray:
    with xr.open_dataset(path) as ds:
        return ds["t2m"].transpose("realization", "time", "lat", "lon").values


def test_members_come_to_what_was_measured(seen: pd.DataFrame) -> None:
    done(*f"{COARSE} --members 6 --reject 0 --report report.csv --iterations 8".split())
    report = pd.read_csv("report.csv")
    assert list(report["row"]) == list(range(2, 26))
    assert set(report["status"]) == {"assimilated"}
    for name, rows in report.groupby("variable"):
        before, after = (np.sqrt((rows[c] ** 2).mean()) for c in ("innovation", "residual"))
        assert after < 0.5 * before, name
        assert (rows["analysis_spread"] < rows["prior_spread"]).mean() > 0.7, name
    done("downscale", "coarse.nc", "free.nc", "--prior", "prior.safetensors", "--members", 6)
    np.testing.assert_array_equal(members()[:, 1:], members("free.nc")[:, 1:])  # unobserved months


@pytest.mark.parametrize("guidance", ["sda", "mmps", "dps"])
def test_a_member_depends_on_its_number_alone(seen: pd.DataFrame, guidance: str) -> None:
    command = f"{COARSE} --guidance {guidance} --corrections 1 --reject 0"
    done(*f"{command} --members 3".split())
    three = members()
    done(*f"{command} --members 2 --overwrite".split())
    np.testing.assert_array_equal(three[:2], members())
    assert np.isfinite(three).all()


def test_withheld_stations_are_scored_and_not_seen(seen: pd.DataFrame) -> None:
    command = f"{COARSE} --members 3 --reject 0 --withhold 0.25 --report report.csv"
    result = done(*command.split())
    assert "t2m, withheld" in result.stdout
    report = pd.read_csv("report.csv")
    withheld = report[report["status"] == "withheld"]
    assert withheld["station"].nunique() == 3
    kept = seen[~seen["station"].isin(withheld["station"])]
    kept.to_csv("stations.csv", index=False)
    with_them = members()
    done(*f"{COARSE} --members 3 --reject 0 --overwrite".split())
    np.testing.assert_array_equal(members(), with_them)


def test_other_files_are_scored_and_not_seen(seen: pd.DataFrame) -> None:
    """Seven stations, of which two are also assimilated: all seven are scored only."""
    seen.iloc[10:].to_csv("others.csv", index=False)
    seen.iloc[:14].to_csv("stations.csv", index=False)
    command = f"{COARSE} --members 3 --reject 0 --verify others.csv --report report.csv"
    result = done(*command.split())
    assert "t2m, verification" in result.stdout
    assert "4 observations of 2 stations are also in the files for verification" in result.stderr
    report = pd.read_csv("report.csv")
    assert report["status"].value_counts().to_dict() == {
        "verification": 14, "assimilated": 10, "also in the files for verification": 4,
    }  # fmt: skip
    assert np.isfinite(report.loc[report["status"] == "verification", "analysis"]).all()
    with_them = members()
    with xr.open_dataset("out.nc") as ds:
        assert ds.attrs["dpdm_verification"] == "others.csv"
    seen.iloc[:10].to_csv("stations.csv", index=False)
    done(*f"{COARSE} --members 3 --reject 0 --overwrite".split())
    np.testing.assert_array_equal(members(), with_them)


def test_what_contradicts_itself_is_counted_and_not_used(seen: pd.DataFrame) -> None:
    """A row twice, and a row that differs; without the checks, both are merged."""
    other = seen.iloc[[0, 2]].assign(value=seen["value"].iloc[[0, 2]] + [0.0, 5.0])
    pd.concat([seen, other]).to_csv("stations.csv", index=False)
    command = f"{COARSE} --members 2 --reject 0 --report report.csv"
    result = done(*command.split())
    assert "t2m, duplicate" in result.stdout
    assert "t2m, ambiguous" in result.stdout
    report = pd.read_csv("report.csv")
    assert report["status"][24] == "duplicate of row 2 of stations.csv"
    assert report["status"][[2, 25]].str.startswith("ambiguous: ").all()
    assert (report["status"] == "assimilated").sum() == 23
    done(*f"{command} --qc none --overwrite".split())
    assert pd.read_csv("report.csv")["status"].str.startswith("merged into row").sum() == 2
    with xr.open_dataset("out.nc") as ds:
        assert ds.attrs["dpdm_qc"] == "none"


def test_blocks_are_withheld_and_the_share_is_said(seen: pd.DataFrame) -> None:
    command = f"{COARSE} --members 2 --reject 0 --report report.csv"
    result = done(*f"{command} --withhold 0.25 --withhold-blocks 500km".split())
    report = pd.read_csv("report.csv")
    withheld = report.loc[report["status"] == "withheld", "station"].nunique()
    assert f"{withheld} of 12 stations ({withheld / 12:.3g}) are withheld" in result.stderr
    assert "t2m, withheld" in result.stdout


def test_the_file_says_what_it_was_made_from(seen: pd.DataFrame) -> None:
    done(*f"{COARSE} --members 2 --guidance sda --gamma 0.05 --error tp=0.5".split())
    with xr.open_dataset("out.nc") as ds:
        assert ds["t2m"].dims == ("time", "realization", "lat", "lon")
        assert ds.attrs["dpdm_guidance"] == "sda"
        assert ds.attrs["dpdm_gamma"] == "0.05"
        assert ds.attrs["dpdm_input"] == "stations.csv coarse.nc"
        assert "stations.csv" in ds.attrs["title"]
        assert {"t2m_mean", "tp_spread", "t2m_p50"} <= set(ds)


def test_an_absurd_observation_is_turned_away(seen: pd.DataFrame) -> None:
    seen.loc[0, "value"] += 30
    seen.to_csv("stations.csv", index=False)
    done(*f"{COARSE} --members 2 --reject 9 --report report.csv".split())
    report = pd.read_csv("report.csv")
    assert report["status"][0].startswith("rejected: ")
    assert np.isfinite(report["analysis"][0])


def test_without_coarse_fields_the_target_says_where_and_when(seen: pd.DataFrame) -> None:
    done(*f"{COMMAND} --grid fine.nc --members 2 --reject 0 --report report.csv".split())
    assert members().shape == (2, 3, 32, 48)
    assert np.isfinite(members()).all()
    report = pd.read_csv("report.csv")
    rows = report[report["variable"] == "t2m"]
    assert (rows["residual"].abs() < rows["innovation"].abs()).mean() > 0.8


def test_a_coarse_field_that_may_be_wrong_is_mended_beyond_the_stations(
    seen: pd.DataFrame,
) -> None:
    """All stations say three kelvin more: so is the whole field, and rain is never negative."""
    seen.loc[seen["variable"] == "t2m", "value"] += 3
    seen.to_csv("stations.csv", index=False)
    command = f"{COARSE} --members 4 --reject 0 --overwrite --coarse-error tp=0.5"
    done("downscale", "coarse.nc", "free.nc", "--prior", "prior.safetensors", "--members", 4)
    done(*f"{command} --coarse-error t2m=4 --coarse-length 1500 --report report.csv".split())
    moved = (members() - members("free.nc"))[:, 0].mean()
    assert 1.5 < moved < 4.5
    assert (xr.open_dataset("out.nc")["tp"] >= 0).all()
    rows = pd.read_csv("report.csv").query("variable == 't2m'")
    assert rows["residual"].abs().mean() < 0.3 * rows["innovation"].abs().mean()
    unseen = members()[:, 1] - members("free.nc")[:, 1]
    assert unseen.std(0).mean() > 2  # a month without stations may be wrong all the same


@pytest.mark.parametrize(
    ("tail", "what", "code"),
    [
        ("--coarse coarse.nc --coarse-error sp=1", "--coarse-error names sp", 1),
        ("--coarse coarse.nc --coarse-error t2m=-1", "coarse error of t2m is -1", 1),
        ("--coarse coarse.nc --coarse-length 9", "--coarse-length requires --coarse-error", 2),
        ("--grid fine.nc --coarse-error t2m=1", "there is no --coarse", 1),
        ("", "Neither coarse fields nor a target grid", 1),
        ("--coarse coarse.nc --gamma 1", "--gamma belongs to --guidance sda", 1),
        ("--coarse coarse.nc --tau 1", "--tau is the length of corrections", 1),
        ("--coarse coarse.nc --error t2m=0", "error of t2m is 0", 1),
        ("--coarse coarse.nc --error t2m", "not of the form NAME=VALUE", 2),
        ("--coarse coarse.nc --report stations.csv", "stations.csv is an input too", 1),
        ("--coarse coarse.nc --report report.txt", "report.txt ends in '.txt'", 1),
        ("--coarse coarse.nc --withhold 1", "1.0 is not in the range", 2),
        ("--coarse coarse.nc --withhold-blocks 9km", "--withhold-blocks requires --withhold", 2),
        ("--coarse coarse.nc --withhold 0.5 --withhold-blocks 9", "as in 100km", 2),
        ("--coarse coarse.nc --verify no.csv", "no.csv", 1),
        ("--coarse missing.nc", "missing.nc", 1),
    ],
)
def test_what_cannot_be_is_refused(seen: pd.DataFrame, tail: str, what: str, code: int) -> None:
    refused(f"{COMMAND} {tail}", what, code=code)


def test_stations_elsewhere_or_of_other_variables_are_refused(seen: pd.DataFrame) -> None:
    seen.assign(lat=-seen["lat"]).to_csv("stations.csv", index=False)
    refused(COARSE, "No observation is left of 24: 24 outside the domain")
    seen.assign(variable="u10", units="m/s", value=5.0).to_csv("stations.csv", index=False)
    refused(f"{COARSE} --qc none", "24 not a variable of the prior")
