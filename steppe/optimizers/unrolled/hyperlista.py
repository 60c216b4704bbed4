"""HyperLISTA: three numbers for all layers, which need no gradient to be found.

    r = b − A x,   e = ‖A⁺ r‖₁                                      the size of the error of x
    x⁺ = η( x + Wᵀ r + c₂ ‖x‖₀ (x − x₋);  θ = c₁ e,  p = c₃ ln( ‖A⁺ b‖₁ / e ) in [0, 1] )

W follows from A by a formula (`analytic.py`). As the error falls, so does the threshold, and more
of the largest entries are spared: ⌊p n⌋ of them. The numbers suit a family of problems rather than
a matrix; `evaluation.search` finds them on validation problems by trying those of `candidates`.

Chen, Liu, Wang & Yin, "Hyperparameter tuning is all you need for LISTA", NeurIPS 2021. Departures
from its code: the step is 1 and ‖x‖₀ is counted as it is; W is the closed form.
"""

from typing import ClassVar, Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ...core.loss import Composite
from ...core.measure import check_not_negative
from ...core.optimizer import Fixed
from ...core.types import Scalar
from .analytic import closed_form
from .base import (
    AbstractUnrolled,
    Formula,
    Layers,
    Matrix,
    Size,
    check_sizes,
    least_squares,
    number,
)
from .thresholds import soft_except

# Found by a grid on 64 × 128 with 10 layers and on 256 × 512 with 16; c₁ and c₂ go like 1/n.
USUAL = {"c1": 6.4, "c2": 1.28, "c3": 0.3}
CANDIDATES = {
    "c1": (3.2, 4.0, 5.0, 6.4, 8.0, 10.0),
    "c2": (0.0, 0.64, 1.28, 2.56),
    "c3": (0.1, 0.2, 0.3, 0.45),
}


class HyperLISTA(AbstractUnrolled):
    """Chen et al. 2021: three numbers, for thresholds, momentum and selection.

    - `rows`, `n`: shape of A
    - `layers`: at least 1
    - `c1`, `c2`, `c3`: not negative; None: usual ones for this n
    """

    c1: Scalar
    c2: Scalar
    c3: Scalar
    W: Fixed
    inverse: Fixed  # A⁺
    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    formula: ClassVar[Formula] = "dual"
    layers: int = eqx.field(static=True)
    per_layer: ClassVar = ()

    def __init__(
        self,
        rows: Size,
        n: Size,
        layers: Layers = 16,
        c1: float | None = None,
        c2: float | None = None,
        c3: float | None = None,
    ):
        me = "HyperLISTA"
        check_sizes(me, layers, rows=rows, n=n)
        self.rows, self.n, self.layers = rows, n, layers
        usual = {name: values / in_units(name, n) for name, values in USUAL.items()}
        given = {"c1": c1, "c2": c2, "c3": c3}
        for name, value in given.items():
            if value is not None:
                check_not_negative(me, name, value, f"{usual[name]:.3g} is usual.")
        numbers = {name: usual[name] if c is None else c for name, c in given.items()}
        self.c1, self.c2, self.c3 = (number(c) for c in numbers.values())
        self.W = Fixed(jnp.zeros((rows, n), jnp.result_type(float)))
        self.inverse = Fixed(jnp.zeros((n, rows), jnp.result_type(float)))

    def candidates(self) -> dict[str, tuple[float, ...]]:
        """Values of the three numbers that are worth trying: 96 combinations."""
        return {
            name: tuple(value / in_units(name, self.n) for value in values)
            for name, values in CANDIDATES.items()
        }

    def started(self, A: Matrix) -> Self:
        found = number(closed_form(A)), number(np.linalg.pinv(A))
        return eqx.tree_at(lambda net: (net.W.value, net.inverse.value), self, found)

    def start(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return x

    def layer(
        self, k: Int[Array, ""], x: Float[Array, " n"], memory: Float[Array, " n"], loss: Composite
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        squares = least_squares(loss)
        r, b = squares.b - squares.forward(x), squares.b
        error, whole = jnp.sum(jnp.abs(self.inverse.value @ jnp.stack([r, b], axis=1)), axis=0)
        theta = self.c1 * error
        beta = self.c2 * jnp.count_nonzero(x).astype(x.dtype)
        z = x + r @ self.W.value + beta * (x - memory)
        least = jnp.finfo(x.dtype).tiny  # for b = 0, and where the error is
        ratio = jnp.maximum(whole, least) / jnp.maximum(error, least)
        spared = largest_share(z, self.c3 * jnp.log(ratio))
        return soft_except(z, theta, spared), x


def largest_share(z: Float[Array, " n"], share: Scalar) -> Bool[Array, " n"]:
    """True for the ⌊share · n⌋ entries of z of the largest sizes; a constant for gradients.

    - `share`: taken as 0 below 0 and as 1 above 1
    """
    size, share = jax.lax.stop_gradient((jnp.abs(z), jnp.clip(share, 0, 1)))
    count = jnp.floor(share * len(z)).astype(jnp.int32)
    ranked = jnp.sort(size)  # the count-th from the end is the least that is spared
    return (size >= ranked[-jnp.maximum(count, 1)]) & (count > 0)


def in_units(name: str, n: int) -> int:
    """The divisor of a number of the tables above: n, but for c₃."""
    return 1 if name == "c3" else n
