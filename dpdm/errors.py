"""The one way dpdm says no: a sentence that names the fault, and one that says what to do.

What may be right is done, with a `DpdmWarning`.
"""


class DpdmError(Exception):
    """Report a fault that the user can mend.

    Args:
        what: What is wrong, with the file, the variable and the value.
        hint: What to do about it.
        code: With which the command ends.

    Example:
        >>> str(DpdmError("a.nc holds no latitude.", "Name it lat or latitude."))
        'a.nc holds no latitude. Name it lat or latitude.'
    """

    def __init__(self, what: str, hint: str = "", code: int = 1) -> None:
        super().__init__(what, hint)
        self.what = what
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        return f"{self.what} {self.hint}".strip()


class DpdmWarning(UserWarning):
    """Tell of what is possible, and unlikely; a command prints it in one line."""
