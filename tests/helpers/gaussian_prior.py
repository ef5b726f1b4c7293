"""A prior that knows of spirals no more than their covariance."""

from pathlib import Path

import xarray as xr

from dpdm.fields.trajectories import open_trajectories
from dpdm.prior import Prior, save_prior
from dpdm.training.config import PerceptronRecipe, PerceptronSettings
from dpdm.training.trajectory_windows import prepare_trajectory_training
from tests.helpers.trajectories import spirals


def gaussian(states: int = 1) -> None:
    """Write spirals, and the prior that knows no more of them than their covariance.

    An untrained perceptron is the exact denoiser of Gaussian windows.
    """
    spirals(10, 6).to_netcdf("spirals.nc")
    with open_trajectories(Path("spirals.nc")) as ds:
        recipe = PerceptronRecipe(net=PerceptronSettings(hidden=8, layers=1))
        lesson = prepare_trajectory_training(ds, Path("spirals.nc"), states, recipe)
        lesson.contract.sampling.update(sampler="multistep", steps=32)
        save_prior(
            Prior(lesson.new_network(), lesson.normaliser, lesson.contract),
            Path("gaussian.safetensors"),
        )


def opened_file(path: str = "out.nc") -> xr.Dataset:
    with xr.open_dataset(path) as ds:
        return ds.load()
