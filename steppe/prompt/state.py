"""A run of the catalyst as values: its schedule, its state between two rounds, its outcome."""

import dataclasses
import math
from typing import Any

from ..core.arguments import whole
from .descent import Lane
from .history import Best, Counts, History, Look, Round
from .pool import Pool

LARGEST = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alternate:
    """When gradients go, and when a proposer is asked.

    - `rounds`: questions
    - `steps`: gradient steps before each, and after the last
    - `snapshots`: looks at the way of one stage
    - `probation`: steps until proposals are decided on; None: a quarter of `steps`
    - `gradients`: the most gradients of all lanes together; a round that might take more is left
      out, and the best lane takes what remains to the last one
    """

    rounds: int = 3
    steps: int = 50
    snapshots: int = 10
    probation: int | None = None
    gradients: int | None = None

    def __post_init__(self):
        whole("Alternate: rounds", self.rounds, least=0, most=LARGEST)
        whole("Alternate: steps", self.steps, least=0, most=LARGEST)
        whole("Alternate: snapshots", self.snapshots, least=1, most=LARGEST)
        for name in ("probation", "gradients"):
            if (value := getattr(self, name)) is not None:
                whole(f"Alternate: {name}", value, least=0, most=2**53)

    @property
    def trial(self) -> int:
        """Steps of a probation."""
        return -(-self.steps // 4) if self.probation is None else self.probation

    def rungs(self, challengers: int) -> list[int]:
        """Steps of each rung of a probation, after which the worse half is left out."""
        count = max(1, math.ceil(math.log2(max(1, challengers))))
        steps = [self.trial // count + (i < self.trial % count) for i in range(count)]
        return [step for step in steps if step]

    def most(self, candidates: int, lanes: int = 2) -> int:
        """Steps of all lanes together that a round takes at most.

        - `lanes`: that of gradients alone, and that of the catalyst where it is another
        """
        found, left = lanes * self.steps, candidates
        for rung in self.rungs(left):
            found += rung * (lanes + left)
            left = math.ceil(left / 2)
        return found

    def whole(self, candidates: int) -> int:
        """Steps of all lanes together that are enough for every round and the stage after."""
        return self.rounds * self.most(candidates) + self.steps

    def gaps(self, steps: int) -> list[int]:
        """Steps between two looks."""
        gap = max(1, self.steps // self.snapshots)
        return [gap] * (steps // gap) + ([steps % gap] if steps % gap else [])


@dataclasses.dataclass(frozen=True)
class State:
    """A run in flight.

    - `alone`: the lane of gradients alone
    - `current`: the lane that the catalyst is on; None: the same
    - `origin`: the text that it began from
    - `incumbent`: the lane of `best`, where it was then
    - `asking`: False once nobody is asked any more
    """

    alone: Lane
    current: Lane | None
    incumbent: Lane
    best: Best
    metrics: dict[str, float | None]
    origin: str = ""
    gradients: tuple[Look, ...] = ()
    currents: tuple[Look, ...] = ()
    pool: Pool = dataclasses.field(default_factory=Pool)
    rounds: tuple[Round, ...] = ()
    counts: Counts = dataclasses.field(default_factory=Counts)
    notes: tuple[str, ...] = ()
    asking: bool = True

    @property
    def lead(self) -> Lane:
        """The lane that proposals start beside."""
        return self.alone if self.current is None else self.current

    def history(self) -> History:
        """All that happened so far, as plain data."""
        finite = [loss for _, loss in self.gradients if loss is not None]
        return History(
            best=self.best,
            alone=min(finite, default=None),
            gradients=self.gradients,
            current=self.currents,
            rounds=self.rounds,
            pool=self.pool.records,
            counts=self.counts,
            notes=self.notes,
            metrics=self.metrics,
        )


@dataclasses.dataclass(frozen=True)
class Result:
    """The best parameters that were found, the state at the end, and the record."""

    params: Any
    state: State
    history: History

    @property
    def loss(self) -> float:
        """The loss on held-out data; ∞ where it was nowhere finite."""
        return math.inf if self.history.best.loss is None else self.history.best.loss

    @property
    def sentence(self) -> str:
        """The outcome in one sentence, and what went wrong."""
        history, counts = self.history, self.history.counts
        adopted = sum(r.adopted is not None for r in history.rounds)
        alone = "no finite loss" if history.alone is None else f"{history.alone:.6g}"
        gained = history.best.who != "gradients"
        found = (
            f"Loss {self.loss:.6g}, gradients alone {alone} in as many steps"
            if gained
            else f"Loss {self.loss:.6g}, that of gradients alone"
        )
        took = {
            "questions": counts.asked,
            "adopted": adopted,
            "gradients": counts.gradients,
            "evaluations": counts.evaluations,
        }
        said = ", ".join(f"{name} {x}" for name, x in took.items() if x is not None)
        notes = "".join(f" {note}" for note in history.notes)
        return f"{found} ({said}).{notes}"
