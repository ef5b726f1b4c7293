"""Train a prior on a fine series."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from dpdm.errors import DpdmError, DpdmWarning
from dpdm.paths import check_distinct_paths, check_output
from dpdm.prior import find_prior
from dpdm.prior.model_card import skill_warning
from dpdm.system import choose_device, sha256
from dpdm.training import TrainingFiles, TrainingKind, field_series, globe_windows
from dpdm.training import trajectory_windows as trajectories
from dpdm.training.check import describe_training
from dpdm.training.checkpoint import finished_prior, may_train_further
from dpdm.training.fast_head import fast_head_path, train_fast_head
from dpdm.training.loop import LOG_SUFFIX, TrainingCallback, TrainingProgress, run_training
from dpdm.training.starting_prior import BUNDLED_PRIOR

TRAINING_KINDS: dict[str, TrainingKind] = {
    "fields": field_series.FIELDS,
    "trajectories": trajectories.TRAJECTORIES,
    "globe": globe_windows.GLOBE,
}


def train(
    sources: TrainingFiles,
    out: Path,
    factor: tuple[int, int] | None = None,
    minutes: float = 0.0,
    device: str = "auto",
    overwrite: bool = False,
    report: TrainingCallback = lambda progress: None,
    window: int | None = None,
    latent: bool = False,
    note: Callable[[str], None] = lambda line: None,
    fast_minutes: float = 0.0,
    only_fast: bool = False,
) -> TrainingProgress:
    """Train a prior, resume an interrupted training, or train a finished prior further.

    What is done with the files is passed to ``note``, line by line. With ``fast_minutes`` the
    prior then gets a fast head, ``only_fast`` with the weights of ``--start`` as they are.
    """
    if out.suffix != ".safetensors":
        raise DpdmError(f"{out} is not a .safetensors file.", "Call it NAME.safetensors.")
    checkpoint = out.with_name(out.name + ".resume")
    further = not overwrite and not checkpoint.exists() and may_train_further(out)
    check_paths(sources, out, overwrite or checkpoint.exists() or further)
    kind, task = build_task(sources, factor, window)
    if fast_minutes:
        check_fields(task, only_fast)
    if latent:
        renew = overwrite and not checkpoint.exists()
        task = train_autoencoder(kind, task, out, minutes, device, report, renew)
        minutes *= 1 - task.recipe.code.share

    def begin() -> None:
        for line in getattr(task, "notes", ()):
            note(line)

    head = partial(
        train_fast_head, task, out=out, minutes=fast_minutes, device=choose_device(device),
        report=report,
    )  # fmt: skip
    trained = sources.start if only_fast else None
    if further and fast_minutes:
        trained = finished_prior(task, out, minutes)
    if trained is not None:
        return head(trained, begin=begin)
    progress = run_training(task, out, minutes, choose_device(device), report, further, begin)
    warn_of_skill(task, progress, out)
    return head(out) if fast_minutes else progress


def check_paths(sources: TrainingFiles, out: Path, may_replace: bool) -> None:
    """Refuse an output that exists or is an input, and working files that are."""
    check_output(out, sources, may_replace, suffixes=(".safetensors",))
    checkpoint, log = out.with_name(out.name + ".resume"), out.with_suffix(LOG_SUFFIX)
    for other in (checkpoint, log, autoencoder_path(out), fast_head_path(out)):
        check_distinct_paths(other, sources)


def warn_of_skill(task: Any, progress: TrainingProgress, out: Path) -> None:
    """Issue a `DpdmWarning` for a trained prior that is no better than its reference."""
    warning = skill_warning(task.contract, progress.scores) if progress.run_steps else ""
    if warning:
        warnings.warn(f"{out}: {warning}", DpdmWarning, 3)


def check_fields(task: Any, only_fast: bool) -> None:
    """Refuse a fast head of anything but fields, and one of no prior."""
    if not isinstance(task, field_series.FieldTrainingSet):
        raise DpdmError(
            "Only priors of fields have a fast head, and this one is of sequences of states.",
            "Leave out --fast-minutes.",
        )
    if only_fast and task.start is None:
        raise DpdmError(
            "--minutes 0 adds a fast head to the prior of --start, and there is none.",
            "Give --start PRIOR.safetensors, or larger --minutes.",
        )


def check_training(
    sources: TrainingFiles,
    out: Path,
    factor: tuple[int, int] | None = None,
    minutes: float = 0.0,
    device: str = "auto",
    window: int | None = None,
) -> Iterator[str]:
    """Yield what a training learns from what, and what it costs, without writing."""
    check_distinct_paths(out, sources)
    task = build_task(sources, factor, window)[1]
    yield from describe_training(task, sources.fine, minutes, choose_device(device), out)


def build_task(
    sources: TrainingFiles, factor: tuple[int, int] | None, window: int | None
) -> tuple[TrainingKind, Any]:
    """Return the kind and the training set of some files."""
    kind = next(k for k in TRAINING_KINDS.values() if k.accepts(sources, window))
    task: Any = kind.build(sources, factor, window)
    if task.start is not None:
        start = sources.start or find_prior(BUNDLED_PRIOR)
        task.contract.training.update(start=start.stem, start_sha256=sha256(start))
    return kind, task


def train_autoencoder(
    kind: TrainingKind, task: Any, out: Path, minutes: float, device: str,
    report: TrainingCallback, renew: bool,
) -> Any:  # fmt: skip
    """Return the training set of the codes of an autoencoder, which is trained if need be."""
    if kind.autoencoder is None or kind.codes is None or task.start is not None:
        raise DpdmError(
            "--latent is for states on the globe, and cannot be combined with --start.",
            "Leave it out, or give fields of the whole globe and --window, without --start.",
        )
    path = autoencoder_path(out)
    first, checkpoint = kind.autoencoder(task), path.with_name(path.name + ".resume")
    if renew or not path.exists() or checkpoint.exists():
        share = task.recipe.code.share
        run_training(first, path, minutes * share, choose_device(device), report)
    return kind.codes(task, first, path)


def autoencoder_path(out: Path) -> Path:
    """Return the file of the autoencoder of a prior of codes."""
    return out.with_name(f"{out.stem}.coder.safetensors")
