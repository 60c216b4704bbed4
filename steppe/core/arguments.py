"""Numbers that a user gives: taken as what they should be, or refused in one sentence.

    n = whole("n", n, least=1)                  3, np.int64(3); not True, 3.0, "3"
    delta = real("delta", delta)                0.1, np.float32(0.1), 1; not True, "0.1", NaN

Standard library only.
"""

import math
import operator
import reprlib


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
