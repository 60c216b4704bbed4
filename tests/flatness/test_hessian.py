"""Measures of the Hessian: values from dense matrices, gradients from central differences.

The probes of a measure are redrawn here from its key, and the dense formula takes the same.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core.loss import Composed
from steppe.flatness.hessian import (
    GaussNewtonTrace,
    HessianFrobenius,
    HessianTrace,
    KrylovTrace,
    LogDet,
    TopEigenvalue,
)
from steppe.flatness.hutchinson import flat_signs
from steppe.flatness.units import Relative
from tests.flatness.dense import (
    N,
    Surface,
    all_signs,
    as_tree,
    as_vector,
    differences,
    lanczos,
    of_matrix,
)

INDEFINITE = Surface(0)
CONVEX = Surface(1, shift=4.0)
CONCAVE = Surface(0, shift=-3.0)  # where the largest |λ| is negative
GAMMA = 0.7
KEY = jr.key(42)


@eqx.filter_jit
def value_and_grad(measure, loss, params):
    return jax.value_and_grad(lambda p: measure(loss, p, key=KEY))(params)


def signs(probes, key=KEY):
    return [np.asarray(flat_signs(k, jnp.zeros(N))) for k in jr.split(key, probes)]


def composed(surface):
    """Σ exp(Bx), of which G is the Hessian."""
    B = jnp.asarray(surface.B)
    return Composed(
        lambda p: B @ jnp.concatenate([p["b"][None], p["w"].ravel()]),
        lambda z: jnp.sum(jnp.exp(z)),
    )


def krylov_trace(H, v, k):
    return np.trace(lanczos(H, v, k)[1])


def log_volume(H):
    return np.linalg.slogdet(np.eye(N) + H / GAMMA)[1] / 2


def trace_of_probes(H):
    return np.mean([v @ H @ v for v in signs(3)])


def frobenius_of_probes(H):
    return np.mean([v @ H @ H @ v for v in signs(3)])


def gauss_newton(surface):
    return lambda x: surface.hessian(x) - surface.A


# name: measure, surface, loss, dense quantity of x that has its value and its gradient
H_IN, H_CO = INDEFINITE.hessian, CONVEX.hessian
CASES = {
    "trace": (HessianTrace(3), INDEFINITE, None, lambda x: trace_of_probes(H_IN(x))),
    "trace, one probe": (
        HessianTrace(),
        INDEFINITE,
        None,
        lambda x: signs(1)[0] @ H_IN(x) @ signs(1)[0],
    ),
    "frobenius": (HessianFrobenius(3), INDEFINITE, None, lambda x: frobenius_of_probes(H_IN(x))),
    "gauss-newton": (
        GaussNewtonTrace(3),
        INDEFINITE,
        composed(INDEFINITE),
        lambda x: trace_of_probes(gauss_newton(INDEFINITE)(x)),
    ),
    "algebraic": (
        TopEigenvalue("algebraic", products=N),
        INDEFINITE,
        None,
        lambda x: np.linalg.eigvalsh(H_IN(x))[-1],
    ),
    "modulus": (
        TopEigenvalue(products=N),
        CONCAVE,
        None,
        lambda x: np.linalg.eigvalsh(CONCAVE.hessian(x))[0],
    ),
    "norm": (
        TopEigenvalue("norm", products=N),
        CONCAVE,
        None,
        lambda x: -np.linalg.eigvalsh(CONCAVE.hessian(x))[0],
    ),
    "krylov": (
        KrylovTrace(3),
        INDEFINITE,
        None,
        lambda x: krylov_trace(H_IN(x), np.asarray(flat_signs(KEY, jnp.zeros(N))), 3),
    ),
}
LOG_DET = LogDet(GAMMA, k=N, probes=2)


@pytest.fixture(scope="module")
def seen():
    """Value and gradient of every measure, in one program."""

    @jax.jit
    def all_of_them(x):
        out = {
            name: jax.value_and_grad(lambda p, m=measure, f=loss or surface.loss: m(f, p, key=KEY))(
                as_tree(x[name])
            )
            for name, (measure, surface, loss, _) in CASES.items()
        }
        out["log det"] = jax.value_and_grad(lambda p: LOG_DET(CONVEX.loss, p, key=KEY))(
            as_tree(CONVEX.x)
        )
        return out

    return all_of_them({name: case[1].x for name, case in CASES.items()})


@pytest.mark.user_flags(x64=True)
@pytest.mark.parametrize("name", CASES)
def test_value_is_that_of_the_dense_hessian(name, seen):
    _, surface, _, quantity = CASES[name]
    np.testing.assert_allclose(seen[name][0], quantity(surface.x), rtol=1e-10)


@pytest.mark.user_flags(x64=True)
@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_the_dense_quantity(name, seen):
    _, surface, _, quantity = CASES[name]
    truth = differences(quantity, surface.x)
    np.testing.assert_allclose(as_vector(seen[name][1]), truth, rtol=1e-6, atol=1e-7)


@pytest.mark.user_flags(x64=True)
def test_log_det_has_the_value_of_its_probes(seen):
    psi = of_matrix(lambda x: np.log1p(x / GAMMA) / 2, H_CO(CONVEX.x))
    truth = np.mean([v @ psi @ v for v in signs(2)])
    np.testing.assert_allclose(seen["log det"][0], truth, rtol=1e-10)


@pytest.mark.user_flags(x64=True)
def test_log_det_has_the_surrogate_gradient_of_its_probes(seen):
    inverse = np.linalg.inv(H_CO(CONVEX.x) + GAMMA * np.eye(N)) / 2
    truth = [
        np.mean([v @ CONVEX.hessian_slope(CONVEX.x, i) @ inverse @ v for v in signs(2)])
        for i in range(N)
    ]
    np.testing.assert_allclose(as_vector(seen["log det"][1]), truth, rtol=1e-9)


def test_log_det_and_its_surrogate_are_exact_in_expectation():
    """Over all 2ⁿ vectors of signs."""
    H, V = H_CO(CONVEX.x), all_signs(N)
    psi = of_matrix(lambda x: np.log1p(x / GAMMA) / 2, H)
    np.testing.assert_allclose(np.mean([v @ psi @ v for v in V]), log_volume(H), rtol=1e-12)
    inverse = np.linalg.inv(H + GAMMA * np.eye(N)) / 2
    mean = [
        np.mean([v @ CONVEX.hessian_slope(CONVEX.x, i) @ inverse @ v for v in V]) for i in range(N)
    ]
    truth = differences(lambda x: log_volume(H_CO(x)), CONVEX.x)
    np.testing.assert_allclose(mean, truth, rtol=1e-6)


def test_log_det_is_the_trace_for_large_gamma():
    params = as_tree(CONVEX.x)
    gamma = 1e8
    value, slope = value_and_grad(LogDet(gamma, k=N), CONVEX.loss, params)
    trace, trace_slope = value_and_grad(HessianTrace(), CONVEX.loss, params)
    np.testing.assert_allclose(2 * gamma * value, trace, rtol=1e-6)
    np.testing.assert_allclose(
        2 * gamma * as_vector(slope), as_vector(trace_slope), rtol=1e-6, atol=1e-6
    )


def test_gamma_may_be_traced_and_differentiated():
    at = lambda gamma: LogDet(gamma, k=N)(CONVEX.loss, as_tree(CONVEX.x), key=KEY)
    slope = jax.jit(jax.grad(at))(jnp.asarray(GAMMA))
    v, H = signs(1)[0], H_CO(CONVEX.x)
    psi = of_matrix(lambda x: -x / (GAMMA * (x + GAMMA)) / 2, H)  # ∂/∂γ ½ ln(1 + x/γ)
    np.testing.assert_allclose(slope, v @ psi @ v, rtol=1e-9)


def test_an_eigenvalue_below_minus_gamma_makes_log_det_and_its_gradient_nan():
    """Clipped, it would reward going further down."""
    lowest = -np.linalg.eigvalsh(H_IN(INDEFINITE.x))[0]
    value, slope = value_and_grad(LogDet(lowest / 2), INDEFINITE.loss, as_tree(INDEFINITE.x))
    assert jnp.isnan(value) and np.all(np.isnan(as_vector(slope)))


def test_equal_eigenvalues_have_a_finite_gradient():
    """Derivatives of eigenvectors would divide by their difference, 0."""
    f = lambda x: jnp.sum(jnp.cosh(x))  # H = I at 0
    for measure in (LogDet(1.0), TopEigenvalue(), KrylovTrace()):
        _, slope = value_and_grad(measure, f, jnp.zeros(4))
        np.testing.assert_allclose(slope, 0, atol=1e-12)


def perceptron(params, dtype):
    """31 parameters, as where the NaN was seen."""
    x = jr.normal(jr.key(1), (20, 3), jnp.float64).astype(dtype)
    y = jnp.tanh(x @ params["w1"] + params["b1"][None]) @ params["w2"] + params["b2"]
    return jnp.mean((y - jnp.sin(3 * x[:, 0])) ** 2)


def weights(dtype):
    k1, k2 = jr.split(jr.key(2))
    return {
        "w1": jr.normal(k1, (3, 6), jnp.float64).astype(dtype),
        "b1": jnp.zeros(6, dtype),
        "w2": jr.normal(k2, (6,), jnp.float64).astype(dtype),
        "b2": jnp.zeros((), dtype),
    }


def test_krylov_gradient_with_20_steps_in_float32_is_not_nan():
    def slope(dtype):
        f = lambda p: perceptron(p, dtype)
        return jax.jit(jax.grad(lambda p: KrylovTrace(20)(f, p, key=KEY)))(weights(dtype))

    narrow, wide = slope(jnp.float32), slope(jnp.float64)
    for a, b in zip(jtu.tree_leaves(narrow), jtu.tree_leaves(wide), strict=True):
        assert a.dtype == jnp.float32
        np.testing.assert_allclose(a, b, atol=2e-3 * float(jnp.max(jnp.abs(b))))


MEASURES = {
    "trace": HessianTrace(2),
    "frobenius": HessianFrobenius(2),
    "gauss-newton": GaussNewtonTrace(2),
    "top": TopEigenvalue(products=3),
    "norm": TopEigenvalue("norm", products=3),
    "algebraic": TopEigenvalue("algebraic", products=3),
    "log det": LogDet(20.0, k=3),
    "krylov": KrylovTrace(3),
    "relative": Relative(HessianTrace(2)),
}


def test_every_measure_under_jit_vmap_grad_with_a_loss_that_closes_over_the_batch():
    """Closures over tracers leaked where a derivative was a custom one; float32, x64 on."""
    scales = jnp.array([0.5, 1.0, 2.0], jnp.float32)
    x = jnp.asarray(INDEFINITE.x, jnp.float32)

    def one(scale, x):
        loss = Composed(
            lambda p: jnp.asarray(INDEFINITE.B, p.dtype) @ (scale * p),
            lambda z: jnp.sum(jnp.exp(z)) + jnp.sum(jnp.cos(2 * z)),
        )
        return {
            name: jax.value_and_grad(lambda p, m=measure: m(loss, p, key=KEY))(x)
            for name, measure in MEASURES.items()
        }

    together = jax.jit(jax.vmap(one, in_axes=(0, None)))(scales, x)
    alone = jax.jit(one)
    for i, scale in enumerate(scales):
        expected = alone(scale, x)
        for name in MEASURES:
            value, slope = together[name]
            assert value.dtype == slope.dtype == jnp.float32
            np.testing.assert_allclose(value[i], expected[name][0], rtol=2e-4, err_msg=name)
            size = np.abs(expected[name][1]).max()
            np.testing.assert_allclose(slope[i], expected[name][1], atol=2e-3 * size, err_msg=name)
            assert size > 0


def test_every_measure_on_a_single_number_and_where_the_hessian_is_nan():
    loss = Composed(lambda x: 3 * x, lambda z: z**4 / 12)

    @jax.jit
    def values(x):
        measures = {n: m for n, m in MEASURES.items() if n not in ("log det", "krylov")}
        measures |= {"log det": LogDet(5.0), "krylov": KrylovTrace()}
        return {n: m(loss, x, key=KEY) for n, m in measures.items()}

    h = 81.0 * 4  # f″ = 81 x² at x = 2
    at_two = values(jnp.asarray(2.0))
    for name in ("trace", "gauss-newton", "top", "norm", "algebraic", "krylov"):
        np.testing.assert_allclose(at_two[name], h, rtol=1e-10)
    np.testing.assert_allclose(at_two["frobenius"], h**2, rtol=1e-10)
    np.testing.assert_allclose(at_two["log det"], np.log1p(h / 5) / 2, rtol=1e-10)
    np.testing.assert_allclose(at_two["relative"], 4 * h, rtol=1e-10)
    assert all(np.isnan(value) for value in values(jnp.asarray(jnp.nan)).values())


def test_a_top_eigenvalue_of_a_single_number_whichever_way_the_noise_points():
    with jax.disable_jit():  # as compiled, rounding may hide that gradient and noise cancel
        found = [
            float(TopEigenvalue()(lambda x: 2 * x**2, jnp.asarray(1.0), key=jr.key(seed)))
            for seed in range(6)
        ]
    np.testing.assert_allclose(found, 4.0, rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: HessianTrace(0), "HessianTrace: probes must be a whole number ≥ 1, got 0"),
        (lambda: HessianFrobenius(0), "HessianFrobenius: probes must be"),
        (lambda: GaussNewtonTrace(0), "GaussNewtonTrace: probes must be"),
        (lambda: TopEigenvalue("largest"), "expected one of modulus, norm, algebraic"),
        (lambda: TopEigenvalue(products=0), "products must be a whole number ≥ 1"),
        (lambda: TopEigenvalue(warm=1), "warm must be a whole number ≥ 2, got 1"),
        (lambda: LogDet(0.0), "LogDet: gamma must be positive, got 0.0"),
        (lambda: LogDet(1.0, probes=0), "LogDet: probes must be"),
        (lambda: LogDet(1.0, k=0), "LogDet: k must be"),
        (lambda: KrylovTrace(0), "KrylovTrace: k must be"),
    ],
)
def test_bad_numbers_get_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_bad_losses_get_a_sentence():
    params = as_tree(INDEFINITE.x)
    for measure in MEASURES.values():
        if isinstance(measure, GaussNewtonTrace):
            with pytest.raises(TypeError, match=r"needs a loss of the form Composed\(inner"):
                measure(INDEFINITE.loss, params, key=KEY)
            continue
        with pytest.raises(ValueError, match="one real value"):
            measure(lambda p: p["w"], params, key=KEY)
    with pytest.raises(ValueError, match="k = 6 Lanczos steps were asked for, but 5"):
        LogDet(1.0, k=6)(INDEFINITE.loss, params, key=KEY)
