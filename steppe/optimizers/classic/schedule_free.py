"""Schedule-free learning: an average of the path in place of a falling rate.

    y_t = (1 − β) z_t + β x_t              where the gradient is taken
    z_{t+1} = z_t − γ (rule(∇f(y_t)) + λ y_t)
    x_{t+1} = (1 − c_t) x_t + c_t z_{t+1}  the weights to be judged, c_t ≈ 1/t

Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky, "The road less scheduled", NeurIPS 2024. The
steps are optax's. There the parameters of a training are y, and whoever judges them has to ask for
x. Here they are x, so that whatever looks at a run sees the weights that are meant; the gradient at
y is taken inside, in place of the one at x.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
import optax.contrib
from jaxtyping import Array, Int, PyTree

from ...core import tree
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, OptState, Params, Scalar, Updates
from .from_optax import FromOptax

KINDS = ("contrib.schedule_free_adamw", "contrib.schedule_free_sgd")


class ScheduleFreeState(eqx.Module):
    base: OptState
    y: PyTree  # in the working dtype
    evaluations: Int[Array, ""]  # gradients taken


class ScheduleFree(AbstractOptimizer):
    """A schedule-free optimizer of optax, whose parameters are x.

    - `base`: `FromOptax` of one of `KINDS`

    Needs the `problem` that `unroll` hands to `update`; the gradient handed to it is not used.
    """

    base: FromOptax

    def __check_init__(self):
        if not isinstance(self.base, FromOptax) or self.base.make not in KINDS:
            made = getattr(self.base, "make", type(self.base).__name__)
            raise ValueError(
                f"ScheduleFree: base is {made}, expected FromOptax of {' or '.join(KINDS)}."
            )

    def init(self, params: Params, *, key: Key | None = None) -> ScheduleFreeState:
        y = tree.cast(tree.real(params, "ScheduleFree"), tree.working_dtype(params))
        return ScheduleFreeState(self.base.init(y, key=key), y, jnp.zeros((), jnp.int32))

    def update(
        self,
        grads: Updates,
        state: ScheduleFreeState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, ScheduleFreeState]:
        if problem is None:
            raise ValueError(
                "ScheduleFree takes its gradient at another point, but update was given no "
                "problem. Run it in `unroll`, or give "
                "update(…, problem=Problem(task, instance, batch, key))."
            )
        like = grads if params is None else params
        g = tree.cast(problem.grad(tree.cast_like(state.y, like)), tree.working_dtype(state.y))
        step, base = self.base.update(g, state.base, state.y)
        y = tree.add(state.y, step)
        moved = jtu.tree_map(jnp.subtract, _judged(base, y), _judged(state.base, state.y))
        return tree.cast_like(moved, like), ScheduleFreeState(base, y, state.evaluations + 1)


def _judged(state: OptState, y: PyTree) -> PyTree:
    """x"""
    return optax.contrib.schedule_free_eval_params(state, y)


def schedule_free_adamw(
    lr: float | Scalar, steps: int | None = None, weight_decay: float | Scalar = 0.01
) -> ScheduleFree:
    """AdamW without a schedule, its rate rising over the first twentieth of the steps.

    - `steps`: of the training; None, or fewer than 20: the rate is there from the first step
    """
    warm = None if steps is None or steps < 20 else steps // 20
    real = lambda x: jnp.asarray(x, jnp.result_type(float))
    return ScheduleFree(
        FromOptax(
            "contrib.schedule_free_adamw",
            learning_rate=real(lr),
            weight_decay=real(weight_decay),
            warmup_steps=warm,
        )
    )
