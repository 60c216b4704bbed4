"""PAC-Bayes: fixtures, divergences from quadrature, coverage where Gibbs risks are known."""

import dataclasses
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from reference.descents import too_often
from reference.parabola import HIGH, LOW, Parabola, Step

import steppe
from steppe.certificates import audit, certify, pac_bayes
from steppe.certificates.bounds import kl_bound, kl_upper
from steppe.certificates.claims import Quantile, Success
from steppe.certificates.pac_bayes import Finite, Gaussian, around, fit, kl_inverse
from steppe.certificates.randomised import certify_randomised, task_keys


def step(log_rate: float) -> Step:
    return Step(jnp.asarray(log_rate, jnp.float32))


TOLERANCE, STEPS = 0.1, 6
WAY = {"steps": STEPS, "metric": "size", "tolerances": [TOLERANCE]}


def risk(log_rate):
    """P[|1 − η a|^K > ε]: a outside ((1 − ε^(1/K))/η, (1 + ε^(1/K))/η)."""
    root, eta = TOLERANCE ** (1 / STEPS), np.exp(log_rate)
    inside = np.clip((1 + root) / eta, LOW, HIGH) - np.clip((1 - root) / eta, LOW, HIGH)
    return 1 - inside / (HIGH - LOW)


NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)


def gibbs_risk(mean: float, variance: float) -> float:
    return float(np.sum(WEIGHTS * risk(mean + math.sqrt(variance) * NODES)) / WEIGHTS.sum())


# Numbers.


@pytest.mark.parametrize(
    ("pairs", "budget", "seen", "on_tasks", "bound"),
    [
        (20_000, 0.01, 0.0, 0.0006, 0.0124),
        (20_000, 0.01, 0.01, 0.0139, 0.0373),
        (20_000, 0.01, 0.05, 0.0580, 0.0970),
        (20_000, 0.01, 0.1, 0.1108, 0.1603),
        (20_000, 0.01, 0.2, 0.2142, 0.2758),
        (20_000, 0.05, 0.0, 0.0006, 0.0520),
        (20_000, 0.05, 0.01, 0.0139, 0.0865),
        (20_000, 0.05, 0.1, 0.1108, 0.2343),
        (2_000, 0.03, 0.0, 0.0061, 0.0477),
        (2_000, 0.03, 0.1, 0.1364, 0.2340),
    ],
)
def test_the_two_steps_as_published(pairs, budget, seen, on_tasks, bound):
    calibrated = kl_bound(seen, pairs, 1e-5 / 2)
    assert round(calibrated, 4) == on_tasks
    assert round(pac_bayes.risk_bound(calibrated, budget), 4) == bound


def test_budget_by_hand():
    by_hand = (3.0 + math.log(2 * math.sqrt(100) / 0.05) + 2 * math.log(math.pi**2 / 6)
               + 2 * math.log(4) + 2 * math.log(9)) / 100  # fmt: skip
    assert pac_bayes.budget(3.0, 100, 0.05, [4, 9]) == pytest.approx(by_hand, rel=1e-9)
    assert pac_bayes.budget(3.0, 100, 0.05, [4, 9]) >= by_hand


def test_grid_is_clamped_at_one():
    variances, places = pac_bayes.on_grid(np.array([1e-2, 99.9, 1e3]))
    assert places == [921, 1, 1]
    assert variances == pytest.approx([100 * math.exp(-9.21), *[100 * math.exp(-0.01)] * 2])


def test_divergence_of_gaussians_by_quadrature():
    x, weights = np.polynomial.hermite_e.hermegauss(60)
    m, s, m0, s0 = 0.7, 0.3, -0.2, 1.7
    at = m + math.sqrt(s) * x
    log_ratio = -((at - m) ** 2) / (2 * s) + (at - m0) ** 2 / (2 * s0) - 0.5 * math.log(s / s0)
    found = pac_bayes.gaussian_divergence(*(np.array([v]) for v in (m, s, m0, s0)))
    assert found == pytest.approx(float(weights @ log_ratio / weights.sum()), rel=1e-12)


def test_posterior_says_the_same_divergence_in_jax():
    opt, prior = (steppe.RNNProp(hidden=(3,), key=jr.key(seed)) for seed in (0, 1))
    q = around(opt, prior)
    assert float(q.divergence()) == pytest.approx(q.exact_divergence(), rel=1e-5)
    assert around(opt, prior).on_grid()[1] == [921] * len(q.log_prior)


