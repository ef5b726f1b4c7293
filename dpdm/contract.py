"""What the header of a prior states, and what of it can be true.

A prior comes from anywhere, and its header decides how much memory and time are taken. So every
key has a type and a range, checked before anything is allocated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dpdm import __version__
from dpdm.choices import load_plugins
from dpdm.config import Rule, check, counts, fill, one_of, rising, shown, within
from dpdm.diffusion.guide import GUIDES
from dpdm.diffusion.sample import SAMPLERS, SCHEDULES
from dpdm.errors import DpdmError
from dpdm.fields.tensors import TRANSFORMS, Channel
from dpdm.fields.time import PERIODS, period_of_length

FORMAT = 1
DEEPEST = 8  # nesting of a header
LONGEST = 10_000  # characters of a text in it
FETCH = "Get the file again from its source, or train a prior with dpdm train."


@dataclass(frozen=True)
class Sampling:
    """How a prior is best sampled, where its header does not state it."""

    sampler: str = "multistep"
    steps: int = 12
    most: float = 80.0
    inflation: float = 1.0
    schedule: str = "karras"
    least: float = 0.0
    guidance: str = "mmps"
    corrections: int = 0
    tau: float = 0.5


SAMPLING = asdict(Sampling())
_SMOOTHER = {
    "sampler": "ddim", "steps": 64, "least": 0.005, "guidance": "sda", "corrections": 3, "tau": 1.0
}  # fmt: skip
# How a new prior of trajectories or of the globe is sampled; ``most`` is the noise that hides the
# largest structure, nearly.
SAMPLING_OF: dict[str, dict[str, Any]] = {
    "components": _SMOOTHER | {"most": 4.0},
    "plane": _SMOOTHER | {"most": 20.0},
    "globe": {
        "sampler": "multistep", "steps": 16, "most": 40.0, "least": 0.02, "guidance": "law",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Contract:
    """What a prior was trained for.

    Attributes:
        spacing: Fine grid spacing, degrees of latitude and longitude.
        factors: Least and greatest coarse over fine spacing.
        window: Cells along each side of a window.
        cadence: Median step of the training series, in days; 0 without a time axis.
        sigma: Least and greatest noise level of training.
        net: Arguments of the network.
        training: Period, region, source and cost of the training.
        scores: Held-out scores.
        sampling: Sampler, steps, schedule, greatest and least (0: of ``sigma``) noise level and
            inflation that serve it best, chosen on what was held out, and the guidance and
            Langevin corrections of its posteriors; `SAMPLING` gives what it does not say.
        states: States of a window of a trajectory; 0 for single fields of the Earth. For
            trajectories ``cadence`` is in their own time, and ``factors`` and ``window`` say
            nothing.
        variable: Variable whose components are the channels; empty where each is a variable.
        plane: Rows and columns of a state on a plane; empty for components.
        periodic: Whether the plane closes on itself.
        globe: Whether the plane is the globe, its rows and columns latitudes and longitudes.
        period: What a step of the training series stands for: hour, day, month, season or year;
            empty where nothing shows it, or in files of earlier versions.
        code: Arguments ``net`` of the autoencoder of whose codes the denoiser knows windows, and
            its ``reconstruction`` error by variable, RMSE in the variable's units; or nothing.
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
        object.__setattr__(self, "sampling", SAMPLING | self.sampling)

    @property
    def kind(self) -> str:
        """Give the kind of states: "fields", "trajectories" or "globe"."""
        return ("globe" if self.globe else "trajectories") if self.states else "fields"

    @property
    def step(self) -> str:
        """Return the period of a step, which of a file of an earlier version its cadence shows."""
        return self.period or ("" if self.states else period_of_length(self.cadence))


@dataclass(frozen=True)
class Perceptron:
    """Arguments of the network for states of a few components."""

    hidden: int = 256
    layers: int = 5


