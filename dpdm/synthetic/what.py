"""What is asked for, and what a look at it is: the words of the settings."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpdm.errors import DpdmError
from dpdm.fields.columns import SETTINGS
from dpdm.types import Operator

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
        pressures: Where variables on levels are seen, hPa, by a profile linear in log p.
        channels: Of "brightness": the file of weighting functions, from the settings' folder.
    """

    variables: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    trajectories: tuple[int, ...] = ()
    operator: str = "point"
    factor: int = 0
    radius: float = UNSAID
    level: float = UNSAID
    width: float = UNSAID
    pressures: tuple[float, ...] = ()
    channels: str = ""

    def settings(self) -> dict[str, float]:
        """Return the settings of the operator that are given."""
        said = {name: getattr(self, name) for name in SETTINGS}
        return {name: value for name, value in said.items() if value not in (0, UNSAID)}


@dataclass(frozen=True)
class Look:
    """What is seen at N places of any step.

    Attributes:
        variable: Its name.
        units: Of its values.
        operator: From fields (1, C, ...) to values (1, N).
        std: Standard deviation of the error, one or one a value.
        beside: What else is known of each value, columns of N.
        mixing: Cholesky factor of the correlations (C, C) of the errors of C channels, one after
            the other in the values; None where errors are independent.
    """

    variable: str
    units: str
    operator: Operator
    std: float | NDArray[np.float64]
    beside: dict[str, NDArray[Any]]
    mixing: NDArray[np.float64] | None = None

    def errors(self, noise: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return errors (N,) made of independent noise (N,) of variance 1."""
        if self.mixing is not None:
            noise = (self.mixing @ noise.reshape(len(self.mixing), -1)).ravel()
        return self.std * noise


def deviations(std: tuple[float, ...], count: int, file: str) -> tuple[float, ...]:
    """Return a standard deviation for each variable."""
    if len(std) not in (1, count):
        raise DpdmError(
            f"{file} gives {len(std)} standard deviations for {count} variables.",
            "Under [error] write std = [0.1], or one for each variable.",
        )
    if not all(0 < each < math.inf for each in std):
        raise DpdmError(f"{file} has an error of {min(std):g}.", "Give one above 0.")
    return std * (count if len(std) == 1 else 1)
