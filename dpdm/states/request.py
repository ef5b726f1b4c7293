"""What the user asks of an analysis: which files, and how observations are to pull."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dpdm.diffusion.guidance import GUIDES, Guide
from dpdm.errors import DpdmError
from dpdm.fields.plausibility import MissingCodes
from dpdm.observations.sounder import SounderChannels
from dpdm.states.ensemble import EnsembleOptions

DEFAULT_COVERAGE = 0.8
PARAMETER_GUIDANCES = {"gamma": ("sda",), "iterations": ("mmps", "law"), "zeta": ("dps",)}


@dataclass(frozen=True)
class AssimilationOptions:
    """What the user says of observations, and of how they pull.

    Attributes:
        errors: Standard deviations by variable, in canonical units, where a file has none.
        coarse_error: Standard deviations of the coarse field's errors by variable, in canonical
            units.
        coarse_length: Length of their correlation, km.
        reject: Innovation, in standard deviations of prior and observation, beyond which an
            observation is not believed; 0 believes all.
        withhold: Share of the stations kept back to score the analysis.
        guidance: "sda", "mmps", "law" or "dps"; empty for the prior's own.
        gamma: SDA's Gamma, if it is not the usual one.
        iterations: Conjugate gradient steps of MMPS or of a law, likewise.
        zeta: Length of DPS's pull, likewise.
        obs_var: Variables' names in the observation files, by canonical name.
        obs_units: Units of the observations declared by the user, by variable.
        corrections: Langevin corrections a step; None for the prior's own.
        tau: Their length; 0 for the prior's own.
        obs_missing: Numbers in the observations that stand for missing values, by variable; of
            all under "".
        channels: A file that says what the channels of a sounder see, or nothing.
        coverage: Share of a month, season or year that the values of a station must cover.
    """

    errors: Mapping[str, float] = field(default_factory=dict)
    coarse_error: Mapping[str, float] = field(default_factory=dict)
    coarse_length: float = 300.0
    reject: float = 5.0
    withhold: float = 0.0
    guidance: str = ""
    gamma: float | None = None
    iterations: int | None = None
    zeta: float | None = None
    corrections: int | None = None
    tau: float = 0.0
    obs_var: Mapping[str, str] = field(default_factory=dict)
    obs_units: Mapping[str, str] = field(default_factory=dict)
    channels: Path | None = None
    coverage: float = DEFAULT_COVERAGE
    obs_missing: MissingCodes = field(default_factory=dict)

    def guide(self, name: str) -> Guide:
        """Return a guidance with its number."""
        numbers = {
            own: getattr(self, own)
            for own in PARAMETER_GUIDANCES
            if getattr(self, own) is not None
        }
        for own in numbers:
            if name not in PARAMETER_GUIDANCES[own]:
                owner = " or ".join(PARAMETER_GUIDANCES[own])
                raise DpdmError(
                    f"--{own} belongs to --guidance {owner}, and this is {name}.",
                    f"Leave it out, or say --guidance {owner}.",
                )
        return partial(GUIDES[name], **numbers)


@dataclass(frozen=True)
class AssimilationFiles:
    """The files of an analysis: what is read, then what is written.

    Attributes:
        observations: Tables, stations or fields that were observed.
        coarse: The coarse fields, or nothing.
        grid: A file on the grid to write, or nothing.
        statics: The user's own statics, or nothing.
        analysis: The ensemble to write.
        report: The table of observations to write, or nothing.
    """

    observations: Sequence[Path]
    coarse: Path | None
    grid: Path | None
    statics: Path | None
    analysis: Path
    report: Path | None = None

    @property
    def read(self) -> list[Path]:
        """List all files that are read."""
        return [*self.observations, *(p for p in (self.coarse, self.grid, self.statics) if p)]


@dataclass(frozen=True)
class Request:
    """An analysis that the user asks for.

    Attributes:
        files: What is read and written.
        prior: The prior's name.
        ensemble: What is asked of the ensemble.
        observations: What is said of observations, and of how they pull.
        sounder: Channels of brightness temperatures, if their weights are known.
    """

    files: AssimilationFiles
    prior: str
    ensemble: EnsembleOptions
    observations: AssimilationOptions
    sounder: SounderChannels | None = None
