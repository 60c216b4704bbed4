"""A secret that is looked up when it is needed and shown nowhere. Standard library only."""

import os
import re
from collections.abc import Callable

from .chat import ChatError

NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
SHORT = 8  # characters from which a key is a secret; "none" and "EMPTY" are not
HIDDEN = "[key]"


class Secret:
    """A key from an environment variable or a function, asked for anew at every use.

    - `source`: the *name* of an environment variable, such as "OPENAI_API_KEY", or a function that
      returns the key; None: there is none
    """

    def __init__(self, source: str | Callable[[], str] | None):
        named = isinstance(source, str) and NAME.fullmatch(source)
        if not (source is None or named or callable(source)):
            raise ValueError(
                "key must be the name of an environment variable in capital letters, such as "
                "'OPENAI_API_KEY', or a function that returns the key; what was given is not "
                "shown, since it may be the key itself."
            )
        self._source = source

    def __repr__(self) -> str:
        return "Secret()" if self._source is None else "Secret(…)"

    def __reduce__(self):
        raise TypeError("A secret is not written to a file; make the client anew.")

    def read(self) -> str | None:
        """The key; None if there is none. Raises ChatError where it cannot be sent."""
        if self._source is None:
            return None
        try:
            found = self._source() if callable(self._source) else os.environ.get(self._source)
        except Exception as error:  # its words may hold the key
            kind = type(error).__name__
            raise ChatError(f"The function that gives the key raised a {kind}.") from None
        if not found:
            raise ChatError(
                "There is no key: the environment variable that was named for it is not set, or is "
                "empty; set it, or name none for a server without keys."
            )
        if not isinstance(found, str) or re.search(r"[^!-~]", found := found.strip()):
            raise ChatError("The key holds characters that no header can; it is not shown.")
        return found


def hide(text: str, key: str | None) -> str:
    """The text with every place covered where the key stands in it."""
    return text.replace(key, HIDDEN) if key is not None and len(key) >= SHORT else text
