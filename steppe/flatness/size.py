"""‖θ‖²: no measure of flatness, but what one has to be better than.

Whatever keeps weights small often helps a model on data it has not seen. A measure of flatness
has something to say of its own only where it does more than this one.
"""

from collections.abc import Callable

from ..core import tree
from ..core.measure import AbstractMeasure
from ..core.types import Key, Params, Scalar


class SquaredNorm(AbstractMeasure):
    """‖θ‖² over all weights; the loss is not looked at."""

    def __call__(self, loss: Callable[[Params], Scalar], params: Params, *, key: Key) -> Scalar:
        return tree.dot(params, params)
