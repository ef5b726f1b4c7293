"""Train priors: what every kind of training set provides, and how its data are split.

A new kind of state is one module with a training set and a `TrainingKind`, and an entry in
`dpdm.train.TRAINING_KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dpdm.errors import DpdmError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from dpdm.fields.plausibility import MissingCodes
    from dpdm.prior import Prior
    from dpdm.prior.model_card import ModelCard
    from dpdm.prior.normaliser import Normaliser
    from dpdm.training.config import TrainSettings


@dataclass(frozen=True)
class TrainingFiles:
    """The input files of a training run.

    Attributes:
        fine: The fine series, perhaps with static fields among the files.
        coarse: The user's own coarse series at the same times, or nothing.
        statics: The user's own static fields, or nothing.
        config: Settings, or nothing.
        start: The prior to begin with, or nothing.
        rename: Variables' names in the files, by canonical name.
        units: Units declared by the user, by variable.
        missing: Numbers that stand for missing values, by variable; of all under "".
        bundled_start: Whether to begin with the bundled prior, if it fits and there is no other.
    """

    fine: Sequence[Path]
    coarse: Sequence[Path]
    statics: Path | None
    config: Path | None
    start: Path | None
    rename: Mapping[str, str]
    units: Mapping[str, str]
    missing: MissingCodes = field(default_factory=dict)
    bundled_start: bool = False


class TrainingRecipe(Protocol):
    """The settings that the training loop needs."""

    @property
    def train(self) -> TrainSettings:
        """Give the settings of the optimisation."""


class TrainingTask(Protocol):
    """The training set of any kind of state, as the training loop sees it."""

    @property
    def recipe(self) -> TrainingRecipe:
        """Give the settings."""

    @property
    def normaliser(self) -> Normaliser:
        """Give the scaling."""

    @property
    def contract(self) -> ModelCard:
        """Give the model card of the prior."""

    @property
    def start(self) -> Prior | None:
        """Give the prior whose weights training begins with, or nothing."""

    @property
    def area(self) -> Tensor | None:
        """Give the weights of the cells, which broadcast against x; None for equal weights."""

    @property
    def score_name(self) -> str:
        """Name the validation scores."""

    def new_network(self) -> Any:
        """Return an untrained denoiser, or another network with a loss of the same form."""

    def batch(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return clean, normalised x (B, C, ...) and its conditioning fields (B, ...)."""

    def scores(self, network: Any, device: str) -> dict[str, float]:
        """Return validation scores of a network."""

    def calibration(self, network: Any, device: str) -> dict[str, float]:
        """Return sampling defaults that validation data determine, as the spread inflation."""

    def extra(self) -> dict[str, Any]:
        """Return the attributes of the prior that are stored besides its weights."""


@dataclass(frozen=True)
class TrainingKind:
    """A kind of state that priors are trained on.

    Attributes:
        accepts: Tells whether files are trained on this way, for a window of states or None.
        build: Takes the files, ``--factor`` and ``--window``, and returns the training set.
        autoencoder: With ``--latent``, returns the task of the autoencoder of a training set.
        codes: Then takes both and the trained autoencoder's file; returns the training set of
            the codes.
    """

    accepts: Callable[[TrainingFiles, int | None], bool]
    build: Callable[[TrainingFiles, tuple[int, int] | None, int | None], TrainingTask]
    autoencoder: Callable[[Any], Any] | None = None
    codes: Callable[[Any, Any, Path], TrainingTask] | None = None


def count_files(files: Sequence[Path]) -> str:
    """Return the number of files, with its noun."""
    return f"{len(files)} file{'s' * (len(files) != 1)}"


def split_states(count: int, window: int, source: str) -> tuple[int, int]:
    """Return the ends of the training states (8/10) and the validation states (1/10) of a series.

    The last tenth is the test data, which training never reads.
    """
    train_end, validation_end = round(0.8 * count), round(0.9 * count)
    if validation_end - train_end < window:
        raise DpdmError(
            f"{source} holds {count} states; a tenth of them is less than a window of {window}.",
            f"Give at least {10 * window}, better thousands.",
        )
    return train_end, validation_end


def split_trajectories(count: int, path: Path) -> tuple[int, int]:
    """Return the ends of the training trajectories and the validation trajectories of a file.

    A tenth each are validation and test data, and one at least.
    """
    tenth = max(1, round(count / 10))
    if count < 3:
        raise DpdmError(
            f"{path} holds {count} trajectories: one is for validation, and one for the test.",
            "Give at least 3, better many more.",
        )
    return count - 2 * tenth, count - tenth


def split_steps(count: int, share: float) -> int:
    """Return the end of the training steps of fields, where the last share is validation data."""
    return count if count < 24 else count - max(1, round(count * share))


def network_arguments(net: Mapping[str, Any]) -> dict[str, Any]:
    """Return a network's arguments as a file stores them, with lists for tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in net.items()}