@dataclass(frozen=True)
class Convolutions:
    """Arguments of the network for fields, and the size of the law that it corrects."""

    read: tuple[int, ...] = (32, 64, 128)
    widths: tuple[int, ...] = (64, 128)
    depth: int = 2
    dropout: float = 0.0
    periodic: bool = False
    globe: bool = False
    given: int = 0
    law: tuple[int, ...] = ()


@dataclass(frozen=True)
class Coder:
    """Arguments of an autoencoder."""

    channels: int
    given: int
    codes: int = 32
    encode: int = 128
    decode: int = 64
    depth: int = 2


@dataclass(frozen=True)
class NetKind:
    """A kind of network beside those of dpdm; a header names it as ``kind`` under ``net``.

    Attributes:
        name: Its name.
        arguments: A dataclass of its arguments, against which a header is checked.
        build: Takes the number of values and the arguments; returns an untrained `Denoiser`.
        states: What its priors know: "fields", or trajectories of "components" or a "plane".
    """

    name: str
    arguments: type
    build: Callable[..., Any]
    states: str = "fields"


NETS: dict[str, NetKind] = {}


def register_net(kind: NetKind) -> None:
    """Add a kind of network."""
    NETS[kind.name] = kind


@dataclass(frozen=True)
class Code:
    """An autoencoder of whose codes the denoiser knows windows."""

    net: Coder
    reconstruction: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Header:
    """All that the header of a prior states.

    Attributes:
        format: Of the file.
        dpdm: Version that wrote it.
        channels: The modelled variables.
        contract: What the prior was trained for.
    """

    format: int
    dpdm: str
    channels: tuple[Channel, ...]
    contract: Contract


def _is_name(said: str) -> bool:
    return 0 < len(said) <= 200 and said.isprintable() and "/" not in said


def _is_residual(pair: tuple[float, ...]) -> bool:
    return len(pair) == 2 and 0 < pair[0] <= 1e4 and 0 < pair[1] <= 1e9


WIDTH, DEPTH = within(1, 4096), within(1, 64)
RULES: dict[str, Rule] = {
    "contract.spacing": counts(2, -1e9, 1e9),
    "contract.factors": rising(0, 1000),
    "contract.window": within(0, 1024),
    "contract.cadence": within(0, 1e9),
    "contract.period": one_of("", *PERIODS),
    "contract.sigma": (lambda said: len(said) == 2 and 0 < said[0] < said[1] <= 1e6, ""),
    "contract.states": within(0, 10_000),
    "contract.variable": (lambda said: said == "" or _is_name(said), ""),
    "contract.plane": (lambda said: len(said) in (0, 2) and within(4, 10_000)[0](said), ""),
    "sampling.sampler": one_of(SAMPLERS),
    "sampling.schedule": one_of(SCHEDULES),
    "sampling.guidance": one_of(GUIDES),
    "sampling.steps": within(2, 1000),
    "sampling.most": within(1e-3, 1e6),
    "sampling.least": within(0, 1e6),
    "sampling.inflation": within(0.01, 100),
    "sampling.corrections": within(0, 100),
    "sampling.tau": within(0, 10),
    "net.read": counts(3, 1, 4096),
    "net.widths": counts(2, 1, 4096),
    "net.hidden": within(4, 16_384),
    "net.layers": DEPTH,
    "net.depth": DEPTH,
    "net.dropout": (lambda said: 0 <= said < 1, ""),
    "net.law": (lambda said: len(said) in (0, 4) and within(1, 1_000_000)[0](said), ""),
    **{f"net.{key}": WIDTH for key in ("codes", "encode", "decode")},
    **{f"code.{key}": WIDTH for key in ("codes", "encode", "decode")},
    "code.depth": DEPTH,
}
CHANNEL: dict[str, Rule] = {
    "channel.name": (_is_name, ""),
    "channel.transform": one_of(*TRANSFORMS),
    "channel.mean": within(-1e15, 1e15),
    "channel.std": (lambda said: 0 < said <= 1e15, ""),
    "channel.level": within(-1e9, 1e9),
    "channel.residual": (lambda said: all(map(_is_residual, said)), ""),
}


