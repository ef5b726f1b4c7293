"""The model card of a prior: the header of its file, checked, and its held-out skill.

The header of a file from an unknown source determines memory and time. So every key has a type and
a range, which are checked before anything is allocated.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dpdm import __version__, choices
from dpdm.config import (
    ValueRule,
    check_settings,
    choice_rule,
    fill_dataclass,
    format_setting,
    interval_rule,
    list_rule,
    range_rule,
)
from dpdm.errors import DpdmError, DpdmWarning
from dpdm.fields.time import PERIOD_DAYS, period_of_length
from dpdm.prior.networks import (
    AutoencoderArguments,
    PerceptronArguments,
    UNetArguments,
    find_arguments_type,
    is_plugin_network,
)
from dpdm.prior.variable_spec import VariableSpec, count_conditioning_channels

FORMAT_VERSION = 1
MAX_JSON_DEPTH = 8  # nesting of a header
MAX_HEADER_LENGTH = 10_000  # characters of a string in a header
DELTA_SUFFIX = ", over the delta method"  # of held-out scores over that method's
REFETCH_HINT = "Get the file again from its source, or train a prior with dpdm train."


@dataclass(frozen=True)
class SamplingDefaults:
    """Sampling defaults of a prior, where its header gives none.

    ``reference_inflation`` is the spread inflation around a reference state; ``fast_inflation``
    and ``fast_reference_inflation`` are those of the fast head, of fine and of coarse scales,
    empty for the same as of the denoiser.
    """

    sampler: str = "multistep"
    steps: int = 12
    most: float = 80.0
    inflation: float = 1.0
    reference_inflation: float = 1.0
    schedule: str = "karras"
    least: float = 0.0
    guidance: str = "law"
    corrections: int = 0
    tau: float = 0.5
    fast_inflation: tuple[float, ...] = ()
    fast_reference_inflation: tuple[float, ...] = ()


DEFAULT_SAMPLING = {  # as JSON has them
    key: list(value) if isinstance(value, tuple) else value
    for key, value in asdict(SamplingDefaults()).items()
}
_SMOOTHER = {
    "sampler": "ddim", "steps": 64, "least": 0.005, "guidance": "sda", "corrections": 3, "tau": 1.0
}  # fmt: skip
# Sampling defaults of new priors of trajectories and global states; ``most`` is sigma_max.
SAMPLING_BY_KIND: dict[str, dict[str, Any]] = {
    "components": _SMOOTHER | {"most": 4.0},
    "plane": _SMOOTHER | {"most": 20.0},
    "globe": {
        "sampler": "multistep", "steps": 16, "most": 40.0, "least": 0.02, "guidance": "law",
    },
}  # fmt: skip


@dataclass(frozen=True)
class ModelCard:
    """The properties of a prior.

    Attributes:
        spacing: Fine grid spacing, degrees of latitude and longitude.
        factors: Least and greatest ratio of coarse to fine spacing.
        window: Cells along each side of a window.
        cadence: Median step of the training series, in days; 0 without a time axis.
        sigma: Least and greatest noise level of training.
        net: Arguments of the network.
        training: Period, region, source and cost of the training.
        scores: Held-out scores.
        sampling: Sampler, steps, schedule, sigma_max (``most``), sigma_min (``least``; 0 for that
            of ``sigma``) and spread inflation, chosen on validation data, and guidance and
            Langevin corrections of posteriors; missing keys are from `SamplingDefaults`.
        states: States of a window of a trajectory; 0 for single fields of the Earth. For
            trajectories ``cadence`` is in model time, and ``factors`` and ``window`` are unused.
        variable: Variable whose components are the channels; empty if each is a variable.
        plane: Rows and columns of a state on a plane; empty for components.
        periodic: Whether the plane is periodic.
        globe: Whether the plane is the globe, with latitudes and longitudes.
        period: Period of a step of the training series: hour, day, month, season or year; empty
            if unknown, and in files of earlier versions.
        code: Arguments ``net`` of the autoencoder whose codes are denoised, and its
            ``reconstruction`` RMSE by variable, in the variable's units; or nothing.
    """

    spacing: tuple[float, float]
    factors: tuple[int, int]
    window: int
    cadence: float
    sigma: tuple[float, float]
    net: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    sampling: dict[str, Any] = field(default_factory=dict)
    states: int = 0
    variable: str = ""
    plane: tuple[int, ...] = ()
    periodic: bool = False
    globe: bool = False
    code: dict[str, Any] = field(default_factory=dict)
    period: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sampling", DEFAULT_SAMPLING | self.sampling)

    @property
    def fast(self) -> bool:
        """Tell whether the prior has a head that draws a member in one evaluation."""
        return bool(self.net.get("fast", 0.0)) and "kind" not in self.net

    @property
    def kind(self) -> str:
        """Give the kind of states: "fields", "trajectories" or "globe"."""
        return ("globe" if self.globe else "trajectories") if self.states else "fields"

    @property
    def step(self) -> str:
        """Return the period of a step, from the cadence in files of earlier versions."""
        return self.period or ("" if self.states else period_of_length(self.cadence))


@dataclass(frozen=True)
class LatentCode:
    """The autoencoder whose codes are denoised."""

    net: AutoencoderArguments
    reconstruction: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PriorHeader:
    """The header of a prior.

    Attributes:
        format: Of the file.
        dpdm: Version that wrote it.
        channels: The modelled variables.
        contract: The model card.
    """

    format: int
    dpdm: str
    channels: tuple[VariableSpec, ...]
    contract: ModelCard


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 200 and text.isprintable() and "/" not in text


def _is_residual(pair: tuple[float, ...]) -> bool:
    return len(pair) == 2 and 0 < pair[0] <= 1e4 and 0 < pair[1] <= 1e9


def _is_reference(scale: tuple[float, ...]) -> bool:
    return len(scale) == 3 and all(0 <= s <= 1e9 for s in scale) and scale[0] * scale[2] > 0


WIDTH, DEPTH = range_rule(1, 4096), range_rule(1, 64)
SCALES: ValueRule = (lambda pair: not pair or list_rule(2, 0.01, 100)[0](pair), "")
HEADER_RULES: dict[str, ValueRule] = {
    "contract.spacing": list_rule(2, -1e9, 1e9),
    "contract.factors": interval_rule(0, 1000),
    "contract.window": range_rule(0, 1024),
    "contract.cadence": range_rule(0, 1e9),
    "contract.period": choice_rule("", *PERIOD_DAYS),
    "contract.sigma": (lambda value: len(value) == 2 and 0 < value[0] < value[1] <= 1e6, ""),
    "contract.states": range_rule(0, 10_000),
    "contract.variable": (lambda value: value == "" or _is_name(value), ""),
    "contract.plane": (lambda value: len(value) in (0, 2) and range_rule(4, 10_000)[0](value), ""),
    "sampling.sampler": (
        lambda name: name in choices.SAMPLERS and name != choices.FAST,
        "",
    ),
    "sampling.schedule": choice_rule(choices.SCHEDULES),
    "sampling.guidance": choice_rule(choices.GUIDANCES),
    "sampling.steps": range_rule(2, 1000),
    "sampling.most": range_rule(1e-3, 1e6),
    "sampling.least": range_rule(0, 1e6),
    "sampling.inflation": range_rule(0.01, 100),
    "sampling.reference_inflation": range_rule(0.01, 100),
    "sampling.fast_inflation": SCALES,
    "sampling.fast_reference_inflation": SCALES,
    "sampling.corrections": range_rule(0, 100),
    "sampling.tau": range_rule(0, 10),
    "net.read": list_rule(3, 1, 4096),
    "net.widths": list_rule(2, 1, 4096),
    "net.hidden": range_rule(4, 16_384),
    "net.layers": DEPTH,
    "net.depth": DEPTH,
    "net.fast": (lambda value: value == 0 or 1e-3 <= value <= 1e3, ""),
    "net.dropout": (lambda value: 0 <= value < 1, ""),
    "net.law": (lambda value: len(value) in (0, 4) and range_rule(1, 1_000_000)[0](value), ""),
    **{f"net.{key}": WIDTH for key in ("codes", "encode", "decode")},
    **{f"code.{key}": WIDTH for key in ("codes", "encode", "decode")},
    "code.depth": DEPTH,
}
CHANNEL_RULES: dict[str, ValueRule] = {
    "channel.name": (_is_name, ""),
    "channel.transform": choice_rule(choices.TRANSFORMS),
    "channel.mean": range_rule(-1e15, 1e15),
    "channel.std": (lambda value: 0 < value <= 1e15, ""),
    "channel.level": range_rule(-1e9, 1e9),
    "channel.reference": (lambda value: not value or _is_reference(value), ""),
    "channel.residual": (lambda value: all(map(_is_residual, value)), ""),
}


def read_header(text: str, path: Path) -> PriorHeader:
    """Return the header of a prior, checked."""
    values = parse_header(text, path)
    version = values.get("dpdm")
    if values.get("format") != FORMAT_VERSION:
        raise DpdmError(
            f"{path} is a prior of format {_shorten_value(values.get('format'))}; this dpdm "
            f"reads format {FORMAT_VERSION}.",
            f"Use the dpdm that wrote it ({_shorten_value(version)}), or train it again.",
        )
    try:
        header = fill_dataclass(PriorHeader, values, "its header")
        check_header(header)
    except DpdmError as fault:
        raise wrong_header_error(path, version, fault.what) from fault
    return header


def parse_header(text: str, path: Path) -> dict[str, Any]:
    """Parse the JSON of a header, refusing deep nesting and long strings."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not values or not _is_shallow(values, MAX_JSON_DEPTH):
        raise DpdmError(f"The header of {path} is damaged.", REFETCH_HINT)
    return values


