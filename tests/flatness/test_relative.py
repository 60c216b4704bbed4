"""Relative: a product with ‖θ‖², and what it is for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.flatness.hessian import HessianFrobenius, HessianTrace, TopEigenvalue
from steppe.flatness.relative import Relative
from tests.flatness.dense import Surface, as_tree, as_vector

INDEFINITE = Surface(0)
KEY = jr.key(42)


@pytest.mark.parametrize(
    ("base", "power"), [(HessianTrace(3), 2), (HessianFrobenius(3), 4)], ids=["2", "4"]
)
def test_value_and_gradient_are_those_of_the_product(base, power):
    """Both factors are differentiated."""
    loss, params = INDEFINITE.loss, as_tree(INDEFINITE.x)
    (value, slope), (alone, alone_slope) = jax.jit(
        lambda p: [
            jax.value_and_grad(lambda p: m(loss, p, key=KEY))(p)  # noqa: B023
            for m in (Relative(base, power), base)
        ]
    )(params)
    size, alone, x = np.linalg.norm(INDEFINITE.x), float(alone), INDEFINITE.x
    np.testing.assert_allclose(value, alone * size**power, rtol=1e-12)
    expected = as_vector(alone_slope) * size**power + alone * power * size ** (power - 2) * x
    np.testing.assert_allclose(as_vector(slope), expected, rtol=1e-12)


def test_gradient_is_finite_at_zero():
    measure = Relative(HessianTrace())
    slope = jax.grad(lambda x: measure(lambda x: jnp.sum(jnp.cosh(x)), x, key=KEY))(jnp.zeros(3))
    np.testing.assert_array_equal(slope, 0)


def test_passes_the_guess_through_and_has_none_to_pass_for_others():
    params, loss = as_tree(INDEFINITE.x), INDEFINITE.loss
    base, size = TopEigenvalue(), float(INDEFINITE.x @ INDEFINITE.x)
    guess = Relative(base).guess(params, key=KEY)
    assert eqx.tree_equal(guess, base.guess(params, key=KEY))
    (value, after), (expected, expected_after) = jax.jit(
        lambda p: [m.resume(loss, p, guess, key=KEY) for m in (Relative(base), base)]
    )(params)
    np.testing.assert_allclose(value, expected * size, rtol=1e-12)
    assert eqx.tree_equal(after, expected_after)
    cold = Relative(HessianTrace())
    assert cold.guess(params, key=KEY) == ()
    assert cold.resume(loss, params, (), key=KEY) == (cold(loss, params, key=KEY), ())


@pytest.mark.parametrize(
    "measure",
    [
        Relative(HessianTrace()),
        Relative(TopEigenvalue()),
        Relative(HessianFrobenius(), power=4),
    ],
    ids=["trace", "top", "frobenius"],
)
def test_does_not_see_the_scale_of_a_scale_free_loss(measure):
    loss = lambda x: INDEFINITE.loss(as_tree(x / jnp.sqrt(x @ x)))
    at = jax.jit(lambda x: measure(loss, x, key=KEY))
    x = jnp.asarray(INDEFINITE.x)
    np.testing.assert_allclose(at(x), at(7 * x), rtol=1e-8)


@pytest.mark.parametrize("power", [0, 1, 3, 2.5])
def test_a_power_that_undoes_no_scale_gets_a_sentence(power):
    with pytest.raises(ValueError, match=f"power is {power}, expected 2 .* or 4"):
        Relative(HessianTrace(), power=power)
