"""How good a prior is on what was held out from its training, and what to say where it is not."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from dpdm.errors import DpdmWarning
from dpdm.prior.model_card import ModelCard


def reference_ratios(scores: Mapping[str, Any]) -> dict[str, float]:
    """Return the held-out RMSE over that of the reference, by variable, as far as it is known.

    A header holds them by variable, or by test and then by variable.

    Example:
        >>> reference_ratios({"box": {"t2m": 0.34}, "Asia": {"t2m": "0.41, CRPS 0.31"}})
        {'t2m': 0.34}
    """
    for said in (scores, *scores.values()):
        if isinstance(said, Mapping) and said:
            numbers = {str(n): v for n, v in said.items() if isinstance(v, int | float)}
            if len(numbers) == len(said):
                return {n: float(v) for n, v in numbers.items() if math.isfinite(v)}
    return {}


def skill_warning(contract: ModelCard, scores: Mapping[str, Any]) -> str:
    """Return a sentence on a prior that is no better than its reference; empty if it is.

    Args:
        contract: What the prior was trained for.
        scores: Its scores on what was held out.
    """
    if "codes" in contract.net:
        return ""
    known = reference_ratios(scores)
    reference = "no prediction at all" if contract.states else "bilinear interpolation"
    worse = [f"{name} ({ratio:.3g})" for name, ratio in known.items() if ratio > 1]
    if worse:
        return (
            f"on held-out data the prior is worse than {reference}, by the ratio of their "
            f"RMSE: {', '.join(worse)}. Train it for longer or on more data."
        )
    if not known and not contract.states and not any(scores.values()):
        return f"no data were held out, so it is not known whether the prior beats {reference}."
    return ""


def warn_if_unskilled(contract: ModelCard, name: str) -> None:
    """Issue a `DpdmWarning` on a prior that is no better than its reference."""
    if said := skill_warning(contract, contract.scores):
        warnings.warn(f"{name}: {said}", DpdmWarning, 3)