def read_header(text: str, path: Path) -> Header:
    """Return the header of a prior, checked."""
    said = parsed(text, path)
    if said.get("format") != FORMAT:
        raise DpdmError(
            f"{path} is a prior of format {_short(said.get('format'))}; this dpdm reads format "
            f"{FORMAT}.",
            f"Use the dpdm that wrote it ({_short(said.get('dpdm'))}), or train it again.",
        )
    try:
        header = fill(Header, said, "its header")
        check_header(header)
    except DpdmError as fault:
        raise unlike(path, said.get("dpdm"), fault.what) from fault
    return header


def parsed(text: str, path: Path) -> dict[str, Any]:
    """Return the text of a header as a dictionary, neither deep nor long."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not said or not _is_plain(said, DEEPEST):
        raise DpdmError(f"The header of {path} is damaged.", FETCH)
    return said


def unlike(path: Path, version: Any, what: str) -> DpdmError:
    """Return what to report of a header that is not that of a prior of this version."""
    if isinstance(version, str) and _numbers(version) > _numbers(__version__):
        return DpdmError(
            f"{path} was written by dpdm {_short(version)}, which is newer than this dpdm "
            f"{__version__}, and cannot be read: {what}",
            "Run: pip install --upgrade dpdm.",
        )
    return DpdmError(f"{path} is not a valid prior: {what}", FETCH)


def check_header(header: Header) -> None:
    """Refuse values out of range, and values that do not fit each other."""
    channels, contract = header.channels, header.contract
    if not 1 <= len({c.name for c in channels}) == len(channels) <= 10_000:
        raise DpdmError(f"its header has {len(channels)} channels, or two of one name.")
    for number, channel in enumerate(channels):
        check(SimpleNamespace(channel=channel), CHANNEL, f"its header, channels, {number}")
    parts = SimpleNamespace(
        contract=contract,
        net=net_of(contract.net),
        sampling=fill(Sampling, contract.sampling, "its header, contract, sampling"),
        code=fill(Code, contract.code, "its header, contract, code").net if contract.code else (),
    )
    check(parts, RULES, "its header, contract")
    check_period(contract.training)
    least = parts.sampling.least or contract.sigma[0]
    if least >= parts.sampling.most:
        raise DpdmError(f"its header, contract, sampling, most is {parts.sampling.most}.")
    check_reconstruction(contract.code, {c.name for c in channels})
    wrong = misfit(contract, channels, parts.net, parts.code)
    if wrong:
        raise DpdmError(f"its header, contract, has {wrong}.")


def net_of(net: dict[str, Any]) -> Any:
    """Return the arguments of a network, by what kind it is."""
    if "kind" in net:
        rest = {key: value for key, value in net.items() if key != "kind"}
        return fill(kind_of(net).arguments, rest, "its header, contract, net")
    kind: type[Perceptron | Convolutions | Coder]
    kind = Coder if "codes" in net else Perceptron if "hidden" in net else Convolutions
    return fill(kind, net, "its header, contract, net")


def kind_of(net: Mapping[str, Any]) -> NetKind:
    """Return the kind of network that a plug-in has registered."""
    name = str(net["kind"])
    if name not in NETS:
        load_plugins()
    if name not in NETS:
        raise DpdmError(
            f"its header, contract, net, kind is {shown(name)}, which no installed package knows.",
            "Install the package that its network is from.",
        )
    return NETS[name]


def is_registered(net: Any, states: str) -> bool:
    """Tell whether arguments are those of a plug-in's network for such states."""
    return any(type(net) is kind.arguments and kind.states == states for kind in NETS.values())


def check_reconstruction(code: Mapping[str, Any], names: set[str]) -> None:
    """Refuse errors of a code that are not those of the variables."""
    held = code.get("reconstruction", {})
    fits = within(0, 1e15)[0]
    if not (held.keys() <= names and all(map(fits, held.values()))):
        raise DpdmError(f"its header, contract, code, reconstruction is {shown(held)}.")


