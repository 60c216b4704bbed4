"""steppe.adapt: the best of a few updates by validation, compared on fresh problems."""

import dataclasses
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import steppe
from steppe.evaluation.adaptation import Adaptation, Cost, Curve, adapt
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.adaptable import Adaptable
from steppe.optimizers.classic.from_optax import FromOptax, sgd
from tests.train.hill import Hill
from tests.train.springs import Springs

LAST = Trajectory(weights="last", transform="identity")
TINY = {"episodes": 2, "horizon": 1, "objective": LAST, "problems": 3, "test": 4, "inner": "sgd"}


def test_the_best_of_rates_and_updates_is_kept_and_the_given_one_untouched(tmp_path):
    # On Hill one step of rate a leaves the loss (1 − a)², and 1 − a_k = (1 − 2r)ᵏ (1 − a_0): of
    # r = 0.7 each update overshoots and halves, at a quarter the rate it halves too; 0.5 is exact.
    opt = sgd(0.6)
    before = np.asarray(opt.hyper["learning_rate"]).tobytes()
    found, record = adapt(opt, Hill(), 2, rates=np.array([0.25, 0.5, 1.25]), **TINY)
    assert np.asarray(opt.hyper["learning_rate"]).tobytes() == before
    left = 0.4 * np.array([[1, 0.5, 0.25], [1, 0, 0], [1, -1.5, 2.25]])
    np.testing.assert_allclose(record.scores, left**2, atol=1e-12)
    assert (record.kept, record.rate) == (1, 0.5)  # the first of equals
    np.testing.assert_allclose(found.hyper["learning_rate"], 1, rtol=1e-6)
    np.testing.assert_allclose(record.given, [0.16] * 4, rtol=1e-6)
    np.testing.assert_allclose(record.adapted, [0] * 4, atol=1e-12)
    # 2 updates × 2 episodes × 1 step × 3 rates; 7 candidates × 3 problems; twice 4 problems
    counted = {stream: cost.gradients for stream, cost in record.cost.items()}
    assert counted == {"adaptation": 12, "validation": 21, "test": 8}
    assert "33 gradients of the problems' losses: 12 to adapt and 21 to choose" in record.price
    steppe.save(tmp_path / "a.safetensors", found)
    assert eqx.tree_equal(steppe.load(tmp_path / "a.safetensors"), found)


def test_where_no_update_helps_the_given_optimizer_itself_is_kept():
    opt = sgd(1.0)  # perfect already
    found, record = adapt(opt, Hill(), 1, rates=0.1, **TINY)
    assert found is opt and record.kept == 0 and record.rate is None
    assert record.given == record.adapted and record.cost["test"].gradients == 4
    assert record.verdict.startswith("Not adapted: on the problems of validation, FromOptax")


def test_what_diverges_is_counted_warned_of_and_not_kept():
    opt = sgd(1e200)
    with pytest.warns(UserWarning, match="at every rate, adaptation came to losses") as warned:
        found, record = adapt(opt, Hill(), 2, rates=(0.1, 0.2), **TINY)
    assert found is opt and record.nonfinite == 2 * 2 * 2 and record.kept == 0
    assert "(8 episodes left out); no update is kept. Try lower rates." in str(warned[0].message)
    assert record.given == (None,) * 4 and record.scores == ((None,) * 3,) * 2


class Watched(Springs):
    """Springs that tell the keys of the starts that are drawn."""

    tell: Callable = eqx.field(static=True, default=print)

    def init(self, instance, key):
        jax.debug.callback(self.tell, jr.key_data(key))
        return jnp.ones(1)


def test_the_three_streams_of_problems_do_not_meet():
    streams = []

    def say(_):  # before each of the three
        jax.effects_barrier()
        streams.append(set())

    task = Watched((1.0, 2.0), lambda key: streams[-1].add(np.asarray(key).tobytes()))
    adapt(sgd(0.05), task, 1, rates=1e-3, say=say, **TINY)
    jax.effects_barrier()
    adaptation, validation, test = streams
    assert len(adaptation) >= 2 and len(validation) == 3 and len(test) == 4
    assert not (adaptation & validation or adaptation & test or validation & test)


def test_rates_that_an_optimizer_carries_are_used():
    opt = Adaptable(sgd(0.6), 0.5)
    found, record = adapt(opt, Hill(), 1, **TINY)
    assert record.rates is None and record.kept == 1 and type(found) is Adaptable
    np.testing.assert_allclose(found.base.hyper["learning_rate"], 1, rtol=1e-6)
    with pytest.raises(ValueError, match="carries the rates of its adaptation; leave `rates` out"):
        adapt(opt, Hill(), 1, rates=0.1, **TINY)


