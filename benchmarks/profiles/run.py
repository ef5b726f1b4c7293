"""Profiles of temperature from a degraded background, stations and a satellite.

The ablations are those of SLAMS (Qu et al. 2024): the truth's temperature on eight levels is
known only as means over 4 to 24 cells squared (``coarse_4`` and so on; the paper's 15 and 20 do
not divide 48 by 96 cells), as means over 4 cells squared with errors of half to four times the
standard deviation of the level (``noise_0.5``), or at every 4th to 16th cell of both axes
(``sparse_4``).
Each is analysed as it is, with stations (2 m temperature and pressure, radiosondes), and with
stations and five channels of a satellite, over windows of 5 days.

Truth, and what the priors learnt, are states of the model SPEEDY (``dpdm testbed speedy``): a
simulation, and so are the observations. The first eight tenths of the series were learnt from;
settings were chosen in the next tenth (``--held``); the windows that are judged lie in the last.

Two priors of the command are judged, of states (``--prior``) and of codes (``--latent``), beside
the background, optimal interpolation (`gaussian.py`) and an ensemble Kalman analysis
(`references.py`). Errors are over each level's standard deviation over globe and year.
"""

import json
import time
from argparse import Namespace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import common
from benchmarks.observed import Observed
from benchmarks.profiles import references, report
from benchmarks.profiles.gaussian import Law, law_of
from benchmarks.profiles.scores import Scores, scores
from dpdm.fields.climatology import harmonic_basis
from dpdm.fields.read import open_fields
from dpdm.fields.time import year_fractions
from dpdm.fields.value_checks import load_checked_fields
from dpdm.observations import observation_operator
from dpdm.observations.sounder import read_channels
from dpdm.observations.table import read_observations
from dpdm.operators.linear import as_single_row, compose_maps
from dpdm.prior import load_prior
from dpdm.states.globe import GlobalSpace, observed_globe_states
from dpdm.states.options import EnsembleOptions

SETTINGS = Path(__file__).parent
SOUNDER = common.SAMPLES / "sounder.nc"
DAYS, ERROR = 5, 0.2  # states of a window; error of backgrounds that have no other, K
CASES = (
    *(f"coarse_{k}" for k in (4, 8, 12, 16, 24)),
    *(f"noise_{k}" for k in (0.5, 1, 2, 4)),
    *(f"sparse_{k}" for k in (4, 8, 12, 16)),
)
SEEN = {
    "none": (), "stations": ("surface", "sondes"),
    "all": ("surface", "sondes", "satellite"),
}  # fmt: skip
WHO = ("states", "codes", "background", "optimal", "kalman")
ENSEMBLE, LENGTH = 200, 1000.0  # of the Kalman analysis; km; chosen on the held-out tenth


def main() -> None:
    """Print the table and the targets."""
    options = arguments()
    options.build.mkdir(parents=True, exist_ok=True)
    began, bench = time.perf_counter(), Bench(options)
    done = options.build / f"profiles_{options.name}.jsonl"
    for number in range(options.windows):
        for case in options.cases:
            judge(bench, Window(bench, number), case, done)
    rows = [json.loads(line) for line in done.read_text().splitlines()]
    report.report(rows, options, (time.perf_counter() - began) / 60)


def arguments() -> Namespace:
    """Return what was asked for."""
    parser = common.parser(__doc__)
    parser.set_defaults(prior="")
    parser.add_argument("--series", nargs="+", type=Path, help="files of dpdm testbed speedy")
    parser.add_argument("--latent", default="", metavar="FILE", help="a prior of codes")
    parser.add_argument(
        "--name", default="judged", help="of this run; it goes on where it stopped"
    )
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--held", action="store_true", help="windows to choose by, not to judge")
    parser.add_argument("--members", type=int, default=10)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES)
    parser.add_argument("--seen", nargs="+", default=list(SEEN), choices=SEEN)
    parser.add_argument("--words", default="", help="further words for dpdm assimilate")
    parser.add_argument("--who", nargs="+", default=list(WHO), choices=WHO)
    return parser.parse_args()


