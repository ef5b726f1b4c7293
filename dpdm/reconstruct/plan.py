"""The plan of a reconstruction: a TOML file, checked whole before anything is done.

Names of files are relative to the folder of the plan, so that cron, which starts in another one,
does what was tried at the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpdm import choices
from dpdm.config import SHARE, Rule, at_least, check, one_of, read, within
from dpdm.ensemble import EnsembleOptions
from dpdm.errors import DpdmError
from dpdm.fields.checks import Missing
from dpdm.limits import MOST
from dpdm.request import COVERAGE, AssimilationOptions


@dataclass(frozen=True)
class Input:
    """Section ``[input]``: the coarse series.

    Attributes:
        files: Globs of NetCDF or GRIB files or Zarr stores.
        rename: Canonical names by the names in the files, as in ``{ tas = "t2m" }``.
        units: What the numbers are, where the files do not say, by canonical name.
        period: First and last month (year, or day) of the reconstruction; all if empty.
        missing: Numbers that stand for missing values, where the files do not say.
    """

    files: tuple[str, ...] = ()
    rename: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    period: tuple[str, ...] = ()
    missing: tuple[float, ...] = ()


@dataclass(frozen=True)
class Known:
    """Section ``[prior]``: what draws.

    Attributes:
        name: A file that dpdm train wrote, or the name of a bundled prior.
        period: "any" to accept input of another period (day, month ...) than that of its training.
    """

    name: str = "default"
    period: str = ""


@dataclass(frozen=True)
class Draw:
    """Section ``[draw]``: the ensemble.

    Attributes:
        members: Its size; 0 for the mean of the infinite ensemble.
        seed: Its seed.
        steps: Noise levels; 0 for the prior's own.
        sampler: Sampler; empty for the prior's own.
        consistent: Whether block means must equal the input.
    """

    members: int = 33
    seed: int = 0
    steps: int = 0
    sampler: str = ""
    consistent: bool = False


@dataclass(frozen=True)
class Adjust:
    """Section ``[adjust]``: how the input is brought to the climate that the prior learnt from.

    Attributes:
        method: "none", "mean" or "quantile", for each calendar month.
        reference: First and last month of the period that is compared with the prior's.
    """

    method: str = "none"
    reference: tuple[str, ...] = ()


@dataclass(frozen=True)
class Observed:
    """Section ``[observations]``: what was measured; as the options of ``dpdm assimilate``.

    Attributes:
        files: Globs of CSV or NetCDF files; none to downscale only.
        error: Standard deviation by variable, in dpdm's units, where the files have none.
        coarse_error: Standard deviation of the coarse field's error by variable, likewise.
        coarse_length: Length of its correlation, km.
        reject: Innovation, in standard deviations, beyond which an observation is not believed.
        withhold: Share of the stations kept back to score the analysis.
        guidance: "sda", "mmps" or "dps"; empty for the prior's own.
        rename: Canonical names by the names in the files.
        units: What the numbers are, where the files do not say, by canonical name.
        coverage: Least share of a month, season or year that a station's values must cover.
        missing: Numbers that stand for missing values, where the files do not say.
    """

    files: tuple[str, ...] = ()
    error: dict[str, float] = field(default_factory=dict)
    coarse_error: dict[str, float] = field(default_factory=dict)
    coarse_length: float = 300.0
    reject: float = 5.0
    withhold: float = 0.0
    guidance: str = ""
    rename: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    coverage: float = COVERAGE
    missing: tuple[float, ...] = ()


@dataclass(frozen=True)
class Output:
    """Section ``[output]``: what is kept, and how it lies on disk.

    Attributes:
        layout: "netcdf-yearly", a file a year, or "zarr", one store.
        keep: "stats", "members" or "all".
        quantiles: Percentiles among the statistics.
        grid: A file on the grid to write; empty to split the coarse cells.
        bbox: West, east, south and north of what is written; empty for all.
        statics: The user's own surface altitude and land fraction.
    """

    layout: str = "netcdf-yearly"
    keep: str = "stats"
    quantiles: tuple[int, ...] = (10, 50, 90)
    grid: str = ""
    bbox: tuple[float, ...] = ()
    statics: str = ""


@dataclass(frozen=True)
class Run:
    """Section ``[run]``: how the work is shared; it decides no value.

    Attributes:
        workers: Processes that draw; 1 draws in the command's own.
        member_block: Members in a unit of work.
        device: "auto", "cpu" or "cuda".
        scheduler: Address of a Dask scheduler that exists, or nothing.
    """

    workers: int = 1
    member_block: int = 11
    device: str = "auto"
    scheduler: str = ""


@dataclass(frozen=True)
class Plan:
    """All of it, with the folder that its names of files start from."""

    input: Input = field(default_factory=Input)
    prior: Known = field(default_factory=Known)
    draw: Draw = field(default_factory=Draw)
    adjust: Adjust = field(default_factory=Adjust)
    observations: Observed = field(default_factory=Observed)
    output: Output = field(default_factory=Output)
    run: Run = field(default_factory=Run)


DATE = r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?"


def _period(said: Sequence[str]) -> bool:
    """Tell whether nothing is said, or two dates in order; a year ends with its last day."""
    if len(said) != 2 or not all(re.fullmatch(DATE, date) for date in said):
        return not said
    first, last = said
    return first[: len(last)] <= last[: len(first)]


PERIOD: Rule = (_period, 'Give the first and the last month, as in ["1836-01", "2015-12"].')
RULES: dict[str, Rule] = {
    "input.files": (bool, 'Name files, as in files = ["20cr/*.nc"].'),
    "input.period": PERIOD,
    "draw.members": within(0, MOST["members"]),
    "draw.seed": within(0, MOST["seed"]),
    "draw.steps": (
        lambda said: said == 0 or 2 <= said <= MOST["steps"],
        f"Give 2 to {MOST['steps']}, or 0.",
    ),
    "prior.period": one_of("", "any"),
    "draw.sampler": one_of("", choices.SAMPLERS),
    "adjust.method": one_of(choices.ADJUSTMENTS),
    "adjust.reference": PERIOD,
    "observations.coarse_length": (lambda said: said > 0, "Give a length in km."),
    "observations.reject": at_least(0),
    "observations.withhold": SHARE,
    "observations.coverage": (lambda said: 0 <= said <= 1, "Give a share from 0 to 1."),
    "observations.guidance": one_of("", choices.GUIDANCES),
    "output.layout": one_of(choices.LAYOUTS),
    "output.keep": one_of(choices.KEPT),
    "output.quantiles": (
        lambda said: list(said) == sorted(set(said)) and all(0 <= q <= 100 for q in said),
        "Give rising percentiles from 0 to 100, as in [10, 50, 90].",
    ),
    "output.bbox": (lambda said: len(said) in (0, 4), "Give west, east, south, north."),
    "run.workers": within(1, MOST["workers"]),
    "run.member_block": within(1, MOST["member_block"]),
    "run.device": one_of(choices.DEVICES),
}


def read_plan(path: Path) -> Plan:
    """Return the plan in a file.

    Raises:
        DpdmError: When a key is unknown, or a value is of another type or makes no sense.
    """
    plan = read(path, Plan)
    check(plan, RULES, path)
    check_together(plan, path)
    return plan


def check_together(plan: Plan, path: Path) -> None:
    """Refuse keys that contradict each other."""
    if plan.adjust.method != "none" and not plan.adjust.reference:
        raise DpdmError(
            f"{path}, adjust, method is {plan.adjust.method!r} without a reference period.",
            'Say which, as in reference = ["1981-01", "2010-12"].',
        )
    if plan.observations.files and not plan.draw.members:
        raise DpdmError(
            f"{path} has observations, and draw, members is 0.", "Draw members to assimilate them."
        )
    for key, section in (("input", plan.input), ("observations", plan.observations)):
        names = list(section.rename.values())
        if twice := [name for name in names if names.count(name) > 1]:
            raise DpdmError(
                f"{path}, {key}, rename calls several variables {twice[0]}.", "Name one of them."
            )


def found(patterns: Sequence[str], folder: Path, where: str) -> list[Path]:
    """Return the files that globs name, each once, in order.

    Raises:
        DpdmError: When a glob names none.
    """
    files: dict[Path, None] = {}
    for pattern in patterns:
        rooted = Path(pattern)
        base, rest = Path(rooted.anchor or folder), rooted.relative_to(rooted.anchor)
        try:
            hits = sorted(base.glob(str(rest)))
        except (ValueError, IndexError) as fault:
            raise DpdmError(
                f"{where}: {pattern!r} is no pattern of files.", 'Write one like "20cr/*.nc".'
            ) from fault
        if not hits:
            raise DpdmError(f"{where}: no file matches {pattern} in {folder}.", "Check the name.")
        files |= dict.fromkeys(hits)
    return list(files)


def file_of(name: str, folder: Path) -> Path | None:
    """Return a file that the plan names, if it names one."""
    return folder / name if name else None


def declared(codes: tuple[float, ...]) -> Missing:
    """Return codes that stand for missing values of every variable."""
    return {"": codes} if codes else {}


def options_of(plan: Plan, history: str) -> EnsembleOptions:
    """Return what the plan asks of each step."""
    draw, out = plan.draw, plan.output
    box = (out.bbox[0], out.bbox[1], out.bbox[2], out.bbox[3]) if out.bbox else None
    rename = {new: old for old, new in plan.input.rename.items()}
    return EnsembleOptions(
        draw.members, draw.seed, draw.steps, draw.sampler, out.keep, draw.consistent,
        plan.run.device, rename, plan.input.units, out.quantiles, box, history,
        period=plan.prior.period,
        missing=declared(plan.input.missing),
    )  # fmt: skip


def assimilation_of(said: Observed) -> AssimilationOptions:
    """Return what the plan says of observations."""
    return AssimilationOptions(
        said.error, said.coarse_error, said.coarse_length, said.reject, said.withhold,
        said.guidance, obs_var={new: old for old, new in said.rename.items()},
        obs_units=said.units, coverage=said.coverage, obs_missing=declared(said.missing),
    )  # fmt: skip
