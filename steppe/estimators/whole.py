"""Whole: back-propagation through whole episodes, all of them by one backward pass.

    θ-gradient of   mean over episodes of the objective on steps 1 … length

Every call begins fresh episodes. They begin inside the lane that is mapped, so that all they have
in common (θ, data of the task, the number of steps taken) has no axis of episodes: a layer of an
unrolled network multiplies all episodes by its matrix at once. And the gradient is that of the
mean: no episode has one of its own, which of a network with large matrices would take more memory
than all else. `BPTT` has both, for episodes longer than what is differentiated.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int, PyTree

from ..core import tree
from ..core.backend import ALL
from ..core.estimator import AbstractEstimator, Stats
from ..core.messages import at_least
from ..core.objective import AbstractObjective
from ..core.optimizer import AbstractOptimizer, join_meta, split_meta
from ..core.rollout import map_lanes
from ..core.task import AbstractTask
from ..core.types import Key
from ..core.window import open_window, score


class Whole(AbstractEstimator):
    """Back-propagation through episodes of `length` inner steps, fresh at every call.

    - `episodes`: side by side
    - `length`: inner steps
    - `horizon`: steps that an episode takes, at most `length`; it rests in the others, which then
      cost little. An array: it changes without compiling again. None: all, for good, which is
      faster
    - `second_order`: differentiate the gradients handed to the optimizer, too

    Episodes whose value is not finite are left out of the mean and counted in `Stats.nonfinite`.
    Where the gradient is not finite, all are counted: it cannot be told whose fault it is. The
    standard error of the gradient, which takes a gradient of each episode, is NaN.
    """

    episodes: int = eqx.field(static=True)
    length: int = eqx.field(static=True)
    horizon: Int[Array, ""]  # pyright: ignore[reportIncompatibleVariableOverride]
    second_order: bool = eqx.field(static=True)
    rests: bool = eqx.field(static=True)

    def __init__(
        self,
        episodes: int = 64,
        length: int = 20,
        horizon: int | Int[Array, ""] | None = None,
        *,
        second_order: bool = False,
    ):
        self.rests = horizon is not None
        horizon = length if horizon is None else horizon
        at_least(1, "Whole", episodes=episodes, length=length, horizon=horizon)
        if isinstance(horizon, int) and horizon > length:
            raise ValueError(
                f"Whole: the horizon is at most the length, {length} steps, got {horizon}; give a "
                "larger length."
            )
        self.episodes, self.length, self.second_order = episodes, length, second_order
        self.horizon = jnp.asarray(horizon, jnp.int32)

    def init(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[()]:
        return ()

    def __call__(
        self,
        task: AbstractTask,
        opt: AbstractOptimizer,
        state: tuple[()],
        objective: AbstractObjective,
        *,
        key: Key,
    ) -> tuple[PyTree, tuple[()], Stats]:
        theta, rest = split_meta(opt)
        keys = jr.split(key, self.episodes)

        def mean(theta: PyTree) -> tuple[Array, tuple[Array, dict[str, Array]]]:
            shared = (task, join_meta(theta, rest), objective, self.horizon)
            values, parts = map_lanes(self._lane, shared, keys, batch_size=ALL)
            return _mean(values, jnp.isfinite(values)), (values, parts)

        (_, (values, parts)), grads = jax.value_and_grad(mean, has_aux=True)(theta)
        norm = tree.norm(grads)  # not finite where any number is not
        finite = jnp.isfinite(values) & jnp.isfinite(norm)
        shown = lambda x: jnp.where(jnp.any(finite), _mean(x, finite), jnp.nan)
        count = lambda n: jnp.asarray(n, jnp.int32)
        return (
            grads,
            state,
            Stats(
                loss=shown(values),
                parts=jtu.tree_map(shown, parts),
                grad_norm=norm,
                grad_error=jnp.full((), jnp.nan, values.dtype),
                nonfinite=jnp.sum(~finite),
                resets=count(self.episodes),
                episodes=count(self.episodes),
                inner_steps=self.horizon * self.episodes,
                part=count(0),
            ),
        )

    def _lane(self, shared: tuple, key: Key) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The objective of one fresh episode, and its parts."""
        task, opt, objective, horizon = shared
        key_open, key_score = jr.split(key)
        window = open_window(task, opt, objective, key_open, horizon)
        until = horizon if self.rests else None
        how = {"second_order": self.second_order, "until": until, "fresh": True}
        found, _ = score(task, opt, window, objective, self.length, key=key_score, **how)
        return found.value, found.parts


def _mean(values: Float[Array, " episodes"], finite: Array) -> Float[Array, ""]:
    """Mean over the finite ones, 0 if there are none."""
    count = jnp.maximum(jnp.sum(finite), 1).astype(values.dtype)
    return jnp.sum(jnp.where(finite, values, 0)) / count
