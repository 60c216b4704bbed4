"""Sparse recovery and LASSO: find a sparse x from few, perhaps noisy, measurements b of it.

    x♯_i = Bernoulli(density) · N(0, 1),   b = A x♯ + noise
    f(x) = ½ ‖Ax − b‖² + regularizer(x)

The noise has for each b the standard deviation std(b) · 10^(−SNR/20). The loss is a `Composite`
whose smooth part tells A and b; x♯ is kept in the instance, for supervised training and for the
recovery error. Protocol: Chen et al., "Learning to optimize: a primer and a benchmark", JMLR 2022.
"""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.loss import Composite, LeastSquares
from ...core.messages import at_least, reals
from ...core.regularizer import L1, AbstractRegularizer, ElasticNet, GroupL2
from ...core.task import AbstractFormula
from ...core.types import Key, Scalar
from .dictionaries import check_dictionary, dictionary

FLOOR = 1e-30  # of the recovery error
PENALTIES = ("l1", "elastic-net", "group")


class Measured(eqx.Module):
    """One problem: measurements b of the sparse x♯ by A, and L = ‖A‖²."""

    A: Float[Array, "rows n"]
    b: Float[Array, " rows"]
    sparse: Float[Array, " n"]
    lipschitz: Scalar


class SparseRecovery(AbstractFormula):
    """½‖Ax − b‖² + regularizer(x) with b measured from a sparse x♯.

    - `rows`, `n`: shape of A, whose columns have length 1
    - `weight`: of the regularizer, not negative
    - `penalty`: "l1"; "elastic-net", with ridge · ‖x‖²/2 added; "group", ‖·‖₂ of `group` neighbours
    - `density`: chance in (0, 1] that an entry of x♯ (or a group of them) is not zero
    - `snr`: signal-to-noise ratio of b in dB; None: no noise
    - `condition`, `correlation`: of A, see `dictionary`
    - `seed`: if a number, all problems share the A drawn from it
    - `start`: "zero", or "normal" N(0, 1)
    """

    rows: int = eqx.field(static=True, default=20)
    n: int = eqx.field(static=True, default=40)
    weight: float = eqx.field(static=True, default=0.1)
    penalty: Literal["l1", "elastic-net", "group"] = eqx.field(static=True, default="l1")
    density: float = eqx.field(static=True, default=0.1)
    snr: float | None = eqx.field(static=True, default=None)
    condition: float | None = eqx.field(static=True, default=None)
    correlation: float = eqx.field(static=True, default=0.0)
    ridge: float = eqx.field(static=True, default=0.1)
    group: int = eqx.field(static=True, default=4)
    seed: int | None = eqx.field(static=True, default=None)
    start: Literal["zero", "normal"] = eqx.field(static=True, default="zero")

    def __check_init__(self):
        me = "SparseRecovery"
        check_dictionary(me, self.rows, self.n, self.condition, self.correlation)
        at_least(1, me, group=self.group)
        at_least(0, me, seed=self.seed)
        reals(me, weight=self.weight, ridge=self.ridge, density=self.density, snr=self.snr)
        for name in ("weight", "ridge"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{me}: {name} must be at least 0, got {getattr(self, name)}.")
        if not 0 < self.density <= 1:
            raise ValueError(f"{me}: density must be in (0, 1], got {self.density}.")
        if self.penalty not in PENALTIES:
            raise ValueError(f"{me}: penalty is {self.penalty!r}, expected one of {PENALTIES}.")
        if self.start not in ("zero", "normal"):
            raise ValueError(f"{me}: start is {self.start!r}, expected 'zero' or 'normal'.")
        if self.penalty == "group" and self.n % self.group:
            raise ValueError(f"{me}: n must be a multiple of group {self.group}, got {self.n}.")

    def sample(self, key: Key) -> Measured:
        key_A, key_x, key_support, key_noise = jr.split(key, 4)
        key_A = key_A if self.seed is None else jr.key(self.seed)
        A = dictionary(
            key_A, self.rows, self.n, condition=self.condition, correlation=self.correlation
        )
        size = self.group if self.penalty == "group" else 1
        support = jnp.repeat(jr.bernoulli(key_support, self.density, (self.n // size,)), size)
        x = jr.normal(key_x, (self.n,)) * support
        b = A @ x
        if self.snr is not None:
            sigma = jnp.std(b) * 10 ** (-self.snr / 20)
            b = b + sigma * jr.normal(key_noise, (self.rows,))
        return Measured(A, b, x, LeastSquares(A, b).lipschitz())

    def init(self, instance: Measured, key: Key) -> Float[Array, " n"]:
        return jnp.zeros(self.n) if self.start == "zero" else jr.normal(key, (self.n,))

    def loss(self, instance: Measured, batch: tuple[()], key: Key) -> Composite:
        smooth = LeastSquares(instance.A, instance.b)
        return Composite(smooth, self.regularizer(), instance.lipschitz)

    def regularizer(self) -> AbstractRegularizer:
        """The term that is added to the misfit."""
        if self.penalty == "elastic-net":
            return ElasticNet(self.weight, self.ridge)
        return GroupL2(self.weight, self.group) if self.penalty == "group" else L1(self.weight)

    def target(self, instance: Measured) -> None:
        return None

    def metrics(
        self, params: Float[Array, " n"], instance: Measured, batch: tuple[()], key: Key
    ) -> dict[str, Scalar]:
        """The recovery error in dB, 10 log₁₀ (‖x − x♯‖² / ‖x♯‖²), at least −300.

        Where x♯ is 0, its size is taken for 1.
        """
        error, size = jnp.sum((params - instance.sparse) ** 2), jnp.sum(instance.sparse**2)
        ratio = error / jnp.where(size > 0, size, 1)
        return {"nmse": 10 * jnp.log10(jnp.maximum(ratio, FLOOR))}
