"""evaluate against a slow loop over episodes, pairing, divergence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from evaluation.problems import NETWORK, Bowl

from steppe.core.episode import begin
from steppe.core.rollout import shapes
from steppe.core.task import Problem
from steppe.evaluation.run import evaluate, gradients, rows, seed_keys, state_bytes, thin, time_step
from steppe.optimizers.classic.cosine import sam_cosine
from steppe.optimizers.classic.from_optax import FromOptax, adam, momentum, sgd
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.scheduled import Scheduled
from steppe.tasks import Quadratic


@eqx.filter_jit
def one_step(task, opt, params, state, instance, keys):
    key_batch, key_loss, key_opt = keys
    batch = task.batch(instance, key_batch, split="train")
    value, grads = Problem(task, instance, batch, key_loss).value_and_grad(params)
    updates, state = opt.update(grads, state, params, value=value, key=key_opt)
    return jax.tree.map(jnp.add, params, updates), state, value


@eqx.filter_jit
def on_all(task, instance, split, params, key):
    return Problem(task, instance, task.full_batch(instance, split=split), key).value(params)


def slow(task, opt, key, horizon, points):
    """Losses before each step and (train loss, test loss) at the points, by a Python loop."""
    key_begin, key_measure = jr.split(key)
    episode = begin(task, opt, key_begin)
    params, state, key = episode.params, episode.opt_state, episode.key
    losses, measured = [], []
    for step in range(horizon + 1):
        if step in points:
            for split in ("train", "test"):
                measured.append(float(on_all(task, episode.instance, split, params, key_measure)))
        if step == horizon:
            break
        key, *keys, _ = jr.split(key, 5)
        params, state, value = one_step(task, opt, params, state, episode.instance, keys)
        losses.append(float(value))
    return losses, np.array(measured).reshape(-1, 2)


def run(task, opt, key, **options):
    defaults = {"name": "x", "task_name": "t", "horizon": 7, "seeds": 3, "points": 3}
    return evaluate(task, opt, key=key, **{**defaults, "ms_per_step": 1.0, **options})


@pytest.fixture(scope="module")
def pair():
    """A learned and a classical optimizer on the same seeds of the same network."""
    key, key_opt = jr.split(jr.key(5))
    return key, {
        "learned": run(NETWORK, RNNProp(hidden=(4,), key=key_opt), key),
        "sgd": run(NETWORK, sgd(0.5), key),
    }


def agrees(record, task, opt, key):
    """Whether seed 1 of a record is what a loop finds."""
    seed_key = seed_keys(key, record.seeds, "evaluate")[1]
    losses, measured = slow(task, opt, seed_key, record.horizon, record.points)
    assert record.curve[1] == pytest.approx(losses, rel=1e-5)
    for j, metric in enumerate(("train_loss", "test_loss")):
        assert record.metrics[metric][1] == pytest.approx(measured[:, j], rel=1e-5)


def test_evaluation_is_a_loop_over_episodes(pair):
    key, records = pair
    agrees(records["sgd"], NETWORK, sgd(0.5), key)
    # the last step counts, also where 3 points do not divide 7 steps
    assert records["sgd"].points == [0, 3, 6, 7]


def test_evaluation_of_random_instances_is_a_loop_over_episodes(getkey):
    key = getkey()
    agrees(
        run(Quadratic(n=3), momentum(0.05), key, seeds=[4, 9]), Quadratic(n=3), momentum(0.05), key
    )


def test_same_key_same_starts_for_every_optimizer(pair):
    """Pairing: equal losses before the first step, on the first batch and on all the data."""
    learned, other = pair[1]["learned"], pair[1]["sgd"]
    assert [row[0] for row in learned.curve] == [row[0] for row in other.curve]
    for metric in ("train_loss", "test_accuracy"):
        firsts = [[row[0] for row in r.metrics[metric]] for r in (learned, other)]
        assert firsts[0] == firsts[1]
    assert len({row[0] for row in learned.curve}) == 3  # and the seeds differ
    assert learned.final("test_loss") != other.final("test_loss")
    assert (learned.learned, other.learned) == (True, False)


def test_metrics_are_those_of_the_task(pair):
    assert set(pair[1]["sgd"].metrics) == {
        f"{split}_{metric}"
        for split in ("train", "valid", "test")
        for metric in ("loss", "accuracy")
    } | {"valid_temperature", "test_ece", "test_scaled_loss"}


def test_diverged_seeds_are_counted_not_hidden(getkey):
    """lr·c = 6: x grows fivefold a step and overflows float64 after 442 steps."""
    record = run(Bowl(), sgd(1.5), getkey(), horizon=500, points=5)
    assert record.diverged == [0, 1, 2]
    assert record.final("test_loss") == [None] * 3
    assert record.metrics["train_loss"][0][0] is not None
    fine = run(Bowl(), sgd(0.1), getkey())
    assert fine.diverged == []


def test_state_is_counted_in_bytes():
    """Adam in float64: two moments of 8 bytes and one int32 count; SGD has nothing."""
    params = shapes(Quadratic(n=5))
    assert state_bytes(adam(0.1), params) == 2 * 5 * 8 + 4
    assert state_bytes(sgd(0.1), params) == 0


def test_state_is_given_per_parameter(pair):
    """One hidden layer of 4: (9·4 + 4) + (4·3 + 3) parameters; SGD keeps no state."""
    learned, other = pair[1]["learned"], pair[1]["sgd"]
    assert (learned.params, other.params) == (55, 55)
    assert other.state_bytes_per_param == 0
    # m, v and the LSTM's h and c of 4 cells, in float64, and the int32 count
    assert learned.state_bytes_per_param == pytest.approx((55 * 10 * 8 + 4) / 55, rel=1e-5)


def test_gradients_after_a_schedule_do_not_count():
    """SAM takes two a step: over half of the steps as many as others take."""
    take = lambda opt: gradients(opt, 7)
    assert [take(sam_cosine(0.1, 7, half=half)) for half in (False, True)] == [2, 1]
    assert (
        take(sgd(0.1)) == take(Scheduled(sgd(0.1), 2.0)) == take(Scheduled(sgd(0.1), 1.0, 9)) == 1
    )
    assert take(FromOptax("lbfgs")) is None


def test_a_step_takes_time(getkey):
    assert 0 < time_step(Quadratic(n=2), sgd(0.1), key=getkey(), steps=3, repeats=2) < 1000


def test_thinned_curves_keep_the_mean():
    losses = np.random.default_rng(0).random((2, 250))
    steps, curve = thin(losses, 100)
    assert (len(steps), curve.shape) == (100, (2, 100))
    assert steps[0] == 1.0  # the mean of steps 0, 1 and 2
    assert curve[0, 0] == pytest.approx(losses[0, :3].mean())
    whole = thin(losses[:, :40], 100)
    assert np.array_equal(whole[1], losses[:, :40])


def test_only_so_many_training_rows():
    batch = (jnp.zeros((5, 2)), jnp.zeros(5))
    assert [x.shape[0] for x in rows(batch, 3)] == [3, 3]
    assert rows(batch, None) is batch
    uneven = (jnp.zeros((5, 2)), jnp.zeros(4))
    assert rows(uneven, 3) is uneven  # not rows of one table: left alone
    assert rows((), 3) == ()


def test_impossible_sizes_are_refused(getkey):
    with pytest.raises(ValueError, match="seeds must be at least 1, got 0"):
        run(Bowl(), sgd(0.1), getkey(), seeds=0)
    with pytest.raises(ValueError, match="horizon must be at least 1, got 0"):
        run(Bowl(), sgd(0.1), getkey(), horizon=0)
