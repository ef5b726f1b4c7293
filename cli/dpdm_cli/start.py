"""Where the command starts: until it is imported, Ctrl-C ends it without a traceback."""

import os
import signal
import sys


def main() -> None:
    """Run the command dpdm."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job may ignore it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dpdm_cli.main import main as command

    try:
        command(prog_name="dpdm")
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            leave(end.code)
        raise


def leave(code: object) -> None:
    """End now: after an interrupt, Python's own end could wait for threads that do not end."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 1)
