"""Send signals to commands during large writes, at moments drawn by chance, and count the faults.

SIGINT, SIGTERM and SIGHUP, some of them twice, and ``kill -9``, to lerp, downscale, train,
reconstruct (with workers too) and export, on the small made-up world of the tests. A hang is a
command that is not gone 20 s after the signal; a fault is any exit code but the signal's, or any
words but the one sentence; a file left is a temporary file, or an output of a run that was ended.
After ``kill -9`` the same command is run again, and nothing of the killed one may be left.
"""

import os
import sys
import tempfile
from argparse import Namespace
from dataclasses import astuple
from pathlib import Path

from benchmarks import common
from benchmarks.common import target
from tests.helpers import signal_shots
from tests.helpers.commands import Nursery
from tests.helpers.small_world import teach


def main() -> None:
    """Send the signals, and print a table."""
    parser = common.parser(__doc__)
    parser.add_argument("--shots", type=int, default=12, help="signals to each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=signal_shots.CASES, help="commands")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        judge(options, Path(folder))


def judge(options: Namespace, folder: Path) -> None:
    """Send all signals in a scratch folder."""
    taught = teach(folder)
    signal_shots.site(folder, taught)
    signal_shots.large(folder)
    names = options.only or list(signal_shots.CASES)
    with Nursery() as nursery:
        seen = signal_shots.campaign(nursery, folder, names, options.shots, options.seed)
    os.chdir("/")
    rows = [(name, *astuple(count)[:-1]) for name, count in seen.items()]
    for fault in (fault for count in seen.values() for fault in count.faults):
        print(fault, file=sys.stderr)
    head = ("command", "signals", "ended", "hangs", "faults", "files left", "slowest, s")
    print(common.table(head, rows))
    signals, _, hangs, faults, left, slowest = zip(*(row[1:] for row in rows), strict=True)
    figures = {"signals": sum(signals), "slowest": max(slowest)}
    none = {"hangs": sum(hangs), "faults": sum(faults), "files left": sum(left)}
    common.close("signals", figures, {k: target(v, most=0) for k, v in none.items()})


if __name__ == "__main__":
    main()
