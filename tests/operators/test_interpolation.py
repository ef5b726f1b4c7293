"""Linear observation operators: adjoints, interpolation, means over areas and time."""

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.interpolate import RegularGridInterpolator

from dpdm.constants import EARTH_RADIUS
from dpdm.errors import DpdmError
from dpdm.fields import grid, regrid
from dpdm.operators.geometry import GridAxis, globe_layout, plane_layout
from dpdm.operators.interpolation import (
    box_mean_operator,
    correct_pressure,
    correct_temperature,
    disc_mean_operator,
    height_above_relief,
    point_operator,
)
from dpdm.operators.linear import (
    SparseOperator,
    apply_adjoint,
    compose_maps,
    concat_operators,
    flatten_values,
    pick_cells,
)
from dpdm.operators.winds import wind_divergence, wind_vorticity
from dpdm.types import Operator

LAT, LON = np.arange(20.5, 32), np.arange(100.5, 117)
REGION = globe_layout(LAT, LON)
WORLD = globe_layout(np.arange(-87.5, 90, 5), np.arange(-180, 180, 5.0))
SIDES = np.arange(16) * 2 * np.pi / 16
TORUS = plane_layout(SIDES, SIDES, 2 * np.pi)
LAYOUTS = {"region": REGION, "world": WORLD, "torus": TORUS}


