"""Random networks with the bundled prior: no set-up diverges, and the default fits."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from numpy.typing import NDArray

from dpdm.assimilate.analysis import Analysis
from dpdm.assimilate.background import BackgroundError
from dpdm.assimilate.background_error import build_background_error
from dpdm.fields.grid import Grid
from dpdm.fields.reference_climatology import open_climatology
from dpdm.fields.regrid import coarsen_fields
from dpdm.observations.status import ObsStatus
from dpdm.prior import Prior, find_prior, load_prior
from dpdm.states.field_domain import make_field_space
from dpdm.states.fields import FieldSpace
from dpdm.states.options import ESTIMATED, AssimilationOptions, EnsembleOptions
from dpdm.states.sampling import MAX_NORMALISED_VALUE, guide_sampler

SETUPS = 52
ROWS, COLUMNS, FACTOR, STEPS = 16, 20, 4, 8
PLACES = ((35.0, 136.0, 7), (46.0, 7.0, 1), (-3.0, 100.0, 4))  # south, west, month
RNG = np.random.default_rng(0)
GUIDANCES = ("law", "mmps", "sda", "dps")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Setup:
    """A network of stations, and how it is assimilated."""

    place: int
    coarse: bool
    stations: int
    error: float
    clusters: int
    variables: tuple[str, ...]
    guidance: str
    corrections: int
    law: str


def draw_setup(number: int) -> Setup:
    """Draw from 5 to 1,000 stations and errors of 0.1 to 3 K; every guidance has its turn."""
    rng = np.random.default_rng(number)
    coarse = bool(rng.random() < 0.6)
    return Setup(
        place=int(rng.integers(len(PLACES))),
        coarse=coarse,
        stations=round(5 * 200 ** rng.random()),
        error=float(0.1 * 30 ** rng.random()),
        clusters=int(rng.integers(4)),
        variables=(("t2m",), ("tp",), ("t2m", "tp"))[rng.integers(3)],
        guidance=GUIDANCES[number % 4 if number % 8 > 3 else 0],
        corrections=int(rng.integers(2)),
        law=("", "stated", "estimated")[rng.integers(3)] if coarse else "",
    )


@cache
def bundled_prior() -> Prior:
    return load_prior(find_prior("default"))


@cache
def month(place: int) -> xr.Dataset:
    """Return a month that departs from the climate, at large and at small scales."""
    south, west, number = PLACES[place]
    grid = Grid(south + 0.25 * np.arange(ROWS), west + 0.25 * np.arange(COLUMNS))
    climate = open_climatology("era5", grid, ["t2m", "tp"])
    assert climate is not None
    date = pd.to_datetime([f"1993-{number:02d}-01"])
    fields = climate.fields.isel(month=[number - 1]).rename(month="time").assign_coords(time=date)
    rng, y, x = np.random.default_rng(place), np.arange(ROWS)[:, None], np.arange(COLUMNS)
    wave = (
        np.sin(y / 5 + rng.random())
        + np.cos(x / 4 + y / 6)
        + 0.2 * rng.standard_normal((ROWS, COLUMNS))
    )
    tp = np.expm1((np.log1p(fields["tp"]) + 0.25 * wave).clip(0)).assign_attrs(fields["tp"].attrs)
    return fields.assign(t2m=(fields["t2m"] + wave).assign_attrs(fields["t2m"].attrs), tp=tp)


@cache
def space_of(place: int, coarse: bool) -> FieldSpace:
    """Return the space of a place, given block means or nothing."""
    truth, options = month(place), EnsembleOptions(members=1, steps=STEPS)
    fields = coarsen_fields(truth, FACTOR) if coarse else truth * np.nan
    fields = fields.assign({n: fields[n].assign_attrs(truth[n].attrs) for n in truth.data_vars})
    source = Path("coarse.nc") if coarse else None
    return make_field_space(fields, bundled_prior(), options, None, None, source)


def network(setup: Setup, rng: np.random.Generator) -> pd.DataFrame:
    """Return what the stations observe, with their errors."""
    truth, count = month(setup.place), setup.stations
    sides = [truth[n].values for n in ("lat", "lon")]
    ends = [(side[0], side[-1]) for side in sides]
    at = [rng.uniform(*end, count) for end in ends]
    if setup.clusters:
        group = rng.integers(setup.clusters, size=count)
        at = [
            np.clip(rng.uniform(*e, setup.clusters)[group] + 0.2 * rng.standard_normal(count), *e)
            for e in ends
        ]
    lat, lon = (xr.DataArray(a, dims="station") for a in at)
    return pd.concat(
        [
            observe(truth[n].isel(time=0).interp(lat=lat, lon=lon), setup, rng)
            for n in setup.variables
        ],
        ignore_index=True,
    )


def observe(exact: xr.DataArray, setup: Setup, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows of one variable."""
    rain = exact.name == "tp"
    error = 0.3 * setup.error + 0.2 * exact.values if rain else np.full(exact.size, setup.error)
    value = exact.values + error * rng.standard_normal(exact.size)
    rows = {"lat": exact["lat"].values, "lon": exact["lon"].values, "elevation": np.nan}
    rows |= {"variable": exact.name, "value": value.clip(0) if rain else value, "error": error}
    return pd.DataFrame(rows).assign(step=0, status=ObsStatus.ASSIMILATED)


