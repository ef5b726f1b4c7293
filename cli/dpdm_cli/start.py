"""Start the command; Ctrl-C during the imports ends it without a traceback."""

import gc
import os
import signal
import sys


def main() -> None:
    """Run the command dpdm."""
    if (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):  # unless it is ignored, as in a background job
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.set_threshold(100_000)  # of 700: imports make no garbage, and took a tenth longer
    from dpdm_cli.main import main as command

    try:
        command(prog_name="dpdm")
    except SystemExit as end:
        if isinstance(end.__context__, KeyboardInterrupt):
            exit_now(end.code)
        raise


def exit_now(code: object) -> None:
    """Exit at once, since after an interrupt Python could wait for threads that do not end."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 1)
