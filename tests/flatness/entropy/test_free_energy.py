"""Estimators of the local free energy against closed forms, adaptive quadrature and each other."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.entropy import free_energy
from tests.reference.local_entropy import by_quadrature, draw_quadratic

GAMMA = 1.7
LAW = {"gamma": GAMMA, "temperature": 0.6}


def quartic(w):
    """Two wells of one depth, wide near −1.2 and narrow near 1: 1-D, last axis kept or not."""
    w = w[..., 0] if w.ndim else w
    return (w + 1.2) ** 2 * (w - 1) ** 2 * (1 + 0.4 * w) ** 2 + 0.1 * w


def surface(quadratic):
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    return lambda w: quadratic.low + 0.5 * (w - star) @ H @ (w - star)


def laplace(loss, params):
    return jax.jit(lambda params: free_energy.laplace(loss, params, **LAW))(params)


def by_products(loss, params, k, probes, key):
    return jax.jit(
        lambda params, key: free_energy.laplace_by_products(
            loss, params, k=k, probes=probes, key=key, **LAW
        )
    )(params, key)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
@pytest.mark.parametrize(("seed", "n"), [(0, 1), (1, 1), (2, 2), (3, 2)])
def test_closed_form_is_the_integral(seed, n, temperature):
    quadratic, theta = draw_quadratic(seed, n)
    expected = by_quadrature(quadratic.value, theta, gamma=GAMMA, temperature=temperature)
    assert quadratic.free_energy(theta, GAMMA, temperature) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_laplace_is_the_closed_form_on_quadratics(n):
    quadratic, theta = draw_quadratic(10 + n, n)
    expected = quadratic.free_energy(theta, **LAW)
    assert laplace(surface(quadratic), jnp.asarray(theta)) == pytest.approx(expected, rel=1e-10)


def test_slope_of_laplace_is_the_pull_towards_the_gibbs_mean():
    quadratic, theta = draw_quadratic(4, 4)
    slope = jax.grad(lambda w: laplace(surface(quadratic), w))
    expected = GAMMA * (theta - quadratic.gibbs_mean(theta, GAMMA))
    np.testing.assert_allclose(slope(jnp.asarray(theta)), expected, rtol=1e-9)


def test_laplace_is_nan_where_the_window_is_not_normalisable(getkey):
    saddle = lambda w: 0.5 * (w[0] ** 2 - 2 * w[1] ** 2) + w[0]
    assert jnp.isnan(laplace(saddle, jnp.ones(2)))
    assert jnp.isnan(by_products(saddle, jnp.ones(2), None, 2, getkey()).value)


@pytest.mark.parametrize("at_the_minimum", [False, True])
def test_laplace_by_products_is_exact_with_all_products_and_a_diagonal(at_the_minimum, getkey):
    H, star = jnp.array([0.2, 1.0, 3.0, 7.0]), jnp.arange(4.0)
    loss = lambda p: 0.5 * jnp.sum(H * (jnp.append(p["a"], p["b"]) - star) ** 2) + 1
    flat = star if at_the_minimum else jnp.ones(4)
    params = {"a": flat[:3], "b": flat[3]}
    seen = by_products(loss, params, 4, 3, getkey())
    expected = laplace(loss, params)
    assert seen.value == pytest.approx(float(expected), rel=1e-10)
    assert seen.standard_error < 1e-9


def test_laplace_by_products_finds_the_dense_value_with_the_spread_of_its_error(getkey):
    quadratic, theta = draw_quadratic(5, 5)
    one = lambda key: free_energy.laplace_by_products(
        surface(quadratic), jnp.asarray(theta), k=5, probes=8, key=key, **LAW
    )
    seen = jax.jit(jax.vmap(one))(jr.split(getkey(), 200))
    value, error = np.asarray(seen.value), np.asarray(seen.standard_error)
    assert abs(value.mean() - quadratic.free_energy(theta, **LAW)) < 3 * value.std() / np.sqrt(200)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(value.std(), rel=0.2)


def drawn(estimator, loss, params, getkey, samples, repeats=1, **law):
    """Values and errors of `repeats` independent estimates."""
    one = lambda key: estimator(loss, params, samples=samples, key=key, **law)
    seen = jax.jit(jax.vmap(one))(jr.split(getkey(), repeats))
    return np.asarray(seen.value), np.asarray(seen.standard_error)


def around(mean):
    return lambda loss, params, **rest: free_energy.importance(loss, params, mean, **rest)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_draws_find_the_closed_form_within_their_error(n, getkey):
    quadratic, theta = draw_quadratic(20 + n, n)
    gibbs, nowhere = jnp.asarray(quadratic.gibbs_mean(theta, GAMMA)), jnp.asarray(theta) + 100.0

    def all_three(loss, params, **rest):
        kinds = free_energy.monte_carlo, around(gibbs), around(nowhere)
        seen = [kind(loss, params, **rest) for kind in kinds]
        return jtu.tree_map(lambda *x: jnp.stack(x), *seen)

    (value,), (error,) = drawn(
        all_three, surface(quadratic), jnp.asarray(theta), getkey, 40_000, **LAW
    )
    assert np.all(error < 0.05)
    assert np.all(np.abs(value - quadratic.free_energy(theta, **LAW)) < 3 * error)


def test_draws_find_the_integral_over_two_wells(getkey):
    theta, law = np.array([0.2]), {"gamma": 1.0, "temperature": 0.3}
    expected = by_quadrature(quartic, theta, **law)
    for estimator in (free_energy.monte_carlo, around(jnp.array([-1.0]))):
        (value,), (error,) = drawn(estimator, quartic, jnp.asarray(theta), getkey, 80_000, **law)
        assert error < 0.01
        assert abs(value - expected) < 3 * error
    one_point = jax.jit(lambda x: free_energy.laplace(quartic, x, **law))(jnp.asarray(theta))
    assert not abs(one_point - expected) < 0.1


def test_errors_cover_the_truth_and_the_excess_is_half_their_square(getkey):
    quadratic, theta = draw_quadratic(6, 3, highest=2.0)
    truth, repeats = quadratic.free_energy(theta, **LAW), 10_000
    value, error = drawn(
        free_energy.monte_carlo, surface(quadratic), jnp.asarray(theta), getkey, 128, repeats, **LAW
    )
    assert 0.9 < np.mean(np.abs(value - truth) < 2 * error) < 0.98
    excess, chance = value.mean() - truth, value.std() / np.sqrt(repeats)
    assert excess > 4 * chance  # Jensen
    assert excess == pytest.approx(np.mean(error**2) / (2 * LAW["temperature"]), rel=0.3)


def test_the_gibbs_mean_removes_the_variance_of_a_slope(getkey):
    slope = 3.0 * jnp.ones(4)
    loss, theta = lambda w: slope @ w, jnp.zeros(4)
    around_theta, _ = drawn(free_energy.monte_carlo, loss, theta, getkey, 8, 500, **LAW)
    both, _ = drawn(around(theta - slope / GAMMA), loss, theta, getkey, 8, 500, **LAW)
    truth = -0.5 * slope @ slope / GAMMA
    rms = lambda value: np.sqrt(np.mean((value - truth) ** 2))
    assert rms(both) < 0.15 * rms(around_theta)


def test_noiseless_value_is_the_moreau_envelope_and_never_above_the_loss(getkey):
    quadratic, theta = draw_quadratic(7, 3)
    loss, law = surface(quadratic), {"gamma": GAMMA, "temperature": 0.0}
    m = jnp.asarray(quadratic.gibbs_mean(theta, GAMMA))
    value, _ = drawn(around(m), loss, jnp.asarray(theta), getkey, 4, **law)
    np.testing.assert_allclose(value, quadratic.free_energy(theta, **law), rtol=1e-12)
    far, _ = drawn(around(m + 100.0), loss, jnp.asarray(theta), getkey, 4, **law)
    np.testing.assert_allclose(far, loss(jnp.asarray(theta)), rtol=1e-12)


@pytest.mark.parametrize("estimator", [free_energy.monte_carlo, around(jnp.asarray([0.3]))])
def test_a_narrow_window_shows_the_loss(estimator, getkey):
    law = {"gamma": 1e10, "temperature": 1.0}
    value, _ = drawn(estimator, quartic, jnp.array([0.3]), getkey, 4, **law)
    np.testing.assert_allclose(value, quartic(np.array([0.3])), rtol=1e-4)


def test_an_infinite_loss_has_no_weight_and_nan_stays(getkey):
    wall = lambda w: jnp.where(w > 0, jnp.inf, 0.0)
    value, _ = drawn(free_energy.monte_carlo, wall, jnp.zeros(()), getkey, 64, **LAW)
    np.testing.assert_allclose(value, LAW["temperature"] * np.log(2))
    hole = lambda w: jnp.where(w > 0, jnp.nan, 0.0)
    value, _ = drawn(free_energy.monte_carlo, hole, jnp.zeros(()), getkey, 64, **LAW)
    assert np.all(np.isnan(value))


def test_a_single_pair_has_an_unknown_error(getkey):
    _, error = drawn(free_energy.monte_carlo, quartic, jnp.array([0.3]), getkey, 2, **LAW)
    assert np.all(np.isinf(error))


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"gamma": 0.0}, "gamma must be positive, got 0.0"),
        ({"temperature": -1.0}, "temperature must be zero or positive, got -1.0"),
        ({"samples": 3}, "samples must be a multiple of 2, because .* got 3"),
        ({"samples": 0}, "samples must be a multiple of 2"),
    ],
)
def test_bad_settings_are_refused(bad, sentence, getkey):
    draws = {"samples": 2, "key": getkey()}
    with pytest.raises(ValueError, match=sentence):
        free_energy.monte_carlo(quartic, jnp.ones(1), **(LAW | draws | bad))
    if "samples" in bad:
        with pytest.raises(ValueError, match="samples must be a multiple of 4"):
            free_energy.importance(quartic, jnp.ones(1), jnp.ones(1), **(LAW | draws | bad))
        return
    with pytest.raises(ValueError, match=sentence):
        free_energy.importance(quartic, jnp.ones(1), jnp.ones(1), **(LAW | draws | bad))
    with pytest.raises(ValueError, match=sentence):
        free_energy.laplace(quartic, jnp.ones(1), **(LAW | bad))
    with pytest.raises(ValueError, match=sentence):
        free_energy.laplace_by_products(quartic, jnp.ones(1), probes=1, key=getkey(), **(LAW | bad))


def test_a_loss_that_is_not_a_number_is_refused(getkey):
    with pytest.raises(ValueError, match="one real value"):
        free_energy.monte_carlo(lambda w: w, jnp.ones(2), samples=2, key=getkey(), **LAW)
