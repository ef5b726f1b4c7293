"""Noise of places: the generator's published answers, the normal law, and one cell, one value."""

from itertools import product
from time import process_time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest

from dpdm.diffusion.place_noise import (
    PlaceNoise,
    mean_spacing,
    normals,
    philox,
    place_keys,
    place_step,
)

Array = NDArray[np.float64]


def gaussian_latitudes(n: int) -> Array:
    """Return the latitudes of a Gaussian grid of N rows a hemisphere, ascending."""
    return np.degrees(np.arcsin(np.polynomial.legendre.leggauss(2 * n)[0]))


def circle(spacing: float, start: float = 0.0) -> Array:
    return start + spacing * np.arange(round(360 / spacing))


def meridian(spacing: float) -> Array:
    """Return cell centres half a cell from the poles."""
    return -90 + spacing * (np.arange(round(180 / spacing)) + 0.5)


def drawn(lat: Array, lon: Array, channels: int = 2, label: str = "1862-07") -> NDArray:
    """Return the noise of members 0 and 5."""
    return PlaceNoise(lat, lon, channels, 3, label)([0, 5]).numpy()


GRIDS = {
    "1": (meridian(1.0), circle(1.0, 0.5)),
    "1, poles included": (np.linspace(-90, 90, 181), circle(1.0)),
    "0.25, poles included": (np.linspace(-90, 90, 721), circle(0.25)),
    "0.25": (meridian(0.25), circle(0.25, 0.125)),
    "0.1": (meridian(0.1), circle(0.1, 0.05)),
    "1/12": (meridian(1 / 12), circle(1 / 12)),
    "2.5": (np.linspace(-90, 90, 73), circle(2.5)),
    "1.875": (np.linspace(-90, 90, 96), circle(1.875)),
    "N32": (gaussian_latitudes(32), circle(360 / 128)),
    "N80": (gaussian_latitudes(80), circle(360 / 320)),
    "N320": (gaussian_latitudes(320), circle(360 / 640 / 2)),
}
EACH_GRID = pytest.mark.parametrize("name", GRIDS)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_the_generator_gives_the_answers_of_random123(
    counter: list[int], key: list[int], answer: str
) -> None:
    a, b, c, d = (np.array([word], np.uint64) for word in counter)
    found = philox((a, b, c, d), (key[0], key[1]))
    assert " ".join(f"{int(word[0]):08x}" for word in found) == answer


def axis_keys(name: str, *, low: bool = False) -> tuple[NDArray, NDArray]:
    """Return the counters of the rows and the columns, of coordinates in low precision or not."""
    lat, lon = (a.astype("f4").astype(float) if low else a for a in GRIDS[name])
    steps = [place_step(mean_spacing(a)) for a in GRIDS[name]]
    return place_keys(lat, steps[0]), place_keys(lon, steps[1], 360.0)


@EACH_GRID
def test_cells_are_counted_apart_in_any_precision_and_on_any_turn(name: str) -> None:
    lat, lon = GRIDS[name]
    rows, columns = axis_keys(name)
    assert len({*rows.tolist()}) == len(lat)
    assert len({*columns.tolist()}) == len(lon)
    for single, double in zip(axis_keys(name, low=True), (rows, columns), strict=True):
        np.testing.assert_array_equal(single, double)
    step = place_step(mean_spacing(lon))
    for turn in (-720.0, -360.0, 360.0):
        np.testing.assert_array_equal(place_keys(lon + turn, step, 360.0), columns)


@EACH_GRID
def test_counters_stay_when_coordinates_are_a_thousandth_of_a_cell_off(name: str) -> None:
    """Only Gaussian rows, which lie anywhere, may be near a limit of rounding."""
    rows, columns = axis_keys(name)
    for axis, keys, turn in zip(GRIDS[name], (rows, columns), (0.0, 360.0), strict=True):
        spacing = mean_spacing(axis)
        off = 1e-6 if name.startswith("N") and not turn else 1e-3
        for sign in (-1, 1):
            moved = place_keys(axis + sign * off * spacing, place_step(spacing), turn)
            np.testing.assert_array_equal(moved, keys)


