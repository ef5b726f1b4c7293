"""Area-weighted block means of a file."""

from pathlib import Path

from dpdm.fields.grid import coarsen as means
from dpdm.fields.input import FileOptions
from dpdm.remap import remap_file


def coarsen(fine: Path, coarse: Path, factor: int, ask: FileOptions = FileOptions()) -> None:
    """Write the means over blocks of ``factor`` by ``factor`` cells."""
    title = f"Means over blocks of {factor} by {factor} cells of {fine.name}"
    remap_file(fine, coarse, lambda fields: means(fields, factor), title, ask)
