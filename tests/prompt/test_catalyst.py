"""The loop: never worse than gradients alone, whatever is proposed; and what it costs."""

import dataclasses
import json
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt.toy import GOOD, PLANTED, ROWS, SPECIAL, VOCABULARY, Wavy, encoder, soft_prompt

from steppe.core.rollout import rollout
from steppe.optimizers.classic.from_optax import FromOptax, adam, sgd
from steppe.optimizers.classic.sam import SAM
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.prompt.apart import Apart, split
from steppe.prompt.catalyst import Alternate, Catalyst, alone
from steppe.prompt.chat import BudgetError, ChatError
from steppe.prompt.codecs import Numeric
from steppe.prompt.descent import Descent, restarted
from steppe.prompt.proposers import Echo, RandomRestart, Scripted
from steppe.tasks.games.matrix import MatrixGame
from steppe.tasks.synthetic.rastrigin import Rastrigin

SCHEDULE = Alternate(rounds=3, steps=8, snapshots=2, probation=4)


def by_hand(descent, steps):
    """Losses of gradients alone after each step, 0 … steps."""
    lane, losses = descent.begin(), []
    for _ in range(steps + 1):
        losses.append(descent.score(lane).loss)
        lane = descent.advance(lane, 1)
    return losses


ALONE = by_hand(Wavy(), 60)
TEXTS = st.one_of(
    st.tuples(st.floats(-5, 5), st.floats(-5, 5)).map(lambda x: f"a = {x[0]:.3f}, b = {x[1]:.3f}"),
    st.sampled_from(['{"a": 0, "b": 0}', "[0.1, -0.1]", "[1, 0]", "[2.1, -2.9]", "a = nan, b = 1"]),
    st.text(st.characters(exclude_categories=()), max_size=20),
)
SCRIPTS = st.lists(st.lists(TEXTS, max_size=5), max_size=4)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(SCRIPTS, st.sampled_from([0, 1, 4, 9]), st.sampled_from([(), (0.0, 1.0), (2.0,)]))
def test_never_worse_than_gradients_alone_whatever_is_proposed(script, probation, broken):
    descent = Wavy(broken=broken)
    expected = ALONE if not broken else by_hand(descent, 80)
    bests = []
    catalyst = Catalyst(
        Scripted(script), dataclasses.replace(SCHEDULE, probation=probation), candidates=4
    )
    state = catalyst.init(descent)
    for _ in range(3):
        state = catalyst.step(descent, state)
        bests.append((state.alone.step, state.best.loss))
    result = catalyst.finish(descent, state)
    bests.append((result.state.alone.step, result.history.best.loss))
    looks = dict(result.history.gradients)
    # Gradients alone went their own way, bit by bit,
    for step, loss in looks.items():
        assert loss == expected[step] or (loss is None and math.isnan(expected[step]))
    # and at each call and at the end the incumbent is not above any of their losses until then.
    for step, best in bests:
        until = [loss for at, loss in looks.items() if at <= step and loss is not None]
        assert not until or best <= min(until)
    if result.history.best.loss is not None:
        lane = result.state.incumbent
        assert descent.score(lane).loss == result.loss and descent.params(lane) == result.params
    assert result.history.alone == min(
        (loss for loss in looks.values() if loss is not None), default=None
    )


def counted(descent):
    """The descent, and the steps and evaluations that were really done."""
    done = {"steps": 0, "scores": 0}

    class Counting(type(descent)):
        def advance(self, lane, steps):
            done["steps"] += steps
            return super().advance(lane, steps)

        def score(self, lane):
            done["scores"] += 1
            return super().score(lane)

    return Counting(), done


def test_every_step_and_every_evaluation_is_counted():
    for proposer in (Scripted([]), Scripted([["[0, 0]", "[1, 1]", "[9, 9]"]] * 3), Echo()):
        descent, done = counted(Wavy())
        result = Catalyst(proposer, SCHEDULE).run(descent)
        counts = result.history.counts
        assert counts.steps == counts.gradients == done["steps"]
        assert counts.evaluations == done["scores"]
        assert counts.asked == 3 and counts.failures == 0


