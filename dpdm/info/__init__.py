"""Describe a prior or a data file.

Each is described without the libraries that only the other needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpdm.system import check_regular

if TYPE_CHECKING:
    from dpdm.fields.plausibility import MissingCodes


def describe_file(file: Path | str, missing: MissingCodes = {}) -> dict[str, Any]:
    """Describe a data file, or a prior by file or name."""
    path = Path(file)
    if path.suffix == ".safetensors" or not (path.suffix or path.exists()):
        from dpdm.info.prior import describe_prior
        from dpdm.prior import find_prior

        return describe_prior(find_prior(str(file)))
    check_regular(path)
    from dpdm.info.data import describe_data

    return describe_data(path, missing)
