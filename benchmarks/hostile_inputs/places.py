"""Files that are no files: pipes, folders, loops of links, names that are not Unicode."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.hostile_inputs.case import Case

READERS = {
    "bad.nc": (
        "info bad.nc", "lerp bad.nc out.nc --factor 2",
        "assimilate bad.nc out.nc --prior prior.safetensors --coarse coarse.nc",
        "downscale coarse.nc out.nc --prior prior.safetensors --mean --statics bad.nc",
    ),
    "bad.csv": (
        "assimilate bad.csv out.nc --prior prior.safetensors --coarse coarse.nc",
        "export fine.nc out.csv --points bad.csv --variable t2m",
    ),
    "bad.toml": (
        "reconstruct bad.toml out", "observe fine.nc out.nc --config bad.toml",
        "train coarse.nc --out out.safetensors --factor 2 --config bad.toml --minutes 0.02",
    ),
    "bad.geojson": ("export fine.nc out.nc --variable t2m --mask bad.geojson",),
    "bad.safetensors": ("info bad.safetensors",
    "downscale coarse.nc out.nc --prior bad.safetensors --mean"),
    "out": ("status out", "reconstruct plan.toml out"),
    "out.nc": ("lerp coarse.nc out.nc --factor 2", "lerp coarse.nc out.nc --factor 2 --overwrite"),
}  # fmt: skip


def empty(path: Path) -> None:
    """Leave a file without a byte."""
    path.write_bytes(b"")


def folder(path: Path) -> None:
    """Put a folder in the place of a file."""
    path.mkdir()


def pipe(path: Path) -> None:
    """Put a pipe that nobody writes to in the place of a file."""
    os.mkfifo(path)


def loop(path: Path) -> None:
    """Link a name to itself."""
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    """Link a name to nothing."""
    path.symlink_to("nothing")


def device(path: Path) -> None:
    """Link a name to an endless source of zeros."""
    path.symlink_to("/dev/zero")


def unreadable(path: Path) -> None:
    """Forbid reading, for all but the superuser."""
    path.write_bytes(b"CDF\x01")
    path.chmod(0)


def magic(path: Path) -> None:
    """Begin as a format and go on as nothing."""
    head = (b"GRIB", b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x05", b"II*\0")
    path.write_bytes(head[len(path.name) % 5] + bytes(range(256)) * 4)


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield odd files in the place of each input."""
    odd: tuple[Callable[[Path], None], ...] = (
        empty, folder, pipe, loop, dangling, device, unreadable, magic,
    )  # fmt: skip
    made = []
    for file, commands in READERS.items():
        for words in commands:
            for kind in odd:

                def make(
                    rng: np.random.Generator, kind: Callable[[Path], None] = kind, file: str = file
                ) -> None:
                    kind(Path(file))

                made.append(Case("places", f"{kind.__name__} {words}", tuple(words.split()), make))
    made += list(names())
    order = np.random.default_rng(seed).permutation(len(made))
    yield from (made[i] for i in order[:count])


def names() -> Iterator[Case]:
    """Yield inputs whose names, or the names in which, are not Unicode."""

    def renamed(rng: np.random.Generator) -> None:
        for suffix in ("nc", "csv", "toml", "geojson", "safetensors"):
            source = {
                "nc": "coarse.nc",
                "csv": "stations.csv",
                "toml": "plan.toml",
                "geojson": "mask.geojson",
            }
            content = Path(source.get(suffix, "prior.safetensors")).read_bytes()
            Path(os.fsdecode(b"b\xffd." + suffix.encode())).write_bytes(content)

    for commands in READERS.values():
        for words in commands[:2]:
            if "bad." in words:
                yield Case(
                    "places",
                    f"no Unicode: {words}",
                    tuple(words.replace("bad", "b\udcffd").split()),
                    renamed,
                )
    long = "x" * 300
    for words in (f"info {long}.nc", f"lerp coarse.nc {long}.nc --factor 2",
    "lerp coarse.nc \udcff.nc --factor 2",
                  f"reconstruct plan.toml {long}",
                  "export fine.nc \udcff.tif --variable t2m"):  # fmt: skip
        yield Case("places", f"name: {words[:40]!r}", tuple(words.split()), lambda rng: None)