def test_a_limit_of_gradients_is_kept_to_the_last_one():
    for limit in (0, 7, 50, 100, 333):
        for proposer in (Scripted([]), Scripted([["[0.2, 0.1]", "[1, 1]"]] * 9)):
            descent, done = counted(Wavy())
            schedule = dataclasses.replace(SCHEDULE, rounds=9, gradients=limit)
            result = Catalyst(proposer, schedule).run(descent)
            assert done["steps"] == result.history.counts.gradients == limit
            left = bool(result.history.notes)
            assert left == (len(result.history.rounds) < 9)
            assert not left or "too few gradients" in result.sentence
        descent, done = counted(Wavy())
        result = alone(descent, limit)
        assert done["steps"] == limit and result.history.gradients[-1] == (limit, *(
            by_hand(Wavy(), limit)[-1:]
        ))  # fmt: skip


def test_proposals_begin_beside_all_and_the_worse_half_is_left_out():
    script = [["[3, 3]", "[0.2, 0.1]", "[2, 2]", "[9, 9]"]]
    result = Catalyst(Scripted(script), SCHEDULE, candidates=4).run(Wavy())
    first, *later = result.history.rounds
    assert first.adopted == "[0.2, 0.1]" and first.unreadable[0][0] == "[9, 9]"
    assert "must lie from -4 to 4" in first.unreadable[0][1]
    told = {c.text or c.who: len(c.losses) for c in first.contenders}
    assert told == {"gradients": 3, "[3, 3]": 2, "[0.2, 0.1]": 3, "[2, 2]": 3}
    assert [r.adopted for r in later] == [None, None]
    # From then on both lanes go: a stage of 8, 2 + 2 of a probation; later stages of both.
    assert result.history.counts.steps == 8 + 2 * (1 + 3) + 2 * (1 + 2) + 3 * 2 * 8
    assert [step for step, _ in result.history.gradients][-1] == 8 + 4 + 24
    assert result.history.current[0][0] == 12 and result.history.best.who == "current"
    assert result.loss < 1e-3 < 5 < result.history.alone
    assert "questions 3, adopted 1, gradients 70" in result.sentence


def test_a_lane_that_is_no_better_any_more_is_left():
    """Adopted early for its start, it ends in a higher well; gradients alone come below it."""
    descent = Wavy(start=(1.45, 0.0), rate=5e-4)
    schedule = Alternate(rounds=2, steps=6, snapshots=1, probation=1)
    result = Catalyst(Scripted([["[2.0, 0.0]"], ["[3.0, 0.0]"]]), schedule).run(descent)
    first, second = result.history.rounds
    losses = {c.who: c.losses for c in second.contenders}
    assert first.adopted == "[2.0, 0.0]" and second.adopted is None
    assert losses["gradients"][-1] < losses["current"][-1]
    assert result.state.current is None and result.history.best.who == "gradients"


def failing(*faults):
    """A proposer that raises these, one a question."""
    faults = list(faults)

    def script(pool, n):
        fault = faults.pop(0)
        if isinstance(fault, Exception):
            raise fault
        return fault

    return Scripted(script)


def test_failures_end_with_the_result_of_gradients_alone_and_a_sentence():
    expected = Catalyst(Scripted([]), SCHEDULE).run(Wavy())
    gone, spent = ChatError("http://a/v1: nobody listens there."), BudgetError("It is spent.")
    for faults, asked, notes in (
        ((gone, gone, gone), 3, (str(gone),)),
        ((spent,), 1, ("It is spent. Gradients go on alone.",)),
    ):
        said = []
        result = Catalyst(failing(*faults), SCHEDULE, say=said.append).run(Wavy())
        assert result.params == expected.params and result.loss == expected.loss
        assert result.history.gradients == expected.history.gradients
        assert result.history.counts.asked == asked and result.history.counts.failures == asked
        assert result.history.notes == notes and notes[0] in result.sentence
        assert "that of gradients alone" in result.sentence and len(said) == 3
    with pytest.raises(ChatError):
        Catalyst(failing(gone), SCHEDULE, on_error="raise").run(Wavy())
    with pytest.raises(TypeError, match="must give a list of texts"):
        Catalyst(failing([3]), SCHEDULE).run(Wavy())
    with pytest.raises(KeyError):  # a fault of the proposer's own code is no failure to answer
        Catalyst(failing(KeyError("x")), SCHEDULE).run(Wavy())


