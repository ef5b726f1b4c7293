"""Monthly series of a few cells whose climate is known, and priors that store it."""

import numpy as np
import xarray as xr

from dpdm.fields.grid import Grid, grid_of
from dpdm.prior import Prior
from dpdm.prior.model_card import ModelCard
from dpdm.prior.networks import new_denoiser
from dpdm.prior.normaliser import Normaliser
from dpdm.prior.variable_spec import VariableSpec
from dpdm.training.config import DataSettings, FieldRecipe
from dpdm.training.field_statistics import training_climate

GRID = Grid(np.arange(10.0, 41, 10), np.arange(100.0, 141, 10))
NAMES = ("t2m", "tp")
NET = {"read": (4, 4, 4), "widths": (4, 4), "depth": 1}


def series(
    first: str = "1976-01", years: int = 20, seed: int = 0, calendar: str = "standard",
    warm: float = 0.0, wet: float = 1.0, spread: float = 1.0, trend: float = 0.0,
    grid: Grid = GRID,
) -> xr.Dataset:  # fmt: skip
    """Temperature around 285 K, with a trend in K a year, and rain around 3 mm a day."""
    rng = np.random.default_rng(seed)
    count = 12 * years
    time = xr.date_range(first, periods=count, freq="MS", calendar=calendar, use_cftime=True)
    season, age = (a[:, None, None] for a in (normal(np.arange(count)), np.arange(count) / 12))
    t2m = warm + season + trend * age + spread * rng.standard_normal((count, *grid.shape))
    tp = wet * (season - 275) / 3 * np.exp(0.4 * rng.standard_normal((count, *grid.shape)))
    dims = ("time", "lat", "lon")
    arrays = {"t2m": (dims, t2m, {"units": "K"}), "tp": (dims, tp, {"units": "mm day-1"})}
    return xr.Dataset(arrays, grid.coords() | {"time": time})


def normal(month: np.ndarray) -> np.ndarray:
    """Return the mean temperature of a month, January being 0."""
    return 285 + 5 * np.cos(2 * np.pi * month / 12)


def prior_of(fields: xr.Dataset, exclude: tuple[float, ...] = ()) -> Prior:
    """Return an untrained prior that stores the climate of a coarse series, as training does."""
    steps = np.arange(fields.sizes["time"])
    known = training_climate(fields, steps, FieldRecipe(DataSettings(exclude)), 1, grid_of(fields))
    kinds = {"t2m": "identity", "tp": "log1p"}
    channels = [VariableSpec(n, "", "", "", kind, 0, 1, ((4, 1),)) for n, kind in kinds.items()]
    period = [str(fields["time"].values[i])[:10] for i in (0, -1)]
    contract = ModelCard((1, 1), (4, 4), 32, 30.4, (0.002, 80.0), NET, {"period": period})
    return Prior(new_denoiser(2, NET), Normaliser(tuple(channels)), contract, coarse=known)