REFUSED = {
    "no trained numbers": (FromOptax("adam", {"learning_rate": 0.1}), {}, "has no trained numbers"),
    "a name": ("rnnprop-v1", {}, "opt must be an optimizer, got str; give what `steppe.load`"),
    "no updates": (sgd(0.1), {"updates": 0}, "updates must be at least 1, got 0"),
    "no rates": (sgd(0.1), {"rates": ()}, "rates is empty; give one at least"),
    "NaN": (sgd(0.1), {"rates": math.nan}, "rates must be finite numbers from 0 on, got nan"),
    "negative": (
        sgd(0.1),
        {"rates": (1e-3, -1)},
        "rates must be finite numbers from 0 on",
    ),
    "text": (sgd(0.1), {"rates": "1e-3"}, "rates must be finite numbers from 0 on, got '1e-3'"),
    "inner": (sgd(0.1), {"inner": "adm"}, "did you mean 'adam'"),
    "one problem": (sgd(0.1), {"test": 1}, "test must be at least 2, got 1"),
    "half": (sgd(0.1), {"problems": 2.5}, "problems must be a whole number"),
    "seed": (sgd(0.1), {"seed": -1}, "seed must be at least 0"),
}


def test_updates_on_windows_of_one_episode_see_the_same_problems():
    # Two windows an episode: of three updates the last one sees two fresh problems.
    how = {**TINY, "horizon": 2, "unroll": 1}
    _, record = adapt(sgd(0.6), Hill(), 3, rates=0.1, **how)
    assert record.cost["adaptation"] == Cost(problems=4, gradients=6, values=6)


def test_what_is_no_task_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match=r"adapt: task must be a task, such as .*, got 'booth'"):
        adapt(sgd(0.1), "booth")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_in_one_sentence(name):
    opt, how, said = REFUSED[name]
    with pytest.raises(ValueError) as error:
        adapt(opt, Hill(), **how)
    assert said in str(error.value) and "\n" not in str(error.value)


CURVE = Curve(at=(0, 1), median=(1.0, 0.5), low=(1.0, 0.4), high=(1.0, 0.6))
RECORD = Adaptation(
    optimizer="<net>",
    task="lasso & co",
    updates=2,
    episodes=8,
    horizon=100,
    unroll=20,
    inner="adam",
    rates=(1e-3, 1e-2),
    scores=((1.0, 0.6, 0.5), (1.0, 0.4, None)),
    kept=1,
    rate=1e-2,
    given=(1.0, 2.0, 3.0, 4.0),
    adapted=(0.5, 1.0, 1.5, 2.2),
    curves={"given": CURVE, "adapted": CURVE},
    nonfinite=3,
    cost={
        name: Cost(problems=8, gradients=1000, values=10)
        for name in ("adaptation", "validation", "test")
    },
    seed=0,
    seconds=1.0,
    environment={},
)


def test_verdicts():
    ratio = math.exp(np.log([0.5, 0.5, 0.5, 0.55]).mean())
    assert f"the loss is {ratio:.3g} times that of <net> as it was (95 % interval" in RECORD.verdict
    assert RECORD.verdict.startswith("Adaptation helps: after 100 steps on 4 fresh problems")
    worse = dataclasses.replace(RECORD, given=RECORD.adapted, adapted=RECORD.given)
    assert worse.verdict.startswith("Adaptation harms, though it looked better on the problems")
    signed = dataclasses.replace(RECORD, given=(-1.0, 1.0, 0.5), adapted=(-2.0, 0.1, -0.6))
    assert signed.ratio is None and "differs from that of <net> as it was by -1" in signed.verdict
    zero = dataclasses.replace(RECORD, given=(0.0, 8.0, 2.0), adapted=(0.0, 4.0, 0.0))
    np.testing.assert_allclose(zero.ratio.mean, (1 * 0.5 * 1) ** (1 / 3), rtol=1e-12)  # 0 is 2
    lost = dataclasses.replace(RECORD, adapted=(None, 1.0, 1.5, 2.2))
    assert lost.verdict.endswith("; adapted, 1 of them diverged, as it was 0.")
    varying = Cost(problems=8, gradients=None, values=10)
    unknown = dataclasses.replace(RECORD, cost=dict.fromkeys(RECORD.cost, varying))
    assert "is not known" in unknown.price
