"""Which layout a plan names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dpdm.reconstruct.cube import Cube
from dpdm.reconstruct.products import Layout
from dpdm.reconstruct.setting import Setting
from dpdm.reconstruct.yearly import Yearly


def layout_of(setting: Setting, folder: Path, made: Mapping[str, str]) -> Layout:
    """Return the layout of a reconstruction.

    Args:
        setting: What is reconstructed.
        folder: Where to.
        made: What it is made from.
    """
    kind = Cube if setting.plan.output.layout == "zarr" else Yearly
    return kind(setting, folder, made)
