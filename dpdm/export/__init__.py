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

import pandas as pd  # type: ignore[import-untyped]
import xarray as xr

from dpdm.choices import load_plugins
from dpdm.errors import DpdmError
from dpdm.export import cube, raster, stac, table
from dpdm.export.ask import Ask
from dpdm.export.formats import FORMATS, Format, register
from dpdm.export.frame import Sheet, sheet
from dpdm.export.gdal import saying
from dpdm.export.points import points
from dpdm.export.select import Layer, chosen, layers, the_one
from dpdm.export.when import split_names
from dpdm.fields.cf import file_attributes
from dpdm.fields.store import sha256
from dpdm.fields.write import SUFFIXES, check_output
from dpdm.publish import drafts


def export(source: Path, target: Path, ask: Ask = Ask()) -> list[Path]:
    """Write a file's fields in another format, and return what was written."""
    if target.suffix not in FORMATS:
        load_plugins()
    check_output(target, [source, ask], ask.overwrite or ask.split, [*FORMATS])
    kind = FORMATS[target.suffix]
    kind.check(target, ask)
    return kind.write(source, target, ask)


def cubes(source: Path, target: Path, ask: Ask) -> list[Path]:
    """Write a NetCDF file or a Zarr store."""
    fields = chosen(source, ask)
    wanted = layers(fields, source, ask, ask.stat)
    cube.write(target, wanted, fields, about(source, fields, ask), ask)
    return [target]


def about(source: Path, fields: xr.Dataset, ask: Ask) -> dict[str, Any]:
    """Return the title and the provenance: the input's own, and which file that was."""
    before = {k[5:]: str(v) for k, v in fields.attrs.items() if k.startswith("dpdm_")}
    made = before | {"exported": source.name, "exported_sha256": sha256(source)}
    said = {"stat": ask.stat, "crs": ask.crs, "mask": ask.mask.name if ask.mask else ""}
    title = str(fields.attrs.get("title", "")) or f"Fields exported from {source.name}"
    return {"title": title, "provenance": made | {k: v for k, v in said.items() if v}}


def tables(
    write: Callable[[Path, pd.DataFrame, bool], None], source: Path, target: Path, ask: Ask
) -> list[Path]:
    """Write a table of values at the points of another."""
    fields = chosen(source, ask)
    wanted = table.columns(fields, source, ask)
    assert ask.points is not None
    places = points(ask.points, wanted[0][0].grid, ask.method)
    write(target, table.rows(wanted, places, ask), ask.overwrite)
    return [target]


def rasters(source: Path, target: Path, ask: Ask) -> list[Path]:
    """Write a GeoTIFF, or one a step, each with its STAC item if that is asked.

    An ensemble is written as its mean where no statistic is asked for.
    """
    fields = chosen(source, ask)
    name = the_one(fields, source, ask)
    mean = "" if "realization" not in fields[name].dims else "mean"
    (layer,) = layers(fields, source, Ask(variable=name, mask=ask.mask), ask.stat or mean)
    page = sheet(layer.grid, ask.crs)
    if ask.stac:
        stac.check_dated(fields)
    parts = _parts(target, layer, fields, ask)
    items = [path.with_suffix(".json") for path in parts] if ask.stac else []
    for path in parts:
        check_output(path, [source, ask], ask.overwrite, [target.suffix])
    for path in items:
        check_output(path, [source, ask], ask.overwrite, (".json",))
    tags = _tags(source, fields, ask)
    with drafts([*parts, *items], ask.overwrite) as names:
        _write(layer, page, parts, names, tags, fields, ask)
    return [*parts, *items]


def _parts(target: Path, layer: Layer, fields: xr.Dataset, ask: Ask) -> dict[Path, range]:
    """Return the files to write, and the steps of each."""
    if not ask.split:
        return {target: range(layer.steps)}
    if "time" not in fields.dims:
        raise DpdmError(f"{layer.path} has no time to split.", "Leave --split out.")
    paths = split_names(target, fields["time"])
    return {path: range(step, step + 1) for step, path in enumerate(paths)}


def _tags(source: Path, fields: xr.Dataset, ask: Ask) -> dict[str, str]:
    """Return the provenance as the tags of a raster."""
    said = about(source, fields, ask)
    attributes = file_attributes(fields.attrs, history=ask.history, **said)
    return {key: str(value) for key, value in attributes.items()}


def _write(
    layer: Layer,
    page: Sheet,
    parts: dict[Path, range],
    names: Sequence[Path],
    tags: dict[str, str],
    fields: xr.Dataset,
    ask: Ask,
) -> None:
    """Write the drafts of rasters and items."""
    for index, (path, steps) in enumerate(parts.items()):
        with saying(path):
            bands = raster.write(names[index], layer, page, steps, tags)
        if ask.stac:
            time = fields["time"].isel(time=list(steps))
            said = stac.item(path, layer.grid, page, time, bands, tags)
            names[len(parts) + index].write_text(said, encoding="utf-8")
        ask.progress(steps[-1] + 1, layer.steps)


register(
    Format("GeoTIFF", (".tif", ".tiff"), rasters, ("split", "crs", "stac")),
    Format("NetCDF or Zarr", SUFFIXES, cubes),
    Format("CSV", (".csv",), partial(tables, table.write_csv), is_table=True),
    Format("GeoJSON", (".geojson",), partial(tables, table.write_geojson), is_table=True),
)
