"""Names of the units of work: some members of one step each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class WorkUnit:
    """Some members of one step.

    Attributes:
        label: Label of the step, as in ``1862-07``.
        first: Its first member.
        count: Number of members; 1 for the mean only.
    """

    label: str
    first: int
    count: int

    @property
    def name(self) -> str:
        """Return the name of the unit, as in ``1862-07_000-010``."""
        return f"{self.label}_{self.first:03d}-{self.first + self.count - 1:03d}"

    @property
    def numbers(self) -> range:
        """Return the numbers of its members."""
        return range(self.first, self.first + self.count)


def step_units(label: str, members: int, block: int) -> list[WorkUnit]:
    """Return the units of a step.

    Example:
        >>> [u.name for u in step_units("1862-07", 5, 3)]
        ['1862-07_000-002', '1862-07_003-004']
        >>> [u.name for u in step_units("1862-07", 0, 3)]
        ['1862-07_000-000']
    """
    count = max(members, 1)
    return [WorkUnit(label, at, min(block, count - at)) for at in range(0, count, block)]


def list_work_units(labels: Sequence[str], members: int, block: int) -> list[WorkUnit]:
    """Return all units, step by step."""
    return [unit for label in labels for unit in step_units(label, members, block)]
