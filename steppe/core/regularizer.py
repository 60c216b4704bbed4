"""Convex regularizers with a proximal map.

    prox(z, t) = argmin_x  r(x) + Σᵢ (xᵢ − zᵢ)² / (2 tᵢ)

Parikh & Boyd, "Proximal algorithms", 2014. A separable r is a sum over coordinates: it alone has a
closed form for steps t that differ between them.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu

from .types import Params, Scalar


class AbstractRegularizer(eqx.Module):
    """A convex function of the parameters with a proximal map in closed form."""

    @property
    @abc.abstractmethod
    def separable(self) -> bool:
        """A sum over coordinates, or not."""

    @abc.abstractmethod
    def __call__(self, params: Params) -> Scalar:
        """r(x)"""

    @abc.abstractmethod
    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        """The minimiser of r(x) + Σᵢ (xᵢ − zᵢ)² / (2 tᵢ).

        - `z`: like the parameters
        - `step`: t > 0, a number; or a tree like the parameters, if r is separable
        """


class L1(AbstractRegularizer):
    """weight · ‖x‖₁; its proximal map is the soft threshold sign(z) max(|z| − t · weight, 0)."""

    weight: float | Scalar

    @property
    def separable(self) -> bool:
        return True

    def __call__(self, params: Params) -> Scalar:
        # |x| with the slope 0 at 0 (JAX takes 1 for jnp.abs).
        sizes = [jnp.sum(x * jnp.sign(x)) for x in jtu.tree_leaves(params)]
        return self.weight * sum(sizes[1:], start=sizes[0])

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        soft = lambda z, t: jnp.sign(z) * jnp.maximum(jnp.abs(z) - t * self.weight, 0)
        return jtu.tree_map(soft, z, steps_like(z, step))


class InUnits(AbstractRegularizer):
    """r(c ⊙ x) of a separable `base`: prox(z, t) = prox of r at (c ⊙ z, c² ⊙ t), divided by c."""

    base: AbstractRegularizer
    c: Params

    def __check_init__(self):
        if not self.base.separable:
            raise ValueError(
                f"InUnits: {type(self.base).__name__} is no sum over coordinates, so that its "
                "proximal map in other units has no closed form; take a separable one, such as L1."
            )

    @property
    def separable(self) -> bool:
        return True

    def __call__(self, params: Params) -> Scalar:
        return self.base(jtu.tree_map(jnp.multiply, self.c, params))

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        inside = jtu.tree_map(jnp.multiply, self.c, z)
        steps = jtu.tree_map(lambda c, t: c**2 * t, self.c, steps_like(z, step))
        return jtu.tree_map(jnp.divide, self.base.prox(inside, steps), self.c)


def steps_like(z: Params, step: float | Scalar | Params) -> Params:
    """A step for every leaf of z."""
    if jtu.tree_structure(step) == jtu.tree_structure(z):
        return step
    return jtu.tree_map(lambda _: step, z)
