"""What is seen of columns of air: levels, channels of a sounder, outgoing radiation."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.aloft import HPA
from dpdm.fields.channels import Channels, read_channels
from dpdm.fields.meant import WHOLE
from dpdm.fields.variables import REMOTE
from dpdm.operators.registry import Sites, build
from dpdm.sighted import GROUND, is_eye, weights_of
from dpdm.synthetic.scene import Scene
from dpdm.synthetic.what import Look, What, deviations
from dpdm.types import Fields, Operator, Values

Beside = Mapping[str, NDArray[Any]]


def check_air(what: What, scene: Scene, file: str) -> None:
    """Refuse settings of columns of air that do not fit each other, or the file."""
    whole = what.operator in WHOLE
    if bool(what.channels) != (what.operator == "brightness"):
        raise DpdmError(
            f'{file}: channels = "{what.channels}" with operator = "{what.operator}".',
            'A file of channels belongs to operator = "brightness", and that needs one.',
        )
    if what.pressures and (what.operator != "point" or not what.variables):
        raise DpdmError(
            f"{file} gives pressures, and not of what variables, or an operator beside.",
            'Write variables = ["t"], say, and no operator.',
        )
    if whole and what.variables:
        raise DpdmError(
            f"{file} gives variables for {what.operator}, which sees whole columns of t.",
            "Leave variables out.",
        )
    for name in ("t",) if whole else what.variables if what.pressures else ():
        if not family_of(scene, name):
            raise DpdmError(
                f"{file} asks for {name} on levels of pressure, which {scene.path} lacks.",
                f"It holds {', '.join(scene.names)}.",
            )


def family_of(scene: Scene, family: str) -> list[str]:
    """Return the names of the levels of a variable."""
    pairs = zip(scene.names, scene.levels, strict=True)
    return [name for name, p in pairs if p and name.removesuffix("hPa") == f"{family}{p / HPA:g}"]


def columns_of(
    scene: Scene, what: What, sites: Sites, beside: Beside, std: Sequence[float], file: str
) -> list[Look]:
    """Return the looks at columns of air, as `looks_at` does."""
    if what.pressures:
        return at_pressures(scene, what, sites, beside, std, file)
    sounder = read_channels(Path(file).parent / what.channels) if what.channels else None
    if "t2m" not in scene.names and (sounder is None or sounder.surface.any()):
        warnings.warn(GROUND, DpdmWarning, stacklevel=2)
    if sounder is not None:
        return [of_sounder(scene, what, sites, beside, std, file, sounder)]
    (error,) = deviations(tuple(std), 1, file)
    operator = build(what.operator, sites, "rlut", **what.settings())
    return [Look("rlut", REMOTE["rlut"].units, operator, error, dict(beside))]


def at_pressures(
    scene: Scene, what: What, sites: Sites, beside: Beside, std: Sequence[float], file: str
) -> list[Look]:
    """Return the looks at variables on levels, one a variable and pressure."""
    pairs = [(name, HPA * p) for name in what.variables for p in what.pressures]
    if len(std) == len(what.variables):
        std = np.repeat(std, len(what.pressures)).tolist()
    return [
        Look(
            name,
            scene.units[family_of(scene, name)[0]],
            build("level", replace(sites, pressure=p), name),
            error,
            {**beside, "pressure": np.array(p)},
        )
        for (name, p), error in zip(pairs, deviations(tuple(std), len(pairs), file), strict=True)
    ]


def of_sounder(
    scene: Scene,
    what: What,
    sites: Sites,
    beside: Beside,
    std: Sequence[float],
    file: str,
    sounder: Channels,
) -> Look:
    """Return the look of all channels of a sounder, whose errors may go together."""
    count, names = len(np.asarray(sites.rows)), sounder.name
    sites = replace(sites, weights=weights_of(scene.names, scene.levels, sounder))
    parts = [build("brightness", sites, "tb", channel=n, **what.settings()) for n in names]
    stated = tuple(std) or tuple(sounder.error[np.isfinite(sounder.error)])
    errors = np.repeat(deviations(stated, len(names), file), count)
    tiled = {n: np.tile(np.broadcast_to(c, count), len(names)) for n, c in beside.items()}
    tiled |= {"channel": np.repeat(names, count)}
    factor = np.linalg.cholesky(sounder.correlation).astype(np.float64)
    mixing = None if is_eye(sounder.correlation) else factor
    return Look("tb", REMOTE["tb"].units, joined(parts), errors, tiled, mixing)


def joined(parts: Sequence[Operator]) -> Operator:
    """Return the operator of the values of several, one after the other."""

    def operator(fields: Fields) -> Values:
        return torch.cat([part(fields) for part in parts], dim=1)

    return operator
