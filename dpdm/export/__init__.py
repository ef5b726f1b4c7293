"""Export fields as GeoTIFF, NetCDF or Zarr, and values at points as tables.

The suffix of the target decides the format. Values are in the units of the file, in a GeoTIFF
in `legible_units`, unless the user wants others, and missing outside a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pandas as pd
import xarray as xr

from dpdm.choices import load_plugins
from dpdm.errors import DpdmError
from dpdm.export import points, raster, stac
from dpdm.export.points import find_points
from dpdm.export.qgis_style import qgis_style
from dpdm.export.select import (
    ExportOptions,
    OutputLayer,
    make_layers,
    open_selected,
    single_variable,
    split_names,
)
from dpdm.export.warp import BandInfo, RasterGrid, convert_gdal_errors, make_raster_grid
from dpdm.fields.metadata import add_cf_metadata, file_attributes
from dpdm.fields.write import Writer
from dpdm.file_group import Source, describe_inputs
from dpdm.paths import OUTPUT_SUFFIXES, check_output
from dpdm.publish import open_drafts


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        name: Name in messages.
        suffixes: Suffixes of its files.
        write: Takes source, target and options; returns the files that it wrote.
        options: Options that only some formats use: split, crs, stac and qml.
        is_table: Whether it holds values at points, not fields.
    """

    name: str
    suffixes: tuple[str, ...]
    write: Callable[[Source, Path, ExportOptions], list[Path]]
    options: tuple[str, ...] = ()
    is_table: bool = False

    def check(self, target: Path, options: ExportOptions) -> None:
        """Refuse options that the format does not support."""
        for option in ("split", "crs", "stac", "qml"):
            if getattr(options, option) and option not in self.options:
                other = next(f for f in FORMATS.values() if option in f.options)
                raise DpdmError(
                    f"--{option} requires {other.name}, which {target} is not.",
                    f"Write a {other.suffixes[0]}.",
                )
        if options.points and not self.is_table:
            what = f"--points requires a table, which {target} is not."
            raise DpdmError(what, "Write a .csv or a .geojson.")
        if self.is_table and not options.points:
            raise DpdmError(
                f"A field cannot be written to {target}, which holds values at points.",
                "Add --points STATIONS.csv, with columns name, lat and lon, or write a .tif or "
                ".nc.",
            )


FORMATS: dict[str, Format] = {}


def register(*formats: Format) -> None:
    """Add file formats."""
    FORMATS.update({suffix: each for each in formats for suffix in each.suffixes})


def export(source: Source, target: Path, options: ExportOptions = ExportOptions()) -> list[Path]:
    """Write the fields of a file in another format, and return the files written."""
    if target.suffix not in FORMATS:
        load_plugins()
    check_output(target, [source, options], options.overwrite or options.split, [*FORMATS])
    kind = FORMATS[target.suffix]
    kind.check(target, options)
    return kind.write(source, target, options)


def write_cube(source: Source, target: Path, options: ExportOptions) -> list[Path]:
    """Write the selected fields to a NetCDF file or a Zarr store, step by step."""
    fields = open_selected(source, options)
    layers = make_layers(fields, source, options, options.stat)
    about = output_metadata(source, fields, options)
    layout = add_cf_metadata(cube_layout(layers, fields), history=options.history, **about)
    steps = layers[0].steps
    with Writer(target, layout, options.overwrite) as writer:
        for step in range(steps):
            for layer in layers:
                writer.write(layer.output_step(step).to_dataset())
            options.progress(step + 1, steps)
    return [target]


def cube_layout(layers: Sequence[OutputLayer], fields: xr.Dataset) -> xr.Dataset:
    """Return the layout of all steps from that of the first."""
    coords = {n: fields[n] for n in ("lat", "lon", "time", "time_bnds") if n in fields.variables}
    out = {}
    for layer in layers:
        first = layer.output_step(0)
        if "realization" in first.dims:
            coords["realization"] = fields["realization"]
        shape = [layer.steps if dim == "time" else size for dim, size in first.sizes.items()]
        empty = dask.array.zeros(shape, dtype=np.float32)
        out[layer.name] = xr.DataArray(empty, dims=first.dims, attrs=first.attrs)
    return xr.Dataset(out, coords, fields.attrs)


