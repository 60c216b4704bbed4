"""A measure times a power of the length of θ, to compare networks whose weights differ in size.

Where the loss does not see the scale of its parameters, f(cθ) = f(θ), as before a normalisation
layer, the curvature still does: H(cθ) = H(θ)/c², so that large weights look flat. λ‖θ‖² does not
change with c.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
from jaxtyping import PyTree

from ..core import tree
from ..core.measure import AbstractMeasure, AbstractWarm
from ..core.types import Key, Params, Scalar


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
        return self.base(loss, params, key=key) * self._size(params)

    def guess(self, params: Params, *, key: Key) -> PyTree:
        return self.base.guess(params, key=key) if isinstance(self.base, AbstractWarm) else ()

    def resume(
        self, loss: Callable[[Params], Scalar], params: Params, guess: PyTree, *, key: Key
    ) -> tuple[Scalar, PyTree]:
        if not isinstance(self.base, AbstractWarm):
            return self(loss, params, key=key), guess
        value, guess = self.base.resume(loss, params, guess, key=key)
        return value * self._size(params), guess

    def _size(self, params: Params) -> Scalar:
        return tree.dot(params, params) ** (self.power // 2)
