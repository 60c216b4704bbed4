"""The doctor on real runs and real pathologies, each of which has a number known beforehand."""

import logging
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from train.hill import Hill

from steppe.core.optimizer import AbstractOptimizer
from steppe.estimators.bptt import BPTT
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.classic.from_optax import adam
from steppe.optimizers.learned.learned_adam import global_learning_rate as learned_rate
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.runs.probe import LONGER, examine, probe
from steppe.train.loop import meta_train
from steppe.train.validate import Validation

H = 10


class Turning(AbstractOptimizer):
    """Gradient descent that turns round after H steps, with a cell that counts."""

    rate: jax.Array

    def init(self, params, *, key=None):
        return Counted(jnp.zeros(()))

    def update(self, grads, state, params, **extra):
        sign = jnp.where(state.c < H, -1.0, 1.0)
        return sign * self.rate * grads, Counted(state.c + 1)


class Counted(eqx.Module):
    c: jax.Array


class Broken(AbstractOptimizer):
    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        raise KeyError("no such\nlayer")


def rnnprop(scale=0.1):
    return RNNProp((2,), 2, scale=scale, key=jr.key(0))


def heads(opt, factor):
    return eqx.tree_at(lambda o: (o.head.w, o.head.b), opt, replace_fn=lambda leaf: factor * leaf)


def meta_trained(opt, key, *, steps=40, **changes):
    options = {
        "estimator": BPTT(2, 5, H),
        "objective": Trajectory(),
        "validation": Validation(every=1, horizon=H, episodes=1),
        "meta_tx": optax.adam(0.05),
        "log_every": 1,
    } | changes
    return meta_train(Hill(), opt, steps=steps, key=key, **options)


def failed(findings):
    return {finding.what: finding for finding in findings if not finding.ok}


def looked_at(opt, history, getkey):
    return failed(examine(Hill(), opt, history.rows, horizon=H, key=getkey()))


def test_a_healthy_run_has_no_findings(getkey):
    opt, history = meta_trained(learned_rate(0.01), getkey())
    findings = examine(Hill(), opt, history.rows, horizon=H, key=getkey())
    assert not failed(findings)
    assert len(findings) == 9
    assert len([f for f in findings if f.what.startswith("probe")]) == 3


def test_the_numbers_of_a_probe_are_those_of_gradient_descent(getkey):
    rate = 0.1
    seen = probe(Hill(), learned_rate(rate), horizon=H, key=getkey(), episodes=3)
    x = (1 - rate) ** np.arange(LONGER * H + 1)
    assert seen.first == pytest.approx(1.0)
    np.testing.assert_allclose(seen.losses, x[H::H] ** 2, rtol=1e-6)
    assert seen.rms == pytest.approx(rate * math.sqrt(np.mean(x[:H] ** 2)), rel=1e-5)
    m = v = 0.0
    squares = []
    for t in range(1, H + 1):
        m, v = 0.9 * m + 0.1 * x[t - 1], 0.999 * v + 0.001 * x[t - 1] ** 2
        squares.append((1e-3 * (m / (1 - 0.9**t)) / math.sqrt(v / (1 - 0.999**t))) ** 2)
    assert seen.rms_adam == pytest.approx(math.sqrt(np.mean(squares)), rel=1e-5)
    assert seen.gap == pytest.approx((x[LONGER * H - 1] / x[H - 1]) ** 2 - 1)
    assert (seen.lost, seen.at_bound, seen.cells) == (None, None, ())


def test_adam_is_as_large_as_itself(getkey):
    seen = probe(Hill(), adam(1e-3), horizon=H, key=getkey(), episodes=1)
    assert seen.rms == pytest.approx(seen.rms_adam, rel=1e-6)


def test_dead_outputs(getkey):
    seen = failed(examine(Hill(), heads(rnnprop(), 0.0), [], horizon=H, key=getkey()))
    assert set(seen) == {"probe: loss", "probe: update size"}
    assert seen["probe: loss"].numbers["at_horizon"] == seen["probe: loss"].numbers["first"] == 1.0
    assert seen["probe: update size"].numbers["ratio"] == 0.0
    assert "dead output scaling" in seen["probe: loss"].fix


def test_saturated_outputs(getkey):
    seen = failed(examine(Hill(), heads(rnnprop(), 1e6), [], horizon=H, key=getkey()))
    assert seen["probe: saturation"].numbers["share"] == 1.0
    whole = probe(Hill(), heads(rnnprop(), 1e6), horizon=H, key=getkey())
    assert whole.rms == pytest.approx(0.1, rel=1e-5)  # every update is as large as it can be


