"""Calibration of a classifier: does it know how often it is wrong?

    p_i = softmax(z_i)      confidence c_i = max p_i      right_i = 1 where its class is the label

    ECE                    Σ_b |Σ_{i in bin b} (right_i − c_i)| / n     bins ((b − 1)/15, b/15]
    temperature            the T in [1/20, 20] with the least mean −log softmax(z_i/T)[y_i] on the
                           validation split
    scaled loss            that mean on the test split, at this T

A network that has learned its training data by heart is too sure of itself: its test loss rises
while its accuracy stays. The scaled loss is free of that, as one number, T, mends it.

Guo, Pleiss, Sun & Weinberger, "On calibration of modern neural networks", ICML 2017, with their 15
bins of equal width. −log softmax(sz)[y] is convex in s = 1/T, so that T is found by bisection.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..core.task import AbstractTask
from ..core.types import Instance, Key, Params, Scalar
from ..tasks.classify import correct, cross_entropy

BINS = 15
LARGEST = 20.0  # temperature; the smallest is its inverse
HALVINGS = 40  # of the interval of ln s

Logits = Float[Array, "rows classes"]
Labels = Int[Array, " rows"]


def calibration(task: AbstractTask, instance: Instance, params: Params, key: Key) -> dict:
    """The three numbers at `params`, whole splits; {} of a task that does not classify."""
    predictions = getattr(task, "predictions", None)
    if predictions is None:
        return {}
    valid, test = (
        predictions(params, instance, task.full_batch(instance, split=split), key)
        for split in ("valid", "test")
    )
    T = temperature(*valid)
    return {
        "valid_temperature": T,
        "test_ece": calibration_error(*test),
        "test_scaled_loss": cross_entropy(test[0] / T, test[1]),
    }


def calibration_error(z: Logits, y: Labels) -> Scalar:
    """Expected calibration error, 0 … 1; NaN where a logit is not a number."""
    sure = jnp.max(jax.nn.softmax(z), axis=-1)  # (rows,)
    place = jnp.clip(jnp.ceil(sure * BINS) - 1, 0, BINS - 1)
    inside = place[:, None] == jnp.arange(BINS, dtype=place.dtype)[None]  # (rows, bins)
    gaps = jnp.where(inside, (correct(z, y) - sure)[:, None], 0).sum(axis=0)
    found = jnp.abs(gaps).sum() / len(y)
    return jnp.where(jnp.any(jnp.isnan(sure)), jnp.nan, found)


def temperature(z: Logits, y: Labels) -> Scalar:
    """The temperature of least mean loss; an end of its range where the loss falls up to there."""
    label = jnp.take_along_axis(z, y[:, None].astype(jnp.int32), axis=-1)[:, 0]

    def slope(s: Scalar) -> Scalar:
        """Derivative by s: it grows with s."""
        return jnp.mean(jnp.sum(jax.nn.softmax(s * z) * z, axis=-1) - label)

    def halve(_: int, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = ends
        middle = (low + high) / 2
        falls = slope(jnp.exp(middle)) < 0
        return jnp.where(falls, middle, low), jnp.where(falls, high, middle)

    end = jnp.log(jnp.asarray(LARGEST, z.dtype))
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (-end, end))
    return jnp.where(jnp.all(jnp.isfinite(z)), jnp.exp(-(low + high) / 2), jnp.nan)
