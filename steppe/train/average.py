"""The mean of the weights over the last meta-steps: an optimizer that no single meta-step decides.

    θ̄ = mean of θ_t over ¾ N < t ≤ N        N meta-steps in all

The path of a meta-training goes on jumping about where it has stopped getting better, and the
optimizer with the best of some noisy validations is a lucky one. The mean of the last part of a
stochastic descent has the noise averaged away: Polyak & Juditsky, SIAM J. Control Optim. 1992; of
the last part alone: Rakhlin, Shamir & Sridharan, ICML 2012. It knows nothing of validation, so
that each arm of a comparison gets the same number of meta-steps.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Int, PyTree

from ..core import tree
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta

PART = 0.25  # of the meta-steps, the last ones
Weights = Literal["best", "last", "average"]  # of the optimizer that a run ends with


class Mean(eqx.Module):
    """The mean of θ so far; NumPy arrays, complete in each process."""

    theta: PyTree[Array]  # float32 at least
    count: Int[Array, ""]  # meta-steps in it
    since: Int[Array, ""]  # meta-steps before the first that may count


def start_of(steps: int) -> int:
    """The meta-steps of a run of `steps` that are not averaged over.

    >>> start_of(1000), start_of(10), start_of(1)
    (750, 7, 0)
    """
    return int(steps * (1 - PART))


def begin_mean(opt: AbstractOptimizer, since: int) -> Mean:
    """The mean before the first step counts."""

    def zeros(leaf: Array) -> np.ndarray:
        return np.zeros(leaf.shape, tree.widest(jnp.float32, leaf.dtype))

    theta = jtu.tree_map(zeros, split_meta(opt)[0])
    return Mean(theta, _count(0), _count(since))


def after_step(mean: Mean | None, opt: AbstractOptimizer, step: int, steps: int) -> Mean | None:
    """The mean with the weights after meta-step `step` of `steps`, where that step counts.

    A mean that was begun for a run of another length begins anew.
    """
    since = start_of(steps)
    if mean is None or step <= since:
        return mean
    mean = mean if int(mean.since) == since else begin_mean(opt, since)
    count = int(mean.count) + 1

    def moved(before: Array, new: Array) -> np.ndarray:
        old = np.asarray(before)
        return old + (np.asarray(new).astype(old.dtype) - old) / old.dtype.type(count)

    theta = jtu.tree_map(moved, mean.theta, split_meta(opt)[0])
    return Mean(theta, _count(count), mean.since)


def averaged(mean: Mean, opt: AbstractOptimizer) -> AbstractOptimizer:
    """The optimizer with the mean for its weights, in their dtypes."""
    theta, rest = split_meta(opt)
    cast = lambda new, old: jnp.asarray(np.asarray(new), old.dtype)
    return join_meta(jtu.tree_map(cast, mean.theta, theta), rest)


def _count(n: int) -> Array:
    return jnp.asarray(n, jnp.int32)
