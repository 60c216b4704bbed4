"""Stochastic Lanczos quadrature: exact where it should be, NaN where it must be."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.flatness import slq
from steppe.flatness.hutchinson import flat_signs
from steppe.flatness.slq import probe, quadrature
from tests.flatness.dense import of_matrix, random_symmetric, rotated

log_det = eqx.filter_jit(slq.log_det)
spectral_density = eqx.filter_jit(slq.spectral_density)
trace_of_function = eqx.filter_jit(slq.trace_of_function)

N = 6
A = random_symmetric(0, N)
SPD = A @ A + 0.1 * np.eye(N)
GAMMA = 0.3
FUNCTIONS = {
    "exp": (jnp.exp, np.exp),
    "smooth modulus": (lambda x: jnp.sqrt(x**2 + 1e-3), lambda x: np.sqrt(x**2 + 1e-3)),
    "cube": (lambda x: x**3, lambda x: x**3),
}


def product(M):
    return lambda v: jnp.dot(jnp.asarray(M, v.dtype), v, precision="highest")


@jax.jit
def full(v):
    """What a full Krylov space says of vᵀf(A)v and f(A)v."""
    seen = probe(product(A), v, N)
    return {name: (seen.quadratic(f), seen.apply(f)) for name, (f, _) in FUNCTIONS.items()}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_exact_for_every_probe_when_k_is_n(name, getkey):
    v = flat_signs(getkey(), jnp.zeros(N))
    f_A = of_matrix(FUNCTIONS[name][1], A)
    number, vector = full(v)[name]
    np.testing.assert_allclose(number, v @ f_A @ v, rtol=1e-10)
    np.testing.assert_allclose(vector, f_A @ np.asarray(v), rtol=1e-9)


@pytest.mark.parametrize("degree", [3, 4])
def test_exact_up_to_degree_2k_minus_1_and_no_further(degree, getkey):
    v = flat_signs(getkey(), jnp.zeros(N))
    seen = jax.jit(lambda v: probe(product(A), v, 2).quadratic(lambda x: x**degree))(v)
    truth = v @ np.linalg.matrix_power(A, degree) @ v
    assert (abs(seen / truth - 1) < 1e-10) == (degree <= 3)


def test_traces_are_right_on_average_within_their_error(getkey):
    seen = trace_of_function(product(A), jnp.zeros(N), jnp.exp, k=N, probes=400, key=getkey())
    truth = np.trace(of_matrix(np.exp, A))
    assert abs(seen.value - truth) < 4 * seen.standard_error
    assert 0 < seen.standard_error < 0.2 * truth


@pytest.mark.parametrize("k", [None, 4, 6])
def test_breakdown_on_a_rank_2_matrix_leaves_the_trace_right(k):
    """The top eigenvalue was 8.06 there instead of 3, and worse with more steps."""
    M = np.diag([3.0, 1.0] + 8 * [0.0])  # diagonal, so that one probe knows the trace
    for dtype, tolerance in ((jnp.float32, 1e-5), (jnp.float64, 1e-12)):
        like = jnp.zeros(10, dtype)
        seen = trace_of_function(product(M), like, jnp.exp, k=k, probes=1, key=jr.key(0))
        assert seen.value.dtype == dtype
        np.testing.assert_allclose(seen.value, np.exp(3) + np.exp(1) + 8, rtol=tolerance)


def test_log_det_of_a_diagonal_matrix_is_exact_with_one_probe(getkey):
    d = np.array([0.0, 0.1, 1.0, 5.0, -0.2])
    seen, below = log_det(product(np.diag(d)), jnp.zeros(5), GAMMA, k=5, probes=1, key=getkey())
    np.testing.assert_allclose(seen.value, np.log(d + GAMMA).sum(), rtol=1e-10)
    assert below == 0


def test_log_det_equals_the_dense_one_within_its_error(getkey):
    seen, below = log_det(product(SPD), jnp.zeros(N), GAMMA, k=N, probes=400, key=getkey())
    truth = np.linalg.slogdet(SPD + GAMMA * np.eye(N))[1]
    assert abs(seen.value - truth) < 4 * seen.standard_error < 0.5
    assert below == 0


def test_an_eigenvalue_below_minus_gamma_makes_log_det_nan_and_is_counted(getkey):
    M = np.diag([1.0, 2.0, -GAMMA - 0.1])
    seen, below = log_det(product(M), jnp.zeros(3), GAMMA, probes=4, key=getkey())
    assert jnp.isnan(seen.value) and below == 4
    edge = -0.5 * np.eye(4)  # ln 0; signs of length 2 make this exact
    seen, below = log_det(product(edge), jnp.zeros(4), 0.5, k=1, probes=1, key=getkey())
    assert jnp.isnan(seen.value) and below == 1


@pytest.mark.parametrize("gamma", [0.0, -1.0])
def test_gamma_must_be_positive(gamma, getkey):
    with pytest.raises(ValueError, match="log_det: gamma must be positive, got"):
        log_det(product(SPD), jnp.zeros(N), gamma, probes=1, key=getkey())


def test_density_of_a_diagonal_matrix_is_one_bell_for_each_eigenvalue(getkey):
    d, sigma = np.array([-1.0, 0.0, 2.0, 2.0]), 0.1
    seen = spectral_density(
        product(np.diag(d)), jnp.zeros(4), k=4, probes=3, key=getkey(), sigma=sigma
    )
    t = np.asarray(seen.grid)[:, None]
    bells = np.exp(-(((t - d) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(seen.values, bells.mean(axis=1), atol=1e-10)
    np.testing.assert_allclose(seen.standard_error, 0, atol=1e-10)
    assert jnp.trapezoid(seen.values, seen.grid) == pytest.approx(1, abs=1e-3)


def test_density_integrates_to_one_whatever_k(getkey):
    seen = spectral_density(product(A), jnp.zeros(N), k=3, probes=9, key=getkey(), points=2000)
    assert jnp.trapezoid(seen.values, seen.grid) == pytest.approx(1, abs=2e-4)
    np.testing.assert_allclose(seen.rules.weights.sum(axis=1), 1, rtol=1e-12)
    values = np.linalg.eigvalsh(A)
    assert values[0] <= seen.rules.nodes.min() and seen.rules.nodes.max() <= values[-1]


@pytest.mark.parametrize("c", [0.0, 2.0])
def test_density_of_a_multiple_of_the_identity_is_finite(c, getkey):
    seen = spectral_density(lambda v: c * v, jnp.zeros(5), probes=2, key=getkey())
    assert jnp.all(jnp.isfinite(seen.values)) and seen.sigma > 0
    assert jnp.trapezoid(seen.values, seen.grid) == pytest.approx(1, abs=1e-3)


def test_nan_stays_nan(getkey):
    d = jnp.array([1.0, jnp.nan, 2.0])
    seen = trace_of_function(lambda v: d * v, d, jnp.exp, probes=2, key=getkey())
    assert jnp.isnan(seen.value)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"k": N + 1}, f"k = {N + 1} Lanczos steps were asked for, but {N} parameters"),
        ({"k": 0}, "k must be a whole number ≥ 1, got 0"),
        ({"probes": 0}, "probes must be a whole number ≥ 1, got 0"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, sentence, getkey):
    with pytest.raises(ValueError, match=sentence):
        quadrature(product(A), jnp.zeros(N), key=getkey(), **({"probes": 1} | arguments))


def test_density_needs_a_width_and_points(getkey):
    with pytest.raises(ValueError, match="sigma must be positive, got 0"):
        spectral_density(product(A), jnp.zeros(N), probes=1, key=getkey(), sigma=0.0)
    with pytest.raises(ValueError, match="points must be a whole number ≥ 2"):
        spectral_density(product(A), jnp.zeros(N), probes=1, key=getkey(), points=1)


def test_eigenvectors_that_are_not_unique_do_not_matter(getkey):
    """Functions of T need no unique eigenvectors; their derivatives would divide by zero."""
    M = rotated([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    v = flat_signs(getkey(), jnp.zeros(N))
    seen = jax.jit(lambda v: probe(product(M), v, N).apply(jnp.exp))(v)
    truth = of_matrix(np.exp, M) @ np.asarray(v)
    np.testing.assert_allclose(seen, truth, rtol=1e-9)
