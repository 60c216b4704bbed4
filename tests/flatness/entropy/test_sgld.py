"""The Langevin chain against a slow loop and against its exact law on quadratics."""

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.flatness.entropy.sgld import Langevin, stable_step_size
from tests.reference.local_entropy import draw_quadratic, langevin, weights_of_average

GAMMA, ETA = 1.7, 0.1


def slope_of(quadratic):
    H, star = jnp.asarray(quadratic.H), jnp.asarray(quadratic.star)
    return lambda w, key: H @ (w - star)


def places(chain, gradient, centre, steps, key):
    """Walkers after each step: (steps, n)."""

    def body(state, key):
        state = chain.step(gradient, state, key=key)
        return state, state.params

    return jax.lax.scan(body, chain.init(centre), jr.split(key, steps))[1]


@pytest.mark.parametrize("midpoint", [False, True])
def test_chain_is_the_slow_loop_on_the_same_noise(midpoint, getkey):
    key, steps, c = getkey(), 6, {"a": jnp.array([0.3, -1.0]), "b": jnp.asarray(0.5)}
    chain = Langevin(GAMMA, 0.4, ETA, midpoint=midpoint)
    # A force that cancels the spring leaves a random walk, whose increments are the noise.
    free = Langevin(1e-9, 0.4, ETA)
    walk = places(free, lambda w, k: jtu.tree_map(jnp.zeros_like, w), c, steps, key)
    flat = lambda tree: np.concatenate([tree["a"], tree["b"][..., None]], axis=-1)
    start = flat(c)
    noise = np.diff(np.vstack([start, flat(walk)]), axis=0) / np.sqrt(2 * ETA * 0.4)
    loss = lambda p: jnp.sum(jnp.cos(p["a"])) + p["a"][0] * p["b"] ** 2
    end = chain.run(lambda w, k: jax.grad(loss)(w), c, steps, key=key)

    def gradient(w):
        return np.array([-np.sin(w[0]) + w[2] ** 2, -np.sin(w[1]), 2 * w[0] * w[2]])

    slow, average = langevin(
        gradient, start, noise, gamma=GAMMA, temperature=0.4, eta=ETA, midpoint=midpoint
    )
    np.testing.assert_allclose(flat(end.params), slow[-1], rtol=1e-6)
    np.testing.assert_allclose(flat(end.average), average, rtol=1e-6)
    assert int(end.count) == steps


@pytest.mark.parametrize(
    ("decay", "burn_in"), [(0.75, 0), (0.75, 7), (0.0, 0), (None, 0), (None, 12)]
)
def test_noiseless_average_has_the_bias_of_the_formula(decay, burn_in, getkey):
    quadratic, theta = draw_quadratic(0, 4)
    chain = Langevin(GAMMA, 0.0, ETA, decay=decay, burn_in=burn_in)
    end = chain.run(slope_of(quadratic), jnp.asarray(theta), 20, key=getkey())
    means = quadratic.chain_mean(theta, GAMMA, ETA, 20)
    np.testing.assert_allclose(end.params, means[-1], rtol=1e-10)
    expected = weights_of_average(decay, burn_in, 20) @ means
    np.testing.assert_allclose(end.average, expected, rtol=1e-10)


def test_bias_of_twenty_steps_is_the_published_formula():
    quadratic, theta = draw_quadratic(1, 5)
    m, P = quadratic.gibbs_mean(theta, GAMMA), quadratic.H + GAMMA * np.eye(5)
    A, L = np.eye(5) - ETA * P, 20
    bracket = 0.75**L * np.eye(5) + 0.25 * sum(
        0.75 ** (L - i) * np.linalg.matrix_power(A, i) for i in range(1, L + 1)
    )
    weights = weights_of_average(0.75, 0, L)
    average = weights @ quadratic.chain_mean(theta, GAMMA, ETA, L)
    np.testing.assert_allclose(average - m, bracket @ (theta - m), rtol=1e-10)


