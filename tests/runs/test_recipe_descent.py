"""Settings of a meta-training as texts: what a lane is, how it is scored, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core.optimizer import split_meta
from steppe.prompt.catalyst import Catalyst
from steppe.prompt.codecs import CodecError
from steppe.prompt.proposers import Scripted
from steppe.prompt.state import Alternate
from steppe.runs.folder import BadInput
from steppe.runs.knobs import Knob, knob, recipe_of
from steppe.runs.recipe_descent import RecipeDescent
from steppe.tasks import suite
from steppe.train.step import meta_step, start
from steppe.zoo.assemble import assemble

TINY = (
    "unroll=2", "horizon=4", "episodes=2", "validation-episodes=2", "meta-lr=0.01", "seed=0",
)  # fmt: skip
RATE = knob("meta-lr=1e-4:1:log")
KEY = 0


@pytest.fixture(scope="module")
def descent():
    return RecipeDescent(recipe_of("learned-adam", "booth", TINY), [RATE], jax.random.key(KEY))


def number(loss):
    assert loss is not None
    return loss


def numbers(lane):
    return np.concatenate(
        [np.ravel(x) for x in jax.tree.leaves(split_meta(lane.value.state.opt)[0])]
    )


def test_gradients_alone_are_the_meta_training_of_the_recipe(descent):
    recipe, key = descent.recipe, jax.random.key(KEY)
    task = suite.build("booth")
    key_opt, key_start, _ = jax.random.split(key, 3)
    opt, how = assemble(recipe, task, key=key_opt)
    parts = how["estimator"], how["objective"], how["meta_tx"]  # with the rate in it
    names = ("estimator", "objective", "meta_tx")
    state = start(how["task"], opt, **dict(zip(names, parts, strict=True)), key=key_start)
    step = jax.jit(lambda state: meta_step(how["task"], state, *parts)[0])
    before = numbers(descent.begin())
    for _ in range(3):
        state = step(state)
    lane = descent.advance(descent.begin(), 3)
    expected = np.concatenate([np.ravel(x) for x in jax.tree.leaves(split_meta(state.opt)[0])])
    moved = np.abs(expected - before)
    assert lane.step == 3 and moved.max() > 1e-3
    np.testing.assert_allclose(numbers(lane), expected, rtol=0, atol=1e-4 * moved.max())


def test_a_better_rate_is_adopted_and_gradients_alone_do_not_notice(descent):
    schedule = Alternate(rounds=2, steps=2, probation=2, snapshots=1)
    script = Scripted(
        [['{"meta.lr": 0.3}', '{"meta.lr": 1e-4}', "meta.lr=5", "?"], ["meta.lr=0.2"]]
    )
    found = Catalyst(script, schedule, candidates=4).run(descent).history
    without = Catalyst(Scripted([]), schedule).run(descent).history
    first, second = found.rounds
    alone = dict(found.gradients)
    # Without questions there is no probation, so that there are fewer steps.
    assert all(alone[step] == loss for step, loss in without.gradients if step in alone)
    assert set(alone) & set(dict(without.gradients)) >= {0, 2}
    assert number(found.best.loss) <= min(map(number, alone.values()))
    assert [text for text, _ in first.unreadable] == ["meta.lr=5", "?"]
    # A text says how to go on: all begin where the lead is, and the score is what came of it.
    going, *tried = first.contenders
    assert {own.losses[0] for own in first.contenders} == {alone[2]}
    pool = {record.text: number(record.loss) for record in found.pool}
    assert pool['{"meta.lr": 0.01}'] == 0
    for own in tried:
        expected = number(own.losses[-1]) - number(going.losses[len(own.losses) - 1])
        assert pool[own.text] == pytest.approx(expected, abs=1e-12)
    adopted = min(tried, key=lambda own: number(own.losses[-1]))
    assert first.adopted == adopted.text == '{"meta.lr": 0.3}' and pool[adopted.text] < 0
    lead, last = second.contenders[1:]
    assert (lead.who, last.text) == ("current", "meta.lr=0.2")
    gained = number(last.losses[-1]) - number(lead.losses[-1])
    chained = pool[adopted.text] + gained
    assert pool["meta.lr=0.2"] == pytest.approx(chained, abs=1e-12)


def test_the_weights_and_the_problems_to_come_are_kept_and_moments_are_fresh(descent):
    lane = descent.advance(descent.begin(), 2)
    other = descent.restart(lane, "meta.lr = 0.25")
    assert other.value.recipe.meta.lr == 0.25 and other.step == lane.step
    old, new = lane.value.state, other.value.state
    for a, b in zip(jax.tree.leaves(old.opt), jax.tree.leaves(new.opt), strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(jax.tree.leaves(old.est_state), jax.tree.leaves(new.est_state), strict=True):
        if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert np.array_equal(a, b)
    assert jax.random.key_data(old.key).tolist() == jax.random.key_data(new.key).tolist()
    moments = [x for x in jax.tree.leaves(new.meta_state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert moments and not any(np.any(x) for x in moments)
    assert any(np.any(x) for x in jax.tree.leaves(old.meta_state))
    assert descent.text(other) == '{"meta.lr": 0.25}'
    assert descent.told(descent.params(other)) == {"meta.lr": 0.25}


def test_words_beside_numbers():
    knobs = [RATE, knob("unroll=1:4"), knob("objective.transform"), knob("second-order")]
    two = RecipeDescent(recipe_of("learned-adam", "booth", TINY), knobs, jax.random.key(0))
    assert two.gradients_per_step is None
    point = two._point(two.recipe)
    said = two.codec.encode(point)
    assert '"objective.transform": "log"' in said and '"estimator.unroll": 2' in said
    text = (
        '{"numbers": {"meta.lr": 0.5, "estimator.unroll": 3.4}, "objective.transform": "ratio", '
        '"estimator.second_order": "true"}'
    )
    recipe = two._with(two.codec.decode(text, point))
    assert (recipe.meta.lr, recipe.estimator.unroll) == (0.5, 3)
    assert recipe.objective.transform == "ratio" and recipe.estimator.second_order is True
    assert dataclasses.replace(recipe, meta=two.recipe.meta) != two.recipe
    whole = [knob("estimator=bptt:whole")]
    one = RecipeDescent(two.recipe, whole, jax.random.key(0))
    with pytest.raises(CodecError, match="whole episodes"):  # of 2 steps, with a horizon of 4
        one._with(one.codec.decode('{"estimator.kind": "whole"}', one._point(one.recipe)))


def test_knobs():
    assert Knob("meta.lr", 1e-4, 1.0, True) == RATE
    assert knob("objective.transform").words == ("identity", "ratio", "log")
    assert knob("penalty.fraction=0.1:1") == Knob("penalty.fraction", 0.1, 1.0)


REFUSED = {
    "meta-lr": "is no range of meta-lr",
    "meta-lr=1:0": "is no range of meta-lr",
    "meta-lr=0:1:log": "is no range of meta-lr",
    "meta-lr=1:2:3": "is no range of meta-lr",
    "meta-lr=nan:1": "is no range of meta-lr",
    "meta-rl=1:2": "did you mean",
    "hidden=1:2": "cannot change in the middle",
    "steps=1:2": "cannot change in the middle",
    "meta-decay": "cannot change in the middle",
    "objective.transform=log": "give two at least",
    "objective.transform=log:ration": "did you mean 'ratio'",
}


@pytest.mark.parametrize("said", REFUSED)
def test_refused_knobs(said):
    with pytest.raises(BadInput, match=REFUSED[said]):
        knob(said)


RECIPES = {
    "outside": (("meta-lr=2",), "which is not in 0.0001 to 1"),
    "no validation": (("validate-every=0",), "judged by validation"),
    "decay": (("meta-decay=cosine",), "a schedule of its own"),
}


@pytest.mark.parametrize("given, said", RECIPES.values(), ids=RECIPES)
def test_refused_recipes(given, said):
    with pytest.raises(BadInput, match=said):
        RecipeDescent(
            recipe_of("learned-adam", "booth", (*TINY, *given)), [RATE], jax.random.key(0)
        )


def test_ends_that_a_setting_cannot_have():
    with pytest.raises(ValueError, match=r"`meta\.lr` must be"):
        RecipeDescent(
            recipe_of("learned-adam", "booth", TINY), [knob("meta-lr=-1:1")], jax.random.key(0)
        )
