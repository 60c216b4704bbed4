"""Sentences that error messages have in common. Standard library only."""

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Number

from .arguments import real, whole

BASE = (  # as in pyproject.toml: what comes with steppe, unless it was installed with --no-deps
    "jax", "jaxlib", "equinox", "optax", "jaxtyping", "numpy", "scipy", "rich", "matplotlib",
    "jinja2", "sklearn", "PIL",
)  # fmt: skip
EXTRAS = {  # what each brings on top
    "torch": ("torch",),
    "hub": ("huggingface_hub",),
    "data": ("mlxtend",),
    "tensorboard": ("tensorboardX",),
    "symbolic": ("pyoperon",),
    "swarm": ("evosax",),
    "text": ("tokenizers",),
}


LARGEST = 2**31 - 1  # of counts: the counters of compiled programs have 32 bits
FEW = 12  # names that a sentence can list; half as many where there is more to see
LIKE = 0.6  # share of letters in common from which a name is taken for a slip of another
MARGIN = 0.08  # of that share, within which two names are equally near


def nearness(name: str, other: str) -> float:
    """Share of letters that two names have in common, in order; the case does not count."""
    return difflib.SequenceMatcher(None, other.lower(), str(name).lower()).ratio()


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is spelled most like `name`; None if none comes near."""
    best = max(known, key=lambda other: nearness(name, other), default=None)
    return None if best is None or nearness(name, best) < LIKE else best


def did_you_mean(name: str, known: Iterable[str], see: str = "") -> str:
    """End a sentence about an unknown name: a suggestion, or names that are known.

    - `see`: what to look at where there are more names than a sentence can list

    >>> did_you_mean("stpes", ["steps", "seed"])
    "did you mean 'steps'?"
    >>> did_you_mean("colour", ["steps", "seed"])
    'use one of steps, seed.'
    >>> did_you_mean("digits", ["digits-mlp", "digits-cnn", "bowl"], see="`steppe list`")
    "did you mean 'digits-mlp' or 'digits-cnn'?"
    >>> did_you_mean("bow", [f"task-{i}" for i in range(90)], see="`steppe list`")
    "the closest are 'task-0', 'task-1' and 'task-2'; see `steppe list`."
    """
    known = list(known)
    shares = {other: nearness(name, other) for other in known}
    ranked = sorted(known, key=lambda other: -shares[other])
    best = shares[ranked[0]] if ranked else 0.0
    if best >= LIKE:
        near = [repr(other) for other in ranked[:3] if shares[other] > best - MARGIN]
        return f"did you mean {_enumerated(near, 'or')}?"
    if len(known) <= (FEW // 2 if see else FEW):
        return f"use one of {', '.join(known)}."
    three = _enumerated([repr(other) for other in ranked[:3]], "and")
    return f"the closest are {three}" + (f"; see {see}." if see else ".")


def _enumerated(words: list[str], last: str) -> str:
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def brief(value: object) -> str:
    """Python's words for a value, cut short where they are long.

    >>> brief("a\\n"), len(brief("a" * 999))
    ("'a\\\\n'", 101)
    """
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "…"


def at_least(least: int, owner: str, **values: object) -> None:
    """Raise ValueError unless these are whole numbers from `least` on, alone or in tuples.

    None passes, and so do arrays, whose values may not be known.

    >>> at_least(1, "Wells", n=0)
    Traceback (most recent call last):
    ValueError: Wells: n must be at least 1, got 0.
    >>> at_least(1, "Wells", n=2.5)
    Traceback (most recent call last):
    ValueError: Wells: n must be a whole number from 1 to 2147483647, got 2.5.
    """
    for name, value in values.items():
        for number in value if isinstance(value, tuple | list) else (value,):
            if number is None or _is_array(number):
                continue
            if type(number) is int and -LARGEST <= number < least:
                raise ValueError(f"{owner}: {name} must be at least {least}, got {value}.")
            whole(f"{owner}: {name}", number, least=least, most=LARGEST)


def reals(owner: str, *, finite: bool = True, **values: object) -> None:
    """Raise ValueError unless these are finite numbers, alone or in tuples.

    - `finite`: False lets NaN and infinity pass, where their range is checked anyway

    None passes, and so do arrays, whose values may not be known.

    >>> reals("Wells", spread="wide")
    Traceback (most recent call last):
    ValueError: Wells: spread must be a finite number, got 'wide'.
    """
    for name, value in values.items():
        for number in value if isinstance(value, tuple | list) else (value,):
            odd = isinstance(number, float) and not math.isfinite(number)
            if not (number is None or _is_array(number) or (odd and not finite)):
                real(f"{owner}: {name}", number)


def is_whole(x: object) -> bool:
    """True for a whole number that a counter of a compiled program holds."""
    return isinstance(x, Integral) and not isinstance(x, bool) and abs(int(x)) <= LARGEST


def _is_array(x: object) -> bool:
    """True for an array, of no dimensions too; a scalar of NumPy is a number."""
    return hasattr(x, "dtype") and not isinstance(x, Number)


def missing(error: ModuleNotFoundError) -> str:
    """One sentence about a package that is not installed.

    >>> missing(ModuleNotFoundError("No module named 'optax'", name="optax"))
    'This needs optax, which is not installed: pip install steppe.'
    """
    package = (error.name or str(error)).partition(".")[0]
    extra = next((extra for extra, names in EXTRAS.items() if package in names), None)
    fix = f'pip install "steppe[{extra}]"' if extra else f"pip install {package}"
    fix = "pip install steppe" if package in BASE else fix
    return f"This needs {package}, which is not installed: {fix}."
