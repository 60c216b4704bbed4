"""Scheduled: any optimizer with a factor on its updates, and a cosine that brings them to zero.

    θ ← θ + a s(t) u,      s(t) = ½ (1 + cos πt/T) for t < T, 0 from T on; 1 without steps

What an optimizer remembers is its own: it does not see that its updates were scaled. For a rule
whose learning rate is a last factor (gradient descent, momentum, Adam, AdamW, SAM around them)
this is its schedule, the same as in optax; for a learned rule it is the one number that a few
trials can tune.

Loshchilov & Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017, without the
restarts.
"""

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, Int

from ..core import tree
from ..core.measure import check_count, check_positive
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key, OptState, Params, Scalar, Updates


class ScheduledState(eqx.Module):
    base: OptState
    count: Int[Array, ""]  # steps made


class Scheduled(AbstractOptimizer):
    """`base`, each of whose updates is multiplied by a s(t).

    - `factor`: a, positive; θ like the numbers of `base`
    - `steps`: T, after which nothing moves; None: no cosine
    """

    base: AbstractOptimizer
    factor: Float[Array, ""]
    steps: int | None = eqx.field(static=True)

    def __init__(
        self, base: AbstractOptimizer, factor: float | Scalar = 1.0, steps: int | None = None
    ):
        self.base, self.steps = base, steps
        self.factor = jnp.asarray(factor, jnp.result_type(float))

    def __check_init__(self):
        if not isinstance(self.base, AbstractOptimizer):
            raise ValueError(
                f"Scheduled: base is a {type(self.base).__name__}, expected a steppe optimizer "
                'such as steppe.load("rnnprop-v1").'
            )
        check_positive("Scheduled", "factor", self.factor, "It multiplies the updates.")
        if self.steps is not None:
            check_count("Scheduled", "steps", self.steps)

    @property
    def matrix(self) -> bool:
        """True where `base` is best run on all episodes at once."""
        return getattr(self.base, "matrix", False)

    def counts(self, state: ScheduledState) -> dict[str, Scalar]:
        """Counts of `base`."""
        own = getattr(self.base, "counts", lambda state: {})
        return own(state.base)

    def init(self, params: Params, *, key: Key | None = None) -> ScheduledState:
        return ScheduledState(self.base.init(params, key=key), jnp.zeros((), jnp.int32))

    def update(
        self, grads: Updates, state: ScheduledState, params: Params, **extra
    ) -> tuple[Updates, ScheduledState]:
        updates, base = self.base.update(grads, state.base, params, **extra)
        dtype = tree.working_dtype(updates)
        size = self.factor.astype(dtype) * self._share(state.count, dtype)
        scale = lambda u: (size * u.astype(dtype)).astype(u.dtype)
        return jtu.tree_map(scale, updates), ScheduledState(base, state.count + 1)

    def _share(self, count: Int[Array, ""], dtype: jnp.dtype) -> Scalar:
        """s(t)"""
        if self.steps is None:
            return jnp.ones((), dtype)
        done = jnp.minimum(count.astype(dtype) / self.steps, 1)
        return (1 + jnp.cos(jnp.pi * done)) / 2
