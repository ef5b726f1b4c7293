"""Ordinary methods at withheld stations, tuned on the used ones by leaving each out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import pi

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from dpdm.assimilate.analysis import Analysis
from dpdm.assimilate.anomaly_law import AnomalyLaw
from dpdm.assimilate.background_error import season_of_step, step_departures
from dpdm.assimilate.law_estimation import StepDepartures
from dpdm.assimilate.smooth_fields import EARTH_RADIUS_KM
from dpdm.observations.status import IN_USE, ObsStatus, has_status
from dpdm.states.fields import FieldSpace

Array = NDArray[np.float64]
Prediction = tuple[Array, Array]
WIDTHS = (50.0, 75.0, 100.0, 150.0, 250.0, 400.0)  # km
LENGTHS = (30.0, 60.0, 120.0, 250.0, 500.0, 1000.0)
NUGGETS = (0.1, 0.3, 1.0, 3.0)  # over the variance of the correlated part
MIN_REGRESSION = 12  # stations, below which only a mean is fitted


@dataclass(frozen=True, eq=False)
class Network:
    """The stations of one variable and month, used and withheld, in transformed values.

    Attributes:
        value: Observed values (N,).
        climate: Climatology at the stations' heights (N,).
        normal: The stations' own normals (N,), NaN for withheld ones.
        held: Which are withheld (N,).
        position: Unit vectors (N, 3).
        elevation: Altitude, km (N,).
        land: Smooth land fraction (N,).
        height: Height above the relief, km (N,).
        members: Analysis equivalents (N, M).
        error: Standard deviation of the stations' errors (N,).
        noise: Standard normal draws for them (N, M).
        law: The law that the analysis has estimated.
        rows: The rows of the table.
    """

    value: Array
    climate: Array
    normal: Array
    held: NDArray[np.bool_]
    position: Array
    elevation: Array
    land: Array
    height: Array
    members: Array
    error: Array
    noise: Array
    law: AnomalyLaw
    rows: pd.DataFrame

    @classmethod
    def at(cls, analysis: Analysis, step: int, name: str, normals: pd.DataFrame) -> Network:
        """Return the network of a variable in one step of an analysis."""
        space, table = analysis.space, analysis.table
        assert isinstance(space, FieldSpace)
        assert analysis.error is not None
        chosen = (table["step"] == step) & (table["variable"] == name) & has_status(table, *IN_USE)
        rows, members = table[chosen], analysis.analysis[chosen.to_numpy()]
        land = analysis.error.land
        parts: StepDepartures = step_departures(space, rows, land, step)
        _, value, error = space.modelled_observation(rows)
        month = space.label(step)[5:7]
        own = normals[name].reindex([(s, month) for s in rows["station"]]).to_numpy(float)
        held = has_status(rows, ObsStatus.WITHHELD, ObsStatus.VERIFICATION)
        season = season_of_step(space, step)
        forward = np.log1p if name == "tp" else np.asarray
        return cls(
            value.numpy(), value.numpy() - parts.departure, np.where(held, np.nan, own), held,
            parts.position, rows["elevation"].fillna(0).to_numpy(float) / 1e3, parts.land,
            parts.height, forward(members), error.numpy(),
            np.random.default_rng(step).standard_normal(members.shape),
            analysis.error.laws[season][space.names.index(name)], rows,
        )  # fmt: skip

    def distance(self, a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Array:
        """Return distances between two sets of stations, km."""
        cosine = (self.position[a] @ self.position[b].T).clip(-1, 1)
        out: Array = EARTH_RADIUS_KM * np.arccos(cosine)
        return out

    def trends(self) -> Array:
        """Return regressors (N, P): 1, altitude, latitude and longitude."""
        x, y, z = self.position.T
        lat, lon = np.degrees(np.arcsin(z)), np.degrees(np.arctan2(y, x))
        one = np.ones(len(self.value))
        if (~self.held).sum() < MIN_REGRESSION:
            return one[:, None]
        return np.stack([one, self.elevation, (lat - 36) / 5, (lon - 137) / 5], axis=1)


def climatology(network: Network) -> Prediction:
    """Predict the climatology."""
    used = network.value[~network.held] - network.climate[~network.held]
    return network.climate[network.held], np.sqrt(np.mean(used**2))


def kernel(network: Network) -> Prediction:
    """Predict a kernel mean of the departures."""
    used, held = ~network.held, network.held
    departure = (network.value - network.climate)[used]
    near, best = network.distance(used, used), (np.inf, 0.0)
    for width in WIDTHS:
        weights = np.exp(-((near / width) ** 2) / 2) + 1e-9
        np.fill_diagonal(weights, 0)
        missed = departure - weights @ departure / weights.sum(1)
        best = min(best, (float(np.sqrt(np.mean(missed**2))), width))
    weights = np.exp(-((network.distance(held, used) / best[1]) ** 2) / 2) + 1e-9
    return network.climate[held] + weights @ departure / weights.sum(1), np.array(best[0])


def krige(network: Network, y: Array, known: NDArray[np.bool_]) -> Prediction:
    """Predict by universal kriging of values at known stations, tuned by leaving each out."""
    trend, held, best = network.trends(), network.held, None
    near, far = network.distance(known, known), network.distance(held, known)
    for length, nugget in product(LENGTHS, NUGGETS):
        cover = np.exp(-near / length) + nugget * np.eye(len(near))
        left = np.linalg.inv(cover)
        at = left @ trend[known]
        # the projector of universal kriging; its diagonal gives left-out residuals (Dubrule 1983)
        solver = left - at @ np.linalg.pinv(trend[known].T @ at) @ at.T
        missed = solver @ y[known] / np.maximum(np.diag(solver), 1e-12)
        error = float(np.sqrt(np.mean(missed**2)))
        if best is None or error < best[0]:
            slope = np.linalg.pinv(trend[known].T @ at) @ at.T @ y[known]
            smooth = left @ (y[known] - trend[known] @ slope)
            best = (error, trend[held] @ slope + np.exp(-far / length) @ smooth)
    assert best is not None
    return best[1], np.array(best[0])


def regression(network: Network) -> Prediction:
    """Predict by regression on height and position, and kriging of the residual."""
    return krige(network, network.value, ~network.held)


def departures(network: Network) -> Prediction:
    """Predict the same of departures from the climatology."""
    mean, std = krige(network, network.value - network.climate, ~network.held)
    return network.climate[network.held] + mean, std


def normals(network: Network) -> Prediction:
    """Predict the climatology plus kriged anomalies of stations' own normals."""
    known = ~network.held & np.isfinite(network.normal)
    if known.sum() < 5:
        return departures(network)
    mean, std = krige(network, network.value - network.normal, known)
    return network.climate[network.held] + mean, std


