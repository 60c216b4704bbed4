"""Limits for what is asked.

Before a question is sent, the most that it may take is set aside: the estimate of its own tokens,
and `max_tokens` for each answer; if that is not left, it is not sent. After the answer the true use
is booked. Costs are sums of whole tokens at a price, in exact fractions.
"""

import dataclasses
import threading
import time
from collections.abc import Callable
from fractions import Fraction

from ..core.arguments import real, whole
from .chat import AbstractClient, BudgetError, ChatResult, Request

MILLION = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that may be spent; None: as much as it takes.

    - `calls`: questions, however often each is tried
    - `prompt_tokens`, `completion_tokens`: of all questions and answers
    - `seconds`: of waiting for answers
    - `cost`: in the currency of `price`
    - `price`: of a million tokens of questions, and of answers
    """

    calls: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None
    cost: float | None = None
    price: tuple[float, float] | None = None

    def __post_init__(self):
        for name in ("calls", "prompt_tokens", "completion_tokens"):
            if (value := getattr(self, name)) is not None:
                whole(f"Budget: {name}", value, least=0, most=2**53)
        for name in ("seconds", "cost"):
            value = getattr(self, name)
            if value is not None and real(f"Budget: {name}", value) < 0:
                raise ValueError(f"Budget: {name} must not be negative, got {value}.")
        if self.cost is not None and self.price is None:
            raise ValueError("Budget: a limit of cost needs the price of a million tokens.")
        if self.price is not None:
            if not isinstance(self.price, tuple) or len(self.price) != 2:
                raise ValueError(f"Budget: price must be two numbers, got {self.price!r}.")
            if min(real("Budget: price", part) for part in self.price) < 0:
                raise ValueError(f"Budget: price must not be negative, got {self.price}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spent:
    """Calls, tokens, seconds and money that were used, in the units of `Budget`."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0


class BudgetedClient(AbstractClient):
    """`inner` within a budget. Raises BudgetError before a question that may be too much, and after
    an answer that was.

    Answers from a cache cost nothing. A question that fails is a call, and takes its seconds.
    """

    def __init__(
        self,
        inner: AbstractClient,
        budget: Budget,
        *,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.inner, self.budget, self._clock = inner, budget, clock
        self._spent, self._seconds = (0, 0, 0), 0.0  # calls, tokens of prompts and completions
        self._aside = (0, 0, 0)  # for questions that are on their way
        self._guard = threading.Lock()

    @property
    def model(self) -> str:
        return self.inner.model

    @property
    def spent(self) -> Spent:
        """The sums up to now."""
        with self._guard:
            calls, prompt, completion = self._spent
            return Spent(
                calls=calls,
                prompt_tokens=prompt,
                completion_tokens=completion,
                seconds=self._seconds,
                cost=float(self._cost(prompt, completion)),
            )

    def send(self, request: Request) -> ChatResult:
        most = (1, request.prompt_tokens, request.n * (request.max_tokens or 0))
        counted = self.budget.completion_tokens is not None or self.budget.cost is not None
        if counted and request.max_tokens is None:
            raise ValueError("A budget of answers needs `max_tokens` in every question.")
        with self._guard:
            self._check(_add(_add(self._spent, self._aside), most), "might be")
            request = self._hurried(request)
            self._aside = _add(self._aside, most)
        began, used = self._clock(), (1, 0, 0)
        try:
            result = self.inner.send(request)
            used = (1, result.usage.prompt, result.usage.completion)
            used = (0, 0, 0) if result.cached else used
        finally:
            with self._guard:
                self._aside = _add(self._aside, tuple(-x for x in most))
                self._spent = _add(self._spent, used)
                self._seconds += self._clock() - began if any(used) else 0.0
        with self._guard:
            self._check(self._spent, "is", result)
        return result

    def _check(self, total: tuple[int, ...], verb: str, result: ChatResult | None = None) -> None:
        calls, prompt, completion = total
        budget = self.budget
        for name, used, limit in (
            ("calls", calls, budget.calls),
            ("tokens of questions", prompt, budget.prompt_tokens),
            ("tokens of answers", completion, budget.completion_tokens),
        ):
            if limit is not None and used > limit:
                raise BudgetError(f"The budget of {limit} {name} {verb} exceeded: {used}.", result)
        cost = self._cost(prompt, completion)
        if budget.cost is not None and cost > Fraction(str(budget.cost)):
            raise BudgetError(
                f"The budget of cost, {budget.cost}, {verb} exceeded: {float(cost):.6g}.", result
            )

    def _hurried(self, request: Request) -> Request:
        """The question with the seconds that are left as its deadline."""
        if (limit := self.budget.seconds) is None:
            return request
        if (left := limit - self._seconds) <= 0:
            raise BudgetError(f"The budget of {limit:g} seconds is spent.")
        patience = left if request.patience is None else min(left, request.patience)
        return dataclasses.replace(request, patience=patience)

    def _cost(self, prompt: int, completion: int) -> Fraction:
        of_prompt, of_completion = map(Fraction, map(str, self.budget.price or (0, 0)))
        return (prompt * of_prompt + completion * of_completion) / MILLION


def _add(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, int, int]:
    calls, prompt, completion = (a + b for a, b in zip(x, y, strict=True))
    return calls, prompt, completion
