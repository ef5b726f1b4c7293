"""Options of an ensemble and of an analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dpdm import choices
from dpdm.diffusion.guidance import GUIDES, Guide, StepCount, mmps
from dpdm.errors import DpdmError
from dpdm.fields.named_grids import Target
from dpdm.fields.output_units import OutputUnits
from dpdm.fields.plausibility import MissingCodes
from dpdm.fields.statistics import QUANTILES
from dpdm.fields.subset import Box
from dpdm.file_group import Source, paths_of

if TYPE_CHECKING:
    from dpdm.observations.sounder import SounderChannels

DEFAULT_COVERAGE = 0.8
ESTIMATED = math.nan  # of --coarse-error: to be estimated from the stations
PARAMETER_GUIDANCES = {"gamma": ("sda",), "iterations": ("mmps", "law"), "zeta": ("dps",)}


@dataclass(frozen=True)
class SamplerConfig:
    """Settings of the sampler.

    Attributes:
        sampler: Key of ``SAMPLERS``.
        steps: Number of sampling steps.
        sigma_max: Highest noise level.
        inflation: Spread inflation.
        block: Members at a time. Processors sum in another order for another number, so it is 1;
            on a GPU more is faster, and members agree to rounding.
        overlap: Overlap of windows, cells.
        widest: Largest extent of a window, relative to training. The cost of a cell is the same.
        device: Device of the computation.
        schedule: Key of ``SCHEDULES``, the noise schedule.
        sigma_min: Lowest noise level.
        guide: Guidance by observations: the denoiser of the posterior from that of the prior.
        corrections: Langevin corrections after each Euler step.
        tau: Langevin step size.
        fine_inflation: Spread inflation of the finest scales, by the fast sampler.
        steps_taken: Counts the corrections by observations.
    """

    sampler: str
    steps: int
    sigma_max: float
    inflation: float = 1.0
    block: int = 1
    overlap: int = 24
    widest: int = 4
    device: str = "cpu"
    schedule: str = "karras"
    sigma_min: float = 2e-3
    guide: Guide = mmps
    corrections: int = 0
    tau: float = 0.5
    fine_inflation: float = 1.0
    steps_taken: StepCount = field(default_factory=StepCount, compare=False)

    def truncate(self, sigma: float) -> SamplerConfig:
        """Return the settings from a lower noise level on."""
        return replace(self, sigma_max=sigma, sigma_min=min(self.sigma_min, sigma / 10))


@dataclass(frozen=True)
class EnsembleOptions:
    """Options of an ensemble.

    Attributes:
        members: Ensemble size; 0 for the mean only.
        seed: Seed of the ensemble.
        steps: Number of sampling steps; 0 for the prior's default.
        sampler: Sampler; empty for the prior's default.
        keep: "members", "stats" or "all".
        consistent: Whether block means must equal the input.
        device: "auto", "cpu" or "cuda".
        rename: Names of variables in the file, by canonical name.
        units: Units of the input, by variable, if missing or wrong.
        quantiles: Percentiles among the statistics.
        bbox: West, east, south and north of the output, degrees; None for all.
        history: The command line, for the history attribute.
        mask: A GeoJSON file; cells outside its polygons are missing.
        period: "any" to accept input of another period than that of the training data.
        missing: Codes of missing values, by variable; of all variables under "".
        climatology: "era5", "none", a file, or empty for the default of prior and grid.
        climatology_period: First and last month of a file's series that are averaged, or None.
        reference_period: First and last month over which the coarse fields' own climate is
            taken; None to take differences from the climatology for anomalies.
        reference: Files of that period; none if it lies within the coarse fields.
        out_units: Units of the output, where they differ from those of the input.
    """

    members: int = 33
    seed: int = 0
    steps: int = 0
    sampler: str = ""
    keep: str = "all"
    consistent: bool = False
    device: str = "auto"
    rename: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    quantiles: tuple[int, ...] = QUANTILES
    bbox: Box | None = None
    history: str = "dpdm downscale"
    mask: Path | None = None
    period: str = ""
    missing: MissingCodes = field(default_factory=dict)
    climatology: str = ""
    climatology_period: tuple[str, str] | None = None
    reference_period: tuple[str, str] | None = None
    reference: tuple[Path, ...] = ()
    out_units: OutputUnits = ()

    @property
    def climatology_file(self) -> Path | None:
        """Return the file of the climatology, if it is one."""
        named = self.climatology in ("", *choices.CLIMATOLOGIES)
        return None if named else Path(self.climatology)


@dataclass(frozen=True)
class FieldConditioning:
    """Conditioning of a prior of fields on the states of a file.

    Attributes:
        factor: Cells along each side of the blocks whose means condition the prior; 0 for the
            largest factor of prior and grid.
        blind: Whether the prior is unconditional.
        statics: File of the user's own statics, or None.
    """

    factor: int = 0
    blind: bool = False
    statics: Path | None = None


@dataclass(frozen=True)
class AssimilationOptions:
    """Options of observations and of the guidance by them.

    Attributes:
        errors: Standard deviations by variable, in canonical units, for files without errors.
        coarse_error: Error standard deviation of the coarse input by variable, in canonical units;
            `ESTIMATED` for a law that is estimated from the stations; of all variables under "".
        coarse_length: Correlation length of that error, km.
        reject: Innovation, in standard deviations of background and observation, beyond which an
            observation is rejected; 0 rejects none.
        withhold: Fraction of the stations that is withheld for verification.
        guidance: "sda", "mmps", "law" or "dps"; empty for the prior's default.
        gamma: Gamma of SDA; None for its default.
        iterations: Conjugate gradient steps of MMPS or of a law; None for their default.
        zeta: Guidance strength of DPS; None for its default.
        corrections: Langevin corrections a step; None for the prior's default.
        tau: Langevin step size; 0 for the prior's default.
        obs_var: Names of variables in the observation files, by canonical name.
        obs_units: Units of the observations, by variable, if missing or wrong.
        channels: File of a sounder's channels, or None.
        coverage: Fraction of a month, season or year that a station's values must cover.
        obs_missing: Codes of missing values in the observations, as in `EnsembleOptions.missing`.
        stations: A list of stations with the positions that text files lack, or None.
        withhold_blocks: Side of the blocks in which stations are withheld, km; 0 for none.
        qc: Checks of observations against one another: "all", "basic" or "none".
        dates: First and last year, month or day of the steps to analyse; None for all.
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
    stations: Path | None = None
    withhold_blocks: float = 0.0
    qc: str = "all"
    dates: tuple[str, str] | None = None

    def guide(self, name: str) -> Guide:
        """Return a guidance with its parameter."""
        values = {key: getattr(self, key) for key in PARAMETER_GUIDANCES}
        parameters = {key: value for key, value in values.items() if value is not None}
        for key in parameters:
            if name not in PARAMETER_GUIDANCES[key]:
                owner = " or ".join(PARAMETER_GUIDANCES[key])
                raise DpdmError(
                    f"--{key} belongs to --guidance {owner}, and this is {name}.",
                    f"Leave it out, or use --guidance {owner}.",
                )
        return partial(GUIDES[name], **parameters)


