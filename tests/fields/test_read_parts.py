"""Files of which a part is odd: versions side by side, groups, variables that cannot be read."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.read import OmittedVariableWarning, open_fields
from dpdm.fields.value_checks import load_checked_fields
from dpdm.info import describe_file
from tests.helpers.odd_files import fields
from tests.helpers.small_world import done


def both_versions() -> xr.Dataset:
    """Make ERA5 and ERA5T as the Climate Data Store gave them until 2024: months in one of two."""
    final = fields()["tas"].rename("t2m").astype("f8")
    first = final.where(final["time"].dt.month < 3)
    last = final.where(final["time"].dt.month == 3)
    versions = xr.concat([first, last], xr.DataArray([1, 5], dims="expver", name="expver"))
    return versions.transpose("time", "expver", "lat", "lon").to_dataset()


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_preliminary_version_fills_the_final_one(tmp_path, order):
    packed = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767}
    both_versions().isel(expver=order).to_netcdf(tmp_path / "a.nc", encoding={"t2m": packed})
    out = load_checked_fields(open_fields(tmp_path / "a.nc"))
    assert out["t2m"].dtype == np.float32
    np.testing.assert_allclose(out["t2m"], fields()["tas"], atol=0.006)


def test_the_final_version_goes_before_the_preliminary_one(tmp_path):
    ds = both_versions()
    ds["t2m"][0, 1] = 200.0
    ds.to_netcdf(tmp_path / "a.nc")
    np.testing.assert_allclose(open_fields(tmp_path / "a.nc")["t2m"], fields()["tas"], rtol=1e-6)


def grouped_netcdf(path: Path) -> None:
    fields().to_netcdf(path, group="forecast")
    fields().rename(tas="tos").to_netcdf(path, group="sea/surface", mode="a")


def test_a_file_of_groups_names_them(tmp_path):
    grouped_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError, match=r"groups: forecast \(tas\); sea/surface \(tos\)"):
        open_fields(tmp_path / "a.nc")
    assert describe_file(tmp_path / "a.nc")["groups"] == {"forecast": "tas", "sea/surface": "tos"}


def test_groups_beside_fields_are_named_and_do_no_harm(tmp_path):
    fields().to_netcdf(tmp_path / "a.nc")
    fields().to_netcdf(tmp_path / "a.nc", group="old", mode="a")
    found = describe_file(tmp_path / "a.nc")
    assert (list(found["variables"]), found["groups"]) == (["t2m"], {"old": "tas"})


@pytest.mark.skipif(shutil.which("ncks") is None, reason="NCO is not here")
def test_the_command_for_groups_takes_one_out(tmp_path):
    grouped_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError) as refusal:
        open_fields(tmp_path / "a.nc")
    command = refusal.value.hint.split(": ", 1)[1].rstrip(".")
    words = command.replace("IN.nc", "a.nc").replace("OUT.nc", "b.nc").split()
    subprocess.run(words, check=True, cwd=tmp_path)
    assert load_checked_fields(open_fields(tmp_path / "b.nc")).equals(
        load_checked_fields(open_fields_of(tmp_path))
    )


def open_fields_of(folder: Path) -> xr.Dataset:
    fields().to_netcdf(folder / "c.nc")
    return open_fields(folder / "c.nc")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_group_of_a_store_is_opened_by_its_path(tmp_path, zarr_format):
    path = tmp_path / "a.zarr"
    fields().to_zarr(path, group="runs/one", zarr_format=zarr_format, consolidated=False)
    with pytest.raises(DpdmError, match=r"groups: runs/one \(tas\)") as refusal:
        open_fields(path)
    assert str(path / "runs/one") in refusal.value.hint
    assert set(open_fields(path / "runs/one").data_vars) == {"t2m"}


ODD = {
    "rain": (("time", "lat", "lon"), np.ones((3, 7, 12), "f4"), {"units": "bananas"}),
    "soil": (("time", "depth", "lat", "lon"), np.ones((3, 2, 7, 12), "f4"), {"units": "K"}),
}


def test_a_variable_of_no_use_leaves_the_others(tmp_path):
    fields().assign(soil=ODD["soil"]).to_netcdf(tmp_path / "a.nc")
    with pytest.warns(
        OmittedVariableWarning, match="soil is left out: soil has a dimension depth of 2"
    ):
        assert set(open_fields(tmp_path / "a.nc").data_vars) == {"t2m"}
    with pytest.raises(DpdmError, match="depth"):
        open_fields(tmp_path / "a.nc", rename={"t2m": "soil"})


def test_a_known_variable_that_cannot_be_read_is_refused_where_it_is_needed(tmp_path):
    fields().assign(rain=ODD["rain"]).to_netcdf(tmp_path / "a.nc")
    with pytest.raises(DpdmError, match="bananas"):
        open_fields(tmp_path / "a.nc")
    with pytest.warns(OmittedVariableWarning, match="bananas"):
        assert set(open_fields(tmp_path / "a.nc", needed=["tas"]).data_vars) == {"t2m"}
    with pytest.raises(DpdmError, match="bananas"):
        open_fields(tmp_path / "a.nc", needed=["tp"])


def test_a_description_lists_what_cannot_be_read(tmp_path):
    fields().assign(ODD).to_netcdf(tmp_path / "a.nc")
    found = describe_file(tmp_path / "a.nc")
    assert list(found["variables"]) == ["t2m"]
    assert {name: word.split()[0] for name, word in found["unreadable"].items()} == {
        "rain": "'bananas'", "soil": "soil",
    }  # fmt: skip


def test_an_export_of_one_variable_minds_no_other(tmp_path):
    fields().assign(ODD).to_netcdf(tmp_path / "a.nc")
    done("export", tmp_path / "a.nc", tmp_path / "b.nc", "--variable", "t2m")
    assert "rain is left out" in done("export", tmp_path / "a.nc", tmp_path / "c.nc",
                                      "--variable", "tas").stderr  # fmt: skip


def test_text_on_the_grid_and_a_rotated_companion_do_no_harm(tmp_path):
    ds = fields().assign(flag=(("lat", "lon"), np.full((7, 12), "land")))
    ds["wind"] = (("rlat", "rlon"), np.ones((2, 3)), {"grid_mapping": "pole"})
    ds["pole"] = xr.DataArray(0, attrs={"grid_mapping_name": "rotated_latitude_longitude"})
    ds["rlat"] = ("rlat", [1.0, 2.0], {"standard_name": "grid_latitude"})
    ds.to_netcdf(tmp_path / "a.nc")
    assert set(open_fields(tmp_path / "a.nc").data_vars) == {"t2m"}


def test_a_time_that_is_not_the_axis_may_be_unreadable(tmp_path):
    moons = {"units": "moons since 2000-01-01"}
    fields().assign(issued=((), 3.0, moons)).to_netcdf(tmp_path / "a.nc")
    assert open_fields(tmp_path / "a.nc").sizes["time"] == 3
    fields(time=[1, 2, 3]).assign_coords(time=("time", [1, 2, 3], moons)).to_netcdf(
        tmp_path / "b.nc"
    )
    with pytest.raises(DpdmError, match="counts 'moons'"):
        open_fields(tmp_path / "b.nc")
