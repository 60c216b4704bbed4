"""Rastrigin: a bowl covered with ripples, of period 1 as a rule, so many local minima.

    f(x) = mean_b [ factor · S_b − α c_bᵀ cos(2π x_b) + α · offset_b ],
    S_b = ‖A_b x_b − y_b‖²

    published set       n    instances   A, y, c   x₀            factor   S      offset   α
    `rastrigin-dm`      2    128         N(0, 1)   N(0, 1)       ½        sum    n        10
    `square-cos-dm`     2    128         U(0, 1)   N(0, 0.01²)   1        sum    n        10
    `rastrigin`         2    1           N(0, 1)   N(0, 1)       ½        mean   n²       10
    `rastrigin-m-l2o`   10   128         I, 0, 1   U(−3, 3)      1        sum    n        1, ½ or 2
    `rastrigin-shifted` 2    1           I, 0, 1   U(−3, 3)      1        sum    n        10

`rastrigin-dm` and `square-cos-dm`: the Open-L2O code for Andrychowicz et al., NeurIPS 2016.
`rastrigin`: its code for Wichrowska et al., ICML 2017. The published forms do not agree with each
other: `rastrigin` averages the quadratic part over the rows but sums the ripples, and its offset is
n² where the sum of n ripples calls for n. Both are kept. Of x₀ in `square-cos-dm` and of the factor
in `rastrigin` the specification says nothing; here is what the sibling problem of the same code
has. `rastrigin-m-l2o`: the textbook function, as in the code for Yang et al., "M-L2O", ICLR 2023.
`rastrigin-shifted`, also in 10 and 20 unknowns: the textbook function of Cao et al., "Learning to
optimize in swarms", NeurIPS 2019, moved to an optimum drawn from U(−2, 2), ours. Published, it
stays at 0 and starts lie around it, so that going to the origin is enough to win.

With c ~ N(0, 1) the published offsets do not bound the ripples: f can be negative, and its
logarithm undefined. `offset="bound"` (ours), offset_b = ‖c_b‖₁, makes f ≥ 0 always; with c in
(0, 1) the published offset does. Of the textbook function alone is the minimum known.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import at_least, reals
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from .equations import (
    LAWS,
    Equations,
    Numbers,
    as_tuple,
    check_all_positive,
    draw_equations,
    one_of,
    product,
)

TEXTBOOK = "textbook"
REDUCE = {"sum": jnp.sum, "mean": jnp.mean}  # over the rows of A
OFFSETS = {  # (c) → (instances,)
    "n": lambda c: jnp.full(c.shape[:1], c.shape[1], c.dtype),
    "n2": lambda c: jnp.full(c.shape[:1], c.shape[1] ** 2, c.dtype),
    "bound": lambda c: jnp.sum(jnp.abs(c), axis=-1),
}


class Ripples(eqx.Module):
    """The numbers of one problem."""

    bowl: Equations  # A and y
    c: Float[Array, "instances n"]
    alpha: Scalar | None = None  # where it was drawn
    center: Float[Array, "instances n"] | None = None  # what x is measured from, where drawn
    period: Scalar | None = None  # where it was drawn


class Rastrigin(AbstractFormula):
    """`instances` functions of `n` variables each; the params are x (instances, n).

    - `data`: the law of A, y and c, "uniform" on (0, 1) or "normal" N(0, 1); "textbook": A = I,
      y = 0, c = 1, and only x₀ is drawn
    - `start`: standard deviation of x₀
    - `box`: if a number, x₀ is uniform on (−box, box) instead
    - `alpha`: α, or several, one of which is drawn for each instance
    - `period`: of the ripples, cos(2π x / period), or several, one of which is drawn
    - `shift`: if positive, f(x − x*) with x* uniform on (−shift, shift), drawn with the instance;
      of the textbook function x* is the minimum
    - `reduce`: "sum" or "mean" over the rows of A
    - `offset`: "n", "n2" or "bound"
    """

    n: int = eqx.field(static=True, default=2)
    instances: int = eqx.field(static=True, default=1)
    data: str = eqx.field(static=True, default="normal")
    start: float = eqx.field(static=True, default=1.0)
    factor: float = eqx.field(static=True, default=0.5)
    reduce: str = eqx.field(static=True, default="sum")
    offset: str = eqx.field(static=True, default="bound")
    box: float | None = eqx.field(static=True, default=None)
    alpha: Numbers = eqx.field(static=True, default=10.0, converter=as_tuple)
    shift: float = eqx.field(static=True, default=0.0)
    period: Numbers = eqx.field(static=True, default=1.0, converter=as_tuple)

    def __check_init__(self):
        at_least(1, "Rastrigin", n=self.n, instances=self.instances)
        known_data = (*LAWS, TEXTBOOK)
        for name, known in (("data", known_data), ("reduce", REDUCE), ("offset", OFFSETS)):
            given = getattr(self, name)
            if given not in known:
                raise ValueError(
                    f"Rastrigin: {name} must be one of {', '.join(known)}, got {given!r}."
                )
        reals("Rastrigin", finite=False, start=self.start, shift=self.shift)
        for name, value in (("start", self.start), ("shift", self.shift)):
            if not 0 <= value < math.inf:
                raise ValueError(f"Rastrigin: {name} must not be negative, got {value}.")
        check_all_positive("Rastrigin", factor=self.factor, alpha=self.alpha, period=self.period)
        if self.box is not None:
            check_all_positive("Rastrigin", box=self.box)

    def sample(self, key: Key) -> Ripples:
        key_bowl, key_c = jr.split(key)
        drawn = lambda k, given: one_of(jr.fold_in(key, k), given) if type(given) is tuple else None
        alpha, period = drawn(2, self.alpha), drawn(4, self.period)
        place = lambda key: jr.uniform(key, shape, minval=-self.shift, maxval=self.shift)
        shape = (self.instances, self.n)
        center = place(jr.fold_in(key, 3)) if self.shift else None
        if self.data == TEXTBOOK:
            eye = jnp.broadcast_to(jnp.eye(self.n), (self.instances, self.n, self.n))
            c = jnp.ones(shape)
            return Ripples(Equations(eye, jnp.zeros_like(c)), c, alpha, center, period)
        return Ripples(
            draw_equations(key_bowl, self.data, self.instances, self.n, self.n),
            LAWS[self.data](key_c, shape),
            alpha,
            center,
            period,
        )

    def init(self, instance: Ripples, key: Key) -> Float[Array, "instances n"]:
        shape = (self.instances, self.n)
        if self.box is not None:
            return jr.uniform(key, shape, minval=-self.box, maxval=self.box)
        return self.start * jr.normal(key, shape)

    def loss(
        self, instance: Ripples, batch: tuple[()], key: Key
    ) -> Callable[[Float[Array, "instances n"]], Scalar]:
        alpha = self.alpha if instance.alpha is None else instance.alpha
        period = jnp.asarray(self.period if instance.period is None else instance.period)

        def f(x: Float[Array, "instances n"]) -> Scalar:
            x = x if instance.center is None else x - instance.center.astype(x.dtype)
            r = product(instance.bowl.W, x) - instance.bowl.y  # (instances, rows)
            S = REDUCE[self.reduce](r**2, axis=-1)  # (instances,)
            ripples = jnp.sum(
                instance.c * jnp.cos(2 * math.pi / period.astype(x.dtype) * x), axis=-1
            )
            lift = OFFSETS[self.offset](instance.c)
            return jnp.mean(self.factor * S + alpha * (lift - ripples))

        return f

    def target(self, instance: Ripples) -> Float[Array, "instances n"] | None:
        """The minimum of the textbook function; that of the others is not known."""
        if self.data != TEXTBOOK:
            return None
        return jnp.zeros_like(instance.c) if instance.center is None else instance.center

    def metrics(
        self, params: Float[Array, "instances n"], instance: Ripples, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        return {}