def wrong_header_error(path: Path, version: Any, what: str) -> DpdmError:
    """Return the error of a header that is invalid, or of a newer version."""
    if isinstance(version, str) and _version_numbers(version) > _version_numbers(__version__):
        return DpdmError(
            f"{path} was written by dpdm {_shorten_value(version)}, which is newer than this dpdm "
            f"{__version__}, and cannot be read: {what}",
            "Run: pip install --upgrade dpdm.",
        )
    return DpdmError(f"{path} is not a valid prior: {what}", REFETCH_HINT)


def check_header(header: PriorHeader) -> None:
    """Refuse values that are out of range or contradict each other."""
    channels, contract = header.channels, header.contract
    if not 1 <= len({c.name for c in channels}) == len(channels) <= 10_000:
        raise DpdmError(f"its header has {len(channels)} channels, or two of one name.")
    for number, channel in enumerate(channels):
        check_settings(
            SimpleNamespace(channel=channel), CHANNEL_RULES, f"its header, channels, {number}"
        )
    parts = SimpleNamespace(
        contract=contract,
        net=fill_dataclass(
            find_arguments_type(contract.net),
            {key: value for key, value in contract.net.items() if key != "kind"},
            "its header, contract, net",
        ),
        sampling=fill_dataclass(
            SamplingDefaults, contract.sampling, "its header, contract, sampling"
        ),
        code=fill_dataclass(LatentCode, contract.code, "its header, contract, code").net
        if contract.code
        else (),
    )
    check_settings(parts, HEADER_RULES, "its header, contract")
    check_period(contract.training)
    least = parts.sampling.least or contract.sigma[0]
    if least >= parts.sampling.most:
        raise DpdmError(f"its header, contract, sampling, most is {parts.sampling.most}.")
    check_reconstruction(contract.code, {c.name for c in channels})
    wrong = header_conflict(contract, channels, parts.net, parts.code)
    if wrong:
        raise DpdmError(f"its header, contract, has {wrong}.")


