"""Successive halving: all learned solvers get a slice of the time, the better half the next one.

Karnin, Koren & Somekh, "Almost optimal exploration in multi-armed bandits", ICML 2013. A slice is
counted in seconds, compiling included, or in meta-steps, and then nothing depends on a clock. After
each slice a solver is judged on the validation problems, and the best version of it is kept.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax.random as jr

from ..core.optimizer import AbstractOptimizer
from ..core.types import Key
from .candidates import Candidate, begin
from .family import Family
from .record import By, Row, merit
from .training import Training, Used

Judge = Callable[[Candidate, AbstractOptimizer], Row]  # on the validation problems


class Runner:
    """A learned candidate in the race, with the best version of it so far."""

    def __init__(self, candidate: Candidate, key: Key):
        self.candidate, self.key = candidate, key
        self.training: Training | None = None
        self.opt: AbstractOptimizer | None = None
        self.row: Row | None = None
        self.fault, self.seconds, self.compiling = "", 0.0, 0.0

    @property
    def steps(self) -> int:
        return 0 if self.training is None else self.training.steps

    def merit(self, by: By) -> tuple[float, float, float]:
        """As of its row; the last of all before it has one."""
        return (math.inf, math.inf, math.inf) if self.row is None else merit(self.row, by)

    def advance(self, family: Family, judge: Judge, used: Used, by: By) -> None:
        """Train on until the slice is `used`, and judge; what goes wrong is kept as `fault`."""
        began = time.perf_counter()
        try:
            if self.training is None:
                self.training = begin(self.candidate, family, self.key)
                self.compiling = time.perf_counter() - began
            if self.training is None:
                raise ValueError("there is nothing to train")
            self.training.advance(used)
            opt = self.candidate.finish(self.training.opt)
            row = judge(self.candidate, opt)
            if self.row is None or merit(row, by) < self.merit(by):
                self.row, self.opt = row, opt
        except Exception as error:  # whatever it is: the others go on, and the page tells of it
            self.fault = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        self.seconds += time.perf_counter() - began


def race(
    candidates: Sequence[Candidate],
    family: Family,
    judge: Judge,
    allowance: "Allowance",
    by: By,
    key: Key,
    say: Callable[[str], None],
) -> list[Runner]:
    """Train by successive halving; all that took part, in the order given."""
    keys = jr.split(key, max(1, len(candidates)))
    runners = [Runner(candidate, key) for candidate, key in zip(candidates, keys, strict=False)]
    alive, rounds = list(runners), math.ceil(math.log2(max(1, len(runners)))) + 1
    for left in range(rounds, 0, -1):
        for runner, used in allowance.slices(alive, left):
            runner.advance(family, judge, used, by)
            say(told(runner))
        alive = [runner for runner in alive if not runner.fault]
        alive.sort(key=lambda runner: runner.merit(by))
        alive = alive[: max(1, math.ceil(len(alive) / 2))]
        if not alive or allowance.over():
            break
    return runners


class Allowance:
    """Seconds, or meta-steps, that training may take in all.

    - `until`: time (of `perf_counter`) at which it ends; None: by meta-steps
    - `steps`: meta-steps of each candidate in each round, where no clock counts
    - `stopped`: True once the user wants an end
    """

    def __init__(self, until: float | None, steps: int, stopped: Callable[[], bool]):
        self.until, self.steps, self.stopped = until, steps, stopped

    def left(self) -> float:
        return math.inf if self.until is None else self.until - time.perf_counter()

    def over(self) -> bool:
        return self.stopped() or self.left() <= 0

    def slices(self, alive: Sequence[Runner], rounds: int) -> Iterator[tuple[Runner, Used]]:
        """Each runner, and what is used of its slice: an equal share of the rest of the round."""
        end = None if self.until is None else self.left() / rounds + time.perf_counter()
        for i, runner in enumerate(alive):
            # A program as long to compile as the longest so far would not be ready in time.
            longest = max(other.compiling for other in alive)
            if self.over() or (runner.training is None and longest > self.left()):
                return
            now = time.perf_counter()
            share = None if end is None else max((end - now) / (len(alive) - i), 1e-9)
            yield runner, lambda done, now=now, share=share: self._used(done, now, share)

    def _used(self, done: int, began: float, share: float | None) -> float:
        if self.stopped():
            return 1.0
        return done / self.steps if share is None else (time.perf_counter() - began) / share


def told(runner: Runner) -> str:
    """A line about a runner after its slice."""
    if runner.fault:
        return f"{runner.candidate.name}: left out. {runner.fault}"
    row = runner.row
    reached = 0.0 if row is None else row.reached[-1]
    return (
        f"{runner.candidate.name}: {runner.steps} meta-steps in {runner.seconds:.0f} s, "
        f"{reached:.0%} of problems solved"
    )
