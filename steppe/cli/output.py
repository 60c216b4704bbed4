"""Progress goes to stderr, results to stdout; with --json nothing else goes there."""

import json
import sys
from collections.abc import Callable

from ..runs.folder import finite


def speaker(quiet: bool) -> Callable[[str], None]:
    """A function for progress notes; with `quiet` it says nothing."""

    def say(text: str) -> None:
        if not quiet:
            print(text, file=sys.stderr, flush=True)

    return say


def document(content: object) -> None:
    """One JSON document on stdout."""
    text = json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False, default=str)
    print(text)
