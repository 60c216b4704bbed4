"""The mean of the weights over the last quarter: against the weights of each meta-step."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

from steppe.core.optimizer import split_meta
from steppe.estimators.bptt import BPTT
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.learned.learned_adam import LearnedAdam
from steppe.store.manifest import STEPS, read
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.train.average import after_step, averaged, begin_mean
from steppe.train.curriculum import Curriculum
from steppe.train.loop import meta_train
from steppe.train.step import start
from steppe.train.validate import Validation, begin_run

pytestmark = pytest.mark.usefixtures("compiled_once")
STEPS_IN_ALL = 8


def train(folder=None, steps=STEPS_IN_ALL, weights="average", sinks=(), **changes):
    options = {
        "estimator": BPTT(2, 3, 9),
        "objective": Trajectory(),
        "meta_tx": optax.adam(1e-2),
        "key": jr.key(1),
        "validation": Validation(every=2, horizon=4, episodes=2),
        "checkpoint_every": 1,
        "log_every": 1,
    }
    opt = LearnedAdam(0.1, 0.5, 0.5, 0.1)
    options |= {"folder": folder, "sinks": sinks} | changes
    return meta_train(Quadratic(3), opt, steps=steps, weights=weights, keep=100, **options)


def weights_at(folder, step):
    """The weights after a meta-step, read off the arrays of its checkpoint."""
    header, body = read(folder / f"step-{step:08d}.safetensors")
    found = [
        np.frombuffer(body[name], header.tensors[name].dtype)
        for name in sorted(header.tensors)
        if name.startswith(".state.opt.")
    ]
    return np.concatenate(found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("averaged")
    return (*train(folder), folder)


def by_name(opt):
    named = jtu.tree_leaves_with_path(split_meta(opt)[0])
    return np.concatenate([np.ravel(x) for _, x in sorted((jtu.keystr(w), x) for w, x in named)])


def test_the_mean_is_that_of_the_weights_of_the_last_quarter(whole):
    opt, history, folder = whole
    last = [weights_at(folder, step) for step in (7, 8)]
    assert np.abs(last[0] - last[1]).max() > 1e-4
    np.testing.assert_allclose(by_name(opt), np.mean(last, 0), rtol=1e-12)
    assert (history.weights, history.averaged, history.best_step) == ("average", 2, 8)


def test_its_score_is_that_of_the_mean(whole):
    opt, history, _ = whole
    score = eqx.filter_jit(Validation(2, 4, 2).score)
    expected = score(Quadratic(3), opt, jr.split(jr.key(1))[1])
    assert history.best == pytest.approx(float(expected), rel=1e-6)


def test_the_path_and_the_choice_of_the_best_are_as_without(whole):
    """Averaging looks on: the best of the same run is the best, the last the last."""
    best, history = train(weights="best")
    last, other = train(weights="last")
    np.testing.assert_array_equal(by_name(last), weights_at(whole[2], STEPS_IN_ALL))
    np.testing.assert_array_equal(by_name(best), weights_at(whole[2], history.best_step))
    scores = {r["step"]: r["valid_loss"] for r in whole[1].rows if "valid_loss" in r}
    assert history.best == min(scores.values()) and other.best == scores[STEPS_IN_ALL]


def test_stopped_within_the_quarter_it_goes_on_to_the_same_bits(whole, tmp_path):
    train(tmp_path)
    (tmp_path / f"step-{STEPS_IN_ALL:08d}.safetensors").unlink()
    opt, history = train(tmp_path)
    assert [row["step"] for row in history.rows] == [8]
    np.testing.assert_array_equal(by_name(opt), by_name(whole[0]))


def test_a_run_that_is_made_longer_averages_over_its_own_last_quarter(whole, tmp_path):
    train(tmp_path)
    longer, history = train(tmp_path, steps=10)  # from 7 on: the mean of 7 and 8 is no part of it
    straight, _ = train(tmp_path / "straight", steps=12)
    assert history.averaged == 2  # 9 and 10, made after the change
    expected = [weights_at(tmp_path, step) for step in (9, 10)]
    np.testing.assert_allclose(by_name(longer), np.mean(expected, 0), rtol=1e-12)
    expected = [weights_at(tmp_path / "straight", step) for step in (10, 11, 12)]
    np.testing.assert_allclose(by_name(straight), np.mean(expected, 0), rtol=1e-12)


class Words(list):
    def write(self, row):
        pass

    def say(self, text):
        self.append(text)

    def close(self):
        pass


def test_a_stage_of_a_curriculum_begins_the_mean_anew_and_an_early_end_keeps_the_best():
    """The meta-rate is so high that no later validation is better than an early one."""
    rough = {"meta_tx": optax.sgd(30.0), "curriculum": Curriculum((4, 6), patience=1)}
    said = Words()
    best, history = train(steps=40, weights="best", **rough)
    early, other = train(steps=40, sinks=[said], **rough)
    assert history.rows[-1]["step"] < 30  # the curriculum ended by itself
    np.testing.assert_array_equal(by_name(early), by_name(best))
    assert other.weights == "best" and any("the best is kept" in text for text in said)


def test_the_mean_of_a_stage_forgets_the_one_before():
    opt = LearnedAdam(0.1)
    mean = begin_mean(opt, 0)
    for step, factor in enumerate((1.0, 2.0, 6.0), 1):
        moved = jtu.tree_map(lambda x, a=factor: a * x, opt)
        mean = after_step(mean, moved, step, 0)
    np.testing.assert_allclose(by_name(averaged(mean, opt)), 3 * by_name(opt), rtol=1e-12)


def test_low_precision_is_averaged_in_float32():
    half = lambda x: x.astype(jnp.bfloat16) if eqx.is_inexact_array(x) else x
    opt = jtu.tree_map(half, LearnedAdam(0.1))
    mean = begin_mean(opt, 0)
    for step in range(1, 401):
        mean = after_step(mean, opt, step, 0)
    assert {leaf.dtype for leaf in jtu.tree_leaves(mean.theta)} == {np.dtype("float32")}
    np.testing.assert_array_equal(by_name(averaged(mean, opt)), by_name(opt))


def test_runs_that_average_nothing_have_the_state_that_they_had():
    task, opt = Quadratic(3), LearnedAdam(0.1)
    how = {"estimator": BPTT(2, 3, 9), "objective": Trajectory(), "meta_tx": optax.adam(0.1)}
    state = start(task, opt, **how, key=jr.key(0))
    assert begin_run(state, None).mean is None
    names = [jtu.keystr(w) for w, _ in jtu.tree_leaves_with_path(begin_run(state, None))]
    assert not any(name.startswith(".mean") for name in names)


def test_other_words_are_refused():
    with pytest.raises(ValueError, match="weights must be one of best, last, average, got 'mean'"):
        train(weights="mean")


def test_checkpoints_are_known_by_their_steps(whole):
    assert len(list(whole[2].glob(STEPS))) == STEPS_IN_ALL
