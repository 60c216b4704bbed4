"""Numbers that a user gives: taken as what they should be, or refused in one sentence.

    n = whole("n", n, least=1)                  3, np.int64(3); not True, 3.0, "3"
    delta = real("delta", delta)                0.1, np.float32(0.1), 1; not True, "0.1", NaN

Standard library only.
"""

import math
import operator
import reprlib
from collections.abc import Iterable
from types import UnionType


def whole(what: str, x: object, *, least: int, most: int) -> int:
    """The whole number x in least … most, of any integer type but bool.

    - `what`: its name in the message

    >>> whole("n", 2.5, least=1, most=9)
    Traceback (most recent call last):
    ValueError: n must be a whole number from 1 to 9, got 2.5.
    """
    try:
        found = None if _is_bool(x) else operator.index(x)  # pyright: ignore[reportArgumentType]
    except TypeError:
        found = None
    if found is None or not least <= found <= most:
        raise ValueError(f"{what} must be a whole number from {least} to {most}, got {told(x)}.")
    return found


def real(what: str, x: object, *, expected: str = "a finite number") -> float:
    """The finite number x, of any real type but bool.

    - `what`: its name in the message
    - `expected`: what it must be, in the message

    >>> real("A tolerance", "0.1")
    Traceback (most recent call last):
    ValueError: A tolerance must be a finite number, got '0.1'.
    """
    try:
        wrong = _is_bool(x) or isinstance(x, str | bytes | complex)
        found = math.nan if wrong else float(x)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{what} must be {expected}, got {told(x)}.")
    return found


class KindError(TypeError, ValueError):
    """A value is not of the kind that is needed."""


def check_list(what: str, given: object) -> None:
    """Refuse what has not several items: a number, None; a text, too."""
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ValueError(f"{what} must be a list, got {told(given)}.")


def expect_kind(what: str, x: object, kind: type | UnionType, instead: str) -> None:
    """Refuse what is not of a class; a class in place of an object of it, too.

    - `what`: its name in the message
    - `instead`: what to give

    >>> expect_kind("fit: task", "lasso", dict, "a task")
    Traceback (most recent call last):
    steppe.core.arguments.KindError: fit: task must be a task, got 'lasso'.
    >>> expect_kind("fit: task", dict, dict, "a task")
    Traceback (most recent call last):
    steppe.core.arguments.KindError: fit: task must be a task, got the class dict itself; call it.
    """
    if isinstance(x, kind):
        return
    of_class = isinstance(x, type)
    got = f"the class {x.__name__} itself; call it" if of_class else told(x)  # pyright: ignore
    raise KindError(f"{what} must be {instead}, got {got}.")


def told(x: object) -> str:
    """A value in a few words, however large it is.

    >>> told(10**400), told("a"), told(True)
    ('a whole number of 1329 bits', "'a'", 'True')
    """
    if isinstance(x, int) and x.bit_length() > 64:
        return f"a whole number of {x.bit_length()} bits"
    return " ".join(reprlib.repr(x).split())


def _is_bool(x: object) -> bool:
    return isinstance(x, bool) or getattr(getattr(x, "dtype", None), "kind", "") == "b"
