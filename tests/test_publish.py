"""Outputs are whole or not there, replace nothing by themselves, and are never an input."""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm import publish
from dpdm.errors import DpdmError
from dpdm.fields.read import open_fields
from dpdm.fields.write import Writer, write_text
from dpdm.paths import check_output
from dpdm.publish import Draft, open_draft
from dpdm.tensor_files import write_safetensors
from tests.helpers.small_world import dpdm, world
from tests.helpers.written_files import fields, finished, written


def netcdf(path: Path, number: float) -> None:
    ds = fields() * number
    with Writer(path, finished(ds)) as out:
        out.write(ds)


def text(path: Path, number: float) -> None:
    write_text(path, str(number))


def weights(path: Path, number: float) -> None:
    write_safetensors({"a": torch.tensor([number])}, path, {}, overwrite=False)


KINDS = {".nc": netcdf, ".zarr": netcdf, ".csv": text, ".safetensors": weights}


def no_links(*words: object, **more: object) -> NoReturn:
    raise OSError(errno.EPERM, "no hard links here")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("suffix", KINDS)
def test_what_appeared_meanwhile_is_not_replaced(
    tmp_path: Path, suffix: str, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, write = tmp_path / f"a{suffix}", KINDS[suffix]
    if not links and suffix != ".zarr":  # which makes links of its own
        monkeypatch.setattr(os, "link", no_links)
    real = Draft.publish

    def late(one: Draft) -> None:
        monkeypatch.setattr(Draft, "publish", real)
        write(path, 1.0)  # by another run
        real(one)

    monkeypatch.setattr(Draft, "publish", late)
    with pytest.raises(DpdmError, match="created meanwhile") as refusal:
        write(path, 2.0)
    assert "--overwrite" in refusal.value.hint
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    other = tmp_path / f"b{suffix}"
    write(other, 1.0)
    if path.is_file():
        assert path.stat().st_size == other.stat().st_size
    if suffix in (".nc", ".zarr"):
        xr.testing.assert_equal(open_fields(path), open_fields(other))
    else:
        assert path.read_bytes() == other.read_bytes()


def test_an_error_of_writing_names_the_file(tmp_path: Path) -> None:
    """Writing to an open file fails without a name, as at a limit of its size."""
    with (
        pytest.raises(OSError, match=r"File too large: '.*a\.html'"),
        open_draft(tmp_path / "a.html"),
    ):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    with pytest.raises(FileNotFoundError, match="other"), open_draft(tmp_path / "a.html"):
        Path("other").read_bytes()
    assert not [*tmp_path.iterdir()]


def test_of_several_outputs_all_or_none_appear(tmp_path: Path) -> None:
    one, two = tmp_path / "a.tif", tmp_path / "b.tif"

    def write() -> None:
        with publish.open_drafts([one, two]) as paths:
            for path in paths:
                path.write_text("mine")
            two.write_text("another's")

    with pytest.raises(DpdmError, match=r"b\.tif was created"):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["b.tif"]
    assert two.read_text() == "another's"


@pytest.mark.parametrize("able", [True, False])
def test_a_store_is_replaced_in_one_step(
    tmp_path: Path, able: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not able:
        monkeypatch.setattr(publish, "_exchange_folders", lambda one, other: False)
    path = written(fields(), tmp_path / "a.zarr")
    with Writer(path, finished(fields() + 1), overwrite=True) as out:
        out.write(fields() + 1)
    np.testing.assert_array_equal(open_fields(path)["t2m"], fields()["t2m"] + 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def killed(work: Callable[[], None]) -> None:
    """Do something in a process that is killed at its end."""
    child = os.fork()
    if not child:
        work()
        os._exit(9)
    os.waitpid(child, 0)


def test_a_store_that_was_being_replaced_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(fields(), tmp_path / "a.zarr")
    monkeypatch.setattr(publish, "_exchange_folders", lambda one, other: False)

    def cut_off() -> None:
        one = Draft(path, replace=True)
        shutil.copytree(path, one.begin())
        real = os.rename
        os.rename = lambda old, new: (real(old, new), os._exit(9))  # type: ignore[assignment]
        one.publish()

    killed(cut_off)
    assert not path.exists()
    with pytest.raises(DpdmError, match="exists"):
        check_output(path)
    np.testing.assert_array_equal(open_fields(path)["t2m"], fields()["t2m"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_only_drafts_of_dead_processes_of_this_machine_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    killed(lambda: Draft(path).begin().touch() or None)
    (dead,) = tmp_path.iterdir()
    away = tmp_path / ".a.nc.00000000.tmp"
    shutil.copytree(dead, away)
    (away / publish.LOCK_SUFFIX).write_text(json.dumps({"pid": 1, "host": "island"}))
    foreign = tmp_path / ".a.nc.11111111.tmp"
    foreign.write_text("not ours")
    link = tmp_path / ".a.nc.22222222.tmp"
    link.symlink_to(dead)
    other = tmp_path / ".b.nc.33333333.tmp"
    shutil.copytree(dead, other)
    with open_draft(path) as alive:
        alive.write_text("whole")
        check_output(path)
        assert alive.exists()
        left = set(tmp_path.iterdir()) - {alive.parent}
    assert left == {away, foreign, link, other}
    assert path.read_text() == "whole"


def test_a_draft_is_entered_by_its_owner_alone_and_has_another_name_each_time(
    tmp_path: Path,
) -> None:
    one, two = Draft(tmp_path / "a.nc"), Draft(tmp_path / "a.nc")
    paths = one.begin(), two.begin()
    assert paths[0] != paths[1]
    assert {path.parent.stat().st_mode & 0o777 for path in paths} == {0o700}
    one.discard(), two.discard()
    assert not list(tmp_path.iterdir())


def test_links_and_devices(tmp_path: Path) -> None:
    link, target, pipe = tmp_path / "link.nc", tmp_path / "target.nc", tmp_path / "pipe.nc"
    link.symlink_to(target)
    with pytest.raises(DpdmError, match=r"a link to .*, which does not exist"):
        check_output(link, overwrite=True)
    written(fields(), target)
    with Writer(link, finished(fields() + 1), overwrite=True) as out:
        out.write(fields() + 1)
    assert link.is_symlink()
    np.testing.assert_array_equal(open_fields(target)["t2m"], fields()["t2m"] + 1)
    os.mkfifo(pipe)
    with pytest.raises(DpdmError, match="a device or a pipe"):
        check_output(pipe, overwrite=True)


def test_no_output_holds_an_input_or_lies_in_one(tmp_path: Path) -> None:
    store = written(fields(), tmp_path / "a.zarr")
    with pytest.raises(DpdmError, match="holds the input"):
        check_output(store, [store / "sub" / "b.nc"], overwrite=True)
    with pytest.raises(DpdmError, match="lies in the input"):
        check_output(store / "b.nc", {"a": store})
    same = tmp_path / "b.nc"
    same.write_text("")
    os.link(same, tmp_path / "c.nc")
    with pytest.raises(DpdmError, match="is an input"):
        check_output(tmp_path / "c.nc", (None, [same]), overwrite=True)


@pytest.fixture
def files(here: Path) -> Path:
    """Files of all kinds, and a prior with the name of a field."""
    shutil.copy("prior.safetensors", "p.nc")
    world(1).to_netcdf("grid.nc")
    Path("obs.csv").write_text(
        "station,time,lat,lon,variable,value,error\nA,2000-01,30,110,t2m,290,1\n"
    )
    shutil.copy("obs.csv", "points.csv")
    Path("what.toml").write_text('[what]\nchannels = "sounder.nc"\n')
    return here


@pytest.mark.parametrize(
    "command",
    [
        "downscale coarse.nc p.nc --prior p.nc --mean",
        "downscale coarse.nc grid.nc --prior p.nc --mean --grid grid.nc",
        "downscale coarse.nc fine.nc --prior p.nc --mean --statics fine.nc",
        "lerp coarse.nc grid.nc --grid grid.nc",
        "lerp coarse.nc coarse.nc --factor 2",
        "coarsen fine.nc fine.nc --factor 2",
        "assimilate obs.csv p.nc --coarse coarse.nc --prior p.nc",
        "assimilate obs.csv coarse.nc --coarse coarse.nc --prior p.nc",
        "assimilate obs.csv out.nc --coarse coarse.nc --prior p.nc --report obs.csv",
        "assimilate obs.csv grid.nc --coarse coarse.nc --prior p.nc --channels grid.nc",
        "perturb fine.nc p.nc --prior p.nc",
        "perturb fine.nc grid.nc --prior p.nc --statics grid.nc",
        "embed fine.nc p.nc --prior p.nc",
        "forecast fine.nc fine.nc p.nc --prior p.nc",
        "observe fine.nc sounder.nc --config what.toml",
        "export fine.nc points.csv --points points.csv",
        "train fine.nc --out prior.safetensors --factor 4 --start prior.safetensors",
    ],
)
def test_whatever_is_read_is_an_input(files: Path, command: str) -> None:
    Path("sounder.nc").touch()
    before = {p: p.read_bytes() for p in files.iterdir()}
    result = dpdm(*command.split(), "--overwrite")
    assert result.exit_code in (1, 2), result.output
    assert re.search("is an input too|may be an input", result.stderr), result.stderr
    assert {p: p.read_bytes() for p in files.iterdir()} == before
