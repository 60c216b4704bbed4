"""Sparse recovery and LASSO: find a sparse x from few, perhaps noisy, measurements b of it.

    x♯_i = Bernoulli(density) · N(0, 1),   b = A x♯ + noise
    f(x) = ½ ‖Ax − b‖² + regularizer(x)

The noise has for each b the standard deviation std(b) · 10^(−SNR/20). The loss is a `Composite`
whose smooth part tells A and b, and whose `truth` is x♯, for supervised training. An A that all
problems share is data of the task: no episode has a copy.

Protocol: Chen et al., "Learning to optimize: a primer and a benchmark", JMLR 2022.
"""

from typing import Literal, get_args

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
Penalty = Literal["l1", "elastic-net", "group"]
Start = Literal["zero", "normal"]


class Measuring(eqx.Module):
    """A matrix that measures, and L = ‖A‖²."""

    A: Float[Array, "rows n"]
    lipschitz: Scalar


class Measured(eqx.Module):
    """One problem: measurements b of the sparse x♯; with A where that is its own."""

    b: Float[Array, " rows"]
    sparse: Float[Array, " n"]
    own: Measuring | None


class SparseRecovery(AbstractFormula):
    """½‖Ax − b‖² + regularizer(x) with b measured from a sparse x♯.

    - `rows`, `n`: shape of A, whose columns have length 1; at most as many rows as columns
    - `weight`: of the regularizer, not negative
    - `penalty`: "l1"; "elastic-net", with ridge · ‖x‖²/2 added; "group", ‖·‖₂ of `group` neighbours
    - `density`: chance in (0, 1) that an entry of x♯ (or a group of them) is not zero
    - `snr`: signal-to-noise ratio of b in dB; None: no noise
    - `condition`, `correlation`: of A, see `dictionary`
    - `seed`: if a number, all problems share the A drawn from it
    - `start`: "zero", or "normal" N(0, 1)
    """

    rows: int = eqx.field(static=True)
    n: int = eqx.field(static=True)
    weight: float = eqx.field(static=True)
    penalty: Penalty = eqx.field(static=True)
    density: float = eqx.field(static=True)
    snr: float | None = eqx.field(static=True)
    condition: float | None = eqx.field(static=True)
    correlation: float = eqx.field(static=True)
    ridge: float = eqx.field(static=True)
    group: int = eqx.field(static=True)
    seed: int | None = eqx.field(static=True)
    start: Start = eqx.field(static=True)
    shared: Measuring | None

    def __init__(
        self,
        rows: int = 20,
        n: int = 40,
        weight: float = 0.1,
        penalty: Penalty = "l1",
        density: float = 0.1,
        snr: float | None = None,
        condition: float | None = None,
        correlation: float = 0.0,
        ridge: float = 0.1,
        group: int = 4,
        seed: int | None = None,
        start: Start = "zero",
    ):
        self.rows, self.n, self.condition, self.correlation = rows, n, condition, correlation
        self.weight, self.penalty, self.ridge, self.group = weight, penalty, ridge, group
        self.density, self.snr, self.seed, self.start = density, snr, seed, start
        self._check()
        self.shared = None if seed is None else self._measuring(jr.key(seed))

    def _check(self) -> None:
        me = "SparseRecovery"
        check_dictionary(me, self.rows, self.n, self.condition, self.correlation)
        at_least(1, me, group=self.group)
        at_least(0, me, seed=self.seed)
        reals(me, weight=self.weight, ridge=self.ridge, density=self.density, snr=self.snr)
        for name in ("weight", "ridge"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{me}: {name} must be at least 0, got {getattr(self, name)}.")
        if not 0 < self.density < 1:
            raise ValueError(f"{me}: density must be in (0, 1), got {self.density}.")
        if self.penalty not in (known := get_args(Penalty)):
            raise ValueError(f"{me}: penalty is {self.penalty!r}, expected one of {known}.")
        if self.start not in ("zero", "normal"):
            raise ValueError(f"{me}: start is {self.start!r}, expected 'zero' or 'normal'.")
        if self.penalty == "group" and self.n % self.group:
            raise ValueError(f"{me}: n must be a multiple of group {self.group}, got {self.n}.")
        if self.rows > self.n:
            raise ValueError(
                f"{me}: {self.rows} measurements of {self.n} unknowns are no few; give rows of at "
                "most n, or write the problems as a Family."
            )

    def sample(self, key: Key) -> Measured:
        key_A, key_x, key_support, key_noise = jr.split(key, 4)
        own = self._measuring(key_A) if self.shared is None else None
        size = self.group if self.penalty == "group" else 1
        support = jnp.repeat(jr.bernoulli(key_support, self.density, (self.n // size,)), size)
        x = jr.normal(key_x, (self.n,)) * support
        b = self._chosen(own).A @ x
        if self.snr is not None:
            sigma = jnp.std(b) * 10 ** (-self.snr / 20)
            b = b + sigma * jr.normal(key_noise, (self.rows,))
        return Measured(b, x, own)

    def _chosen(self, own: Measuring | None) -> Measuring:
        return own or self.shared  # pyright: ignore[reportReturnType]  one of them is there

    def _measuring(self, key: Key) -> Measuring:
        how = {"condition": self.condition, "correlation": self.correlation}
        A = dictionary(key, self.rows, self.n, **how)
        return Measuring(A, LeastSquares(A, A[:, 0]).lipschitz())

    def init(self, instance: Measured, key: Key) -> Float[Array, " n"]:
        return jnp.zeros(self.n) if self.start == "zero" else jr.normal(key, (self.n,))

    def loss(self, instance: Measured, batch: tuple[()], key: Key) -> Composite:
        by = self._chosen(instance.own)
        smooth = LeastSquares(by.A, instance.b)
        return Composite(smooth, self.regularizer(), by.lipschitz, truth=instance.sparse)

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
