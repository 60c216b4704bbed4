"""Adapt a trained optimizer to other problems: a few updates of θ by their meta-gradient.

    adapter = Adapter(BPTT(8, 20, 100, stagger=False), updates=5, rate=1e-3)
    opt, stats = adapter(task, opt, Trajectory(), key=key)

    θ₀ = θ of the optimizer given,   θ_{k+1} = θ_k − rate · step(∇_θ of the estimator's objective)

Pure functions: jit them, map them over rates, keys or instances. `steppe.adapt` chooses among rates
and numbers of updates by validation; `Validation(adapt=…)` judges an optimizer by how it does after
adaptation; the study of M-L2O compares starts.

Yang et al., "M-L2O: towards generalizable learning-to-optimize by test-time fast self-adaptation",
ICLR 2023. Their code: Adam at rate 1e-3, one episode of five windows of 20 steps, one update each.
"""

from collections.abc import Callable
from typing import get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float, PyTree

from ..core.episode import begin
from ..core.estimator import AbstractEstimator, Stats
from ..core.loss import AbstractLoss
from ..core.messages import at_least, did_you_mean
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.task import AbstractTask
from ..core.types import Batch, Instance, Key, Params, Scalar, Split
from ..estimators.adapted import Inner, carried, check_rate, rates_of
from .step import meta_step, start

STEPS = {"adam": optax.adam, "sgd": optax.sgd}


class Adapter(eqx.Module):
    """A few updates of an optimizer's θ on the problems of a task.

    - `base`: the estimator of the meta-gradient, such as `BPTT(8, 20, 100, stagger=False)`: its
      episodes and windows are what an update sees
    - `updates`: their number; 0 leaves θ as it is
    - `rate`: size of a step, finite, at least 0. It is kept as an array, so that it changes without
      compiling again. An optimizer that carries rates of its own (`Adaptable`) is adapted by those
    - `inner`: "adam", whose steps hardly depend on the scale of the losses, or "sgd", plain descent

    An update whose meta-gradient is not finite leaves θ as it is, and is counted in
    `Stats.nonfinite`.
    """

    base: AbstractEstimator
    updates: int = eqx.field(static=True)
    rate: Float[Array, ""]
    inner: Inner = eqx.field(static=True)

    def __init__(
        self,
        base: AbstractEstimator,
        updates: int = 5,
        rate: float | Scalar = 1e-3,
        inner: Inner = "adam",
    ):
        at_least(0, "Adapter", updates=updates)
        if inner not in get_args(Inner):
            raise ValueError(
                f"Adapter: inner is {inner!r}; {did_you_mean(str(inner), get_args(Inner))}"
            )
        check_rate("Adapter", rate)
        self.base, self.updates, self.inner = base, updates, inner
        self.rate = jnp.asarray(rate, jnp.result_type(float))

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[AbstractOptimizer, Stats]:
        """The adapted optimizer, and the statistics of each update, (updates,)."""
        thetas, stats = self.path(task, opt, objective, key=key)
        last = jtu.tree_map(lambda x: x[-1], thetas)
        return join_meta(last, split_meta(opt)[1]), stats

    def path(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, Stats]:
        """θ after 0, 1, … updates, (updates + 1, …) each array, and the statistics, (updates,)."""
        tx = STEPS[self.inner](1.0)  # the rate is the factor of its updates
        rule, log_rates = carried(opt)
        state = start(task, rule, estimator=self.base, objective=objective, meta_tx=tx, key=key)
        scale = rates_of(split_meta(state.opt)[0], self.rate, log_rates)
        arrays, static = eqx.partition(state, eqx.is_array)

        def theta_of(rule: AbstractOptimizer) -> PyTree:
            whole = rule if log_rates is None else eqx.tree_at(lambda o: o.base, opt, rule)  # pyright: ignore
            return split_meta(whole)[0]

        def update(arrays: PyTree, _: None) -> tuple[PyTree, tuple[PyTree, Stats]]:
            state, stats = meta_step(
                task, eqx.combine(arrays, static), self.base, objective, tx, scale=scale
            )
            return eqx.filter(state, eqx.is_array), (theta_of(state.opt), stats)

        _, (thetas, stats) = jax.lax.scan(update, arrays, None, length=self.updates)
        join = lambda a, b: jnp.concatenate([a[None], b])
        return jtu.tree_map(join, theta_of(state.opt), thetas), stats

    def to_instance(
        self, task: AbstractTask, opt: AbstractOptimizer, objective: AbstractObjective, begins: Key
    ) -> AbstractOptimizer:
        """The optimizer, adapted to the instance alone of the episode that `begins` begins."""
        pinned = OneInstance(task, begin(task, opt, begins).instance)
        apart = jr.fold_in(begins, 4)  # `begin` splits its key in 0 … 3
        return self(pinned, opt, objective, key=apart)[0]


class OneInstance(AbstractTask):
    """`task` with one `instance` alone; starts, batches and splits are those of `task`."""

    task: AbstractTask
    instance: Instance

    def sample(self, key: Key) -> Instance:
        return self.instance

    def init(self, instance: Instance, key: Key) -> Params:
        return self.task.init(instance, key)

    def batch(self, instance: Instance, key: Key, *, split: Split = "train") -> Batch:
        return self.task.batch(instance, key, split=split)

    def full_batch(self, instance: Instance, *, split: Split) -> Batch:
        return self.task.full_batch(instance, split=split)

    def loss(
        self, instance: Instance, batch: Batch, key: Key
    ) -> AbstractLoss | Callable[[Params], Scalar]:
        return self.task.loss(instance, batch, key)

    def target(self, instance: Instance) -> Params | None:
        return self.task.target(instance)

    def metrics(
        self, params: Params, instance: Instance, batch: Batch, key: Key
    ) -> dict[str, Scalar]:
        return self.task.metrics(params, instance, batch, key)
