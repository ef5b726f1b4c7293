"""The files of a training: joined by what their steps stand for, with static fields among them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from dpdm.constants import GRAVITY
from dpdm.errors import DpdmError
from dpdm.fields.grid import Grid
from dpdm.training import TrainingFiles
from dpdm.training.field_files import cut_to_blocks, load_series, load_statics
from dpdm.training.field_series import FieldTrainingSet, build_field_set
from dpdm.training.field_statistics import residual_importance
from tests.helpers import store_files
from tests.helpers.store_files import relief, write_land_files, write_store_files

FILES = TrainingFiles([], [], None, None, None, {}, {})
SMALL = "[net]\nwindow = 32\nread = [8, 8, 8]\nwidths = [8, 8]\ndepth = 1\n[train]\nbatch = 4\n"


def built(folder: Path, paths: list[Path], factor: tuple[int, int] = (8, 8)) -> FieldTrainingSet:
    torch.set_default_dtype(torch.float32)
    (folder / "small.toml").write_text(SMALL)
    sources = replace(FILES, fine=paths, config=folder / "small.toml")
    return build_field_set(sources, factor)


def test_variables_of_two_files_are_joined_by_their_months(tmp_path: Path) -> None:
    paths = write_store_files(tmp_path, 12)[:2]
    fields, found, notes = load_series(paths, FILES)
    assert (found, notes) == (None, [])
    assert sorted(fields.data_vars) == ["sp", "t2m", "tp", "u10", "v10"]
    assert fields.sizes["time"] == 12
    known = store_files.fields(12)
    np.testing.assert_allclose(fields["t2m"], known["t2m"], rtol=1e-6)
    np.testing.assert_allclose(fields["tp"], 1000 * known["tp"], rtol=1e-5)  # m a day to mm a day


def test_the_order_of_files_and_a_split_in_years_do_not_matter(tmp_path: Path) -> None:
    means, rain, _ = write_store_files(tmp_path, 24)
    with xr.open_dataset(means) as ds:
        for name, part in (("b.nc", slice(0, 12)), ("a.nc", slice(12, 24))):
            ds.isel(valid_time=part).to_netcdf(tmp_path / name)
    whole = load_series([means, rain], FILES)[0]
    parts = load_series([rain, tmp_path / "a.nc", tmp_path / "b.nc"], FILES)[0]
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name], parts[name])


def test_steps_that_not_all_variables_have_are_named(tmp_path: Path) -> None:
    means, rain, _ = write_store_files(tmp_path, 24)
    with xr.open_dataset(rain) as ds:
        ds.isel(valid_time=slice(3, 24)).to_netcdf(tmp_path / "late.nc")
    fields, _, notes = load_series([means, tmp_path / "late.nc"], FILES)
    assert fields.sizes["time"] == 21
    assert notes == [
        "not used: 3 of 24 steps of t2m, sp, u10, v10, which the other variables do not have"
    ]


def test_files_without_a_common_step_are_refused(tmp_path: Path) -> None:
    means, rain, _ = write_store_files(tmp_path, 12)
    with xr.open_dataset(rain) as ds:
        moved = ds.assign_coords(valid_time=ds["valid_time"] + np.timedelta64(3653, "D"))
        moved.to_netcdf(tmp_path / "later.nc")
    with pytest.raises(DpdmError, match="do not hold the same times"):
        load_series([means, tmp_path / "later.nc"], FILES)


def test_static_fields_among_the_files_are_no_variables(tmp_path: Path) -> None:
    paths = write_store_files(tmp_path, 12)
    fields, found, notes = load_series(paths, FILES)
    assert {"z", "lsm", "slt"}.isdisjoint(fields.data_vars)
    assert notes == ["not used: slt of z_lsm.nc, a file of static fields"]
    assert found is not None
    ground = load_statics(FILES, store_files.GRID, found)
    np.testing.assert_allclose(ground["topography"], relief(), rtol=1e-4, atol=0.01)


def test_statics_among_the_files_are_those_of_the_option(tmp_path: Path) -> None:
    *series, statics = write_store_files(tmp_path, 36)
    (tmp_path / "small.toml").write_text(SMALL)
    sources = replace(FILES, fine=series, statics=statics, config=tmp_path / "small.toml")
    option, among = build_field_set(sources, (8, 8)), built(tmp_path, [*series, statics])
    np.testing.assert_array_equal(option.archive.statics, among.archive.statics)
    assert option.notes[0] == f"statics: {statics}"


def test_constant_fields_in_the_series_itself_are_static(tmp_path: Path) -> None:
    months, height = 6, GRAVITY * relief()
    arrays = store_files.fields(months) | {
        "z": np.repeat(height[None], months, 0), "lsm": np.ones((months, *height.shape)),
    }  # fmt: skip
    store_files.store_layout(arrays, 0).to_netcdf(tmp_path / "all.nc")
    fields, found, _ = load_series([tmp_path / "all.nc"], FILES)
    assert len(fields.data_vars) == 5
    assert found is not None
    assert sorted(found.data_vars) == ["lsm", "z"]


def test_geopotential_that_changes_is_a_variable(tmp_path: Path) -> None:
    arrays = store_files.fields(6)
    arrays["z"] = 50000 + 10 * arrays["t2m"]
    store_files.store_layout(arrays, 0).to_netcdf(tmp_path / "aloft.nc")
    fields, found, _ = load_series([tmp_path / "aloft.nc"], FILES)
    assert found is None
    assert "z" in fields


def test_static_fields_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DpdmError, match="static fields only"):
        load_series(write_land_files(tmp_path, 12)[1:], FILES)


@pytest.mark.parametrize(
    ("factor", "shape"), [((8, 8), (32, 16)), ((5, 5), (35, 15)), ((4, 10), (35, 19))]
)
def test_edges_that_fill_no_block_are_cut(factor: tuple[int, int], shape: tuple[int, int]) -> None:
    ds = xr.Dataset({"a": (("lat", "lon"), np.zeros((35, 19)))}, store_files.GRID.coords())
    cut, notes = cut_to_blocks(ds, factor)
    assert (cut.sizes["lat"], cut.sizes["lon"]) == shape
    assert float(cut["lat"][0]) == float(ds["lat"][0])
    assert len(notes) == (shape != (35, 19))


def test_columns_of_the_whole_globe_are_not_cut() -> None:
    grid = Grid(np.arange(-90, 91, 2.0), np.arange(0, 360, 2.0))
    ds = xr.Dataset({"a": (("lat", "lon"), np.zeros(grid.shape))}, grid.coords())
    cut, notes = cut_to_blocks(ds, (8, 8))
    assert dict(cut.sizes) == {"lat": 88, "lon": 180}
    assert "3 northern rows of 91 x 180 cells" in notes[0]


def test_the_sea_of_land_fields_is_neither_drawn_nor_scored(tmp_path: Path) -> None:
    task = built(tmp_path, write_land_files(tmp_path, 48), (4, 4))
    land = store_files.land_cells(task.archive.grid)
    importance = residual_importance(task.archive, task.normaliser, task.steps)
    np.testing.assert_array_equal(importance > 0, land)
    np.testing.assert_array_equal(np.isfinite(task.reference["fields"].numpy()[0, 0]), land)
    x, given = task.batch(np.random.default_rng(0))
    assert bool(x.isfinite().any((2, 3)).all())  # each window has values of each variable
    assert bool(given.isfinite().all())
    network = task.new_network()
    scores = task.scores(network, "cpu") | task.calibration(network, "cpu")
    assert scores
    assert all(np.isfinite(value) for value in scores.values())


def test_a_window_without_values_does_not_spoil_the_scores(tmp_path: Path) -> None:
    task = built(tmp_path, write_land_files(tmp_path, 48), (4, 4))
    rows, columns, step = np.arange(20, 40), np.arange(22, 40), 45
    empty = replace(task, validation_windows=[*task.validation_windows, (rows, columns, step)])
    network = task.new_network()
    assert empty.scores(network, "cpu") == task.scores(network, "cpu")
