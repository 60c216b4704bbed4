"""Formation: its runs are those of a slow loop, and ripples cancel in the mean of its slopes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.optimizer import split_meta
from steppe.core.rollout import rollout
from steppe.core.task import Problem
from steppe.optimizers.learned.formation import Formation, between
from steppe.tasks import build

KNOTS, STEPS, KEY = 3, 6, jr.key(3)
TASK = build("rastrigin-shifted", n=2, particles=4)


def learned(spreads, rates, momentum=0.0, memory=0.0, taper=0.0):
    """A formation with these s and r at its knots, m, b and a."""
    numbers = (np.log(spreads), np.log(rates), np.arctanh(momentum), memory, taper)
    parts = lambda opt: (opt.spreads, opt.rates, opt.momentum, opt.memory, opt.taper)
    made = Formation(knots=len(spreads))
    return eqx.tree_at(parts, made, tuple(jnp.asarray(x, jnp.float64) for x in numbers))


OPT = learned([2.0, 0.7, 0.1], [0.3, 0.5, 0.2], 0.2, 0.4, 0.6)


@eqx.filter_jit
def play(opt, task, key, steps=STEPS):
    return rollout(
        task, opt, key, steps, lambda e: e.instance, observe=lambda step: step.before.params
    )


def slow(x, center, steps):
    """Places of all particles under `OPT`, one coordinate of one particle at a time."""
    k, n = x.shape
    table = np.log([[2.0, 0.7, 0.1], [0.3, 0.5, 0.2]])
    s, r = ([np.exp(np.interp(np.log2(1 + t), range(KNOTS), row)) for t in range(steps + 1)]
            for row in table)  # fmt: skip
    b, a, m = 1 / (1 + np.exp(-0.4)), 0.6, 0.2
    z = np.array([[(sum(x[j, d] < x[i, d] for j in range(k)) + 0.5) / k - 0.5 for d in range(n)]
                  for i in range(k)])  # fmt: skip
    w = np.cos(np.pi * z) ** (2 * a)
    step, before, moved, turned, path = np.zeros(n), np.zeros(n), 0.0, 0.0, [x]
    for t in range(steps):
        y = x - center
        g = 2 * y + 20 * np.pi * np.sin(2 * np.pi * y)
        slope = np.array([sum(w[i, d] * g[i, d] for i in range(k)) / sum(w[:, d]) for d in
                          range(n)])  # fmt: skip
        if t <= 1:
            moved, turned = s[t] * np.sqrt(n), np.linalg.norm(slope)
        else:
            moved = b * moved + (1 - b) * np.linalg.norm(step)
            turned = b * turned + (1 - b) * np.linalg.norm(slope - before)
        step = m * step - r[t] * moved / turned * slope
        before, x = slope, x.mean(0) + step + s[t + 1] * z
        path.append(x)
    return np.stack(path)


def test_runs_are_those_of_the_slow_loop():
    found = play(OPT, TASK, KEY, STEPS + 1)
    path = np.asarray(found.steps)[:, :, 0]
    expected = slow(path[0], np.asarray(found.looks.center[0]), STEPS)
    np.testing.assert_allclose(path, expected, rtol=0, atol=1e-10)
    assert np.abs(path[-1] - path[1]).min() > 1e-3  # it moves, so that this could be wrong


@pytest.mark.parametrize(
    ("spread", "taper", "particles"), [(1.0, 0.0, 4), (2.0, 0.0, 5), (2.0, 1.0, 4)]
)
def test_ripples_cancel_and_two_steps_lead_to_the_bottom_of_the_bowl(spread, taper, particles):
    """A step of any size in formation tells the curvature 2, and the next one leads to x*, n = 7.

    With a = 1 the slopes of four are weighed by 1 − cos 2π(j + ½)/4, and at s = 2 still cancel.
    """
    opt = learned([spread] * KNOTS, [1.0] * KNOTS, memory=-100.0, taper=taper)
    found = play(opt, build("rastrigin-shifted", n=7, particles=particles), KEY, 4)
    mean = np.asarray(found.steps).mean(1)[-1, 0]
    np.testing.assert_allclose(mean, found.looks.center[0], rtol=0, atol=1e-10)
    assert np.abs(np.asarray(found.steps).mean(1)[2, 0] - mean).min() > 1e-3


def moves(opt, x, grad, steps=3):
    problem, state, path = Problem(TASK, TASK.sample(KEY), (), KEY), opt.init(x), []
    for _ in range(steps):
        updates, state = opt.update(grad(x), state, x, problem=problem)
        x = x + updates
        path.append(x)
    return jnp.stack(path)


def test_places_units_and_orders_do_not_matter():
    """Moved problems, losses in other units, other orders of particles and of coordinates."""
    x, here = jr.normal(KEY, (4, 1, 2)), jnp.array([[1.0, -3.0]])
    grad = jax.grad(lambda x: jnp.sum(jnp.cosh(x) + jnp.sin(5 * x)))
    run = jax.jit(lambda x, here, unit: moves(OPT, x, lambda x: unit * grad(x - here[None])))
    plain = run(x, 0 * here, 1.0)
    assert_equal = lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)
    assert_equal(run(x + here[None], here, 1.0) - here[None, None], plain)
    assert_equal(run(x, 0 * here, 1e30), plain)
    order = jnp.array([2, 0, 3, 1])
    assert_equal(run(x[order], 0 * here, 1.0), plain[:, order])
    assert_equal(run(x[..., ::-1], 0 * here, 1.0), plain[..., ::-1])


def test_numbers_between_knots_lie_on_lines_over_the_logarithm_of_the_step():
    steps, values = jnp.arange(12), jnp.array([1.0, 3.0, -2.0])
    expected = np.interp(np.log2(1 + np.arange(12.0)), [0, 1, 2], values)
    np.testing.assert_allclose(jax.vmap(lambda t: between(values, t))(steps), expected, atol=1e-12)
    assert between(jnp.array([5.0]), jnp.asarray(9)) == 5


def test_few_numbers_are_trained_and_wrong_ones_refused():
    theta = split_meta(Formation(knots=7))[0]
    assert sum(leaf.size for leaf in jax.tree_util.tree_leaves(theta)) == 17
    for make, words in (
        (lambda: Formation(spread=0.0), "spread must be positive"),
        (lambda: Formation(rate=-1.0), "rate must be positive"),
        (lambda: Formation(knots=0), "knots must be at least 1"),
    ):
        with pytest.raises(ValueError, match=f"Formation: {words}"):
            make()