def same_law(network: Network) -> Prediction:
    """Predict by optimal interpolation of departures with the law of the analysis."""
    used, held, law = ~network.held, network.held, network.law
    departure = (network.value - network.climate)[used]

    def cover(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Array:
        near = network.distance(a, b)
        total: Array = sum(
            s**2 * np.exp(-((near / length) ** 2) / 2)
            for s, length in zip(law.stds, law.lengths, strict=True)
        )
        for std, column in (
            (law.land, network.land - 1), (law.lapse, network.height),
            (law.bias, np.ones(len(network.value))),
        ):  # fmt: skip
            total = total + std**2 * np.outer(column[a], column[b])
        return total

    near, far = cover(used, used) + np.diag(network.error[used] ** 2), cover(held, used)
    gain = np.linalg.solve(near, far.T).T
    left = np.diag(cover(held, held)) - (gain * far).sum(1) + network.error[held] ** 2
    return network.climate[held] + gain @ departure, np.sqrt(left)


RIVALS: dict[str, Callable[[Network], Prediction]] = {
    "climatology": climatology, "kernel": kernel, "regression": regression,
    "departures": departures, "same law": same_law, "normals": normals,
}  # fmt: skip


def predict(rival: str, network: Network) -> Prediction:
    """Return mean and standard deviation of a rival at the withheld stations."""
    return RIVALS[rival](network)


def gaussian_crps(error: Array, std: Array) -> Array:
    """Return the CRPS of Gaussian distributions, whose means are off by ``error``."""
    z = error / std
    out: Array = std * (z * (2 * ndtr(z) - 1) + np.sqrt(2 / pi) * np.exp(-(z**2) / 2) - pi**-0.5)
    return out
