"""Commands in processes of their own, forked from one that has imported all that they need.

A process that starts anew spends seconds on imports. One that is forked is at work at once, and
takes signals, limits and its end as any other.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """A command at work.

    Attributes:
        pid: Its process.
    """

    def __init__(self, nursery: Nursery, folder: Path, pid: int) -> None:
        self.pid, self._nursery, self._folder = pid, nursery, folder
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or minus the signal that ended it, or nothing yet."""
        return self._wait(os.WNOHANG)

    def wait(self) -> int:
        """Return the exit code, or minus the signal that ended it."""
        code = self._wait(0)
        assert code is not None
        return code

    def _wait(self, how: int) -> int | None:
        if self.returncode is None:
            self.returncode = self._nursery.ask(wait=self.pid, how=how)
        return self.returncode

    @property
    def stdout(self) -> str:
        """Give what it wrote."""
        return (self._folder / "1").read_text()

    @property
    def stderr(self) -> str:
        """Give what it said."""
        return (self._folder / "2").read_text()


class Nursery:
    """The process that the others are forked from."""

    def __enter__(self) -> Nursery:
        self._place = tempfile.TemporaryDirectory()
        self._born = 0
        self._parent = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return self

    def __exit__(self, *fault: object) -> None:
        self._parent.communicate()
        self._place.cleanup()

    def ask(self, **request: Any) -> Any:
        """Send a request, and return the answer."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        print(json.dumps(request), file=self._parent.stdin, flush=True)
        return json.loads(self._parent.stdout.readline())

    def start(self, *words: object, before: str = "", **environment: str) -> Child:
        """Begin a command in this folder, after some lines of Python in its process."""
        self._born += 1
        folder = Path(self._place.name, str(self._born))
        folder.mkdir()
        pid = self.ask(
            words=list(map(str, words)), before=before, environment=os.environ | environment,
            cwd=os.getcwd(), folder=str(folder),
        )  # fmt: skip
        return Child(self, folder, pid)

    def run(self, *words: object, before: str = "", **environment: str) -> Child:
        """Begin a command, and return when it has ended."""
        child = self.start(*words, before=before, **environment)
        child.wait()
        return child


def preload() -> None:
    """Import what commands import when they run, and nothing that starts threads."""
    import cartopy.crs  # before any file is read: the wheels' C libraries clash otherwise
    import dask.array
    import distributed
    import matplotlib.figure
    import rich.live
    import rich.progress
    import scipy.sparse
    import torch._dynamo
    import xarray
    import zarr

    import dpdm.assimilate
    import dpdm.export
    import dpdm.plot
    import dpdm.reconstruct
    import dpdm.train
    from dpdm.fields.units import parse_unit

    assert all((cartopy.crs, distributed, matplotlib.figure, dpdm.assimilate, dpdm.export))
    assert all((dpdm.plot, dpdm.reconstruct, dpdm.train))
    assert all((dask.array, rich.live, rich.progress, scipy.sparse, torch._dynamo, zarr))
    xarray.backends.list_engines()
    parse_unit("mm day-1")


def serve() -> None:
    """Fork a process for each request, or wait for one."""
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], request["how"])
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                become(request)
        print(json.dumps(answer), flush=True)


def become(request: dict[str, Any]) -> None:
    """Be the command, to the end."""
    from dpdm_cli.start import main

    os.chdir(request["cwd"])
    os.environ.update(request["environment"])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number in (1, 2):
        path = Path(request["folder"], str(number))
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), number)
    sys.argv = ["dpdm", *request["words"]]
    exec(request["before"], {})
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
        code = 1
    leave(code)


def leave(code: int) -> None:
    """End as a process does, but do not free what was inherited, which takes seconds."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "cli")]
    preload()
    serve()
