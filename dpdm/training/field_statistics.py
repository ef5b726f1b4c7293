"""Statistics of a training series of fields: scaling, residuals, and monthly climate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from dpdm.fields.climatology import (
    coarse_climate_grid,
    compute_climate,
    find_covered_cells,
    mean_ignoring_missing,
)
from dpdm.fields.grid import Array, Grid, grid_of
from dpdm.fields.time import period_of, step_months, time_bounds
from dpdm.prior.normaliser import Normaliser
from dpdm.training.config import FieldRecipe
from dpdm.training.field_windows import CoarseView, TrainingSeries, WindowSampler
from dpdm.training.reference import Index

REFERENCE_WINDOWS = 200  # that the scale around a reference state is estimated from
LEAST_ALPHA = 0.02  # of the scale of residuals, so that no scale vanishes


def fit_normaliser(
    archive: TrainingSeries, normaliser: Normaliser, allowed: NDArray[np.bool_], steps: Index
) -> Normaliser:
    """Return the scaling of the training series, estimated from at most 24 of its steps.

    Cells are weighted by area; those outside ``allowed`` (H, W) are excluded.
    """
    some = subsample_steps(steps, 24)
    weights = np.where(allowed, archive.grid.weights, 0.0)
    fields = [normaliser.forward(torch.from_numpy(archive.fine[s].astype(float))) for s in some]
    centre, deviation = weighted_moments([f.numpy() for f in fields], weights)
    tried = sorted({round(f) for f in np.geomspace(*archive.factors, 5)})
    by_factor = {
        f: weighted_moments(
            [compute_residual(archive, normaliser, s, f) for s in some], weights, 0.0
        )[1]
        for f in tried
    }
    return Normaliser(tuple(
        replace(
            c, mean=float(centre[i]), std=float(deviation[i]),
            residual=tuple((float(f), float(r[i])) for f, r in by_factor.items()),
        )
        for i, c in enumerate(normaliser.channels)
    ))  # fmt: skip


def compute_residual(
    archive: TrainingSeries, normaliser: Normaliser, step: int, factor: int
) -> Array:
    """Return T(fine) - T(lerp) of one step (C, H, W)."""
    fine = archive.fine[step]
    view = CoarseView(archive.axes, (factor, factor))
    lerp = (
        view.interpolate_everywhere(fine)
        if archive.coarse is None
        else archive.coarse[step, : len(fine)]
    )
    modelled, base = (
        normaliser.forward(torch.from_numpy(each.astype(float))) for each in (fine, lerp)
    )
    return (modelled - base).numpy()


def subsample_steps(steps: Index, most: int) -> Index:
    """Return at most ``most`` evenly spaced steps."""
    some: Index = steps[np.unique(np.linspace(0, len(steps) - 1, most).astype(int))]
    return some


def weighted_moments(
    fields: list[Array], weights: Array, mean: float | None = None
) -> tuple[Array, Array]:
    """Return weighted mean (or the given one) and standard deviation, ignoring missing values."""
    seen = [np.where(np.isfinite(f), weights, 0.0) for f in fields]
    clean = [np.nan_to_num(f) for f in fields]
    share = sum(s.sum((1, 2)) for s in seen)
    first = sum((s * f).sum((1, 2)) for s, f in zip(seen, clean, strict=True)) / share
    second = sum((s * f**2).sum((1, 2)) for s, f in zip(seen, clean, strict=True)) / share
    centre = first if mean is None else np.full_like(first, mean)
    return centre, np.sqrt(np.maximum(second - centre**2, 0.0))


def residual_importance(archive: TrainingSeries, normaliser: Normaliser, steps: Index) -> Array:
    """Return the importance of each cell (H, W): 0.1 plus the normalised RMS residual.

    Missing values, as below ground, are ignored; cells without any value, as the sea of a land
    model, have none.
    """
    factor = round(np.sqrt(archive.factors[0] * archive.factors[1]))
    scale = np.array([c.residual_std(factor) for c in normaliser.channels])[:, None, None]
    some = subsample_steps(steps, 12)
    squares = [(compute_residual(archive, normaliser, s, factor) / scale) ** 2 for s in some]
    mean = mean_ignoring_missing(mean_ignoring_missing(np.stack(squares)))
    seen = np.isfinite(archive.fine[some]).any((0, 1))
    importance: Array = np.where(seen, 0.1 + np.sqrt(np.nan_to_num(mean)), 0.0)
    return importance


def fit_reference(
    archive: TrainingSeries, normaliser: Normaliser, places: WindowSampler, steps: Index
) -> Normaliser:
    """Return the scaling with alpha, beta and gamma, estimated from 200 windows.

    The mean square of the delta method's residual is matched for the smaller and for the larger
    half of the anomalies.
    """
    rng, factor = np.random.default_rng(0), round(np.sqrt(np.prod(archive.factors)))
    view, samples = CoarseView(archive.axes, (factor, factor)), []
    for _ in range(REFERENCE_WINDOWS):
        where = places.draw_window(rng, archive.grid.shape[1])
        step = int(rng.choice(steps))
        window = archive.cut_window(slice(step, step + 1), archive.season[step], view, *where, rng)
        reference = window.reference_state(normaliser)
        assert reference is not None
        anomaly = normaliser.forward(window.lerp) - reference.lerp
        total = normaliser.forward(window.fine) - reference.fine
        samples.append(torch.stack([total, anomaly, total - anomaly]).flatten(2).numpy())
    total, anomaly, residual = np.concatenate(samples, axis=2)
    units = [c.residual_std(factor) for c in normaliser.channels]
    scales = map(reference_scale, total, anomaly, residual, units)
    return Normaliser(tuple(
        replace(c, reference=scale) for c, scale in zip(normaliser.channels, scales, strict=True)
    ))  # fmt: skip


def reference_scale(
    total: Array, anomaly: Array, residual: Array, unit: float
) -> tuple[float, float, float]:
    """Return alpha, beta and gamma of the scale around a reference state, of samples (N,).

    Args:
        total: Fine anomalies.
        anomaly: Coarse anomalies.
        residual: Fine minus coarse anomalies.
        unit: Standard deviation of residuals from the lerp.
    """
    seen = np.isfinite(total) & np.isfinite(anomaly)
    total, anomaly, residual = total[seen], anomaly[seen], residual[seen]
    gamma = max(float(np.sqrt(np.mean(total**2))), 1e-6)
    size, error = (anomaly / gamma) ** 2, (residual / unit) ** 2
    small = size <= np.median(size)
    means = [(size[half].mean(), error[half].mean()) for half in (small, ~small)]
    slope = max(means[1][1] - means[0][1], 0.0) / max(means[1][0] - means[0][0], 1e-9)
    offset = max(means[0][1] - slope * means[0][0], LEAST_ALPHA**2)
    return float(np.sqrt(offset)), float(np.sqrt(slope)), gamma


def training_climate(
    fields: xr.Dataset, steps: Index, recipe: FieldRecipe, factor: int, fine: Grid
) -> dict[str, Tensor]:
    """Return the climate of a monthly training series, outside the excluded box; else nothing.

    Fine fields are averaged over blocks of the greatest factor, coarse ones are used as they are.
    """
    if period_of(fields.get("time"), time_bounds(fields)) != "month":
        return {}
    grid = grid_of(fields)
    target = coarse_climate_grid(grid, factor) if grid.is_same(fine) else grid
    months = step_months(fields["time"], time_bounds(fields))[steps]
    box = recipe.data.exclude
    hidden = cells_in_box(target, box) | find_covered_cells(cells_in_box(fine, box), fine, target)
    series = (stack_time_series(fields.isel(time=[step]))[0] for step in steps)
    climate = compute_climate(series, months, grid, target, hidden)
    as_tensors = {k: torch.from_numpy(v.astype(np.float32)) for k, v in climate.items()}
    return as_tensors | grid_axes(target) if climate else {}


def stack_time_series(fields: xr.Dataset) -> NDArray[np.float32]:
    """Return all variables as one array (T, C, H, W), with one step for fields without time."""
    full = fields if "time" in fields.dims else fields.expand_dims("time")
    arrays = [full[n].transpose("time", "lat", "lon").values for n in full.data_vars]
    return np.stack(arrays, axis=1).astype(np.float32)


def cells_in_box(grid: Grid, box: Sequence[float]) -> NDArray[np.bool_]:
    """Mark the cells in a box of west, east, south, north; none for an empty box."""
    if not box:
        return np.zeros(grid.shape, bool)
    west, east, south, north = box
    lon = ((grid.lon - west) % 360 <= (east - west) % 360) | (east - west >= 360)
    lat = (grid.lat >= south) & (grid.lat <= north)
    return np.outer(lat, lon)


def grid_axes(grid: Grid) -> dict[str, Tensor]:
    """Return the axes of a grid."""
    return {"lat": torch.from_numpy(grid.lat), "lon": torch.from_numpy(grid.lon)}
