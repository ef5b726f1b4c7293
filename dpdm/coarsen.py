"""Area-weighted block means of a file."""

from collections.abc import Mapping
from pathlib import Path

from dpdm.fields.grid import coarsen as means
from dpdm.remap import Report, remap_file


def coarsen(
    fine: Path,
    coarse: Path,
    factor: int,
    rename: Mapping[str, str],
    units: Mapping[str, str],
    history: str = "dpdm coarsen",
    overwrite: bool = False,
    report: Report = lambda done, total: None,
) -> None:
    """Write the means over blocks of ``factor`` by ``factor`` cells."""
    title = f"Means over blocks of {factor} by {factor} cells of {fine.name}"
    remap_file(
        fine, coarse, lambda fields: means(fields, factor), rename, units, title, history,
        overwrite, report,
    )  # fmt: skip
