"""What a writer does at the limits of the disk and of memory, each in a process of its own."""

import json
import subprocess
import sys

import pytest

# Members of 480 kB; the kernel refuses to let any file grow beyond the limit. Of several cases
# each is a fork.
SCRIPT = """
import json, os, resource, signal, sys
from pathlib import Path
import dask.array as da, numpy as np, xarray as xr
from dpdm.errors import DpdmError
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.write import Writer

def run(path, members, limit):
    axes = {"realization": range(members), "lat": np.arange(300) / 10, "lon": np.arange(400) / 10}
    zeros = da.zeros((members, 300, 400), dtype="f4", chunks=(1, 300, 400))
    ds = xr.Dataset({"t2m": (tuple(axes), zeros)}, axes)
    rng = np.random.default_rng(0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    template = add_cf_metadata(ds, "", {}, "")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with Writer(path, template) as out:
            for member in range(members):
                noise = rng.normal(280, 5, (1, 300, 400)).astype("f4")
                out.write(ds.isel(realization=[member]) + noise)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    except DpdmError as fault:
        return f"SAID {fault}"

cases = json.loads(sys.argv[1])
for case in cases:
    sys.stdout.flush()
    if len(cases) == 1 or not os.fork():
        Path(case[0]).parent.mkdir()
        print(json.dumps(run(Path(case[0]), *case[1:])))
        sys.exit()
    assert os.wait()[1] == 0
"""
TIGHT = [(limit, suffix) for limit in (3_000, 65_536) for suffix in (".nc", ".nc4", ".zarr")]


def come_of(cases):
    command = [sys.executable, "-c", SCRIPT, json.dumps(cases)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(map(json.loads, result.stdout.splitlines()))


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What came of each tight case: a path that is alone in its folder, and what was said."""
    home = tmp_path_factory.mktemp("limits")
    paths = [home / f"{limit}{suffix}" / f"a{suffix}" for limit, suffix in TIGHT]
    cases = [(str(path), 2, limit) for path, (limit, _) in zip(paths, TIGHT, strict=True)]
    return dict(zip(TIGHT, zip(paths, come_of(cases), strict=True), strict=True))


@pytest.mark.parametrize("case", TIGHT)
def test_no_room_is_a_sentence_and_leaves_nothing(said, case):
    path, words = said[case]
    assert words.startswith(f"SAID {path} cannot be written")
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_memory_does_not_grow_with_members(tmp_path, suffix):
    cases = [(str(tmp_path / str(n) / f"a{suffix}"), n, 1 << 30) for n in (2, 40)]
    few, many = (come_of([case])[0] for case in cases)
    # 38 more members would take 18,000 kB if they were kept; 8,000 is the allocator's play.
    assert many - few < 8_000


# One thread writes small files while another reads steps of a file, which HDF5 alone survives not.
AT_ONCE = """
import sys, threading, time
from pathlib import Path
import dask.array as da, numpy as np, xarray as xr
from dpdm.fields.metadata import add_cf_metadata
from dpdm.fields.read import open_fields
from dpdm.fields.value_checks import load_checked_fields
from dpdm.fields.write import Writer
folder, end = Path(sys.argv[1]), time.monotonic() + 60
axes = {"time": xr.date_range("2000-01", periods=99, freq="MS"), "lat": np.arange(20.0)}
axes["lon"] = np.arange(30.0)
ones = np.full((99, 20, 30), 280, "f4")
xr.Dataset({"t2m": (tuple(axes), ones, {"units": "K"})}, axes).to_netcdf(folder / "in.nc")
fields = open_fields(folder / "in.nc")
one = fields.isel(time=[0]).compute()
template = add_cf_metadata(one.chunk(), "", {}, "")
done = [0, 0]
def on():
    return min(done) < 60 and time.monotonic() < end
def write():
    while on():
        with Writer(folder / "out.nc", template, True) as out:
            out.write(one)
        done[0] += 1
writing = threading.Thread(target=write)
writing.start()
while on():
    load_checked_fields(fields.isel(time=done[1] % 99))
    done[1] += 1
writing.join()
print(*done)
"""


def test_one_thread_reads_while_another_writes(tmp_path):
    command = [sys.executable, "-c", AT_ONCE, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr  # a signal, where they disturb each other
    assert all(int(count) > 5 for count in found.stdout.split())
