"""A run that broke off is begun anew: the same to the last bit, and most of it is not computed."""

import dataclasses
import json
import math

import jax
import jax.random as jr
import numpy as np
import pytest
from prompt.toy import GOOD, Wavy, encoder, soft_prompt

from steppe.optimizers.classic.from_optax import adam
from steppe.prompt import Alternate, Catalyst, CodecError, Descent, RandomRestart, Remembered
from steppe.prompt.catalyst import alone
from steppe.prompt.proposers import Scripted
from steppe.store.untrusted import FileError

SCHEDULE = Alternate(rounds=3, steps=8, snapshots=2, probation=4)
SCRIPT = [["a = 1.2, b = -1", "nonsense"], ["a = 0.1, b = 0", "a = 3, b = 3"], ["a = 0, b = 0.1"]]


class Counting:
    """A descent that says how often it is asked."""

    def __init__(self, base):
        self.base, self.steps, self.scores, self.texts = base, 0, 0, 0

    def __getattr__(self, name):
        return getattr(self.base, name)

    def advance(self, lane, steps):
        self.steps += steps
        return self.base.advance(lane, steps)

    def score(self, lane):
        self.scores += 1
        return self.base.score(lane)

    def text(self, lane):
        self.texts += 1
        return self.base.text(lane)


class Broken(Exception):
    pass


def breaking(script, at):
    """A script that is broken off at a question."""

    def write(pool, n):
        if pool.asked == at:
            raise Broken
        return script[pool.asked] if pool.asked < len(script) else []

    return Scripted(write)


@pytest.mark.parametrize("broken", [(), (0.0,)])
def test_a_run_that_broke_off_goes_on_without_its_scores(broken, tmp_path):
    wavy = Wavy(broken=broken)
    whole = Counting(wavy)
    expected = Catalyst(Scripted(SCRIPT), SCHEDULE).run(whole)
    first = Counting(wavy)
    with pytest.raises(Broken):
        Catalyst(breaking(SCRIPT, 2), SCHEDULE).run(Remembered(first, tmp_path, "wavy"))
    again = Counting(wavy)
    found = Catalyst(Scripted(SCRIPT), SCHEDULE).run(Remembered(again, tmp_path, "wavy"))
    assert found.history == expected.history and found.params == expected.params
    # Nothing is scored twice, and of steps only those that led to a lane that lived.
    assert first.scores + again.scores <= whole.scores and again.scores < whole.scores / 2
    assert again.steps < whole.steps and first.texts + again.texts <= whole.texts
    done = Counting(wavy)
    last = Catalyst(Scripted(SCRIPT), SCHEDULE).run(Remembered(done, tmp_path, "wavy"))
    assert last.history == expected.history and last.params == expected.params
    assert done.scores == done.texts == 0
    other = Counting(wavy)
    Catalyst(Scripted(SCRIPT), SCHEDULE).run(Remembered(other, tmp_path, "another"))
    assert other.scores <= whole.scores and other.scores > whole.scores / 2
    assert len(list(tmp_path.iterdir())) == 2


def test_ways_that_are_compared_share_gradients_alone():
    expected = Catalyst(RandomRestart(Wavy().codec), SCHEDULE).run(Wavy())
    own = Counting(Wavy())
    both = Remembered(own)
    Catalyst(Scripted([]), SCHEDULE).run(both)
    before = own.scores
    assert Catalyst(RandomRestart(Wavy().codec), SCHEDULE).run(both).history == expected.history
    assert own.scores - before < expected.history.counts.evaluations - 5
    plain = Counting(Wavy())
    assert alone(both, 16, 4).history == alone(plain, 16, 4).history
    assert both.path is None and len(both) > 20


def test_bits_of_a_real_descent_are_the_same(tmp_path):
    task = encoder()
    descent = Descent(
        task, adam(0.05), soft_prompt(task), jr.key(0), where=lambda params: params["prompt"]
    )
    schedule = dataclasses.replace(SCHEDULE, rounds=2)
    script = [[GOOD, "<s>"], [GOOD[::-1]]]
    expected = Catalyst(Scripted(script), schedule).run(descent)
    with pytest.raises(Broken):
        Catalyst(breaking(script, 1), schedule).run(Remembered(descent, tmp_path, "toy"))
    found = Catalyst(Scripted(script), schedule).run(Remembered(descent, tmp_path, "toy"))
    assert found.history == expected.history
    for a, b in zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_kept_is_read_as_a_strangers_file(tmp_path):
    own = Remembered(Wavy(broken=(2.1,)), tmp_path, "wavy")
    lane = own.begin()
    assert math.isnan(own.score(lane).loss)
    with pytest.raises(CodecError) as refusal:
        own.restart(lane, "nonsense")
    lines = own.path.read_bytes()
    own.path.write_bytes(lines + lines[:40])  # killed in the middle of a line
    again = Remembered(Wavy(), tmp_path, "wavy")
    assert len(again) == 2 and own.path.read_bytes() == lines
    assert math.isnan(again.score(again.begin()).loss)
    with pytest.raises(CodecError, match=f"^{str(refusal.value)[:20]}"):
        again.restart(again.begin(), "nonsense")
    assert again.text(again.begin()) == Wavy().text(Wavy().begin())
    for bad in (b"{}\n", b"x\n", json.dumps({"lane": "a", "kind": "score", "loss": "1"}).encode()):
        own.path.write_bytes(bad.rstrip() + b"\n")
        with pytest.raises(FileError, match=r"line 1.*; remove it: it only saves time\."):
            Remembered(Wavy(), tmp_path, "wavy")
