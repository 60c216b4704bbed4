"""The pool: every text that was scored, and those that a model is shown."""

import dataclasses
import math
import random
from collections.abc import Mapping
from typing import Annotated, Literal

from ..store.untrusted import Between, Length
from .parse import fold

Source = Literal["gradient", "proposal", "user"]
Count = Annotated[int, Between(0, 2**53)]
Text = Annotated[str, Length(20_000)]
Name = Annotated[str, Length(200)]


@dataclasses.dataclass(frozen=True)
class Scored:
    """A text and its score.

    - `loss`: at what the text stands for, on held-out data, or less that of going on as before
      where texts say how to go on; None if it is not finite
    - `metrics`: further numbers there, such as the accuracy
    - `source`: who wrote it: the projection of a gradient's way, a proposal, a user
    - `round`, `step`: when
    """

    text: Text
    loss: float | None
    metrics: Mapping[Name, float | None] = dataclasses.field(default_factory=dict)
    source: Source = "user"
    round: Count = 0
    step: Count = 0


@dataclasses.dataclass(frozen=True)
class Pool:
    """Scored texts in the order of their coming, each once.

    - `asked`: how often a proposer was asked so far
    """

    records: tuple[Scored, ...] = ()
    asked: int = 0
    folded: frozenset[str] = frozenset()  # the texts, as they are compared

    @classmethod
    def of(cls, *records: Scored) -> "Pool":
        """A pool of these records; of equal texts the first."""
        pool = cls()
        for record in records:
            pool = pool.add(record)
        return pool

    def add(self, record: Scored) -> "Pool":
        """The pool with one record more, if its text is new."""
        if record.text in self:
            return self
        loss = record.loss if record.loss is not None and math.isfinite(record.loss) else None
        records = (*self.records, dataclasses.replace(record, loss=loss))
        return dataclasses.replace(self, records=records, folded=self.folded | {fold(record.text)})

    def __contains__(self, text: str) -> bool:
        return fold(text) in self.folded

    def __len__(self) -> int:
        return len(self.records)

    def shuffled(self, seed: int) -> "Pool":
        """The pool with its scores dealt out anew among the texts: a control without knowledge."""
        scores = [(record.loss, record.metrics) for record in self.records]
        random.Random(f"{seed} {self.asked}").shuffle(scores)
        records = tuple(
            dataclasses.replace(record, loss=loss, metrics=metrics)
            for record, (loss, metrics) in zip(self.records, scores, strict=True)
        )
        return dataclasses.replace(self, records=records)

    def best(self, k: int) -> list[Scored]:
        """The k records of the lowest loss, the lowest first; of equal ones the earlier."""
        finite = [record for record in self.records if record.loss is not None]
        return sorted(finite, key=lambda record: record.loss)[:k]  # pyright: ignore

    def shown(self, top: int, recent: int) -> list[Scored]:
        """The best `top` and up to `recent` of the newest others, the worst first."""
        best = self.best(top)
        finite = [record for record in self.records if record.loss is not None]
        newest = [record for record in reversed(finite) if record not in best][:recent]
        # Reversed before the stable sort: of equal losses, the earlier stands nearer to the end.
        order = {id(record): i for i, record in enumerate(self.records)}
        return sorted(best + newest, key=lambda r: (-r.loss, -order[id(r)]))  # pyright: ignore
