"""Particle swarm optimization around the best place that any particle has seen.

    v ← w v + c₁ r₁ ⊙ (pᵢ − xᵢ) + c₂ r₂ ⊙ (g − xᵢ),    xᵢ ← xᵢ + v,    r₁, r₂ ~ U(0, 1)

pᵢ is the best place of particle i so far, g the best of all, the one at hand included. Kennedy &
Eberhart 1995, with the inertia w of Shi & Eberhart 1998; the order of things is that of
`GlobalBestPSO` in pyswarms. No gradient is used: a step of k particles costs k values.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core import tree
from ...core.loss import best
from ...core.measure import check_not_negative, check_positive
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from ..particles import check_particles, each, like_rows, rows


class PSOState(eqx.Module):
    velocity: Float[Array, "particles n"]
    best: Float[Array, "particles n"]  # place of each particle where its loss was least
    values: Float[Array, " particles"]  # the loss there
    key: Key


class PSO(AbstractOptimizer):
    """A swarm drawn to the best places that it has seen. Needs a `Stacked` loss, such as that of
    `Population`, and a key at `init`.

    - `inertia` w, `cognitive` c₁, `social` c₂: θ, 0-d arrays
    - `clamp`: largest size of each entry of a velocity; None: any
    - `start`: half width of the uniform law of the first velocities
    """

    inertia: Float[Array, ""]
    cognitive: Float[Array, ""]
    social: Float[Array, ""]
    clamp: float | None = eqx.field(static=True)
    start: float = eqx.field(static=True)

    def __init__(
        self,
        inertia: float | Scalar = 0.7,
        cognitive: float | Scalar = 1.5,
        social: float | Scalar = 1.5,
        clamp: float | None = None,
        start: float = 0.0,
    ):
        number = lambda x: jnp.asarray(x, jnp.result_type(float))
        self.inertia, self.cognitive = number(inertia), number(cognitive)
        self.social, self.clamp, self.start = number(social), clamp, start

    def __check_init__(self):
        check_not_negative("PSO", "inertia", self.inertia, "Below 1 velocities fade.")
        check_not_negative("PSO", "cognitive", self.cognitive, "1.5 is usual.")
        check_not_negative("PSO", "social", self.social, "1.5 is usual.")
        check_not_negative("PSO", "start", self.start, "0 begins at rest.")
        if self.clamp is not None:
            check_positive("PSO", "clamp", self.clamp, "None is no bound.")

    @property
    def extra_gradients(self) -> int:
        """-1: the gradient that is handed to `update` is not used."""
        return -1

    def init(self, params: Params, *, key: Key | None = None) -> PSOState:
        params = tree.real(params, "PSO")
        k = check_particles(params, "PSO")
        if key is None:
            raise ValueError(
                "PSO draws random numbers, but init was given no key. Give init(params, "
                "key=jax.random.key(seed))."
            )
        dtype = tree.working_dtype(params)
        key_velocity, key_run = jr.split(key)
        x = rows(params, dtype)
        velocity = jr.uniform(key_velocity, x.shape, dtype, -self.start, self.start)
        return PSOState(velocity, x, jnp.full((k,), jnp.inf, dtype), key_run)

    def update(
        self,
        grads: Updates,
        state: PSOState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, PSOState]:
        x = rows(params, state.velocity.dtype)
        f = each(problem, params, "PSO").astype(x.dtype)
        better = f < state.values
        p = jnp.where(better[:, None], x, state.best)
        values = jnp.where(better, f, state.values)
        g = p[best(values)][None]
        key, key_own, key_all = jr.split(state.key, 3)
        r1, r2 = (jr.uniform(key, x.shape, x.dtype) for key in (key_own, key_all))
        w, c1, c2 = (c.astype(x.dtype) for c in (self.inertia, self.cognitive, self.social))
        v = w * state.velocity + c1 * r1 * (p - x) + c2 * r2 * (g - x)
        v = v if self.clamp is None else jnp.clip(v, -self.clamp, self.clamp)
        return like_rows(v, params), PSOState(v, p, values, key)
