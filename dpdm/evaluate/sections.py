"""Choose the further sections of a table: joint scores and climate indices."""

from __future__ import annotations

from dataclasses import dataclass, field

from dpdm.errors import DpdmError
from dpdm.evaluate.comparison import Comparison, Snapshot
from dpdm.evaluate.indices import IndexScores
from dpdm.evaluate.joint import JointScores
from dpdm.evaluate.metrics import INDICES, JOINT_SECTION
from dpdm.evaluate.table import Section

SECTIONS: dict[str, type[IndexScores] | type[JointScores]] = {
    INDICES: IndexScores,
    JOINT_SECTION: JointScores,
}
MAX_VARIABLES = 8  # with joint scores that are not required: pairs grow with the square
MAX_MEMORY = 1e9  # bytes of a section that is not required


@dataclass(frozen=True)
class SectionChoice:
    """The sections to compute.

    Attributes:
        printed: Sections of the text; an evaluation that cannot have one of them is refused.
        has_all: Whether to compute the others too where they apply, for the JSON and the report.
    """

    printed: frozenset[str] = frozenset()
    has_all: bool = False


@dataclass
class RunningSections:
    """The sections of an evaluation, as they accumulate.

    Attributes:
        choice: Which of them are printed.
        running: The scores, by section.
        absent: Why others are left out.
    """

    choice: SectionChoice
    running: dict[str, JointScores | IndexScores] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def add(self, snapshot: Snapshot) -> None:
        """Add one variable at one time."""
        for scores in self.running.values():
            scores.add(snapshot)

    def close(self) -> dict[str, Section]:
        """Return the sections after the last time."""
        sections = {
            name: Section(
                scores.rows(), scores.columns(), scores.notes(), name in self.choice.printed
            )
            for name, scores in self.running.items()
        }
        return sections | {name: Section(notes=[why]) for name, why in self.absent.items()}


def start_sections(comparison: Comparison, choice: SectionChoice) -> RunningSections:
    """Start the sections that are printed, and the others that apply at little cost."""
    sections = RunningSections(choice)
    for name, kind in SECTIONS.items():
        if name in choice.printed:
            sections.running[name] = kind(comparison)
        elif choice.has_all:
            try:
                refuse_large(comparison, name)
                sections.running[name] = kind(comparison)
            except DpdmError as error:
                sections.absent[name] = f"Left out, {name}: {error.what}"
    return sections


def refuse_large(comparison: Comparison, name: str) -> None:
    """Refuse a section that takes much memory or time, for the user has not required it."""
    size = SECTIONS[name].memory(comparison)
    if size > MAX_MEMORY:
        raise DpdmError(f"it takes {size / 1e9:.1f} GB; --{name} computes it.")
    if name == JOINT_SECTION and len(comparison.names) > MAX_VARIABLES:
        raise DpdmError(f"{len(comparison.names)} variables are many; --{name} computes it.")
