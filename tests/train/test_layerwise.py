"""Layer-wise training: what moves in a stage, by how much, and which θ is kept."""

import dataclasses
import functools

import equinox as eqx
import jax.random as jr
import numpy as np
import optax
import pytest

from steppe.estimators.whole import Whole
from steppe.objectives.supervised import Supervised
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.unrolled.coupled import ALISTA, TiLISTA
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.train.layerwise import (
    Layerwise,
    Span,
    fit_layerwise,
    layer_by_layer,
    natural_objective,
    natural_rate,
)
from steppe.train.loop import compile_step, meta_train
from steppe.train.step import start
from steppe.train.validate import Validation

LAYERS = 3
TASK = SparseRecovery(rows=4, n=6, density=0.4, seed=0)
OPT = TiLISTA.from_task(TASK, layers=LAYERS, p=0.0)
RATE = 1e-3
KEY = jr.key(0)


@functools.cache
def compiled():
    """A function of a span: θ of `OPT` before and after one meta-step of that stage, by name.

    Adam's first step is its rate, whatever the gradient.
    """
    how = Whole(4, LAYERS, LAYERS), Supervised(), optax.adam(RATE)
    names = ("estimator", "objective", "meta_tx")
    state = start(TASK, OPT, **dict(zip(names, how, strict=True)), key=jr.key(0))
    at = lambda span: Layerwise((span,), decay=0.3).stage(0, *how[:2], OPT)
    step, state, _ = compile_step(TASK, state, *how, None, stage=at(Span(1, LAYERS)))

    def moved(span):
        after, stats = step(state, at(span))
        found = {}
        for name in ("W", "steps", "thresholds"):
            before, now = (np.asarray(getattr(o, name)) for o in (state.opt, after.opt))
            found[name] = now - before
        return found, stats

    return moved


def test_only_the_layers_of_a_stage_move():
    moved, stats = compiled()(Span(2, 2))
    for name in ("steps", "thresholds"):
        assert moved[name][1] != 0 and not moved[name][[0, 2]].any()
    assert not moved["W"].any()  # all layers share it, so that it came with the first
    assert int(stats.inner_steps) == 2 * 4
    assert compiled()(Span(1, 1))[0]["W"].all()
    moved, _ = compiled()(Span(1, 2))
    assert moved["steps"][:2].all() and moved["steps"][2] == 0


def test_older_layers_take_smaller_steps():
    """Adam divides by the size of the gradient, so that a factor of the gradient would be lost."""
    moved, _ = compiled()(Span(1, 3, rate=0.5))
    np.testing.assert_allclose(abs(moved["steps"]), 0.5 * RATE * 0.3 ** np.arange(3)[::-1], 1e-3)
    np.testing.assert_allclose(abs(moved["thresholds"]), abs(moved["steps"]), 1e-3)


def counted(calls):
    """The task, whose problems are counted where Python draws one, which is while tracing."""

    class Counted(SparseRecovery):
        def sample(self, key):
            calls.append(1)
            return SparseRecovery.sample(self, key)

    return Counted(rows=4, n=6, density=0.4, seed=0)


def fit(opt=OPT, task=TASK, **how):
    how = {"validation": Validation(2, LAYERS, 4, "objective", 1), "episodes": 4} | how
    return fit_layerwise(task, opt, key=jr.key(1), **how)


def test_stages_are_compiled_once_and_one_that_makes_things_worse_is_taken_back():
    once, twice = [], []
    good = (Span(1, 1, 20.0, 4), Span(1, 2, 20.0, 4))
    bad = (Span(1, 2, 1e5, 4), Span(2, 3, 1e5, 2))
    best, first = fit(task=counted(once), stages=good)
    worse, history = fit(task=counted(twice), stages=good + bad)
    assert len(once) == len(twice) > 0
    assert eqx.tree_equal(best, worse) and history.best_step == first.best_step > 0
    assert not eqx.tree_equal(best, OPT)
    rows = [row for row in history.rows if "valid_loss" in row]
    assert [row["stage"] for row in rows] == [0, 0, 1, 1, 2, 2, 3]
    assert [row["valid_horizon"] for row in rows] == [1, 1, 2, 2, 2, 2, 3]
    assert all(row["valid_loss"] > 10 * rows[3]["valid_loss"] for row in rows[4:])


def test_it_resumes_where_it_was_stopped(tmp_path):
    stages = (Span(1, 1, 20.0, 4), Span(1, 2, 20.0, 4))
    straight, whole = fit(stages=stages)
    fit(stages=stages, steps=5, folder=tmp_path)
    resumed, rest = fit(stages=stages, folder=tmp_path)
    assert eqx.tree_equal(straight, resumed) and rest.best_step == whole.best_step
    assert rest.rows[-1]["valid_loss"] == whole.rows[-1]["valid_loss"]


