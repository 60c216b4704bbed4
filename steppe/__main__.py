"""`python -m steppe` and the command `steppe`."""

import os
import sys

from steppe.cli.main import main

STOPPED = (130, 143)  # exit codes after a signal


def command() -> None:
    """Run the command line and end the process."""
    code = main()
    if code in STOPPED:
        # XLA may be compiling or computing in other threads, which an orderly end would crash.
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    command()
