"""Hutchinson: right on average, with the variance and the error bars it claims."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.flatness.hutchinson import (
    TOGETHER,
    diagonal,
    each_probe,
    frobenius_squared,
    mean,
    signs_like,
    trace,
)
from tests.flatness.dense import all_signs, random_symmetric

N = 4
A = random_symmetric(3, N)
LIKE = {"a": jnp.zeros(()), "b": jnp.zeros(N - 1)}
REPETITIONS = 4000
PROBES = 12


def matvec(v):
    Av = jnp.asarray(A) @ jnp.append(v["a"], v["b"])
    return {"a": Av[0], "b": Av[1:]}


def all_three(key, probes):
    return {
        "trace": trace(matvec, LIKE, probes=probes, key=key),
        "diagonal": diagonal(matvec, LIKE, probes=probes, key=key),
        "frobenius": frobenius_squared(matvec, LIKE, probes=probes, key=key),
    }


@pytest.fixture(scope="module")
def repeated():
    """Many independent estimates, each with its standard error."""
    keys = jr.split(jr.key(0), REPETITIONS)
    estimates = jax.jit(jax.vmap(lambda key: all_three(key, PROBES)))(keys)
    estimates["diagonal"] = jax.vmap(
        lambda e: eqx.tree_at(
            lambda e: (e.value, e.standard_error),
            e,
            tuple(jnp.append(t["a"], t["b"]) for t in (e.value, e.standard_error)),
        )
    )(estimates["diagonal"])
    return estimates


def moments(samples):
    """Mean and variance over all vectors of signs."""
    return samples.mean(axis=0), samples.var(axis=0)


def exact():
    V = all_signs(N)
    AV = V @ A
    return {
        "trace": (np.trace(A), moments(np.sum(V * AV, axis=1))),
        "diagonal": (np.diag(A), moments(V * AV)),
        "frobenius": (np.sum(A**2), moments(np.sum(AV**2, axis=1))),
    }


def off_diagonal(M):
    return M - np.diag(np.diag(M))


def test_moments_over_all_signs_are_as_documented():
    truth = exact()
    for value, (average, _) in truth.values():
        np.testing.assert_allclose(average, value, rtol=1e-12)
    variance = {name: spread for name, (_, (_, spread)) in truth.items()}
    np.testing.assert_allclose(variance["trace"], 2 * np.sum(off_diagonal(A) ** 2))
    np.testing.assert_allclose(variance["diagonal"], np.sum(off_diagonal(A) ** 2, axis=1))
    np.testing.assert_allclose(variance["frobenius"], 2 * np.sum(off_diagonal(A @ A) ** 2))


@pytest.mark.parametrize("name", ["trace", "diagonal", "frobenius"])
def test_estimates_have_the_right_mean_and_variance(name, repeated):
    value, (_, variance) = exact()[name]
    seen = np.asarray(repeated[name].value)
    error = np.sqrt(variance / PROBES / REPETITIONS)
    assert np.all(np.abs(seen.mean(axis=0) - value) < 4 * error)
    np.testing.assert_allclose(seen.var(axis=0) * PROBES, variance, rtol=0.12)


@pytest.mark.parametrize("name", ["trace", "diagonal", "frobenius"])
def test_standard_errors_cover_the_truth_at_the_right_rate(name, repeated):
    value, _ = exact()[name]
    seen = repeated[name]
    covered = np.abs(np.asarray(seen.value) - value) <= 2.2 * np.asarray(seen.standard_error)
    # 95 % for normal samples and 11 degrees of freedom; signs in four dimensions are not normal.
    assert np.all(np.abs(covered.mean(axis=0) - 0.95) < 0.03)


def test_one_probe_is_exact_for_a_diagonal_matrix_and_says_that_its_error_is_unknown(getkey):
    d = jnp.array([3.0, -1.0, 0.5])
    product = lambda v: d * v
    seen = trace(product, d, probes=1, key=getkey())
    assert seen.value == d.sum() and jnp.isinf(seen.standard_error)
    seen = diagonal(product, d, probes=1, key=getkey())
    assert jnp.all(seen.value == d) and jnp.all(jnp.isinf(seen.standard_error))
    seen = frobenius_squared(product, d, probes=1, key=getkey())
    assert seen.value == jnp.sum(d**2) and jnp.isinf(seen.standard_error)


@pytest.mark.parametrize("probes", [1, TOGETHER, TOGETHER + 3])
def test_probes_are_those_of_a_loop(probes, getkey):
    key = getkey()
    seen = each_probe(lambda key: signs_like(key, LIKE), probes=probes, key=key)
    for i, k in enumerate(jr.split(key, probes)):
        v = signs_like(k, LIKE)
        assert seen["a"][i] == v["a"] and jnp.all(seen["b"][i] == v["b"])
        assert abs(v["a"]) == 1 and jnp.all(jnp.abs(v["b"]) == 1)


def test_fresh_keys_draw_fresh_probes(getkey):
    first, second = (trace(matvec, LIKE, probes=1, key=getkey()).value for _ in range(2))
    others = {float(trace(matvec, LIKE, probes=1, key=getkey()).value) for _ in range(8)}
    assert len({float(first), float(second)} | others) > 1


def test_the_standard_error_is_a_constant_even_where_all_probes_agree(getkey):
    """It is 0 there, and √ has no derivative at 0."""
    estimate = lambda d, key: trace(lambda v: d * v, d, probes=3, key=key)
    key = getkey()
    slope = jax.grad(lambda d: estimate(d, key).standard_error)(jnp.ones(3))
    np.testing.assert_array_equal(slope, 0)


def test_mean_and_standard_error_of_known_samples():
    seen = mean(jnp.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(seen.value, 3.0)
    np.testing.assert_allclose(seen.standard_error, np.sqrt((4 + 1 + 9) / 2 / 3))


def test_float32_stays_float32_under_x64(getkey):
    d = jnp.ones(3, jnp.float32)
    for estimator in (trace, diagonal, frobenius_squared):
        seen = estimator(lambda v: d * v, d, probes=2, key=getkey())
        assert seen.value.dtype == seen.standard_error.dtype == jnp.float32


def test_nan_stays_nan(getkey):
    d = jnp.array([1.0, jnp.nan])
    for estimator in (trace, diagonal, frobenius_squared):
        assert jnp.any(jnp.isnan(estimator(lambda v: d * v, d, probes=2, key=getkey()).value))


@pytest.mark.parametrize("probes", [0, -1, 1.5])
def test_no_probes_get_a_sentence(probes, getkey):
    with pytest.raises(ValueError, match=r"probes must be a whole number ≥ 1, got"):
        trace(matvec, LIKE, probes=probes, key=getkey())
