"""Training in slices: it goes on from where it stopped, and knows how much of a slice is used.

- `first`: back-propagation through the first iterations, by the logarithm of the error
- `windows`: truncated back-propagation through long runs, for rules that go on for ever
- `Tried`: a grid of a few numbers
- `Layered`: layer by layer in the first slice, all layers together in the next ones, for networks
"""

import math
from collections.abc import Callable
from typing import Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float

from ..core.episode import Episode, Step
from ..core.objective import AbstractObjective, Score, Weights, weighted
from ..core.optimizer import AbstractOptimizer, split_meta
from ..core.task import AbstractTask, Problem
from ..core.types import Key, Scalar
from ..estimators.bptt import BPTT
from ..estimators.whole import Whole
from ..evaluation.search import search
from ..objectives.supervised import Supervised
from ..objectives.trajectory import Trajectory
from ..optimizers.learned.step_fista import StepFISTA
from ..optimizers.unrolled.hyperlista import HyperLISTA
from ..train.curriculum import Stage
from ..train.layerwise import Layerwise, Span, natural_rate, unrolled
from ..train.loop import compile_step
from ..train.step import start
from .family import Error, Family

FEW, QUICK = 32, 0.05  # episodes and rate of `first`
FLOOR = 1e-9  # of a gap, so that its logarithm is finite
EPISODES, LENGTH, HORIZON, RATE = 16, 20, 60, 3e-3  # of `windows`
WIDE = 64  # episodes of `Layered`
ALONE = 0.4  # of a layer's share: the newest layer is trained alone
LOWER = 0.2  # times the rate when all are trained

Used = Callable[[int], float]  # meta-steps of this slice → share of it that is used


class Training(Protocol):
    """Training under way."""

    @property
    def steps(self) -> int:
        """Meta-steps done."""
        ...

    @property
    def opt(self) -> AbstractOptimizer:
        """The optimizer as it is now."""
        ...

    def advance(self, used: Used) -> None:
        """Train until `used` is 1 or more; one meta-step at least."""


class Run:
    """One compiled meta-step and the state that it carries on; training that is always alike."""

    def __init__(
        self, task: AbstractTask, opt: AbstractOptimizer, stage: Stage, rate: float, key: Key
    ):
        meta_tx, self.steps, self._stage = optax.adam(rate), 0, stage
        estimator, objective = stage.estimator, stage.objective
        how = {"estimator": estimator, "objective": objective, "meta_tx": meta_tx}
        # One program in place of a hundred
        self._state = eqx.filter_jit(start)(task, opt, key=key, **how)
        self._fresh = self._state.meta_state
        self._step, self._state, _ = compile_step(
            task, self._state, estimator, objective, meta_tx, None, stage=stage
        )

    @property
    def opt(self) -> AbstractOptimizer:
        return self._state.opt

    def begin(self, stage: Stage) -> None:
        """Begin a stage that differs from the first by its arrays, with a fresh meta-optimizer."""
        self._stage = stage
        self._state = eqx.tree_at(lambda s: s.meta_state, self._state, self._fresh)

    def advance(self, used: Used) -> None:
        done, part, stage = 0, 0.0, self._stage
        while not done or part < 1:
            if stage.scale is not None:  # at a falling rate, so that a slice ends where it is quiet
                falls = lambda leaf, part=part: leaf * max(1 - part, 0.02)
                scale = jtu.tree_map(falls, stage.scale)
                self._stage = eqx.tree_at(lambda s: s.scale, stage, scale)
            self.step()
            done += 1
            part = used(done)
        self._stage = stage

    def step(self) -> None:
        """One meta-step."""
        self._state, stats = self._step(self._state, self._stage)
        jax.block_until_ready(stats)
        self.steps += 1


class LogError(AbstractObjective):
    """Weighted logarithms of the error after each step of an unroll, of a `WithMinimum`.

    - `error`: "gap", or "nmse" in units of 10 / ln 10 dB
    - `weights`: see `core.objective.weighted`
    """

    error: Error = eqx.field(static=True, default="gap")
    weights: Weights = "ramp"

    def start(self, problem: Problem, episode: Episode, *, key: Key) -> tuple[()]:
        return ()

    def observe(self, step: Step, memo: tuple[()]) -> Scalar:
        family, after = step.problem.task, step.after
        found = getattr(family, self.error)(after.params, after.instance)
        return found * (math.log(10) / 10) if self.error == "nmse" else jnp.log(found + FLOOR)

    def __call__(
        self,
        task: AbstractTask,
        episode: Episode,
        obs: Float[Array, " length"],
        memo: tuple[()],
        *,
        key: Key,
    ) -> Score:
        return Score(weighted(obs, self.weights, "LogError"), memo, {})


def first(family: Family, opt: StepFISTA, key: Key) -> Training:
    """Back-propagation through as many iterations as the optimizer has numbers for."""
    whole = jtu.tree_map(lambda leaf: jnp.ones((), leaf.dtype), split_meta(opt)[0])
    stage = Stage(Whole(FEW, opt.layers), LogError(family.error), scale=whole)
    return Run(family.task, opt, stage, QUICK, key)


def windows(family: Family, opt: AbstractOptimizer, key: Key) -> Training:
    """Truncated back-propagation, the logarithms of the losses on the way as objective."""
    estimator = BPTT(EPISODES, LENGTH, HORIZON, together=EPISODES)
    stage = Stage(estimator, Trajectory("uniform", "log"))
    return Run(family.task.task, opt, stage, RATE, key)


class Layered:
    """Layers one after the other, each alone and then with all before it; see `train.layerwise`.

    The distance to the truth is brought down for recovery, else the loss, after the newest layer.
    """

    def __init__(self, family: Family, opt: AbstractOptimizer, key: Key):
        network = unrolled(opt, "Layered")
        self._layers, self._again = network.layers, False
        both = [(Span(k, k), Span(1, k, LOWER)) for k in range(1, self._layers + 1)]
        spans = Layerwise([span for pair in both for span in pair])
        estimator = Whole(WIDE, self._layers, self._layers)  # of fewer layers at first
        objective = Supervised("last") if family.error == "nmse" else Trajectory("last", "identity")
        self._at = lambda number: spans.stage(number, estimator, objective, network)
        self._run = Run(family.task.task, network, self._at(0), natural_rate(network), key)

    @property
    def steps(self) -> int:
        return self._run.steps

    @property
    def opt(self) -> AbstractOptimizer:
        return self._run.opt

    def advance(self, used: Used) -> None:
        done, part, last = 0, 0.0, -1
        while not done or part < 1:
            number = 2 * self._layers - 1 if self._again else self._place(part)
            if number != last:
                self._run.begin(self._at(number))
            self._run.step()
            done, last = done + 1, number
            part = used(done)
        self._again = True

    def _place(self, part: float) -> int:
        """The stage at this part of the first slice."""
        layer, within = divmod(part * self._layers, 1)
        return 2 * min(int(layer), self._layers - 1) + (within >= ALONE)


class Tried:
    """All points of a grid of its numbers, on the same problems: done in the first slice."""

    def __init__(self, family: Family, opt: HyperLISTA, key: Key):
        self.opt: AbstractOptimizer = opt
        self._next, self.steps = (family, opt, key), 0

    def advance(self, used: Used) -> None:
        if not self.steps:
            family, opt, key = self._next
            grid = opt.candidates()
            self.opt, found = search(
                family.task.task, opt, grid, horizon=opt.layers, key=key, by="recovery"
            )
            self.steps = len(found.scores)