def test_a_huge_rate_diverges_and_is_said_to_be_huge(getkey):
    seen = failed(examine(Hill(), learned_rate(1e4), [], horizon=H, key=getkey()))
    steps = math.log(np.finfo(float).max) / (2 * math.log(1e4 - 1))  # until |x|² is no float64
    assert seen["probe: longer runs"].numbers["lost"] == pytest.approx(steps, abs=1)
    seen = failed(examine(Hill(), learned_rate(10.0), [], horizon=H, key=getkey()))
    assert seen["probe: update size"].numbers["ratio"] > 1e6
    assert seen["probe: loss"].numbers["at_horizon"] == pytest.approx(81.0**H, rel=1e-5)


def test_what_happens_beyond_the_horizon_is_seen(getkey):
    seen = failed(examine(Hill(), Turning(jnp.asarray(0.1)), [], horizon=H, key=getkey()))
    assert set(seen) == {"probe: longer runs", "probe: LSTM state"}
    down, up = 0.9**H, 1.1 ** (4 * H)
    numbers = seen["probe: longer runs"].numbers
    assert (numbers["at_horizon"], numbers["at_end"]) == pytest.approx((down**2, (down * up) ** 2))
    assert numbers["gap"] == pytest.approx((down * up / 1.1 / 0.9 ** (H - 1)) ** 2 - 1)
    assert seen["probe: LSTM state"].numbers == {"first": H, "last": LONGER * H}


def test_a_zero_meta_gradient(getkey):
    opt, history = meta_trained(rnnprop(scale=0.0), getkey(), steps=3)
    seen = looked_at(opt, history, getkey)
    assert seen["meta-gradient"].numbers == {"zero_rows": 3, "rows": 3}
    assert {"probe: loss", "probe: update size"} <= set(seen)


def test_an_exploding_meta_gradient(getkey):
    """At the rate 3 the gradient grows 4 times a step: 4¹⁰ from a window of 5 to the next."""
    plan = BPTT(1, 5, 40, stagger=False)
    still = optax.sgd(0.0)
    opt, history = meta_trained(
        learned_rate(3.0),
        getkey(),
        estimator=plan,
        objective=Trajectory("sum", "identity"),
        meta_tx=still,
        steps=16,
    )
    seen = looked_at(opt, history, getkey)
    norms = [row["grad_norm"] for row in history.rows]
    assert norms[1] / norms[0] > 2e2
    assert seen["gradient norm"].numbers["largest"] == max(norms) > 1e3 * np.median(norms)
    assert {"meta-loss", "probe: loss", "probe: longer runs"} <= set(seen)


def test_a_checkpoint_chosen_early(getkey):
    """Meta-training that goes uphill: the first validation is the best."""
    up = optax.chain(optax.adam(0.1), optax.scale(-1.0))
    opt, history = meta_trained(learned_rate(0.5), getkey(), meta_tx=up, steps=20)
    seen = looked_at(opt, history, getkey)
    assert history.best_step == 1
    scores = [row["valid_loss"] for row in history.rows]
    expected = {"best_step": 1, "last_step": 20, "best": scores[0], "last": scores[-1]}
    assert seen["best checkpoint"].numbers == expected
    assert scores[-1] > scores[0]


def test_a_probe_that_fails_is_a_finding(getkey):
    [finding] = failed(examine(Hill(), Broken(), [], horizon=H, key=getkey())).values()
    assert finding.what == "probe"
    assert finding.evidence.startswith("KeyError: ") and finding.fix


def test_without_a_horizon_nothing_is_probed(getkey):
    assert not failed(examine(Hill(), Broken(), [], horizon=None, key=getkey()))


def test_nothing_compiles_again_after_the_first_validation(getkey, caplog):
    """Of the symptoms this one cannot be: `meta_train` compiles ahead of time."""
    with jax.log_compiles(), caplog.at_level(logging.WARNING, logger="jax"):
        marks = []

        class Mark:
            def write(self, row):
                marks.append(sum("Finished XLA compilation" in r.message for r in caplog.records))

            def say(self, text):
                pass

            def close(self):
                pass

        meta_trained(learned_rate(0.01), getkey(), steps=8, sinks=[Mark()])
    assert marks[0] > 0
    assert marks[1:] == [marks[1]] * 7