class Bench:
    """What all windows and cases share: the series, the priors and the Gaussian law."""

    def __init__(self, options: Namespace) -> None:
        self.options = options
        self.fields = open_fields(options.series)
        count = self.fields.sizes["time"]
        self.taught = round(0.8 * count)
        first, last = (0.8, 0.9) if options.held else (0.9, 1.0)
        self.first, self.last = round(first * count), round(last * count) - DAYS
        self.priors = {"states": options.prior, "codes": options.latent}
        self.priors = {name: path for name, path in self.priors.items() if path}

    @cached_property
    def names(self) -> list[str]:
        """List the levels of temperature, from the surface upwards."""
        return [str(n) for n, a in self.fields.data_vars.items() if a.attrs.get("family") == "t"]

    @cached_property
    def levels(self) -> list[int]:
        """Number the levels among all variables."""
        return [list(self.fields.data_vars).index(n) for n in self.names]

    @cached_property
    def deviation(self) -> NDArray[np.float64]:
        """Give the standard deviation of each level over globe and time, K."""
        some = self.fields[self.names].isel(time=slice(0, self.taught, 10))
        area = np.cos(np.radians(some["lat"]))
        return np.array([float(some[n].weighted(area).std()) for n in self.names])

    @cached_property
    def states(self) -> Tensor:
        """Give the physical states (N, C, H, W) that were learnt from, float32."""
        some = load_checked_fields(self.fields.isel(time=slice(self.taught)))
        return torch.from_numpy(np.stack([a.values for a in some.data_vars.values()], 1))

    def window(self, number: int) -> xr.Dataset:
        """Return the truth of a window."""
        step = (self.last - self.first) // max(1, self.options.windows)
        begin = self.first + number * step + step // 2
        return load_checked_fields(self.fields.isel(time=slice(begin, begin + DAYS)))


class Window:
    """One window of days: the truth, its file, and what is known of its season."""

    def __init__(self, bench: Bench, number: int) -> None:
        self.bench, self.truth = bench, bench.window(number)
        self.day = str(self.truth["time"].dt.strftime("%Y-%m-%d").values[0])
        self.path = bench.options.build / f"truth_{self.day}.nc"
        if not self.path.exists():
            written(self.truth, self.path)

    @cached_property
    def values(self) -> Tensor:
        """Give the truth (C, T, H, W)."""
        arrays = [a.values for a in self.truth.data_vars.values()]
        return torch.from_numpy(np.stack(arrays)).double()

    def space(self, table: pd.DataFrame) -> GlobalSpace:
        """Return where and when the observations are."""
        known = load_prior(next(iter(self.bench.priors.values())))
        sounder = read_channels(SOUNDER) if "channel" in table else None
        return observed_globe_states(known, table, self.path, "", EnsembleOptions(), sounder)

    @cached_property
    def law(self) -> Law:
        """Give the Gaussian law of this season's windows."""
        space = self.space(pd.DataFrame())
        mean, scale = space.frame
        prior = space.prior
        cycle = prior.climatology["harmonics"].double()
        season = year_fractions(self.bench.fields["time"][: self.bench.taught])
        x = self.bench.states.clone()
        for number, row in enumerate(torch.from_numpy(harmonic_basis(season))):
            x[number] = (x[number] - torch.tensordot(row, cycle, 1)) / scale
        return law_of(x, mean.movedim(1, 0), scale)

    def background(self) -> Tensor:
        """Return windows (N, C, T, H, W) of this season, from what was learnt from."""
        days = self.bench.fields["time"][: self.bench.taught].dt.dayofyear.values
        apart = np.abs(days - int(self.truth["time"].dt.dayofyear[2]))
        near = np.flatnonzero(np.minimum(apart, 365 - apart) < 40)
        near = near[near < self.bench.taught - DAYS]
        chosen = near[np.linspace(0, len(near) - 1, min(ENSEMBLE, len(near))).astype(int)]
        windows = [self.bench.states[n : n + DAYS].movedim(0, 1) for n in chosen]
        return torch.stack(windows).double()


def written(fields: xr.Dataset, path: Path) -> None:
    """Write fields with their levels joined."""
    from dpdm.fields.metadata import add_cf_metadata
    from dpdm.fields.write import Writer

    with Writer(path, add_cf_metadata(fields, "Truth of a benchmark", {}, ""), True):
        pass


