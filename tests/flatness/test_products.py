"""Products with H and G: against Hessians in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.loss import Composed
from steppe.flatness.products import (
    check_deterministic,
    gauss_newton_product,
    gauss_newton_second_derivative,
    hvp,
    second_derivative,
)
from tests.flatness.dense import N, Surface, as_tree, as_vector

SURFACE = Surface()
H = SURFACE.hessian(SURFACE.x)
V, W = np.random.default_rng(1).normal(size=(2, N))


def layer(params):
    """tanh(Bx) and its square: two outputs a unit."""
    x = jnp.concatenate([params["b"][None], params["w"].ravel()])
    z = jnp.tanh(jnp.asarray(SURFACE.B, x.dtype) @ x)
    return z, z**2


def criterion(outputs):
    """Convex, and mixing its inputs."""
    z, square = outputs
    return jax.nn.logsumexp(z) + 0.5 * jnp.sum((square - 1) ** 2)


def gauss_newton(x):
    """G in NumPy."""
    z = np.tanh(SURFACE.B @ x)
    dz = (1 - z**2)[:, None] * SURFACE.B
    J = np.vstack([dz, 2 * z[:, None] * dz])
    p = np.exp(z) / np.exp(z).sum()
    outer = np.block([
        [np.diag(p) - np.outer(p, p), np.zeros((3, 3))],
        [np.zeros((3, 3)), np.eye(3)],
    ])  # fmt: skip
    return J.T @ outer @ J


def test_hessian_products_equal_the_closed_form():
    params, v, w = as_tree(SURFACE.x), as_tree(V), as_tree(W)
    Hv, number = jax.jit(
        lambda p, v, w: (hvp(SURFACE.loss, p, v), second_derivative(SURFACE.loss, p, v, w))
    )(params, v, w)
    np.testing.assert_allclose(as_vector(Hv), H @ V, rtol=1e-12)
    np.testing.assert_allclose(number, V @ H @ W, rtol=1e-12)


def test_gauss_newton_products_equal_the_closed_form():
    loss, params = Composed(layer, criterion), as_tree(SURFACE.x)
    v, w, G = as_tree(V), as_tree(W), gauss_newton(SURFACE.x)
    Gv, number = jax.jit(
        lambda p, v, w: (
            gauss_newton_product(loss, p, v),
            gauss_newton_second_derivative(loss, p, v, w),
        )
    )(params, v, w)
    np.testing.assert_allclose(as_vector(Gv), G @ V, rtol=1e-12)
    np.testing.assert_allclose(number, V @ G @ W, rtol=1e-12)


def test_gauss_newton_is_the_hessian_of_a_linear_model():
    linear = Composed(lambda p: p["w"] @ jnp.ones(2), lambda z: jnp.sum(jnp.exp(z)))
    params, v = as_tree(SURFACE.x), as_tree(V)
    np.testing.assert_allclose(
        as_vector(gauss_newton_product(linear, params, v)),
        as_vector(hvp(linear, params, v)),
        rtol=1e-12,
    )


def test_a_loss_without_forward_derivative_has_curvature_too():
    @jax.custom_vjp
    def cube(x):
        return x**3

    cube.defvjp(lambda x: (x**3, x), lambda x, g: (3 * x**2 * g,))
    x, v = jnp.array([1.0, 2.0]), jnp.array([1.0, -1.0])
    of = lambda x: second_derivative(lambda x: jnp.sum(cube(x)), x, v, v)
    for f in (of, jax.jit(of)):
        np.testing.assert_allclose(f(x), 6 + 12)
        np.testing.assert_allclose(jax.grad(f)(x), [6, 6])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float64])
def test_dtypes_stay_as_they_are(dtype):
    params, v = as_tree(SURFACE.x, dtype), as_tree(V, dtype)
    assert {leaf.dtype for leaf in hvp(SURFACE.loss, params, v).values()} == {jnp.dtype(dtype)}
    wide = jnp.float64 if dtype == jnp.float64 else jnp.float32
    assert tree.dot(v, v).dtype == wide
    assert tree.dot((), ()) == 0


def test_sums_of_half_precision_are_taken_in_float32():
    ones = jnp.ones(4095, jnp.bfloat16)  # bfloat16 knows 4080 and 4096
    assert tree.dot(ones, ones) == 4095


@pytest.mark.parametrize(
    ("loss", "given"),
    [
        (lambda p: p["w"], r"float64 of shape \(2, 2\)"),
        (lambda p: (p["b"], p["w"]), "a tuple"),
        (lambda p: jnp.argmax(p["w"]), "int64 of shape"),
    ],
)
@pytest.mark.parametrize("product", [hvp, lambda f, p, v: second_derivative(f, p, v, v)])
def test_a_loss_that_is_no_number_gets_a_sentence(loss, given, product):
    with pytest.raises(ValueError, match=f"one real value, but this loss returned {given}"):
        product(loss, as_tree(SURFACE.x), as_tree(V))


def test_a_plain_loss_gets_a_sentence_from_gauss_newton():
    with pytest.raises(TypeError, match=r"needs .* Composed\(inner, outer\), got criterion"):
        gauss_newton_product(criterion, as_tree(SURFACE.x), as_tree(V))


def test_a_stochastic_loss_is_refused():
    rng = np.random.default_rng(0)
    noisy = lambda p: SURFACE.loss(p) + 1e-3 * rng.normal()
    with pytest.raises(ValueError, match=r"at the same point.*fix the batch and the key"):
        check_deterministic(noisy, as_tree(SURFACE.x))


def test_a_deterministic_loss_passes_even_if_it_is_nan():
    check_deterministic(SURFACE.loss, as_tree(SURFACE.x))
    check_deterministic(lambda p: p["b"] * jnp.nan, as_tree(SURFACE.x))


def test_two_values_cannot_be_compared_while_tracing():
    with pytest.raises(ValueError, match="call it outside jit"):
        jax.jit(lambda p: check_deterministic(SURFACE.loss, p))(as_tree(SURFACE.x))
