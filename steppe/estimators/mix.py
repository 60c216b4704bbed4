"""Mix: one meta-gradient from several estimators, each with a task and an objective of its own.

all at once:      g = Σ_k w_k g_k                          (several tasks)
one sampled:      g = g_K, K with probability w_k / Σ w     (now and then an imitation step)
"""

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.estimator import AbstractEstimator, Stats
from ..core.messages import at_least, reals
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask
from ..core.types import Key
from .windows import spread


class Part(eqx.Module):
    """One estimator of a `Mix`; task and objective are those of the call where None."""

    estimator: AbstractEstimator
    task: AbstractTask | None = None
    objective: AbstractObjective | None = None


class Mix(AbstractEstimator):
    """Several estimators as one.

    - `parts`: {name: estimator or `Part`}; the first is the main one
    - `weights`: one a part, an array: coefficients of the sum, or chances with `draw`
    - `draw`: take one part at each call instead of all. The others stand still, episodes and all.
    - `horizon`: of all parts (default: that of the first)

    The episodes of parts that are summed are cut at ages spread evenly over all of them.

    `Stats.parts` has each part's loss as NAME_loss, NaN where it was not drawn, and the parts of
    its objective. `Stats.loss` is the weighted sum, with `draw` that of the first part.
    """

    parts: tuple[Part, ...]
    weights: Float[Array, " parts"]
    horizon: Int[Array, ""]
    names: tuple[str, ...] = eqx.field(static=True)
    draw: bool = eqx.field(static=True)

    def __init__(
        self,
        parts: Mapping[str, AbstractEstimator | Part],
        weights: Sequence[float] | Float[Array, " parts"] | None = None,
        *,
        draw: bool = False,
        horizon: int | Int[Array, ""] | None = None,
    ):
        if not parts:
            raise ValueError("Mix: no parts given; give {name: estimator}.")
        reals("Mix", finite=False, weights=weights)
        at_least(1, "Mix", horizon=horizon)
        self.names = tuple(parts)
        own = tuple(p if isinstance(p, Part) else Part(p) for p in parts.values())
        self.parts = own if draw else spread(own)
        weights = [1.0] * len(self.parts) if weights is None else weights
        if len(weights) != len(self.parts):
            raise ValueError(f"Mix: {len(self.parts)} parts but {len(weights)} weights given.")
        if not isinstance(weights, Tracer):
            given = np.asarray(weights)
            if not (np.all(np.isfinite(given)) and np.all(given >= 0) and np.any(given > 0)):
                raise ValueError(
                    f"Mix: weights must be at least 0 and not all 0, got {given.tolist()}."
                )
        self.weights = jnp.asarray(weights, jnp.result_type(float))
        first = self.parts[0].estimator.horizon
        self.horizon = jnp.asarray(first if horizon is None else horizon, jnp.int32)
        self.draw = draw

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, ...]:
        keys = jr.split(key, len(self.parts))
        return tuple(
            self._estimator(part).init(
                part.task or task, opt, part.objective or objective, key=keys[k]
            )
            for k, part in enumerate(self.parts)
        )

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: tuple[PyTree, ...],
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, tuple[PyTree, ...], Stats]:
        key_draw, *keys = jr.split(key, 1 + len(self.parts))

        def call(k: int, state: PyTree) -> tuple[PyTree, PyTree, Stats]:
            part = self.parts[k]
            return self._estimator(part)(
                part.task or task, opt, state, part.objective or objective, key=keys[k]
            )

        if self.draw:
            return self._one(call, state, key_draw)
        results = [call(k, state[k]) for k in range(len(self.parts))]
        w = self.weights
        grads = [tree.scale(w[k].astype(s.loss.dtype), g) for k, (g, _, s) in enumerate(results)]
        grads = jtu.tree_map(lambda *g: sum(g[1:], start=g[0]), *grads)
        stats = [s for _, _, s in results]
        losses = jnp.stack([s.loss for s in stats])
        errors = jnp.stack([s.grad_error for s in stats])
        total = lambda values: jnp.sum(jnp.stack(values), axis=0)
        parts = {name: value for k, s in enumerate(stats) for name, value in self._named(k, s)}
        return (
            grads,
            tuple(after for _, after, _ in results),
            Stats(
                loss=jnp.sum(w.astype(losses.dtype) * losses),
                parts=parts,
                grad_norm=tree.norm(grads),
                grad_error=jnp.sqrt(jnp.sum((w.astype(errors.dtype) * errors) ** 2)),
                nonfinite=total([s.nonfinite for s in stats]),
                resets=total([s.resets for s in stats]),
                episodes=total([s.episodes for s in stats]),
                inner_steps=total([s.inner_steps for s in stats]),
                part=jnp.zeros((), jnp.int32),
            ),
        )

    def _one(self, call, state: tuple[PyTree, ...], key: Key):
        """The sampled part; the others stand still."""
        shapes = [eqx.filter_eval_shape(call, k, state[k])[2] for k in range(len(self.parts))]
        absent = {
            name: jnp.full((), jnp.nan, value.dtype)
            for k, s in enumerate(shapes)
            for name, value in self._named(k, s)
        }

        def branch(k: int):
            def take(state: tuple[PyTree, ...]):
                grads, after, s = call(k, state[k])
                loss = s.loss if k == 0 else jnp.full((), jnp.nan, s.loss.dtype)
                parts = absent | dict(self._named(k, s))
                s = eqx.tree_at(
                    lambda s: (s.loss, s.parts, s.part),
                    s,
                    (loss, parts, jnp.asarray(k, jnp.int32)),
                )
                return grads, (*state[:k], after, *state[k + 1 :]), s

            return take

        chosen = jr.categorical(key, jnp.log(self.weights))
        return jax.lax.switch(chosen, [branch(k) for k in range(len(self.parts))], state)

    def _named(self, k: int, stats: Stats) -> list[tuple[str, Array]]:
        own = [(f"{self.names[k]}_{part}", value) for part, value in stats.parts.items()]
        # The main part keeps the names of its objective, which the log and its readers know.
        own = list(stats.parts.items()) if k == 0 else own
        return [(f"{self.names[k]}_loss", stats.loss), *own]

    def _estimator(self, part: Part) -> AbstractEstimator:
        return eqx.tree_at(lambda e: e.horizon, part.estimator, self.horizon)
