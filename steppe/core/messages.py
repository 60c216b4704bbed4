"""Sentences that error messages have in common. Standard library only."""

import difflib
from collections.abc import Iterable

EXTRAS = {  # as in pyproject.toml: what each brings
    "jax": ("jax", "jaxlib", "equinox", "optax", "jaxtyping", "numpy", "rich", "matplotlib"),
    "torch": ("torch",),
    "hub": ("huggingface_hub", "jinja2"),
}


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelled most like `name`; None if none comes near."""
    return next(iter(difflib.get_close_matches(str(name), list(known), n=1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """End a sentence about an unknown name: a suggestion, or the list of what is known.

    >>> did_you_mean("stpes", ["steps", "seed"])
    "did you mean 'steps'?"
    >>> did_you_mean("colour", ["steps", "seed"])
    'use one of steps, seed.'
    """
    known = list(known)
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"use one of {', '.join(known)}."


def at_least(least: float, owner: str, **values: float | tuple[float, ...] | None) -> None:
    """Raise ValueError for a number below `least`, alone or in a tuple. None passes.

    >>> at_least(1, "Wells", n=0)
    Traceback (most recent call last):
    ValueError: Wells: n must be at least 1, got 0.
    """
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(number is None or number >= least for number in numbers):
            raise ValueError(f"{owner}: {name} must be at least {least}, got {value}.")


def missing(error: ModuleNotFoundError) -> str:
    """One sentence about a package that is not installed.

    >>> missing(ModuleNotFoundError("No module named 'optax'", name="optax"))
    'This needs optax, which is not installed: pip install "steppe[jax]".'
    """
    package = (error.name or str(error)).partition(".")[0]
    extra = next((extra for extra, names in EXTRAS.items() if package in names), None)
    fix = f'pip install "steppe[{extra}]"' if extra else f"pip install {package}"
    return f"This needs {package}, which is not installed: {fix}."
