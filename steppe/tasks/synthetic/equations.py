"""Random linear systems W x ≈ y, several side by side: what many synthetic tasks are made of."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float

from ...core.messages import reals
from ...core.types import Key, Scalar

Numbers = float | tuple[float, ...]  # one, or several of which each instance has one

LAWS = {"uniform": jr.uniform, "normal": jr.normal}  # U(0, 1), N(0, 1)


def symmetric(key: Key, shape: tuple[int, ...]) -> Array:
    """Draw from U(−1, 1)."""
    return jr.uniform(key, shape, minval=-1.0)


LABELS: dict[str, Callable[..., Array]] = {**LAWS, "symmetric": symmetric}


class Equations(eqx.Module):
    """The numbers of one problem."""

    W: Float[Array, "instances rows n"]
    y: Float[Array, "instances rows"]


def draw_equations(
    key: Key,
    law: str,
    instances: int,
    rows: int,
    n: int,
    *,
    labels: str | None = None,
    spread: Numbers | None = None,
    between: bool = False,
) -> Equations:
    """W and y with independent entries.

    - `law`: of the entries of W, in `LAWS`
    - `labels`: the law of those of y, in `LABELS`; None: that of W
    - `spread`, `between`: as in `one_of`, a factor of all entries of W; None: 1
    """
    key_W, key_y = jr.split(key)
    W = LAWS[law](key_W, (instances, rows, n))
    y = LABELS[law if labels is None else labels](key_y, (instances, rows))
    if spread is None:
        return Equations(W, y)
    return Equations(W * one_of(jr.fold_in(key, 2), spread, between, W.dtype), y)


def one_of(key: Key, numbers: Numbers, between: bool = False, dtype: Any = None) -> Scalar:
    """The number, one of several, or one between two (`between`), log-uniform."""
    if not isinstance(numbers, tuple):
        return jnp.asarray(numbers, dtype)
    if not between:
        return jr.choice(key, jnp.asarray(numbers, dtype))
    low, high = (jnp.asarray(math.log(x), dtype) for x in numbers)
    return jnp.exp(low + jr.uniform(key, (), low.dtype) * (high - low))


def product(
    W: Float[Array, "instances rows n"], x: Float[Array, "instances n"]
) -> Float[Array, "instances rows"]:
    return jnp.einsum("brn,bn->br", W, x)


def mean_square(r: Float[Array, "instances rows"]) -> Scalar:
    """mean_b ‖r_b‖²"""
    return jnp.mean(jnp.sum(r**2, axis=-1))


def check_law(kind: str, law: str, labels: str | None = None) -> None:
    if law not in LAWS:
        raise ValueError(f"{kind}: data must be one of {', '.join(LAWS)}, got {law!r}.")
    if labels is not None and labels not in LABELS:
        raise ValueError(
            f"{kind}: labels must be None or one of {', '.join(LABELS)}, got {labels!r}."
        )


def as_tuple(numbers: Any) -> Any:
    """A tuple in place of a list, as fields of tasks must be."""
    return tuple(numbers) if isinstance(numbers, list) else numbers


def check_spread(kind: str, spread: Numbers | None, between: bool) -> None:
    """Raise ValueError unless `one_of` can take these."""
    if not isinstance(between, bool):
        raise ValueError(f"{kind}: between must be True or False, got {between!r}.")
    if spread is not None:
        check_all_positive(kind, spread=spread)
    if between and not (isinstance(spread, tuple) and len(spread) == 2 and spread[0] < spread[1]):
        raise ValueError(
            f"{kind}: with between=True the spread must be two numbers, the lower one first, such "
            f"as (0.1, 10.0), got {spread}."
        )


def check_all_positive(kind: str, **values: Numbers) -> None:
    """Raise ValueError unless these are positive numbers, or tuples of some."""
    reals(kind, finite=False, **values)
    for name, value in values.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not numbers or not all(0 < x < math.inf for x in numbers):
            what = "one or more positive numbers" if isinstance(value, tuple) else "positive"
            raise ValueError(f"{kind}: {name} must be {what}, got {value}.")
