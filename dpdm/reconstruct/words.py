"""Say in the keys of a plan what the commands say of their options."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dpdm.errors import DpdmError

PAIRS = (
    (r"--obs-var (\w+)=(\w+)", r'rename = { \2 = "\1" } in [observations]'),
    (r"--obs-units (\w+)='?([^'.]+)'?", r'units = { \1 = "\2" } in [observations]'),
    (r"--error (\w+)=(\w+)", r"error = { \1 = \2 } in [observations]"),
    (r"--obs-missing ([-+.\w]*\w)", r"missing = [\1] in [observations]"),
    (r"--missing ([-+.\w]*\w)", r"missing = [\1] in [input]"),
    (r"--var (\w+)=(\w+)", r'rename = { \2 = "\1" } in [input]'),
    (r"--units (\w+)=(?:'([^']+)'|([\w/]+))", r'units = { \1 = "\2\3" } in [input]'),
)
KEYS = {
    "draw": ("seed", "steps", "consistent"),
    "observations": ("guidance", "coarse-error", "error", "reject", "withhold"),
    "output": ("grid", "bbox", "statics"),
    "run": ("device",),
}


def in_keys(text: str) -> str:
    """Return a sentence with keys of the plan for options of commands.

    Example:
        >>> in_keys("Say which: --var t2m=tas.")
        'Say which: rename = { tas = "t2m" } in [input].'
        >>> in_keys("Leave out --grid or --bbox; see dpdm train --factor.")
        'Leave out grid in [output] or bbox in [output]; see dpdm train --factor.'
    """
    for option, key in PAIRS:
        text = re.sub(option, key, text)
    for section, names in KEYS.items():
        for name in names:
            key = f"{name.replace('-', '_')} in [{section}]"
            text = re.sub(rf"(?<!\S)--{name}(?![\w-])", key, text)
    return re.sub(r"(?<!\S)--prior(?![\w-])", "name in [prior]", text)


@contextmanager
def planned() -> Iterator[None]:
    """Let a fault speak of the plan."""
    try:
        yield
    except DpdmError as fault:
        raise DpdmError(in_keys(fault.what), in_keys(fault.hint), fault.code) from fault


def spoken(hours: float) -> str:
    """Return a time in the unit that suits it.

    Example:
        >>> [spoken(each) for each in (0.005, 0.2, 30, 720)]
        ['18 seconds', '12 minutes', '30.0 hours', '30.0 days']
    """
    if hours < 1:
        return f"{60 * hours:.0f} minutes" if hours > 1 / 30 else f"{3600 * hours:.0f} seconds"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"
