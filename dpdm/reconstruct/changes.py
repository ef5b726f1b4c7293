"""Notice what changed since the last run, before it mixes with what is done.

A fingerprint is a flat mapping of all that decides values. Where it differs from the ledger's, or
the input of a step that is done does, or a product is gone, the run is refused and the difference
named; the user may accept it, which the ledger records, unless it would not fit the products that
there are. What is gone is then drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dpdm.errors import DpdmError
from dpdm.reconstruct.ledger import Ledger
from dpdm.reconstruct.setting import Setting

FIXED = ("grid", "variables", "draw.members", "output.layout", "output.keep", "output.quantiles")
WORDS = {
    "dpdm": "the version of dpdm", "prior_sha256": "the prior", "grid": "the grid",
    "statics": "the relief or land mask", "variables": "the variables or their units",
}  # fmt: skip


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what two fingerprints differ in, a sentence each.

    Example:
        >>> differences({"draw.seed": 0, "dpdm": "1"}, {"draw.seed": 7, "dpdm": "1"})
        ['draw.seed was 0 and is 7']
    """
    keys = [*before, *(k for k in after if k not in before)]
    return [
        f"{WORDS.get(key, key)} was {_short(before.get(key))} and is {_short(after.get(key))}"
        for key in keys
        if before.get(key) != after.get(key)
    ]


def _short(said: object) -> str:
    text = str(said)
    return text if len(text) < 60 else f"{text[:12]}..."


def check(setting: Setting, ledger: Ledger, accept: bool) -> dict[str, Any]:
    """Return the fingerprint, if it and the inputs are what they were, or the user accepts.

    Raises:
        DpdmError: When they are not.
    """
    mark = setting.fingerprint()
    before, lost = ledger.fingerprint, lost_products(ledger)
    changed = differences(before, mark) if before else []
    fixed = [key for key in FIXED if before and before.get(key) != mark.get(key)]
    if fixed:
        raise DpdmError(
            f"{_listed(differences(*({k: m.get(k) for k in fixed} for m in (before, mark))))}; "
            f"the products in {ledger.path.parent} are of another shape.",
            "Reconstruct into another folder.",
        )
    inputs = setting.inputs()
    changed += of_inputs(setting, ledger, inputs) + [f"{product} is gone" for product in lost]
    if changed and not accept:
        raise DpdmError(
            f"Since {ledger.path.parent} was begun, {_listed(changed)}.",
            "Undo that, take another folder, or say --accept-change: what is done then stays as "
            "it is, the rest follows the change, and the ledger says so.",
        )
    if changed:
        ledger.append("change", differences=changed)
    if lost:
        ledger.append("lost", products=lost)
    if inputs != ledger.inputs:
        ledger.append("inputs", sha256=inputs)
    return mark


def lost_products(ledger: Ledger) -> list[str]:
    """Return the products that are there no more; of a store, all of its steps or none.

    Raises:
        DpdmError: When products are there, and the ledger is not.
    """
    folder = ledger.path.parent
    if not ledger.path.exists() and any(folder.glob("fine[_.]*")):
        raise DpdmError(
            f"{folder} holds products, and its {ledger.path.name} is gone.",
            "Take it from a backup, or reconstruct into another folder.",
        )
    fields = (product for product in ledger.products if product.startswith("fine"))
    return [product for product in fields if not (folder / product.split("/")[0]).exists()]


def _listed(differences: list[str]) -> str:
    some = "; ".join(differences[:3])
    return f"{some}; and {len(differences) - 3} more" if len(differences) > 3 else some


def of_inputs(setting: Setting, ledger: Ledger, inputs: Mapping[str, str]) -> list[str]:
    """Return the steps that are done and whose input is another now.

    They are read only where a file is another than it was.
    """
    if not ledger.digests or inputs == ledger.inputs:
        return []
    found = []
    for label, digest in ledger.digests.items():
        if label in setting.series.labels:
            now = setting.digest(setting.work(setting.units_of(label)[0]))
            if now != digest:
                found.append(f"the input of {label} was {_short(digest)} and is {_short(now)}")
                ledger.digests[label] = now
    return found
