"""Synthetic observations of a nature run: an operator, a unit and an error for each variable."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.level_names import PA_PER_HPA
from dpdm.fields.variables import SATELLITE_VARIABLES
from dpdm.observations.columns import OPERATOR_SETTINGS, OPERATOR_UNITS, OPERATOR_VARIABLES
from dpdm.observations.nature_run import NatureRun, Network, choose_locations
from dpdm.observations.observation_operator import GROUND_NOTE, channel_weighting, is_identity
from dpdm.observations.sounder import SounderChannels, read_channels
from dpdm.operators.registry import WIND_OPERATORS, WIND_PAIRS, ObsLocations, build_operator
from dpdm.types import Fields, Operator, Values

UNSET = -math.inf


@dataclass(frozen=True)
class ObservedQuantity:
    """Section ``[what]``: the observed quantities.

    Attributes:
        variables: Names of the observed fields; empty for all of them.
        components: Components of a state without space; empty for all.
        trajectories: Numbers of the trajectories of a test bed; empty for all.
        operator: "point", the value; "coarse", the mean over a block of cells; "speed",
            "vorticity", "saturating_vorticity" and so on, as the observation operators are named.
        factor: Of "coarse": cells along the sides of a block.
        radius: Of "mean": of the disc, in m on the sphere.
        level: Of "threshold" and "exceedance".
        width: Of "threshold" and "exceedance": width of the smoothed step.
        pressures: Of variables on levels, hPa, interpolated linearly in log p.
        channels: Of "brightness": the file of weighting functions, from the settings' folder.
    """

    variables: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    trajectories: tuple[int, ...] = ()
    operator: str = "point"
    factor: int = 0
    radius: float = UNSET
    level: float = UNSET
    width: float = UNSET
    pressures: tuple[float, ...] = ()
    channels: str = ""

    def settings(self) -> dict[str, float]:
        """Return the given settings of the operator."""
        settings = {name: getattr(self, name) for name in OPERATOR_SETTINGS}
        return {name: value for name, value in settings.items() if value not in (0, UNSET)}


@dataclass(frozen=True)
class SyntheticObservation:
    """The observations at N locations of any step.

    Attributes:
        variable: Name of the variable.
        units: Units of the values.
        operator: Map from fields (1, C, ...) to values (1, N).
        std: Standard deviation of the error, one number or one a value.
        extra_columns: Other columns of N values.
        error_mixing: Cholesky factor (C, C) of the error correlations of C channels, which follow
            each other in the values; None for independent errors.
    """

    variable: str
    units: str
    operator: Operator
    std: float | NDArray[np.float64]
    extra_columns: dict[str, NDArray[Any]]
    error_mixing: NDArray[np.float64] | None = None

    def errors(self, noise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return errors (N,) from independent noise (N,) of variance 1."""
        if self.error_mixing is not None:
            noise = (self.error_mixing @ noise.reshape(len(self.error_mixing), -1)).ravel()
        return self.std * noise


def error_deviations(std: tuple[float, ...], count: int, file: str) -> tuple[float, ...]:
    """Return a standard deviation for each variable."""
    if len(std) not in (1, count):
        raise DpdmError(
            f"{file} gives {len(std)} standard deviations for {count} variables.",
            "Under [error] write std = [0.1], or one for each variable.",
        )
    if not all(0 < each < math.inf for each in std):
        raise DpdmError(f"{file} has an error of {min(std):g}.", "Give one above 0.")
    return std * (count if len(std) == 1 else 1)


ExtraColumns = Mapping[str, NDArray[Any]]


