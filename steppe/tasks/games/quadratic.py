"""The quadratic saddle, plain or rotated.

    min over u, max over v of  Σᵢ aᵢ uᵢ² − bᵢ vᵢ² + 2 c uᵢ vᵢ,    a, b ~ U(low, high)

c = 0 is the saddle and c = 1 the rotated saddle of Shen et al., "Learning a minimax optimizer: a
pilot study", ICLR 2021 (Twin-L2O), with one coordinate of each player and a, b ~ U(0.9, 1).
"""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.arguments import real
from ...core.loss import Saddle
from ...core.messages import at_least
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from .players import Players, check_law, cube, from_zero

Curvatures = dict[str, Float[Array, " n"]]  # {"a": …, "b": …}


class QuadraticGame(AbstractFormula):
    """Σ aᵢuᵢ² − bᵢvᵢ² + 2c uᵢvᵢ; the params are {"min": u, "max": v}, each U(−½, ½) at the start.

    Convex in u and concave in v: its operator F = (∇ᵤf, −∇ᵥf) is monotone, strongly where a and b
    are positive. The solution is (0, 0).

    - `n`: coordinates of each player
    - `coupling`: c
    - `curvature`: ends of the law of a and b, not negative
    """

    n: int = eqx.field(static=True)
    coupling: float = eqx.field(static=True)
    curvature: tuple[float, float] = eqx.field(static=True)

    def __init__(
        self, n: int = 1, coupling: float = 0.0, curvature: tuple[float, float] = (0.9, 1.0)
    ):
        at_least(1, "QuadraticGame", n=n)
        self.n, self.coupling = n, real("QuadraticGame: coupling", coupling)
        self.curvature = check_law("QuadraticGame", "curvature", curvature)

    def sample(self, key: Key) -> Curvatures:
        low, high = self.curvature
        a, b = jr.uniform(key, (2, self.n), minval=low, maxval=high)
        return {"a": a, "b": b}

    def init(self, instance: Curvatures, key: Key) -> Players:
        return cube(key, self.n)

    def loss(self, instance: Curvatures, batch: tuple[()], key: Key) -> Saddle:
        def f(params: Players) -> Scalar:
            a, b = (instance[name].astype(params["min"].dtype) for name in ("a", "b"))
            u, v = params["min"], params["max"]
            return jnp.sum(a * u**2 - b * v**2 + 2 * self.coupling * u * v)

        return Saddle(f)

    def target(self, instance: Curvatures) -> Players:
        return {"min": 0 * instance["a"], "max": 0 * instance["b"]}

    def metrics(
        self, params: Players, instance: Curvatures, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """Merit and distances, see `players.from_zero`."""
        return from_zero(self.loss(instance, batch, key), params)
