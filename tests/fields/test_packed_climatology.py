"""The packed climatology: what it loses, what it reads of the file, and files that are damaged."""

import json
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dpdm.errors import DpdmError
from dpdm.fields.packed_climatology import (
    MAGIC,
    PackedClimatology,
    decode_tile,
    encode_tile,
    read_packed_climatology,
)
from dpdm.fields.reference_climatology import bundled_climatology
from sample_data.climatology import pack

SAMPLES = Path(__file__).parents[2] / "sample_data"
PERIOD = "2000-01 to 2025-12"
WORDS = {"title": "", "institution": "", "source": "", "license": "CC BY 4.0", "references": ""}


def fields(shape: tuple[int, int] = (13, 21)) -> xr.Dataset:
    rng = np.random.default_rng(0)
    t2m = 280 + rng.normal(0, 20, (12, *shape))
    tp = rng.gamma(0.5, 8, (12, *shape))
    dims = ("time", "lat", "lon")
    words = {"standard_name": "", "long_name": ""}
    arrays = {
        "t2m": (dims, t2m, words | {"units": "K"}),
        "tp": (dims, tp, words | {"units": "mm day-1"}),
    }
    axes = {"lat": -30 + 0.5 * np.arange(shape[0]), "lon": 100 + 0.5 * np.arange(shape[1])}
    return xr.Dataset(arrays, axes, WORDS)


@pytest.fixture
def packed(tmp_path: Path) -> PackedClimatology:
    pack(fields(), PERIOD, tmp_path / "small.bin", tile=(5, 8))
    return read_packed_climatology(tmp_path / "small.bin")


def whole(packed: PackedClimatology, name: str) -> np.ndarray:
    rows, columns = (np.arange(n) for n in packed.grid.shape)
    return packed.read(name, rows, columns)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2), ()])
def test_a_tile_of_whole_numbers_comes_back(axes):
    numbers = np.random.default_rng(0).integers(-4000, 4000, (12, 4, 7)).astype(np.int32)
    np.testing.assert_array_equal(
        decode_tile(encode_tile(numbers, axes), (12, 4, 7), axes), numbers
    )


def test_rounding_is_half_a_step_at_most(packed):
    given = fields()
    assert np.abs(whole(packed, "t2m") - given["t2m"].values).max() <= 0.0251
    rain = np.log1p(whole(packed, "tp")) - np.log1p(given["tp"].values)
    assert np.abs(rain).max() <= 0.00501
    assert (packed.attrs["period"], packed.attrs["license"]) == (PERIOD, "CC BY 4.0")


def test_the_bundled_one_is_era5_as_in_the_sample():
    packed = bundled_climatology()
    with xr.open_dataset(SAMPLES / "east_asia_fine.nc") as sample:
        rows, columns = (
            np.round((sample[n].values - packed.grid.coords()[n][1][0]) / 0.25).astype(int)
            for n in ("lat", "lon")
        )
        t2m, tp = (packed.read(name, rows, columns) for name in ("t2m", "tp"))
        assert np.abs(t2m - sample["t2m"].values).max() <= 0.025 + 1 / 1024 + 1e-4
        rain = np.abs(np.log1p(tp) - np.log1p(sample["tp"].values))
        assert rain.max() <= 0.005 + 1 / 1024 + 1e-4


def test_the_bundled_one_covers_the_globe_in_twelve_megabytes():
    packed = bundled_climatology()
    assert packed.path.stat().st_size <= 12e6
    assert packed.grid.cyclic
    assert packed.grid.lat[[0, -1]].tolist() == [-90, 90]
    assert packed.attrs["period"] == PERIOD
    assert "modified Copernicus Climate Change Service information" in packed.attrs["source"]
    assert packed.attrs["license"].startswith("CC BY 4.0")


@pytest.mark.parametrize("name", ["t2m", "tp"])
def test_a_region_is_the_slice_of_the_globe_and_quick(name):
    packed = bundled_climatology()
    rows, columns = np.arange(410, 510), np.arange(1390, 1490) % 1440
    tracemalloc.start()
    begun = time.perf_counter()
    part = packed.read(name, rows, columns)
    taken, (_, peak) = time.perf_counter() - begun, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 0.3
    assert peak < 10e6  # the globe takes 50 MB
    np.testing.assert_array_equal(part, whole(packed, name)[:, rows][:, :, columns])


def test_every_order_of_cells_is_read(packed):
    rows, columns = np.array([12, 0, 5, 4]), np.array([20, 7, 8, 0, 8])
    np.testing.assert_array_equal(
        packed.read("tp", rows, columns), whole(packed, "tp")[:, rows][:, :, columns]
    )


def damaged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DpdmError, match="is damaged") as found:
        whole(read_packed_climatology(path), "t2m")
    assert found.value.hint == "Install dpdm again."


@pytest.mark.parametrize("length", [0, 5, 10, 400, -1])
def test_a_truncated_file_is_refused(packed, length):
    damaged(packed.path, packed.path.read_bytes()[:length])


def test_a_changed_byte_of_a_tile_is_noticed(packed):
    content = bytearray(packed.path.read_bytes())
    content[packed.start + packed.variables[0].sizes[0] // 2] ^= 64
    damaged(packed.path, bytes(content))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DpdmError, match="is damaged"):
        read_packed_climatology(tmp_path / "absent.bin")


@pytest.mark.parametrize(
    "forged",
    [
        {"format": 2},
        {"lat": [-90, 0.25, 10**9]},
        {"lat": [-90, 0, 13]},
        {"lat": "abc"},
        {"tile": [0, 8]},
        {"tile": [10**6, 10**6]},
        {"tile": [5, 9]},
        {"variables": [{"name": "t2m"}]},
        {"variables": 7},
        {"attrs": []},
    ],
)
def test_a_forged_header_is_refused_before_anything_is_allocated(packed, forged):
    content = packed.path.read_bytes()
    start = len(MAGIC) + 4
    text = json.dumps(json.loads(content[start : packed.start]) | forged).encode()
    head = MAGIC + len(text).to_bytes(4, "little") + text
    tracemalloc.start()
    damaged(packed.path, head + content[packed.start :])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


@pytest.mark.parametrize("change", [{"transform": "exp"}, {"step": "nan"}, {"axes": [3]}])
def test_a_forged_variable_is_refused(packed, change):
    content = packed.path.read_bytes()
    header = json.loads(content[len(MAGIC) + 4 : packed.start])
    header["variables"][0] |= change
    text = json.dumps(header).encode()
    damaged(packed.path, MAGIC + len(text).to_bytes(4, "little") + text + content[packed.start :])


def test_a_tile_that_would_grow_is_not_decoded():
    bomb = encode_tile(np.zeros((12, 1000, 100), np.int32), ())
    assert len(bomb) < 5000
    with pytest.raises(ValueError, match="instead of 24"):
        decode_tile(bomb, (12, 1, 1), ())
