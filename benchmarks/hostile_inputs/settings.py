"""TOML files that are spoiled: plans, recipes, settings of observations."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.hostile_inputs.case import Case
from benchmarks.hostile_inputs.netcdf import one_of

FILES = {
    "plan.toml": "reconstruct bad.toml out",
    "small.toml": "train coarse.nc --out out.safetensors --factor 2 --minutes 0.02 "
    "--config bad.toml",
    "observe.toml": "observe fine.nc out.nc --config bad.toml",
}
VALUES = (
    "0", "-1", "1000000000", "9" * 19, "9" * 6000, "nan", "inf", "-inf", "1e308", '""', '"two"',
    "[]", "[0]",
    "[nan, nan]", "[" * 900 + "]" * 900, "{}", "true", "2000-01-01", "[1, 2, 3, 4]", "[1, 0]",
    "{a = 1}",
    '"\\u001b[31m"', "0x7fffffffffffffff", "[1000000, 1000000, 1000000]", '["a", "b"]', "1e-300",
    "'/dev/zero'", "'../../../../etc/passwd'", "['**/**/**/*']",
)  # fmt: skip


def cases(seed: int, count: int) -> Iterator[Case]:
    """Yield spoiled settings."""
    files = list(FILES)
    for number in range(count):
        name = files[number % 3]
        kind = text if number % 4 == 3 else key

        def make(rng: np.random.Generator, name: str = name, kind=kind) -> None:  # type: ignore[no-untyped-def]
            kind(rng, name)

        words = FILES[name]
        if name == "plan.toml" and number % 2:
            words = "reconstruct bad.toml out --check"
        yield Case(
            "TOML", f"{name}, {kind.__name__} {number}", tuple(words.split()), make, seed + number
        )


KEYS = {
    "plan.toml": {
        "input": ("files", "var", "units", "period", "missing"),
        "prior": ("name", "period", "climatology", "climatology_period"),
        "draw": ("members", "seed", "steps", "sampler", "consistent"), "adjust": ("method",
        "reference"),
        "observations": ("files", "stations", "error", "coarse_error", "coarse_length", "reject",
        "withhold", "withhold_blocks", "guidance", "var", "units", "coverage", "missing",
        "verify", "qc"),
        "output": ("layout", "keep", "quantiles", "grid", "bbox", "statics"),
        "run": ("workers", "member_block", "device", "scheduler"),
    },
    "small.toml": {
        "data": ("exclude", "validation_box", "validation_share", "climatology", "mirror"),
        "net": ("window", "read", "widths", "depth", "dropout"),
        "train": ("steps", "batch", "draws", "learning_rate", "warmup", "weight_decay", "ema",
        "sigma",
                  "log_sigma", "nats", "drop", "seed", "precision", "validate"),
    },
    "observe.toml": {
        "what": ("variables", "operator", "factor", "radius", "level", "width", "pressures",
        "channels", "trajectories"),
        "where": ("every", "box", "random", "lat", "lon", "y", "x"),
        "when": ("every", "first", "last", "steps"), "error": ("std",),
    },
}  # fmt: skip


def key(rng: np.random.Generator, name: str) -> None:
    """Give one key another value."""
    lines = Path(name).read_text().splitlines()
    section = one_of(rng, list(KEYS[name]))
    wanted = one_of(rng, KEYS[name][section])
    kept, here = [], ""
    for line in lines:
        here = line.strip("[]") if line.startswith("[") and "=" not in line else here
        if not (here == section and line.split("=")[0].strip() == wanted):
            kept.append(line)
    said = f"{wanted} = {one_of(rng, VALUES)}"
    if f"[{section}]" in kept:
        kept.insert(kept.index(f"[{section}]") + 1, said)
    else:
        kept += [f"[{section}]", said]
    Path("bad.toml").write_text("\n".join(kept))


def text(rng: np.random.Generator, name: str) -> None:
    """Write what is deep, long, doubled or no TOML."""
    good = Path(name).read_text()
    spoiled = (
        b"", b"\xff\xfe", b"a = " + b"[" * 50_000, b"a = " + b"{a=" * 20_000,
        b".".join([b"a"] * 20_000) + b" = 1",
        b"[" + b"a." * 20_000 + b"a]", (good + good).encode(), b"= 1", b"\0", b"[draw]\n" * 3,
        b'"' + b"k" * 1_000_000 + b'" = 1', good.encode() + b"\nzz = 1", b"draw = 5",
        b"[[draw]]", b"\xef\xbb\xbf" + good.encode(),
        good.replace("\n", "\r").encode(), b"a = " + b"9" * 10_000,
    )  # fmt: skip
    Path("bad.toml").write_bytes(one_of(rng, spoiled))
