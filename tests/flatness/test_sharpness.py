"""Sharpness: the worst point by search, its gradient by differences, its invariance."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.gradient import Sharpness, worst_direction, worst_point

PARAMS = {"a": jnp.array([0.4, -1.2]), "b": jnp.array([[0.7]])}


def loss(p):
    return jnp.sum(jnp.cos(2 * p["a"])) * p["b"][0, 0] + jnp.sum(p["b"] ** 4)


def flat(p):
    return np.concatenate([np.ravel(leaf) for leaf in jtu.tree_leaves(p)])


@pytest.mark.parametrize("adaptive", [False, True])
def test_no_perturbation_of_the_allowed_size_rises_further_to_first_order(adaptive, getkey):
    g, theta = jax.grad(loss)(PARAMS), flat(PARAMS)
    epsilon = flat(worst_direction(g, PARAMS, rho=0.3, adaptive=adaptive))
    scale = np.abs(theta) if adaptive else np.ones(3)
    assert np.linalg.norm(epsilon / scale) == pytest.approx(0.3, rel=1e-12)
    others = np.asarray(jr.normal(getkey(), (2_000, 3)))
    others = 0.3 * scale * others / np.linalg.norm(others, axis=1, keepdims=True)
    rises = others @ flat(g)
    assert rises.max() <= epsilon @ flat(g)
    assert rises.max() > 0.98 * epsilon @ flat(g)


def test_value_on_a_quadratic_is_half_rho_squared_times_curvature_along_the_gradient(getkey):
    H = jnp.array([1.0, 9.0])
    seen = Sharpness(0.1)(lambda w: 0.5 * jnp.sum(H * w**2), jnp.array([0.0, 2.0]), key=getkey())
    assert seen == pytest.approx(0.1 * 18 + 0.5 * 0.01 * 9, rel=1e-12)


@pytest.mark.parametrize("adaptive", [False, True])
def test_gradient_is_the_difference_of_two_gradients_with_the_step_held(adaptive, getkey):
    at = lambda p: Sharpness(0.2, adaptive)(loss, p, key=getkey())
    stacked = jtu.tree_map(lambda x: jnp.stack([x, 2 * x]), PARAMS)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(at)))(stacked)
    epsilon = worst_direction(jax.grad(loss)(PARAMS), PARAMS, rho=0.2, adaptive=adaptive)
    held = lambda p: loss(jtu.tree_map(jnp.add, p, epsilon)) - loss(p)
    assert values[0] == pytest.approx(float(held(PARAMS)), rel=1e-12)
    for name, i in (("a", (0,)), ("a", (1,)), ("b", (0, 0))):
        move = lambda h, name=name, i=i: PARAMS | {name: PARAMS[name].at[i].add(h)}
        numeric = float(held(move(1e-5)) - held(move(-1e-5))) / 2e-5
        assert slopes[name][0][i] == pytest.approx(numeric, rel=1e-6, abs=1e-9)


def test_adaptive_sharpness_ignores_rescaling_and_plain_does_not(getkey):
    c = {"a": jnp.array([10.0, 0.3]), "b": jnp.array([[0.5]])}
    scaled = jtu.tree_map(jnp.divide, PARAMS, c)
    rescaled_loss = lambda p: loss(jtu.tree_map(jnp.multiply, p, c))
    for adaptive in (True, False):
        measure = Sharpness(0.1, adaptive)
        before = measure(loss, PARAMS, key=getkey())
        after = measure(rescaled_loss, scaled, key=getkey())
        assert (abs(after - before) < 1e-12) == adaptive


@pytest.mark.parametrize("adaptive", [False, True])
def test_where_the_gradient_is_zero_nothing_moves_and_nothing_breaks(adaptive, getkey):
    bowl = lambda w: jnp.sum(w**2)
    value, slope = jax.value_and_grad(lambda w: Sharpness(0.1, adaptive)(bowl, w, key=getkey()))(
        jnp.zeros(3)
    )
    assert value == 0
    np.testing.assert_array_equal(slope, 0)
    ascent = lambda w: worst_point(jax.grad(bowl)(w), w, rho=0.1, adaptive=adaptive)
    assert jnp.all(jnp.isfinite(jax.jacobian(ascent)(jnp.zeros(3))))  # SAM through its own step


def test_single_precision_stays_single(getkey):
    params = jtu.tree_map(lambda x: x.astype(jnp.float32), PARAMS)
    at = lambda p, key: Sharpness(jnp.asarray(0.1, jnp.float64))(loss, p, key=key)
    value, slope = jax.eval_shape(jax.value_and_grad(at), params, getkey())
    assert {leaf.dtype for leaf in jtu.tree_leaves((value, slope))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("rho", [0.0, -1.0, float("nan")])
def test_a_radius_that_is_not_positive_is_refused(rho):
    with pytest.raises(ValueError, match=f"rho must be positive, got {rho}. It is the radius"):
        Sharpness(rho)


def test_a_loss_that_is_not_a_number_is_refused(getkey):
    with pytest.raises(ValueError, match="one real value"):
        Sharpness()(lambda w: w, jnp.ones(2), key=getkey())
