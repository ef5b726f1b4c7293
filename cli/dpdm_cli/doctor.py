"""dpdm doctor."""

import sys

from dpdm_cli.command import command
from dpdm_cli.console import echo


@command(
    "dpdm doctor",
    "dpdm doctor --log doctor.log",
)
def doctor() -> None:
    """Check the installation and devices, run a numerical self-test, and suggest fixes.

    Exits 3 if a check fails.
    """
    from dpdm.doctor import run_checks

    checks = run_checks()
    for check in checks:
        echo(f"{'ok  ' if check.passed else 'FAIL'}  {check.name}: {check.detail}")
        if not check.passed:
            echo(f"      {check.hint}")
    sys.exit(0 if all(check.passed for check in checks) else 3)
