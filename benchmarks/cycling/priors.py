"""The priors of Lorenz-63 that are judged, trained with the commands that a user has."""

from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks import common
from benchmarks.cycling.references import DT, EVERY

TOML = "[net]\nhidden = {}\nlayers = {}\n[train]\nbatch = {}\nlog_sigma = {}\nsteps = 200000\n"
NETS = {"one": (256, 3, 512, [-1.5, 1.7]), "many": (384, 4, 256, [-1.6, 1.3])}
WIDTHS = {"one": 1, "many": 21}


def taught(build: Path, name: str, minutes: float) -> Path:
    """Return a prior in the build folder: of single states, or of windows 0.1 apart."""
    build.mkdir(parents=True, exist_ok=True)
    fine, prior = build / "lorenz63_fine.nc", build / f"lorenz63_{name}.safetensors"
    if not fine.exists():
        common.dpdm(
            "testbed", "lorenz63", fine, "--trajectories", 160, "--length", 20000,
            "--interval", DT, "--deterministic",
        )  # fmt: skip
    if not prior.exists():
        truth = fine if name == "one" else interleaved(fine, build / "lorenz63_tenth.nc")
        config = build / f"lorenz63_{name}.toml"
        config.write_text(TOML.format(*NETS[name]))
        common.dpdm(
            "train", truth, "--window", WIDTHS[name], "--out", prior, "--config", config,
            "--minutes", minutes,
        )  # fmt: skip
    return prior


def interleaved(fine: Path, out: Path) -> Path:
    """Write every tenth state of each trajectory, from each of the first ten on."""
    with xr.open_dataset(fine) as ds:
        count, length = ds.sizes["trajectory"], ds.sizes["time"] // EVERY
        values = ds["state"].values[:, : length * EVERY].reshape(count, length, EVERY, 3)
        flat = values.swapaxes(1, 2).reshape(count * EVERY, length, 3)
        arrays = {"state": (("trajectory", "time", "component"), flat, ds["state"].attrs)}
        coords = {"time": np.arange(length) * DT * EVERY, "component": ds["component"].values}
        xr.Dataset(arrays, coords, {"title": ds.attrs["title"]}).to_netcdf(out)
    return out