@pytest.mark.parametrize(("q", "c"), [(0.1, 0.05), (0.5, 0.3), (0.9, 0.01), (1e-3, 0.2)])
def test_differentiable_inverse_and_its_slopes(q, c):
    x = jnp.asarray([q, c], jnp.float64)
    f = lambda x: kl_inverse(x[0], x[1])
    assert float(f(x)) == pytest.approx(float(kl_upper(q, c)), abs=1e-9)
    h = 1e-6
    numeric = [
        (kl_upper(q + h, c) - kl_upper(q - h, c)) / (2 * h),
        (kl_upper(q, c + h) - kl_upper(q, c - h)) / (2 * h),
    ]
    assert jax.grad(f)(x) == pytest.approx(np.array(numeric), rel=1e-4)
    assert np.all(np.isfinite(jax.grad(f)(jnp.zeros(2))))


def test_noise_of_different_leaves_is_independent():
    """The published code drew all leaves with one key."""
    opt = steppe.RNNProp(hidden=(3,), key=jr.key(0))
    q = around(opt, steppe.RNNProp(hidden=(3,), key=jr.key(1)))
    H = 2000
    draws = jax.vmap(
        lambda key: jax.tree.map(jnp.ravel, eqx.filter(q.draw(key), eqx.is_inexact_array))
    )(jr.split(jr.key(2), H))
    first = np.stack([np.asarray(leaf)[:, 0] for leaf in jax.tree.leaves(draws)])
    spread = first.std(axis=1) > 1e-6
    correlation = np.corrcoef(first[spread]) - np.eye(spread.sum())
    assert np.abs(correlation).max() < 4.5 / math.sqrt(H)


# Coverage.


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(certify, "environment", dict)


@jax.jit
def seen_by(tasks):
    """The a of each task, as `begin` draws it."""
    return jax.vmap(lambda key: Parabola().sample(jr.split(jr.split(key, 3)[0], 4)[0]))(tasks)


def best_rate(a: np.ndarray) -> float:
    """The log rate that solves most of these tasks: trained on them, as hard as can be."""
    rates = np.linspace(-3, -0.5, 251)
    solved = np.abs(1 - np.exp(rates)[:, None] * a) ** STEPS <= TOLERANCE
    return float(rates[solved.mean(axis=1).argmax()])


def test_gaussian_posteriors_trained_on_the_tasks_keep_their_word():
    repeats, delta, wrong = 120, 0.2, 0
    for seed in range(repeats):
        tasks = task_keys(seed, 60)
        mean = best_rate(np.asarray(seen_by(tasks)))
        q = around(step(mean), step(-1.0))
        q = eqx.tree_at(
            lambda q: q.log_variance.log_rate, q, jnp.asarray(math.log(0.01), jnp.float32)
        )
        cert = certify_randomised(q, Parabola(), tasks, **WAY, delta=delta, pairs=1000, seed=seed)
        wrong += gibbs_risk(mean, 0.01) > cert.claims[0]["bound"]
    assert not too_often(wrong, repeats, delta)
    assert cert.claims[0]["bound"] < 0.9  # and says something
    assert audit.verify(cert) == []


def test_finite_posteriors_keep_their_word():
    members = [step(x) for x in (-2.6, -2.0, -1.7, -1.4)]
    truth = np.array([risk(x) for x in (-2.6, -2.0, -1.7, -1.4)])
    repeats, delta, wrong = 60, 0.2, 0
    for seed in range(repeats):
        cert = certify_randomised(
            Finite(members), Parabola(), task_keys(seed, 50), **WAY, delta=delta
        )
        wrong += float(np.array(cert.posterior["posterior"]) @ truth) > cert.claims[0]["bound"]
    assert not too_often(wrong, repeats, delta)
    assert audit.verify(cert) == []


def test_a_bound_without_its_divergence_is_caught():
    """Control: of 400 that each fail on every other task, the one that fits these 8 best."""
    n, delta, repeats, members = 8, 0.3, 100, np.arange(1, 401)
    without = honest = 0
    for seed in range(repeats):
        a = np.random.default_rng(seed).uniform(LOW, HIGH, n)
        risks = (np.floor(1000 * members[:, None] * a) % 2).mean(axis=1)
        without += kl_bound(float(risks.min()), n, delta) < 0.5
        q, divergence = pac_bayes.gibbs(risks, np.full(400, 1 / 400), n, delta)
        honest += pac_bayes.risk_bound(q @ risks, pac_bayes.budget(divergence, n, delta)) < 0.5
    assert too_often(without, repeats, delta)
    assert not too_often(honest, repeats, delta)


