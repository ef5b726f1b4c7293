"""What a picture is made from: the field, what stands beside it, and the words for both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from dpdm.errors import DpdmError
from dpdm.plot.ask import Ask
from dpdm.plot.page import provenance
from dpdm.plot.source import Source, beside, field_at, moment, opened, step_beside


@dataclass(frozen=True)
class Scene:
    """One variable in up to four files, all in one unit.

    Attributes:
        ask: What the user wants.
        source: The field.
        truth: What it should be.
        coarse: What it was made from.
        background: What it was before observations were seen.
    """

    ask: Ask
    source: Source
    truth: Source | None
    coarse: Source | None
    background: Source | None

    @property
    def footer(self) -> str:
        """Say what the picture was made from."""
        ask = self.ask
        files = [self.source.path, ask.truth, ask.coarse, ask.background, ask.report]
        return provenance(self.source.attrs, [path for path in files if path])

    def heading(self, *more: str) -> list[str]:
        """Return the variable's name and a line of more words."""
        words = self.source.words
        name = words if words == self.source.name else words[:1].upper() + words[1:]
        return [name, ", ".join(word for word in more if word)]

    def need_truth(self, kind: str) -> Source:
        """Return the truth."""
        if self.truth is None:
            raise DpdmError(f"A picture of kind {kind} needs the truth.", "Say --truth TRUTH.nc.")
        return self.truth


def scene(path: Path, ask: Ask) -> Scene:
    """Open all files."""
    source = opened(path, ask)
    truth, coarse, background = (
        None if other is None else beside(other, source, ask.missing)
        for other in (ask.truth, ask.coarse, ask.background)
    )
    return Scene(ask, source, truth, coarse, background)


@dataclass(frozen=True)
class Moment:
    """All fields of one date.

    Attributes:
        step: Which step of the field's axis.
        date: Its date in words.
        fields: By title: coarse, mean, truth, as far as there are any.
        spread: The ensemble's standard deviation.
    """

    step: int
    date: str
    fields: dict[str, xr.DataArray]
    spread: xr.DataArray | None


def at_once(view: Scene) -> Moment:
    """Read the fields of the date that is asked for."""
    source = view.source
    step, date = moment(source, view.ask.time)
    fields = {}
    if view.coarse:
        fields["coarse"] = _there(view.coarse, source, step)
    fields[source.called] = field_at(source.mean, step, source.path)
    if view.truth:
        fields["truth"] = _there(view.truth, source, step)
    spread = source.spread
    wide = None if spread is None else field_at(spread, step, source.path)
    return Moment(step, date, fields, wide)


def _there(other: Source, source: Source, step: int) -> xr.DataArray:
    return field_at(other.mean, step_beside(other, source, step), other.path)


def listed(names: Sequence[str]) -> str:
    """Join names for a sentence.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b or c'
    """
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
