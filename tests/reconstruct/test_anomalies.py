"""The adjustment of a plan to the climatology: as dpdm downscale --reference-period."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.prior import load_prior
from dpdm.reconstruct.setup import ReconstructionSetup, prepare_reconstruction
from dpdm.states.field_domain import fit_field_space
from dpdm.states.options import EnsembleOptions
from tests.helpers.climate_model import model_months
from tests.helpers.monthly_files import add, bare
from tests.helpers.reconstruction import opened, plan
from tests.helpers.small_world import Taught, done, refused, world

KEYS = 'method = "anomalies"\nreference = ["{}", "{}"]'
YEARS = ("1996", "2001")


@pytest.fixture
def site(tmp_path: Path, taught: Taught, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six years of a model in two files, and the climatology of the small world."""
    model = model_months(first=1996, warm=3, wet=1.5)
    for number in (0, 1):
        model.isel(time=slice(36 * number, 36 * number + 36)).to_netcdf(
            tmp_path / f"in_{number}.nc"
        )
    model.to_netcdf(tmp_path / "gcm.nc")
    world(24).to_netcdf(tmp_path / "normals.nc")
    return bare(tmp_path, taught, monkeypatch)


def write_plan(site: Path, years: Sequence[str] = YEARS, box: str = "") -> None:
    plan(site, members=0, input='period = ["2001-11", "2001-12"]')
    add("adjust", KEYS.format(*years))
    add("prior", 'climatology = "normals.nc"\nclimatology_period = ["2001", "2001"]')
    if box:
        add("output", f"bbox = {box}")


def prepared(site: Path, years: Sequence[str] = YEARS, box: str = "") -> ReconstructionSetup:
    write_plan(site, years, box)
    return prepare_reconstruction(site / "plan.toml")


@pytest.mark.parametrize("box", ["", "[112, 124, 30, 40]"])
def test_a_plan_and_the_command_adjust_alike(site: Path, box: str) -> None:
    setup = prepared(site, box=box)
    options = EnsembleOptions(
        device="cpu", bbox=(112, 124, 30, 40) if box else None, reference_period=YEARS,
        climatology="normals.nc", climatology_period=("2001", "2001"),
    )  # fmt: skip
    prior = load_prior(site / "prior.safetensors")
    space = fit_field_space(site / "gcm.nc", prior, options, None, None)
    for unit, step in zip(setup.units, (70, 71), strict=True):
        ours, its = setup.read_unit_input(unit).coarse, space.coarse_step(step)
        for name in ("t2m", "tp"):
            np.testing.assert_allclose(ours[name].squeeze("time"), its[name], rtol=1e-12)


def test_the_table_and_the_files_name_the_climatology(site: Path) -> None:
    setup = prepared(site)
    rows = {(row["variable"], row["method"]): row for row in setup.adjustment.table()}
    assert abs(rows["t2m", "unadjusted"]["bias"]) > 1
    assert abs(rows["t2m", "anomalies-adjusted"]["bias"]) < 1e-6
    done("reconstruct", "plan.toml", "out")
    with opened(Path("out")) as ds:
        assert ds.attrs["dpdm_adjustment"] == (
            "Adjusted, month by month, from the mean of the input's 1996-01 to 2001-12 to that of "
            "the climatology normals.nc (2001-01 to 2001-12)."
        )
        assert ds.sizes["time"] == 2


def test_other_periods_and_short_ones_are_said(site: Path) -> None:
    with pytest.warns(DpdmWarning) as said:
        prepared(site, ("1996", "1998"))
    words = [str(each.message) for each in said]
    assert words[0].startswith("The reference period, 1996-01 to 1998-12, has fewer than 5 years")
    assert re.match(
        r"t2m of the input \(1996-01 to 1998-12\) is on average .* K (higher|lower) than in the "
        r"climatology normals.nc \(2001-01 to 2001-12\), and the two periods do not overlap",
        words[1],
    )


def test_a_period_beyond_the_input_names_the_keys(site: Path) -> None:
    write_plan(site, ("1961", "1990"))
    refused(
        "reconstruct plan.toml out",
        "The input is from 1996-01 to 2001-12, reference in .adjust. is from 1961-01 to 1990-12",
        "or add its files to files in [input].",
    )


def test_a_plan_without_a_climatology_names_the_key(site: Path) -> None:
    plan(site, members=0)
    add("adjust", KEYS.format(*YEARS))
    add("prior", 'climatology = "none"')
    with pytest.raises(DpdmError, match="no climatology of t2m, tp around the input") as fault:
        prepare_reconstruction(site / "plan.toml")
    assert 'set method = "none" in [adjust]' in fault.value.hint
