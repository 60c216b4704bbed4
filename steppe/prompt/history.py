"""The record of a run of the catalyst: plain data, from which pages and comparisons are made."""

import dataclasses
import math
from typing import Annotated, Literal

from ..store.untrusted import Length
from .pool import Count, Name, Scored, Text

Number = float | None
Look = tuple[Count, Number]  # gradient steps along a way, and the loss there
Looks = Annotated[tuple[Look, ...], Length(1_000_000)]
Who = Literal["gradients", "current", "proposal"]
Words = Annotated[str, Length(20_000)]


@dataclasses.dataclass(frozen=True)
class Used:
    """Calls and tokens of a proposer.

    - `calls`: questions to a model, those that failed too
    - `estimated`: some tokens were not counted by the server
    """

    calls: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    estimated: bool = False

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.estimated or other.estimated,
        )

    def __sub__(self, other: "Used") -> "Used":
        return Used(
            self.calls - other.calls,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.estimated,
        )


@dataclasses.dataclass(frozen=True)
class Contender:
    """One that takes part in a probation.

    - `who`: gradients alone; the way that the catalyst is on; or a proposal
    - `losses`: at its start, and after each of its rungs
    """

    who: Who
    text: Text
    losses: Annotated[tuple[Number, ...], Length(1000)]


@dataclasses.dataclass(frozen=True)
class Round:
    """One round: a stage of gradients, and a question if one was asked.

    - `step`: gradient steps of gradients alone at its end
    - `proposals`: texts as they were given
    - `unreadable`: those that the codec could not read, and why
    - `adopted`: the text that the catalyst goes on from; None: none was better
    - `error`: the sentence why there was no answer, "" if there was
    """

    number: Count
    step: Count
    proposals: Annotated[tuple[Text, ...], Length(10_000)] = ()
    unreadable: Annotated[tuple[tuple[Text, Words], ...], Length(10_000)] = ()
    contenders: Annotated[tuple[Contender, ...], Length(10_000)] = ()
    adopted: Text | None = None
    error: Words = ""


@dataclasses.dataclass(frozen=True)
class Counts:
    """Steps, gradients, evaluations and questions of a run.

    - `steps`: optimizer's steps along all ways together
    - `gradients`: those times the gradients of one; None where their number varies
    - `evaluations`: of the loss on held-out data
    - `nonfinite`: evaluations that were not finite
    - `failures`: questions without an answer
    """

    steps: Count = 0
    gradients: Count | None = 0
    evaluations: Count = 0
    nonfinite: Count = 0
    asked: Count = 0
    failures: Count = 0
    used: Used = Used()


@dataclasses.dataclass(frozen=True)
class Best:
    """The incumbent: where the lowest loss on held-out data was found.

    - `text`: what it begins from, or is, where it comes from a proposal; "" from gradients alone
    """

    loss: Number
    step: Count
    who: Who
    text: Text = ""


@dataclasses.dataclass(frozen=True)
class History:
    """All that happened.

    - `gradients`: losses along gradients alone; `current`: along the way of the catalyst, where it
      is another
    - `alone`: the lowest of `gradients`, with which `best` is to be compared
    - `notes`: sentences for whoever reads it
    """

    best: Best
    alone: Number
    gradients: Looks
    current: Looks
    rounds: Annotated[tuple[Round, ...], Length(100_000)]
    pool: Annotated[tuple[Scored, ...], Length(1_000_000)]
    counts: Counts
    notes: Annotated[tuple[Words, ...], Length(10_000)]
    metrics: dict[Name, Number] = dataclasses.field(default_factory=dict)


def plain(loss: float) -> Number:
    """The number, None if it is not finite."""
    return loss if math.isfinite(loss) else None
