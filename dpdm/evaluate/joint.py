"""Score variables together: energy and variogram score, and errors of their correlations.

Each variable is standardised (`standards`). Only methods that have all variables are scored, on
the cells that no method misses in any variable.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from dpdm.errors import DpdmError
from dpdm.evaluate import joint_metrics  # noqa: F401  # registers the scores
from dpdm.evaluate.comparison import Comparison, Snapshot
from dpdm.evaluate.joint_fields import join_snapshots
from dpdm.evaluate.metrics import (
    FIELDS,
    JOINT,
    JOINT_MEMBERS,
    JOINT_SECTION,
    MEMBERS,
    Metric,
    Row,
    Scores,
    column_metrics,
    compute_statistics,
    group_by_method,
    method_rows,
    metric_notes,
)
from dpdm.evaluate.standards import make_standards


class JointScores:
    """The joint scores of an evaluation, step by step.

    Raises:
        DpdmError: There are fewer than two variables, or one is constant.
    """

    def __init__(self, comparison: Comparison) -> None:
        if len(comparison.names) < 2:
            raise DpdmError(
                "Joint scores need two variables or more, and the forecast and the truth share "
                f"{comparison.names[0]} alone.",
                "Omit --joint, or give files that share another variable.",
            )
        self.comparison = comparison
        self.standards = make_standards(comparison)
        self.snapshots: list[Snapshot] = []
        self.steps: list[Scores] = []

    @staticmethod
    def memory(comparison: Comparison) -> float:
        """Return the bytes of the members of all variables at one time."""
        members = comparison.forecast.sizes.get("realization", 1)
        return 8.0 * len(comparison.names) * members * comparison.weights.size

    def add(self, snapshot: Snapshot) -> None:
        """Add one variable at one time, and score the time with its last variable."""
        self.snapshots.append(snapshot)
        if len(self.snapshots) == len(self.comparison.names):
            self._score_step(self.snapshots)
            self.snapshots = []

    def _score_step(self, snapshots: Sequence[Snapshot]) -> None:
        """Score the fields of all variables at one time."""
        methods, members = join_snapshots(self.comparison, self.standards, snapshots)
        scores = {FIELDS: compute_statistics(methods, JOINT)}
        if members is not None:
            scores[MEMBERS] = compute_statistics(members, JOINT_MEMBERS)
        self.steps.append(scores)

    def rows(self) -> list[Row]:
        """Return a row of joint scores for each method that has all variables."""
        about = {"variables": self.comparison.names, "units": "1"}
        rows = method_rows(group_by_method(self.steps), np.nan)
        return [about | row | name_correlations(row, self.comparison.names) for row in rows]

    def columns(self) -> list[Metric]:
        """Return the columns of the joint scores."""
        return column_metrics(JOINT_SECTION)

    def notes(self) -> list[str]:
        """Return notes on how the joint scores were computed, a sentence each."""
        deviations = ", ".join(
            f"{name} {standard.deviation:.3g} {self.comparison.truth[name].attrs.get('units', '')}"
            for name, standard in self.standards.items()
        )
        pooled = any(standard.mean is not None for standard in self.standards.values())
        origin = "the truth's mean over cells and times" if pooled else "what ACC refers to"
        return [
            f"Joint scores: of anomalies from {origin}, over their standard deviation in the "
            f"truth ({deviations}).",
            *metric_notes(JOINT_SECTION),
        ]


def name_correlations(row: Row, names: Sequence[str]) -> Row:
    """Return the correlations of a row by the pair of variables."""
    if "correlations" not in row:
        return {}
    pairs = [f"{one}, {other}" for one, other in combinations(names, 2)]
    return {"correlations": {
        pair: {"forecast": ours, "truth": true}
        for pair, (ours, true) in zip(pairs, row["correlations"], strict=True)
    }}  # fmt: skip