def check_air_columns(what: ObservedQuantity, scene: NatureRun, file: str) -> None:
    """Refuse inconsistent settings of pressures, channels and operators on whole columns."""
    column = what.operator in OPERATOR_VARIABLES
    if bool(what.channels) != (what.operator == "brightness"):
        raise DpdmError(
            f'{file}: channels = "{what.channels}" with operator = "{what.operator}".',
            'A file of channels belongs to operator = "brightness", and that needs one.',
        )
    if what.pressures and (what.operator != "point" or not what.variables):
        raise DpdmError(
            f"{file} gives pressures without variables, or with an operator.",
            'Write variables = ["t"], for example, and no operator.',
        )
    if column and what.variables:
        raise DpdmError(
            f"{file} gives variables for {what.operator}, which uses whole columns of t.",
            "Remove variables.",
        )
    for name in ("t",) if column else what.variables if what.pressures else ():
        if not level_names(scene, name):
            raise DpdmError(
                f"{file} asks for {name} on levels of pressure, which {scene.path} lacks.",
                f"It holds {', '.join(scene.names)}.",
            )


def level_names(scene: NatureRun, family: str) -> list[str]:
    """Return the names of the levels of a variable."""
    pairs = zip(scene.names, scene.levels, strict=True)
    return [
        name
        for name, p in pairs
        if p and name.removesuffix("hPa") == f"{family}{p / PA_PER_HPA:g}"
    ]


def column_observations(
    scene: NatureRun,
    what: ObservedQuantity,
    sites: ObsLocations,
    extra: ExtraColumns,
    std: Sequence[float],
    file: str,
) -> list[SyntheticObservation]:
    """Return the observations of columns, as `synthetic_observations` does."""
    if what.pressures:
        return pressure_observations(scene, what, sites, extra, std, file)
    sounder = read_channels(Path(file).parent / what.channels) if what.channels else None
    if "t2m" not in scene.names and (sounder is None or sounder.surface.any()):
        warnings.warn(GROUND_NOTE, DpdmWarning, stacklevel=2)
    if sounder is not None:
        return [sounder_observations(scene, what, sites, extra, std, file, sounder)]
    (error,) = error_deviations(tuple(std), 1, file)
    operator = build_operator(what.operator, sites, "rlut", **what.settings())
    return [
        SyntheticObservation(
            "rlut", SATELLITE_VARIABLES["rlut"].units, operator, error, dict(extra)
        )
    ]


def pressure_observations(
    scene: NatureRun,
    what: ObservedQuantity,
    sites: ObsLocations,
    extra: ExtraColumns,
    std: Sequence[float],
    file: str,
) -> list[SyntheticObservation]:
    """Return the observations on levels, one a variable and pressure."""
    pairs = [(name, PA_PER_HPA * p) for name in what.variables for p in what.pressures]
    if len(std) == len(what.variables):
        std = np.repeat(std, len(what.pressures)).tolist()
    return [
        SyntheticObservation(
            name,
            scene.units[level_names(scene, name)[0]],
            build_operator("level", replace(sites, pressure=p), name),
            error,
            {**extra, "pressure": np.array(p)},
        )
        for (name, p), error in zip(
            pairs, error_deviations(tuple(std), len(pairs), file), strict=True
        )
    ]


def sounder_observations(
    scene: NatureRun,
    what: ObservedQuantity,
    sites: ObsLocations,
    extra: ExtraColumns,
    std: Sequence[float],
    file: str,
    sounder: SounderChannels,
) -> SyntheticObservation:
    """Return the observations of all channels of a sounder, whose errors may be correlated."""
    count, names = len(np.asarray(sites.rows)), sounder.name
    sites = replace(sites, weights=channel_weighting(scene.names, scene.levels, sounder))
    parts = [
        build_operator("brightness", sites, "tb", channel=n, **what.settings()) for n in names
    ]
    stated = tuple(std) or tuple(sounder.error[np.isfinite(sounder.error)])
    errors = np.repeat(error_deviations(stated, len(names), file), count)
    tiled = {n: np.tile(np.broadcast_to(c, count), len(names)) for n, c in extra.items()}
    tiled |= {"channel": np.repeat(names, count)}
    factor = np.linalg.cholesky(sounder.correlation).astype(np.float64)
    mixing = None if is_identity(sounder.correlation) else factor
    return SyntheticObservation(
        "tb", SATELLITE_VARIABLES["tb"].units, join_operators(parts), errors, tiled, mixing
    )


