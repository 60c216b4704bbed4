"""A measure in units of the weights themselves, which no rescaling of coordinates changes.

    g(ξ) = f(θ ⊙ (1 + ξ)),    R̃(θ) = R of g at ξ = 0

A step of ξ is a share of each weight. With D = diag θ

    ∇g = D ∇f,    ∇²g = D H D

so that the trace is Σᵢ θᵢ² Hᵢᵢ, and sharpness is that of Kwon, Kim, Park & Choi, "ASAM: adaptive
sharpness-aware minimization", ICML 2021. Where the loss only sees c ⊙ θ for some c, R̃ at θ/c is
R̃ at θ: large weights do not look flat, neither all of them nor those of one layer against another.
"""

from collections.abc import Callable

import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PyTree

from ..core.measure import AbstractMeasure, AbstractWarm
from ..core.task import Composed
from ..core.types import Key, Params, Scalar
from .entropy.local_entropy import LocalEntropy


class Adaptive(AbstractWarm):
    """`base` of the loss as a function of relative changes of the weights.

    For every measure that is differentiated as it stands; `LocalEntropy` is not, its gradient is
    one in its own variable.
    """

    base: AbstractMeasure

    def __check_init__(self):
        if isinstance(self.base, LocalEntropy):
            raise ValueError(
                "Adaptive: the gradient of LocalEntropy is that of a shifted point, which says "
                "nothing about the units; use Adaptive(Smoothed(gamma)), or LocalEntropy alone."
            )

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        return self.base(*self._seen(loss, params), key=key)

    def guess(self, params: Params, *, key: Key) -> PyTree:
        return self.base.guess(params, key=key) if isinstance(self.base, AbstractWarm) else ()

    def resume(
        self, loss: Callable[[Params], Scalar], params: Params, guess: PyTree, *, key: Key
    ) -> tuple[Scalar, PyTree]:
        seen, zero = self._seen(loss, params)
        if isinstance(self.base, AbstractWarm):
            return self.base.resume(seen, zero, guess, key=key)
        return self.base(seen, zero, key=key), guess

    def _seen(
        self, loss: Callable[[Params], Scalar], params: Params
    ) -> tuple[Callable[[Params], Scalar], Params]:
        """g, and ξ = 0."""
        at = lambda xi: jtu.tree_map(lambda x, share: x * (1 + share), params, xi)
        zero = jtu.tree_map(jnp.zeros_like, params)
        if isinstance(loss, Composed):
            inner = loss.inner
            return Composed(lambda xi: inner(at(xi)), loss.outer), zero
        return lambda xi: loss(at(xi)), zero
