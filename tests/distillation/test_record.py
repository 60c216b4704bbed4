"""Recorded runs and the rows made of them."""

import dataclasses

import jax.random as jr
import numpy as np
import pytest

from steppe.core.expression import Variable
from steppe.distillation.record import Runs, drawn, joined, record
from steppe.distillation.table import delayed, tabulate
from steppe.optimizers.classic.from_optax import sgd
from steppe.optimizers.learned.symbolic import Symbolic
from steppe.tasks.suite import build


def runs_of(g, u=None):
    g = np.asarray(g, float)
    return Runs(g, g if u is None else u, np.zeros(g.shape[2], int), ("x",))


def normal(runs=4, steps=12, coordinates=3, seed=0):
    return runs_of(np.random.default_rng(seed).normal(size=(runs, steps, coordinates)))


@pytest.fixture(scope="module")
def recorded():
    return record(sgd(0.1), build("quadratic"), runs=4, steps=5, coordinates=6, key=jr.key(0))


def test_what_is_recorded_is_what_the_teacher_did(recorded):
    assert recorded.g.shape == recorded.u.shape == (4, 5, 6)
    assert recorded.tensor.tolist() == [0] * 6 and recorded.nonfinite == 0
    np.testing.assert_allclose(recorded.u, np.float32(-0.1) * recorded.g, rtol=1e-6)


def test_with_a_leader_the_teacher_answers_on_the_leaders_run(recorded):
    lead = Symbolic("-0.1 * g")
    kind = {"runs": 4, "steps": 5, "coordinates": 6, "key": jr.key(0)}
    found = record(Symbolic("-0.3 * g"), build("quadratic"), leader=lead, **kind)
    np.testing.assert_allclose(found.g, recorded.g, rtol=1e-4)  # of the same run
    np.testing.assert_allclose(found.u, -0.3 * found.g, rtol=1e-5)
    assert joined(recorded, found).g.shape == (8, 5, 6)


def test_coordinates_are_drawn_from_every_tensor():
    places = drawn([3, 50, 1], 5, jr.key(1))
    assert places[:3].tolist() == [0, 1, 2] and places[-1] == 53 and len(set(places)) == 9
    assert all(3 <= p < 53 for p in places[3:8])


def test_scales_differ_in_every_second_run():
    # Of ½x² from x = 1: in coordinates of scale c the first gradient is c, c/c = 1 unscaled.
    found = record(sgd(1e-3), build("bowl-1"), runs=4, steps=1, key=jr.key(3), spread=2.0)
    first = np.abs(found.g[:, 0])
    plain = record(sgd(1e-3), build("bowl-1"), runs=4, steps=1, key=jr.key(3), spread=0.0)
    np.testing.assert_allclose(first[::2], np.abs(plain.g[::2, 0]), rtol=1e-5)
    ratio = np.log(first[1::2] / np.abs(plain.g[1::2, 0]))
    assert (np.abs(ratio) > 1e-3).all() and (np.abs(ratio) <= 2.0).all()


def test_runs_that_are_not_finite_are_left_out_or_refused():
    with pytest.raises(ValueError, match="in all 2 runs a gradient or an update was not finite"):
        record(sgd(1e200), build("bowl-5"), runs=2, steps=4, key=jr.key(0))
    with pytest.raises(ValueError, match="spread must be at least 0"):
        record(sgd(0.1), build("bowl-1"), key=jr.key(0), spread=-1.0)


def test_inputs_are_those_of_their_names():
    runs = normal()
    table = tabulate(runs, "mn9 + g[2] + v5")
    m = v = s = np.zeros((4, 3))
    for t in range(12):
        g = runs.g[:, t]
        m, v, s = 0.9 * m + 0.1 * g, 0.9 * v + 0.1 * g**2, 0.5 * s + 0.5 * g**2
        at = table.step == t + 1
        mn = (m / (1 - 0.9 ** (t + 1))) / (np.sqrt(v / (1 - 0.9 ** (t + 1))) + 1e-8)
        np.testing.assert_allclose(table.inputs["mn9", 0][at], mn.ravel(), rtol=1e-12)
        np.testing.assert_allclose(
            table.inputs["v5", 0][at], (s / (1 - 0.5 ** (t + 1))).ravel(), rtol=1e-12
        )
        ago = runs.g[:, t - 2] if t >= 2 else np.zeros((4, 3))
        np.testing.assert_array_equal(table.inputs["g", 2][at], ago.ravel())
    assert not delayed(runs.g, 50).any()


def test_rows_before_the_first_gradient_are_left_out():
    runs = normal(5, 20, 2)
    runs.g[:, :5, 0] = 0
    table = tabulate(runs, "g")
    assert len(table) == 5 * (20 * 2 - 5)


def test_parts_have_different_runs():
    split = tabulate(normal(10, 30, 2), "g").split()
    groups = [set(part.run.tolist()) for part in split]
    assert [len(group) for group in groups] == [6, 2, 2]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    again = tabulate(normal(10, 30, 2), "g").split()
    np.testing.assert_array_equal(split.test.target, again.test.target)
    assert len(split.fit.sample(7)) == 7 and len(split.fit.sample(10**6)) == len(split.fit)


def bad(x, at):
    g = np.ones((4, 20, 2))
    g[at] = x
    return g


REFUSED = {
    "few": (runs_of(np.ones((1, 7, 7))), "g", "have 49 rows, but a fit needs 50"),
    "nan": (runs_of(bad(np.nan, (0, 0, 0))), "g", "1 of the recorded gradients are not finite"),
    "inf": (
        dataclasses.replace(runs_of(np.ones((4, 20, 2))), u=bad(np.inf, (0, slice(3), 1))),
        "g",
        "3 of the recorded updates are not finite",
    ),
    "name": (normal(), "nm95", "there is no input 'nm95'"),
    "variable": (normal(), [Variable("k9")], "there is no input 'k9'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused(case):
    runs, names, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        tabulate(runs, names)


def test_too_few_runs_or_rows_to_split():
    with pytest.raises(ValueError, match="2 runs are too few"):
        tabulate(normal(2, 40, 3), "g").split()
    with pytest.raises(ValueError, match="the part fit has 30 rows"):
        tabulate(normal(3, 10, 3), "g").split()
