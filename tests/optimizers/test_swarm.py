"""Swarm against a slow loop in NumPy, and by hand: two particles in the plane."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.loss import StructureError
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.rollout import rollout
from steppe.core.task import Problem
from steppe.optimizers.classic.from_evosax import FromEvosax
from steppe.optimizers.classic.pso import PSO
from steppe.optimizers.learned.formation import Formation
from steppe.optimizers.learned.swarm import Swarm, attraction, shared
from steppe.tasks.suite import build

KEY, STEPS = jr.key(0), 4
TASK = build("rastrigin-shifted", n=2, particles=3)
MADE = Swarm(hidden=(5,), units=20.0, scale=0.3, width=4, beyond=True, key=jr.key(2))


def shaken(opt):
    """Every number of θ a random one, none of them a zero as before training."""
    theta, rest = split_meta(tree.strongly_typed(opt))
    leaves, form = jtu.tree_flatten(theta)
    keys = jr.split(jr.key(5), len(leaves))
    drawn = [0.5 * jr.normal(k, leaf.shape) for k, leaf in zip(keys, leaves, strict=True)]
    return join_meta(jtu.tree_unflatten(form, drawn), rest)


OPT = shaken(MADE)


@eqx.filter_jit
def play(opt, task, key):
    """Places before each step, and the instance and start."""
    observe = lambda step: step.before.params
    return rollout(task, opt, key, STEPS + 1, lambda e: e.instance, observe=observe)


# The slow loop: one particle, one feature, one coordinate at a time.


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    return np.exp(x - np.max(x)) / np.sum(np.exp(x - np.max(x)))


def slow(opt, x, center, steps, alpha=1.0, length=1.0, beta=0.9):
    """Places of all particles (steps + 1, k, n); the textbook function around `center`."""
    w, b, u, v = (np.asarray(a) for a in (getattr(opt.attention, n) for n in "wbuv"))
    cell, head = opt.lstm.layers[0], opt.head
    W, bias = np.asarray(cell.w_gates), np.asarray(cell.b_gates)
    k, n = x.shape
    hidden = len(u)
    h, c = np.zeros((k, n, hidden)), np.zeros((k, n, hidden))
    m, best, least, path = np.zeros((k, n)), x.copy(), np.full(k, np.inf), [x]
    slopes = []
    for _ in range(steps):
        z = x - center
        f = np.sum(z**2 - 10 * np.cos(2 * np.pi * z) + 10, -1)
        g = 2 * z + 20 * np.pi * np.sin(2 * np.pi * z)
        s, mixed = np.zeros((4, k, n)), np.zeros((k, n))
        for i in range(k):
            m[i] = beta * m[i] + (1 - beta) * g[i]
            if f[i] < least[i]:
                best[i], least[i] = x[i], f[i]
            top, below = np.zeros(n), 0.0
            for j in range(k):
                near = np.exp(-alpha * np.sum((x[i] - x[j]) ** 2))
                below += near
                if f[j] < f[i]:
                    top = top + near * (x[i] - x[j])
            s[:, i] = g[i] / 20.0, m[i] / 20.0, x[i] - best[i], top / below
            scores = [
                np.mean([v @ np.tanh(w[q] * s[q, i, d] + b[q] + u.T @ h[i, d]) for d in range(n)])
                for q in range(4)
            ]
            mixed[i] = softmax(np.array(scores)) @ s[:, i]
        slopes.append(g)
        away = [np.mean(slopes, 0) / 20.0, x - np.mean(path, 0)]
        e, after = mixed.copy(), np.zeros((k, n))
        for j in range(k):
            M = softmax(np.array([mixed[r] @ mixed[j] / n for r in range(k)]))
            Q = softmax(np.array([-np.sum((x[r] - x[j]) ** 2) / (2 * length) for r in range(k)]))
            for r in range(k):
                e[j] += M[r] * Q[r] * mixed[r] / k
        for i in range(k):
            for d in range(n):
                more = np.array([*s[:, i, d], *(a[i, d] for a in away)])
                seen = [e[i, d], np.arcsinh(e[i, d]), *np.arcsinh(more)]
                gates = np.concatenate([seen, h[i, d]]) @ W + bias
                one, two, three, four = np.split(gates, 4)
                c[i, d] = sigmoid(three + 1) * c[i, d] + sigmoid(one) * np.tanh(two)
                h[i, d] = sigmoid(four) * np.tanh(c[i, d])
                own, *factors = h[i, d] @ np.asarray(head.w) + np.asarray(head.b)
                after[i, d] = x[i, d] + 0.3 * (own + np.array(factors) @ more)
        x = after
        path.append(x)
    return np.stack(path)


def test_runs_are_those_of_the_slow_loop():
    """Momentum and memory move on, velocity is away from the best, problems do not mix."""
    found = play(OPT, TASK, KEY)
    path = np.asarray(found.steps)[:, :, 0]
    expected = slow(OPT, path[0], np.asarray(found.looks.center[0]), STEPS)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-11)
    assert np.abs(path[-1] - path[0]).min() > 1e-3  # it moves, so that this could be wrong


def test_features_of_two_particles_in_the_plane_by_hand():
    """x₁ = (0, 0), x₂ = (1, 0) with the lower loss; β = ½, α = ln 2, so that w₁₂ = ½."""
    opt = Swarm(hidden=(2,), beta=0.5, alpha=float(np.log(2)), key=KEY)
    x, f = jnp.array([[0.0, 0.0], [1.0, 0.0]]), jnp.array([5.0, 3.0])
    g, m = jnp.array([[2.0, -4.0], [6.0, 8.0]]), jnp.array([[1.0, 0.0], [0.0, 1.0]])
    best = jnp.array([[-0.5, 2.0], [1.0, 0.0]])
    m = opt.beta * m + (1 - opt.beta) * g
    expected = [
        [[2, -4], [6, 8]],
        [[1.5, -2], [3, 4.5]],
        [[0.5, -2], [0, 0]],
        [[-1 / 3, 0], [0, 0]],  # ½ (0 − 1) / (1 + ½); the best is drawn to nobody
    ]
    np.testing.assert_allclose(opt.features(g, m, x, best, f), expected, rtol=0, atol=1e-12)


def test_shares_are_of_features_and_depend_on_what_is_remembered():
    """They add up to 1 over four features for each of three particles, not over particles."""
    s, h = jr.normal(KEY, (4, 3, 2)), jr.normal(jr.key(1), (5, 3, 2))
    shares = np.asarray(OPT.attention(s, h))
    assert shares.shape == (4, 3) and np.allclose(shares.sum(0), 1)
    assert not np.allclose(shares.sum(1), 1)
    assert not np.allclose(shares, OPT.attention(s, 0 * h), atol=1e-3)


def test_what_is_shared_weighs_each_particle_by_both_likenesses():
    """Equal mixtures, two particles at a distance of √2: m = ½, q = 1/(1 + e^∓1)."""
    x, c = jnp.array([[0.0, 0.0], [1.0, 1.0]]), jnp.array([[2.0, 0.0], [2.0, 0.0]])
    found = shared(c, x, jnp.array([True, True]), 1.0)
    np.testing.assert_allclose(found, [[1, 0], [1, 0]], rtol=0, atol=1e-12)
    c = jnp.array([[1.0, 0.0], [0.0, 3.0]])  # scores ½ · 1, 0, 9 · ½
    m = np.exp([[0.5, 0.0], [0.0, 4.5]])
    m, near = m / m.sum(0), 1 / (1 + np.exp(-1.0))
    q = np.array([[near, 1 - near], [1 - near, near]])
    expected = (m * q).T @ np.asarray(c)
    found = shared(c, x, jnp.array([True, True]), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_order_of_particles_and_of_problems_changes_nothing():
    @jax.jit
    def step(x, f_key):
        instance = TASK.sample(f_key)
        problem, state = Problem(TASK, instance, (), KEY), OPT.init(x)
        for _ in range(2):
            u, state = OPT.update(problem.grad(x), state, x, problem=problem)
            x = x + u
        return x

    x = jr.normal(KEY, (3, 1, 2))
    order = jnp.array([2, 0, 1])
    np.testing.assert_allclose(step(x[order], KEY), step(x, KEY)[order], rtol=0, atol=1e-12)
    keys, many = jr.split(KEY, 3), jr.normal(jr.key(1), (3, 3, 1, 2))
    together = jax.jit(jax.vmap(step))(many, keys)
    np.testing.assert_allclose(together[1], step(many[1], keys[1]), rtol=0, atol=1e-12)
    turned = jax.jit(jax.vmap(step))(many[order], keys[order])
    np.testing.assert_allclose(turned, together[order], rtol=0, atol=1e-12)


def test_one_optimizer_serves_every_dimension_and_number_of_particles():
    for n, k in ((1, 2), (7, 5)):
        path = play(OPT, build("rastrigin-shifted", n=n, particles=k), KEY).steps
        assert path.shape == (STEPS + 1, k, 1, n) and np.isfinite(path).all()


def test_a_lost_particle_does_not_take_the_others_with_it():
    x = jnp.array([[0.0, 0.0], [jnp.nan, 0.0], [1.0, 0.0]])
    f = jnp.array([5.0, jnp.nan, 3.0])
    alone = attraction(x[::2], f[::2], 1.0)
    np.testing.assert_allclose(attraction(x, f, 1.0)[::2], alone, rtol=1e-12)
    known = jnp.isfinite(f)
    alone = shared(x[::2], x[::2], known[::2], 1.0)
    np.testing.assert_allclose(shared(x, x, known, 1.0)[::2], alone, rtol=1e-12)


SWARMS = {
    "Swarm": MADE,
    "Formation": Formation(),
    "PSO": PSO(),
    "FromEvosax": FromEvosax("LES", std_init=1.0),
}


@pytest.mark.parametrize("name", SWARMS)
def test_what_is_no_swarm_is_refused_in_a_sentence(name):
    opt = SWARMS[name]
    for params, words in (
        (jnp.ones((1, 3)), "1 particle is no swarm, it needs 2; give `task.particles 4`"),
        (jnp.ones(()), r"particles in front of every array, got \(\)"),
        ({"a": jnp.ones((2, 3)), "b": jnp.ones((3, 2))}, r"got \(2, 3\), \(3, 2\); give"),
        ({}, "got no arrays"),
    ):
        with pytest.raises(ValueError, match=f"{name}.*{words}"):
            opt.init(params, key=KEY)
    x = jnp.ones((2, 3))
    state = eqx.filter_eval_shape(lambda: opt.init(x, key=KEY))
    with pytest.raises(ValueError, match=f"{name} needs the problem that it solves"):
        opt.update(x, state, x)
    plain = Problem(build("bowl-1"), (), (), KEY)
    with pytest.raises(StructureError, match=f"{name} needs a loss of the form Stacked.*particles"):
        opt.update(x, state, x, problem=plain)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"use": ("speed",)}, "use has 'speed'"),
        ({"hidden": ()}, r"hidden is \(\), expected layers"),
        ({"beta": 1.0}, r"beta must be in \[0, 1\), got 1\.0"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"width": 0}, "width must be at least 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=f"Swarm: {words}"):
        Swarm(**arguments, key=KEY)
