"""Windows: they cover, blend without a seam, and close around the globe."""

from itertools import pairwise, product

import pytest
import torch

from dpdm.diffusion.tile import (
    SpatialWindows,
    cyclic_window_starts,
    fit_cyclic_size,
    fit_window_size,
    tile_denoiser,
    window_starts,
)
from dpdm.types import Fields, Sigma

CASES = {
    "divides": SpatialWindows((48, 96), (16, 16), 4),
    "does not divide": SpatialWindows((37, 53), (16, 16), 5),
    "smaller than a window": SpatialWindows((7, 40), (16, 16), 4),
    "one window": SpatialWindows((16, 16), (16, 16), 4),
    "cyclic": SpatialWindows((30, 50), (16, 16), 4, cyclic=True),
    "cyclic, as wide as a window": SpatialWindows((30, 16), (16, 16), 4, cyclic=True),
    "overlap as wide as a window": SpatialWindows((20, 20), (8, 8), 8),
}
each_case = pytest.mark.parametrize("windows", CASES.values(), ids=CASES)


def identity(x_t: Fields, sigma: Sigma) -> Fields:
    return x_t


def smooth(x_t: Fields, sigma: Sigma) -> Fields:
    """Average over three by three cells, blind beyond the window."""
    return torch.nn.functional.avg_pool2d(x_t, 3, 1, 1, count_include_pad=False)


@each_case
def test_every_cell_is_covered_and_the_blend_of_equals_is_equal(windows: SpatialWindows) -> None:
    x = torch.randn(2, 3, *windows.shape)
    found = tile_denoiser(identity, windows)(x, torch.ones(2))
    torch.testing.assert_close(found, x, rtol=1e-12, atol=1e-12)


@each_case
def test_neighbours_share_at_least_the_overlap(windows: SpatialWindows) -> None:
    height, width = windows.extent
    for count, size, axis in ((windows.shape[0], height, 0), (windows.shape[1], width, 1)):
        starts = sorted({int(place[axis + 1].flatten()[0]) for place in windows.window_slices()})
        for a, b in pairwise(starts):
            assert a + size - b >= min(windows.overlap, size - 1)
        if windows.cyclic and axis == 1 and size < count:
            assert starts[-1] + size - count - starts[0] >= windows.overlap


def test_a_window_sees_over_the_dateline() -> None:
    windows = SpatialWindows((12, 40), (12, 12), 4, cyclic=True)
    x = torch.randn(1, 1, 12, 40)
    turned = tile_denoiser(smooth, windows)(x.roll(16, -1), torch.ones(1)).roll(-16, -1)
    straight = tile_denoiser(smooth, windows)(x, torch.ones(1))
    torch.testing.assert_close(turned, straight, rtol=1e-12, atol=1e-12)


def test_blending_at_each_level_leaves_no_step_at_the_borders() -> None:
    windows = SpatialWindows((16, 160), (16, 32), 16)
    ramp = torch.linspace(0, 1, 160).expand(1, 1, 16, 160)

    def biased(x_t: Fields, sigma: Sigma) -> Fields:
        """Remove the window's own mean: neighbours disagree by a constant."""
        return x_t - x_t.mean((-1, -2), keepdim=True)

    steps = tile_denoiser(biased, windows)(ramp, torch.ones(1)).diff(dim=-1).abs().amax()
    jump = float(ramp[..., 16].mean() - ramp[..., 0].mean())
    assert float(steps) < jump / 8  # stitched windows would step by the whole of it


@pytest.mark.parametrize("count", [5, 64, 65, 100, 160, 180, 220, 700, 720])
@pytest.mark.parametrize(("most", "overlap"), [(64, 16), (128, 16), (32, 8)])
def test_fitted_windows_are_no_more_and_no_larger(count: int, most: int, overlap: int) -> None:
    size = fit_window_size(count, most, overlap)
    assert size <= most
    assert len(window_starts(count, size, overlap)) == len(
        window_starts(count, min(most, count), overlap)
    )


@pytest.mark.parametrize("count", [160, 180, 181, 238, 720, 721, 1439])
@pytest.mark.parametrize(("most", "overlap"), [(64, 24), (128, 24), (128, 17), (256, 24)])
@pytest.mark.parametrize("cyclic", [False, True])
def test_aligned_windows_begin_at_multiples_and_share_the_overlap(
    count: int, most: int, overlap: int, cyclic: bool
) -> None:
    size = most if cyclic else fit_window_size(count, most, overlap)
    windows = SpatialWindows((4, count), (4, size), overlap, cyclic, align=4)
    starts = [int(columns[0]) for _, _, columns in windows.window_slices()]
    extent = windows.extent[1]
    following = [*starts[1:], count + starts[0]] if cyclic else starts[1:]
    if not cyclic or count % 4 == 0:
        assert all(start % 4 == 0 for start in starts)
    for a, b in zip(starts, following, strict=False):
        assert a + extent - b >= (overlap if size < count else 0)
    assert cyclic or starts[-1] + extent == count


def test_windows_of_a_circle_are_as_small_as_their_number_allows() -> None:
    for count, most, overlap in product(range(257, 1500, 31), (64, 128, 256), (16, 24)):
        size = fit_cyclic_size(count, most, overlap)
        starts = cyclic_window_starts(count, size, overlap, 4)
        assert len(starts) == len(cyclic_window_starts(count, most, overlap, 4))
        widest = max(b - a for a, b in pairwise([*starts, count]))
        assert widest + overlap <= size <= min(most, widest + overlap + 3)
