"""How a command fails: one sentence on stderr and an exit code."""

import difflib
from collections.abc import Iterable


class BadInput(Exception):
    """What the user gave cannot be used; exit code 2."""


class Failed(Exception):
    """The command ran and found a failure; exit code 1."""


def guess(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name.

    >>> guess("stpes", ["steps", "seed"])
    "did you mean 'steps'?"
    """
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}."