@pytest.mark.parametrize("midpoint", [False, True])
def test_law_of_many_chains_is_the_gaussian_of_the_formula(midpoint, getkey):
    n, steps, count, temperature = 3, 9, 40_000, 1.0
    quadratic, theta = draw_quadratic(2, n)
    chain = Langevin(GAMMA, temperature, ETA, midpoint=midpoint)
    run = lambda key: chain.run(slope_of(quadratic), jnp.asarray(theta), steps, key=key).params
    w = np.asarray(jax.jit(jax.vmap(run))(jr.split(getkey(), count)))
    law = quadratic.hidden_covariance if midpoint else quadratic.chain_covariance
    C = law(GAMMA, temperature, ETA, steps)
    error = np.sqrt(np.diag(C) / count)
    assert np.all(
        np.abs(w.mean(0) - quadratic.chain_mean(theta, GAMMA, ETA, steps)[-1]) < 4 * error
    )
    spread = np.sqrt((np.outer(np.diag(C), np.diag(C)) + C**2) / count)
    assert np.all(np.abs(np.cov(w.T) - C) < 4 * spread)


def test_points_of_the_midpoint_chain_have_the_gibbs_covariance_at_any_stable_step(getkey):
    H, count = jnp.array([0.3, 4.0]), 40_000
    eta = 1.5 / (4.0 + GAMMA)
    exact = 1 / (H + GAMMA)

    def spread(midpoint):
        chain = Langevin(GAMMA, 1.0, eta, midpoint=midpoint)
        run = lambda key: chain.run(lambda w, k: H * w, jnp.zeros(2), 40, key=key).point
        return jax.jit(jax.vmap(run))(jr.split(getkey(), count)).var(0) / exact

    np.testing.assert_allclose(spread(True), 1, atol=4 * np.sqrt(2 / count))
    plain = 1 / (1 - eta / 2 * (np.array([0.3, 4.0]) + GAMMA))  # 1.33 and 4
    np.testing.assert_allclose(spread(False), plain, rtol=4 * np.sqrt(2 / count))


def test_mirrored_chains_cancel_the_noise_on_a_quadratic(getkey):
    quadratic, theta = draw_quadratic(3, 4)
    key, run = getkey(), Langevin(GAMMA, 1.0, ETA).run
    ends = [
        run(slope_of(quadratic), jnp.asarray(theta), 5, key=key, sign=sign).params
        for sign in (1, -1)
    ]
    assert np.abs(ends[0] - ends[1]).max() > 0.1
    expected = quadratic.chain_mean(theta, GAMMA, ETA, 5)[-1]
    np.testing.assert_allclose((ends[0] + ends[1]) / 2, expected, rtol=1e-12)


def test_every_step_draws_its_own_batch_and_noise(getkey):
    chain = Langevin(1e-9, 0.0, 1.0)
    toss = lambda w, key: jr.normal(key, w.shape)  # a gradient that is nothing but batch noise
    w = np.asarray(places(chain, toss, jnp.zeros(()), 2_000, getkey()))
    steps = np.diff(w, prepend=0.0)
    assert abs(np.corrcoef(steps[:-1], steps[1:])[0, 1]) < 4 / np.sqrt(2_000)
    assert steps.var() == pytest.approx(1, abs=4 * np.sqrt(2 / 2_000))


@pytest.mark.parametrize("excess", [-0.02, 0.02])
def test_chain_is_stable_up_to_the_stated_step_size(excess, getkey):
    H = jnp.array([0.5, 8.0])
    chain = Langevin(GAMMA, 0.0, (2 + excess) / (8.0 + GAMMA))
    end = chain.run(lambda w, k: H * (w - 1), jnp.zeros(2), 400, key=getkey())
    distance = jnp.abs(end.params - H / (H + GAMMA)).max()
    assert (distance < 1e-3) == (excess < 0)


