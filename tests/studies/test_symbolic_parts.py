"""Studies beside the main one of formulas: what is concluded from records; tiny runs are slow."""

import math
from pathlib import Path

import jax.random as jr
import numpy as np
import pytest

from steppe.certificates.pac_bayes import around
from steppe.core.episode import begin
from steppe.evaluation.engines import Row, cell_id
from steppe.optimizers.learned.symbolic import Symbolic
from steppe.studies.study import conclude
from steppe.studies.symbolic import certificate, scale, tuning
from steppe.studies.symbolic.sizes import CERTIFICATES, Certificate, Scale, Tuning

FOLDER = Path(certificate.__file__).parent
PARTS = {
    "tuning": (tuning, Tuning()),
    "certificate": (certificate, Certificate()),
    "scale": (scale, Scale()),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_table_of_the_page_is_that_of_the_record(name):
    study, settings = PARTS[name]
    found = conclude(study.STUDY, settings, FOLDER / f"{name}.jsonl")
    text = found.text
    assert text[text.index("| ") : text.rindex(" |") + 2] in (FOLDER / "beside.md").read_text()


def rows(cells, result):
    return [Row(cell_id(cell), dict(cell), result(cell), None, 0.0, 1, {}) for cell in cells]


def holds(study, settings, result):
    cells = list(study.cells(settings))
    return [v.holds for v in study.conclude(settings, rows(cells, result)).verdicts]


def losses(cell, own, away):
    pair = lambda factor: {"start": [1.0, 2.0], "tuned": [factor, 2 * factor]}
    return {
        "formula": "g",
        "losses": {tuning.TASK: pair(own)} | dict.fromkeys(tuning.OTHERS, pair(away)),
    }


@pytest.mark.parametrize(("own", "away", "right"), [(0.9, 1.04, True), (1.0, 1.04, False)])
def test_a_gain_is_of_every_seed_and_no_other_task_pays(own, away, right):
    found = holds(tuning.STUDY, Tuning(seeds=2), lambda cell: losses(cell, own, away))
    assert found == [right, True] * 2
    assert holds(tuning.STUDY, Tuning(seeds=2), lambda cell: losses(cell, 0.5, 1.06))[1] is False


def test_a_tuned_formula_that_diverges_alone_is_infinitely_worse():
    assert tuning.ratio({"start": [1.0], "tuned": [None]}) == math.inf
    assert tuning.ratio({"start": [None, 2.0], "tuned": [None, 1.0]}) == pytest.approx(0.5)
    assert tuning.wins({"start": [None, 1.0, 1.0], "tuned": [3.0, None, 0.9]}) == (2, 3)


def taken(cell, theirs):
    ours = cell["optimizer"] == "formula"
    size = 2**30 if ours or cell["road"] == "replay" else theirs
    found = {"bytes": size, "state": 2, "compile": 1.0, "refused": "No." if size > 2**32 else None}
    return found | ({"losses": [1.0], "seconds": 1.0, "peak": 2**31} if ours else {})


def test_scale_is_a_refusal_beside_a_fit():
    assert holds(scale.STUDY, Scale(), lambda cell: taken(cell, 2**33)) == [True] * 3
    assert holds(scale.STUDY, Scale(), lambda cell: taken(cell, 2**31)) == [False, True, True]


def risk(cell, bound):
    blind = cell["arm"] == certificate.ARMS[2]
    many = cell["arm"].startswith("network")
    return {
        "weights": 3, "bound": 1.0 if blind else bound, "on_tasks": 0.1, "budget": 0.2,
        "divergence": 9.0 if many else 0.1,
    }  # fmt: skip


def test_a_certificate_is_judged_by_its_worst_set_of_tasks():
    assert holds(certificate.STUDY, Certificate(), lambda cell: risk(cell, 0.4)) == [True] * 3
    worst = lambda cell: risk(cell, 0.6 if cell["seed"] == 1 else 0.4)
    assert holds(certificate.STUDY, Certificate(), worst) == [False, True, True]


def test_what_is_trained_on_is_the_loss_after_the_last_step():
    task, key, rule = certificate.family(), jr.key(0), Symbolic("0 * g")
    key_run, _ = jr.split(key)
    instance = begin(task, rule, key_run)
    right = task.loss(instance.instance, (), key)(instance.params)
    found = certificate.end(task)(rule, key)
    np.testing.assert_allclose(found, right, rtol=1e-6)


def test_an_untouched_posterior_pays_nothing():
    rule = Symbolic()
    q = certificate.narrow(around(rule, rule, apart=True))
    assert q.exact_divergence() == 0.0
    np.testing.assert_allclose(np.exp(q.log_prior), certificate.NARROW)


@pytest.mark.slow
def test_a_formula_has_a_bound_that_says_something():
    settings = CERTIFICATES["tiny"]
    cell = next(iter(certificate.cells(settings)))
    found = certificate.run(cell | {"arm": certificate.ARMS[1], "fit": 100, "pairs": 1000})
    assert found["weights"] == 3 and found["bound"] < 0.5 and found["divergence"] < 10


@pytest.mark.slow
@pytest.mark.parametrize("arm", tuning.ARMS)
def test_tuning_lowers_the_loss_and_harms_no_other_task(arm):
    settings = Tuning(seeds=1)
    cell = next(c for c in tuning.cells(settings) if c["arm"] == arm)
    result = tuning.run(cell)
    better, count = tuning.wins(result["losses"][tuning.TASK])
    assert count == 10 and better >= 8
    for name in tuning.OTHERS:
        assert tuning.ratio(result["losses"][name]) <= tuning.WORSE
