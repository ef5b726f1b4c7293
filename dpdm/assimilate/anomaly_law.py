r"""The distribution of the departures of a background, and of stations from the fields.

In transformed values (K; log(1 + mm/day)) a station that observes the field f, with the
background's departure b, reports

.. math:: y = A(f + b) + \gamma \, \Delta z + \beta + e, \qquad
          b = \lambda \, (land - 1) + \sum_l s_l \, b_l

with smooth Gaussian fields :math:`b_l` of unit variance and of fixed lengths l, whose standard
deviations :math:`s_l` make up any correlation that falls with distance; the contrast
:math:`\lambda` of land against sea; the departure :math:`\gamma` of the change with height from
that of the operator (6.5 K/km for temperature, none for precipitation), over the height
:math:`\Delta z` of the station above the relief of the grid; the bias :math:`\beta` of the
network; and the station's own error e. All are Gaussian with mean zero, and drawn anew in each
step. Temperatures that do not fall with height, as in winter's inversions, are values of
:math:`\gamma`.

A law without data comes from the prior: its standard deviation of anomalies, for temperature
that of its latitude and season.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dpdm.prior.variable_spec import VariableSpec

LENGTHS = (40.0, 120.0, 360.0, 1080.0, 3240.0)  # km; a ladder whose sums resemble exponentials
# Shares of the anomalies' variance, by length, and others relative to their standard deviation.
SHARES = {
    "identity": (0.06, 0.02, 0.06, 0.30, 0.56),
    "log1p": (0.20, 0.20, 0.20, 0.25, 0.15),
}
NOISE, LAND, LAPSE, BIAS = 0.3, 0.3, 1.0, 0.1
# Standard deviation of monthly means over land (K), of CanESM5 (historical, five years) in wide
# belts of latitude: in winter, and in summer.
TEMPERATURE_LATITUDES = (0.0, 15.0, 25.0, 35.0, 50.0, 65.0, 90.0)
TEMPERATURE_STDS = (
    (0.4, 0.6, 1.1, 1.6, 3.0, 4.2, 3.5),
    (0.4, 0.45, 0.7, 1.0, 1.3, 1.7, 1.3),
)
SEASONS = ("DJF", "MAM", "JJA", "SON")
ALL_YEAR = "year"


@dataclass(frozen=True)
class AnomalyLaw:
    """Standard deviations of the parts of a departure, in transformed values.

    Attributes:
        stds: Of the smooth field of each length.
        noise: Of a station's own error, instrument and representativeness.
        land: Of the contrast of land against sea.
        lapse: Of the change with height, for a kilometre.
        bias: Of all stations of a step alike.
        lengths: Correlation lengths, km.
    """

    stds: tuple[float, ...]
    noise: float = 0.0
    land: float = 0.0
    lapse: float = 0.0
    bias: float = 0.0
    lengths: tuple[float, ...] = LENGTHS

    @property
    def values(self) -> tuple[float, ...]:
        """Return all standard deviations in one row: see `with_values`."""
        return (*self.stds, self.noise, self.land, self.lapse, self.bias)

    def with_values(self, values: tuple[float, ...]) -> AnomalyLaw:
        """Return the law with other standard deviations, in the order of `values`."""
        count = len(self.stds)
        noise, land, lapse, bias = values[count:]
        return AnomalyLaw(values[:count], noise, land, lapse, bias, self.lengths)

    @property
    def total(self) -> float:
        """Return the standard deviation of a departure over land, on the height of the relief."""
        return float(np.sqrt(np.square(self.stds).sum()))

    def describe(self, units: str = "") -> str:
        """Return the law in a line.

        Example:
            >>> AnomalyLaw((0.3, 0.4), 0.2, lapse=2, lengths=(40.0, 1080.0)).describe("K")
            '0.5 K (0.3 at 40 km, 0.4 at 1080 km); stations 0.2, each km of height 2'
        """
        scales = zip(self.stds, self.lengths, strict=True)
        parts = ", ".join(f"{std:.2g} at {length:.0f} km" for std, length in scales)
        others = {"stations": self.noise, "land against sea": self.land,
                  "each km of height": self.lapse, "network": self.bias}  # fmt: skip
        more = ", ".join(f"{name} {value:.2g}" for name, value in others.items() if value)
        total = f"{self.total:.2g} {units}".strip()
        return f"{total} ({parts})" + (f"; {more}" if more else "")


Laws = Mapping[str, Sequence[AnomalyLaw]]


def default_law(channel: VariableSpec, lat: float, season: str) -> AnomalyLaw:
    """Return the law of a variable at a latitude in a season, before any data.

    Example:
        >>> from dpdm.prior.variable_spec import VariableSpec
        >>> spec = VariableSpec("t2m", "", "", "K", "identity", 280.0, 10.0, ((4.0, 0.5),))
        >>> [round(default_law(spec, lat, "DJF").total, 2) for lat in (0, 65, -35)]
        [0.4, 4.2, 1.0]
    """
    std = anomaly_std(channel, lat, season)
    stds = tuple(std * float(np.sqrt(share)) for share in SHARES[channel.transform])
    return AnomalyLaw(stds, NOISE * std, LAND * std, LAPSE * std, BIAS * std)


def anomaly_std(channel: VariableSpec, lat: float, season: str) -> float:
    """Return the standard deviation of anomalies: of the latitude for t2m, else of the prior."""
    if channel.name != "t2m":
        return channel.reference[2] if channel.reference else channel.std / 2
    ends = [float(np.interp(abs(lat), TEMPERATURE_LATITUDES, stds)) for stds in TEMPERATURE_STDS]
    winter = {"DJF": 1.0, "JJA": 0.0}.get(season, 0.5)
    share = winter if lat >= 0 else 1 - winter
    return share * ends[0] + (1 - share) * ends[1]


def stated_law(std: float, length: float) -> AnomalyLaw:
    """Return the law of one standard deviation and length, km."""
    return AnomalyLaw((std,), lengths=(length,))


def season_of(month: int) -> str:
    """Return the season of a month from 1 to 12; that of the whole year for 0.

    Example:
        >>> [season_of(month) for month in (12, 1, 3, 8, 0)]
        ['DJF', 'DJF', 'MAM', 'JJA', 'year']
    """
    return SEASONS[month % 12 // 3] if month else ALL_YEAR


def laws_as_json(laws: Laws) -> dict[str, list[dict[str, Any]]]:
    """Return laws by season as a mapping of plain values.

    Example:
        >>> laws = {"DJF": (AnomalyLaw((0.3, 0.4), 0.2, lengths=(40.0, 1080.0)),)}
        >>> import json
        >>> laws_of_json(json.loads(json.dumps(laws_as_json(laws)))) == laws
        True
    """
    return {
        season: [
            {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(law).items()}
            for law in each
        ]
        for season, each in laws.items()
    }


def laws_of_json(values: Mapping[str, Any]) -> Laws:
    """Return laws of `laws_as_json`."""
    return {season: tuple(map(_law_of_json, laws)) for season, laws in values.items()}


def _law_of_json(values: Mapping[str, Any]) -> AnomalyLaw:
    lists = {name: tuple(values[name]) for name in ("stds", "lengths")}
    return AnomalyLaw(**{**values, **lists})