def test_the_published_stages():
    assert layer_by_layer(2, (4, 3, 2)) == (
        Span(1, 1, 1.0, 4), Span(1, 1, 0.2, 3), Span(1, 1, 0.02, 2),
        Span(2, 2, 1.0, 4), Span(1, 2, 0.2, 3), Span(1, 2, 0.02, 2),
    )  # fmt: skip
    assert Layerwise(layer_by_layer(2, (4, 3, 2))).steps(2) == 2 * (4 + 4 + 2)
    assert natural_rate(OPT) == 5e-4 and natural_rate(ALISTA.from_task(TASK)) == 1e-2


def test_a_task_without_a_truth_is_trained_by_its_loss():
    assert isinstance(natural_objective(TASK), Supervised)
    assert natural_objective(SparseLogistic(4, 3)) == Trajectory("last", "identity")


def test_a_stage_ends_early_when_validation_no_longer_improves():
    curriculum = Layerwise((Span(1, 1, steps=100), Span(1, 2, steps=3)), patience=2)
    progress, log = curriculum.begin(()), []
    for step, better in enumerate([True, False, True, False, False, True, True, True], 1):
        progress, verdict = curriculum.judge(progress, better, step=step, meta_state=())
        log.append(verdict)
    assert log == ["go on"] * 4 + ["advance"] + ["go on"] * 2 + ["stop"]
    assert int(progress.stage) == 1 and bool(progress.finished)


KINDS = {
    "task": ("lasso-dm", None, 3, SparseRecovery), "opt": ("alista", None, ALISTA, optax.sgd(0.1)),
    "estimator": ("whole", Whole), "objective": (3, "log", Supervised), "meta_tx": ("adam", 1e-3),
    "validation": (3, "objective", Validation), "curriculum": ("layers", 5),
    "key": (3, "x", np.zeros(2)),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_a_part_of_another_kind_gets_a_sentence(name):
    parts: dict = {
        "task": TASK, "opt": ALISTA.from_task(TASK, layers=2), "estimator": Whole(2, 2),
        "objective": Supervised(), "meta_tx": optax.sgd(0.1), "steps": 1, "key": KEY,
    }  # fmt: skip
    for wrong in KINDS[name]:
        given = parts | {name: wrong}
        with pytest.raises(TypeError, match=f"^meta_train: {name} must be .*, got .*\\.$"):
            meta_train(given.pop("task"), given.pop("opt"), **given)
        if name in ("task", "objective", "validation", "key"):
            own = {"key": KEY, "stages": [Span(1, 2, steps=1)], name: wrong}
            with pytest.raises(TypeError, match=rf"_(train|layerwise): {name} must be .*, got "):
                fit_layerwise(own.pop("task", TASK), parts["opt"], **own)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((2, 3, 4), "steps must be a list, got 3"),
        ((2, (1, 2), None), "rates must be a list, got None"),
        ((2, "ab", (1, 2)), "steps must be a list, got 'ab'"),
        ((None,), "layers must be a whole number from 1 to 65536, got None"),
        ((10**9,), "layers must be a whole number from 1 to 65536"),
    ],
)
def test_stages_that_are_none_get_a_sentence(arguments, said):
    with pytest.raises(ValueError, match=f"layer_by_layer: {said}"):
        layer_by_layer(*arguments)


def test_bad_input_gets_a_sentence():
    with pytest.raises(TypeError, match="trains the layers of an unrolled network, got"):
        fit(opt=dataclasses.replace)
    with pytest.raises(ValueError, match="a stage is about layer 4, but the network has 3 layers"):
        fit(stages=(Span(1, 4),))
    with pytest.raises(ValueError, match=r"give Whole\(episodes, layers, horizon=layers\)"):
        Layerwise((Span(1, 2),)).stage(0, Whole(4, LAYERS), Supervised(), OPT)
    with pytest.raises(ValueError, match="a stage must be a Span, got 3"):
        fit(stages=(3,))
    with pytest.raises(ValueError, match=r"rate must be positive, got -0\.1\. It is the learning"):
        fit(rate=-0.1)
    with pytest.raises(ValueError, match="the newest layer alone, got window=2; give Validation"):
        fit(validation=Validation(2, LAYERS, 4, "objective", window=2))
    with pytest.raises(ValueError, match=r"decay must be in \(0, 1\], got 0"):
        fit(decay=0.0)
    with pytest.raises(ValueError, match="Layerwise: spans must be stages of training, got none"):
        Layerwise(())
    with pytest.raises(ValueError, match="Layerwise: spans must be a list, got 5"):
        fit(stages=5)
    with pytest.raises(ValueError, match="Span: layers must ascend and the rate be positive"):
        Span(3, 2)
    with pytest.raises(ValueError, match="give a rate for each number of steps, got 3 rates and 2"):
        layer_by_layer(3, (1, 2))
