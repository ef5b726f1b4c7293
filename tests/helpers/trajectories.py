"""Spirals and currents: trajectories whose motion is known."""

import numpy as np
import xarray as xr

TOML = """
[net]
hidden = 32
layers = 2
[train]
steps = 150
validate = 75
batch = 64
warmup = 10
"""


PLANE_TOML = """
[net]
read = [4, 4, 4]
widths = [8, 8]
depth = 1
[train]
steps = 30
batch = 4
warmup = 10
"""


def spirals(count: int = 20, length: int = 40) -> xr.Dataset:
    """Return a turning and shaken pair of components, far from zero mean and unit variance."""
    rng = np.random.default_rng(0)
    turn = 0.99 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    states = [rng.standard_normal((count, 2))]
    for _ in range(length - 1):
        states.append(states[-1] @ turn.T + 0.1 * rng.standard_normal((count, 2)))
    values = 5 + 3 * np.stack(states, axis=1)
    attrs = {"units": "1", "long_name": "state of a spiral"}
    arrays = {"state": (("trajectory", "time", "component"), values, attrs)}
    return xr.Dataset(arrays, {"component": ["a", "b"], "time": np.arange(length) * 0.25})


def currents(count: int = 5, length: int = 8, side: int = 8) -> xr.Dataset:
    """Return two fields that drift over a periodic plane."""
    rng = np.random.default_rng(0)
    cells = 2 * np.pi * (np.arange(side) + 0.5) / side
    phase = rng.uniform(0, 6, (count, 1, 1, 1)) - 0.5 * np.arange(length)[:, None, None]
    dims = ("trajectory", "time", "y", "x")
    arrays = {
        "u": (dims, np.sin(cells + phase) * np.ones((side, 1)), {"units": "1"}),
        "v": (dims, 3 * np.cos(cells + cells[:, None] + phase), {"units": "1"}),
    }
    return xr.Dataset(arrays, {"y": cells, "x": cells, "time": np.arange(length) * 0.2})
