"""Trajectory: weights, transforms and batches against numbers worked out by hand."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import pytest

from steppe.core import window
from steppe.core.episode import begin, unroll
from steppe.core.task import AbstractTask, draw
from steppe.objectives.trajectory import EPSILON, Trajectory
from steppe.optimizers.classic.from_optax import FromOptax


class Ladder(AbstractTask):
    """f(x) = x + c with c = 0, 10, 20 on train, valid, test: losses tell where they come from."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.asarray(8.0)

    def batch(self, instance, key, *, split="train"):
        return jnp.asarray({"train": 0.0, "valid": 10.0, "test": 20.0}[split])

    def loss(self, instance, batch, key):
        return lambda params: params + batch

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}

    def full_batch(self, instance, *, split):
        return self.batch(instance, None, split=split)


def score(objective, getkey, length=4, start=0):
    """x goes 8, 7, 6, …: SGD with rate 1 on a slope of 1. `start` steps are taken before."""
    task, opt = Ladder(), FromOptax("sgd", learning_rate=1.0)
    first = begin(task, opt, getkey())
    memo = objective.start(draw(task, (), getkey(), split="train"), first, key=getkey())
    episode = first
    if start:
        episode, _ = unroll(task, opt, first, start, lambda step: ())

    observe = lambda step: objective.observe(step, memo)
    episode, obs = unroll(task, opt, episode, length, observe)
    return float(objective(task, episode, obs, memo, key=getkey()).value)


AFTER = jnp.array([7.0, 6.0, 5.0, 4.0])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Trajectory("uniform", "identity", "same"), 5.5),
        (Trajectory("uniform", "identity", "fresh"), 5.5),
        (Trajectory("uniform", "identity", "valid"), 15.5),
        (Trajectory("sum", "identity"), 22.0),
        (Trajectory("last", "identity"), 4.0),
        (Trajectory("ramp", "identity"), (7 + 12 + 15 + 16) / 10),
        (Trajectory("uniform", "ratio"), 5.5 / (8 + EPSILON)),
        (Trajectory("last", "ratio", "valid"), 14 / (18 + EPSILON)),
        (Trajectory(), float(jnp.mean(jnp.log((AFTER + EPSILON) / (8 + EPSILON))))),
    ],
    ids=str,
)
def test_score_is_the_number_worked_out_by_hand(objective, expected, getkey):
    assert score(objective, getkey) == pytest.approx(expected, rel=1e-12)


def test_the_first_loss_of_the_episode_is_kept_over_truncations(getkey):
    late = score(Trajectory("last", "ratio"), getkey, length=2, start=3)
    assert late == pytest.approx(3 / (8 + EPSILON), rel=1e-12)


@pytest.mark.parametrize("field", ["weights", "transform", "batch"])
def test_an_unknown_option_is_named(field):
    with pytest.raises(ValueError, match=f"{field} is 'spiral', expected one of"):
        Trajectory(**{field: "spiral"})


def test_one_hot_weights_are_the_loss_after_one_step_and_compile_once():
    key, task, opt = jr.key(0), Ladder(), FromOptax("sgd", learning_rate=1.0)
    start = window.open_window(task, opt, Trajectory(transform="identity"), key, jnp.asarray(3))

    @eqx.filter_jit
    def loss(objective):
        traced.append(objective)
        return window.score(task, opt, start, objective, 3, key=key)[0].value

    traced = []
    of = lambda weights: Trajectory(weights, "identity")
    found = [float(loss(of(jnp.eye(3)[k]))) for k in range(3)]
    assert len(traced) == 1
    assert found == [7.0, 6.0, 5.0]
    mean = jnp.full(3, 1 / 3)
    assert float(loss(of(mean))) == pytest.approx(float(loss(of("uniform"))), rel=1e-6)
    with pytest.raises(ValueError, match="give one number a step"):
        loss(of(jnp.ones(2)))
