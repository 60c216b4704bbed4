"""The seesaw: many solutions, and no convexity.

    min over u, max over v of  −b v sin(a π u),    solutions: v = 0 and u = k/a, k a whole number

Shen et al., "Learning a minimax optimizer: a pilot study", ICLR 2021 (Twin-L2O), whose ranges of a
and b are numbered:

    range      1          2          3          4          5          6         7
    a        0.9 … 1    0 … 1      0 … 3.5    0 … 5      0.9 … 1    0 … 5     0 … 5
    b        0.9 … 1    0.9 … 1    0.9 … 1    0.9 … 1    0 … 1      0 … 1     0 … 2
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.arguments import whole
from ...core.loss import Saddle
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from ...data.games import seesaw_pairs
from ..names import SEESAWS
from .players import Players, cube, distances

Pair = dict[str, Float[Array, ""]]  # {"a": …, "b": …}


class Seesaw(AbstractFormula):
    """−b v sin(aπu); the params are {"min": u, "max": v}, one number each, U(−½, ½) at the start.

    Linear in v but not convex in u: its operator is not monotone, and no bound for convex-concave
    games holds.

    - `range`: 1 … 7, see above
    - `folder`: of published problems, see `data.games`; None: a and b are drawn
    """

    range: int = eqx.field(static=True)
    folder: str | None = eqx.field(static=True)
    pairs: Float[Array, "count 2"] | None

    def __init__(self, range: int = 1, folder: str | None = None):
        self.range = whole("Seesaw: range", range, least=1, most=len(SEESAWS))
        self.folder = folder
        read = lambda: jnp.asarray(seesaw_pairs(str(folder), self.range), jnp.result_type(float))
        self.pairs = None if folder is None else read()

    def sample(self, key: Key) -> Pair:
        if self.pairs is not None:
            a, b = jr.choice(key, self.pairs)
            return {"a": a, "b": b}
        keys = jr.split(key)
        ends = SEESAWS[self.range]
        a, b = (
            jr.uniform(key, (), minval=low, maxval=high)
            for key, (low, high) in zip(keys, ends, strict=True)
        )
        return {"a": a, "b": b}

    def init(self, instance: Pair, key: Key) -> Players:
        return cube(key, 1)

    def loss(self, instance: Pair, batch: tuple[()], key: Key) -> Saddle:
        def f(params: Players) -> Scalar:
            u, v = params["min"], params["max"]
            a, b = (instance[name].astype(u.dtype) for name in ("a", "b"))
            return -jnp.sum(b * v * jnp.sin(a * jnp.pi * u))

        return Saddle(f)

    def target(self, instance: Pair) -> None:
        return None  # there are many

    def metrics(
        self, params: Players, instance: Pair, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """Merit ‖(∇ᵤf, −∇ᵥf)‖ and the distances.

        As published `distance_min` is that of u to the nearest k/a with k ≥ 0, though the solutions
        of negative k are as good.
        """
        u, v = params["min"][0], params["max"][0]
        to_min, to_max = to_nearest(u, instance["a"].astype(u.dtype)), jnp.abs(v)
        found = {"merit": self.loss(instance, batch, key).merit(params)}
        return found | distances(to_min, to_max, jnp.hypot(to_min, to_max))


def to_nearest(u: Scalar, a: Scalar) -> Scalar:
    """|u − k/a| for the nearest k ≥ 0; |u| where a = 0, and all u but 0 lie infinitely far off."""
    positive = a > 0
    safe = jnp.where(positive, a, 1)
    k = jax.lax.stop_gradient(jnp.where(positive, jnp.maximum(jnp.round(a * u), 0), 0))
    return jnp.abs(u - k / safe)
