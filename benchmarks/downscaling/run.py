"""Downscale East Asia, which the bundled prior has never seen, and score it against the truth.

ERA5's monthly climatology of 2 m temperature and precipitation (15-55N, 95-150E) is averaged to
2.5 degrees and downscaled to 0.25. ``--factor 8`` and ``--factor 4`` start from 2 and from 1
degree; they need the global file that ``sample_data/make.py`` makes. Ratios are to lerp: RMSE over
its RMSE, fair CRPS over its mean absolute error.

A perfect ensemble of M members has a mean whose RMSE is sqrt(1 + 1/M) of the infinite one's, which
``--mean`` estimates, so that is judged from one side: it may be at most 1% above.

``--samplers`` compares samplers and step counts on the box 30-60E, 20-45N, held out of training
too, and ``--inflation`` chooses the ensemble's width there, so that the defaults need no look at
East Asia. ``--ablation`` trains short priors without parts of what the bundled one is given. All
three need the global file.
"""

import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

from benchmarks import common
from benchmarks.downscaling import ablation, samplers
from benchmarks.downscaling.region import EAST_ASIA, cut
from dpdm.evaluate import evaluate_files

Figures = dict[str, float]
WITHOUT = ("--climatology", "none")  # for the truth is the bundled climatology itself
TARGETS = {"t2m": {"rmse": 0.45, "crps": 0.33}, "tp": {"rmse": 0.85, "crps": 0.57}}


def main() -> None:
    """Do what the options ask for."""
    parser = common.parser(__doc__)
    parser.add_argument("--members", type=int, default=33)
    parser.add_argument("--factor", type=int, default=10, choices=(4, 8, 10))
    parser.add_argument("--samplers", action="store_true", help="compare samplers instead")
    parser.add_argument("--inflation", action="store_true", help="choose the inflation instead")
    parser.add_argument("--ablation", action="store_true", help="compare short priors instead")
    parser.add_argument("--minutes", type=float, default=10, help="of training, for each ablation")
    parser.add_argument(
        "--months", type=int, default=12, help="of the year, for --samplers and --inflation"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.samplers:
            samplers.compare(options, Path(folder))
        elif options.inflation:
            samplers.inflate(options, Path(folder))
        elif options.ablation:
            ablation.compare(options, Path(folder))
        else:
            judge(options, Path(folder))


def judge(options: Namespace, folder: Path) -> None:
    """Downscale with the public command, print the scores and the targets."""
    coarse, truth = files(options, folder)
    members, mean = folder / "members.nc", folder / "mean.nc"
    ran = common.dpdm(
        "downscale", coarse, members, "--prior", options.prior, "--members", options.members,
        "--keep", "members", *WITHOUT,
    )  # fmt: skip
    common.dpdm("downscale", coarse, mean, "--prior", options.prior, "--mean", *WITHOUT)
    # the truth is the bundled climatology itself
    scores = evaluate_files(members, truth, coarse, "none", {"one evaluation": mean})
    print(scores.text())
    names = dict.fromkeys(row["variable"] for row in scores.rows)
    found = {name: figures(scores.rows, name, options.members) for name in names}
    wanted = targets(found) if options.factor == 10 and options.members >= 33 else {}
    said = {"factor": options.factor, "members": options.members, "seconds": ran.seconds}
    common.close("downscaling", {**said, **found}, wanted)


def files(options: Namespace, folder: Path) -> tuple[Path, Path]:
    """Return the coarse file and the truth: those of the repository, or cut from the globe."""
    if options.factor == 10:
        return common.COARSE, common.TRUTH
    return cut(options.build, folder, EAST_ASIA, options.factor)


def figures(rows: list[dict[str, Any]], name: str, members: int) -> Figures:
    """Return the numbers of one variable that count."""
    by = {row["method"]: row for row in rows if row["variable"] == name}
    mean, ensemble = by[f"mean of {members}"], by[f"ensemble of {members}"]
    return {
        "rmse_ratio": mean["rmse_ratio"],
        "crps_ratio": ensemble["crps_ratio"],
        "ssr": ensemble["ssr"],
        "one_evaluation_over_mean": by["one evaluation"]["rmse"] / mean["rmse"],
        "one_member_ratio": by["one member"]["rmse_ratio"],
        "bias": mean["bias"],
        "lerp_rmse": by["lerp"]["rmse"],
        "consistency": mean["consistency"],
    }


def targets(found: dict[str, Figures]) -> dict[str, common.Target]:
    """Return what was wanted."""
    wanted: dict[str, common.Target] = {}
    for name, most in TARGETS.items():
        here = found[name]
        wanted |= {
            f"{name} RMSE ratio": common.target(here["rmse_ratio"], most=most["rmse"]),
            f"{name} CRPS ratio": common.target(here["crps_ratio"], most=most["crps"]),
            f"{name} SSR": common.target(here["ssr"], 0.9, 1.1),
            f"{name} --mean over mean": common.target(here["one_evaluation_over_mean"], most=1.01),
        }
    return wanted | {
        "t2m one member ratio": common.target(found["t2m"]["one_member_ratio"], most=1.0)
    }


if __name__ == "__main__":
    main()
