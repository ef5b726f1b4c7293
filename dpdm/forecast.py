"""Trajectories in, a surrogate of their model on the denoiser's features out, and its forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from dpdm.ensemble import EnsembleOptions, empty_variable, finish_layout, provenance
from dpdm.errors import DpdmError
from dpdm.fields.trajectories import COMPONENTS, cadence_of, check_times
from dpdm.fields.write import Writer, check_output
from dpdm.prior import Prior, find, load
from dpdm.states import refuse_field_options
from dpdm.states.axes import of_file
from dpdm.states.domain import FieldConditioning
from dpdm.states.inner import Look
from dpdm.states.trajectories import TrajectorySpace
from dpdm.surrogate import Surrogate, fitted, pairs, rmse, run, tuned
from dpdm.trajectories import split

VALID = 0.4  # standard deviations, at which a forecast is no longer valid


@dataclass(frozen=True)
class Ahead:
    """What is to be forecast, and by what.

    Attributes:
        lead: Model steps of one step of the surrogate.
        steps: Steps of the surrogate.
        look: The layers, and their noise level.
        minutes: Minutes of tuning the layers; 0 leaves them frozen.
    """

    lead: int = 10
    steps: int = 100
    look: Look = field(default_factory=lambda: Look(0.1))
    minutes: float = 0.0


def forecast(
    train: Path,
    state: Path,
    out: Path,
    prior: str,
    ahead: Ahead = Ahead(),
    options: EnsembleOptions = EnsembleOptions(),
    overwrite: bool = False,
) -> list[tuple[float, float, float]]:
    """Write what follows the last states of a file's trajectories.

    Returns:
        Lead time, and RMSE of surrogate and of persistence, in standard deviations, on the
        trajectories of the training file that were not looked at.
    """
    path = find(prior)
    check_output(out, [train, state, path], overwrite)
    known = load(path)
    lessons, begun = (components(p, known, options) for p in (train, state))
    check_times(lessons.like, train)
    check_ahead(lessons, ahead, train)
    step = cadence_of(lessons.like) * ahead.lead
    surrogate, test = surrogate_of(known, lessons, ahead, train)
    skill = judge(surrogate, test, ahead, step)
    width = known.contract.states
    last = torch.stack([x[-width:].flatten() for x in normalise_all(begun)])
    states = torch.stack([*run(surrogate, last, ahead.steps)], dim=1)
    if not bool(states.isfinite().all()):
        raise DpdmError(
            f"The forecast leaves all bounds within {ahead.steps} steps.",
            "Give fewer --steps, another --lead, or more to train on.",
        )
    made = provenance(path, [train, state], settings(ahead))
    write(begun, states, out, step, made, overwrite)
    return skill


def components(path: Path, prior: Prior, options: EnsembleOptions) -> TrajectorySpace:
    """Return trajectories of a few components."""
    if not prior.contract.states or prior.contract.plane:
        raise DpdmError(
            f"A surrogate is of trajectories of a few components, and the prior knows fields: "
            f"{', '.join(prior.normaliser.names)}.",
            "For fields, regress on what dpdm embed writes; docs/embed.md has an example.",
        )
    refuse_field_options(options, FieldConditioning(), bool(options.missing))
    return of_file(path, prior, options)


def normalise_all(space: TrajectorySpace) -> list[Tensor]:
    """Return all trajectories, normalised (T, C)."""
    return [space.normalise(space.values(step), step) for step in space.steps]


def check_ahead(lessons: TrajectorySpace, ahead: Ahead, path: Path) -> None:
    """Refuse a lead that the trajectories are too short for."""
    length, width = lessons.extent[0], lessons.prior.contract.states
    if not 1 <= ahead.lead <= length - width:
        raise DpdmError(
            f"A lead of {ahead.lead} steps does not fit into the trajectories of {path}, which "
            f"have {length} states.",
            f"Give --lead from 1 to {length - width}.",
        )


def surrogate_of(
    prior: Prior, lessons: TrajectorySpace, ahead: Ahead, path: Path
) -> tuple[Surrogate, Tensor]:
    """Return the surrogate, and the normalised trajectories that it has not seen (N, T, C)."""
    taught, last = split(lessons.like, path)
    x = torch.stack(normalise_all(lessons))
    width = prior.contract.states
    fit, hold = (pairs(part, width, ahead.lead) for part in (x[:taught], x[taught:last]))
    surrogate = Surrogate(prior, ahead.look, fit.now.shape[1]).requires_grad_(False)
    fitted(surrogate, fit, hold)
    if ahead.minutes:
        surrogate = tuned(surrogate, fit, hold, prior, ahead.minutes)
    return surrogate, x[last:]


def judge(
    surrogate: Surrogate, test: Tensor, ahead: Ahead, step: float
) -> list[tuple[float, float, float]]:
    """Return lead time and the RMSE of surrogate and persistence, as far as the test reaches.

    ``step`` is the time that a step of the surrogate takes.
    """
    width = surrogate.prior.contract.states
    windows = test.unfold(1, width, 1).movedim(-1, 2).flatten(2)
    reach = min(ahead.steps, (windows.shape[1] - 1) // ahead.lead)
    starts = range(0, windows.shape[1] - reach * ahead.lead, max(1, windows.shape[1] // 50))
    first = windows[:, list(starts)].flatten(0, 1)
    out = []
    for k, x in enumerate(run(surrogate, first, reach)):
        true = windows[:, [s + k * ahead.lead for s in starts]].flatten(0, 1)
        out.append((k * step, rmse(x, true), rmse(first, true)))
    return out[1:]


def valid(skill: Sequence[tuple[float, float, float]]) -> float:
    """Return the time until which the RMSE stays below `VALID` standard deviations.

    Example:
        >>> valid([(0.1, 0.2, 1.0), (0.2, 0.3, 1.0), (0.3, 0.5, 1.0)])
        0.2
    """
    good = 0.0
    for time, error, _ in skill:
        if not error < VALID:
            break
        good = time
    return good


def write(
    begun: TrajectorySpace,
    states: Tensor,
    out: Path,
    step: float,
    made: dict[str, str],
    overwrite: bool,
) -> None:
    """Write the last states of normalised windows (N, S, w C), a step apart, as trajectories."""
    values = begun.unscale(states[..., -len(begun.names) :].double()).movedim(1, 2)
    like = begun.like
    begin = float(like["time"].values[-1]) if like["time"].dtype.kind in "fiu" else 0.0
    words = {"long_name": "model time", "units": "1"} | like["time"].attrs
    time = xr.DataArray(begin + step * np.arange(states.shape[1]), dims="time", attrs=words)
    name, attrs = next(iter(begun.variables_written.items()))
    coords = {"trajectory": like["trajectory"], "time": time}
    coords |= {"component": like["component"]} if "component" in like.coords else {}
    sizes = dict(zip(COMPONENTS, values.shape, strict=True))
    empty = empty_variable(sizes, (1, *values.shape[1:]), attrs)
    title = f"Forecast of {made['steps']} steps by a surrogate on the features of a denoiser"
    bare = xr.Dataset({name: empty}, coords, begun.attrs)
    template = finish_layout(bare, title, made, begun.options.history)
    with Writer(out, template, overwrite) as writer:
        filled = values.numpy().astype(np.float32)
        writer.write(template.assign({name: (COMPONENTS, filled)}))


def settings(ahead: Ahead) -> dict[str, object]:
    """Return what decides the forecast beside the files."""
    return {
        "lead": ahead.lead, "steps": ahead.steps, "sigma": f"{ahead.look.sigma:g}",
        "layer": ",".join(ahead.look.layers), "tune_minutes": f"{ahead.minutes:g}",
    }  # fmt: skip


def text(skill: Sequence[tuple[float, float, float]]) -> str:
    """Return the skill at leads that double, and the valid time."""
    rows = [f"{'lead time':>9}  {'RMSE':>6}  persistence"]
    shown = [n - 1 for n in (1, 2, 4, 8, 16, 32, 64, 128) if n <= len(skill)]
    rows += [f"{t:9.4g}  {e:6.3f}  {p:11.3f}" for t, e, p in (skill[n] for n in shown)]
    rows.append(
        f"RMSE in standard deviations, on trajectories that were not looked at; below {VALID:g} "
        f"until {valid(skill):g}."
    )
    return "\n".join(rows)
