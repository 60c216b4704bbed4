"""Augmentation: harder and easier variants of a task to meta-train on.

    scaled       f(c ⊙ θ),  c_i = e^B_i,  B_i ~ U(−B, B)     from θ₀ / c
    with_bowl    f(θ) + mean_i (ψ_i − v_i)²                  over (θ, ψ)

Scaling shows the optimizer the gradient c ⊙ ∇f: steps of coordinates differ by up to e^{2B}, so
that it cannot learn one size of step by heart. The bowl puts easy, convex curvature into every
problem. Both are of Lv, Jiang & Li, "Learning gradient descent: better generalization and longer
horizons", ICML 2017; B = 3, and one c per coordinate, not per tensor, are those of the published
Open-L2O code, which lacks the bowl. What is drawn is drawn with the instance. For meta-training:
validate and report on the task itself.

A task that tells its outputs from its criterion still does so in the wrappers `…Predictive`;
the functions `scaled` and `with_bowl` choose the class.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from ..core import tree
from ..core.task import AbstractPredictive, AbstractTask
from ..core.types import Batch, Instance, Key, Params, Scalar, Split

SPREAD = 3.0  # B in the published code


class AbstractScaled(AbstractTask):
    """f(c ⊙ θ). The instance is (instance of `task`, c); metrics are those of `task` at c ⊙ θ."""

    task: eqx.AbstractVar[AbstractTask]
    spread: eqx.AbstractVar[float]

    def sample(self, key: Key) -> Instance:
        key_instance, key_c, key_shape = jr.split(key, 3)
        instance = self.task.sample(key_instance)
        like = jax.eval_shape(self.task.init, instance, key_shape)
        dtype = tree.working_dtype(like)
        log_c = jr.uniform(key_c, (tree.size(like),), dtype, -self.spread, self.spread)
        zeros = jtu.tree_map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        return instance, tree.ravel(zeros, dtype)[1](jnp.exp(log_c))

    def init(self, instance: Instance, key: Key) -> Params:
        return jtu.tree_map(jnp.divide, self.task.init(instance[0], key), instance[1])

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance[0], key, split=split)

    def whole(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.whole(instance[0], split=split)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        return self.task.metrics(self.inside(params, instance), instance[0], batch, key)

    def inside(self, params: Params, instance: Instance) -> Params:
        """c ⊙ θ, the parameters of `task`."""
        return jtu.tree_map(lambda p, c: p * c.astype(p.dtype), params, instance[1])


class Scaled(AbstractScaled):
    """`task` in coordinates of random scale, e^U(−spread, spread) each."""

    task: AbstractTask
    spread: float = eqx.field(static=True, default=SPREAD)

    def __check_init__(self):
        check_spread(self.spread)

    def loss(self, params: Params, instance: Instance, batch: Batch, key: Key) -> Scalar:
        return self.task.loss(self.inside(params, instance), instance[0], batch, key)


class ScaledPredictive(AbstractScaled, AbstractPredictive):
    """`Scaled` of a task that tells outputs from criterion, which it then does as well."""

    task: AbstractTask
    spread: float = eqx.field(static=True, default=SPREAD)

    def __check_init__(self):
        check_spread(self.spread)
        predictive(self.task)

    def loss(self, params: Params, instance: Instance, batch: Batch, key: Key) -> Scalar:
        return self.criterion(self.outputs(params, instance, batch, key), instance, batch)

    def outputs(self, params: Params, instance: Instance, batch: Batch, key: Key) -> PyTree:
        return predictive(self.task).outputs(self.inside(params, instance), instance[0], batch, key)

    def criterion(self, outputs: PyTree, instance: Instance, batch: Batch) -> Scalar:
        return predictive(self.task).criterion(outputs, instance[0], batch)


def scaled(task: AbstractTask, spread: float = SPREAD) -> Scaled | ScaledPredictive:
    """`task` in coordinates of random scale; predictive if `task` is."""
    if isinstance(task, AbstractPredictive):
        return ScaledPredictive(task, spread)
    return Scaled(task, spread)


class AbstractWithBowl(AbstractTask):
    """f(θ) + mean((ψ − v)²). Parameters are (θ, ψ), the instance is (instance of `task`, v).

    v and ψ₀ are N(0, 1), ours: the source is silent. The metrics are those of `task` and
    `plain_loss`, f alone.
    """

    task: eqx.AbstractVar[AbstractTask]
    n: eqx.AbstractVar[int]

    def sample(self, key: Key) -> Instance:
        key_instance, key_v = jr.split(key)
        return self.task.sample(key_instance), jr.normal(key_v, (self.n,))

    def init(self, instance: Instance, key: Key) -> tuple[Params, Float[Array, " n"]]:
        key_params, key_psi = jr.split(key)
        return self.task.init(instance[0], key_params), jr.normal(key_psi, (self.n,))

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance[0], key, split=split)

    def whole(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.whole(instance[0], split=split)

    def metrics(
        self, params: tuple[Params, Array], instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        plain = self.task.loss(params[0], instance[0], batch, key)
        return {**self.task.metrics(params[0], instance[0], batch, key), "plain_loss": plain}


class WithBowl(AbstractWithBowl):
    """`task` with a bowl in `n` further variables beside it."""

    task: AbstractTask
    n: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        check_n(self.n)

    def loss(
        self, params: tuple[Params, Array], instance: Instance, batch: Batch, key: Key
    ) -> Scalar:
        f = self.task.loss(params[0], instance[0], batch, key)
        return f + bowl(params[1], instance[1]).astype(f.dtype)


class WithBowlPredictive(AbstractWithBowl, AbstractPredictive):
    """`WithBowl` of a predictive task. Outputs: (those of `task`, ψ); the sum is convex in them."""

    task: AbstractTask
    n: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        check_n(self.n)
        predictive(self.task)

    def loss(
        self, params: tuple[Params, Array], instance: Instance, batch: Batch, key: Key
    ) -> Scalar:
        return self.criterion(self.outputs(params, instance, batch, key), instance, batch)

    def outputs(
        self, params: tuple[Params, Array], instance: Instance, batch: Batch, key: Key
    ) -> tuple[PyTree, Array]:
        return predictive(self.task).outputs(params[0], instance[0], batch, key), params[1]

    def criterion(self, outputs: tuple[PyTree, Array], instance: Instance, batch: Batch) -> Scalar:
        f = predictive(self.task).criterion(outputs[0], instance[0], batch)
        return f + bowl(outputs[1], instance[1]).astype(f.dtype)


def with_bowl(task: AbstractTask, n: int = 20) -> WithBowl | WithBowlPredictive:
    """`task` with a bowl in `n` further variables; predictive if `task` is."""
    if isinstance(task, AbstractPredictive):
        return WithBowlPredictive(task, n)
    return WithBowl(task, n)


def bowl(psi: Float[Array, " n"], v: Float[Array, " n"]) -> Scalar:
    """mean((ψ − v)²)"""
    return jnp.mean((psi - v.astype(psi.dtype)) ** 2)


def check_spread(spread: float) -> None:
    if not 0 <= spread < math.inf:
        raise ValueError(f"Scaled: spread must be a number from 0 up, got {spread}.")


def check_n(n: int) -> None:
    if n < 1:
        raise ValueError(f"WithBowl: n must be at least 1, got {n}.")


def predictive(task: AbstractTask) -> AbstractPredictive:
    """The same task, refusing with a sentence to be any other."""
    if not isinstance(task, AbstractPredictive):
        raise TypeError(
            f"{type(task).__name__} does not tell outputs from criterion, which this wrapper "
            "needs; use `scaled(task)` or `with_bowl(task)`, which choose the wrapper by the task."
        )
    return task
