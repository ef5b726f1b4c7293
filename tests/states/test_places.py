"""Members belong to places: a box has the members of the region, wherever its longitudes turn."""

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.fields.grid import Grid
from dpdm.prior import load_prior
from dpdm.states.field_domain import fit_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions
from tests.helpers.gaussian_prior import opened_file
from tests.helpers.small_world import coarse_world, done

DRAW = "--prior prior.safetensors --members 4 --steps 4 --keep all"
BELT = Grid(np.arange(-15.5, 16, 1.0), np.arange(0.5, 360, 1.0))


def turned(fields: xr.Dataset) -> xr.Dataset:
    """Return the same cells from 180 degrees west to 180 degrees east."""
    return fields.assign_coords(lon=(fields["lon"] + 180) % 360 - 180).sortby("lon")


def space(path: str, **rest: object) -> FieldSpace:
    prior = load_prior(Path("prior.safetensors"))
    return fit_field_space(Path(path), prior, EnsembleOptions(**rest), None, None)  # type: ignore[arg-type]


def assert_same_members(box: xr.Dataset, whole: xr.Dataset) -> None:
    """Members of a box are those of the whole to a tenth of their spread in the mean."""
    whole = whole.assign_coords(lon=whole["lon"] % 360).sel(lat=box["lat"], lon=box["lon"] % 360)
    for name in ("t2m", "tp"):
        spread = float(whole[f"{name}_spread"].mean())
        apart = np.abs(box[name].values - whole[name].values).mean(axis=(0, 2, 3))
        others = np.abs(whole[name].values - np.roll(whole[name].values, 1, axis=1)).mean()
        assert (apart < 0.1 * spread).all(), (name, apart / spread)
        assert others > 0.5 * spread


def test_a_box_has_the_members_of_the_region(here: Path) -> None:
    done(*f"downscale coarse.nc out.nc {DRAW}".split())
    done(*f"downscale coarse.nc box.nc {DRAW} --bbox 114,124,30,42".split())
    assert_same_members(opened_file("box.nc"), opened_file("out.nc"))


def test_a_box_of_the_bundled_prior_has_the_members_of_the_region(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever its edge lies between cells of the network's lower resolutions."""
    monkeypatch.chdir(tmp_path)
    sample = Path(__file__).parents[2] / "sample_data" / "east_asia_coarse.nc"
    with xr.open_dataset(sample) as ds:
        ds.isel(time=[0]).sel(lat=slice(28, 48), lon=slice(115, 140)).to_netcdf("january.nc")
    draw = "--members 2 --steps 4 --keep all"
    done(*f"downscale january.nc out.nc {draw}".split())
    for box in ("123,131,33,39", "124.3,128.6,34.7,38"):
        done(*f"downscale january.nc box.nc {draw} --overwrite --bbox {box}".split())
        assert_same_members(opened_file("box.nc"), opened_file("out.nc"))


@pytest.mark.parametrize("suffix", ["", "/2"])
def test_the_noise_of_a_box_is_that_of_the_region(here: Path, suffix: str) -> None:
    whole, box = space("coarse.nc"), space("coarse.nc", bbox=(114, 124, 30, 42))
    found = box.noise(1, 7)([0, 3], suffix)
    rows, columns = (
        np.flatnonzero(np.isin(a, b))
        for a, b in ((whole.grid.lat, box.grid.lat), (whole.grid.lon, box.grid.lon))
    )
    expected = whole.noise(1, 7)([0, 3], suffix)[:, :, rows][..., columns]
    assert found.shape[-2:] == box.grid.shape
    assert torch.equal(found, expected)
    assert not torch.equal(found, box.noise(0, 7)([0, 3], suffix))


def test_members_do_not_know_where_the_longitudes_of_a_file_begin(here: Path) -> None:
    belt = coarse_world(1, grid=BELT)
    belt.to_netcdf("east.nc")
    turned(belt).to_netcdf("west.nc")
    done(*f"downscale east.nc out.nc {DRAW}".split())
    done(*f"downscale west.nc west_out.nc {DRAW}".split())
    done(*f"downscale west.nc box.nc {DRAW} --bbox 175,-175,-8,8".split())
    whole = opened_file("out.nc")
    assert_same_members(opened_file("west_out.nc"), whole)
    assert_same_members(opened_file("box.nc"), whole)
