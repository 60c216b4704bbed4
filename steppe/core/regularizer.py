"""Convex regularizers with a proximal map.

    prox(z, t) = argmin_x  r(x) + Σᵢ (xᵢ − zᵢ)² / (2 tᵢ)

    Zero         0                         z
    L1           w ‖x‖₁                    soft(z, t w) = sign(z) max(|z| − t w, 0)
    ElasticNet   w₁ ‖x‖₁ + w₂ ‖x‖² / 2     soft(z, t w₁) / (1 + t w₂)
    Box          0 where low ≤ x ≤ high    z clipped
    GroupL2      w Σ_g ‖x_g‖₂              z_g max(1 − t w / ‖z_g‖, 0)

Parikh & Boyd, "Proximal algorithms", 2014. A separable r is a sum over coordinates: it alone has a
closed form for steps t that differ between them.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float

from . import tree
from .measure import check_not_negative
from .messages import at_least, reals
from .types import Params, Scalar

CONVEX = "A negative weight has no proximal map; for no regularizer take `Zero()`."


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


class Zero(AbstractRegularizer):
    """No regularizer: a smooth problem in the form that proximal methods ask for."""

    @property
    def separable(self) -> bool:
        return True

    def __call__(self, params: Params) -> Scalar:
        return _sum(lambda x: jnp.zeros((), x.dtype), params)

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        return z


class L1(AbstractRegularizer):
    """weight · ‖x‖₁, with weight ≥ 0."""

    weight: float | Scalar

    def __check_init__(self):
        check_not_negative("L1", "weight", self.weight, CONVEX)

    @property
    def separable(self) -> bool:
        return True

    def __call__(self, params: Params) -> Scalar:
        return self.weight * _sum(lambda x: jnp.sum(x * jnp.sign(x)), params)

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        return jtu.tree_map(lambda z, t: soft(z, t * self.weight), z, steps_like(z, step))


class ElasticNet(AbstractRegularizer):
    """l1 · ‖x‖₁ + l2 · ‖x‖² / 2, both weights ≥ 0 (Zou & Hastie 2005)."""

    l1: float | Scalar
    l2: float | Scalar

    def __check_init__(self):
        check_not_negative("ElasticNet", "l1", self.l1, CONVEX)
        check_not_negative("ElasticNet", "l2", self.l2, CONVEX)

    @property
    def separable(self) -> bool:
        return True

    def __call__(self, params: Params) -> Scalar:
        one = lambda x: self.l1 * jnp.sum(x * jnp.sign(x)) + self.l2 * jnp.sum(x**2) / 2
        return _sum(one, params)

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        one = lambda z, t: soft(z, t * self.l1) / (1 + t * self.l2)
        return jtu.tree_map(one, z, steps_like(z, step))


class Box(AbstractRegularizer):
    """0 where every coordinate is in [low, high], ∞ elsewhere."""

    low: float | Scalar
    high: float | Scalar

    @property
    def separable(self) -> bool:
        return True

    def __call__(self, params: Params) -> Scalar:
        outside = lambda x: jnp.sum(jnp.where((x < self.low) | (x > self.high), jnp.inf, 0.0))
        return _sum(outside, params)

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        return jtu.tree_map(lambda z: jnp.clip(z, self.low, self.high), z)


class GroupL2(AbstractRegularizer):
    """weight · Σ ‖x_g‖₂ over groups of `size` neighbours on the last axis (Yuan & Lin 2006)."""

    weight: float | Scalar
    size: int = eqx.field(static=True)

    def __check_init__(self):
        at_least(1, "GroupL2", size=self.size)
        check_not_negative("GroupL2", "weight", self.weight, CONVEX)

    @property
    def separable(self) -> bool:
        return self.size == 1

    def __call__(self, params: Params) -> Scalar:
        return self.weight * _sum(lambda x: jnp.sum(lengths(self._groups(x))), params)

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        def one(z: Array, t: float | Array) -> Array:
            groups = self._groups(z)
            if jnp.ndim(t):
                t = self._groups(jnp.asarray(t))[..., :1]  # equal within a group
            size = lengths(groups)
            kept = jnp.maximum(size - t * self.weight, 0) / jnp.where(size > 0, size, 1)
            return (groups * kept).reshape(z.shape)

        return jtu.tree_map(one, z, steps_like(z, step))

    def _groups(self, x: Array) -> Array:
        if x.ndim == 0 or x.shape[-1] % self.size:
            raise ValueError(
                f"GroupL2: groups of {self.size} need a last axis of a multiple of that length, "
                f"got the shape {x.shape}; give another size."
            )
        return x.reshape(*x.shape[:-1], -1, self.size)


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


class Translated(AbstractRegularizer):
    """r(x + shift) of `base`: prox(z, t) = prox of r at z + shift, less the shift."""

    base: AbstractRegularizer
    shift: float | Scalar

    def __check_init__(self):
        reals("Translated", shift=self.shift)

    @property
    def separable(self) -> bool:
        return self.base.separable

    def __call__(self, params: Params) -> Scalar:
        return self.base(moved(params, self.shift))

    def prox(self, z: Params, step: float | Scalar | Params) -> Params:
        return moved(self.base.prox(moved(z, self.shift), step), -self.shift)


def moved(x: Params, shift: float | Scalar) -> Params:
    """x + shift in every coordinate."""
    return jtu.tree_map(lambda leaf: leaf + jnp.asarray(shift, leaf.dtype), x)


def soft(z: Array, threshold: float | Array) -> Array:
    """sign(z) max(|z| − threshold, 0), the soft threshold."""
    return jnp.where(jnp.abs(z) <= threshold, 0, z - threshold * jnp.sign(z))


def lengths(groups: Float[Array, "*shape size"]) -> Float[Array, "*shape 1"]:
    """‖·‖₂ over the last axis, with the slope 0 at 0."""
    squares = jnp.sum(groups**2, axis=-1, keepdims=True)
    return jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


def _sum(part: Callable[[Array], Scalar], params: Params) -> Scalar:
    """The sum of a part over all leaves, in the widest of their dtypes."""
    parts = [part(x) for x in jtu.tree_leaves(params)]
    dtype = tree.widest(*(x.dtype for x in parts)) if parts else jnp.result_type(float)
    return sum((x.astype(dtype) for x in parts), start=jnp.zeros((), dtype))


def steps_like(z: Params, step: float | Scalar | Params) -> Params:
    """A step for every leaf of z."""
    if jtu.tree_structure(step) == jtu.tree_structure(z):
        return step
    return jtu.tree_map(lambda _: step, z)