def scattered(name: str, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Return places all over a layout, its rim and its seam included."""
    layout = LAYOUTS[name]
    rng = np.random.default_rng(1)
    ends = [(a.edges[0], a.edges[-1]) for a in (layout.rows, layout.columns)]
    rows, columns = (np.r_[low, high, rng.uniform(low, high, count)] for low, high in ends)
    return (rows.clip(-90, 90) if layout.sphere else rows), columns


def of_layout(name: str) -> dict[str, Operator]:
    """Return one linear operator of each kind, on trajectories (B, 2, 4, H, W)."""
    layout, (rows, columns) = LAYOUTS[name], scattered(name)
    at = point_operator(layout, rows, columns)
    count = at.count
    channel = torch.arange(count) % 2
    first = torch.arange(count) % 3
    middle = [float(np.median(a.centres)) for a in (layout.rows, layout.columns)]
    reach = 3.3 * layout.rows.step
    box = box_mean_operator(
        layout, middle[0] - reach, middle[0] + reach, middle[1] - reach, middle[1] + reach
    )
    radius = np.radians(reach) * EARTH_RADIUS if layout.sphere else reach
    return {
        "points": at.for_channel(channel).at_step(first),
        "time means": at.for_channel(channel).average_steps(first, first + 1),
        "box": box.for_channel(1).at_step(3),
        "footprints": disc_mean_operator(layout, rows, columns, radius).average_steps(0, 3),
        "divergence": compose_maps(wind_divergence(layout), flatten_values),
        "vorticity": compose_maps(wind_vorticity(layout), flatten_values),
        "joined": concat_operators(
            at.at_step(2), compose_maps(wind_divergence(layout), at.at_step(1))
        ),
    }


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("kind", list(of_layout("region")))
def test_adjoint_satisfies_the_dot_product_identity(layout: str, kind: str) -> None:
    operator = of_layout(layout)[kind]
    x = torch.randn(3, 2, 4, *LAYOUTS[layout].shape)
    y = operator(x)
    v = torch.randn_like(y)
    pulled = apply_adjoint(operator, torch.randn_like(x), v)
    size = float(y.norm() * v.norm())  # of what is summed; float64 rounds it at 2e-16 a term
    assert abs(float((y * v).sum() - (x * pulled).sum())) < 1e-12 * size


@pytest.mark.parametrize("kind", list(of_layout("region")))
def test_a_member_has_the_same_values_in_any_batch(kind: str) -> None:
    operator = of_layout("world")[kind]
    x = torch.randn(5, 2, 4, *WORLD.shape)
    assert torch.equal(operator(x)[3:4], operator(x[3:4]))


@pytest.mark.parametrize("kind", ["points", "box", "footprints"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_means_of_a_constant_are_the_constant_in_single_precision_too(
    layout: str, kind: str
) -> None:
    operator = of_layout(layout)[kind]
    whole = torch.full((1, 2, 4, *LAYOUTS[layout].shape), 280.0)
    found, single = operator(whole), operator(whole.float())
    # A sum of up to 400 terms, each rounded to float64.
    torch.testing.assert_close(found, torch.full_like(found, 280.0), rtol=1e-13, atol=0)
    assert torch.equal(single, torch.full_like(single, 280.0))


def test_points_are_scipys_inside_the_centres() -> None:
    field = np.random.default_rng(0).normal(size=REGION.shape)
    rng = np.random.default_rng(1)
    lat, lon = rng.uniform(LAT[0], LAT[-1], 200), rng.uniform(LON[0], LON[-1], 200)
    peer = RegularGridInterpolator((LAT, LON), field)(np.stack([lat, lon], axis=1))
    found = point_operator(REGION, lat, lon - 360)(torch.as_tensor(field)[None, None])[0]
    np.testing.assert_allclose(found, peer, rtol=0, atol=1e-12)


@pytest.mark.parametrize("world", [False, True])
def test_points_are_the_lerp_on_the_rim_and_over_the_dateline_too(world: bool) -> None:
    layout = WORLD if world else REGION
    source = grid.Grid(layout.rows.centres, layout.columns.centres)
    field = np.random.default_rng(0).normal(size=layout.shape)
    target = grid.refine_grid(source, (source.spacing[0] / 3, source.spacing[1] / 3))
    coords = {"lat": source.lat, "lon": source.lon}
    lerped = regrid.interpolate_bilinear(
        xr.Dataset({"a": (("lat", "lon"), field)}, coords), target
    )["a"]
    lat, lon = (a.ravel() for a in np.meshgrid(target.lat, target.lon, indexing="ij"))
    found = point_operator(layout, lat, lon)(torch.as_tensor(field)[None, None])[0]
    np.testing.assert_allclose(found, lerped.values.ravel(), rtol=0, atol=1e-12)


def test_a_point_halfway_over_the_dateline_is_the_mean_of_both_sides() -> None:
    field = torch.zeros(1, 1, *WORLD.shape)
    field[..., 10, 0], field[..., 10, -1] = 4.0, 2.0  # at 180 W and 175 E
    lat = WORLD.rows.centres[10]
    found = point_operator(WORLD, [lat] * 4, [177.5, -182.5, 537.5, 180.0])(field)
    torch.testing.assert_close(found, torch.tensor([[3.0, 3.0, 3.0, 4.0]]))


def test_bilinear_points_converge_at_second_order() -> None:
    def error(n: int) -> float:
        sides = np.arange(n) * 2 * np.pi / n
        wave = torch.as_tensor(np.sin(sides)[:, None] * np.cos(2 * sides))
        y, x = np.random.default_rng(2).uniform(0, 2 * np.pi, (2, 2000))
        at = point_operator(plane_layout(sides, sides, 2 * np.pi), y, x)
        return float(np.abs(at(wave[None, None])[0].numpy() - np.sin(y) * np.cos(2 * x)).max())

    assert np.log2(error(64) / error(128)) == pytest.approx(2, abs=0.1)


def test_a_missing_neighbour_of_no_weight_does_not_spread() -> None:
    field = torch.full((1, 1, *REGION.shape), torch.nan)
    field[..., 3, 5] = 7.0
    assert point_operator(REGION, LAT[3], LON[5])(field).item() == 7.0


@pytest.mark.parametrize(("lat", "lon"), [(32.1, 105), (25, 99.9), (np.nan, 105), (25, np.nan)])
def test_points_outside_are_refused(lat: float, lon: float) -> None:
    with pytest.raises(DpdmError, match=r"itude .* lies outside the domain"):
        point_operator(REGION, [25, lat], [105, lon])


def test_trajectories_are_observed_where_and_when_each_value_was() -> None:
    x = torch.randn(2, 3, 5, 4, 6)
    cell = torch.tensor([0, 7, 23])
    channel, step = torch.tensor([2, 0, 1]), torch.tensor([4, 1, 0])
    found = pick_cells((4, 6), cell).for_channel(channel).at_step(step)(x)
    expected = x[:, channel, step, cell // 6, cell % 6]
    assert torch.equal(found, expected)
    means = (
        pick_cells((4, 6), cell)
        .for_channel(channel)
        .average_steps(torch.tensor([0, 1, 3]), torch.tensor([4, 1, 4]))
    )
    third = x[:, 1, 3:, 3, 5].mean(1)
    torch.testing.assert_close(means(x)[:, 0], x[:, 2, :, 0, 0].mean(1))
    torch.testing.assert_close(means(x)[:, 1:], torch.stack([expected[:, 1], third], 1))


@pytest.mark.parametrize(
    ("links", "shape", "what"),
    [
        (pick_cells((4, 6), torch.tensor([0])), (1, 1, 6, 4), "for fields of 4 x 6 cells"),
        (pick_cells((4, 6), torch.tensor([0])).for_channel(2), (1, 2, 4, 6), "uses channel 2"),
        (pick_cells((4, 6), torch.tensor([0])).at_step(-1), (1, 2, 3, 4, 6), "uses step -1"),
        (pick_cells((4, 6), torch.tensor([0])).at_step(1), (1, 2, 4, 6), "uses step 1"),
    ],
)  # fmt: skip
def test_fields_that_do_not_fit_are_refused(
    links: SparseOperator, shape: tuple[int, ...], what: str
) -> None:
    with pytest.raises(DpdmError, match=what):
        links(torch.zeros(shape))


def test_a_time_mean_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(DpdmError, match="ends before"):
        pick_cells((4, 6), torch.tensor([0])).average_steps(3, 2)


@pytest.mark.parametrize("axis", [[1.0], [2.0, 1.0], [0.0, 1.0, 3.0], [1.0, 1.0]])
def test_axes_that_are_not_regular_are_refused(axis: list[float]) -> None:
    with pytest.raises(DpdmError, match="not regular and ascending"):
        GridAxis("latitude", np.array(axis))


def test_boxes_are_the_area_means_of_a_coarser_grid() -> None:
    """Boxes of 3.2 x 4.1 degrees cut cells, and one crosses the dateline."""
    source = grid.Grid(WORLD.rows.centres, WORLD.columns.centres)
    target = grid.Grid(np.arange(-40, 41, 16.0), np.arange(164.3, 200, 11.7))
    field = np.random.default_rng(0).normal(size=WORLD.shape)
    coords = {"lat": source.lat, "lon": source.lon}
    peer = regrid.average_conservative(xr.Dataset({"a": (("lat", "lon"), field)}, coords), target)[
        "a"
    ]
    south, west = (
        e.ravel() for e in np.meshgrid(target.lat_edges[:-1], target.lon_edges[:-1], indexing="ij")
    )
    north, east = (
        e.ravel()
        for e in np.meshgrid(target.lat_edges[1:], target.lon_edges[1:] - 360, indexing="ij")
    )
    found = box_mean_operator(WORLD, south, north, west, east)(torch.as_tensor(field)[None, None])[
        0
    ]
    np.testing.assert_allclose(found, peer.values.ravel(), rtol=0, atol=1e-12)


def test_a_box_of_the_whole_world_is_the_mean_by_area() -> None:
    """The mean of sin^2(lat) over a sphere is 1/3; 5 degrees in midpoints are off by 3e-4."""
    sine = np.sin(np.radians(WORLD.rows.centres))[:, None] ** 2 * np.ones(WORLD.shape)
    found = box_mean_operator(WORLD, -90, 90, -180, 180)(torch.as_tensor(sine)[None, None])
    assert found.item() == pytest.approx(1 / 3, abs=1e-3)
    assert box_mean_operator(WORLD, -90, 90, -180, 180).weight.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("sides", [(25, 33, 101, 105), (25, 27, 99, 105), (27, 25, 101, 105),
                                   (25, 25, 101, 105), (np.nan, 27, 101, 105)])  # fmt: skip
def test_boxes_that_are_empty_or_reach_beyond_are_refused(sides: tuple[float, ...]) -> None:
    with pytest.raises(DpdmError, match="A box"):
        box_mean_operator(REGION, *sides)


def test_footprints_have_the_area_of_their_disc_and_its_moments() -> None:
    """The cosine of the angle to its middle has the mean (1 + cos r) / 2 over a cap."""
    fine = globe_layout(np.arange(-89.75, 90, 0.5), np.arange(0.25, 360, 0.5))
    angle = np.radians(10)
    for lat, lon in ((0.0, 0.0), (62.0, 179.9), (85.0, 20.0)):
        cosine = np.cos(fine.distance(lat, lon) / EARTH_RADIUS)
        disc = disc_mean_operator(fine, lat, lon, angle * EARTH_RADIUS)
        area = fine.areas.expand(fine.shape).flatten()[disc.cell].sum() / 259200  # cells
        # Cells at the rim are in or out: 0.5 degrees of 10, at random along the circle.
        assert float(area) == pytest.approx((1 - np.cos(angle)) / 2, rel=5e-3)
        found = disc(torch.as_tensor(cosine)[None, None]).item()
        assert found == pytest.approx((1 + np.cos(angle)) / 2, abs=1e-4)


def test_a_footprint_without_a_centre_is_the_nearest_cell() -> None:
    field = torch.randn(1, 1, *REGION.shape)
    assert disc_mean_operator(REGION, 22.7, 103.2, 1.0)(field).item() == field[0, 0, 2, 3].item()
    with pytest.raises(DpdmError, match="radius"):
        disc_mean_operator(REGION, 22.7, 103.2, np.nan)


def test_a_footprint_on_a_torus_goes_round_the_seam() -> None:
    disc = disc_mean_operator(TORUS, 0.0, 0.0, SIDES[1] * 1.01)
    assert sorted(disc.cell.tolist()) == [0, 1, 15, 16, 240]


def test_height_corrections_are_the_standard_atmosphere() -> None:
    """ISA: 288.15 K and 101325 Pa at 0 m; 281.65 K and 89874.6 Pa at 1000 m."""
    field = torch.tensor([101325.0, 288.15])[None, :, None, None].expand(1, 2, *REGION.shape)
    links = point_operator(REGION, [21.0, 25.5], [101.0, 110.3])
    up = height_above_relief(links, np.full(REGION.shape, 200.0), [1200.0, np.nan])
    assert up.tolist() == [1000.0, 0.0]
    local = torch.stack([links.for_channel(c)(field) for c in (0, 1)], 1)
    torch.testing.assert_close(
        correct_temperature(1, up)(local)[0, 0], torch.tensor([281.65, 288.15])
    )
    pressure = correct_pressure(0, up, temperature=1)(local)[0, 0]
    # The mean temperature of the layer stands for its harmonic mean: 2e-5 of the pressure.
    torch.testing.assert_close(pressure, torch.tensor([89874.6, 101325.0]), rtol=2e-5, atol=0)
    assert torch.equal(correct_pressure(0, up)(local)[0, 0], pressure)
