"""Describe a prior or a data file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr
from torch import Tensor

from dpdm.fields.climatology_grid import describe_extent
from dpdm.fields.formats import GroupsError, list_groups, open_raw
from dpdm.fields.grid import Grid, grid_of
from dpdm.fields.level_names import Level, base_name, parse_level, read_level
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.read import OmittedVariableWarning, open_fields
from dpdm.fields.reference_climatology import BUNDLED, bundled_climatology
from dpdm.fields.trajectories import holds_trajectories, trajectory_cadence
from dpdm.fields.variables import SURFACE_VARIABLES
from dpdm.prior import find_prior, read_prior_header
from dpdm.prior.model_card import ModelCard, PriorHeader, skill_warning
from dpdm.prior.pressure import PRESSURE
from dpdm.states.reference import training_period
from dpdm.system import sha256
from dpdm.tensor_files import read_prefixed_tensors

PHYSICS = "by the hypsometric equation, from coarse sp or msl"


def describe_file(file: Path | str, missing: MissingCodes = {}) -> dict[str, Any]:
    """Describe a data file, or a prior by file or name."""
    path = Path(file)
    if path.suffix == ".safetensors" or not (path.suffix or path.exists()):
        return describe_prior(find_prior(str(file)))
    return describe_data(path, missing)


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
    return (
        f"fast (one evaluation a member, where nothing guides), {denoiser}" * contract.fast
        or denoiser
    )


def describe_physics(header: PriorHeader) -> dict[str, Any]:
    """Describe which variables of a prior of fields a network draws, and which need none."""
    names = [channel.name for channel in header.channels]
    if header.contract.states or PRESSURE in names:
        return {}
    known = SURFACE_VARIABLES[PRESSURE]
    words = f"{known.long_name} [{known.units}], {PHYSICS}, of any step and spacing"
    return {"by_network": names, "by_physics": {PRESSURE: words}}


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


def group_by_family(values: Mapping[str, Any], families: Mapping[str, str]) -> dict[str, Any]:
    """Group values of variables by family, as one value if equal on all levels, else a list.

    Example:
        >>> families = {"t850": "t", "t500": "t"}
        >>> group_by_family({"t850": 1.0, "t500": 2.0, "tp": 3.0}, families)
        {'t': [1.0, 2.0], 'tp': 3.0}
        >>> group_by_family({"t850": "[K]", "t500": "[K]"}, families)
        {'t': '[K]'}
    """
    groups: dict[str, list[Any]] = {}
    for name, value in values.items():
        groups.setdefault(families.get(name, name), []).append(value)
    return {n: v[0] if all(one == v[0] for one in v) else v for n, v in groups.items()}


def describe_levels(levels: Iterable[Level | None]) -> dict[str, dict[str, str]]:
    """Describe the levels of each family, if any.

    Example:
        >>> describe_levels([Level("t", 85000.0, "Pa"), None, Level("t", 50000.0, "Pa")])
        {'levels': {'t': '850, 500 hPa'}}
    """
    labels: dict[str, list[str]] = {}
    for level in dict.fromkeys(levels):
        if level is not None:
            labels.setdefault(level.family, []).append(level.label)
    lines = {family: join_quantities(words) for family, words in labels.items()}
    return {"levels": lines} if lines else {}


def join_quantities(words: list[str]) -> str:
    """Join quantities of the same unit.

    Example:
        >>> join_quantities(["850 hPa", "500 hPa"])
        '850, 500 hPa'
    """
    return f"{', '.join(word.split()[0] for word in words)} {words[-1].split()[1]}"


def describe_grid(header: PriorHeader, path: Path) -> dict[str, Any]:
    """Describe the grid of a prior of fields, and its climatologies."""
    contract = header.contract
    return {
        "fine_spacing_degrees": contract.spacing,
        "factors": contract.factors,
        "window_cells": contract.window,
        "training_climatology": describe_climate(read_prefixed_tensors(path, "coarse.")),
        "reference_climatology": describe_reference(header, path),
    }


def describe_reference(header: PriorHeader, path: Path) -> list[str] | str:
    """Describe the climatologies of the fine grid that a prior can use without a file."""
    if not all(channel.reference for channel in header.channels):
        return "none"
    packed, names = bundled_climatology(), [channel.name for channel in header.channels]
    bundled = [name for name in names if name in packed.names]
    own = read_prefixed_tensors(path, "reference.")
    found = []
    if own:
        grid = Grid(own["lat"].double().numpy(), own["lon"].double().numpy())
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


def describe_climate(coarse: dict[str, Tensor]) -> str:
    """Describe the climatology of the training data in a prior."""
    if not coarse:
        return "none"
    rows, columns = Grid(coarse["lat"].numpy(), coarse["lon"].numpy()).spacing
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


def describe_data(path: Path, missing: MissingCodes = {}) -> dict[str, Any]:
    """Describe the variables, units, grid and times of a data file, as dpdm reads them."""
    if path.exists() and holds_trajectories(path):
        return describe_trajectories(path)
    groups = describe_groups(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OmittedVariableWarning)  # they are listed
        try:
            fields = open_fields(path, needed=(), missing=missing)
        except GroupsError:
            return {"file": str(path), **groups}
    grid = grid_of(fields)
    time = fields.get("time")
    words = {
        str(n): f"{a.attrs.get('long_name', a.attrs.get('standard_name', ''))} "
        f"[{a.attrs.get('source_units', a.attrs.get('units', 'no units'))}]"
        for n, a in fields.data_vars.items()
    }
    families = {str(name): base_name(array) for name, array in fields.data_vars.items()}
    return {
        "file": str(path),
        "variables": group_by_family(words, families),
        **describe_unreadable(fields),
        **groups,
        **describe_levels(map(read_level, fields.data_vars.values())),
        "grid": f"{grid.shape[0]} latitudes by {grid.shape[1]} longitudes",
        "spacing_degrees": [round(s, 9) for s in grid.spacing],
        "latitude": [round(float(v), 9) for v in grid.lat_edges[[0, -1]]],
        "longitude": [round(float(v), 9) for v in grid.lon_edges[[0, -1]]],
        "cyclic": grid.cyclic,
        "members": fields.sizes.get("realization", 1),
        "steps": fields.sizes.get("time", 1),
        "period": [] if time is None else [str(time.values[i])[:19] for i in (0, -1)],
        "calendar": "" if time is None else file_calendar(time),
        "history": str(fields.attrs.get("history", "")),
    }


def describe_unreadable(fields: xr.Dataset) -> dict[str, dict[str, str]]:
    """Describe the variables that cannot be read, if any."""
    unreadable = fields.encoding["unreadable"]
    return {"unreadable": unreadable} if unreadable else {}


def describe_groups(path: Path) -> dict[str, dict[str, str]]:
    """Describe the groups of a file, if any."""
    groups = list_groups(path) if path.exists() else {}
    return {"groups": {n: ", ".join(names) for n, names in groups.items()}} if groups else {}


def describe_trajectories(path: Path) -> dict[str, Any]:
    """Describe a file of trajectories."""
    with open_raw(path) as ds:
        return {
            "file": str(path),
            "variables": {
                str(n): f"{a.attrs.get('long_name', '')} [{a.attrs.get('units', 'no units')}]"
                for n, a in ds.data_vars.items()
            },
            "dimensions": {str(d): n for d, n in ds.sizes.items()},
            "time_between_states": trajectory_cadence(ds),
            "history": str(ds.attrs.get("history", "")),
        }


def file_calendar(time: xr.DataArray) -> str:
    """Return the calendar by its name in the file."""
    return str(time.encoding.get("calendar", time.dt.calendar))


def format_description(description: dict[str, Any], indent: str = "") -> str:
    """Format a description as lines of ``name: value``.

    Example:
        >>> description = {"file": "a.nc", "variables": {"t2m": "[K]"}, "shape": [2, 3]}
        >>> print(format_description(description))
        file: a.nc
        variables:
          t2m: [K]
        shape: 2, 3
    """
    lines = []
    for key, value in description.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", format_description(value, indent + "  ")]
        elif isinstance(value, list | tuple):
            lines.append(f"{indent}{key}: {', '.join(map(str, value))}")
        else:
            lines.append(f"{indent}{key}: {value}")
    return "\n".join(lines)
