"""A task with an easy bowl beside it, to meta-train on.

    f(θ) + mean_i (ψ_i − v_i)²     over (θ, ψ)

The bowl puts easy, convex curvature into every problem. Of Lv, Jiang & Li, "Learning gradient
descent: better generalization and longer horizons", ICML 2017; the published Open-L2O code lacks
it. For meta-training: validate and report on the task itself.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.loss import AbstractLoss, Composed, Plain
from ...core.messages import at_least
from ...core.task import AbstractTask, Problem
from ...core.types import Batch, Instance, Key, Params, Scalar, Split


class WithBowl(AbstractTask):
    """`task` with a bowl in `n` further variables: parameters (θ, ψ), instance (of `task`, v).

    v and ψ₀ are N(0, 1), ours: the source is silent. The metrics are those of `task` and
    `plain_loss`, f alone.
    """

    task: AbstractTask
    n: int = eqx.field(static=True, default=20)

    def __check_init__(self):
        at_least(1, "WithBowl", n=self.n)

    def sample(self, key: Key) -> Instance:
        key_instance, key_v = jr.split(key)
        return self.task.sample(key_instance), jr.normal(key_v, (self.n,))

    def init(self, instance: Instance, key: Key) -> tuple[Params, Float[Array, " n"]]:
        key_params, key_psi = jr.split(key)
        return self.task.init(instance[0], key_params), jr.normal(key_psi, (self.n,))

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance[0], key, split=split)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.full_batch(instance[0], split=split)

    def loss(self, instance: Instance, batch: Batch, key: Key) -> AbstractLoss:
        loss, v = Problem(self.task, instance[0], batch, key).loss(), instance[1]

        def add(f: Scalar, psi: Float[Array, " n"]) -> Scalar:
            return f + jnp.mean((psi - v.astype(psi.dtype)) ** 2).astype(f.dtype)

        if isinstance(loss, Composed):  # the sum is convex in (outputs, ψ)
            inner, outer = loss.inner, loss.outer
            return Composed(lambda p: (inner(p[0]), p[1]), lambda z: add(outer(z[0]), z[1]))
        return Plain(lambda params: add(loss(params[0]), params[1]))

    def target(self, instance: Instance) -> tuple[Params, Float[Array, " n"]] | None:
        """(x*, v)"""
        target = self.task.target(instance[0])
        return None if target is None else (target, instance[1])

    def metrics(
        self, params: tuple[Params, Array], instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        plain = Problem(self.task, instance[0], batch, key).value(params[0])
        return {**self.task.metrics(params[0], instance[0], batch, key), "plain_loss": plain}
