"""What is seen of a scene: an operator, a unit and an error for each variable."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dpdm.errors import DpdmError
from dpdm.fields.meant import WHOLE
from dpdm.fields.values import SEEN
from dpdm.operators.registry import OF_WIND, WINDS, Sites, build
from dpdm.synthetic.air import check_air, columns_of
from dpdm.synthetic.scene import Scene
from dpdm.synthetic.sites import Where, choose
from dpdm.synthetic.what import Look, What, deviations
from dpdm.types import Values


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
    """
    check_air(what, scene, file)
    if scene.layout is None:
        return [of_components(scene, what, where, deviations(std, 1, file)[0], file)]
    rows, columns = choose(where, scene.layout, what.factor, seed, file)
    axes = ("lat", "lon") if scene.layout.sphere else ("y", "x")
    beside: dict[str, NDArray[Any]] = dict(zip(axes, (rows, columns), strict=True))
    if what.operator != "point":
        beside |= {name: np.array(value) for name, value in what.settings().items()}
        beside |= {"operator": np.array(what.operator)}
    sites = Sites(scene.layout, scene.names, rows, columns, levels=scene.levels)
    if what.pressures or what.operator in WHOLE:
        return columns_of(scene, what, sites, beside, std, file)
    names = names_of(what, scene, file)
    return [
        Look(
            name,
            unit_of(scene, what.operator, name),
            build(what.operator, sites, name, **what.settings()),
            error,
            beside,
        )
        for name, error in zip(names, deviations(std, len(names), file), strict=True)
    ]


def of_components(scene: Scene, what: What, where: Where, std: float, file: str) -> Look:
    """Return the look at components of a state (1, C)."""
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
    """Return where a name stands."""
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
