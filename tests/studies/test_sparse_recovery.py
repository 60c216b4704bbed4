"""The study of sparse recovery: verdicts from made-up records, the page, a cell of each kind."""

import re

import pytest

from steppe.evaluation.engines import Row
from steppe.studies.sparse_recovery import sparse_recovery as study
from steppe.studies.sparse_recovery.expectations import EXPECTED, FULL, SMALL, Level, Margin
from steppe.studies.sparse_recovery.settings import PANELS, SCALES, SparseRecoverySizes

LAST = {"noiseless": SMALL, "noisy": SMALL, "correlated": SMALL, "large": FULL}


def record(panel: str, method: str, mean: float | None, seed: int = 0, **other) -> dict:
    error = {"vectors": 8, "mean_db": mean, "aggregate_db": mean, "success": 1.0, "nonfinite": 0}
    return {
        "panel": panel, "method": method, "seed": seed, "sizes": list(LAST[panel]),
        "errors": [{**error, "mean_db": 0.0}, error], "numbers": 3, "cost": 1e-6, "training": 2.0,
        **other,
    }  # fmt: skip


def as_rows(found: list[dict]) -> list[Row]:
    return [Row("", {}, table, None, None, 1, {}) for table in found]


def met(found: list[dict]) -> dict[str, bool]:
    return {verdict.claim: verdict.holds for verdict in study.verdicts(found)}


def test_levels_are_judged_on_the_mean_over_seeds():
    claim = "noiseless: ALISTA at most -32 dB, mean"
    assert met([record("noiseless", "ALISTA", -33), record("noiseless", "ALISTA", -32, 1)])[claim]
    assert not met([record("noiseless", "ALISTA", -40), record("noiseless", "ALISTA", -20, 1)])[
        claim
    ]
    assert not met([record("noiseless", "ALISTA", None), record("noiseless", "ALISTA", -90, 1)])[
        claim
    ]


def test_margins_are_judged_seed_by_seed():
    level = lambda method, *errors: [
        record("correlated", method, e, seed) for seed, e in enumerate(errors)
    ]
    claim = "correlated: ALISTA, TISTA, HyperLISTA at least 10 dB below LISTA, every seed"
    others = [*level("TISTA", -60, -60), *level("HyperLISTA", -60, -60), *level("LISTA", -9, -9)]
    assert met([*others, *level("ALISTA", -20, -20)])[claim]
    assert not met([*others, *level("ALISTA", -60, -18)])[claim]


def test_other_sizes_and_methods_that_were_not_run_are_not_judged():
    assert met([record("noiseless", "ALISTA", -90, sizes=[16, 32, 4])]) == {}
    assert len(met([record("noiseless", "ALISTA", -90)])) == 1  # no margin without its rival


def test_every_expectation_is_of_methods_that_its_panel_has():
    for expected in EXPECTED:
        named = (
            (*expected.better, expected.worse)
            if isinstance(expected, Margin)
            else (expected.method,)
        )
        assert set(named) <= set(study.OF_PANEL[expected.panel])
        assert expected.sizes == LAST[expected.panel]
        assert not isinstance(expected, Level) or expected.most < 0


def test_the_conclusion_tells_all_and_the_page_loads_nothing(tmp_path):
    certificate = {"statement": "At least 99 % are recovered.", "bound": 0.99, "n": 8}
    found = [
        record("noiseless", "ALISTA", -40),
        record("noiseless", "OMP", -290, errors=[record("noiseless", "OMP", -290)["errors"][1]]),
        record("large", "TISTA", None),
        record("large", "ALISTA", -70, certificate=certificate),
    ]
    said = study.conclude(SCALES["small"], as_rows(found))
    assert "reproduced      noiseless: ALISTA at most -32 dB, mean (-40.0 dB)" in said.text
    assert "not reproduced  large: TISTA at most -70 dB, mean (inf dB)" in said.text
    assert "Certificate of ALISTA" in said.text and "| ALISTA | 3 | -40.0 |" in said.text
    said.files["report.html"](tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 4 and "At least 99 % are recovered." in page
    assert "Not reproduced: 1 of 4" in page and not re.search(r'(src|href)="https?:', page)


def test_the_certificate_that_is_told_is_chosen_by_test_problems():
    best = {"statement": "few", "bound": 0.1}
    found = [
        record("large", "ALISTA", -70, certificate={"statement": "many", "bound": 0.9}),
        record("large", "TISTA", -90, certificate=best),
    ]
    found[0]["errors"][-1]["success"] = 0.5
    assert study.guarantee(found).endswith("few")


def test_cells_are_of_all_panels_and_the_named_methods():
    few = SparseRecoverySizes(methods=("ALISTA", "OMP"), seeds=2)
    cells = list(study.cells(few))
    assert {cell["panel"] for cell in cells} == set(PANELS)
    assert len(cells) == 4 * 2 * 2
    assert {cell["certified"] for cell in cells if cell["panel"] != "large"} == {0}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"panels": ("noisless",)}, "there is no 'noisless'"),
        ({"stages": (1, 2)}, "three numbers of meta-steps"),
        ({"large_stages": (1, 2, 0)}, "three numbers of meta-steps"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        SparseRecoverySizes(**wrong)


def cell(method: str, **changed) -> dict:
    return {
        "panel": "large", "method": method, "seed": 0, "sizes": [10, 16, 3], "stages": [2, 2, 2],
        "episodes": 64,
        "problems": 16, "certified": 0, **changed,
    }  # fmt: skip


def test_pursuit_and_a_tuned_solver_meet_problems_that_they_were_not_tuned_on():
    found = study.run(cell("OMP"))
    assert found["errors"][0]["success"] > 0.5 and found["problems_met"] == 16
    tuned = study.run(cell("AMP"))
    assert len(tuned["errors"]) == 4 and tuned["settings"]["threshold"] in study.methods.THRESHOLDS
    assert tuned["errors"][0]["aggregate_db"] == 0.0 and tuned["numbers"] == 1


@pytest.mark.slow
def test_a_trained_network_with_its_certificate():
    found = study.run(cell("ALISTA", sizes=[40, 96, 3], certified=200))
    assert found["numbers"] == 6 and len(found["errors"]) == 4
    assert 0 <= found["certificate"]["bound"] <= found["certificate"]["observed"] <= 1
