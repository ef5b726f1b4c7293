"""Name keys of a plan in errors, in place of the options of other commands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from dpdm.errors import DpdmError

OPTION_PATTERNS = (
    (r"--bbox ([-\d.]+),([-\d.]+),([-\d.]+),([-\d]+)", r"bbox = [\1, \2, \3, \4] in [output]"),
    (r"--grid TARGET\.nc", 'grid = "TARGET.nc" in [output]'),
    (r"--coarse COARSE\.nc", 'files = ["COARSE.nc"] in [input]'),
    (r"--stations LIST\.csv", 'stations = "LIST.csv" in [observations]'),
    (r"--climatology FILE", 'climatology = "FILE" in [prior]'),
    (
        r"--climatology-period ([\d-]+),([\d-]+)",
        r'climatology_period = ["\1", "\2"] in [prior]',
    ),
    (r"give its files: --reference FILE\.nc", "add its files to files in [input]"),
    ("leave out --reference-period", 'set method = "none" in [adjust]'),
    (r"--method (\w+)", r'method = "\1" in [adjust]'),
    ("--reference-period", "reference in [adjust]"),
    (r"--out-units (\w+)=([^\s,]+)", r'units = { \1 = "\2" } in [output]'),
    (r"--obs-var (\w+)=(\w+)", r'var = { \1 = "\2" } in [observations]'),
    (r"--obs-units (\w+)='?([^'.]+)'?", r'units = { \1 = "\2" } in [observations]'),
    (r"--error (\w+)=(\w+)", r"error = { \1 = \2 } in [observations]"),
    (r"--obs-missing ([-+.\w]*\w)", r"missing = [\1] in [observations]"),
    (r"--missing ([-+.\w]*\w)", r"missing = [\1] in [input]"),
    (r"--var (\w+)=(\w+)", r'var = { \1 = "\2" } in [input]'),
    (r"--units (\w+)=(?:'([^']+)'|([\w/]+))", r'units = { \1 = "\2\3" } in [input]'),
)
PLAN_KEYS = {
    "draw": ("seed", "steps", "consistent"),
    "observations": ("guidance", "coarse-error", "error", "reject", "withhold", "withhold-blocks"),
    "output": ("grid", "bbox", "statics"),
    "run": ("device",),
    "prior": ("climatology", "climatology-period"),
}


def name_plan_keys(text: str) -> str:
    """Return a sentence with keys of the plan in place of command options.

    Example:
        >>> name_plan_keys("Name it: --var t2m=tas.")
        'Name it: var = { t2m = "tas" } in [input].'
        >>> name_plan_keys("Leave out --grid or --bbox; see dpdm train --factor.")
        'Leave out grid in [output] or bbox in [output]; see dpdm train --factor.'
    """
    for option, key in OPTION_PATTERNS:
        text = re.sub(option, key, text)
    for section, names in PLAN_KEYS.items():
        for name in names:
            key = f"{name.replace('-', '_')} in [{section}]"
            text = re.sub(rf"(?<!\S)--{name}(?![\w-])", key, text)
    return re.sub(r"(?<!\S)--prior(?![\w-])", "name in [prior]", text)


@contextmanager
def translate_errors() -> Iterator[None]:
    """Name keys of the plan, not options, in errors."""
    try:
        yield
    except DpdmError as error:
        details = tuple(map(name_plan_keys, error.details))
        raise DpdmError(
            name_plan_keys(error.what), name_plan_keys(error.hint), error.code, details
        ) from error
