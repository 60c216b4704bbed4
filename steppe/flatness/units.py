"""Measures in units of the weights, so that large weights do not look flat.

Where the loss does not see the scale of its parameters, f(cθ) = f(θ), as before a normalisation
layer, the curvature still does: H(cθ) = H(θ)/c². Two remedies, and a control.

`Relative` multiplies a measure by a power of ‖θ‖: λ‖θ‖² does not change with c. With the trace, and
layer by layer, that is the relative flatness of Petzka, Kamp, Adilova, Sminchisescu & Boley,
"Relative flatness and generalization", NeurIPS 2021; here it is of all weights at once.

`Adaptive` takes a measure R of the loss as a function of relative changes ξ of the weights, which
no rescaling of coordinates changes:

    g(ξ) = f(θ ⊙ (1 + ξ)),    R̃(θ) = R of g at ξ = 0

With D = diag θ

    ∇g = D ∇f,    ∇²g = D H D

so that the trace is Σᵢ θᵢ² Hᵢᵢ, and sharpness is that of Kwon, Kim, Park & Choi, "ASAM: adaptive
sharpness-aware minimization", ICML 2021. Where the loss only sees c ⊙ θ for some c, R̃ at θ/c is
R̃ at θ: neither all weights nor those of one layer against another look flat for being large.

With `by="tensors"` each tensor is changed relative to its own length, θ_l + ‖θ_l‖ ξ_l. The trace is
then Σ_l ‖θ_l‖² tr H_ll, a relative flatness layer by layer as that of Petzka, Kamp, Adilova, Boley,
Sminchisescu & Jin, "Relative flatness and generalization", NeurIPS 2021, whose ⟨w_i, w_j⟩ tr H_ij
also has the neurons of a layer mixed. Rescaling one layer against another does not change it.

`SquaredNorm`, ‖θ‖², is the control. Whatever keeps weights small often helps a model on data it
has not seen; a measure of flatness has something to say of its own only where it does more.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, PyTree

from ..core import tree
from ..core.loss import AbstractLoss, precompose
from ..core.measure import AbstractMeasure, AbstractWarm
from ..core.types import Key, Params, Scalar
from .entropy.local_entropy import LocalEntropy
from .products import real


class Adaptive(AbstractWarm):
    """`base` of the loss as a function of relative changes of the weights.

    For every measure that is differentiated as it stands; `LocalEntropy` is not, its gradient is
    one in its own variable.

    - `by`: "weights", each relative to itself, or "tensors", each as a whole relative to its length
    """

    base: AbstractMeasure
    by: Literal["weights", "tensors"] = eqx.field(static=True, default="weights")

    def __check_init__(self):
        if self.by not in ("weights", "tensors"):
            raise ValueError(f"Adaptive: by is {self.by!r}, expected 'weights' or 'tensors'.")
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
    ) -> tuple[AbstractLoss, Params]:
        """g, and ξ = 0."""
        params = real(params)
        if self.by == "tensors":
            lengths = jtu.tree_map(_length, params)
            at = lambda xi: jtu.tree_map(lambda x, r, share: x + r * share, params, lengths, xi)
        else:
            at = lambda xi: jtu.tree_map(lambda x, share: x * (1 + share), params, xi)
        zero = jtu.tree_map(jnp.zeros_like, params)
        return precompose(loss, at), zero


def _length(x: Array) -> Array:
    """‖x‖ of one tensor, with the slope 0 at 0."""
    square = jnp.sum(x * x)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


class Relative(AbstractWarm):
    """base · ‖θ‖^power, differentiated through both factors.

    - `power`: 2 for what scales as H (traces, eigenvalues) or as ‖∇f‖², 4 for
      `HessianFrobenius`. Local entropy and `LogDet` scale as no power of c.

    This removes one common scale and no more. Rescaling one layer against another still changes
    it: compare only within one architecture. Minimised, it also shrinks θ.
    """

    base: AbstractMeasure
    power: Literal[2, 4] = eqx.field(static=True, default=2)

    def __check_init__(self):
        if self.power not in (2, 4):
            raise ValueError(
                f"Relative: power is {self.power!r}, expected 2 (for what scales as the Hessian) "
                "or 4 (for its square)."
            )

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        return self._sized(self.base(loss, params, key=key), params)

    def guess(self, params: Params, *, key: Key) -> PyTree:
        return self.base.guess(params, key=key) if isinstance(self.base, AbstractWarm) else ()

    def resume(
        self, loss: Callable[[Params], Scalar], params: Params, guess: PyTree, *, key: Key
    ) -> tuple[Scalar, PyTree]:
        if not isinstance(self.base, AbstractWarm):
            return self(loss, params, key=key), guess
        value, guess = self.base.resume(loss, params, guess, key=key)
        return self._sized(value, params), guess

    @tree.promoting
    def _sized(self, value: Scalar, params: Params) -> Scalar:
        """value · ‖θ‖^power; the power alone may be out of range."""
        square, s = tree.scaled_square(real(params))
        for _ in range(self.power):
            value = value * s
        return value * square ** (self.power // 2)


class SquaredNorm(AbstractMeasure):
    """‖θ‖² over all weights; the loss is not looked at."""

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        return tree.squared_norm(real(params))
