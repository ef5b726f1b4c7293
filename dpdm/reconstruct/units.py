"""Units of work: a step and a block of members, in an order that the plan alone decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Unit:
    """Some members of one step.

    Attributes:
        label: The step, as in ``1862-07``.
        first: Its first member.
        count: How many members; one field, if the mean is wanted alone.
    """

    label: str
    first: int
    count: int

    @property
    def name(self) -> str:
        """Say which it is, as in ``1862-07_000-010``."""
        return f"{self.label}_{self.first:03d}-{self.first + self.count - 1:03d}"

    @property
    def numbers(self) -> range:
        """Give the numbers of its members."""
        return range(self.first, self.first + self.count)


def units_of(label: str, members: int, block: int) -> list[Unit]:
    """Return the units of a step.

    Example:
        >>> [u.name for u in units_of("1862-07", 5, 3)]
        ['1862-07_000-002', '1862-07_003-004']
        >>> [u.name for u in units_of("1862-07", 0, 3)]
        ['1862-07_000-000']
    """
    whole = max(members, 1)
    return [Unit(label, at, min(block, whole - at)) for at in range(0, whole, block)]


def plan_of_work(labels: Sequence[str], members: int, block: int) -> list[Unit]:
    """Return all units, step by step."""
    return [unit for label in labels for unit in units_of(label, members, block)]
