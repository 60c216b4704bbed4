"""Gradient norms: value, gradient, and the bias of the minibatch that two halves remove."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.gradient import CrossGradNorm, GradNorm, Halved, cross_gradient_norm

PARAMS = {"a": jnp.array([0.4, -1.2]), "b": jnp.array([[0.7]])}


def loss(p):
    return jnp.sum(jnp.cos(2 * p["a"])) * p["b"][0, 0] + jnp.sum(p["b"] ** 4)


def other(p):
    return jnp.sum(p["a"]) * jnp.sin(p["b"][0, 0])


MEASURES = {
    "sum": (GradNorm(), loss, 1),
    "mean": (GradNorm(mean=True), loss, 3),
    "cross": (CrossGradNorm(), Halved(loss, other), 1),
    "cross mean": (CrossGradNorm(mean=True), Halved(loss, other), 3),
}


@pytest.mark.parametrize("name", MEASURES)
def test_value_and_gradient_are_those_of_the_inner_product(name, getkey):
    measure, surface, count = MEASURES[name]
    at = lambda p: measure(surface, p, key=getkey())
    stacked = jtu.tree_map(lambda x: jnp.stack([x, 2 * x]), PARAMS)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(at)))(stacked)
    first, second = (surface.first, surface.second) if "cross" in name else (loss, loss)

    def expected(p):
        pairs = zip(*(jtu.tree_leaves(jax.grad(f)(p)) for f in (first, second)), strict=True)
        return sum(float(np.sum(np.asarray(x) * np.asarray(y))) for x, y in pairs) / count

    assert values[0] == pytest.approx(expected(PARAMS), rel=1e-12)
    for leaf, i in (("a", (0,)), ("a", (1,)), ("b", (0, 0))):
        move = lambda h, leaf=leaf, i=i: PARAMS | {leaf: PARAMS[leaf].at[i].add(h)}
        numeric = (expected(move(1e-5)) - expected(move(-1e-5))) / 2e-5
        assert slopes[leaf][0][i] == pytest.approx(numeric, rel=1e-6, abs=1e-9)


def test_two_halves_have_no_bias_and_one_batch_has_the_stated_one(getkey):
    # f_b(w) = ½ mean ‖w − x‖²: the gradient on b examples is w − x̄, its covariance I/b.
    b, repeats, w = 4, 20_000, jnp.array([0.6, -0.3])
    on = lambda x: lambda w: 0.5 * jnp.mean(jnp.sum((w - x) ** 2, axis=1))

    def both(key):
        x = jr.normal(key, (2, b, 2))
        return GradNorm()(on(x[0]), w, key=key), cross_gradient_norm(on(x[0]), on(x[1]), w)

    with jax.numpy_rank_promotion("allow"):
        one, cross = map(np.asarray, jax.jit(jax.vmap(both))(jr.split(getkey(), repeats)))
    truth, error = float(w @ w), lambda x: x.std() / np.sqrt(repeats)
    assert abs(cross.mean() - truth) < 3.5 * error(cross)
    assert abs(one.mean() - (truth + 2 / b)) < 3.5 * error(one)
    assert cross.min() < 0


def test_halved_is_the_mean_of_its_halves():
    expected = (loss(PARAMS) + other(PARAMS)) / 2
    assert Halved(loss, other)(PARAMS) == pytest.approx(float(expected), rel=1e-14)


def test_single_precision_stays_single(getkey):
    params = jtu.tree_map(lambda x: x.astype(jnp.float32), PARAMS)
    for measure, surface, _ in MEASURES.values():
        at = lambda p, m=measure, s=surface: m(s, p, key=getkey())
        leaves = jtu.tree_leaves(jax.eval_shape(jax.value_and_grad(at), params))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}


def test_at_a_minimum_value_and_gradient_are_zero(getkey):
    value, slope = jax.value_and_grad(lambda w: GradNorm()(lambda w: w @ w, w, key=getkey()))(
        jnp.zeros(2)
    )
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


def test_an_undivided_loss_is_refused(getkey):
    with pytest.raises(TypeError, match=r"two independent halves, got .*Give `Halved\(loss_a"):
        CrossGradNorm()(loss, PARAMS, key=getkey())


def test_a_loss_that_is_not_a_number_is_refused(getkey):
    with pytest.raises(ValueError, match="one real value"):
        GradNorm()(lambda w: w, jnp.ones(2), key=getkey())