def check_period(training: Mapping[str, Any]) -> None:
    """Refuse a period of training that is no list of dates."""
    for key in ("period", "climate_period"):
        said = training.get(key, [])
        if not (isinstance(said, list) and len(said) in (0, 2) and all(map(_is_text, said))):
            raise DpdmError(f"its header, contract, training, {key} is {_short(said)}.")


def misfit(contract: Contract, channels: tuple[Channel, ...], net: Any, code: Any) -> str:
    """Return what in a header does not fit the rest, in words; empty if all fits."""
    if not contract.states:
        return misfit_of_fields(contract, channels, net)
    if contract.cadence <= 0:
        return "states without a time between them"
    if not contract.plane:
        wrong = contract.globe or contract.code or not contract.variable
        fits = isinstance(net, Perceptron) or is_registered(net, "components")
        return "" if fits and not wrong else "a network of another kind"
    if not contract.globe:
        fits = isinstance(net, Convolutions) and not net.globe and not net.law and net.given == 4
        fits = (fits and net.periodic == contract.periodic) or is_registered(net, "plane")
        return "" if fits and not contract.code else "a network of another kind"
    return misfit_of_globe(contract, channels, net, code)


def misfit_of_fields(contract: Contract, channels: tuple[Channel, ...], net: Any) -> str:
    """Return what does not fit in the header of a prior of fields."""
    given = (0, 2 * len(channels) + 10)
    fits = isinstance(net, Convolutions) and not net.globe and not net.law and net.given in given
    fits = fits or is_registered(net, "fields")
    if contract.plane or contract.globe or contract.code or not fits:
        return "a network of another kind"
    if not (contract.window >= 4 and contract.factors[0] >= 1 and min(contract.spacing) > 0):
        return "no window, factor or spacing"
    if max(contract.spacing) > 90 or not all(c.residual for c in channels):
        return "a spacing or a scale of residuals that cannot be"
    return ""


def misfit_of_globe(contract: Contract, channels: tuple[Channel, ...], net: Any, code: Any) -> str:
    """Return what does not fit in the header of a prior of states on the globe."""
    rows, columns = contract.plane
    count = len(channels)
    if rows % 4 or columns % 4:
        return f"a plane of {rows} by {columns} cells, which cannot be halved twice"
    for coder in [one for one in (net, code) if isinstance(one, Coder)]:
        if (coder.channels, coder.given) != (count, 6):
            return f"an autoencoder of {coder.channels} channels, not of {count}"
    if isinstance(net, Coder):
        return "" if contract.states == 1 and not code else "an autoencoder of an autoencoder"
    if not (isinstance(net, Convolutions) and net.globe and net.given == 10 and net.law):
        return "a network of another kind"
    if code:
        count, rows, columns = code.codes, rows // 4, columns // 4
    if net.law[:3] != (contract.states, count * rows, columns) or net.law[3] > count * rows:
        return f"a law of {net.law}, of other windows"
    return ""


def _is_text(said: Any) -> bool:
    return isinstance(said, str) and len(said) < 100


def _is_plain(said: Any, deepest: int) -> bool:
    """Tell whether JSON is neither deep nor long."""
    if isinstance(said, str):
        return len(said) <= LONGEST
    if isinstance(said, dict):
        return deepest > 0 and all(
            len(key) <= LONGEST and _is_plain(one, deepest - 1) for key, one in said.items()
        )
    if isinstance(said, list):
        return deepest > 0 and all(_is_plain(one, deepest - 1) for one in said)
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare it with another.

    Example:
        >>> _numbers("0.10.2") > _numbers("0.9")
        True
    """
    digits = [part for part in version[:30].split(".") if part.isdecimal()]
    return tuple(map(int, digits))


def _short(said: Any) -> str:
    return f"{said}"[:40]
