"""StepFISTA: FISTA before training, better after it, and at the minimum whatever was learned."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core.episode import begin, unroll
from steppe.optimizers.classic.proximal import FISTA
from steppe.optimizers.learned.step_fista import StepFISTA
from steppe.solvers.family import WithMinimum
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.recovery import SparseRecovery

LASSO = WithMinimum(SparseRecovery(rows=6, n=8, density=0.9, seed=0, start="normal"))
LOGISTIC = WithMinimum(SparseLogistic(rows=9, n=4))
LAYERS = 12


@eqx.filter_jit
def path(task, opt, steps, key=None):
    """Points and gaps before each step."""
    look = lambda step: (step.before.params, task.gap(step.before.params, step.before.instance))
    key = jr.key(2) if key is None else key
    return unroll(task, opt, begin(task, opt, key), steps, look)[1]


@pytest.mark.parametrize("task", [LASSO, LOGISTIC], ids=["lasso", "logistic"])
def test_untrained_it_is_fista(task):
    ours, theirs = path(task, StepFISTA(LAYERS), LAYERS)[0], path(task, FISTA(), LAYERS)[0]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def numbers(steps, momenta):
    found = jnp.asarray(steps, float), jnp.asarray(momenta, float)
    return eqx.tree_at(lambda opt: (opt.steps, opt.momenta), StepFISTA(len(steps)), found)


def test_one_step_by_hand():
    opt = numbers([np.log(0.5), np.log(2.0)], [np.arctanh(0.3), 0.0])
    episode = begin(LASSO, opt, jr.key(2))
    loss = LASSO.composite(episode.instance.instance)
    A, b, L = (np.asarray(x) for x in (loss.smooth.A, loss.smooth.b, loss.lipschitz))

    def prox(y, step):
        z = y - step * A.T @ (A @ y - b)
        return np.sign(z) * np.maximum(np.abs(z) - step * 0.1, 0)

    x0 = np.asarray(episode.params)
    x1 = prox(x0, 0.5 / L)
    x2 = prox(x1 + 0.3 * (x1 - x0), 2 / L)
    np.testing.assert_allclose(path(LASSO, opt, 3)[0], [x0, x1, x2], atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_it_comes_to_the_minimum_whatever_was_learned(seed):
    rng = np.random.default_rng(seed)
    opt = numbers(rng.normal(1.5, 1, LAYERS), rng.normal(0, 2, LAYERS))
    gaps = np.asarray(path(LASSO, opt, 400)[1])
    assert gaps[: LAYERS + 1].max() > gaps[0]  # it does harm first
    assert gaps[-1] < 1e-12


def test_a_batch_reads_its_numbers_once():
    """The counter of a run that begins inside the lane has no axis of episodes."""
    text = str(
        jax.make_jaxpr(jax.vmap(lambda key: path.__wrapped__(LASSO, StepFISTA(LAYERS), 3, key)[1]))(
            jr.split(jr.key(0), 5)
        )
    )
    assert f"f64[{LAYERS}]" in text and f"f64[5,{LAYERS}]" not in text
