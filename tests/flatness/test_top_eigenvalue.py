"""TopEigenvalue from one point to the next: what a warm start may do and what it must not."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from steppe.flatness.hessian import TopEigenvalue

KEY = jr.key(42)


def diagonal(d):
    """A loss of Hessian diag d at every point."""
    return lambda x: 0.5 * jnp.sum(d * x**2)


def test_warm_eigenvalue_follows_a_slow_change_with_two_products():
    measure = TopEigenvalue()
    resume = jax.jit(
        lambda A, guess, key: measure.resume(quadratic(A), jnp.ones(8), guess, key=key)
    )
    quadratic = lambda A: lambda x: 0.5 * x @ A @ x
    M, D = (np.random.default_rng(i).normal(size=(8, 8)) for i in range(2))
    guess = measure.guess(jnp.ones(8), key=KEY)
    errors = []
    for t in range(20):
        A = M @ M.T + 0.02 * t * (D + D.T)
        value, guess = resume(A, guess, jr.fold_in(KEY, t))
        errors.append(1 - float(value) / np.linalg.eigvalsh(A)[-1])
    assert min(errors) > -1e-12  # never above
    assert max(errors[5:]) < 0.01


def test_warm_eigenvalue_leaves_an_eigenvector_that_was_overtaken():
    """From an exact eigenvector alone a Krylov space never leaves it."""
    measure, x = TopEigenvalue(), jnp.zeros(4)  # no gradient to help
    resume = jax.jit(lambda d, guess, key: measure.resume(diagonal(d), x, guess, key=key))
    guess = jnp.array([1.0, 0, 0, 0])
    d = jnp.array([1.0, 0.5, 2.0, 0.1])
    for t in range(12):
        value, guess = resume(d, guess, jr.fold_in(KEY, t))
    np.testing.assert_allclose(value, 2.0, rtol=1e-3)
    np.testing.assert_allclose(jnp.abs(guess[2]), 1.0, rtol=1e-3)


def test_a_diverged_point_leaves_the_guess_and_says_nan():
    measure, guess = TopEigenvalue(), jnp.array([1.0, 0.0])
    resume = jax.jit(lambda d, x: measure.resume(diagonal(d), x, guess, key=KEY))
    for d, x in (([jnp.nan, 1.0], [1.0, 1.0]), ([2.0, 1.0], [jnp.inf, 1.0])):
        value, after = resume(jnp.array(d), jnp.array(x))
        assert jnp.isnan(value)
        np.testing.assert_array_equal(after, guess)


def test_the_guess_is_a_constant():
    measure = TopEigenvalue()

    @jax.jit
    @jax.grad
    def slope(scale):
        loss = lambda x: jnp.sum(jnp.cosh(x)) + scale * jnp.prod(x)
        return measure.resume(loss, scale * jnp.ones(3), jnp.ones(3), key=KEY)[1][0]

    assert slope(1.0) == 0
