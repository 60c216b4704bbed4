"""Formation: particles spread evenly around their mean, which goes down the mean of their slopes.

Particle i stands at c + s_t zᵢ around the mean place c. In every coordinate the zᵢ are the middles
of k equal parts of (−½, ½), each taken by one particle:

    zᵢ = (rankᵢ + ½)/k − ½,    rankᵢ of the start of particle i among all, in each coordinate alone
    ḡ  = Σᵢ wᵢ ∇f(xᵢ) / Σᵢ wᵢ,    wᵢ = cos(π zᵢ)^2a,   coordinate by coordinate
    c⁺ = c − r_t ℓ ḡ + m d,    xᵢ ← c⁺ + s_{t+1} zᵢ,    ℓ = mean of ‖d‖ / mean of ‖y‖

with the last step d of c, the change y of ḡ over it, and means that forget by a factor b a step.

ḡ is the slope of f smoothed over a box of width s. Ripples of period s that are a sum over
coordinates cancel in it, whatever the number of unknowns; with a = 1 those of period s/2 do, and
those of all periods from there down to s/(k − 2) nearly. So a wide formation sees the bowl under
the ripples, and a narrow one comes to rest at the bottom: graduated optimization (Blake &
Zisserman, "Visual reconstruction", 1987), whose widths and steps are learned here. ℓ is the length
of a step by the curvature of what is seen, as in Barzilai & Borwein 1988, so that f may be in any
units. Even parts in every coordinate at once: Latin hypercube sampling (McKay, Beckman & Conover
1979). To learn the widths by how runs end is ours, as far as we know.

Trained are s and r at the steps 0, 1, 3, 7, … 2^(knots − 1) − 1, with straight lines between them
over log₂(1 + t) and the last value from there on; m, b and a: 2 · knots + 3 numbers. The first two
steps, which no change of ḡ in formation precedes, are r_t s_t long in the root mean square of
coordinates. No number is drawn; particles are interchangeable, and so are coordinates.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ...core import tree
from ...core.measure import check_positive
from ...core.messages import at_least
from ...core.optimizer import AbstractOptimizer
from ...core.task import Problem
from ...core.types import Key, Params, Scalar, Updates
from ..particles import check_particles, like_rows, rows, stacked


class FormationState(eqx.Module):
    z: Float[Array, "k n"]
    slope: Float[Array, " n"]  # ḡ
    step: Float[Array, " n"]  # d
    moved: Scalar  # mean of ‖d‖
    turned: Scalar  # mean of ‖y‖
    count: Int[Array, ""]


class Formation(AbstractOptimizer):
    """Graduated optimization by an even population. Needs two particles at least, as those of
    `Population`.

    - `spread`, `rate`: s and r before training, at all steps
    - `knots`: steps at which they are trained; 7 reach up to step 63, whose values stay. Train on
      longer episodes: numbers that no step comes to are moved by chance
    """

    spreads: Float[Array, " knots"]  # ln s
    rates: Float[Array, " knots"]  # ln r
    momentum: Float[Array, ""]  # artanh m
    memory: Float[Array, ""]  # logit of b
    taper: Float[Array, ""]  # a
    spread: float = eqx.field(static=True)
    rate: float = eqx.field(static=True)
    knots: int = eqx.field(static=True)

    def __init__(self, spread: float = 1.0, rate: float = 0.5, knots: int = 7):
        at_least(1, "Formation", knots=knots)
        check_positive("Formation", "spread", spread, "It is the width of the formation.")
        check_positive("Formation", "rate", rate, "It is a factor of the steps.")
        dtype = jnp.result_type(float)
        self.spread, self.rate, self.knots = spread, rate, knots
        self.spreads = jnp.full((knots,), jnp.log(spread), dtype)
        self.rates = jnp.full((knots,), jnp.log(rate), dtype)
        self.momentum, self.memory, self.taper = (jnp.zeros((), dtype) for _ in range(3))

    def init(self, params: Params, *, key: Key | None = None) -> FormationState:
        params = tree.real(params, "Formation")
        k, dtype = check_particles(params, "Formation"), tree.working_dtype(params)
        x = rows(params, dtype)
        rank = jnp.argsort(jnp.argsort(x, axis=0), axis=0)
        z = (rank.astype(dtype) + 0.5) / k - 0.5
        none, zero = (lambda: jnp.zeros(x.shape[1:], dtype)), (lambda: jnp.zeros((), dtype))
        return FormationState(z, none(), none(), zero(), zero(), jnp.zeros((), jnp.int32))

    def update(
        self,
        grads: Updates,
        state: FormationState,
        params: Params,
        *,
        problem: Problem | None = None,
        **extra,
    ) -> tuple[Updates, FormationState]:
        stacked(problem, "Formation")
        dtype = state.z.dtype
        x, g = rows(params, dtype), rows(grads, dtype)
        if not x.size:
            return jtu.tree_map(jnp.zeros_like, params), state
        t, z = state.count, state.z
        at = lambda values, t: jnp.exp(between(values.astype(dtype), t))
        m, a = jnp.tanh(self.momentum.astype(dtype)), self.taper.astype(dtype)
        b = jax.nn.sigmoid(self.memory.astype(dtype))
        w = jax.nn.softmax(2 * a * jnp.log(jnp.cos(jnp.pi * z)), axis=0)
        slope = jnp.sum(w * g, axis=0)
        width = at(self.spreads, t) * len(slope) ** 0.5
        # Before the second slope in formation the curvature is not known, but the width is.
        first = t <= 1
        moved = jnp.where(first, width, b * state.moved + (1 - b) * tree.norm(state.step))
        turn = tree.norm(slope - state.slope)
        turned = jnp.where(first, tree.norm(slope), b * state.turned + (1 - b) * turn)
        flat = turned <= 0
        length = jnp.where(flat, 0, moved / jnp.where(flat, 1, turned))
        step = m * state.step - at(self.rates, t) * length * slope
        c = jnp.mean(x, axis=0) + step
        move = c[None] + at(self.spreads, t + 1) * z - x
        return like_rows(move, params), FormationState(z, slope, step, moved, turned, t + 1)


def between(values: Float[Array, " knots"], t: Int[Array, ""]) -> Scalar:
    """The value at step t, linear in log₂(1 + t) between knots at 0, 1, 2, …"""
    last = len(values) - 1
    place = jnp.minimum(jnp.log2(1 + t.astype(values.dtype)), last)
    low = jnp.floor(place)
    below, above = (values[jnp.minimum(low.astype(jnp.int32) + i, last)] for i in (0, 1))
    return below + (place - low) * (above - below)
