"""Measures in units of the weights."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.loss import Composed
from steppe.flatness.entropy.local_entropy import LocalEntropy
from steppe.flatness.gradient import GradNorm, Sharpness
from steppe.flatness.hessian import (
    GaussNewtonTrace,
    HessianFrobenius,
    HessianTrace,
    LogDet,
    TopEigenvalue,
)
from steppe.flatness.units import Adaptive, Relative, SquaredNorm
from tests.flatness.dense import Surface, as_tree, as_vector

SURFACE = Surface(0)
X = SURFACE.x
KEY = jr.key(7)


def flat_loss(x):
    return SURFACE.loss(as_tree(x))


def dense(x):
    """D H D, by automatic differentiation of the whole matrix."""
    return x[:, None] * jax.hessian(flat_loss)(x) * x[None, :]


EXACT = {  # name: (measure, the same number from the dense matrix and gradient)
    "trace": (HessianTrace(400), lambda x: jnp.trace(dense(x))),
    "frobenius": (HessianFrobenius(400), lambda x: jnp.sum(dense(x) ** 2)),
    "top": (
        TopEigenvalue("algebraic", products=len(X)),
        lambda x: jnp.linalg.eigvalsh(dense(x))[-1],
    ),
    "log-det": (
        LogDet(200.0, k=len(X), probes=400),
        lambda x: jnp.linalg.slogdet(jnp.eye(len(x)) + dense(x) / 200.0)[1] / 2,
    ),
    "gradient": (GradNorm(), lambda x: jnp.sum((x * jax.grad(flat_loss)(x)) ** 2)),
}
RANDOM = {"trace": 0.15, "frobenius": 0.15, "log-det": 0.15}  # of 400 probes


@pytest.mark.parametrize("name", EXACT)
def test_value_and_gradient_are_those_of_the_dense_matrix(name):
    measure, exact = EXACT[name]
    value, slope = jax.jit(
        jax.value_and_grad(lambda p: Adaptive(measure)(SURFACE.loss, p, key=KEY))
    )(as_tree(X))
    expected, expected_slope = jax.value_and_grad(exact)(jnp.asarray(X))
    off = RANDOM.get(name, 1e-9)
    np.testing.assert_allclose(value, expected, rtol=off)
    error = np.linalg.norm(as_vector(slope) - expected_slope) / np.linalg.norm(expected_slope)
    assert error <= max(2 * off, 1e-6)


@pytest.mark.parametrize(
    "measure",
    [HessianTrace(2), TopEigenvalue(products=6), GradNorm(), Sharpness(0.1)],
    ids=lambda m: type(m).__name__,
)
def test_rescaling_the_coordinates_changes_nothing(measure):
    scale = as_tree(np.exp(np.random.default_rng(1).uniform(-2, 2, len(X))))
    rescaled = lambda p: SURFACE.loss(jax.tree.map(jnp.multiply, scale, p))
    at = jax.tree.map(jnp.divide, as_tree(X), scale)
    seen = Adaptive(measure)(rescaled, at, key=KEY)
    np.testing.assert_allclose(
        seen, Adaptive(measure)(SURFACE.loss, as_tree(X), key=KEY), rtol=1e-9
    )
    assert not np.allclose(
        measure(rescaled, at, key=KEY), measure(SURFACE.loss, as_tree(X), key=KEY), rtol=0.1
    )


def test_tensor_by_tensor_it_is_the_curvature_of_each_block_times_its_squared_length():
    """Σ_l ‖θ_l‖² tr H_ll and its gradient, from the blocks of the dense Hessian."""
    tensors = as_tree(X)
    places = jax.tree.leaves(as_tree(np.arange(len(X))))
    assert len(places) > 1

    def exact(x):
        diagonal = jnp.diagonal(jax.hessian(flat_loss)(x))
        at = [jnp.ravel(jnp.asarray(place)).astype(int) for place in places]
        return sum(jnp.sum(x[i] ** 2) * jnp.sum(diagonal[i]) for i in at)

    measure = Adaptive(HessianTrace(400), "tensors")
    value, slope = jax.value_and_grad(lambda p: measure(SURFACE.loss, p, key=KEY))(tensors)
    expected, expected_slope = jax.value_and_grad(exact)(jnp.asarray(X))
    np.testing.assert_allclose(value, expected, rtol=0.15)
    error = np.linalg.norm(as_vector(slope) - expected_slope) / np.linalg.norm(expected_slope)
    assert error <= 0.3


def test_one_layer_against_another_changes_nothing_tensor_by_tensor():
    scale = jax.tree.map(lambda leaf: 3.0, as_tree(X))
    first = jax.tree.leaves(scale)
    factors = jax.tree.unflatten(jax.tree.structure(scale), [0.1, *first[1:]])
    rescaled = lambda p: SURFACE.loss(jax.tree.map(jnp.multiply, factors, p))
    at = jax.tree.map(jnp.divide, as_tree(X), factors)
    measure = Adaptive(GradNorm(), "tensors")
    seen = measure(rescaled, at, key=KEY)
    np.testing.assert_allclose(seen, measure(SURFACE.loss, as_tree(X), key=KEY), rtol=1e-9)
    empty = jax.tree.map(jnp.zeros_like, as_tree(X))
    slope = jax.grad(lambda p: measure(SURFACE.loss, p, key=KEY))(empty)
    assert np.isfinite(as_vector(slope)).all()
    with pytest.raises(ValueError, match="expected 'weights' or 'tensors'"):
        Adaptive(GradNorm(), "layers")  # pyright: ignore[reportArgumentType]


def test_sharpness_is_that_of_asam():
    ours = Adaptive(Sharpness(0.3))(SURFACE.loss, as_tree(X), key=KEY)
    np.testing.assert_allclose(
        ours, Sharpness(0.3, adaptive=True)(SURFACE.loss, as_tree(X), key=KEY)
    )


def test_both_halves_of_a_loss_are_passed_on():
    """For a linear model and squares, G = JᵀJ and D G D has the trace Σ xᵢ² ‖Jᵢ‖²."""
    J = np.random.default_rng(2).normal(size=(6, 4))
    x = jnp.arange(1.0, 5.0)
    loss = Composed(lambda p: J @ p, lambda out: jnp.sum(out**2) / 2)
    found = Adaptive(GaussNewtonTrace(500))(loss, x, key=KEY)
    np.testing.assert_allclose(found, np.sum(np.asarray(x) ** 2 * np.sum(J**2, 0)), rtol=0.1)


def test_a_warm_measure_stays_warm_and_others_have_no_guess():
    params = as_tree(X)
    warm = Adaptive(TopEigenvalue("algebraic", products=3, warm=3))
    guess, value = warm.guess(params, key=KEY), None
    for step in range(6):
        value, guess = warm.resume(SURFACE.loss, params, guess, key=jr.fold_in(KEY, step))
    np.testing.assert_allclose(value, EXACT["top"][1](jnp.asarray(X)), rtol=1e-3)
    cold = Adaptive(HessianTrace())
    assert cold.guess(params, key=KEY) == ()
    again, nothing = cold.resume(SURFACE.loss, params, (), key=KEY)
    assert nothing == () and eqx.tree_equal(again, cold(SURFACE.loss, params, key=KEY))


def test_local_entropy_is_refused():
    with pytest.raises(ValueError, match="says nothing about the units; use Adaptive"):
        Adaptive(LocalEntropy(1.0))


def test_the_control_is_the_squared_length():
    value, slope = jax.value_and_grad(lambda p: SquaredNorm()(SURFACE.loss, p, key=KEY))(as_tree(X))
    np.testing.assert_allclose(value, X @ X, rtol=1e-12)
    np.testing.assert_allclose(as_vector(slope), 2 * X, rtol=1e-12)


INDEFINITE = Surface(0)
FIXED = jr.key(42)


@pytest.mark.parametrize(
    ("base", "power"), [(HessianTrace(3), 2), (HessianFrobenius(3), 4)], ids=["2", "4"]
)
def test_value_and_gradient_are_those_of_the_product(base, power):
    """Both factors are differentiated."""
    loss, params = INDEFINITE.loss, as_tree(INDEFINITE.x)
    (value, slope), (alone, alone_slope) = jax.jit(
        lambda p: [
            jax.value_and_grad(lambda p: m(loss, p, key=FIXED))(p)  # noqa: B023
            for m in (Relative(base, power), base)
        ]
    )(params)
    size, alone, x = np.linalg.norm(INDEFINITE.x), float(alone), INDEFINITE.x
    np.testing.assert_allclose(value, alone * size**power, rtol=1e-12)
    expected = as_vector(alone_slope) * size**power + alone * power * size ** (power - 2) * x
    np.testing.assert_allclose(as_vector(slope), expected, rtol=1e-12)


def test_gradient_is_finite_at_zero():
    measure = Relative(HessianTrace())
    slope = jax.grad(lambda x: measure(lambda x: jnp.sum(jnp.cosh(x)), x, key=FIXED))(jnp.zeros(3))
    np.testing.assert_array_equal(slope, 0)


def test_passes_the_guess_through_and_has_none_to_pass_for_others():
    params, loss = as_tree(INDEFINITE.x), INDEFINITE.loss
    base, size = TopEigenvalue(), float(INDEFINITE.x @ INDEFINITE.x)
    guess = Relative(base).guess(params, key=FIXED)
    assert eqx.tree_equal(guess, base.guess(params, key=FIXED))
    (value, after), (expected, expected_after) = jax.jit(
        lambda p: [m.resume(loss, p, guess, key=FIXED) for m in (Relative(base), base)]
    )(params)
    np.testing.assert_allclose(value, expected * size, rtol=1e-12)
    assert eqx.tree_equal(after, expected_after)
    cold = Relative(HessianTrace())
    assert cold.guess(params, key=FIXED) == ()
    assert cold.resume(loss, params, (), key=FIXED) == (cold(loss, params, key=FIXED), ())


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
    at = jax.jit(lambda x: measure(loss, x, key=FIXED))
    x = jnp.asarray(INDEFINITE.x)
    np.testing.assert_allclose(at(x), at(7 * x), rtol=1e-8)


@pytest.mark.parametrize("power", [0, 1, 3, 2.5])
def test_a_power_that_undoes_no_scale_gets_a_sentence(power):
    with pytest.raises(ValueError, match=f"power is {power}, expected 2 .* or 4"):
        Relative(HessianTrace(), power=power)