def check_reconstruction(code: Mapping[str, Any], names: set[str]) -> None:
    """Refuse reconstruction errors of unknown variables, or out of range."""
    errors = code.get("reconstruction", {})
    fits = range_rule(0, 1e15)[0]
    if not (errors.keys() <= names and all(map(fits, errors.values()))):
        raise DpdmError(f"its header, contract, code, reconstruction is {format_setting(errors)}.")


def check_period(training: Mapping[str, Any]) -> None:
    """Refuse a training period that is not a list of two dates."""
    for key in ("period", "climate_period"):
        dates = training.get(key, [])
        if not (isinstance(dates, list) and len(dates) in (0, 2) and all(map(_is_date, dates))):
            raise DpdmError(f"its header, contract, training, {key} is {_shorten_value(dates)}.")


def header_conflict(
    contract: ModelCard, channels: tuple[VariableSpec, ...], net: Any, code: Any
) -> str:
    """Return a description of contradicting values in a header; empty if there are none."""
    if not contract.states:
        return field_header_conflict(contract, channels, net)
    if getattr(net, "fast", 0.0):
        return "a fast head, which only priors of fields have"
    if contract.cadence <= 0:
        return "states without a time between them"
    if not contract.plane:
        wrong = contract.globe or contract.code or not contract.variable
        fits = isinstance(net, PerceptronArguments) or is_plugin_network(net, "components")
        return "" if fits and not wrong else "a network of another kind"
    if not contract.globe:
        fits = isinstance(net, UNetArguments) and not net.globe and not net.law and net.given == 4
        fits = (fits and net.periodic == contract.periodic) or is_plugin_network(net, "plane")
        return "" if fits and not contract.code else "a network of another kind"
    return globe_header_conflict(contract, channels, net, code)


