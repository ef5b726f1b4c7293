"""The reference climatology of a space of fields: its choice, its coarse means, and its place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.reference_climatology import bundled_climatology, open_climatology
from dpdm.fields.regrid import coarsen_fields, interpolate_bilinear
from dpdm.info.prior import describe_prior
from dpdm.prior import Prior, load_prior, save_prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec, count_conditioning_channels
from dpdm.states.field_domain import fit_field_space, open_field_file
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions, FieldConditioning

NET = {"read": (4, 4, 4), "widths": (4, 4), "depth": 1}
FINE = Grid(np.arange(16.125, 28, 0.25), np.arange(96.125, 112, 0.25))
UNITS = {"t2m": "K", "tp": "mm day-1"}


def prior_with(reference: tuple[float, ...] = (1.0, 1.0, 1.0), **rest: Any) -> Prior:
    kinds = {"t2m": ("identity", 285.0, 10.0), "tp": ("log1p", 1.0, 0.5)}
    channels = tuple(
        VariableSpec(n, "", n, UNITS[n], *kind, ((4.0, 1.0),), reference=reference)
        for n, kind in kinds.items()
    )
    net = NET | {"given": count_conditioning_channels(2, bool(reference))}
    contract = ModelCard((0.25, 0.25), (4, 4), 32, 30.4, (0.002, 80.0), net, rest.pop("card", {}))
    return Prior(new_denoiser(2, net), Normaliser(channels), contract, **rest)


def climate(grid: Grid = FINE, months: tuple[int, ...] = tuple(range(1, 13))) -> xr.Dataset:
    """Return the bundled climatology as a file of months of 2001."""
    found = open_climatology("era5", grid, ["t2m", "tp"])
    assert found is not None
    fields = found.fields.sel(month=list(months)).rename(month="time")
    time = [np.datetime64(f"2001-{month:02d}-15", "ns") for month in months]
    return fields.assign_coords(time=time)


@pytest.fixture
def coarse(tmp_path: Path) -> Path:
    coarsen_fields(climate(months=(1, 7, 8)), 4).to_netcdf(tmp_path / "coarse.nc")
    return tmp_path / "coarse.nc"


def space_of(path: Path, prior: Prior, **options: Any) -> FieldSpace:
    return fit_field_space(path, prior, EnsembleOptions(**options), None, None)


def test_the_reference_is_the_climate_of_the_step_and_its_own_lerp(coarse):
    space = space_of(coarse, prior_with())
    assert space.grid.is_same(FINE)
    given = space.conditioning(1)
    assert given.reference is not None
    fine, smooth = given.reference
    july = climate(months=(7,)).isel(time=0)
    for number, name in enumerate(UNITS):
        np.testing.assert_allclose(fine[number], july[name].values, rtol=1e-6)
    # The coarse fields are the climatology's own means, so the lerp of both is the same.
    np.testing.assert_allclose(smooth, given.lerp, atol=1e-4)
    assert fine.dtype == smooth.dtype == torch.float64


def test_a_part_has_the_reference_of_the_whole_across_its_edges(coarse):
    whole, part = (
        space_of(coarse, prior_with(), bbox=box, mask=None) for box in (None, (101, 105, 20, 24))
    )
    inner, found = whole.conditioning(2).reference, part.conditioning(2).reference
    assert inner is not None
    assert found is not None
    rows = np.isin(whole.grid.lat.round(3), part.grid.lat.round(3))
    columns = np.isin(whole.grid.lon.round(3), part.grid.lon.round(3))
    for each, other in zip(inner, found, strict=True):
        np.testing.assert_allclose(each[:, rows][:, :, columns], other, atol=2e-5)


def test_without_coarse_fields_there_is_no_lerp(tmp_path):
    climate(months=(3,)).to_netcdf(tmp_path / "target.nc")
    space = fit_field_space(None, prior_with(), EnsembleOptions(), tmp_path / "target.nc", None)
    reference = space.conditioning(0).reference
    assert reference is not None
    np.testing.assert_allclose(reference[0][0], climate(months=(3,))["t2m"][0].values)
    assert bool(reference[1].isnan().all())


def test_states_of_a_file_have_one(tmp_path):
    climate(months=(3,)).to_netcdf(tmp_path / "state.nc")
    space = open_field_file(
        tmp_path / "state.nc", prior_with(), EnsembleOptions(), FieldConditioning()
    )
    reference = space.conditioning(0).reference
    assert reference is not None
    np.testing.assert_allclose(*reference, atol=20)
    assert space.notes["climatology"] == "era5"


def test_a_variable_that_it_lacks_is_missing(coarse, tmp_path):
    climate()[["t2m"]].to_netcdf(tmp_path / "normals.nc")
    with pytest.warns(DpdmWarning, match="monthly means are not stated"):
        space = space_of(coarse, prior_with(), climatology=str(tmp_path / "normals.nc"))
    reference = space.conditioning(0).reference
    assert reference is not None
    for part in reference:
        assert bool(part[0].isfinite().all())
        assert bool(part[1].isnan().all())
    assert space.notes["climatology"] == "normals.nc"
    assert len(str(space.notes["climatology_sha256"])) == 64


def test_a_prior_without_reference_uses_none_and_refuses_one(coarse):
    prior = prior_with(reference=())
    assert not prior.takes_reference
    for choice in ("", "none"):
        space = space_of(coarse, prior, climatology=choice)
        assert space.conditioning(0).reference is None
        assert "climatology" not in space.notes
    with pytest.raises(DpdmError, match="this one was not") as fault:
        space_of(coarse, prior, climatology="era5")
    assert "--climatology era5" in fault.value.what


def test_none_leaves_it_out_and_is_noted(coarse):
    space = space_of(coarse, prior_with(), climatology="none")
    assert space.conditioning(0).reference is None
    assert space.notes["climatology"] == "none"


def own(grid: Grid = FINE) -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(0)
    fields = torch.from_numpy(rng.uniform(280, 290, (12, 2, *grid.shape)))
    return {"fields": fields, "lat": torch.from_numpy(grid.lat), "lon": torch.from_numpy(grid.lon)}


def test_the_priors_own_comes_first_where_it_covers(coarse):
    prior = prior_with(card={"period": ["2005-01-01", "2011-12-31"]})
    prior = replace(prior, reference=own())
    space = space_of(coarse, prior)
    reference = space.conditioning(1).reference
    assert reference is not None
    np.testing.assert_allclose(reference[0], prior.reference["fields"][6])
    notes = {"climatology": "prior's own", "climatology_period": "2005-01 to 2011-12"}
    assert space.notes == notes
    assert space_of(coarse, prior, climatology="era5").notes["climatology"] == "era5"
    elsewhere = replace(prior, reference=own(Grid(FINE.lat, FINE.lon + 30)))
    assert space_of(coarse, elsewhere).notes["climatology"] == "era5"


def test_the_own_one_is_found_on_another_turn_and_phase(coarse):
    turned = Grid(FINE.lat - 0.1, FINE.lon - 360)
    stored = own(turned) | {"fields": torch.ones(12, 2, *turned.shape)}
    found = space_of(coarse, replace(prior_with(), reference=stored)).conditioning(0).reference
    assert found is not None
    np.testing.assert_allclose(torch.stack(found), 1)


def test_another_unit_than_the_priors_is_refused(coarse, tmp_path):
    prior = prior_with()
    channels = tuple(replace(c, name=f"x{c.name}", units="1") for c in prior.normaliser.channels)
    strange = replace(prior, normaliser=Normaliser(channels))
    given = climate().rename(t2m="xt2m", tp="xtp")
    for name in given:
        given[name].attrs = {"units": "m"}
    given.to_netcdf(tmp_path / "normals.nc")
    source = xr.open_dataset(coarse).rename(t2m="xt2m", tp="xtp")
    for name in source.data_vars:
        source[name].attrs = {"units": "1"}
    source.to_netcdf(tmp_path / "other.nc")
    with pytest.warns(DpdmWarning), pytest.raises(DpdmError, match="xt2m is in 'm', the prior's"):
        space_of(tmp_path / "other.nc", strange, climatology=str(tmp_path / "normals.nc"))


def test_it_is_stored_with_the_prior_and_described(tmp_path):
    prior = replace(prior_with(card={"period": ["2005-01-01", "2011-12-31"]}), reference=own())
    save_prior(prior, tmp_path / "mine.safetensors")
    loaded = load_prior(tmp_path / "mine.safetensors")
    assert loaded.takes_reference
    for name, tensor in prior.reference.items():
        assert torch.equal(loaded.reference[name], tensor)
    mine, bundled = describe_prior(tmp_path / "mine.safetensors")["reference_climatology"]
    assert mine.startswith("its own: t2m and tp of each month, 2005-01 to 2011-12, 0.25 x 0.25")
    period = bundled_climatology().attrs["period"]
    assert bundled.startswith(f"era5: t2m and tp of each month, {period}, 0.25 x 0.25 degrees")
    save_prior(prior_with(reference=()), tmp_path / "plain.safetensors")
    assert describe_prior(tmp_path / "plain.safetensors")["reference_climatology"] == "none"


def test_the_lerp_ignores_cells_that_are_unknown(coarse, tmp_path):
    given = climate()
    given = given.where(given["lon"] < 110.5)  # the sea south of Hainan
    given.to_netcdf(tmp_path / "normals.nc")
    target = climate(Grid(FINE.lat[:8], FINE.lon[32:]), (1, 7))  # 16 to 18N, the South China Sea
    target.to_netcdf(tmp_path / "target.nc")
    with pytest.warns(DpdmWarning):
        space = fit_field_space(
            coarse, prior_with(), EnsembleOptions(climatology=str(tmp_path / "normals.nc")),
            tmp_path / "target.nc", None,
        )  # fmt: skip
    reference = space.conditioning(0).reference
    assert reference is not None
    fine, smooth = reference
    known = torch.from_numpy(space.grid.lon < 110.5)
    assert bool((fine.isfinite() == known).all())
    assert bool(smooth[..., known].isfinite().all())


def test_the_lerp_is_that_of_averages_over_the_coarse_cells(coarse):
    space = space_of(coarse, prior_with())
    reference = space.conditioning(0).reference
    assert reference is not None
    means = coarsen_fields(climate(months=(1,)), 4)
    wanted = interpolate_bilinear(means, space.grid).isel(time=0)
    assert space.coarse_grid is not None
    assert grid_of(means).is_same(space.coarse_grid)
    for number, name in enumerate(UNITS):
        np.testing.assert_allclose(reference[1][number], wanted[name].values, atol=1e-4)