def join_operators(parts: Sequence[Operator]) -> Operator:
    """Return one operator for the values of several, one after the other."""

    def operator(fields: Fields) -> Values:
        return torch.cat([part(fields) for part in parts], dim=1)

    return operator


def synthetic_observations(
    scene: NatureRun,
    what: ObservedQuantity,
    where: Network,
    std: tuple[float, ...],
    seed: int,
    file: str,
) -> list[SyntheticObservation]:
    """Return the observations of each step.

    Args:
        scene: The nature run.
        what: The observed quantities.
        where: The locations.
        std: Standard deviation of the error: one, or one for each variable.
        seed: Seed of random locations.
        file: The file of the settings.
    """
    check_air_columns(what, scene, file)
    if scene.layout is None:
        return [
            component_observations(scene, what, where, error_deviations(std, 1, file)[0], file)
        ]
    rows, columns = choose_locations(where, scene.layout, what.factor, seed, file)
    axes = ("lat", "lon") if scene.layout.sphere else ("y", "x")
    extra: dict[str, NDArray[Any]] = dict(zip(axes, (rows, columns), strict=True))
    if what.operator != "point":
        extra |= {name: np.array(value) for name, value in what.settings().items()}
        extra |= {"operator": np.array(what.operator)}
    sites = ObsLocations(scene.layout, scene.names, rows, columns, levels=scene.levels)
    if what.pressures or what.operator in OPERATOR_VARIABLES:
        return column_observations(scene, what, sites, extra, std, file)
    names = observed_names(what, scene, file)
    return [
        SyntheticObservation(
            name,
            operator_unit(scene, what.operator, name),
            build_operator(what.operator, sites, name, **what.settings()),
            error,
            extra,
        )
        for name, error in zip(names, error_deviations(std, len(names), file), strict=True)
    ]


def component_observations(
    scene: NatureRun, what: ObservedQuantity, where: Network, std: float, file: str
) -> SyntheticObservation:
    """Return the observations of components of a state (1, C)."""
    if where != Network() or what.operator != "point":
        raise DpdmError(
            f"{file} sets places or an operator, but {scene.path} holds a state without space.",
            "Remove [where] and operator, and give components.",
        )
    chosen = what.components or scene.components
    picked = [find_name(name, scene.components, file, "component") for name in chosen]

    def operator(state: Tensor) -> Values:
        return state[:, picked]

    (name,) = scene.names
    return SyntheticObservation(
        name, scene.units[name], operator, std, {"component": np.array(chosen)}
    )


def observed_names(what: ObservedQuantity, scene: NatureRun, file: str) -> tuple[str, ...]:
    """Return the observed variables; operators on winds have the name of the eastward part."""
    if what.components and scene.layout is not None:
        raise DpdmError(f"{file} asks for components of fields.", "Give variables instead.")
    if what.operator in WIND_OPERATORS:
        if what.variables:
            raise DpdmError(
                f"{file} gives variables for {what.operator}, which finds the wind itself.",
                "Remove variables.",
            )
        east = [u for u, v in WIND_PAIRS if {u, v} <= set(scene.names)]
        return (*east, scene.names[0])[:1]
    names = what.variables or scene.names
    return tuple(scene.names[find_name(n, scene.names, file, "variable")] for n in names)


def find_name(name: str, names: Sequence[str], file: str, kind: str) -> int:
    """Return the index of a name."""
    if name not in names:
        raise DpdmError(
            f"{file} asks for the {kind} {name}, which the file lacks.",
            f"It holds {', '.join(names)}.",
        )
    return list(names).index(name)


def operator_unit(scene: NatureRun, operator: str, name: str) -> str:
    """Return the unit of an operator's values; a derivative is per metre on the sphere."""
    unit = OPERATOR_UNITS.get(operator, scene.units[name])
    sphere = scene.layout is not None and scene.layout.sphere
    return unit if sphere or unit != "s-1" else "1"
