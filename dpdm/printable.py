"""Text of files as it can be shown, whatever it holds."""

import re

# What a terminal obeys instead of showing it: control characters, C1 too, and those that turn the
# direction of writing; and what stands for bytes that are no text.
OBEYED = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Return a text with what a terminal would obey written as escapes.

    Example:
        >>> printable("a\x1b[31m red\r")
        'a\\x1b[31m red\\r'
    """
    return OBEYED.sub(lambda found: ascii(found[0])[1:-1], text)