def background_error(
    setup: Setup, space: FieldSpace, table: pd.DataFrame
) -> BackgroundError | None:
    """Return the error of the background: none, stated, or estimated."""
    errors = {"": {}, "stated": {"t2m": 1.0, "tp": 0.3}, "estimated": {"": ESTIMATED}}
    options = AssimilationOptions(coarse_error=errors[setup.law], coarse_length=200.0)
    return build_background_error(space, table, options)


@pytest.fixture
def single() -> None:
    """Draw in single precision, as users do."""
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("number", range(SETUPS))
@pytest.mark.usefixtures("single")
def test_no_network_diverges(number: int) -> None:
    setup = draw_setup(number)
    space, table = (
        space_of(setup.place, setup.coarse),
        network(setup, np.random.default_rng(number)),
    )
    options = AssimilationOptions(guidance=setup.guidance, corrections=setup.corrections)
    space = replace(space, sampler=guide_sampler(space.sampler, space.prior, options))
    analysis = Analysis(space, table, 0.0, background_error(setup, space, table))
    (member,) = analysis.members(0, [0])
    x = space.normalise(member, 0)
    assert float(x.abs().max()) < MAX_NORMALISED_VALUE / 100
    departure = (analysis.analysis[:, 0] - table["value"]) / table["error"]
    assert np.isfinite(departure).all()
    if setup.guidance == "law" and setup.coarse:
        assert float((departure**2).mean()) < 3, setup
        assert space.sampler.steps_taken.short == 0


def test_rain_is_compared_by_its_logarithm_and_temperature_as_it_is() -> None:
    space = space_of(0, coarse=True)
    table = network(replace(draw_setup(0), place=0, stations=5, variables=("t2m", "tp")), RNG)
    operator, value, error = space.modelled_observation(table)
    fields = torch.rand(2, *space.shape) + torch.tensor([280.0, 3.0])[:, None, None]
    plain, modelled = space.operator(table)(fields), operator(fields)
    observed, std = (torch.from_numpy(table[n].to_numpy(copy=True)) for n in ("value", "error"))
    for found, exact in ((modelled, plain), (value, observed)):
        torch.testing.assert_close(found[..., :5], exact[..., :5])
        torch.testing.assert_close(found[..., 5:], exact[..., 5:].log1p())
    torch.testing.assert_close(error[:5], std[:5])
    torch.testing.assert_close(error[5:], torch.asinh(std[5:] / (1 + observed[5:])))


def test_guidance_can_make_it_rain() -> None:
    """Where a member is dry, the derivative of an amount is that of a little of it."""
    posterior = space_of(0, coarse=True).posterior(0)
    dry = (-2 - posterior.base) / posterior.scale
    x = dry[None].requires_grad_()
    rain = posterior.physical(x)[:, 1]
    assert not rain.any()
    (slope,) = torch.autograd.grad(rain.sum(), x)
    torch.testing.assert_close(slope[0, 1], posterior.scale[1])


@pytest.mark.usefixtures("single")
def test_estimated_laws_are_of_all_seasons() -> None:
    """A reconstruction keeps the laws of its first run, and its period may be extended."""
    setup = replace(draw_setup(0), place=0, stations=20, variables=("t2m",))
    table = network(setup, np.random.default_rng(0))
    options = AssimilationOptions(coarse_error={"": ESTIMATED})
    error = build_background_error(space_of(0, True), table, options)
    assert error is not None
    assert list(error.laws) == ["DJF", "MAM", "JJA", "SON"]
    assert error.laws["JJA"][0] != error.laws["SON"][0]
