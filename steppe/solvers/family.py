"""Problems with their minimisers, so that a solver can be judged by F(x) − F(x*).

    family = WithMinimum(task)      instances know x*
    family.gap(x, instance)         (F(x) − F(x*)) / |F(x*)|

The difference is not taken of two numbers with equal digits. With d = x − x* it is

    ⟨∇f(x*), d⟩ + r(x) − r(x*) + D,      D = f(x) − f(x*) − ⟨∇f(x*), d⟩

where D is ½‖Ad‖² of least squares, and ∫₀¹ ⟨∇f(x* + td) − ∇f(x*), d⟩ dt of any other f, by three
points of Gauss and Legendre (exact up to d⁵). r(x) − r(x*) is summed over differences of its terms.
In float32 this is exact to some 3e-8 of F(x*), where the difference of two losses is to some 3e-7.

x* comes from FISTA with restart, in the precision of the session (`minimise`).
"""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu

from ..core import tree
from ..core.loss import Composite, LeastSquares, expect
from ..core.regularizer import L1, AbstractRegularizer, ElasticNet, GroupL2, lengths
from ..core.task import AbstractTask, Problem
from ..core.types import Batch, Instance, Key, Params, Scalar, Split
from ..optimizers.classic.proximal import difference, proximal_step

LIMIT = 20_000  # iterations for a minimiser
UNITS = 16  # in the last place of x: a proximal step so short ends the search for it
NODES = ((0.5 - 0.15**0.5, 5 / 18), (0.5, 8 / 18), (0.5 + 0.15**0.5, 5 / 18))

Error = Literal["gap", "nmse"]


class Known(eqx.Module):
    """A problem and its minimum: `value` = F(x*)."""

    instance: Instance
    minimiser: Params
    value: Scalar


