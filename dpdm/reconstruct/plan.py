"""The plan of a reconstruction: a TOML file that is checked before anything is done.

A plan without input files is of stations alone: their background is the climatology.

File names are relative to the folder of the plan, independent of the working directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dpdm import choices
from dpdm.config import (
    FRACTION_RULE,
    OPTION_LIMITS,
    ValueRule,
    check_settings,
    choice_rule,
    is_period,
    minimum_rule,
    parse_kilometres,
    range_rule,
    read_settings,
)
from dpdm.errors import DpdmError
from dpdm.fields.climatology_file import is_whole_year
from dpdm.fields.output_units import OutputUnit
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.reference_climatology import NONE
from dpdm.states.options import DEFAULT_COVERAGE, ESTIMATED, AssimilationOptions, EnsembleOptions


@dataclass(frozen=True)
class InputSection:
    """Section ``[input]``: the coarse series, and the period.

    Attributes:
        files: Patterns of NetCDF or GRIB files or Zarr stores; none to reconstruct from
            observations alone, around the climatology.
        var: Names of variables in the files, as in ``--var``: ``{ t2m = "TEMP" }``.
        units: Units by canonical name, if missing or wrong in the files.
        period: First and last month (year, or day) of the reconstruction; all if empty. Without
            files the last may be "latest", the last one observed.
        missing: Codes of missing values that the files do not define.
    """

    files: tuple[str, ...] = ()
    var: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    period: tuple[str, ...] = ()
    missing: tuple[float, ...] = ()


@dataclass(frozen=True)
class PriorSection:
    """Section ``[prior]``: the prior.

    Attributes:
        name: A file from dpdm train, or the name of a bundled prior.
        period: "any" to accept another period (day, month ...) than that of the training data.
        climatology: "era5" (bundled), "none", or a file of monthly means of the fine grid; empty
            for the prior's own, or the bundled one where it fits.
        climatology_period: First and last month that are averaged, if that file is a series.
    """

    name: str = "default"
    period: str = ""
    climatology: str = ""
    climatology_period: tuple[str, ...] = ()


@dataclass(frozen=True)
class DrawSection:
    """Section ``[draw]``: the ensemble.

    Attributes:
        members: Ensemble size; 0 for the ensemble mean only.
        seed: Seed of the ensemble.
        steps: Number of sampling steps; 0 for the prior's default.
        sampler: Sampler; empty for the prior's fast head where nothing guides, if it has one, and
            else for the prior's default.
        consistent: Whether block means must equal the input.
    """

    members: int = 33
    seed: int = 0
    steps: int = 0
    sampler: str = ""
    consistent: bool = False


@dataclass(frozen=True)
class AdjustSection:
    """Section ``[adjust]``: bias adjustment of the input to another climate, month by month.

    Attributes:
        method: "none"; "mean" or "quantile" to the climate of the training data; "anomalies" to
            the climatology of the prior.
        reference: First and last month of the reference period.
    """

    method: str = "none"
    reference: tuple[str, ...] = ()


@dataclass(frozen=True)
class ObservationSection:
    """Section ``[observations]``: as the options of ``dpdm assimilate``.

    Attributes:
        files: Patterns of CSV or NetCDF files; none to downscale only.
        stations: A list of stations with the positions that text files lack.
        error: Error standard deviation by variable, in dpdm's units, if the files have none.
        coarse_error: Error standard deviation of the coarse input by variable, in dpdm's units,
            or "auto" to estimate its law from the stations, as around the climatology.
        coarse_length: Correlation length of that error, km.
        reject: Innovation, in standard deviations, beyond which an observation is rejected.
        withhold: Fraction of the stations that is withheld for verification.
        guidance: "law", "mmps", "sda" or "dps"; empty for the prior's default.
        var: Names of variables in the files, as in ``--obs-var``.
        units: Units by canonical name, if missing or wrong in the files.
        coverage: Fraction of a month, season or year that a station's values must cover.
        missing: Codes of missing values that the files do not define.
        verify: Patterns of files of observations used for verification only.
        withhold_blocks: Size of the blocks of stations that are withheld whole, as in "100km";
            empty for single stations.
        qc: Checks of observations against one another: "all", "basic" or "none".
    """

    files: tuple[str, ...] = ()
    stations: str = ""
    error: dict[str, float] = field(default_factory=dict)
    coarse_error: dict[str, float] | str = field(default_factory=dict)
    coarse_length: float = 300.0
    reject: float = 5.0
    withhold: float = 0.0
    guidance: str = ""
    var: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    coverage: float = DEFAULT_COVERAGE
    missing: tuple[float, ...] = ()
    verify: tuple[str, ...] = ()
    withhold_blocks: str = ""
    qc: str = "all"


@dataclass(frozen=True)
class OutputSection:
    """Section ``[output]``: the output files.

    Attributes:
        layout: "netcdf-yearly", a file a year, or "zarr", one store.
        keep: "stats", "members" or "all".
        quantiles: Percentiles among the statistics.
        grid: A file on the target grid, a grid's name (``r1440x720``) or CDO's description of it;
            empty to refine the coarse cells, or for cells of the prior's spacing in ``bbox``.
        bbox: West, east, south and north of the output; empty for all.
        statics: The user's own surface altitude and land fraction.
        units: Units of the output by canonical name, if other than those of the input, as in
            ``{ t2m = "degC", tp = "mm/month" }``.
    """

    layout: str = "netcdf-yearly"
    keep: str = "stats"
    quantiles: tuple[int, ...] = (10, 50, 90)
    grid: str = ""
    bbox: tuple[float, ...] = ()
    statics: str = ""
    units: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSection:
    """Section ``[run]``: workers and device, which do not change the output.

    Attributes:
        workers: Worker processes; 1 to draw in the process of the command.
        member_block: Members in a unit of work.
        device: "auto", "cpu" or "cuda".
        scheduler: Address of a running Dask scheduler; empty for none.
    """

    workers: int = 1
    member_block: int = 11
    device: str = "auto"
    scheduler: str = ""


@dataclass(frozen=True)
class Plan:
    """All sections of a plan."""

    input: InputSection = field(default_factory=InputSection)
    prior: PriorSection = field(default_factory=PriorSection)
    draw: DrawSection = field(default_factory=DrawSection)
    adjust: AdjustSection = field(default_factory=AdjustSection)
    observations: ObservationSection = field(default_factory=ObservationSection)
    output: OutputSection = field(default_factory=OutputSection)
    run: RunSection = field(default_factory=RunSection)


LATEST = "latest"  # instead of the last date of a period: the last step observed
PERIOD_RULE: ValueRule = (
    is_period,
    'Give the first and the last month, as in ["1836-01", "2015-12"].',
)


def is_open_period(dates: Sequence[str]) -> bool:
    """Return whether dates are empty, or two in order, of which the last may be the latest."""
    return is_period([dates[0]] * 2 if len(dates) == 2 and dates[1] == LATEST else dates)


def _is_period_of_years(dates: Sequence[str]) -> bool:
    """Return whether dates are empty, or two months or years in order, a year apart or more."""
    months = is_period(dates) and all(len(date) <= len("1991-01") for date in dates)
    return months and (not dates or is_whole_year((dates[0], dates[1])))


YEARS_RULE: ValueRule = (
    _is_period_of_years,
    'Give the first and the last month of a year or more, as in ["1991-01", "2020-12"].',
)


def is_length(text: str) -> bool:
    """Tell whether a text is empty, or a length in kilometres."""
    try:
        return not text or parse_kilometres(text) > 0
    except ValueError:
        return False


PLAN_RULES: dict[str, ValueRule] = {
    "input.period": (is_open_period, PERIOD_RULE[1]),
    "draw.members": range_rule(0, OPTION_LIMITS["members"]),
    "draw.seed": range_rule(0, OPTION_LIMITS["seed"]),
    "draw.steps": (
        lambda steps: steps == 0 or 2 <= steps <= OPTION_LIMITS["steps"],
        f"Give 2 to {OPTION_LIMITS['steps']}, or 0.",
    ),
    "prior.period": choice_rule("", "any"),
    "prior.climatology_period": YEARS_RULE,
    "draw.sampler": choice_rule("", choices.SAMPLERS),
    "adjust.method": choice_rule(choices.ADJUSTMENTS),
    "adjust.reference": PERIOD_RULE,
    "observations.coarse_error": (
        lambda error: not isinstance(error, str) or error == "auto",
        'Give "auto", or a standard deviation by variable, as in { t2m = 1.5 }.',
    ),
    "observations.coarse_length": (lambda length: length > 0, "Give a length in km."),
    "observations.reject": minimum_rule(0),
    "observations.withhold": FRACTION_RULE,
    "observations.withhold_blocks": (
        is_length,
        'Give kilometres, as in "100km", or leave it out.',
    ),
    "observations.qc": choice_rule(choices.QC_LEVELS),
    "observations.coverage": (lambda share: 0 <= share <= 1, "Give a fraction from 0 to 1."),
    "observations.guidance": choice_rule("", choices.GUIDANCES),
    "output.layout": choice_rule(choices.LAYOUTS),
    "output.keep": choice_rule(choices.KEPT),
    "output.quantiles": (
        lambda levels: list(levels) == sorted(set(levels)) and all(0 <= q <= 100 for q in levels),
        "Give increasing percentiles from 0 to 100, as in [10, 50, 90].",
    ),
    "output.bbox": (lambda box: len(box) in (0, 4), "Give west, east, south, north."),
    "run.workers": range_rule(1, OPTION_LIMITS["workers"]),
    "run.member_block": range_rule(1, OPTION_LIMITS["member_block"]),
    "run.device": choice_rule(choices.DEVICES),
}


def read_plan(path: Path) -> Plan:
    """Return the plan in a file."""
    plan = read_settings(path, Plan)
    check_settings(plan, PLAN_RULES, path)
    check_key_conflicts(plan, path)
    return plan


def check_key_conflicts(plan: Plan, path: Path) -> None:
    """Refuse keys that contradict each other."""
    check_source(plan, path)
    if plan.adjust.method != "none" and not plan.adjust.reference:
        raise DpdmError(
            f"{path}, adjust, method is {plan.adjust.method!r} without a reference period.",
            'Give one, as in reference = ["1981-01", "2010-12"].',
        )
    if plan.prior.climatology_period and not names_climatology_file(plan):
        raise DpdmError(
            f"{path}, prior, climatology_period selects the years of a file, and climatology "
            "names none.",
            'Give the file, as in climatology = "normals.nc", or leave the period out.',
        )
    if plan.observations.files and not plan.draw.members:
        raise DpdmError(
            f"{path} has observations, and draw, members is 0.", "Draw members to assimilate them."
        )
    refinements = {"verify": "files", "stations": "files", "withhold_blocks": "withhold"}
    for key, needed in refinements.items():
        if getattr(plan.observations, key) and not getattr(plan.observations, needed):
            raise DpdmError(
                f"{path}, observations, {key} is given without {needed}.",
                f"Give {needed} too, or leave {key} out.",
            )


def check_source(plan: Plan, path: Path) -> None:
    """Refuse a plan without input files or a period, or with an open one where it has files."""
    files, period = plan.input.files, plan.input.period
    if files and LATEST in period:
        raise DpdmError(
            f"{path}, input, period ends with {LATEST!r}, the last step observed, and there are "
            "input files.",
            "Give its last month, or leave the period out to take all.",
        )
    if not files and not plan.observations.files:
        raise DpdmError(
            f"{path}, input, files is {list(files)}.",
            'Name files, as in files = ["20cr/*.nc"], or name those of stations in '
            "[observations].",
        )
    if not files and not period:
        raise DpdmError(
            f"{path} has observations, and neither input files nor a period.",
            'Give the period, as in period = ["1872-01", "2023-12"] in [input].',
        )
    if not files:
        refuse_driver_keys(plan, path)


def refuse_driver_keys(plan: Plan, path: Path) -> None:
    """Refuse keys that describe input files, in a plan without any."""
    unread = not names_climatology_file(plan)
    keys = {
        "adjust, method": plan.adjust.method != "none", "draw, consistent": plan.draw.consistent,
        "input, var": plan.input.var and unread, "input, units": plan.input.units and unread,
        "input, missing": plan.input.missing and unread and not plan.output.grid,
    }  # fmt: skip
    for key in [key for key, stated in keys.items() if stated]:
        raise DpdmError(
            f"{path}, {key} is for input files, and there are none.",
            "Leave it out, or name the files in [input].",
        )
    if plan.prior.climatology == NONE:
        raise DpdmError(
            f"{path} has no input files, and prior, climatology is {NONE!r}, so there "
            "is no background.",
            'Leave it out, or give climatology = "era5" or a file of the region.',
        )


def names_climatology_file(plan: Plan) -> bool:
    """Tell whether the climatology of a plan is a file."""
    return plan.prior.climatology not in ("", *choices.CLIMATOLOGIES)


def find_plan_files(patterns: Sequence[str], folder: Path, where: str) -> list[Path]:
    """Return the files that match globs, each once, in order."""
    files: dict[Path, None] = {}
    for pattern in patterns:
        rooted = Path(pattern)
        base, rest = Path(rooted.anchor or folder), rooted.relative_to(rooted.anchor)
        try:
            hits = sorted(base.glob(str(rest)))
        except (ValueError, IndexError) as error:
            raise DpdmError(
                f"{where}: {pattern!r} is not a pattern of files.", 'Write one like "20cr/*.nc".'
            ) from error
        if not hits:
            raise DpdmError(f"{where}: no file matches {pattern} in {folder}.", "Check the name.")
        files |= dict.fromkeys(hits)
    return list(files)


def find_plan_file(name: str, folder: Path) -> Path | None:
    """Return a file of the plan, None if the name is empty."""
    return folder / name if name else None


def missing_codes(codes: tuple[float, ...]) -> MissingCodes:
    """Return codes of missing values of every variable."""
    return {"": codes} if codes else {}


def plan_ensemble_options(plan: Plan, folder: Path, history: str) -> EnsembleOptions:
    """Return the options of the ensemble of a plan in a folder."""
    draw, out, prior = plan.draw, plan.output, plan.prior
    is_file, months = names_climatology_file(plan), prior.climatology_period
    reference = plan.adjust.reference if plan.adjust.method == "anomalies" else ()
    box = (out.bbox[0], out.bbox[1], out.bbox[2], out.bbox[3]) if out.bbox else None
    return EnsembleOptions(
        draw.members, draw.seed, draw.steps, draw.sampler, out.keep, draw.consistent,
        plan.run.device, plan.input.var, plan.input.units, out.quantiles, box, history,
        period=prior.period,
        missing=missing_codes(plan.input.missing),
        climatology=str(folder / prior.climatology) if is_file else prior.climatology,
        climatology_period=(months[0], months[1]) if months else None,
        reference_period=(reference[0], reference[1]) if reference else None,
        out_units=tuple(OutputUnit(*item) for item in out.units.items()),
    )  # fmt: skip


def plan_assimilation_options(section: ObservationSection, folder: Path) -> AssimilationOptions:
    """Return the options of the observations of a plan in a folder."""
    blocks, stated = section.withhold_blocks, section.coarse_error
    coarse_error = {"": ESTIMATED} if isinstance(stated, str) else stated
    return AssimilationOptions(
        section.error, coarse_error, section.coarse_length, section.reject,
        section.withhold, section.guidance, obs_units=section.units, coverage=section.coverage,
        obs_var=section.var,
        obs_missing=missing_codes(section.missing),
        withhold_blocks=parse_kilometres(blocks) if blocks else 0.0,
        qc=section.qc, stations=find_plan_file(section.stations, folder),
    )  # fmt: skip
