"""Try to break what an optimizer claims of itself: run it on random problems, from its weights.

    smooth + l1 ‖x‖₁ + l2 ‖x‖²/2,   smooth: ½‖Ax − b‖², or the mean logistic loss of labels

Matrices, weights and starts are of sizes from 0.01 to 100 of one another, in float64. A proof does
not need it; code may have a fault where the proof has none, and weights of a file are anyone's.
"""

from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core.loss import AbstractLoss, Composite, LeastSquares, Logistic
from ..core.optimizer import AbstractOptimizer
from ..core.regularizer import ElasticNet
from ..core.rollout import episodes
from ..core.task import AbstractFormula
from ..core.types import Key, Scalar

PROBLEMS, STEPS = 64, 100
ROWS, UNKNOWNS = 8, 12
ROUNDING = 1e-12  # of the objective, by which it may rise where it is taken anew


class Either(AbstractLoss):
    """½‖Ax − b‖², or the mean logistic loss where b is read as labels."""

    squares: LeastSquares
    odds: Logistic
    labels: Bool[Array, ""]

    def __call__(self, params: Float[Array, " n"]) -> Scalar:
        return jnp.where(self.labels, self.odds(params), self.squares(params))


class Drawn(eqx.Module):
    """One problem, and the size of its start."""

    loss: Composite
    size: Scalar


class Anything(AbstractFormula):
    """Problems of all sizes, of both kinds."""

    def sample(self, key: Key) -> Drawn:
        key_A, key_b, key_sizes, key_kind = jr.split(key, 4)
        a, b, l1, l2, size = 10 ** jr.uniform(key_sizes, (5,), minval=-2.0, maxval=2.0)
        A = a * jr.normal(key_A, (ROWS, UNKNOWNS))
        b = b * jr.normal(key_b, (ROWS,))
        smooth = Either(
            LeastSquares(A, b), Logistic(A, jnp.where(b > 0, 1.0, 0.0)), jr.bernoulli(key_kind)
        )
        L = smooth.squares.lipschitz() / jnp.where(smooth.labels, 4 * ROWS, 1)
        regularizer = ElasticNet(l1 * L / 100, jnp.where(l2 < 1, 0, l2 * L / 100))
        return Drawn(Composite(smooth, regularizer, L), size)

    def init(self, instance: Drawn, key: Key) -> Float[Array, " n"]:
        return instance.size * jr.normal(key, (UNKNOWNS,))

    def loss(self, instance: Drawn, batch: tuple[()], key: Key) -> Composite:
        return instance.loss

    def target(self, instance: Drawn) -> None:
        return None

    def metrics(self, params, instance, batch, key) -> dict[str, Scalar]:
        return {}


def rises(opt: AbstractOptimizer, seed: int = 0) -> tuple[int, int]:
    """The steps that raised the objective, or left it no number, and all that were taken."""
    with jax.enable_x64(True):
        found = np.asarray(_values(Anything(), opt, jr.split(jr.key(seed), PROBLEMS)))
    before, after = found[:, :-1], found[:, 1:]
    return int(np.sum(~(after <= before + ROUNDING * np.abs(before)))), before.size


@eqx.filter_jit
def _values(task: Anything, opt: AbstractOptimizer, keys: Key) -> Float[Array, "problems steps+1"]:
    last = lambda episode, _: episode.instance.loss(episode.params)
    value = lambda step: step.value
    found = episodes(task, opt, keys, STEPS, last, observe=value, batch_size=len(keys))
    return jnp.concatenate([found.steps, found.looks[:, None]], axis=1)


def broken(opt: AbstractOptimizer, claimed: Mapping[str, str], seed: int = 0) -> list[str]:
    """A sentence for each claim that the runs contradict."""
    found = []
    if "descent" in claimed:
        bad, all = rises(opt, seed)
        if bad:
            found.append(f"{bad} of {all} steps on random problems raised the objective.")
    return found
