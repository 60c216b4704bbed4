"""The solvers that are tried on a family, by its structure; each says why where it cannot be.

A candidate makes an optimizer for the family. A learned one has a `Training` besides, which goes on
from where it stopped, so that the better ones can be trained for longer.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import equinox as eqx
import jax
import jax.random as jr
import optax

from ..core.loss import Composite, LeastSquares
from ..core.optimizer import AbstractOptimizer
from ..core.regularizer import L1
from ..core.types import Key
from ..estimators.bptt import BPTT
from ..objectives.trajectory import Trajectory
from ..optimizers.classic.proximal import FISTA, ISTA
from ..optimizers.learned.math_l2o import MathL2O
from ..train.loop import compile_step
from ..train.step import start
from .family import Error, WithMinimum
from .record import Kind

EPISODES, LENGTH, HORIZON = 16, 20, 60  # of a meta-step, as for Math-L2O in its paper but for size
RATE = 3e-3


class Training(Protocol):
    """Training under way."""

    steps: int  # meta-steps done

    @property
    def opt(self) -> AbstractOptimizer:
        """The optimizer as it is now."""
        ...

    def advance(self, stop: Callable[[int], bool]) -> None:
        """Go on until `stop`(meta-steps of this call) is true; one meta-step at least."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A solver to try.

    - `make`: (family, key) → optimizer
    - `train`: (family, optimizer, key) → its training, None for one made by hand
    - `lacks`: family → what it lacks for this solver, "" if nothing
    - `safe`: it cannot diverge, by a proof, and needs no guard
    """

    name: str
    about: str
    make: Callable[["Family", Key], AbstractOptimizer]
    train: Callable[["Family", AbstractOptimizer, Key], Training] | None = None
    lacks: Callable[["Family"], str] = lambda family: ""
    safe: bool = True

    @property
    def kind(self) -> Kind:
        return "by hand" if self.train is None else "learned"


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of problems, as far as it is known before anything is tried.

    - `task`: the problems; `error`: what they are judged by
    - `loss`: that of one of them
    """

    task: WithMinimum
    error: Error
    loss: Composite

    @property
    def sparse(self) -> bool:
        """Least squares with ‖x‖₁."""
        return isinstance(self.loss.smooth, LeastSquares) and isinstance(self.loss.regularizer, L1)


class Unrolled:
    """Training by back-propagation through windows of a run, the losses on the way as objective."""

    def __init__(self, family: Family, opt: AbstractOptimizer, key: Key):
        task = family.task.task
        estimator = BPTT(EPISODES, LENGTH, HORIZON, together=EPISODES)
        objective, meta_tx = Trajectory("uniform", "log"), optax.adam(RATE)
        how = {"estimator": estimator, "objective": objective, "meta_tx": meta_tx}
        # One program in place of a hundred
        state = eqx.filter_jit(start)(task, opt, key=key, **how)
        compiled = compile_step(task, state, estimator, objective, meta_tx, None)
        self._step, self._state, _ = compiled
        self.steps = 0

    @property
    def opt(self) -> AbstractOptimizer:
        return self._state.opt

    def advance(self, stop: Callable[[int], bool]) -> None:
        done = 0
        while not done or not stop(done):
            self._state, stats = self._step(self._state)
            jax.block_until_ready(stats)
            self.steps, done = self.steps + 1, done + 1


def _math(monotone: bool) -> Callable[[Family, Key], AbstractOptimizer]:
    make = eqx.filter_jit(lambda key: MathL2O(monotone=monotone, key=key))
    return lambda family, key: make(key)


CANDIDATES: tuple[Candidate, ...] = (
    Candidate("ISTA", "proximal gradient, step 1/L", lambda family, key: ISTA()),
    Candidate(
        "FISTA + restart",
        "accelerated proximal gradient, step 1/L, momentum forgotten where it leads uphill",
        lambda family, key: FISTA(restart=True),
    ),
    Candidate(
        "Math-L2O",
        "an LSTM chooses step and momentum of each coordinate (PA, Liu et al. 2023)",
        _math(monotone=False),
        Unrolled,
        safe=False,
    ),
    Candidate(
        "Math-L2O, monotone",
        "the same, and no step raises the objective, whatever was learned",
        _math(monotone=True),
        Unrolled,
    ),
)


def begin(candidate: Candidate, family: Family, key: Key) -> Training | None:
    """The training of a candidate, compiled; None where there is nothing to train."""
    if candidate.train is None:
        return None
    key_make, key_train = jr.split(key)
    return candidate.train(family, candidate.make(family, key_make), key_train)
