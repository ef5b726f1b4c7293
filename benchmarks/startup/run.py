"""Time ``dpdm --help``, and look for heavy imports.

The median of several runs of the installed command, each in a process of its own, after one that
fills the file cache. What it imports is asked of a process that has just printed the same help.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import common

HEAVY = ("torch", "xarray", "numpy", "netCDF4", "dask", "scipy", "pint")
ASK = """
import contextlib, io, json, sys
from dpdm_cli.main import main
with contextlib.redirect_stdout(io.StringIO()):
    main(["--help"], standalone_mode=False)
print(json.dumps(sorted(sys.modules)))
"""


def main() -> None:
    """Print the times and the imports."""
    parser = common.plain_parser(__doc__)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    script = Path(sys.executable).with_name("dpdm")
    command = [str(script)] if script.is_file() else list(common.COMMAND)
    timed([*command, "--help"])
    took = [timed([*command, "--help"]) for _ in range(runs)]
    bare = [timed([sys.executable, "-c", "pass"]) for _ in range(runs)]
    loaded = imported()
    heavy = [name for name in HEAVY if name in loaded]
    figures = {
        "median_seconds": statistics.median(took), "least_seconds": min(took),
        "greatest_seconds": max(took), "bare_python_seconds": statistics.median(bare),
    }  # fmt: skip
    print(common.table(("what", "seconds"), figures.items()))
    print(f"\n{len(loaded)} modules; heavy ones: {', '.join(heavy) or 'none'}")
    targets = {
        "dpdm --help (s)": common.target(figures["median_seconds"], most=0.2),
        "torch and xarray imported": common.target(
            float(sum(name in loaded for name in ("torch", "xarray"))), most=0
        ),
    }
    common.close("startup", {**figures, "modules": len(loaded), "heavy": heavy}, targets)


def timed(command: list[str]) -> float:
    """Return the seconds that a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def imported() -> set[str]:
    """Return the names of the modules that the help imports."""
    done = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


if __name__ == "__main__":
    main()
