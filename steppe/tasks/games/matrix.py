"""Matrix games: two players pull one product in opposite directions.

    min over x, max over y of  xᵀ A y

    law of the entries of A     source
    "normal"                    N(0, 1)
    "uniform"                   U(½, 1): published with one unknown for each player
    "bernoulli-uniform"         0 or U(½, 1), each half of the time: published with five

The solution is (0, 0), the only one where A can be inverted. Simultaneous descent and ascent
spirals away from it by a factor of √(1 + η²σ²) a step, σ a singular value of A and η the rate.

Published laws: Shen et al., "Learning a minimax optimizer: a pilot study", ICLR 2021 (Twin-L2O). Of
their 5×5 matrices three in ten are singular. There the distance to (0, 0) says little, since all of
(ker Aᵀ, ker A) solves the game: go by the merit, or bound the condition number.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int

from ...core.arguments import real
from ...core.loss import Saddle
from ...core.messages import at_least, did_you_mean
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar, Split
from ...data.games import condition_numbers, matrix_games
from .players import Players, cube, from_zero

LAWS = ("normal", "uniform", "bernoulli-uniform")
STARTS = ("normal", "uniform")
TRIES = 1000  # matrices drawn until one has a small condition number

Matrix = Float[Array, "n n"]


class MatrixGame(AbstractFormula):
    """xᵀAy in `n` unknowns for each player; the params are {"min": x, "max": y}.

    Linear in either player, so convex-concave: its operator F = (Ay, −Aᵀx) is monotone, never
    strongly, and Lipschitz with the constant ‖A‖.

    - `law`: of the entries of A, see above
    - `start`: of both players, "normal" N(0, 1), or "uniform" U(−½, ½) as published
    - `largest_condition`: only matrices whose largest singular value is at most so many times the
      smallest; None: all. If none of 1000 draws is like that, A is NaN, and the episode is counted
      as one that is not finite
    - `folder`: of published matrices, see `data.games`; None: A is drawn
    - `split`: which of the published matrices: "train", "valid" or "test"
    """

    n: int = eqx.field(static=True)
    law: str = eqx.field(static=True)
    start: str = eqx.field(static=True)
    largest_condition: float | None = eqx.field(static=True)
    folder: str | None = eqx.field(static=True)
    split: Split = eqx.field(static=True)
    matrices: Float[Array, "count n n"] | None

    def __init__(
        self,
        n: int = 5,
        law: str = "normal",
        start: str = "normal",
        largest_condition: float | None = None,
        folder: str | None = None,
        split: Split = "train",
    ):
        at_least(1, "MatrixGame", n=n)
        for name, given, known in (("law", law, LAWS), ("start", start, STARTS)):
            if given not in known:
                raise ValueError(
                    f"MatrixGame: there is no {name} {given!r}; {did_you_mean(given, known)}"
                )
        self.n, self.law, self.start = n, law, start
        self.largest_condition = largest_condition
        if largest_condition is not None:
            self.largest_condition = real("MatrixGame: largest_condition", largest_condition)
            if self.largest_condition < 1:
                raise ValueError(
                    f"MatrixGame: largest_condition must be at least 1, got {largest_condition}."
                )
        self.folder, self.split = folder, split
        self.matrices = None if folder is None else self._read(str(folder))

    def _read(self, folder: str) -> Float[Array, "count n n"]:
        A, most = matrix_games(folder, self.n, self.split), self.largest_condition
        kept = A if most is None else A[condition_numbers(A) <= most]
        if not len(kept):
            raise ValueError(
                f"MatrixGame: none of the {len(A)} matrices in {folder} has a condition number of "
                f"{most:g} or less; give a larger largest_condition."
            )
        return jnp.asarray(kept, jnp.result_type(float))

    def sample(self, key: Key) -> Matrix:
        if self.matrices is not None:
            return jr.choice(key, self.matrices)
        if self.largest_condition is None:
            return self._draw(key)

        most = self.largest_condition
        allowed = lambda A: _spread(A)[0] <= most * _spread(A)[1]

        def poor(tried: tuple[Matrix, Int[Array, ""], Key]) -> Array:
            return ~allowed(tried[0]) & (tried[1] < TRIES)

        def again(tried: tuple[Matrix, Int[Array, ""], Key]) -> tuple[Matrix, Array, Key]:
            key, own = jr.split(tried[2])
            return self._draw(own), tried[1] + 1, key

        first = (self._draw(key), jnp.ones((), jnp.int32), jr.fold_in(key, 1))
        A, *_ = jax.lax.while_loop(poor, again, first)
        return jnp.where(allowed(A), A, np.nan)

    def _draw(self, key: Key) -> Matrix:
        if self.law == "normal":
            return jr.normal(key, (self.n, self.n))
        key_size, key_there = jr.split(key)
        A = jr.uniform(key_size, (self.n, self.n), minval=0.5, maxval=1.0)
        there = jr.bernoulli(key_there, 0.5, A.shape) | (self.law == "uniform")
        return jnp.where(there, A, 0)

    def init(self, instance: Matrix, key: Key) -> Players:
        if self.start == "uniform":
            return cube(key, self.n)
        key_min, key_max = jr.split(key)
        return {"min": jr.normal(key_min, (self.n,)), "max": jr.normal(key_max, (self.n,))}

    def loss(self, instance: Matrix, batch: tuple[()], key: Key) -> Saddle:
        return Saddle(lambda params: params["min"] @ instance @ params["max"])

    def target(self, instance: Matrix) -> Players:
        return {"min": 0 * instance[0], "max": 0 * instance[0]}

    def metrics(
        self, params: Players, instance: Matrix, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """Merit and distances, see `players.from_zero`."""
        return from_zero(self.loss(instance, batch, key), params)


def _spread(A: Matrix) -> tuple[Scalar, Scalar]:
    """The largest and the smallest singular value."""
    sizes = jnp.linalg.svd(A, compute_uv=False)
    return sizes[0], sizes[-1]
