"""Hand fields over: to GIS as GeoTIFF, as NetCDF or Zarr cut to measure, to tables as points.

The suffix of the target says the format. Whatever it is, `select` says what of the file is wanted,
`statistic` what is made of members, and `frame` where the cells lie; values are in the units of
the file, and what is outside a mask is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from dpdm.choices import load_plugins
from dpdm.errors import DpdmError
from dpdm.export import netcdf, points, raster, stac
from dpdm.export.formats import FORMATS, Format, register
from dpdm.export.points import find_points
from dpdm.export.select import (
    ExportOptions,
    OutputLayer,
    make_layers,
    open_selected,
    single_variable,
    split_names,
)
from dpdm.export.warp import RasterGrid, convert_gdal_errors, make_raster_grid
from dpdm.fields.metadata import file_attributes
from dpdm.fields.write import OUTPUT_SUFFIXES, check_output
from dpdm.publish import open_drafts
from dpdm.system import sha256


def export(source: Path, target: Path, ask: ExportOptions = ExportOptions()) -> list[Path]:
    """Write a file's fields in another format, and return what was written."""
    if target.suffix not in FORMATS:
        load_plugins()
    check_output(target, [source, ask], ask.overwrite or ask.split, [*FORMATS])
    kind = FORMATS[target.suffix]
    kind.check(target, ask)
    return kind.write(source, target, ask)


def write_cube(source: Path, target: Path, ask: ExportOptions) -> list[Path]:
    """Write a NetCDF file or a Zarr store."""
    fields = open_selected(source, ask)
    wanted = make_layers(fields, source, ask, ask.stat)
    netcdf.write_cube(target, wanted, fields, output_metadata(source, fields, ask), ask)
    return [target]


def output_metadata(source: Path, fields: xr.Dataset, ask: ExportOptions) -> dict[str, Any]:
    """Return the title and the provenance: the input's own, and which file that was."""
    before = {k[5:]: str(v) for k, v in fields.attrs.items() if k.startswith("dpdm_")}
    made = before | {"exported": source.name, "exported_sha256": sha256(source)}
    said = {"stat": ask.stat, "crs": ask.crs, "mask": ask.mask.name if ask.mask else ""}
    title = str(fields.attrs.get("title", "")) or f"Fields exported from {source.name}"
    return {"title": title, "provenance": made | {k: v for k, v in said.items() if v}}


def export_tables(
    write: Callable[[Path, pd.DataFrame, bool], None],
    source: Path,
    target: Path,
    ask: ExportOptions,
) -> list[Path]:
    """Write a table of values at the points of another."""
    fields = open_selected(source, ask)
    wanted = points.table_columns(fields, source, ask)
    assert ask.points is not None
    places = find_points(ask.points, wanted[0][0].grid, ask.method)
    write(target, points.table_rows(wanted, places, ask), ask.overwrite)
    return [target]


def export_rasters(source: Path, target: Path, ask: ExportOptions) -> list[Path]:
    """Write a GeoTIFF, or one a step, each with its STAC item if that is asked.

    An ensemble is written as its mean where no statistic is asked for.
    """
    fields = open_selected(source, ask)
    name = single_variable(fields, source, ask)
    mean = "" if "realization" not in fields[name].dims else "mean"
    (layer,) = make_layers(
        fields, source, ExportOptions(variable=name, mask=ask.mask), ask.stat or mean
    )
    page = make_raster_grid(layer.grid, ask.crs)
    if ask.stac:
        stac.check_dated(fields)
    parts = _files_by_step(target, layer, fields, ask)
    items = [path.with_suffix(".json") for path in parts] if ask.stac else []
    for path in parts:
        check_output(path, [source, ask], ask.overwrite, [target.suffix])
    for path in items:
        check_output(path, [source, ask], ask.overwrite, (".json",))
    tags = _tags(source, fields, ask)
    with open_drafts([*parts, *items], ask.overwrite) as names:
        _write_rasters(layer, page, parts, names, tags, fields, ask)
    return [*parts, *items]


def _files_by_step(
    target: Path, layer: OutputLayer, fields: xr.Dataset, ask: ExportOptions
) -> dict[Path, range]:
    """Return the files to write, and the steps of each."""
    if not ask.split:
        return {target: range(layer.steps)}
    if "time" not in fields.dims:
        raise DpdmError(f"{layer.path} has no time to split.", "Leave --split out.")
    paths = split_names(target, fields["time"])
    return {path: range(step, step + 1) for step, path in enumerate(paths)}


def _tags(source: Path, fields: xr.Dataset, ask: ExportOptions) -> dict[str, str]:
    """Return the provenance as the tags of a raster."""
    said = output_metadata(source, fields, ask)
    attributes = file_attributes(fields.attrs, history=ask.history, **said)
    return {key: str(value) for key, value in attributes.items()}


def _write_rasters(
    layer: OutputLayer,
    page: RasterGrid,
    parts: dict[Path, range],
    names: Sequence[Path],
    tags: dict[str, str],
    fields: xr.Dataset,
    ask: ExportOptions,
) -> None:
    """Write the drafts of rasters and items."""
    for index, (path, steps) in enumerate(parts.items()):
        with convert_gdal_errors(path):
            bands = raster.write_raster(names[index], layer, page, steps, tags)
        if ask.stac:
            time = fields["time"].isel(time=list(steps))
            said = stac.stac_item(path, layer.grid, page, time, bands, tags)
            names[len(parts) + index].write_text(said, encoding="utf-8")
        ask.progress(steps[-1] + 1, layer.steps)


register(
    Format("GeoTIFF", (".tif", ".tiff"), export_rasters, ("split", "crs", "stac")),
    Format("NetCDF or Zarr", OUTPUT_SUFFIXES, write_cube),
    Format("CSV", (".csv",), partial(export_tables, points.write_csv), is_table=True),
    Format("GeoJSON", (".geojson",), partial(export_tables, points.write_geojson), is_table=True),
)
