"""Validation of a prior of fields: its scores and the calibration of its spread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from dpdm.diffusion.denoise import Denoiser
from dpdm.prior.model_card import DELTA_SUFFIX
from dpdm.training.field_windows import (
    NO_DROPOUT,
    WITHOUT_REFERENCE,
    ConditionDropout,
    make_example,
)
from dpdm.training.reference import Index

if TYPE_CHECKING:
    from dpdm.training.field_series import FieldTrainingSet

HeldOutWindow = tuple[Index, Index, int]
WITHOUT_SUFFIX = ", without reference"
INFLATION_LIMITS = (0.7, 2.0)  # of a calibration by few held-out steps


def score_windows(task: FieldTrainingSet, network: Denoiser, device: str) -> dict[str, float]:
    """Return the ratio of the RMSE of the mean to that of bilinear interpolation.

    With reference states also to that of the delta method, and without them to lerp's.
    """
    if not task.validation_windows:
        return {}
    out = {}
    for drops, label in validation_modes(task).items():
        errors = validation_errors(task, network, device, drops)
        for i, name in enumerate(task.normaliser.names):
            out[name + label] = float(np.sqrt(errors[0, i] / errors[1, i]))
            if not label and task.archive.has_reference:
                out[name + DELTA_SUFFIX] = float(np.sqrt(errors[0, i] / errors[2, i]))
    return out


def calibrate_spread(task: FieldTrainingSet, network: Denoiser, device: str) -> dict[str, float]:
    """Return the spread inflations that fit the spread to the errors of validation windows.

    The error of n held-out steps is widened by 1 + 1/n, as that of a prediction is.
    Pseudo-years do not tell the spread of real ones, so they are not calibrated.
    """
    if not task.validation_windows or task.archive.pseudo is not None:
        return {}
    found = {}
    steps = len({step for *_, step in task.validation_windows})
    for drops, label in validation_modes(task).items():
        errors = validation_errors(task, network, device, drops)
        ratio = np.exp(np.mean(np.log(errors[0] / errors[3])) / 2) * np.sqrt(1 + 1 / steps)
        usual = task.archive.has_reference and not label
        key = "reference_inflation" if usual else "inflation"
        found[key] = round(float(np.clip(ratio, *INFLATION_LIMITS)), 2)
    return found


def validation_modes(task: FieldTrainingSet) -> dict[ConditionDropout, str]:
    """Return the conditioning of validations, and the suffix of their scores."""
    if not task.archive.has_reference:
        return {NO_DROPOUT: ""}
    return {NO_DROPOUT: "", WITHOUT_REFERENCE: WITHOUT_SUFFIX}


def validation_errors(
    task: FieldTrainingSet, network: Denoiser, device: str, drops: ConditionDropout
) -> NDArray[np.float64]:
    """Return the sums (4, C) of `squared_errors` over the validation windows with values."""
    numbers = range(len(task.validation_windows))
    total: NDArray[np.float64] = np.nansum(
        [squared_errors(task, network, n, device, drops) for n in numbers], axis=0
    )
    return total


@torch.no_grad()
def squared_errors(
    task: FieldTrainingSet, network: Denoiser, number: int, device: str, drops: ConditionDropout
) -> NDArray[np.float64]:
    """Return mean squares (4, C) in a validation window.

    They are the errors of the mean, of the lerp and of the base, and the expected spread.
    """
    archive = task.archive
    rows, columns, step = task.validation_windows[number]
    rng = np.random.default_rng([1, number])
    view = archive.view(rng)
    window = make_example(archive, task.normaliser, (rows, columns), step, view, rng, drops)
    zero = torch.zeros_like(window.x[None], device=device)
    sigma = torch.full((1,), task.contract.sigma[1], device=device)
    moments = network.moments(zero, sigma, network.features(window.conditioning[None].to(device)))
    mean, variance = (m[0].cpu() for m in moments)
    best = task.normaliser.expectation(
        window.base + window.scale * mean, window.scale**2 * variance
    )
    centre, deviation = window.base + window.scale * mean, window.scale * variance.sqrt()
    inverse = task.normaliser.inverse
    spread = (inverse(centre + deviation) - inverse(centre - deviation)) / 2
    spread = torch.where(window.fine.isfinite(), spread, torch.nan)
    errors = [each - window.fine for each in (best, window.lerp, inverse(window.base))]
    return torch.stack([each.square().nanmean((1, 2)) for each in (*errors, spread)]).numpy()