def test_gibbs_pays_for_what_it_gains():
    prior = np.full(5, 0.2)
    q, divergence = pac_bayes.gibbs(np.array([0.5, 0.5, 0.02, 0.5, 0.5]), prior, 500, 0.05)
    assert q[2] > 0.95 and divergence == pytest.approx(math.log(5), rel=0.1)
    q, divergence = pac_bayes.gibbs(np.full(5, 0.3), prior, 500, 0.05)
    assert q == pytest.approx(prior) and divergence == pytest.approx(0, abs=1e-12)


# Training.


def test_fit_brings_the_bound_down():
    tasks = task_keys(0, 100)
    q = around(step(-4.0), step(-2.5))

    def loss(opt, key):
        a = Parabola().sample(jr.split(jr.split(key, 3)[0], 4)[0])
        x = jnp.ones(())
        for _ in range(STEPS):
            x = x - jnp.exp(opt.log_rate) * a * x
        return jnp.abs(x)

    trained, surrogate = fit(q, loss, tasks, steps=250, lr=0.05, delta=0.05, key=jr.key(1))
    assert np.mean(surrogate[-20:]) < np.mean(surrogate[:20]) - 0.1
    before, after = (
        certify_randomised(x, Parabola(), tasks, **WAY, delta=0.1, pairs=2000) for x in (q, trained)
    )
    assert after.claims[0]["bound"] < before.claims[0]["bound"] - 0.2
    assert after.posterior["divergence"] > 0


def test_a_draw_that_diverges_teaches_nothing():
    tasks, q = task_keys(0, 20), around(step(-2.0), step(-2.5))
    steep = lambda opt: jnp.where(opt.log_rate > -1.8, jnp.inf, jnp.exp(-5 * opt.log_rate))

    def loss(opt, key):  # the best ones lie beside those that are infinite
        return (steep(opt) * opt.log_rate**2).astype(jnp.result_type(float))

    trained, surrogate = fit(q, loss, tasks, steps=20, lr=0.05, delta=0.05, key=jr.key(1))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(trained) if eqx.is_inexact_array(x))
    moved = float(trained.mean.log_rate - q.mean.log_rate)
    assert moved != 0 and np.isfinite(trained.exact_divergence()) and len(surrogate) == 20


# Refusals.


def test_what_is_refused():
    tasks = task_keys(0, 20)
    q = around(step(-2.0), step(-2.5))
    with pytest.raises(ValueError, match="at least 8 tasks, got 7"):
        certify_randomised(q, Parabola(), task_keys(0, 7), **WAY)
    with pytest.raises(ValueError, match="meets or not"):
        certify_randomised(q, Parabola(), tasks, steps=5, claims=[Quantile(0.5, 5)])
    with pytest.raises(ValueError, match="the prior is the optimizer itself"):
        around(step(-2.0), step(-2.0))
    assert isinstance(around(step(-2.0), step(-2.0), apart=True), Gaussian)
    with pytest.raises(ValueError, match="same weights"):
        around(step(-2.0), steppe.FromOptax("sgd", learning_rate=0.1))
    with pytest.raises(ValueError, match="add up to 1"):
        Finite([step(-2.0), step(-1.0)], [0.5, 0.6])
    with pytest.raises(ValueError, match="for each of its members"):
        Finite([step(-2.0)], [0.5, 0.5])
    with pytest.raises(ValueError, match="must be positive"):
        pac_bayes.gaussian_divergence(*(np.array([x]) for x in (0.0, 0.0, 0.0, 1.0)))


def test_a_forged_bound_is_caught():
    cert = certify_randomised(
        around(step(-2.0), step(-2.5)), Parabola(), task_keys(0, 40), steps=STEPS, metric="size",
        claims=[Success(TOLERANCE, STEPS)], pairs=500,
    )  # fmt: skip
    assert audit.verify(cert) == []
    for changed in (
        {"bound": cert.claims[0]["bound"] * 0.9},
        {"budget": cert.claims[0]["budget"] * 0.5},
        {"on_tasks": cert.claims[0]["on_tasks"] * 0.5},
    ):
        forged = dataclasses.replace(cert, claims=[cert.claims[0] | changed])
        assert audit.verify(forged), changed
