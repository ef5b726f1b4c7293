r"""Look for seams where windows meet, and compare with the paper's way of tiling.

At the border between two neighbouring cells the excess jump is the difference across it, less the
mean of the differences on either side,

.. math:: e_j = | (f_j - f_{j-1}) - (f_{j+1} - f_j + f_{j-1} - f_{j-2}) / 2 |

which no gradient moves. A seam makes it larger on the lines where windows begin or end than on
lines three or more cells from all of these. But relief is not the same on all lines, so the
quotient of the two means is divided by that of the same members drawn through **one** window over
the whole domain, which has no borders: the same network, noise, coarse field and lines. 1.00 means
no seam. ``dpdm downscale`` takes windows of up to four times the training windows, in which this
domain has no border at all; here they are of up to twice. The truth's own quotient on these lines
is printed beside it.

Fields are single members less the lerp, cells those of the truth. Fused windows overlap and are
blended at every noise level, as in every run of ``dpdm downscale``; stitched windows touch, and
each is finished on its own, as published. Plus or minus is the standard error over months.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from benchmarks import common
from benchmarks.draws import Array, blocks, draw, one_window, task_of, touching
from dpdm.fields.grid import grid_of
from dpdm.fields.read import open_fields
from dpdm.fields.subset import centre_positions
from dpdm.prior.normaliser import to_tensor
from dpdm.states.field_posterior import Posterior
from dpdm.states.fields import FieldSpace

APART = 3  # cells between a line and the nearest border, where it counts as none
Lines = tuple[Array, Array]  # positions of borders along rows and along columns
KINDS = ("fused", "stitched")


def main() -> None:
    """Draw members three ways, and print how rough they are where windows meet."""
    parser = common.parser(__doc__)
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--widest", type=int, default=2, help="windows over those of training")
    parser.add_argument("--sampler", default="", help="as fast; the prior's own by default")
    options = parser.parse_args()
    space = task_of(common.COARSE, options.prior, options.sampler)
    space = replace(space, sampler=replace(space.sampler, widest=options.widest))
    truth = open_fields(common.TRUTH).compute()
    names = [n for n in space.prior.normaliser.names if n in truth]
    months = [
        month_of(space, truth, step, options.members) for step in range(min(options.months, 12))
    ]
    found = {
        name: {kind: judged([m[kind][:, c] for m in months]) for kind in KINDS}
        for c, name in enumerate(names)
    }
    print(common.table(HEAD, rows(found)))
    wanted = {
        f"{name}, fused windows": common.target(found[name]["fused"]["ratio"], 0.98, 1.02)
        for name in names
    }
    common.close("seams", found, wanted)


def month_of(space: FieldSpace, truth: xr.Dataset, step: int, members: int) -> dict[str, Array]:
    """Return the quotients (3, C) of fused or stitched windows, of the truth, of one window."""
    given = space.conditioning(step)
    posterior = Posterior(space.prior, given, space.sampler)
    ways = {
        "fused": posterior.denoise(space.sampler),
        "stitched": touching(space.prior, given, space.sampler),
        "one": Posterior(one_window(space), given, space.sampler).denoise(space.sampler),
    }
    own = (space.sampler.sampler, space.sampler.steps)
    fields = {k: draw(space, step, way, range(members), *own) for k, way in ways.items()}
    names = space.prior.normaliser.names
    true = to_tensor(truth.isel(time=step), names, grid_of(truth).shape).numpy()
    at = where(space, truth)
    lerp = given.lerp.numpy()[at]
    rough = {way: values[(slice(None), *at)] - lerp for way, values in fields.items()}
    lines = borders(space, posterior, at)
    return {
        kind: np.stack(
            [quotient(f, lines[kind]) for f in (rough[kind], true[None] - lerp, rough["one"])]
        )
        for kind in KINDS
    }


def where(space: FieldSpace, truth: xr.Dataset) -> tuple[slice, Any, Any]:
    """Return where the truth's cells lie in the fine grid, as an index of (C, H, W)."""
    own, other = space.grid, grid_of(truth)
    rows, columns = (
        centre_positions(a, b, step)
        for a, b, step in zip((own.lat, own.lon), (other.lat, other.lon), own.spacing, strict=True)
    )
    return slice(None), rows, columns


def borders(
    space: FieldSpace, posterior: Posterior, at: tuple[slice, Any, Any]
) -> dict[str, Lines]:
    """Return the lines on which windows begin or end, counted in the truth's cells."""
    fused = [(slice(int(r[0]), int(r[-1]) + 1), slice(int(c[0]), int(c[-1]) + 1))
             for _, r, c in posterior.windows.window_slices()]  # fmt: skip
    touch = blocks(space.grid.shape, space.prior.contract.window)
    return {
        kind: tuple(ends((p[axis] for p in places), at[axis + 1]) for axis in (0, 1))  # type: ignore[misc]
        for kind, places in zip(KINDS, (fused, touch), strict=True)
    }


def ends(spans: Iterable[slice], inside: slice) -> Array:
    """Return where windows begin or end within a part of the axis, counted from its first cell."""
    found = np.unique([(s.start, s.stop) for s in spans]) - inside.start
    length = inside.stop - inside.start
    kept: Array = found[(found >= 2) & (found <= length - 2)]
    return kept


def excess(fields: Array) -> Array:
    """Return the excess jump (..., W - 3) across the lines 2 to W - 2 of the last axis.

    Example:
        >>> excess(np.array([0.0, 1.0, 2.0, 8.0, 9.0, 10.0])).tolist()
        [2.5, 5.0, 2.5]
    """
    step = np.diff(fields, axis=-1)
    out: Array = np.abs(step[..., 1:-1] - (step[..., 2:] + step[..., :-2]) / 2)
    return out


def quotient(fields: Array, lines: Lines) -> Array:
    """Return the mean excess on borders over that elsewhere (C,), of fields (M, C, H, W)."""
    on, off = [], []
    for turned, line in zip((fields.swapaxes(-1, -2), fields), lines, strict=True):
        jumps = excess(turned)
        gap = np.abs(np.arange(2, turned.shape[-1] - 1)[:, None] - line).min(1)
        on.append(jumps[..., gap == 0])
        off.append(jumps[..., gap >= APART])
    means = [
        sum(p.sum((0, 2, 3)) for p in parts) / sum(p[:, 0].size for p in parts)
        for parts in (on, off)
    ]
    ratio: Array = means[0] / means[1]
    return ratio


def judged(months: list[Array]) -> dict[str, float]:
    """Return the mean quotients of all months, and their ratio to that of one window."""
    own, true, alone = np.mean(months, axis=0)
    each = np.array([m[0] / m[2] for m in months])
    error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else np.nan
    return {
        "borders over elsewhere": float(own), "truth": float(true), "one window": float(alone),
        "ratio": float(own / alone), "error": float(error),
    }  # fmt: skip


HEAD = ("variable, windows", "borders/elsewhere", "truth's", "one window's", "ratio", "+-")


def rows(found: dict[str, dict[str, dict[str, float]]]) -> list[tuple[Any, ...]]:
    """Return the lines of the table."""
    return [
        (f"{name}, {kind}", *values.values())
        for name, kinds in found.items()
        for kind, values in kinds.items()
    ]


if __name__ == "__main__":
    main()
