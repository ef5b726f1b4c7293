"""Downscale winds by physics, and score them beside bilinear interpolation.

The truth is any fine file of u10 and v10, as hours or months of ERA5 at 0.25 degree from the
Climate Data Store. Block means of the truth are the input. ``--climatology`` names a file with the
climatology of the place, of other years.
"""

import tempfile
from argparse import Namespace
from pathlib import Path

from benchmarks import common
from benchmarks.pressure.run import downscale_and_score, write_files

NAMES = ["u10", "v10"]
Figures = dict[str, float]


def main() -> None:
    """Judge the winds of a file."""
    parser = common.parser(__doc__)
    parser.add_argument("--fine", type=Path, required=True, help="a fine file with u10 and v10")
    parser.add_argument("--climatology", type=Path, help="the climatology of the place")
    parser.add_argument("--members", type=int, default=33)
    parser.add_argument("--factor", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(options.fine, NAMES, options.factor, Path(folder))
        found = score(options, files)
    wanted = targets(found, options.climatology is not None)
    common.close("winds", {"members": options.members, **found}, wanted)


def score(options: Namespace, files: tuple[Path, Path]) -> dict[str, Figures]:
    """Return the scores of each component."""
    words = ("--climatology", options.climatology) if options.climatology else ()
    table = downscale_and_score(options, files, words)
    found = {}
    for name in NAMES:
        rows = {row["method"]: row for row in table.rows if row["variable"] == name}
        mean, ensemble = (rows[f"{kind} of {options.members}"] for kind in ("mean", "ensemble"))
        found[name] = {
            "lerp_rmse": rows["lerp"]["rmse"],
            "rmse": mean["rmse"],
            "over_lerp": mean["rmse"] / rows["lerp"]["rmse"],
            "crps_ratio": ensemble["crps_ratio"],
            "ssr": ensemble["ssr"],
        }
    return found


def targets(found: dict[str, Figures], climatology: bool) -> dict[str, common.Target]:
    """Return what was wanted: of hours .88 of lerp, of months .85, with a climatology .62, .75."""
    most = {"u10": 0.62, "v10": 0.75} if climatology else dict.fromkeys(NAMES, 0.88)
    return {
        f"{name}, {what}": target
        for name in NAMES
        for what, target in {
            "over lerp": common.target(found[name]["over_lerp"], most=most[name]),
            "spread-skill": common.target(found[name]["ssr"], 0.85, 1.15),
        }.items()
    }


if __name__ == "__main__":
    main()
