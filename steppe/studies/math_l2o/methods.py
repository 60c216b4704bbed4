"""The solvers of the study: made, and where they are learned, meta-trained.

Meta-training is a fifth of the published one: Adam, 64 fresh problems at a time, 100 iterations
each in windows of 20, the loss of a window being the mean objective after each of its iterations.
The weights with the least mean objective over 100 iterations of 256 other problems are kept.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import optax

from ...core.optimizer import AbstractOptimizer
from ...core.rollout import episodes
from ...core.task import AbstractTask
from ...core.types import Key, Scalar
from ...estimators.bptt import BPTT
from ...objectives.trajectory import Trajectory
from ...optimizers.classic.proximal import FISTA, ISTA
from ...optimizers.learned.dm import DM
from ...optimizers.learned.go_math_l2o import GoMathL2O
from ...optimizers.learned.math_l2o import MathL2O
from ...optimizers.learned.rnnprop import RNNProp
from ...train.step import TrainState, meta_step, start

LANES, WINDOW, HORIZON = 64, 20, 100
OBJECTIVE = Trajectory("uniform", "identity")
LOOKS, JUDGES = 5, 256  # validations, and the problems of each
TUNING = 0x7E57  # key of the problems that steps are tuned on


class Learned(NamedTuple):
    make: Callable[[Key], AbstractOptimizer]
    rate: float  # of Adam


LEARNED = {
    "pa": Learned(lambda key: MathL2O(("p", "a"), key=key), 1e-2),
    "p": Learned(lambda key: MathL2O(("p",), key=key), 1e-2),
    "a": Learned(lambda key: MathL2O(("a",), key=key), 1e-2),
    "pa-monotone": Learned(lambda key: MathL2O(("p", "a"), monotone=True, key=key), 1e-2),
    "go": Learned(lambda key: GoMathL2O(key=key), 1e-2),
    "rnnprop": Learned(lambda key: RNNProp(scale=0.1, key=key), 3e-3),
    "dm": Learned(lambda key: DM(scale=0.1, key=key), 1e-2),
    "pa-logistic": Learned(lambda key: MathL2O(("p", "a"), key=key), 3e-3),
}
CLASSICAL: dict[str, Callable[[float], AbstractOptimizer]] = {
    "ista": ISTA,
    "fista-plain": lambda step: FISTA(),
    "fista": FISTA,
    "fista-restart": lambda step: FISTA(step, restart=True),
}
STEPS = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 1.95)  # in units of 1/L, tried for the classical ones


def tuned(name: str, task: AbstractTask) -> tuple[AbstractOptimizer, float]:
    """The classical method with the step of the best score on the task, and that score."""
    steps = (1.0,) if name == "fista-plain" else STEPS
    found = {step: score(task, CLASSICAL[name](step), jr.key(TUNING)) for step in steps}
    best = min(steps, key=lambda step: found[step])
    return CLASSICAL[name](best), found[best]


def trained(
    name: str, task: AbstractTask, updates: int, seed: int
) -> tuple[AbstractOptimizer, float]:
    """The optimizer after meta-training, and its score."""
    how = LEARNED[name]
    key_opt, key_train, key_judge = jr.split(jr.key(seed), 3)
    estimator = BPTT(LANES, WINDOW, HORIZON, stagger=False, together=LANES)
    meta_tx = optax.adam(how.rate)
    state = start(
        task,
        how.make(key_opt),
        estimator=estimator,
        objective=OBJECTIVE,
        meta_tx=meta_tx,
        key=key_train,
    )

    @eqx.filter_jit
    def advance(state: TrainState) -> TrainState:
        arrays, static = eqx.partition(state, eqx.is_array)

        def step(arrays, _):
            after, _ = meta_step(task, eqx.combine(arrays, static), estimator, OBJECTIVE, meta_tx)
            return eqx.filter(after, eqx.is_array), None

        arrays, _ = jax.lax.scan(step, arrays, length=updates // LOOKS)
        return eqx.combine(arrays, static)

    best, least = state.opt, math.inf
    for _ in range(LOOKS):
        state = advance(state)
        if (found := score(task, state.opt, key_judge)) < least:
            best, least = state.opt, found
    return best, least


def score(task: AbstractTask, opt: AbstractOptimizer, key: Key) -> float:
    """Mean objective over iterations 0 … 99 and problems; infinite if one diverged."""
    found = float(_score(task, opt, key))
    return found if math.isfinite(found) else math.inf


@eqx.filter_jit
def _score(task: AbstractTask, opt: AbstractOptimizer, key: Key) -> Scalar:
    keys, nothing, value = jr.split(key, JUDGES), lambda *_: (), lambda step: step.value
    found = episodes(task, opt, keys, HORIZON, nothing, observe=value, batch_size=JUDGES)
    return jnp.mean(found.steps)
