"""Words that answers have in common. Standard library only."""

import difflib
from collections.abc import Iterable

EXTRAS = {  # as in pyproject.toml: what each brings
    "jax": ("jax", "jaxlib", "equinox", "optax", "jaxtyping", "numpy", "rich", "matplotlib"),
    "torch": ("torch",),
    "hub": ("huggingface_hub", "jinja2"),
}


def guess(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name.

    >>> guess("stpes", ["steps", "seed"])
    "did you mean 'steps'?"
    """
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}."


def missing(error: ModuleNotFoundError) -> str:
    """One sentence about a package that is not installed.

    >>> missing(ModuleNotFoundError("No module named 'optax'", name="optax"))
    'This needs optax, which is not installed: pip install "steppe[jax]".'
    """
    package = (error.name or str(error)).partition(".")[0]
    extra = next((extra for extra, names in EXTRAS.items() if package in names), None)
    fix = f'pip install "steppe[{extra}]"' if extra else f"pip install {package}"
    return f"This needs {package}, which is not installed: {fix}."
