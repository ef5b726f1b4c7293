"""Promise: the IOOS Compliance Checker finds no error in what dpdm writes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.reconstruction import settle
from tests.helpers.small_world import FACTOR, Taught, coarse_world, done

pytest.importorskip("compliance_checker")
SUITES = ("cf:1.11", "acdd:1.3")
OBSERVED = """station,lat,lon,time,variable,value,unit
A,35.2,110.3,2000-01,t2m,290,K
B,40.1,120.7,2000-01,t2m,285,K
"""


def judged(*files: Path) -> str:
    """Return what is wrong by the rules that the conventions call binding."""
    suites = [word for name in SUITES for word in ("-t", name)]
    checker = str(Path(sys.executable).with_name("compliance-checker"))
    words = [checker, *suites, "--criteria", "lenient", *map(str, files)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.stdout.count("Report generated") == len(SUITES) * len(files), ran.stderr
    return ran.stdout if ran.returncode else ""


def test_products_have_no_error(
    taught: Taught, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(tmp_path, taught, monkeypatch)
    coarse_world(2).to_netcdf("coarse.nc")
    Path("seen.csv").write_text(OBSERVED)
    few = ("--prior", "prior.safetensors", "--members", 2, "--steps", 2)
    done("downscale", "coarse.nc", "a_members.nc", *few)
    done("downscale", "coarse.nc", "a_mean.nc", *few[:2], "--mean")
    done("assimilate", "seen.csv", "an_analysis.nc", "--coarse", "coarse.nc", *few)
    done("coarsen", "a_mean.nc", "a_coarse.nc", "--factor", FACTOR)
    done("lerp", "coarse.nc", "a_lerp.nc", "--grid", "a_mean.nc")
    done("export", "a_members.nc", "an_export.nc", "--stat", "p90", "--bbox", "110,120,30,40")
    done("reconstruct", "plan.toml", "fine")
    made = [*sorted(Path().glob("a*_*.nc")), *sorted(Path("fine").glob("fine_*.nc"))]
    assert len(made) == 8
    assert judged(*made) == ""


def test_an_error_would_be_seen(tmp_path: Path) -> None:
    coarse_world(2).to_netcdf(tmp_path / "bare.nc")
    assert "Highly Recommended" in judged(tmp_path / "bare.nc")
