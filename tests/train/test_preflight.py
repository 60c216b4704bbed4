"""The memory of a meta-step is XLA's count, advice on it comes true, and a run too large stops."""

import jax
import jax.numpy as jnp
import jax.random as jr
import optax
import pytest
from train.hill import Hill

from steppe.estimators.adapted import Adapted
from steppe.estimators.bptt import BPTT
from steppe.estimators.es import ES
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.learned.learned_adam import global_learning_rate
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.train import preflight
from steppe.train.loop import compile_step, meta_train
from steppe.train.preflight import Memory, TooLargeError, changes
from steppe.train.step import start

N = 1024
SIDE = {"together": 4}  # all episodes side by side


def compiled(opt, plan):
    parts = {"estimator": plan, "objective": Trajectory(), "meta_tx": optax.adam(1e-3)}
    state = start(Hill(N), opt, **parts, key=jr.key(0))
    step, state, _ = compile_step(Hill(N), state, *parts.values(), None)
    return step.memory, state


def rnnprop():
    return RNNProp((8,), 2, key=jr.key(0))


@pytest.fixture(scope="module")
def large():
    """An RNNProp run, whose states are most of its memory: (plan, bytes, state)."""
    plan = BPTT(4, 20, 40, **SIDE)
    return (plan, *compiled(rnnprop(), plan))


@pytest.fixture(autouse=True, scope="module")
def one_device():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 1)
        patch.setattr(jax, "local_device_count", lambda: 1)
        yield


def test_the_count_is_what_is_known_of_it():
    x = jnp.ones((1000, 100))  # 800 kB of float64
    program = jax.jit(lambda x: jnp.sort(x, axis=0) + 1).lower(x).compile()
    found = preflight.memory(program, (x,))
    assert found.whole == pytest.approx(2 * x.nbytes + found.between, rel=0.01)
    assert found.more == found.whole - x.nbytes


def test_the_states_of_the_optimizer_are_in_the_count(large):
    _, found, _ = large
    states = 4 * 20 * N * (2 * 8 + 2) * 8  # episodes · steps · coordinates · floats · bytes
    assert states < found.between < 2 * states


@pytest.mark.parametrize(
    ("what", "smaller"),
    [
        ("unroll", lambda fits: BPTT(4, fits, 40, **SIDE)),
        ("rows", lambda fits: BPTT(4, 20, 40, rows=fits, **SIDE)),
        ("BPTT(remat=True)", lambda fits: BPTT(4, 20, 40, remat=True, **SIDE)),
    ],
)
def test_advice_comes_true(what, smaller, large):
    """Compiled as advised, a meta-step takes no more than the advice says, and fits."""
    plan, found, state = large
    left = int(0.6 * found.more)
    ways = dict(changes(found, left, plan, state))
    [text] = [text for text in ways if text.startswith(what)]
    fits = int(text.split()[-1]) if " " in text else 0
    again, _ = compiled(rnnprop(), smaller(fits))
    assert 0.6 * ways[text] < again.whole < 1.1 * ways[text]
    assert again.more <= 1.1 * left


def test_advice_that_would_not_help_is_not_given(large):
    plan, found, state = large
    names = lambda left, plan: {text.split()[0] for text, _ in changes(found, left, plan, state)}
    assert names(found.more // 2, plan) == {"unroll", "episodes", "rows", "BPTT(remat=True)"}
    assert names(found.more // 8, plan) == {"unroll"}  # one episode alone is more
    # One episode after the other: fewer of them take no less.
    assert "episodes" not in names(found.more // 2, BPTT(4, 20, 40, together=1))
    assert names(found.more // 2, BPTT(4, 20, 40, rows=4, **SIDE)) == {"unroll", "episodes"}
    assert names(found.more // 2, ES(4, 20, 40, **SIDE)) == {"episodes"}  # keeps no inner step
    assert names(0, plan) == set()


def test_a_limit_of_ones_own_takes_the_place_of_what_there_is(large, monkeypatch):
    plan, found, state = large
    monkeypatch.setattr(preflight, "available", lambda: 2**60)
    said = []
    preflight.check(found, plan, state, said.append, found.more)
    assert len(said) == 1 and "of memory" not in said[0]
    with pytest.raises(TooLargeError, match="Change one of: unroll"):
        preflight.check(found, plan, state, said.append, found.more // 2)


def test_first_order_is_advised_where_the_second_does_not_fit():
    """And it takes about what the advice says; the second order at most four times as much."""
    plan = lambda order: Adapted(BPTT(4, 20, 40, **SIDE), 1e-3, order=order)
    second, state = compiled(rnnprop(), plan(2))
    ways = dict(changes(second, int(0.6 * second.more), plan(2), state))
    first, _ = compiled(rnnprop(), plan(1))
    assert 0.6 * ways["second order of adaptation → first"] < first.whole
    assert first.whole < 1.1 * ways["second order of adaptation → first"]
    assert second.whole < 4 * first.whole
    assert not any(way.startswith("rows") for way in ways)
    assert any(way.startswith("unroll") for way in ways)
    of_first = dict(changes(first, int(0.6 * first.more), plan(1), state))
    assert {way.split()[0] for way in of_first} == {
        "unroll",
        "episodes",
        "rows",
        "BPTT(remat=True)",
    }


def test_a_run_that_is_too_large_makes_no_step(monkeypatch, getkey):
    monkeypatch.setattr(preflight, "memory", lambda *_: Memory(3 * 10**9, 3 * 10**9, 2 * 10**9))
    monkeypatch.setattr(preflight, "available", lambda: 2 * 10**9)
    with pytest.raises(TooLargeError) as refused:
        tiny(getkey())
    said = str(refused.value)
    assert said.startswith("A meta-step takes about 3.0 GB of memory, 3.0 GB more than is in use")
    assert "but 2.0 GB are available. Change one of: unroll 20 → 6 (about 1.6 GB)" in said
    monkeypatch.setattr(preflight, "available", lambda: None)  # nobody knows
    tiny(getkey())


def test_memory_and_time_are_said_once(getkey):
    said = []

    class Ear:
        write = close = lambda *_: None

        def say(self, text):
            said.append(text)

    _, history = tiny(getkey(), sinks=[Ear()])
    assert [text.split(":")[0] for text in said] == ["memory", "time"]
    assert f"about {preflight.size(history.memory_bytes)} of " in said[0]
    assert "for the 2 meta-steps to go" in said[1]


def tiny(key, **options):
    return meta_train(
        Hill(),
        global_learning_rate(0.01),
        estimator=BPTT(2, 20, 20),
        objective=Trajectory(),
        meta_tx=optax.sgd(0.01),
        steps=5,
        key=key,
        **options,
    )


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory.max": "1000", "memory.current": "700"}, 350),
        ({"memory.max": "max", "memory.current": "700"}, None),
        ({"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "700"}, 250),
        ({}, None),
    ],
)
def test_control_groups(files, left, tmp_path):
    (tmp_path / "memory.stat").write_text("anon 600\ninactive_file 50\n")
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert preflight._group(tmp_path) == left


def test_what_is_available_is_less_than_there_is():
    free = preflight.available()
    assert free is None or 0 < free < 2**50