def field_header_conflict(
    contract: ModelCard, channels: tuple[VariableSpec, ...], net: Any
) -> str:
    """Return a description of contradicting values in the header of a prior of fields."""
    reference = all(c.reference for c in channels)
    given = count_conditioning_channels(len(channels), reference)
    usual = (given,) if reference else (0, given)
    if any(c.reference for c in channels) != reference:
        return "scales around a reference state of some variables only"
    fits = isinstance(net, UNetArguments) and not net.globe and not net.law and net.given in usual
    fits = fits or is_plugin_network(net, "fields")
    if contract.plane or contract.globe or contract.code or not fits:
        return "a network of another kind"
    if not (contract.window >= 4 and contract.factors[0] >= 1 and min(contract.spacing) > 0):
        return "no window, factor or spacing"
    if max(contract.spacing) > 90 or not all(c.residual for c in channels):
        return "a spacing or a scale of residuals that cannot be"
    return ""


def globe_header_conflict(
    contract: ModelCard, channels: tuple[VariableSpec, ...], net: Any, code: Any
) -> str:
    """Return a description of contradicting values in the header of a global prior."""
    rows, columns = contract.plane
    count = len(channels)
    if rows % 4 or columns % 4:
        return f"a plane of {rows} by {columns} cells, which cannot be halved twice"
    for coder in [one for one in (net, code) if isinstance(one, AutoencoderArguments)]:
        if (coder.channels, coder.given) != (count, 6):
            return f"an autoencoder of {coder.channels} channels, not of {count}"
    if isinstance(net, AutoencoderArguments):
        return "" if contract.states == 1 and not code else "an autoencoder of an autoencoder"
    if not (isinstance(net, UNetArguments) and net.globe and net.given == 10 and net.law):
        return "a network of another kind"
    if code:
        count, rows, columns = code.codes, rows // 4, columns // 4
    if net.law[:3] != (contract.states, count * rows, columns) or net.law[3] > count * rows:
        return f"a law of {net.law}, of other windows"
    return ""


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and len(value) < 100


def _is_shallow(value: Any, depth: int) -> bool:
    """Tell whether JSON is nested no deeper than ``depth``, with strings of limited length."""
    if isinstance(value, str):
        return len(value) <= MAX_HEADER_LENGTH
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(_is_shallow(part, depth - 1) for part in parts)
    return True


def _version_numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, for comparison.

    Example:
        >>> _version_numbers("0.10.2") > _version_numbers("0.9")
        True
    """
    digits = [part for part in version[:30].split(".") if part.isdecimal()]
    return tuple(map(int, digits))


def _shorten_value(value: Any) -> str:
    return f"{value}"[:40]


def reference_ratios(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratio of held-out RMSE to that of the reference, by variable, where known.

    A header gives them by variable, or by test and variable.

    Example:
        >>> reference_ratios({"box": {"t2m": 0.34}, "Asia": {"t2m": "0.41, CRPS 0.31"}})
        {'t2m': 0.34}
    """
    for group in (scores, *scores.values()):
        if isinstance(group, Mapping) and group:
            numbers = {str(n): v for n, v in group.items() if isinstance(v, int | float)}
            if len(numbers) == len(group):
                return {n: float(v) for n, v in numbers.items() if math.isfinite(v)}
    return {}


def skill_warning(contract: ModelCard, scores: Mapping[str, Any]) -> str:
    """Return a warning for a prior that is no better than its reference; else an empty string.

    Args:
        contract: The model card.
        scores: The held-out scores.
    """
    if "codes" in contract.net:
        return ""
    known = reference_ratios(scores)
    usual = "no prediction at all" if contract.states else "bilinear interpolation"
    for reference, suffix in (("the delta method", DELTA_SUFFIX), (usual, "")):
        worse = [
            f"{name.removesuffix(DELTA_SUFFIX)} ({ratio:.3g})"
            for name, ratio in known.items()
            if ratio > 1 and name.endswith(suffix)
        ]
        if worse:
            return (
                f"on held-out data the prior is worse than {reference}, by the ratio of their "
                f"RMSE: {', '.join(worse)}. Train it for longer or on more data."
            )
    if not known and not contract.states and not any(scores.values()):
        return f"no data were held out, so it is not known whether the prior beats {reference}."
    return ""


def warn_if_unskilled(contract: ModelCard, name: str) -> None:
    """Issue a `DpdmWarning` for a prior that is no better than its reference."""
    if warning := skill_warning(contract, contract.scores):
        warnings.warn(f"{name}: {warning}", DpdmWarning, 3)