def test_nothing_is_done_with_what_is_nowhere_finite():
    result = Catalyst(Scripted([["[0, 0]"]]), SCHEDULE).run(Wavy(broken=tuple(range(-9, 9))))
    result = Catalyst(Scripted([["[0, 0]"]]), SCHEDULE).run(
        Wavy(broken=tuple(x / 4 for x in range(-40, 40)))
    )
    assert result.loss == math.inf and result.history.alone is None
    assert result.history.counts.nonfinite == result.history.counts.evaluations
    assert "no finite loss" in result.sentence or "inf" in result.sentence


def test_controls_propose_what_they_say():
    codec = Wavy().codec
    result = Catalyst(RandomRestart(codec, seed=1), SCHEDULE).run(Wavy())
    texts = [r.proposals for r in result.history.rounds]
    assert len({text for row in texts for text in row}) == 9
    again = Catalyst(RandomRestart(codec, seed=1), SCHEDULE).run(Wavy())
    assert again.history == result.history
    echo = Catalyst(Echo(), SCHEDULE).run(Wavy())
    known = {record.text for record in echo.history.pool}
    assert all(set(r.proposals) <= known for r in echo.history.rounds)


def test_bad_settings_are_refused():
    for how, words in (
        ({"rounds": -1}, "rounds must be"), ({"steps": 1.5}, "steps must be"),
        ({"snapshots": 0}, "snapshots must be"), ({"probation": -1}, "probation must be"),
        ({"gradients": -1}, "gradients must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Alternate(**how)
    for how, words in (
        ({"proposer": Scripted}, "must be a proposer"), ({"candidates": 0}, "candidates must be"),
        ({"on_error": "ignore"}, "skip or raise"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            Catalyst(**({"proposer": Echo()} | how))


# A task and an optimizer.

BASIN = Rastrigin(n=2, data="textbook", box=3.0, factor=1.0)
NUMBERS = Numeric(("x", "y"), (-5.0, -5.0), (5.0, 5.0))


@pytest.fixture(scope="module")
def basin():
    return Descent(BASIN, sgd(0.002), NUMBERS, jr.key(3))


def test_rastrigin_is_solved_from_the_basin_and_not_by_gradients(basin):
    script = [['{"x": 3, "y": 3}', '{"x": 0.2, "y": -0.1}', "no point"], ['{"x": 1, "y": 0}']]
    result = Catalyst(Scripted(script), Alternate(rounds=2, steps=20, snapshots=2)).run(basin)
    f = lambda x: np.sum(x**2 + 10 * (1 - np.cos(2 * np.pi * x)))
    x = np.asarray(result.params)
    assert result.loss == pytest.approx(f(x), abs=1e-12) and 0 <= result.loss < 1e-6
    assert result.history.alone > 0.9
    start = np.asarray(basin.episode.params)
    assert result.history.gradients[0] == (0, pytest.approx(f(start)))
    assert [r.adopted for r in result.history.rounds] == ['{"x": 0.2, "y": -0.1}', None]


def test_empty_answers_give_gradients_alone_bit_by_bit(basin):
    for task, opt, codec, where in (
        (BASIN, sgd(0.002), NUMBERS, None),
        (TOY, adam(0.01), CODEC, PROMPT),
    ):
        how = {} if where is None else {"where": where}
        descent = basin if where is None else Descent(task, opt, codec, jr.key(3), **how)
        result = Catalyst(Scripted([[], [], []]), SCHEDULE).run(descent)
        look = lambda episode: episode.params
        marks = [step for step, _ in result.history.gradients]
        ways = eqx.filter_jit(rollout)(task, opt, jr.key(3), 32, look, at=marks).looks
        assert marks == [0, 4, 8, 12, 16, 20, 24, 28, 32]
        best = int(np.argmin([loss for _, loss in result.history.gradients]))
        at = lambda i: jax.tree_util.tree_map(lambda leaf: leaf[i], ways)  # noqa: B023
        assert eqx.tree_equal(result.params, at(best))
        assert eqx.tree_equal(descent.params(result.state.alone), at(8))
        assert result.state.current is None and result.history.best.who == "gradients"


TOY = encoder()
CODEC = soft_prompt(TOY)
PROMPT = lambda params: params["prompt"]


@pytest.fixture(scope="module")
def toy():
    return Descent(TOY, adam(0.01), CODEC, jr.key(1), where=PROMPT)


def test_a_planted_prompt_is_adopted_after_probation_and_nonsense_is_not(toy):
    script = [["no such words"], ["w3 w4 w5", GOOD, "w9 w9 w9 w9"], ["[CLS] </s>"]]
    result = Catalyst(Scripted(script), Alternate(rounds=3, steps=12, snapshots=3)).run(toy)
    history = result.history
    assert [r.adopted for r in history.rounds] == [None, GOOD, None]
    assert history.rounds[0].unreadable == (("no such words", "It has no word of the vocabulary."),)
    assert "[CLS] </s>" in dict(history.rounds[2].unreadable)
    own = next(record for record in history.pool if record.text == GOOD)
    assert own.source == "proposal" and own.metrics["close"] is not None
    assert result.loss < 0.5 * history.alone and set(result.history.metrics) == {"close"}
    words = {word for record in history.pool for word in record.text.split()}
    assert not words & {VOCABULARY[i] for i in SPECIAL}
    nonsense = Catalyst(
        Scripted([["w3 w4 w5"], ["w9"]]), Alternate(rounds=2, steps=12, snapshots=3)
    ).run(toy)
    plain = Catalyst(Scripted([]), Alternate(rounds=2, steps=12, snapshots=3)).run(toy)
    looks = dict(nonsense.history.gradients)
    assert nonsense.loss <= nonsense.history.alone
    assert all(looks[s] == loss for s, loss in plain.history.gradients if s in looks)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.lists(
        st.lists(
            st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=6).map(" ".join), max_size=3
        ),
        max_size=2,
    )
)
def test_never_worse_on_a_task_either(toy, script):
    result = Catalyst(Scripted(script), Alternate(rounds=2, steps=4, snapshots=2)).run(toy)
    assert result.loss <= result.history.alone
    assert toy.score_at(result.params).loss == result.loss


def test_a_restart_has_fresh_moments_for_its_leaves_and_keeps_the_others(toy):
    lane = toy.advance(toy.begin(), 5)
    before = jax.tree_util.tree_map(jnp.copy, lane.value[1])
    new = toy.restart(lane, GOOD)
    assert eqx.tree_equal(before, lane.value[1])  # the live lane is as it was
    (rule, episode), (_, old) = new.value, lane.value
    assert isinstance(rule, Apart) and new.step == lane.step == 5
    np.testing.assert_array_equal(episode.params["prompt"], TOY.table[np.array(PLANTED)])
    np.testing.assert_array_equal(episode.params["head"], old.params["head"])
    assert jnp.all(jr.key_data(episode.key) == jr.key_data(old.key))  # the same data come
    fresh, kept = episode.opt_state.chosen[0], episode.opt_state.others[0]
    was = old.opt_state[0]
    assert fresh.count == 0 and kept.count == was.count == 5
    (mu,), (nu,) = map(jax.tree_util.tree_leaves, (fresh.mu, fresh.nu))
    assert not mu.any() and not nu.any() and mu.shape == (ROWS, 16)
    for name in ("mu", "nu"):
        mine, theirs = getattr(kept, name), getattr(was, name)
        assert eqx.tree_equal(list(mine.values()), [theirs["bias"], theirs["head"]])
    # Its first step is Adam's first, of length lr; the head goes on as one without the restart.
    after = toy.advance(new, 1).value[1]
    moved = np.abs(after.params["prompt"] - episode.params["prompt"])
    assert np.median(moved) == pytest.approx(0.01, rel=1e-3)
    assert after.opt_state.others[0].count == 6
    # A restart of a restart keeps the others once more.
    again = toy.restart(toy.advance(new, 2), GOOD).value[1].opt_state
    assert again.chosen[0].count == 0 and again.others[0].count == 7


def test_side_by_side_equals_the_rule_on_all_leaves():
    opt = adam(0.01)
    both = Apart(opt, (0, 2))
    end = lambda opt: rollout(TOY, opt, jr.key(0), 6, lambda episode: episode.params).looks
    one, two = (eqx.filter_jit(end)(rule) for rule in (opt, both))
    jax.tree_util.tree_map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), one, two)
    assert both.gradients_per_step == 1


