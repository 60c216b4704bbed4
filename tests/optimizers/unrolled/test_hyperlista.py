"""HyperLISTA against its formulas in NumPy, and against ALISTA where the two are the same."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.optimizer import split_meta
from steppe.core.task import Problem
from steppe.optimizers.unrolled.analytic import closed_form
from steppe.optimizers.unrolled.coupled import ALISTA
from steppe.optimizers.unrolled.hyperlista import HyperLISTA, largest_share
from tests.optimizers.unrolled.layers import Given, measured, path, soft

ROWS, N, LAYERS = 16, 24, 5
A, TRUTH, B = measured(0, ROWS, N, 4, density=0.15)


def formulas(b, c1, c2, c3):
    W, inverse = closed_form(A), np.linalg.pinv(A)
    x, before, found = np.zeros(N), np.zeros(N), []
    for _ in range(LAYERS):
        r = A @ x - b
        error = np.abs(inverse @ r).sum()
        z = x - W.T @ r + c2 * np.sum(x != 0) * (x - before)
        share = np.clip(c3 * np.log(np.abs(inverse @ b).sum() / error), 0, 1)
        keep = np.zeros(N, bool)
        keep[np.argsort(-np.abs(z))[: int(share * N)]] = True
        theta = c1 * error
        before, x = x, np.where(keep & (np.abs(z) >= theta), z, soft(z, theta))
        found.append(x)
    return np.stack(found)


@pytest.mark.parametrize("numbers", [(0.2, 0.05, 0.3), (0.05, 0.0, 3.0), (0.3, 0.1, 0.0)])
def test_layers_are_those_of_the_formulas(numbers):
    options = dict(zip(("c1", "c2", "c3"), numbers, strict=True))
    opt = HyperLISTA.from_dictionary(A, layers=LAYERS, **options)
    expected = np.stack([formulas(b, *numbers) for b in B])
    found = path(opt, jnp.asarray(A), jnp.asarray(B), LAYERS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_without_momentum_and_selection_a_layer_is_one_of_alista():
    hyper = HyperLISTA.from_dictionary(A, layers=1, c1=0.2, c2=0.0, c3=0.0)
    alista = ALISTA.from_dictionary(A, layers=1, p=0.0)
    for b in B:
        theta = 0.2 * np.abs(np.linalg.pinv(A) @ b).sum()
        twin = eqx.tree_at(lambda net: net.thresholds, alista, jnp.full((1,), theta))
        found, same = (path(opt, jnp.asarray(A), jnp.asarray(b[None]), 1) for opt in (hyper, twin))
        np.testing.assert_allclose(found, same, rtol=0, atol=1e-12)


def test_measurements_of_nothing_are_solved_and_differentiable():
    problem = Problem(Given(), (jnp.asarray(A), jnp.zeros(ROWS)), (), jax.random.key(0))

    @eqx.filter_jit
    def slope(opt):
        theta, rest = eqx.partition(opt, eqx.is_array)
        move = lambda theta: jnp.sum(step(eqx.combine(theta, rest)) ** 2)
        return step(opt), jax.grad(move)(theta)

    def step(opt):
        x = jnp.zeros(N)
        return opt.update(x, opt.init(x), x, problem=problem)[0]

    move, gradients = slope(HyperLISTA.from_dictionary(A, layers=2))
    assert not move.any() and tree.finite(gradients)


def test_the_largest_share_is_a_count():
    z = jnp.asarray([0.1, -3.0, 2.0, -0.5])
    shares = jnp.asarray([-1.0, 0.0, 0.2, 0.25, 0.6, 1.0, 7.0])
    found = jax.vmap(largest_share, (None, 0))(z, shares)
    assert found.sum(axis=1).tolist() == [0, 0, 0, 1, 2, 4, 4]
    assert found[4].tolist() == [False, True, True, False]


def test_it_has_three_numbers_and_knows_what_to_try():
    opt = HyperLISTA(256, 512)
    assert tree.size(split_meta(opt)[0]) == 3
    tried = opt.candidates()
    assert np.prod([len(values) for values in tried.values()]) <= 100
    for name, values in tried.items():
        assert float(getattr(opt, name)) == pytest.approx(values[len(values) // 2], rel=1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"c1": -0.1}, "HyperLISTA: c1 must be zero or positive, got -0.1. 0.4 is usual."),
        ({"c3": float("nan")}, "HyperLISTA: c3 must be zero or positive, got nan."),
        ({"c2": "x"}, "HyperLISTA: c2 must be a finite number, got 'x'."),
        ({"layers": 1.5}, "HyperLISTA: layers must be a whole number from 1"),
    ],
)
def test_what_it_cannot_start_with_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        HyperLISTA(ROWS, 16, **options)
