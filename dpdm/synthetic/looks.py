"""What is seen of a scene: an operator, a unit and an error for each variable."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.fields.columns import SETTINGS
from dpdm.fields.values import SEEN
from dpdm.operators.registry import OF_WIND, WINDS, Sites, build
from dpdm.synthetic.scene import Scene
from dpdm.synthetic.sites import Where, choose
from dpdm.types import Operator, Values

UNSAID = -math.inf


@dataclass(frozen=True)
class What:
    """Section ``[what]``: what is seen.

    Attributes:
        variables: Names of the fields, each seen everywhere; empty for all of them.
        components: Components of a state without space; empty for all.
        trajectories: Numbers of the trajectories of a test bed; empty for all.
        operator: "point", the value; "coarse", the mean over a block of cells; "speed",
            "vorticity", "saturating_vorticity" and so on, as the observation operators are named.
        factor: Of "coarse": cells along the sides of a block.
        radius: Of "mean": of the disc, in m on the sphere.
        level: Of "threshold" and "exceedance".
        width: Of "threshold" and "exceedance": how wide the step is.
    """

    variables: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    trajectories: tuple[int, ...] = ()
    operator: str = "point"
    factor: int = 0
    radius: float = UNSAID
    level: float = UNSAID
    width: float = UNSAID

    def settings(self) -> dict[str, float]:
        """Return the settings of the operator that are given."""
        said = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in said.items() if value not in (0, UNSAID)}


@dataclass(frozen=True)
class Look:
    """One variable, seen at N places of any step.

    Attributes:
        variable: Its name.
        units: Of its values.
        operator: From fields (1, C, ...) to values (1, N).
        std: Standard deviation of the error.
        beside: What else is known of each value, columns of N.
    """

    variable: str
    units: str
    operator: Operator
    std: float
    beside: dict[str, NDArray[Any]]


def looks_at(
    scene: Scene, what: What, where: Where, std: tuple[float, ...], seed: int, file: str
) -> list[Look]:
    """Return what is seen of each step.

    Args:
        scene: What can be seen.
        what: What is asked for.
        where: The places.
        std: Standard deviation of the error: one, or one for each variable.
        seed: Decides random places.
        file: What holds the settings.

    Raises:
        DpdmError: When the settings do not fit the scene.
    """
    names = names_of(what, scene, file)
    errors = deviations(std, len(names), file)
    if scene.layout is None:
        return [of_components(scene, what, where, errors[0], file)]
    rows, columns = choose(where, scene.layout, what.factor, seed, file)
    axes = ("lat", "lon") if scene.layout.sphere else ("y", "x")
    beside: dict[str, NDArray[Any]] = dict(zip(axes, (rows, columns), strict=True))
    if what.operator != "point":
        beside |= {name: np.array(value) for name, value in what.settings().items()}
        beside |= {"operator": np.array(what.operator)}
    sites = Sites(scene.layout, scene.names, rows, columns)
    return [
        Look(
            name,
            unit_of(scene, what.operator, name),
            build(what.operator, sites, name, **what.settings()),
            std,
            beside,
        )
        for name, std in zip(names, errors, strict=True)
    ]


def of_components(scene: Scene, what: What, where: Where, std: float, file: str) -> Look:
    """Return the look at components of a state (1, C).

    Raises:
        DpdmError: When there is no such component, or a place is asked for.
    """
    if where != Where() or what.operator != "point":
        raise DpdmError(
            f"{file} asks for places or an operator, but {scene.path} holds a state without "
            "space.",
            "Leave [where] and operator out, and give components.",
        )
    chosen = what.components or scene.components
    picked = [position(name, scene.components, file, "component") for name in chosen]

    def operator(state: Tensor) -> Values:
        return state[:, picked]

    (name,) = scene.names
    return Look(name, scene.units[name], operator, std, {"component": np.array(chosen)})


def names_of(what: What, scene: Scene, file: str) -> tuple[str, ...]:
    """Return the variables to look at; what is seen of a wind goes by its eastward part."""
    if what.components and scene.layout is not None:
        raise DpdmError(f"{file} asks for components of fields.", "Give variables instead.")
    if what.operator in OF_WIND:
        if what.variables:
            raise DpdmError(
                f"{file} gives variables for {what.operator}, which finds the wind itself.",
                "Leave variables out.",
            )
        east = [u for u, v in WINDS if {u, v} <= set(scene.names)]
        return (*east, scene.names[0])[:1]
    names = what.variables or scene.names
    return tuple(scene.names[position(n, scene.names, file, "variable")] for n in names)


def position(name: str, names: Sequence[str], file: str, kind: str) -> int:
    """Return where a name stands.

    Raises:
        DpdmError: When it is not there.
    """
    if name not in names:
        raise DpdmError(
            f"{file} asks for the {kind} {name}, which the file lacks.",
            f"It holds {', '.join(names)}.",
        )
    return list(names).index(name)


def unit_of(scene: Scene, operator: str, name: str) -> str:
    """Return the unit of an operator's values; a derivative is per metre on the sphere."""
    unit = SEEN.get(operator, scene.units[name])
    sphere = scene.layout is not None and scene.layout.sphere
    return unit if sphere or unit != "s-1" else "1"


def deviations(std: tuple[float, ...], count: int, file: str) -> tuple[float, ...]:
    """Return a standard deviation for each variable.

    Raises:
        DpdmError: When there are too few or too many, or one is not positive.
    """
    if len(std) not in (1, count):
        raise DpdmError(
            f"{file} gives {len(std)} standard deviations for {count} variables.",
            "Under [error] write std = [0.1], or one for each variable.",
        )
    if not all(0 < each < math.inf for each in std):
        raise DpdmError(f"{file} has an error of {min(std):g}.", "Give one above 0.")
    return std * (count if len(std) == 1 else 1)