def test_what_cannot_be_told_apart_is_said_at_once():
    recurrent = RNNProp(hidden=(2,), features=2, key=jr.key(0))
    how = {"codec": CODEC, "start": jr.key(0), "where": PROMPT}
    with pytest.raises(ValueError, match=r"RNNProp cannot be told apart.*`Apart\(RNNProp"):
        Descent(TOY, recurrent, **how)
    Descent(TOY, Apart(recurrent, (2,)), **how)
    for rule in (SAM(sgd(0.1)), FromOptax("lbfgs")):
        with pytest.raises(ValueError, match="takes more than the gradient it is handed"):
            Descent(TOY, rule, **how)
    with pytest.raises(ValueError, match="gives the leaves"):
        Descent(TOY, Apart(sgd(0.1), (0,)), **how)
    with pytest.raises(ValueError, match="a leaf of the parameters at least"):
        Descent(TOY, sgd(0.1), CODEC, jr.key(0), where=lambda params: [])
    with pytest.raises(ValueError, match="MatrixGame is a game"):
        Descent(MatrixGame(n=2), sgd(0.1), NUMBERS, jr.key(0))
    for start in (0, jr.split(jr.key(0)), jr.PRNGKey(0)):
        with pytest.raises(ValueError, match="must be one key such as"):
            Descent(BASIN, sgd(0.1), NUMBERS, start)
    with pytest.raises(ValueError, match="must be a task, got"):
        Descent(3, sgd(0.1), CODEC, jr.key(0))
    whole = Descent(BASIN, recurrent, NUMBERS, jr.key(0))  # all leaves: any rule begins afresh
    assert whole.restart(whole.begin(), "x = 1, y = 2").step == 0
    searching = Descent(BASIN, FromOptax("lbfgs"), NUMBERS, jr.key(0))
    state = Catalyst(Scripted([]), SCHEDULE).init(searching)
    assert state.counts.gradients is None and "not counted" in state.notes[0]
    with pytest.raises(ValueError, match="cannot be counted"):
        alone(searching, 10)


def test_a_history_goes_through_json_and_the_gate(toy):
    from steppe.prompt.history import History
    from steppe.store.files import to_json
    from steppe.store.untrusted import Source, checked, parse_json

    result = Catalyst(Scripted([[GOOD], ["\ud83d", "x"]]), SCHEDULE).run(toy)
    text = to_json(dataclasses.asdict(result.history))
    source = Source("history.json")
    assert checked(parse_json(text, source), History, source) == result.history
    assert json.loads(text)["counts"]["asked"] == 3


def test_parts_of_a_tree():
    x = {"a": 1, "b": (2, 3)}
    assert split(x, (1,)) == ({1: 2}, {0: 1, 2: 3})
    assert restarted.__doc__
