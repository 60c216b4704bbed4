"""Successive halving: all learned solvers get a slice of the time, the better half the next one.

All are compiled first, in order, as far as half of the time goes. Karnin, Koren & Somekh, "Almost
optimal exploration in multi-armed bandits", ICML 2013. A slice is counted in seconds, or in
meta-steps, and then nothing depends on a clock. After each slice a solver is judged on the
validation problems, and the best version of it is kept.
"""

import contextlib
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

COMPILING = 0.5  # of the time of the race, after which no other solver is begun
Judge = Callable[[Candidate, AbstractOptimizer], Row]  # on the validation problems


class Runner:
    """A learned candidate in the race, with the best version of it so far."""

    def __init__(self, candidate: Candidate, key: Key):
        self.candidate, self.key = candidate, key
        self.training: Training | None = None
        self.opt: AbstractOptimizer | None = None
        self.row: Row | None = None
        self.fault, self.seconds = "", 0.0

    @property
    def steps(self) -> int:
        return 0 if self.training is None else self.training.steps

    def merit(self, by: By) -> tuple[float, float, float]:
        """As of its row; the last of all before it has one."""
        return (math.inf, math.inf, math.inf) if self.row is None else merit(self.row, by)

    def advance(self, judge: Judge, used: Used) -> None:
        """Train on until the slice is `used`, and judge; what goes wrong is kept as `fault`."""
        with self.counted():
            if self.training is None:
                raise ValueError("there is nothing to train")
            self.training.advance(used)
            opt = self.candidate.finish(self.training.opt)
            row = judge(self.candidate, opt)
            # Versions of one solver differ by their iterations alone.
            if self.row is None or merit(row, "iterations") < self.merit("iterations"):
                self.row, self.opt = row, opt

    def prepare(self, family: Family) -> None:
        """Make the optimizer and compile its training; what goes wrong is kept as `fault`."""
        with self.counted():
            self.training = begin(self.candidate, family, self.key)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count the seconds, and keep what is raised."""
        began = time.perf_counter()
        try:
            yield
        except Exception as error:  # whatever it is: the others go on, and the page tells of it
            self.fault = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
        self.seconds += time.perf_counter() - began


def race(
    candidates: Sequence[Candidate],
    family: Family,
    judge: Judge,
    retime: Callable[[Sequence[Runner]], None],
    allowance: "Allowance",
    by: By,
    key: Key,
    say: Callable[[str], None],
) -> list[Runner]:
    """Train by successive halving; all that took part, in the order given.

    - `judge`: the row of a solver on the validation problems
    - `retime`: renews the times in the rows of these
    - `by`: what decides between them
    """
    keys = jr.split(key, max(1, len(candidates)))
    runners = [Runner(candidate, key) for candidate, key in zip(candidates, keys, strict=False)]
    whole = allowance.left()
    for i, runner in enumerate(runners):
        if allowance.stopped() or (i and allowance.left() < (1 - COMPILING) * whole):
            break
        runner.prepare(family)
    alive = [runner for runner in runners if runner.training is not None]
    rounds = math.ceil(math.log2(max(1, len(alive)))) + 1
    say(f"{len(alive)} of {len(runners)} learned solvers are ready to train")
    for left in range(rounds, 0, -1):
        for runner, used in allowance.slices(alive, left):
            runner.advance(judge, used)
            say(told(runner))
        alive = [runner for runner in alive if not runner.fault]
        retime(alive)
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
            if self.over():
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