class WithMinimum(AbstractTask):
    """`task`, each problem with its minimiser as `target`; its losses must be a `Composite`.

    Loss, starts and batches are those of `task`; its metrics have
    `gap` besides, and `recovery` in dB where the losses tell the truth.
    """

    task: AbstractTask

    def sample(self, key: Key) -> Known:
        key_instance, key_start = jr.split(key)
        instance = self.task.sample(key_instance)
        loss = self.composite(instance)
        found = minimise(loss, self.task.init(instance, key_start))
        return Known(instance, found, loss(found))

    def init(self, instance: Known, key: Key) -> Params:
        return self.task.init(instance.instance, key)

    def batch(self, instance: Known, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance.instance, key, split=split)

    def full_batch(self, instance: Known, *, split: Split) -> Batch:
        return self.task.full_batch(instance.instance, split=split)

    def loss(self, instance: Known, batch: Batch, key: Key):
        return self.task.loss(instance.instance, batch, key)

    def target(self, instance: Known) -> Params:
        return instance.minimiser

    def metrics(self, params: Params, instance: Known, batch: Batch, key: Key) -> dict[str, Scalar]:
        found = dict(self.task.metrics(params, instance.instance, batch, key))
        found["gap"] = self.gap(params, instance)
        if self.composite(instance.instance).truth is not None:
            found["recovery"] = self.nmse(params, instance)
        return found

    def composite(self, instance: Instance) -> Composite:
        """The loss of an instance of `task` on all of its data."""
        batch = self.task.full_batch(instance, split="train")
        loss = Problem(self.task, instance, batch, jr.key(0)).loss()
        return expect(loss, Composite, "A family of problems to learn a solver for")

    def gap(self, params: Params, instance: Known) -> Scalar:
        """(F(x) − F(x*)) / |F(x*)|, at least 0; F(x) − F(x*) where F(x*) is 0."""
        rise = excess(self.composite(instance.instance), params, instance.minimiser)
        size = jnp.abs(instance.value)
        return jnp.maximum(rise, 0) / jnp.where(size > 0, size, 1)

    def nmse(self, params: Params, instance: Known) -> Scalar:
        """10 log₁₀ (‖x − x♯‖² / ‖x♯‖²), at least −300 dB; x♯ is the `truth` that the loss tells."""
        truth = self.composite(instance.instance).truth
        error, size = tree.norm(difference(params, truth)), tree.norm(truth)
        return 20 * jnp.log10(jnp.maximum(error / jnp.where(size > 0, size, 1), 1e-15))


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of problems, as far as it is known before anything is tried.

    - `task`: the problems; `error`: what they are judged by
    - `loss`: that of one of them
    - `shared`: all problems have the same A
    - `depth`: iterations of FISTA with restart that are enough for all but the hardest
    """

    task: WithMinimum
    error: Error
    loss: Composite
    shared: bool
    depth: int = 32

    @property
    def goal(self) -> str:
        return "objective" if self.error == "gap" else "recovery"

    @property
    def sparse(self) -> bool:
        """Least squares with ‖x‖₁."""
        return isinstance(self.loss.smooth, LeastSquares) and isinstance(self.loss.regularizer, L1)


def minimise(loss: Composite, start: Params, limit: int = LIMIT) -> Params:
    """The minimiser of smooth + regularizer, by FISTA with restart.

    Iterates until a proximal step is as short as x is exact, or `limit` times.
    """
    tolerance = UNITS * jnp.finfo(tree.working_dtype(start)).eps

    def going(state) -> Scalar:
        x, _, _, _, rest = state
        return rest > tolerance * jnp.maximum(tree.norm(x), jnp.finfo(rest.dtype).tiny)

    def step(state):
        x, ahead, t, k, _ = state
        y = tree.add(x, ahead)
        after = proximal_step(loss, y, 1 / loss.lipschitz)
        move, rest = difference(after, x), difference(y, after)
        grown = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        uphill = tree.dot(rest, move) > 0
        ahead = jtu.tree_map(
            lambda m: jnp.where(uphill, 0, (t - 1) / grown).astype(m.dtype) * m, move
        )
        return after, ahead, jnp.where(uphill, 1, grown), k + 1, tree.norm(rest)

    start = tree.strongly_typed(start)
    one = jnp.ones((), tree.working_dtype(start))
    nowhere = jtu.tree_map(jnp.zeros_like, start)
    first = (start, nowhere, one, jnp.zeros((), jnp.int32), jnp.inf * one)
    return jax.lax.while_loop(lambda s: going(s) & (s[3] < limit), step, first)[0]


def excess(loss: Composite, x: Params, best: Params) -> Scalar:
    """F(x) − F(best) to the last digits, `best` being the minimiser."""
    f, r = loss.smooth, loss.regularizer
    d, slope = difference(x, best), jax.grad(f)(best)
    if isinstance(f, LeastSquares):
        bend = jnp.sum(f.forward(d) ** 2) / 2
    else:
        bend = jnp.zeros((), tree.working_dtype(d))
        for t, weight in NODES:
            there = jtu.tree_map(lambda b, d, t=t: b + t * d, best, d)
            bend += weight * tree.dot(difference(jax.grad(f)(there), slope), d)
    rises = jtu.tree_map(lambda a, b: jnp.sum(a - b), summands(r, x), summands(r, best))
    return tree.dot(slope, d) + sum(jtu.tree_leaves(rises)) + bend


def summands(regularizer: AbstractRegularizer, x: Params) -> Params:
    """Terms whose sum is the regularizer; the whole of one that is not known."""
    match regularizer:
        case L1(weight):
            return jtu.tree_map(lambda x: weight * jnp.abs(x), x)
        case ElasticNet(l1, l2):
            return jtu.tree_map(lambda x: l1 * jnp.abs(x) + l2 * x**2 / 2, x)
        case GroupL2(weight, size):
            groups = lambda x: x.reshape(*x.shape[:-1], -1, size)
            return jtu.tree_map(lambda x: weight * lengths(groups(x)), x)
    return regularizer(x)
