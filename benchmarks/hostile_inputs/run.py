"""Give every command hostile inputs, and count what comes of them.

Headers of NetCDF files, metadata of Zarr stores, headers of priors, TOML, CSV and GeoJSON files,
time axes, values, units, options, and files that are none: each drawn from a seed. A command may
refuse in two lines, name a usage error, or write a whole and finite file; all else is a fault of
dpdm. ``--show`` prints what was answered.
"""

import os
import sys
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.hostile_inputs import (
    choices,
    headers,
    masks,
    netcdf,
    places,
    settings,
    stores,
    tables,
)
from benchmarks.hostile_inputs.case import DONE, FAULTS, REFUSED, USAGE, Case, fresh, run
from tests.helpers.commands import Nursery

KINDS = {
    "NetCDF": netcdf, "Zarr": stores, "prior": headers, "CSV": tables, "GeoJSON": masks,
    "TOML": settings, "options": choices, "places": places,
}  # fmt: skip
SHARES = {
    "NetCDF": 130, "Zarr": 40, "prior": 36, "CSV": 48, "GeoJSON": 24, "TOML": 48, "options": 60,
    "places": 60,
}  # fmt: skip
OBSERVE = "[where]\nevery = 4\n[error]\nstd = [1.0]\n"


def main() -> None:
    """Run the campaign and print a table."""
    parser = common.parser(__doc__)
    parser.add_argument("--kind", choices=KINDS, help="one of the kinds  [default: all]")
    parser.add_argument("--scale", type=float, default=1.0, help="inputs, as a share of the usual")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print what was answered")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        judge(options, Path(name))


def judge(options: Namespace, folder: Path) -> None:
    """Count over all kinds."""
    made_world(folder / "world")
    counts: dict[str, Counter[str]] = {}
    for case, came, said in campaign(folder, options.seed, options.scale, options.kind):
        counts.setdefault(case.kind, Counter())[came] += 1
        if came in FAULTS or options.show:
            print(
                f"--- {case.kind}: {case.name}: {came}\n    dpdm {shown(case)}\n{tail(said)}",
                file=sys.stderr,
            )
    words = (REFUSED, USAGE, DONE, *FAULTS)
    rows = [
        (kind, sum(found.values()), *(found[word] for word in words))
        for kind, found in counts.items()
    ]
    print(common.table(("kind", "inputs", *words), [*rows, ("all", *totals(rows))]))
    found = sum(counts.values(), Counter[str]())
    targets = {word: common.target(found[word], most=0) for word in FAULTS}
    if options.scale >= 1 and not options.kind:
        targets["inputs"] = common.target(found.total(), least=300)
    common.close("hostile_inputs", dict(found), targets)


def totals(rows: list[tuple[Any, ...]]) -> Iterator[int]:
    """Yield the sum of each column of numbers."""
    for column in list(zip(*rows, strict=True))[1:]:
        yield sum(column)


def campaign(
    folder: Path, seed: int, scale: float, kind: str | None = None
) -> Iterator[tuple[Case, str, str]]:
    """Yield each case, what came of it, and what was printed.

    Args:
        folder: Where the inputs are made, beside the folder ``world``.
        seed: Of all inputs.
        scale: How many inputs, as a share of the usual.
        kind: One of the kinds; all without.
    """
    home = Path.cwd()
    with Nursery() as nursery:
        for case in drawn(seed, scale, kind):
            fresh(folder / "world", folder / "case")
            os.chdir(folder / "case")
            try:
                spoiled(case)
                yield case, *run(case, nursery, folder / "case")
            finally:
                os.chdir(home)


def drawn(seed: int, scale: float, kind: str | None) -> Iterator[Case]:
    """Yield the cases of a campaign."""
    for name, module in KINDS.items():
        if kind in (None, name):
            yield from module.cases(1000 * seed, max(round(SHARES[name] * scale), 1))


def spoiled(case: Case) -> None:
    """Make the input of a case in the current folder."""
    import warnings

    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case.make(np.random.default_rng(case.seed))


def made_world(folder: Path, taught: Any = None) -> None:
    """Write the good files from which the hostile ones are made."""
    from tests.helpers.reconstruction import plan
    from tests.helpers.small_world import TOML, coarse_world, teach, world

    folder.mkdir()
    if taught is None:
        with tempfile.TemporaryDirectory() as name:
            (folder / "prior.safetensors").write_bytes(teach(Path(name)).prior.read_bytes())
    else:
        (folder / "prior.safetensors").write_bytes(taught.prior.read_bytes())
    fine = world()
    coarse_world().to_netcdf(folder / "coarse.nc")
    fine.to_netcdf(folder / "fine.nc")
    lines = ["station,time,lat,lon,variable,value,units,error,elevation"]
    for n in range(12):
        lat, lon = float(fine["lat"][4 + 2 * n]), float(fine["lon"][4 + 3 * n])
        value = float(fine["t2m"][0, 4 + 2 * n, 4 + 3 * n])
        lines.append(f"s{n},2000-01-16,{lat},{lon},t2m,{value:.2f},K,0.5,")
    (folder / "stations.csv").write_text("\n".join(lines) + "\n")
    (folder / "small.toml").write_text(TOML)
    (folder / "observe.toml").write_text(OBSERVE)
    plan(folder, files='"coarse.nc"', members=2)
    ring = "[[105,25],[140,25],[140,45],[105,45],[105,25]]"
    area = f'{{"type":"Polygon","coordinates":[{ring}]}}'
    feature = f'{{"type":"Feature","properties":{{"name":"A"}},"geometry":{area}}}'
    (folder / "mask.geojson").write_text(f'{{"type":"FeatureCollection","features":[{feature}]}}')


def shown(case: Case) -> str:
    """Return the command of a case, its words cut short."""
    return " ".join(word[:60].encode("unicode_escape").decode() for word in case.words)


def tail(said: str) -> str:
    """Return the end of what was printed."""
    return "\n".join("    " + line[:300] for line in said.splitlines()[-6:])


if __name__ == "__main__":
    main()
