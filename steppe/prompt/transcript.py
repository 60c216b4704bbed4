"""A transcript: every question with its answer, every round with its scores, a line of JSON each.

Lines are written at once, hold no key, and are untrusted when they are read.
"""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from ..store.files import check_name, to_json
from ..store.lock import exclusive
from ..store.untrusted import Between, ByName, Length, Source, checked, parse_json, read_lines
from .chat import Message
from .history import Round, Words
from .pool import Count, Name, Text

MOST, LONGEST = 2**30, 16 * 2**20  # bytes of a file and of a line
Texts = Annotated[tuple[Text, ...], Length(10_000)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """A message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Length(4 * 2**20)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """One question to a model.

    - `round`, `attempt`: which it is; attempts after the first say what was wrong with the answer
    - `choices`: temperature and the like
    - `texts`: the answers as they came
    - `candidates`: what was read out of them; `cut`: those that were longer; `dropped`: what was
      left out, and why
    - `error`: why there is no answer, "" if there is one
    """

    round: Count
    attempt: Count
    model: Name
    messages: Annotated[tuple[Said, ...], Length(1000)]
    choices: dict[str, Any]
    request_hash: Name = ""
    texts: Annotated[tuple[Annotated[str, Length(4 * 2**20)], ...], Length(1000)] = ()
    candidates: Texts = ()
    cut: Texts = ()
    dropped: Annotated[tuple[tuple[Text, Name], ...], Length(10_000)] = ()
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    estimated: bool = False
    latency: Annotated[float, Between(0, 1e9)] = 0.0
    error: Words = ""
    kind: Literal["asked"] = "asked"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """One round of the catalyst."""

    round: Round
    best: float | None
    kind: Literal["judged"] = "judged"


Line = Asked | Judged
_LINES = Annotated[Any, ByName("kind", {"asked": Asked, "judged": Judged})]


class Transcript:
    """A file that lines are added to; its folder is made."""

    def __init__(self, path: str | os.PathLike):
        check_name(path)
        self.path = Path(path)

    def write(self, line: Line) -> None:
        """Add a line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = to_json(dataclasses.asdict(line)) + "\n"
        with open(self.path, "ab") as file, exclusive(file):
            file.write(text.encode())

    def lines(self) -> Iterator[Line]:
        """The lines so far. Raises FileError for what is none."""
        source = Source(str(self.path), "give a transcript of the catalyst")
        for number, line in read_lines(self.path, MOST, source, longest=LONGEST):
            part = source.part(f"line {number}")
            yield checked(parse_json(line, part), _LINES, part)


def said(messages: tuple[Message, ...]) -> tuple[Said, ...]:
    """The messages of a chat as a transcript has them."""
    return tuple(Said(role=message.role, content=message.content) for message in messages)
