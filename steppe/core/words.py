"""Words that answers have in common. Standard library only."""

import difflib
from collections.abc import Iterable


def guess(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name.

    >>> guess("stpes", ["steps", "seed"])
    "did you mean 'steps'?"
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}."
