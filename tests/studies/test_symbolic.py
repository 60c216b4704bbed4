"""The study of formulas: interpolation at a level, rules between, and verdicts from records."""

import dataclasses

import equinox as eqx
import numpy as np

from steppe.studies.symbolic import cards, expectations, twins
from steppe.zoo import card, load
from steppe.zoo.io import Formula, Likeness


def test_numbers_at_equal_loss_are_interpolated_in_logarithms():
    loss = np.array([[1.0, 0.1, 0.01], [1.0, 0.25, 0.2]])
    values = np.array([[1.0, 10.0, 100.0], [3.0, 6.0, 7.0]])
    # ln-linear: halfway in ln loss is halfway in ln value; a level met at once is taken there
    found = twins.at_level(loss, values, np.array([np.sqrt(0.001), 1.0]))
    np.testing.assert_allclose(found, [np.sqrt(1000.0), 3.0])


def test_rules_between_have_one_coefficient_of_the_other():
    found = twins.arms({"plain": (1.0, 2.0), "flat": (3.0, 4.0)})
    pairs = {arm: getattr(opt, "coefficients", None) for arm, opt in found.items()}
    assert pairs["plain, g of flat"] == (3.0, 2.0) and pairs["plain, m of flat"] == (1.0, 4.0)
    assert pairs["plain"] == (1.0, 2.0) and pairs["flat"] == (3.0, 4.0)
    assert type(found["flat teacher"]).__name__ == "RNNProp"


def ratio(mean, steps=100, task="t"):
    return {"task": task, "part": "test", "steps": steps, "mean": mean}


def teacher(name, nodes, chosen, tuned, template=0.9):
    arms = {"chosen": [ratio(chosen)], "tuned": [ratio(tuned)]}
    return {"part": "teacher", "teacher": name, "task": "t", "nodes": nodes, "linear": 0.8,
            "template": template, "ratios": arms}  # fmt: skip


def models(**traces):
    return {arm: {"trace_matched": list(x)} for arm, x in traces.items()}


def holds(found):
    return {v.claim: v.holds for v in expectations.verdicts(found)}


def test_verdicts_follow_from_records():
    said = holds([teacher("rnnprop-v1", 10, 1.3, 1.04), teacher("dm-v1", 7, 1.1, 1.06, 0.5)])
    assert list(said.values()) == [True, False, True, True, False]  # on no other task
    long = holds([teacher("dm-v1", 16, 0.9, 0.9)])
    assert list(long.values()) == [True, False, False]
    other = teacher("dm-v1", 9, 2.0, 2.0)
    other["ratios"]["tuned"] += [ratio(1.04, task="new"), ratio(0.5, 500, "new")]
    assert list(holds([other]).values()) == [False, False, True]
    template = holds([teacher("rnnprop-v1", 10, 1.0, 1.0, template=0.82)])
    assert not next(iter(template.values()))  # not linear + 0.03
    pairs = (("sgd", 0.9995), ("lion", 0.9))
    rules = [{"part": "rule", "rule": rule, "r2": x} for rule, x in pairs]
    assert list(holds(rules).values()) == [False]
    assert list(holds(rules[:1]).values()) == [True]
    published = [
        {"part": "published", "teacher": name, "linear": 0.5, "template": x}
        for name, x in (("rnnprop", 0.9), ("dm", 0.75))
    ]
    assert list(holds(published).values()) == [True, False]


def test_the_share_of_a_coefficient_is_told():
    seeds = np.random.default_rng(0).normal(size=8) / 100
    of = lambda x: np.exp(np.log(x) + seeds)
    arms = {
        "plain teacher": of(10),
        "flat teacher": of(5),
        "plain": of(8),
        "flat": of(2),
        "plain, m of flat": of(2 * 8**0.1),
        "plain, g of flat": of(8) * (1 + seeds),
    }
    said = expectations.verdicts([{"part": "twins", "judged": "t", "models": models(**arms)}])
    assert [v.holds for v in said] == [True, True, True, False]
    assert "tr H × 0.25" in said[1].because and "a share of 0.85" in said[2].because


def test_a_shipped_optimizer_keeps_its_numbers_and_gets_its_formula(tmp_path):
    x = ratio(1.23456, 500, "digits-mlp") | {"problems": 24, "low": 1.1, "high": None}
    record = {"teacher": "dm-v1", "formula": "-0.1 * g", "nodes": 3, "held": 0.2}
    cards.release(tmp_path / "a.safetensors", record | {"ratios": {"chosen": [x], "tuned": []}})
    old, new = card("dm-v1"), card(tmp_path / "a.safetensors")
    assert eqx.tree_equal(load("dm-v1"), load(tmp_path / "a.safetensors"))
    assert dataclasses.replace(new, formula=old.formula) == old
    same = Likeness(task="digits-mlp", steps=500, n=24, mean=1.235, low=1.1, high=None)
    assert new.formula == Formula(
        optimizer="dm-v1", text="-0.1 * g", nodes=3, r2=0.2, likeness=(same,)
    )