def judge(bench: Bench, window: Window, case: str, done: Path) -> None:
    """Judge all methods in one case, but those that are done, and note each as it is."""
    lines = done.read_text().splitlines() if done.exists() else []
    known = {tuple(json.loads(line)[:4]) for line in lines}
    for seen in bench.options.seen:
        files = observed(bench, window, case, seen)
        for who in bench.options.who:
            idle = who == "background" and seen != "none"
            if idle or (window.day, case, seen, who) in known:
                continue
            began = time.perf_counter()
            members = analysed(bench, window, files, who)
            found = scored(bench, window, members)
            took = time.perf_counter() - began
            line = [window.day, case, seen, who, *found, took / len(members)]
            with done.open("a", encoding="utf-8") as log:
                log.write(json.dumps(common.plain(line)) + "\n")
            print(*line[:4], *(f"{n:.3f}" for n in line[4:]), flush=True)


def scored(bench: Bench, window: Window, members: Tensor) -> Scores:
    """Return the scores of temperature on all levels."""
    truth = window.values[bench.levels].numpy()
    drawn = members[:, bench.levels].numpy()
    return scores(drawn, truth, window.truth["lat"].values, bench.deviation)


def observed(bench: Bench, window: Window, case: str, seen: str) -> list[Path]:
    """Return the files of what is observed, made by the command if they are not there."""
    build = bench.options.build
    config = build / f"{case}.toml"
    config.write_text(degraded(bench, case))
    configs = {case: config} | {kind: SETTINGS / f"{kind}.toml" for kind in SEEN[seen]}
    files = [build / f"seen_{window.day}_{kind}.nc" for kind in configs]
    for file, said in zip(files, configs.values(), strict=True):
        if not file.exists():
            common.dpdm("observe", window.path, file, "--config", said)
    return files


def degraded(bench: Bench, case: str) -> str:
    """Return what the background is, as settings of dpdm observe."""
    kind, number = case.split("_")
    std = [float(number) * float(s) if kind == "noise" else ERROR for s in bench.deviation]
    factor = 4 if kind == "noise" else int(number)
    what = f'operator = "coarse"\nfactor = {factor}\n' if kind != "sparse" else ""
    where = f"[where]\nevery = {factor}\n" if kind == "sparse" else ""
    names = json.dumps(bench.names)
    return f"seed = 4\n[what]\nvariables = {names}\n{what}{where}[error]\nstd = {std}\n"


def analysed(bench: Bench, window: Window, files: list[Path], who: str) -> Tensor:
    """Return a method's members (M, C, T, H, W)."""
    if who in bench.priors:
        return drawn(bench, window, files, who)
    table = read_observations(files)
    space = window.space(table)
    table = space.screen(table)
    table = table[table["status"] == ""].reset_index(drop=True)
    if who == "background":
        grid, shape = space.grid, (DAYS, *space.grid.shape)
        full = torch.full_like(window.values, np.nan)[None]
        full[0, bench.levels] = references.lerped(table, bench.names, shape, grid)
        return full
    seen = independent(space, table)
    if who == "optimal":
        return references.optimal(window.law, seen, bench.options.members)
    where = table["lat"].to_numpy(float), table["lon"].to_numpy(float)
    return references.transformed(window.background(), seen, where, space.grid, LENGTH)


def independent(space: GlobalSpace, table: pd.DataFrame) -> Observed:
    """Return what is seen, with errors made independent, in units of them."""
    value, error = (torch.from_numpy(table[n].to_numpy(float).copy()) for n in ("value", "error"))
    operator, white = (
        space.operator(table),
        observation_operator.whitening_operator(table, space.sounder),
    )
    if white is None:
        return Observed(lambda x: operator(x) / error.to(x), value / error, torch.ones_like(error))
    made = compose_maps(operator, as_single_row, white)
    return Observed(made, white(as_single_row(value[None]))[0], torch.ones_like(error))


def drawn(bench: Bench, window: Window, files: list[Path], who: str) -> Tensor:
    """Return the members that the command infers."""
    out = bench.options.build / f"analysis_{bench.options.name}_{who}.nc"
    common.dpdm(
        "assimilate", *files, out, "--grid", window.path, "--prior", bench.priors[who],
        "--members", bench.options.members, "--keep", "members", "--reject", 0,
        *(("--channels", SOUNDER) if any("satellite" in f.name for f in files) else ()),
        *bench.options.words.split(), "--overwrite",
    )  # fmt: skip
    found = load_checked_fields(open_fields(out))
    arrays = [
        found[n].transpose("realization", "time", "lat", "lon").values
        for n in bench.fields.data_vars
    ]
    return torch.from_numpy(np.stack(arrays, 1)).double()


if __name__ == "__main__":
    main()
