"""What an output says of itself, and what a command says of its output."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.fields.read import open_fields
from tests.helpers.small_world import Taught, coarse_world, done

needs_both = pytest.mark.skipif(
    shutil.which("cdo") is None or shutil.which("ncks") is None, reason="cdo or nco is not here"
)


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    coarse_world().to_netcdf(tmp_path / "coarse.nc")
    return tmp_path / "coarse.nc"


def drawn(taught: Taught, source: Path, *words: object) -> xr.Dataset:
    """Downscale a file with the small prior, in few steps, and open what came out."""
    target = source.with_name("out.nc")
    done("downscale", source, target, "--prior", taught.prior, "--steps", 2, *words)
    with xr.open_dataset(target) as out:
        return out.load()


def test_history_grows_on_top_as_with_cdo(coarse: Path, taught: Taught) -> None:
    coarse_world().assign_attrs(history="made by hand").to_netcdf(coarse)
    lines = drawn(taught, coarse, "--mean").attrs["history"].splitlines()
    assert lines[1:] == ["made by hand"]
    assert ": dpdm" in lines[0]


@needs_both
def test_cdo_and_nco_go_on_with_the_history(coarse: Path, taught: Taught) -> None:
    files = [str(coarse.with_name(name)) for name in ("out.nc", "cdo.nc", "nco.nc")]
    drawn(taught, coarse, "--mean")
    subprocess.run(["cdo", "-s", "copy", *files[:2]], check=True)
    subprocess.run(["ncks", "-O", *files[1:]], check=True, capture_output=True)
    with xr.open_dataset(files[2]) as ds:
        lines = ds.attrs["history"].splitlines()
    assert [re.search(r": (\w+)\b", line)[1] for line in lines] == ["ncks", "cdo", "dpdm"]


def test_a_mean_claims_neither_seed_nor_sampler(coarse: Path, taught: Taught) -> None:
    attrs = drawn(taught, coarse, "--mean").attrs
    assert {key for key in attrs if key.startswith("dpdm_")} == {
        "dpdm_prior", "dpdm_prior_sha256", "dpdm_input", "dpdm_input_sha256", "dpdm_consistent",
    }  # fmt: skip
    assert attrs["title"].startswith("Ensemble means of fine fields")


def test_statistics_say_what_they_are(coarse: Path, taught: Taught) -> None:
    ds = coarse_world()
    ds["tp"].attrs |= {"long_name": "total precipitation", "cell_methods": "time: mean"}
    ds["t2m"].attrs["cell_methods"] = "time: mean"
    ds.to_netcdf(coarse)
    out = drawn(taught, coarse, "--members", 2)
    for name, words in (("t2m", "2 metre temperature"), ("tp", "total precipitation")):
        assert out[name].attrs["long_name"] == words
        for statistic in ("mean", "spread", "p10", "p50", "p90"):
            assert out[f"{name}_{statistic}"].attrs["long_name"].endswith(f" of {words}")
    methods = {s: out[f"t2m_{s}"].attrs["cell_methods"] for s in ("mean", "spread", "p50", "p90")}
    assert methods == {
        "mean": "time: mean realization: mean",
        "spread": "time: mean realization: standard_deviation",
        "p50": "time: mean realization: median",
        "p90": "time: mean",  # CF has no method for it: the comment says it
    }
    assert out["t2m_p90"].attrs["comment"].startswith("Percentile over realization")
    assert out["t2m_spread"].attrs["units_metadata"] == "temperature: difference"
    assert out["t2m_p90"].attrs["units_metadata"] == "temperature: on_scale"


def test_statistics_alone_are_read_back_as_their_mean(coarse: Path, taught: Taught) -> None:
    stats = drawn(taught, coarse, "--members", 3, "--keep", "stats")
    back = open_fields(coarse.with_name("out.nc"))
    for name in ("t2m", "tp"):
        np.testing.assert_array_equal(back[name], stats[f"{name}_mean"])
        assert f"{name}_spread" in back


def test_a_finished_command_says_what_it_wrote(coarse: Path, taught: Taught) -> None:
    out = coarse.with_name("out.nc")
    command = ("downscale", coarse, out, "--prior", taught.prior, "--steps", 2, "--overwrite")
    for words, said in (
        (("--members", 2), "3 steps, 2 members, 32 x 48 cells"),
        (("--members", 2, "--keep", "stats"), "3 steps, 32 x 48 cells"),
        (("--mean",), "3 steps, 32 x 48 cells"),
    ):
        result = done(*command, *words)
        where = "of 1 degrees, longitude 100 to 148, latitude 20 to 52"
        assert (result.stdout, result.stderr) == ("", f"Wrote {out}: {said} {where}\n")
    assert done(*command, "--mean", "-q").stderr == ""
    coarse_world(1).isel(time=0, drop=True).to_netcdf(lone := coarse.with_name("lone.nc"))
    store = coarse.with_name("out.zarr")
    assert done("lerp", lone, store, "--factor", 2).stderr == (
        f"Wrote {store}: 16 x 24 cells of 2 degrees, longitude 100 to 148, latitude 20 to 52\n"
    )
    one = done("coarsen", out, coarse.with_name("c.nc"), "--factor", 32 // 2, "--var", "t2m=t2m")
    assert "c.nc: 3 steps, 2 x 3 cells of 16 degrees, longitude 100 to 148" in one.stderr
