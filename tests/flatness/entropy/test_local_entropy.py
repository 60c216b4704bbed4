"""LocalEntropy: its gradient is that of its chain, its value the quantity named."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.entropy import free_energy
from steppe.flatness.entropy.local_entropy import LocalEntropy
from tests.reference.local_entropy import draw_quadratic, weights_of_average

GAMMA = 1.7


def bumpy(p):
    return jnp.sum(jnp.sin(2 * p["a"])) + 0.5 * p["b"] ** 2 * jnp.exp(p["a"][0])


POINT = {"a": jnp.array([0.3, -0.8]), "b": jnp.array(0.7)}
SETTINGS = {
    "default": LocalEntropy(GAMMA, temperature=0.1),
    "published": LocalEntropy(
        GAMMA, temperature=0.1, steps=3, step_size=0.1, decay=0.75, midpoint=False, antithetic=False
    ),
    "monte_carlo": LocalEntropy(GAMMA, temperature=0.1, burn_in=2, value="monte_carlo", samples=2),
    "laplace": LocalEntropy(GAMMA, temperature=0.0, value="laplace"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_gradient_is_the_pull_towards_the_mean_of_the_chain(name, getkey):
    measure = SETTINGS[name]

    @jax.jit
    def seen_and_named(params, key):
        seen = jax.value_and_grad(lambda p: measure(bumpy, p, key=key))(params)
        key_chain, key_value = jr.split(key)
        mean = measure.gibbs_mean(bumpy, params, key=key_chain)
        law = {"gamma": GAMMA, "temperature": float(measure.temperature)}
        draws = {"samples": measure.samples, "key": key_value}
        named = {
            "importance": lambda: free_energy.importance(bumpy, params, mean, **law, **draws).value,
            "monte_carlo": lambda: free_energy.monte_carlo(bumpy, params, **law, **draws).value,
            "laplace": lambda: free_energy.laplace(bumpy, params, **law),
        }[measure.value]()
        return seen, (named, jtu.tree_map(lambda p, m: GAMMA * (p - m), params, mean))

    seen, named = seen_and_named(POINT, getkey())
    jtu.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), seen, named)


@pytest.mark.parametrize("value", ["importance", "monte_carlo", "laplace"])
def test_value_is_the_free_energy_of_a_quadratic(value, getkey):
    quadratic, theta = draw_quadratic(0, 3)
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    loss = lambda w: quadratic.low + 0.5 * (w - star) @ H @ (w - star)
    measure = LocalEntropy(GAMMA, value=value, samples=4_000)
    one = lambda key: measure(loss, jnp.asarray(theta), key=key)
    seen = np.asarray(jax.jit(lambda keys: jax.lax.map(one, keys))(jr.split(getkey(), 20)))
    expected = quadratic.free_energy(theta, GAMMA, 1.0)
    assert abs(seen.mean() - expected) < 1e-9 + 3 * seen.std(ddof=1) / np.sqrt(20)
    assert seen.std() < 0.1


def test_noiseless_gradient_falls_short_by_the_stated_factor(getkey):
    quadratic, theta = draw_quadratic(1, 4)
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    loss = lambda w: 0.5 * (w - star) @ H @ (w - star)
    lam, V = np.linalg.eigh(quadratic.H)
    for decay, steps in ((None, 5), (0.75, 20)):
        measure = LocalEntropy(GAMMA, temperature=0.0, steps=steps, step_size=0.1, decay=decay)
        slope = jax.jit(jax.grad(lambda w, m=measure: m(loss, w, key=getkey())))
        pull = slope(jnp.asarray(theta))
        factor = (1 - 0.1 * (lam[:, None] + GAMMA)) ** np.arange(steps + 1)  # (n, steps + 1)
        b = factor @ weights_of_average(decay, 0, steps)
        full = GAMMA * lam / (lam + GAMMA) * (V.T @ (theta - quadratic.star))
        np.testing.assert_allclose(V.T @ pull, (1 - b) * full, rtol=1e-10)


def test_mirrored_gradient_on_a_quadratic_has_no_noise(getkey):
    loss = lambda w: 0.5 * jnp.sum(jnp.array([0.5, 3.0]) * w**2)
    at = lambda antithetic: jax.jit(
        jax.vmap(
            jax.grad(
                lambda w, key: LocalEntropy(GAMMA, steps=2, step_size=0.2, antithetic=antithetic)(
                    loss, w, key=key
                )
            ),
            in_axes=(None, 0),
        )
    )(jnp.ones(2), jr.split(getkey(), 100))
    assert np.ptp(at(True), axis=0).max() < 1e-12
    assert np.ptp(at(False), axis=0).min() > 0.1


def test_only_the_parameters_are_differentiated(getkey):
    key, measure = getkey(), SETTINGS["published"]
    pull = jax.grad(lambda scale, x: measure(lambda p: scale * p @ p, x, key=key), argnums=(0, 1))
    x = jnp.ones(2)
    (of_scale, of_x), (_, change) = jax.jit(lambda x: jax.jvp(lambda x: pull(2.0, x), (x,), (x,)))(
        x
    )
    assert of_scale == 0
    assert jnp.all(of_x != 0)
    np.testing.assert_array_equal(
        change, 0
    )  # the pull is a constant: nothing went through the chain


@pytest.mark.parametrize("name", ["default", "laplace"])
def test_many_points_at_once_are_each_alone(name, getkey):
    measure = SETTINGS[name]
    slope = jax.grad(lambda p, key: measure(bumpy, p, key=key))
    points = jtu.tree_map(lambda x: jnp.stack([x, x + 1]), POINT)
    keys = jr.split(getkey(), 2)
    many = jax.jit(jax.vmap(slope))(points, keys)
    alone = jax.jit(slope)(jtu.tree_map(lambda x: x[1], points), keys[1])
    jtu.tree_map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-10), many, alone)


@pytest.mark.parametrize("name", SETTINGS)
def test_single_precision_stays_single_with_double_settings(name, getkey):
    measure = jtu.tree_map(lambda x: jnp.asarray(x, jnp.float64), SETTINGS[name])
    params = jtu.tree_map(lambda x: x.astype(jnp.float32), POINT)
    run = jax.value_and_grad(lambda p, key: measure(bumpy, p, key=key))
    value, pull = jax.eval_shape(run, params, getkey())
    assert value.dtype == jnp.float32
    assert all(leaf.dtype == jnp.float32 for leaf in jtu.tree_leaves(pull))


def test_settings_can_be_swept(getkey):
    key, gammas = getkey(), jnp.array([0.5, 2.0])
    at = lambda gamma: LocalEntropy(gamma, value="monte_carlo", steps=1)(bumpy, POINT, key=key)
    seen = jax.jit(jax.vmap(at))(gammas)
    np.testing.assert_allclose(seen[1], jax.jit(at)(2.0), rtol=1e-10)


def test_chosen_step_size_keeps_a_stiff_chain_stable(getkey):
    loss = lambda w: 0.5 * jnp.sum(jnp.array([1e-3, 1.0, 1e6]) * w**2)
    measure = LocalEntropy(1e-2, temperature=0.0, steps=100)
    pull = jax.jit(jax.grad(lambda w: measure(loss, w, key=getkey())))(jnp.ones(3))
    assert jnp.all(jnp.abs(pull) <= 1.01e-2)  # γ ‖θ − m‖ ≤ γ ‖θ − θ*‖


def test_trouble_is_seen_in_value_and_gradient(getkey):
    hole = lambda w: jnp.sum(jnp.sqrt(w))  # NaN left of 0, where the chain comes
    at = lambda w: LocalEntropy(1.0)(hole, w, key=getkey())
    value, pull = jax.jit(jax.value_and_grad(at))(jnp.full(2, 1e-3))
    assert jnp.isnan(value)
    assert jnp.all(jnp.isnan(pull))


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"gamma": 0.0}, "LocalEntropy: gamma must be positive, got 0.0"),
        ({"temperature": -1e-8}, "temperature must be zero or positive, got -1e-08. Use 1 for"),
        ({"steps": 0}, "steps must be a whole number ≥ 1, got 0"),
        ({"step_size": -0.1}, r"step_size must be positive.*largest eigenvalue"),
        ({"decay": 1.5}, r"decay is the weight of the old average, in \[0, 1\), got 1.5"),
        ({"burn_in": 5}, "burn_in is 5 of 5 steps, which leaves none to average"),
        ({"samples": 2}, "samples must be a multiple of 4, because .* got 2"),
        ({"samples": 3, "value": "monte_carlo"}, "samples must be a multiple of 2"),
        ({"value": "guess"}, "value is 'guess', expected one of"),
    ],
)
def test_bad_settings_are_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        LocalEntropy(**({"gamma": 1.0} | bad))


def test_a_loss_that_is_not_a_number_is_refused(getkey):
    with pytest.raises(ValueError, match="one real value"):
        LocalEntropy(1.0)(lambda w: w, jnp.ones(2), key=getkey())