@dataclass(frozen=True)
class AssimilationFiles:
    """Files of an analysis: those that are read, then those that are written.

    Attributes:
        observations: Observation files.
        coarse: The coarse fields, or None.
        grid: A file on the target grid, the grid itself, or None.
        statics: The user's own statics, or None.
        analysis: The ensemble to write.
        report: The table of observations to write, or None.
        verification: Files of observations that are only scored.
    """

    observations: Sequence[Path]
    coarse: Source | None
    grid: Target | None
    statics: Path | None
    analysis: Path
    report: Path | None = None
    verification: Sequence[Path] = ()

    @property
    def inputs(self) -> list[Path]:
        """Return all files that are read."""
        coarse = [] if self.coarse is None else paths_of(self.coarse)
        others = [path for path in (self.grid, self.statics) if isinstance(path, Path)]
        return [*self.observations, *self.verification, *coarse, *others]


@dataclass(frozen=True)
class Request:
    """The analysis to make.

    Attributes:
        files: Input and output files.
        prior: Name of the prior.
        ensemble: Options of the ensemble.
        observations: Options of observations and guidance.
        sounder: Channels of brightness temperatures, or None.
    """

    files: AssimilationFiles
    prior: str
    ensemble: EnsembleOptions
    observations: AssimilationOptions
    sounder: SounderChannels | None = None
