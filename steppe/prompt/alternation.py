"""The record of one problem tuned by gradients and proposals in turn, beside two rivals.

Gradients alone, and restarts at random by the same schedule, get as many gradients as the catalyst.
Only with both beside it, and over several seeds, can a gain be put down to a language model.
"""

import dataclasses
from typing import Annotated, Any, Literal

from ..store.untrusted import Between, Length
from .history import History, Number
from .pool import Count, Name

Proposer = Literal["llm", "random", "scripted", "echo"]
PROPOSERS: dict[Proposer, str] = {
    "llm": "a language model",
    "random": "chance",
    "scripted": "a script",
    "echo": "an echo of the best texts",
}
Positive = Annotated[float, Between(0, 1e300)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paid:
    """Calls, tokens, time and money that answers took.

    - `cost`: in the currency of the prices that were given; None: there were none
    """

    calls: Count = 0
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    seconds: Positive = 0.0
    cost: Positive | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """One way of tuning, and what came of it.

    - `test`: the loss of its best point on the split `test`, which nothing was chosen by; None
      where it is not finite or there is none
    """

    history: History
    test: Number = None

    @property
    def loss(self) -> Number:
        """The loss of its best point on the data that it was chosen by."""
        return self.history.best.loss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alternation:
    """All that a page tells.

    - `problem`, `optimizer`: what was tuned, and what made the gradient steps
    - `gradients`: for each way, at most; None: their number varies, so that there are no rivals at
      equal cost
    - `catalyst`, `alone`, `restart`: the way of the catalyst; gradients alone, and restarts at
      random, None where there is none to compare with
    - `found`: the best parameters or settings of the catalyst
    """

    problem: Name
    optimizer: Name
    proposer: Proposer
    model: Name
    rounds: Count
    steps: Count
    probation: Count
    candidates: Count
    seed: Count
    gradients: Count | None
    catalyst: Way
    alone: Way | None
    restart: Way | None
    found: Annotated[dict[Name, float | str | None], Length(1000)]
    paid: Paid
    seconds: Positive
    environment: dict[str, Any]

    @property
    def ways(self) -> dict[str, Way]:
        """The ways that were gone, by their names."""
        named = {
            "catalyst": self.catalyst,
            "gradients alone": self.alone,
            "random restart": self.restart,
        }
        return {name: way for name, way in named.items() if way is not None}

    @property
    def verdict(self) -> str:
        """The outcome in a sentence or two."""
        history = self.catalyst.history
        adopted = sum(made.adopted is not None for made in history.rounds)
        by = PROPOSERS[self.proposer]
        if history.best.who == "gradients":
            said = f"The lowest loss is {_told(self.catalyst.loss)}, found by gradients alone"
            said += ": no proposal led below it." if history.counts.asked else "."
        else:
            said = (
                f"With proposals by {by} the loss came down to {_told(self.catalyst.loss)}, "
                f"gradients alone in as many steps to {_told(history.alone)}; {adopted} of "
                f"{len(history.rounds)} rounds adopted one."
            )
        rivals = [
            f"{name} {_told(way.loss)}" for name, way in self.ways.items() if name != "catalyst"
        ]
        if rivals:
            said += f" With as many gradients in all: {', '.join(rivals)}."
        return said

    @property
    def price(self) -> str:
        """The calls and tokens of a model in a sentence."""
        used, paid = self.catalyst.history.counts.used, self.paid
        if self.proposer != "llm":
            return "No model was asked."
        about = "about " if used.estimated else ""
        said = (
            f"{used.calls} questions to {self.model}: {about}{used.prompt_tokens:,} tokens of "
            f"questions and {used.completion_tokens:,} of answers"
        )
        said += "" if paid.cost is None else f", at a cost of {paid.cost:.4g}"
        fresh = f"{paid.calls} of them now, in {paid.seconds:.0f} s"
        return f"{said}; {fresh if paid.calls else 'all answers were kept from before'}."


def _told(loss: Number) -> str:
    return "nothing finite" if loss is None else f"{loss:.5g}"
