"""Downscale surface pressure by physics, over its own relief and over the bundled one.

The truth is any fine file of surface pressure, as hours of ERA5 at 0.25 degree from the Climate
Data Store, and ``--statics`` its own relief, as z and lsm of ERA5. Block means of the truth are
the input. No constant of the method depends on the file.
"""

import tempfile
from argparse import Namespace
from pathlib import Path

from benchmarks import common
from dpdm.evaluate import evaluate_files
from dpdm.evaluate.table import Table
from dpdm.fields.read import open_fields
from dpdm.fields.regrid import coarsen_fields

Figures = dict[str, float]


def main() -> None:
    """Judge surface pressure with each relief."""
    parser = common.parser(__doc__)
    parser.add_argument("--fine", type=Path, required=True, help="a fine file with sp")
    parser.add_argument("--statics", type=Path, required=True, help="its own relief and land")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--factor", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(options.fine, ["sp"], options.factor, Path(folder))
        reliefs = {"own": ("--statics", options.statics), "bundled": ()}
        found = {name: score(options, files, words) for name, words in reliefs.items()}
    common.close("pressure", {"members": options.members, **found}, targets(found))


def write_files(fine: Path, names: list[str], factor: int, folder: Path) -> tuple[Path, Path]:
    """Write fields cut to whole blocks, and their block means."""
    fields = open_fields(fine, names)[names].load()
    whole = {side: slice(fields.sizes[side] // factor * factor) for side in ("lat", "lon")}
    cut, paths = fields.isel(whole), (folder / "fine.nc", folder / "coarse.nc")
    for path, part in zip(paths, (cut, coarsen_fields(cut, factor)), strict=True):
        part.to_netcdf(path)
    return paths


def downscale_and_score(
    options: Namespace, files: tuple[Path, Path], words: tuple[str | Path, ...]
) -> Table:
    """Downscale by the public command, and print and return the table of scores."""
    fine, coarse = files
    members = fine.with_name("members.nc")
    common.dpdm(
        "downscale", coarse, members, "--grid", fine, "--prior", options.prior, "--members",
        options.members, "--keep", "members", "--overwrite", *words,
    )  # fmt: skip
    table = evaluate_files(members, fine, coarse, "none")
    print(table.text())
    return table


def score(options: Namespace, files: tuple[Path, Path], words: tuple[str | Path, ...]) -> Figures:
    """Return scores of the ensemble and of reference methods."""
    table = downscale_and_score(options, files, words)
    rows = {row["method"]: row for row in table.rows}
    mean, ensemble = rows[f"mean of {options.members}"], rows[f"ensemble of {options.members}"]
    lerp, lapse = rows["lerp"]["rmse"], rows["lerp + lapse rate"]["rmse"]
    return {
        "lerp_rmse": lerp,
        "lapse_rate_rmse": lapse,
        "rmse": mean["rmse"],
        "over_lerp": mean["rmse"] / lerp,
        "crps_ratio": ensemble["crps_ratio"],
        "ssr": ensemble["ssr"],
        "bias": mean["bias"],
    }


def targets(found: dict[str, Figures]) -> dict[str, common.Target]:
    """Return what was wanted of ERA5's hours over the Alps, from 1 to 0.25 degree."""
    own, bundled = found["own"], found["bundled"]
    return {
        "own relief, RMSE (Pa)": common.target(own["rmse"], most=80),
        "own relief, over lerp": common.target(own["over_lerp"], most=0.056),
        "own relief, spread-skill": common.target(own["ssr"], 0.8, 1.2),
        "bundled relief, spread-skill": common.target(bundled["ssr"], 0.8, 1.2),
    }


if __name__ == "__main__":
    main()