@pytest.mark.parametrize("temperature", [0.5, 0.0])
def test_settings_and_centre_are_differentiable(temperature, getkey):
    key = getkey()
    settings = {"gamma": 1.3, "temperature": temperature, "step_size": 0.2, "centre": 0.4}

    @jax.jit
    def f(s):
        chain = Langevin(s["gamma"], s["temperature"], s["step_size"])
        end = chain.run(lambda w, k: jnp.sin(w), s["centre"], 4, key=key)
        return end.average + end.params**2

    settings = {name: jnp.asarray(x, jnp.float64) for name, x in settings.items()}
    slopes = jax.grad(f)(settings)
    for name, slope in slopes.items():
        if name == "temperature" and temperature == 0:
            assert slope == 0  # a path moves by √τ: there is no derivative to give
            continue
        ahead, behind = ({**settings, name: settings[name] + h} for h in (1e-5, -1e-5))
        assert slope == pytest.approx(float(f(ahead) - f(behind)) / 2e-5, rel=1e-6)


def test_a_temperature_below_zero_that_could_not_be_seen_gives_nan(getkey):
    chain = lambda tau: Langevin(1.0, tau, 0.1)
    run = jax.jit(lambda tau: chain(tau).run(lambda w, k: w, jnp.ones(2), 2, key=getkey()).params)
    assert jnp.all(jnp.isnan(run(-1.0)))


def test_chain_keeps_structure_and_dtypes_with_settings_of_another(getkey):
    wide = jnp.asarray(0.5, jnp.float64)
    chain = Langevin(wide, wide, wide * 0.1, burn_in=1, midpoint=True)
    like = {"a": jnp.ones((2, 3), jnp.float32), "b": (jnp.ones((), jnp.bfloat16), jnp.ones((0,)))}
    start = chain.init(like)
    end = jax.eval_shape(lambda k: chain.run(lambda w, _: w, like, 3, key=k), getkey())
    same = jtu.tree_map(lambda a, b: a.shape == b.shape and a.dtype == b.dtype, start, end)
    assert all(jtu.tree_leaves(same))


@pytest.mark.parametrize("seed", range(4))
def test_stable_step_size_is_stable_and_never_too_cautious(seed, getkey):
    quadratic, theta = draw_quadratic(seed, 5)
    H = jnp.asarray(quadratic.H) * (-1) ** seed  # the modulus counts, not the sign
    eta = stable_step_size(
        lambda w: 0.5 * (w - 1) @ H @ (w - 1), jnp.asarray(theta), gamma=GAMMA, key=getkey()
    )
    top = np.abs(np.linalg.eigvalsh(quadratic.H)).max()
    assert 1 / (top + GAMMA) * (1 - 1e-12) <= eta < 2 / (top + GAMMA)


def test_stable_step_size_on_a_plane_is_that_of_the_spring(getkey):
    eta = stable_step_size(lambda w: 3.0 * w, jnp.asarray(1.0), gamma=GAMMA, key=getkey())
    assert eta == pytest.approx(1 / GAMMA)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"gamma": 0.0}, "gamma must be positive, got 0.0. Without the spring"),
        ({"gamma": jnp.asarray(-1.0)}, "gamma must be positive"),
        ({"gamma": float("nan")}, "gamma must be positive, got nan"),
        ({"temperature": -0.1}, "temperature must be zero or positive, got -0.1"),
        ({"step_size": 0.0}, r"step_size must be positive.* < 2\."),
        ({"decay": 1.0}, r"in \[0, 1\), got 1.0. Use None"),
        ({"burn_in": -1}, "burn_in must be a whole number ≥ 0, got -1"),
    ],
)
def test_bad_settings_are_refused(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        Langevin(**({"gamma": 1.0, "temperature": 1.0, "step_size": 0.1} | bad))


@pytest.mark.parametrize(("steps", "burn_in"), [(0, 0), (2.0, 0), (3, 3)])
def test_a_run_that_leaves_nothing_to_average_is_refused(steps, burn_in, getkey):
    chain = Langevin(1.0, 1.0, 0.1, burn_in=burn_in)
    with pytest.raises(ValueError, match=r"steps must be a whole|leaves none to average"):
        chain.run(lambda w, k: w, jnp.ones(2), steps, key=getkey())