def output_metadata(source: Source, fields: xr.Dataset, options: ExportOptions) -> dict[str, Any]:
    """Return title and provenance: those of the input, and its name and digest."""
    inherited = {k[5:]: str(v) for k, v in fields.attrs.items() if k.startswith("dpdm_")}
    files = {key.replace("input", "exported"): v for key, v in describe_inputs(source).items()}
    provenance = inherited | files
    settings = {
        "stat": options.stat,
        "crs": options.crs,
        "mask": options.mask.name if options.mask else "",
    }
    title = str(fields.attrs.get("title", "")) or f"Fields exported from {source.name}"
    return {"title": title, "provenance": provenance | {k: v for k, v in settings.items() if v}}


def export_tables(
    write: Callable[[Path, pd.DataFrame, bool], None],
    source: Source,
    target: Path,
    options: ExportOptions,
) -> list[Path]:
    """Write a table of values at the points of --points."""
    fields = open_selected(source, options)
    columns = points.table_columns(fields, source, options)
    assert options.points is not None
    stations = find_points(options.points, columns[0][0].grid, options.method)
    write(target, points.table_rows(columns, stations, options), options.overwrite)
    return [target]


def export_rasters(source: Source, target: Path, options: ExportOptions) -> list[Path]:
    """Write a GeoTIFF, or one per step, with STAC items and styles of QGIS if asked.

    An ensemble is written as its mean unless another statistic is selected.
    """
    fields = open_selected(source, options)
    name = single_variable(fields, source, options)
    mean = "" if "realization" not in fields[name].dims else "mean"
    (layer,) = make_layers(
        fields, source, ExportOptions(variable=name, mask=options.mask), options.stat or mean
    )
    layer = replace(layer, legible=not options.out_units)
    pixels = make_raster_grid(layer.grid, options.crs)
    if options.stac:
        stac.check_dated(fields)
    steps = _files_by_step(target, layer, fields, options)
    items = [path.with_suffix(".json") for path in steps] if options.stac else []
    styles = [path.with_suffix(".qml") for path in steps] if options.qml else []
    for path in (*steps, *items, *styles):
        suffixes = [target.suffix, ".json", ".qml"]
        check_output(path, [source, options], options.overwrite, suffixes)
    tags = _tags(source, fields, options) | raster.pixel_tags(pixels)
    with open_drafts([*steps, *items, *styles], options.overwrite) as names:
        bands = _write_rasters(layer, pixels, steps, names, tags, fields, options)
        for draft in names[len(steps) + len(items) :]:  # of one scale, as for an animation
            draft.write_text(qgis_style(layer.colour_kind, bands), encoding="utf-8")
    return [*steps, *items, *styles]


def _files_by_step(
    target: Path, layer: OutputLayer, fields: xr.Dataset, options: ExportOptions
) -> dict[Path, range]:
    """Return the time steps of each file to write."""
    if not options.split:
        return {target: range(layer.steps)}
    if "time" not in fields.dims:
        raise DpdmError(f"{layer.path} has no time axis to split.", "Leave --split out.")
    paths = split_names(target, fields["time"])
    return {path: range(step, step + 1) for step, path in enumerate(paths)}


def _tags(source: Source, fields: xr.Dataset, options: ExportOptions) -> dict[str, str]:
    """Return the provenance as tags of a raster."""
    about = output_metadata(source, fields, options)
    attributes = file_attributes(fields.attrs, history=options.history, **about)
    return {key: str(value) for key, value in attributes.items()}


def _write_rasters(
    layer: OutputLayer,
    pixels: RasterGrid,
    parts: dict[Path, range],
    names: Sequence[Path],
    tags: dict[str, str],
    fields: xr.Dataset,
    options: ExportOptions,
) -> list[BandInfo]:
    """Write the drafts of rasters and STAC items, and return the bands of all rasters."""
    written: list[BandInfo] = []
    for index, (path, steps) in enumerate(parts.items()):
        with convert_gdal_errors(path):
            bands = raster.write_raster(names[index], layer, pixels, steps, tags)
        if options.stac:
            time = fields["time"].isel(time=list(steps))
            item = stac.stac_item(path, layer.grid, pixels, time, bands, tags)
            names[len(parts) + index].write_text(item, encoding="utf-8")
        written += bands
        options.progress(steps[-1] + 1, layer.steps)
    return written


register(
    Format("GeoTIFF", (".tif", ".tiff"), export_rasters, ("split", "crs", "stac", "qml")),
    Format("NetCDF or Zarr", OUTPUT_SUFFIXES, write_cube),
    Format("CSV", (".csv",), partial(export_tables, points.write_csv), is_table=True),
    Format("GeoJSON", (".geojson",), partial(export_tables, points.write_geojson), is_table=True),
)
