"""The arms of the study: what is meta-trained, how, and by what it is selected.

All start from the same untrained RNNProp of a seed and see problems of one law (W ~ N(0, σ²), σ
one of 0.1, 0.5 and 1), three at a time, for five windows of 20 steps. What is minimised is the sum
of the losses in a window; all take as many steps of Adam at 1e-3 (one arm: twice as many). The
weights of five moments are compared by the loss after 100 steps on held-out problems of that law,
*after* adaptation as in the judging, and the best are kept. That is so in all arms, also in those
that never adapt in training.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float, PyTree

from ...core import tree
from ...core.estimator import AbstractEstimator
from ...core.optimizer import AbstractOptimizer, split_meta
from ...core.rollout import episodes
from ...core.task import AbstractTask
from ...core.types import Key, Scalar
from ...estimators.adapted import Adapted
from ...estimators.bptt import BPTT
from ...objectives.trajectory import Trajectory
from ...optimizers.adaptable import Adaptable
from ...optimizers.learned.rnnprop import RNNProp
from ...tasks.synthetic.lasso import Lasso
from ...train.adapt import Adapter, Inner
from ...train.step import meta_step, start

SPREADS = (0.1, 0.5, 1.0)  # that are trained on
LANES, WINDOW, HORIZON = 3, 20, 100
RATE = 1e-3  # of Adam, in training and in adaptation
OBJECTIVE = Trajectory("sum", "identity")
LOOKS, JUDGES = 5, 8  # moments of selection, and the problems of each
LARGE = 0.1  # α that takes something off the loss of training
FIRST_RATE = 1e-2  # of adaptation, where it is learned
FASTER = 30.0  # steps of log-rates, so that 500 of them can change rates by orders of magnitude
JUDGED = 0x5E1EC7  # key of those problems


class Arm(NamedTuple):
    """Meta-training of an arm.

    - `estimator`: from the windows that all arms have
    - `gradients`: of a window, that one lane takes for one step of meta-training
    - `longer`: factor of the number of steps
    """

    estimator: Callable[[BPTT], AbstractEstimator]
    gradients: int = 2
    longer: int = 1


def plain(base: BPTT) -> AbstractEstimator:
    return base


LEARNED = "learned"
ARMS = {
    "transfer": Arm(plain, 1),
    "transfer-2x": Arm(plain, 1, 2),
    "next-0": Arm(lambda base: Adapted(base, 0.0, outer="next")),
    "next": Arm(lambda base: Adapted(base, 1e-3, outer="next")),
    "next-large": Arm(lambda base: Adapted(base, LARGE, outer="next")),
    "same": Arm(lambda base: Adapted(base, 1e-3)),
    "same-large": Arm(lambda base: Adapted(base, LARGE)),
    "adam": Arm(lambda base: Adapted(base, RATE, 5, inner="adam"), 6),
    LEARNED: Arm(lambda base: Adapted(base, 1e-3)),
    "second": Arm(lambda base: Adapted(base, 1e-3, order=2), 4),
    "second-large": Arm(lambda base: Adapted(base, LARGE, order=2), 4),
}


def problems(spread: float | tuple[float, ...], instances: int) -> Lasso:
    """The published family: ½‖Wx − y‖² + 0.005‖x‖₁ in 10 unknowns, y ~ U(−1, 1)."""
    return Lasso(10, instances, l1=0.005, start=0.01, labels="symmetric", spread=spread)


def untrained(arm: str, seed: int | Scalar) -> AbstractOptimizer:
    opt = RNNProp(key=jr.key(seed))
    return Adaptable(opt, FIRST_RATE) if arm == LEARNED else opt


def inner(arm: str) -> Inner:
    """Plain descent for rates that were learned, as in meta-training; Adam, as published, else."""
    return "sgd" if arm == LEARNED else "adam"


def adapter(inner: Inner, updates: int) -> Adapter:
    """Adaptation before judging: a window of 20 steps an update, a problem every five."""
    return Adapter(BPTT(1, WINDOW, HORIZON, stagger=False), updates, RATE, inner)


class Trained(NamedTuple):
    """An optimizer after meta-training.

    - `score`: of selection, mean ln loss
    - `gain`: share of the loss that adaptation takes off in training, mean over the last fifth
    """

    opt: AbstractOptimizer
    score: Scalar
    gain: Scalar


@eqx.filter_jit
def trained(arm: str, seed: Scalar, instances: int, updates: int) -> Trained:
    """The optimizer of an arm after meta-training."""
    how, task = ARMS[arm], problems(SPREADS, instances)
    estimator = how.estimator(BPTT(LANES, WINDOW, HORIZON, stagger=False))
    key, meta_tx = jr.fold_in(jr.key(seed), 1), optax.adam(RATE)
    opt = untrained(arm, seed)
    began = start(task, opt, estimator=estimator, objective=OBJECTIVE, meta_tx=meta_tx, key=key)
    arrays, static = eqx.partition(began, eqx.is_array)

    def step(arrays, _):
        state = eqx.combine(arrays, static)
        scale = faster_rates(state.opt)
        after, stats = meta_step(task, state, estimator, OBJECTIVE, meta_tx, scale=scale)
        gain = stats.parts.get("adapted_gain", jnp.zeros(())) / stats.loss
        return eqx.filter(after, eqx.is_array), gain

    def look(carry, _):
        arrays, best, least = carry
        arrays, gains = jax.lax.scan(step, arrays, length=how.longer * updates // LOOKS)
        now = eqx.combine(arrays, static).opt
        found = score(inner(arm), task, now)
        best = tree.select(found < least, eqx.filter(now, eqx.is_array), best)
        return (arrays, best, jnp.minimum(found, least)), gains

    first = eqx.filter(began.opt, eqx.is_array)
    carry = arrays, first, jnp.asarray(jnp.inf)
    (_, best, least), gains = jax.lax.scan(look, carry, length=LOOKS)
    opt = eqx.combine(best, eqx.filter(began.opt, eqx.is_array, inverse=True))
    return Trained(opt, least, jnp.nanmean(gains[-1]))


def faster_rates(opt: AbstractOptimizer) -> PyTree | None:
    """Factors of an update: learned rates, whose logarithms are trained, need larger steps."""
    if not isinstance(opt, Adaptable):
        return None
    ones = jtu.tree_map(jnp.ones_like, split_meta(opt)[0])
    return eqx.tree_at(lambda o: o.log_rates, ones, FASTER * jnp.ones_like(opt.log_rates))


@functools.cache
def made(
    arm: str, seed: int, instances: int, updates: int
) -> tuple[AbstractOptimizer, dict[str, Any]]:
    """The optimizer of an arm, and what its meta-training took and showed.

    `window_gradients` counts gradients of a window, one episode each.
    """
    how, found = ARMS[arm], trained(arm, jnp.asarray(seed), instances, updates)
    about = {
        "score": float(found.score),
        "gain": float(found.gain),
        "window_gradients": LANES * how.gradients * how.longer * updates,
    }
    return found.opt, about


def score(inner: Inner, task: Lasso, opt: AbstractOptimizer) -> Scalar:
    """Mean over held-out problems of ln loss after 100 steps, adapted to each before."""
    adapt = adapter(inner, 5)

    def one(key: Key) -> Scalar:
        own = adapt.to_instance(task, opt, OBJECTIVE, key)
        return jnp.log(losses(task, own, key[None], HORIZON)[0, -1])

    found = jax.lax.map(one, jr.split(jr.key(JUDGED), JUDGES))
    return jnp.where(jnp.isfinite(mean := jnp.mean(found)), mean, jnp.inf)


def losses(
    task: AbstractTask, opt: AbstractOptimizer, keys: Key, steps: int
) -> Float[Array, "episodes steps"]:
    """The loss after every step of episodes."""
    look, value = lambda *_: (), lambda step: step.value
    return episodes(task, opt, keys, steps, look, observe=value, batch_size=len(keys)).steps
