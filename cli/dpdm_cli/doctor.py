"""dpdm doctor."""

import sys

import click

from dpdm_cli.console import echo


@click.command(epilog="Example: dpdm doctor")
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
