"""Members around a state: do they look like the climate, and leave the coarse field alone?

`dpdm perturb` with the prior around months of the truth of East Asia, which it has never seen: the
power of members over that of the data in bands of wavenumber (variance of cosine modes), the RMSE
of their means over blocks of 10 by 10 cells, with and without ``--consistent``, and the spread. At
a band a tenth off is allowed; ``--inflation`` shows that of `dpdm downscale` beside.
"""

from dataclasses import replace

import numpy as np
import xarray as xr

from benchmarks import common
from dpdm.evaluate.scores import spectrum
from dpdm.fields.regrid import coarsen_fields
from dpdm.perturb import PerturbationOptions, ensemble_around, spread_by_variable, strength_sigma
from dpdm.prior import find_prior, load_prior
from dpdm.states.field_domain import open_field_file
from dpdm.states.fields import FieldSpace
from dpdm.states.options import EnsembleOptions, FieldConditioning

EDGES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
BLOCKS = 10


def main() -> None:
    """Print the table and the targets."""
    parser = common.parser(__doc__)
    parser.add_argument("--months", type=int, nargs="+", default=[0, 6])
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--strengths", type=float, nargs="+", default=[0.1, 0.3, 0.6, 1.0])
    parser.add_argument("--inflation", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=0, help="noise levels; else the prior's")
    options = parser.parse_args()
    prior = load_prior(find_prior(options.prior))
    rows, targets = [], dict[str, common.Target]()
    for consistent in (False, True):
        asked = EnsembleOptions(
            members=options.members, consistent=consistent, keep="members", steps=options.steps
        )
        space = open_field_file(common.TRUTH, prior, asked, FieldConditioning())
        sampler = replace(space.sampler, inflation=options.inflation)
        space = replace(space, sampler=sampler)
        for strength in options.strengths:
            lines = judged(space, strength, options.months)
            word = "yes" if consistent else "no"
            rows += [(word, strength, strength_sigma(space, strength), *line) for line in lines]
            for name, wide, moved, *ratios in lines:
                print(word, strength, name, wide, moved, ratios, flush=True)
                off = max(abs(r - 1) for r in ratios)
                named = f"{name}, strength {strength:g}{', consistent' * consistent}"
                targets[f"{named}: power off by"] = common.target(off, most=0.1)
                if consistent:
                    targets[f"{named}: blocks moved by"] = common.target(moved, most=1e-3)
    bands = [f"to {e:g}" for e in EDGES[1:]]
    head = ("consistent", "strength", "sigma", "variable", "spread", "blocks", *bands)
    print(common.table(head, rows))
    common.close(
        "perturbation", {"rows": [dict(zip(head, r, strict=True)) for r in rows]}, targets
    )


def judged(space: FieldSpace, strength: float, months: list[int]) -> list[tuple[object, ...]]:
    """Return each variable's spread, change of block means, and power over the data's by band."""
    sums: dict[str, list[tuple[float, float, np.ndarray, np.ndarray]]] = {
        n: [] for n in space.names
    }
    for month in months:
        members, state = (
            ensemble_around(space, month, PerturbationOptions(strength)),
            space.values(month),
        )
        spreads = spread_by_variable(space, members)
        for c, name in enumerate(space.names):
            some, one = (fields(space, v) for v in (members[:, c], state[None, c]))
            off = coarsen_fields(some - one.isel(realization=0), BLOCKS)["v"]
            moved = float(np.square(off).mean())
            sums[name].append((spreads[name] ** 2, moved, power(some), power(one)))
    out = []
    for name, lines in sums.items():
        wide, moved, ours, theirs = (
            np.mean([line[k] for line in lines], axis=0) for k in range(4)
        )
        out.append((name, float(wide**0.5), float(moved**0.5), *map(float, ours / theirs)))
    return out


def fields(space: FieldSpace, values: np.ndarray) -> xr.Dataset:
    """Return members (M, H, W) of a variable, labelled."""
    dims = ("realization", "lat", "lon")
    return xr.Dataset({"v": (dims, values)}, space.grid.coords())


def power(ds: xr.Dataset) -> np.ndarray:
    """Return the variance in each band, averaged over members."""
    rings = spectrum(ds["v"]).mean("realization")
    band = np.digitize(rings["wavenumber"].values, EDGES[1:-1])
    return np.bincount(band, rings.values, len(EDGES) - 1)


if __name__ == "__main__":
    main()