@EACH_GRID
def test_a_part_of_a_grid_has_the_noise_of_the_whole(name: str) -> None:
    lat, lon = GRIDS[name]
    lat, lon = lat[:300], lon[:200]
    whole = drawn(lat, lon)
    for rows, columns in product(
        (slice(0, 7), slice(11, 33), slice(len(lat) // 2, None)), (slice(1, 3), slice(5, 18))
    ):
        np.testing.assert_array_equal(drawn(lat[rows], lon[columns]), whole[..., rows, columns])


@pytest.mark.parametrize("n", [16, 24, 32, 48, 64, 80, 96, 128, 160, 256, 320, 400, 512, 640])
def test_parts_of_gaussian_grids_are_counted_alike(n: int) -> None:
    lat = gaussian_latitudes(n)
    parts = [lat[i : i + m] for m in (2, 3, 10) for i in range(len(lat) - m + 1)]
    assert {place_step(mean_spacing(p)) for p in parts} == {place_step(mean_spacing(lat))}
    rows = place_keys(lat, place_step(mean_spacing(lat)))
    assert (np.diff(rows.astype(np.uint32).view(np.int32)) > 2).all()


def test_the_dateline_and_the_turn_of_longitudes_are_no_border() -> None:
    lat, east = meridian(2.5), circle(2.5, 1.25)
    whole = drawn(lat, east)
    turned = np.sort((east + 180) % 360 - 180)
    np.testing.assert_array_equal(drawn(lat, turned), np.roll(whole, len(east) // 2, axis=-1))
    across = np.arange(171.25, 190, 2.5)
    columns = np.flatnonzero(np.isin(east, across))
    np.testing.assert_array_equal(drawn(lat, across), whole[..., columns])
    np.testing.assert_array_equal(drawn(lat, across - 360), whole[..., columns])
    np.testing.assert_array_equal(drawn(lat, np.array([-11.25, -8.75])), whole[..., 139:141])


def test_noise_depends_on_member_label_variable_and_seed_but_not_on_their_company() -> None:
    lat, lon = meridian(10.0), circle(10.0)
    noise = PlaceNoise(lat, lon, 6, 0, "1862-07")
    whole = noise([0, 1, 2]).numpy()
    assert whole.shape == (3, 6, 18, 36)
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(noise([2, 0]).numpy(), whole[[2, 0]])
    np.testing.assert_array_equal(PlaceNoise(lat, lon, 2, 0, "1862-07")([1]), whole[1:2, :2])
    others = [noise([0], "/1"), PlaceNoise(lat, lon, 6, 1, "1862-07")([0])]
    fields = np.concatenate([whole.reshape(18, -1), *(o.numpy().reshape(6, -1) for o in others)])
    correlation = np.corrcoef(fields) - np.eye(len(fields))
    assert np.abs(correlation).max() < 5 / np.sqrt(fields.shape[1])


def test_noise_is_normal_and_without_neighbourhood() -> None:
    z = PlaceNoise(meridian(1.0), circle(1.0), 4, 0, "")([1])[0].numpy().astype(float)
    count = z[0].size
    for field in z:
        assert abs(field.mean()) < 4 / np.sqrt(count)
        assert abs(field.var() - 1) < 4 * np.sqrt(2 / count)
        assert abs((field**3).mean()) < 4 * np.sqrt(15 / count)
        assert abs((field**4).mean() - 3) < 4 * np.sqrt(96 / count)
        assert kstest(field.ravel(), "norm").pvalue > 1e-3
        for shift in ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (4, 0), (8, 8)):
            correlation = (field * np.roll(field, shift, (0, 1))).mean()
            assert abs(correlation) < 4.5 / np.sqrt(count), shift


def test_words_without_bits_give_finite_values() -> None:
    none, all_bits = np.zeros(3, np.uint64), np.full(3, 0xFFFFFFFF, np.uint64)
    values = np.stack([*normals((none, none, all_bits, all_bits))])
    assert np.isfinite(values).all()
    assert np.abs(values).max() == pytest.approx(np.sqrt(66 * np.log(2)), rel=1e-6)


def test_noise_of_the_globe_takes_less_than_a_second() -> None:
    noise = PlaceNoise(meridian(0.25), circle(0.25), 2, 0, "")
    begun = process_time()
    assert noise([0]).numel() > 2e6
    assert process_time() - begun < 1  # 0.2 s on one core
