"""Where words go: progress to stderr, results to stdout, and with --json nothing else there."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any


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


def finite(value: Any) -> Any:
    """The same with null for NaN and infinities, which JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): finite(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return value
