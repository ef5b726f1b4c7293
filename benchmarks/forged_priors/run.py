"""Forge the headers of priors of every kind, and count how dpdm takes it.

Priors of fields, of trajectories, of states on the globe and of codes are trained on the small
made-up worlds of the tests. Each is given headers with single values that cannot be, headers with
changes drawn by chance (seeded), and containers that are damaged; `dpdm info` and the command that
uses the prior then run in processes of their own. Prints a row a kind of prior, with the forgeries
refused, those that still work (their headers are as good as the true one), tracebacks, the longest
time and the most memory; exits 1 at any traceback or hang.
"""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

from benchmarks import common
from tests.helpers import globe_states
from tests.helpers.commands import preload
from tests.helpers.forged_headers import (
    Outcome,
    attempt,
    containers,
    forge,
    forgeries,
    said_of,
    worst,
)
from tests.helpers.gaussian_prior import gaussian
from tests.helpers.small_world import coarse_world, done, teach

HEAD = ("prior", "forged", "refused", "as good", "tracebacks", "killed", "s at most", "MB at most")


def fields() -> None:
    """Make a prior of fields."""
    coarse_world(1).to_netcdf("coarse.nc")
    teach(Path()).prior.rename("prior.safetensors")


def trajectories() -> None:
    """Make a prior of trajectories of components."""
    gaussian(3)
    Path("gaussian.safetensors").rename("prior.safetensors")


def globe(*words: str) -> None:
    """Make a prior of states on the globe."""
    globe_states.taught(Path(), *words)
    globe_states.weather(460).isel(time=slice(450, 455)).to_netcdf("truth.nc")
    Path("stations.toml").write_text(
        '[what]\nvariables = ["t850", "sp"]\n[where]\nrandom = 30\n[error]\nstd = [0.5, 50.0]\n'
    )
    done("observe", "truth.nc", "obs.nc", "--config", "stations.toml", "--overwrite")


def codes() -> None:
    """Make a prior of codes of states on the globe."""
    globe("--latent")


PERTURBED = "perturb spirals.nc out.nc --members 2 --strength 0.5 --overwrite --prior"
ANALYSIS = "assimilate obs.nc out.nc --members 1 --steps 3 --overwrite --prior"
KINDS: dict[str, tuple[Callable[[], None], str]] = {
    "fields": (fields, "downscale coarse.nc out.nc --mean --overwrite --prior"),
    "trajectories": (trajectories, PERTURBED),
    "globe": (globe, ANALYSIS),
    "codes": (codes, ANALYSIS),
}


def made(make: Callable[[], None]) -> None:
    """Make a prior in a process of its own: what training leaves running must not be forked."""
    child = os.fork()
    if not child:
        code = 1
        try:
            make()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert not os.waitpid(child, 0)[1]


def forged(prior: Path, count: int, seed: int) -> Iterator[str]:
    """Write forged.safetensors in all ways in turn, and yield what was changed."""
    out = Path("forged.safetensors")
    header = said_of(prior)
    for what, text in chain(worst(header), islice(forgeries(header, seed), count)):
        forge(prior, text, out)
        yield what
    for what, content in containers(prior):
        out.write_bytes(content)
        yield what


def tried(kind: str, count: int, seed: int) -> tuple[list[Outcome], list[str]]:
    """Forge a prior of a kind in all ways; return how the commands ended, and what went wrong."""
    make, command = KINDS[kind]
    made(make)
    prior, log = Path("prior.safetensors"), Path("log")
    assert attempt([*command.split(), prior], log, 120).code == 0, log.read_text()
    found, wrong = [], []
    for what in forged(prior, count, seed):
        for words in (("info",), command.split()):
            outcome = attempt([*words, "forged.safetensors"], log)
            found.append(outcome)
            if not outcome.clean:
                last = (outcome.stderr.splitlines() or [""])[-1][:120]
                wrong.append(f"{kind}, {words[0]}, {what}: {outcome.code} {last}")
    return found, wrong


def row(kind: str, found: list[Outcome]) -> list[str]:
    """Return a row of the table."""
    codes = [outcome.code for outcome in found if outcome.clean]
    killed = sum(outcome.code < 0 for outcome in found)
    numbers = [len(found), len(codes) - codes.count(0), codes.count(0)]
    numbers += [len(found) - len(codes) - killed, killed]
    most = [max(o.seconds for o in found), max(o.megabytes for o in found)]
    return [kind, *map(str, numbers), *(f"{value:.1f}" for value in most)]


def main() -> int:
    """Forge and count."""
    parser = common.plain_parser(__doc__)
    parser.add_argument("--count", type=int, default=100, help="forgeries by chance of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append")
    options = parser.parse_args()
    preload()
    rows, faults = [HEAD], []
    for kind in options.kind or KINDS:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            found, wrong = tried(kind, options.count, options.seed)
            os.chdir(common.ROOT)
        rows.append(tuple(row(kind, found)))
        faults += wrong
    for each in rows:
        print("  ".join(cell.rjust(max(len(r[i]) for r in rows)) for i, cell in enumerate(each)))
    print(*faults, sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
