r"""Write an ensemble of equally likely states around a state.

Noise is added up to a level, :math:`x_\sigma = x_0 + \sigma z`, and removed by the prior's sampler
from that level on. Scales below the noise are drawn from the prior, scales above it are conserved,
so members are on the attractor, or in the climate, and the level determines their spread.
``strength`` is the fraction of the prior's noise schedule, from its end: 0 is no noise, 1 forgets
the state. For a Gaussian prior :math:`N(m, \Lambda)` members are distributed as

.. math:: N\left(m + \sqrt{\tfrac{\Lambda}{\Lambda + \sigma^2}} (x_0 - m),\;
          \tfrac{\Lambda \sigma^2}{\Lambda + \sigma^2}\right).

References:
    Finn et al. (2024), https://doi.org/10.5194/npg-31-409-2024, section 3.3.
    Meng et al. (2022), SDEdit, https://arxiv.org/abs/2108.01073, algorithm 1.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dpdm.diffusion.noise import level_at_share
from dpdm.errors import DpdmError, DpdmWarning, name_not_found
from dpdm.fields.write import Writer
from dpdm.file_group import Source, paths_of
from dpdm.paths import check_output
from dpdm.prior import find_prior, load_prior
from dpdm.states import open_states
from dpdm.states.ensemble import ensemble_provenance, finish_layout
from dpdm.states.options import EnsembleOptions, FieldConditioning
from dpdm.states.sampling import StateSpace, Step, draw_ensemble, step_blocks
from dpdm.system import check_required_memory

Array = NDArray[np.float64]
HALVINGS, TOLERANCE = 12, 0.01  # of the search for a spread: steps, and relative error


@dataclass(frozen=True)
class PerturbationOptions:
    """Options of perturbations.

    Attributes:
        strength: Perturbation amplitude, a fraction of the prior's noise schedule, 0 to 1.
        target: Variable and spread, in the prior's units, from which the strength is found, or
            None. Without a name, the spread of all variables in their standard deviations.
        centred: Whether the ensemble mean is the state.
    """

    strength: float = 0.3
    target: tuple[str, float] | None = None
    centred: bool = False


@dataclass(frozen=True)
class CalibrationPoint:
    """A point of the calibration curve.

    Attributes:
        strength: Fraction of the noise schedule.
        sigma: Noise level.
        spread: Standard deviation over members, RMS over cells, by variable.
    """

    strength: float
    sigma: float
    spread: dict[str, float]


def perturb(
    state: Source,
    ensemble: Path,
    prior: str = "default",
    options: EnsembleOptions = EnsembleOptions(members=50, keep="members"),
    perturbation: PerturbationOptions = PerturbationOptions(),
    conditioning: FieldConditioning = FieldConditioning(),
    overwrite: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[CalibrationPoint]:
    """Write an ensemble around every state of a file, and return the calibration curve.

    For a target spread, the strength is found at the first state. The last point is that of the
    written ensemble, over all states.
    """
    path = find_prior(prior)
    inputs = [state, conditioning, options, options.climatology_file, path]
    check_output(ensemble, inputs, overwrite)
    check_perturbation(perturbation, options)
    space = open_states(state, load_prior(path), options, conditioning)
    curve = [] if perturbation.target is None else calibrate(space, perturbation)
    if curve:
        perturbation = replace(perturbation, strength=curve[-1].strength)
    if perturbation.strength == 0:
        message = "Strength 0 adds no noise: every member is the state itself."
        warnings.warn(message, DpdmWarning, stacklevel=2)
    settings = perturbation_settings(space, perturbation, curve)
    provenance = ensemble_provenance(path, paths_of(state), settings)
    title = f"Ensemble around {state.name} with the prior {path.stem}"
    template = finish_layout(space.template(), title, provenance, options.history)
    spreads = []
    with Writer(ensemble, template, overwrite) as writer:
        for done, step in enumerate(space.steps, 1):
            members = ensemble_around(space, step, perturbation)
            spreads.append(spread_by_variable(space, members))
            for block in step_blocks(space, step, members):
                writer.write(block)
            report(done, len(space.steps))
    written = mean_point(space, perturbation.strength, spreads)
    return [*sorted(curve, key=lambda p: p.strength), written]


def check_perturbation(perturbation: PerturbationOptions, options: EnsembleOptions) -> None:
    """Refuse a strength outside the schedule, and a spread that is not positive."""
    if not 0 <= perturbation.strength <= 1:
        raise DpdmError(
            f"The strength {perturbation.strength:g} is beyond the prior's range.",
            "Give a fraction of its noise schedule, from 0 (no noise) to 1 (state forgotten).",
        )
    if perturbation.target and not 0 < perturbation.target[1] < math.inf:
        raise DpdmError(
            f"The target spread is {perturbation.target[1]:g}.", "Give a number above 0."
        )
    if options.members < 2:
        raise DpdmError(f"{options.members} members have no spread.", "Give --members 2 or more.")


def strength_sigma(space: StateSpace, strength: float) -> float:
    """Return the noise level of a strength."""
    sampler = space.sampler
    return level_at_share(sampler.schedule, strength, sampler.sigma_min, sampler.sigma_max)


def ensemble_around(space: StateSpace, step: Step, perturbation: PerturbationOptions) -> Array:
    """Return the physical members (M, C, ...) around one state."""
    state, count = space.values(step), space.options.members
    check_required_memory(3 * count * state.nbytes, "The members take", "Give fewer --members.")
    sigma = strength_sigma(space, perturbation.strength)
    if not sigma:
        return np.repeat(state[None], count, axis=0)
    sampler, seed = space.sampler.truncate(sigma), space.options.seed
    members = np.stack([*draw_ensemble(space, step, sampler, range(count), seed, around=state)])
    return space.centre(members, step) if perturbation.centred else members


def spread_by_variable(space: StateSpace, members: Array) -> dict[str, float]:
    """Return the standard deviation over members (M, C, ...), RMS over cells, by variable."""
    variance = members.var(0, ddof=1) * space.weights
    mean_square = variance.reshape(len(variance), -1).mean(1)
    return dict(zip(space.names, map(float, np.sqrt(mean_square)), strict=True))


def mean_point(
    space: StateSpace, strength: float, spreads: Sequence[dict[str, float]]
) -> CalibrationPoint:
    """Return strength, noise level and the spread over all states."""
    mean = {n: math.sqrt(np.mean([s[n] ** 2 for s in spreads])) for n in space.names}
    return CalibrationPoint(strength, strength_sigma(space, strength), mean)


def calibrate(space: StateSpace, perturbation: PerturbationOptions) -> list[CalibrationPoint]:
    """Return the points by which the strength of a spread is found, the nearest last.

    The members' noise is that of the file: with it the spread rises with the strength, and is met
    by halving.
    """
    name, target = perturbation.target or ("", 0.0)
    measure = spread_measure(space, name)

    def at(strength: float) -> CalibrationPoint:
        members = ensemble_around(space, space.steps[0], PerturbationOptions(strength))
        return mean_point(space, strength, [spread_by_variable(space, members)])

    curve = [at(1.0)]
    if (largest := measure(curve[0])) < target:
        raise DpdmError(
            f"A spread of {target:g} is beyond the prior's range: at strength 1 it is "
            f"{largest:.3g}.",
            "Give a smaller --target-spread.",
        )
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        curve.append(at((low + high) / 2))
        spread = measure(curve[-1])
        if abs(spread / target - 1) < TOLERANCE:
            break
        low, high = (low, curve[-1].strength) if spread > target else (curve[-1].strength, high)
    return sorted(curve, key=lambda p: -abs(math.log(max(measure(p), 1e-300) / target)))


def spread_measure(space: StateSpace, name: str) -> Callable[[CalibrationPoint], float]:
    """Return the function that reads the target spread from a point."""
    channels = space.prior.normaliser.channels
    stds = {c.name: c.std for c in channels}
    untransformed = all(c.transform == "identity" for c in channels)
    if name and name not in stds:
        hint = f"Use --target-spread {{}}=NUMBER{', or a NUMBER for all' * untransformed}."
        raise name_not_found(name, stds, hint, "The prior")
    if name:
        return lambda p: p.spread[name]
    if not untransformed:
        raise DpdmError(
            "The prior's variables have no common spread, because one of them is transformed.",
            f"Name one, as in --target-spread {next(iter(stds))}=NUMBER.",
        )
    return lambda p: math.sqrt(np.mean([(p.spread[n] / stds[n]) ** 2 for n in stds]))


def perturbation_settings(
    space: StateSpace, perturbation: PerturbationOptions, curve: Sequence[CalibrationPoint]
) -> dict[str, object]:
    """Return the settings of the ensemble for its provenance."""
    strength = perturbation.strength
    settings: dict[str, object] = {
        "seed": space.options.seed, "members": space.options.members,
        "strength": f"{strength:g}", "sigma": f"{strength_sigma(space, strength):g}",
        "centred": str(perturbation.centred).lower(), "sampler": space.sampler.sampler,
        "steps": space.sampler.steps,
    }  # fmt: skip
    settings |= space.notes
    if "factor" in space.notes:  # a field, whose block means may be conserved
        settings["consistent"] = str(space.options.consistent).lower()
    if curve:
        rising = sorted(curve, key=lambda p: p.strength)
        settings["calibration"] = json.dumps([[p.strength, p.sigma, p.spread] for p in rising])
    return settings


def format_calibration(points: Sequence[CalibrationPoint]) -> str:
    """Return the calibration curve as a table; the last line is the written ensemble."""
    names = list(points[0].spread)
    head = ["strength", "sigma", *(f"spread of {n}" for n in names)]
    lines = [
        head,
        *([f"{v:.4g}" for v in (p.strength, p.sigma, *p.spread.values())] for p in points),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(c.rjust(w) for c, w in zip(n, widths, strict=True)) for n in lines]
    return "\n".join(rows)
