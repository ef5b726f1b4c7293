"""Describe a prior by its header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dpdm.fields.climatology_grid import describe_extent
from dpdm.fields.grid import Grid
from dpdm.fields.level_names import parse_level
from dpdm.fields.reference_climatology import BUNDLED, bundled_climatology
from dpdm.fields.variables import SURFACE_VARIABLES
from dpdm.info.text import describe_levels, group_by_family
from dpdm.prior import find_prior, read_prior_header, training_period
from dpdm.prior.model_card import ModelCard, PriorHeader, skill_warning
from dpdm.system import sha256
from dpdm.tensor_files import read_prefixed_arrays

if TYPE_CHECKING:
    import numpy as np

WINDS = "by block means and the contrast of land and sea"
PHYSICS = {
    "u10": WINDS,
    "v10": WINDS,
    "sp": "by the hypsometric equation, from coarse sp or msl",
}


def describe_prior(path: Path) -> dict[str, Any]:
    """Describe a prior by its header, with its size and digest."""
    header = read_prior_header(path)
    contract, channels = header.contract, header.channels
    variables = {c.name: f"{c.long_name} [{c.units}]" for c in channels}
    transforms = {c.name: c.transform for c in channels}
    families = variable_families(header)
    levels = [parse_level(c.name, c.family) for c in channels]
    training = {k: v for k, v in contract.training.items() if k not in ("recipe", "identity")}
    return {
        "prior": path.stem,
        "file": str(path),
        "size_MB": round(path.stat().st_size / 1e6, 2),
        "sha256": sha256(path),
        "dpdm": header.dpdm,
        "variables": group_by_family(variables, families),
        **describe_levels(levels),
        **describe_physics(header),
        "transforms": group_by_family(transforms, families),
        **(describe_windows(contract) if contract.states else describe_grid(header, path)),
        **({"code_rmse": code_rmse(header, families)} if contract.code else {}),
        "heads": describe_heads(contract),
        "sampling": {k: v for k, v in contract.sampling.items() if v != []},
        "training": training,
        f"held_out_rmse_over_{'noise' if contract.states else 'lerp'}": group_by_family(
            contract.scores, families
        )
        or "nothing was held out",
        **({"caution": caution} if (caution := skill_warning(contract, contract.scores)) else {}),
    }


def describe_heads(contract: ModelCard) -> str:
    """Describe by which heads of the network members can be drawn."""
    sampling = contract.sampling
    denoiser = f"denoiser ({sampling['sampler']}, {sampling['steps']} steps)"
    return f"fast (one evaluation a member), {denoiser}" if contract.fast else denoiser


def describe_physics(header: PriorHeader) -> dict[str, Any]:
    """Describe which variables of a prior of fields a network draws, and which need none."""
    names = [channel.name for channel in header.channels]
    others = [] if header.contract.states else [n for n in PHYSICS if n not in names]
    if not others:
        return {}
    known = {name: SURFACE_VARIABLES[name] for name in others}
    found = {
        name: f"{v.long_name} [{v.units}], {PHYSICS[name]}, of any step and spacing"
        for name, v in known.items()
    }
    return {"by_network": names, "by_physics": found}


def variable_families(header: PriorHeader) -> dict[str, str]:
    """Return the family of each variable, or else its own name."""
    return {c.name: c.family or c.name for c in header.channels}


def code_rmse(header: PriorHeader, families: Mapping[str, str]) -> dict[str, str]:
    """Return the reconstruction RMSE of each variable of a latent prior, of a family its range."""
    known = header.contract.code.get("reconstruction", {})
    units = {families[c.name]: c.units for c in header.channels}
    groups: dict[str, list[float]] = {}
    for name, value in known.items():
        groups.setdefault(families[name], []).append(value)
    return {name: f"{value_range(values)} {units[name]}" for name, values in groups.items()}


def value_range(values: list[float]) -> str:
    """Format the range of numbers.

    Example:
        >>> value_range([0.512, 0.3]), value_range([638.9])
        ('0.3 to 0.51', '640')
    """
    ends = dict.fromkeys(f"{float(f'{v:.2g}'):g}" for v in (min(values), max(values)))
    return " to ".join(ends)


def describe_code(prior: str) -> str:
    """Return a sentence on the reconstruction RMSE of a latent prior, else an empty text."""
    header = read_prior_header(find_prior(prior))
    families = variable_families(header)
    errors = [f"{name} {size}" for name, size in code_rmse(header, families).items()]
    return f"RMSE of the codes of this prior: {', '.join(errors)}." if errors else ""


def describe_grid(header: PriorHeader, path: Path) -> dict[str, Any]:
    """Describe the grid of a prior of fields, and its climatologies."""
    contract = header.contract
    return {
        "fine_spacing_degrees": contract.spacing,
        "factors": contract.factors,
        "window_cells": contract.window,
        "training_climatology": describe_climate(read_prefixed_arrays(path, "coarse.")),
        "reference_climatology": describe_reference(header, path),
    }


def describe_reference(header: PriorHeader, path: Path) -> list[str] | str:
    """Describe the climatologies of the fine grid that a prior can use without a file."""
    if not all(channel.reference for channel in header.channels):
        return "none"
    packed, names = bundled_climatology(), [channel.name for channel in header.channels]
    bundled = [name for name in names if name in packed.names]
    own = read_prefixed_arrays(path, "reference.")
    found = []
    if own:
        grid = Grid(own["lat"], own["lon"])
        found.append(f"its own: {describe_months(names, training_period(header.contract), grid)}")
    if bundled:
        words = describe_months(bundled, packed.attrs["period"], packed.grid)
        found.append(f"{BUNDLED}: {words}")
    return found or "none"


def describe_months(names: list[str], period: str, grid: Grid) -> str:
    """Describe a climatology: the variables, the period and the grid.

    Example:
        >>> import numpy as np
        >>> describe_months(["t2m"], "2001-01 to 2010-12", Grid(np.arange(3.0), np.arange(3.0)))
        't2m of each month, 2001-01 to 2010-12, 1 x 1 degrees, latitudes -0.5 to 2.5 and ...'
    """
    rows, columns = grid.spacing
    years = f", {period}" if period else ""
    return (
        f"{' and '.join(names)} of each month{years}, {rows:.3g} x {columns:.3g} degrees, "
        f"{describe_extent(grid)}"
    )


def describe_climate(coarse: dict[str, np.ndarray]) -> str:
    """Describe the climatology of the training data in a prior."""
    if not coarse:
        return "none"
    rows, columns = Grid(coarse["lat"], coarse["lon"]).spacing
    count = len(coarse.get("probabilities", ()))
    quantiles = f" and {count} quantiles" if count else ""
    return f"mean{quantiles} of each month on {rows:.3g} x {columns:.3g} degrees"


def describe_windows(contract: ModelCard) -> dict[str, Any]:
    """Describe the windows of a prior of trajectories."""
    cells = " by ".join(map(str, contract.plane))
    return {
        "window_states": contract.states,
        "time_between_states": contract.cadence,
        "state": f"{cells} cells{', periodic' if contract.periodic else ''}"
        if cells
        else f"components of {contract.variable}",
    }
