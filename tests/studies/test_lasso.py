"""The study of LASSO: verdicts from made-up records, the page, a cell of each kind."""

import re

import numpy as np
import pytest

from steppe.evaluation.engines import Row
from steppe.studies.lasso import lasso as study
from steppe.studies.lasso.settings import SCALES, LassoSizes

MARKS = [0, 1, 4, 8, 10, 16, 50, 100, 400, 1000]


def record(method: str, R: dict[int, float], rows: int = 25, seed: int = 0, **other) -> dict:
    values = [R.get(k, 1.0) for k in MARKS]
    return {
        "method": method, "rows": rows, "seed": seed, "layers": 16, "at": MARKS, "R": values,
        "numbers": 3, "cost": 1e-6, "training": 2.0, **other,
    }  # fmt: skip


def met(found: list[dict]) -> dict[str, bool]:
    return {verdict.claim: verdict.holds for verdict in study.verdicts(found)}


def test_published_numbers_are_met_within_a_factor_on_both_sides():
    claim = "25 × 50: ISTA, 1/‖A‖_F² after 10 within 1.5 × of the published 43"
    for value, holds in ((43, True), (29, True), (28, False), (64, True), (65, False)):
        assert met([record("ISTA, 1/‖A‖_F²", {10: value})])[claim] is holds


def test_networks_are_judged_beside_fista_on_the_mean_over_matrices():
    fista = [record("FISTA", {16: 0.7, 50: 0.3, 100: 0.06, 400: 1e-3}, seed=s) for s in (0, 1)]
    ours = lambda R, seed: record("ALISTA", {16: R, 50: 0.09, 100: 0.03, 400: 3e-3}, seed=seed)
    found = met([*fista, ours(0.01, 0), ours(0.03, 1)])
    assert found["25 × 50: ALISTA after 16 layers"]
    assert found["25 × 50: ALISTA 7 × below FISTA after 16"]
    assert found["25 × 50: ALISTA, handed over, 3 × below FISTA after 50"]
    assert not found["25 × 50: ALISTA, handed over, 3 × below FISTA after 100"]
    assert found["25 × 50: ALISTA, handed over, within 4 × of FISTA after 400"]
    assert not met([*fista, ours(0.01, 0), ours(0.06, 1)])["25 × 50: ALISTA after 16 layers"]


def test_other_numbers_of_layers_and_methods_that_were_not_run_are_not_judged():
    assert met([record("ALISTA", {16: 0.01}, layers=4)]) == {}
    assert set(met([record("ALISTA", {16: 0.01})])) == {"25 × 50: ALISTA after 16 layers"}


def test_the_conclusion_tells_all_and_the_page_loads_nothing(tmp_path):
    found = [record("FISTA", {16: 0.7}, rows=5), record("ALISTA", {16: 0.02}, rows=5)]
    of_cell = lambda table: {"rows": table.pop("rows")}  # a result with rows has several records
    rows = [Row("", of_cell(table), table, None, None, 1, {}) for table in found]
    said = study.conclude(SCALES["small"], rows)
    assert "reproduced      5 × 10: ALISTA after 16 layers (R = 0.02, at most 0.03)" in said.text
    assert "| ALISTA | 3 | 1 | 1 | 0.02 |" in said.text
    said.files["report.html"](tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 3 and not re.search(r'(src|href)="https?:', page)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rows": (1,)}, "each at least 2"),
        ({"rows": (5, 5)}, "different numbers"),
        ({"stages": (1, 2)}, "three numbers of meta-steps"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        LassoSizes(**wrong)


def cell(method: str) -> dict:
    return {
        "method": method, "rows": 5, "seed": 0, "layers": 3, "stages": [2, 2, 2], "problems": 8,
        "steps": 20,
    }  # fmt: skip


def test_the_right_step_is_faster_than_the_published_one():
    right, published = (study.run(cell(name)) for name in ("ISTA", "ISTA, 1/‖A‖_F²"))
    assert right["at"] == [0, 1, 2, 4, 8, 10, 16] and right["proven"] < 1e-8
    assert right["R"][0] == published["R"][0] and right["R"][-1] < published["R"][-1]
    assert 0 <= right["low"][-1] < right["high"][-1] < right["high"][0]
    assert right["nonfinite"] == 0 and right["numbers"] == 0


def test_a_value_that_is_not_finite_is_the_largest_and_counted():
    values, least = np.array([[2.0, 1.5], [3.0, np.nan], [4.0, 2.0]]), np.array([1.0, 1.0, 2.0])
    found = study.band(values, least)  # the mean of the minima is 4/3
    assert found == {"low": [0.75, 0.0], "high": [1.5, None], "nonfinite": 1}


@pytest.mark.slow
@pytest.mark.parametrize("method", study.LEARNED)
def test_a_network_is_trained_by_the_objective(method):
    found = study.run(cell(method))
    assert found["numbers"] > 0 and found["R"][-1] < found["R"][1]
