"""The benchmark: its suites put together from made-up records, the figures, the page.

python tests/studies/test_open_l2o.py    writes the part of its README that is from the record
"""

import dataclasses
import re
from importlib import import_module
from pathlib import Path

import pytest

from steppe.cli.main import main
from steppe.evaluation.engines import Row, cell_id
from steppe.studies.expectations import missing, read_expectations
from steppe.studies.lasso import suite as lasso
from steppe.studies.open_l2o import figures, open_l2o, outcome, settings
from steppe.studies.open_l2o.page import TITLES
from steppe.studies.open_l2o.settings import MODULES, SCALES, SUITES, OpenL2O, letters_of
from steppe.studies.sparse_recovery import suite as sparse
from steppe.studies.study import Verdict, conclude, content
from steppe.studies.suite import Cost, Line, Panel, Suite
from tests.studies.marked import parts, write

FOLDER = Path(settings.__file__).parent.parent
README, RECORD = (FOLDER / "open_l2o" / name for name in ("README.md", "open_l2o.jsonl"))
MARKS = [0, 1, 16, 100, 1000]


def row(cell: dict, **result) -> Row:
    where = {"date": "2026-01-01", "processor": "abacus", "cores": 2, "versions": {"jax": "1"}}
    return Row("", cell, result, None, 60.0, 1, where)


def sparse_row(panel: str, method: str, mean: float | None, sizes=(64, 128, 10), **more) -> Row:
    error = {"vectors": 8, "mean_db": mean, "aggregate_db": mean, "success": 0.5, "nonfinite": 0}
    cell = {"panel": panel, "method": method, "seed": 0, "sizes": list(sizes)}
    errors = [{**error, "mean_db": 0.0, **more}, {**error, **more}]
    result = {"errors": errors, "numbers": 3, "cost": 1e-6, "training": 2.0}
    return row({"suite": sparse.letter(cell), **cell}, **result)


def lasso_row(method: str, R: list[float | None], rows: int = 25, seed: int = 0, **more) -> Row:
    cell = {"suite": "L1", "method": method, "seed": seed, "layers": 16}
    one = {"rows": rows, "at": MARKS, "R": R, "numbers": 3, "cost": 1e-6, "training": 2.0, **more}
    return row(cell, rows=[one])


MADE_UP = [
    sparse_row("noiseless", "ALISTA", -40.0, low_db=-50.0, high_db=-30.0),
    sparse_row("noiseless", "OMP", -290.0),
    sparse_row("large-noisy", "ALISTA", -19.0, (256, 512, 16)),
    sparse_row("noiseless", "LISTA", -36.0, (256, 512, 16)),
    lasso_row("FISTA", [100, 30, 0.7, 0.04, 1e-6]),
    lasso_row("FISTA, 1/‖A‖_F²", [100, 300, 5, 0.5, 1e-4], low=[1] * 5, high=[300] * 5),
    lasso_row("GD", [100, 50, 9, 1, None]),
]


def test_there_is_one_table_of_suites_and_all_of_it_can_be_asked():
    assert set(settings.LONGEST_FIRST) == set(MODULES) == set(TITLES) & set(MODULES)
    for module in MODULES:
        suite = import_module(f"steppe.studies.{module}.suite").SUITE
        assert isinstance(suite, Suite) and set(suite.scales) == {"tiny", "small", "paper"}
        assert set(suite.letters) == {k for k, about in SUITES.items() if about.module == module}
        assert suite.quantities([]) == {} and suite.panels([]) == [] and suite.costs([]) == []
        said = suite.study.conclude(suite.scales["tiny"], []).verdicts
        assert {v.suite for v in said} <= set(suite.letters)
        assert {v.word for v in said} <= {"not measured", "not claimed"} and len(said) > 3
        assert all(v.protocol in outcome.PROTOCOLS for v in said)


def test_expectations_are_of_suites_that_their_study_has():
    for module in MODULES:
        letters = {letter for letter, about in SUITES.items() if about.module == module}
        path = FOLDER / module / "expectations.toml"
        expected = read_expectations(path)
        assert {e.suite for e in expected} <= letters
        claims = [(e.suite, e.claim) for e in expected]
        assert len(set(claims)) == len(claims)


@pytest.mark.parametrize(
    ("names", "letters"),
    [
        (["L1"], ("L1",)), (["L1", "S3", "S3"], ("S3", "L1")),
        (["S", "S1"], ("S1", "S2", "S3", "S4", "S5", "S6")),
    ],
)  # fmt: skip
def test_suites_are_named_by_letter_and_number_or_letter(names, letters):
    assert letters_of(names) == letters


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="there is no 'S9'"):
        OpenL2O(suites=("S9",))
    with pytest.raises(ValueError, match=r"none of the suites S1, S2 takes one; add one of .*L1"):
        list(open_l2o.cells(OpenL2O(suites=("S1", "S2"), optimizers=("rnnprop-v1",))))


def test_cells_are_of_the_suites_that_were_asked_for_and_know_them():
    asked = dataclasses.replace(SCALES["small"], suites=("S4", "L1"))
    found = list(open_l2o.cells(asked))
    assert {cell["suite"] for cell in found} == {"S4", "L1"}
    assert {cell["panel"] for cell in found if cell["suite"] == "S4"} == {"large-noisy"}
    more = list(open_l2o.cells(dataclasses.replace(asked, optimizers=("dm-v1", "rnnprop-v1"))))
    added = [cell for cell in more if cell not in found]
    assert {(cell["suite"], cell["method"]) for cell in added} == {("L1", "dm-v1")}
    assert all(len(cell["digest"]) == 16 for cell in added)
    assert {cell["suite"] for cell in open_l2o.cells(SCALES["paper"])} == set(SUITES)
    rugged = OpenL2O(suites=("R1", "N1", "J1"), optimizers=("rnnprop-v1",))
    added = [cell for cell in open_l2o.cells(rugged) if "digest" in cell]
    assert [(cell["suite"], cell["methods"]) for cell in added] == [
        ("R1", ["rnnprop-v1"]), ("N1", ["rnnprop-v1"]),
    ]  # fmt: skip


def test_a_cell_is_done_by_the_work_of_its_suite():
    cell = {"suite": "S3", "panel": "large", "method": "OMP", "seed": 0, "sizes": [10, 16, 3],
            "stages": [2, 2, 2], "episodes": 4, "problems": 4, "certified": 0}  # fmt: skip
    assert open_l2o.run(cell)["problems_met"] == 4


def test_numbers_are_named_by_suite_panel_method_and_mark_where_sizes_are_the_expected():
    found = sparse.quantities(MADE_UP[:4])
    assert found["S1.noiseless.ALISTA.mean"] == -40 and found["S6.noiseless.LISTA.mean"] == -36
    assert found["S4.large-noisy.ALISTA.recovered"] == 0.5
    assert sparse.quantities([sparse_row("noiseless", "ALISTA", -9.0, (16, 32, 4))]) == {}
    diverged = sparse.quantities([sparse_row("correlated", "AMP", None)])
    assert diverged["S5.correlated.AMP.mean"] == float("inf")
    numbers = lasso.quantities(MADE_UP[4:])
    assert numbers["L1.25.fista-published.16"] == 5 and numbers["L1.25.gd.1000"] == float("inf")


def test_every_number_that_sparse_recovery_and_lasso_expect_has_a_name_that_they_give():
    small = {panel: sparse.SIZES[letter] for panel, letter in sparse.LETTER.items()}
    published = {k: size for k, size in sparse.PUBLISHED.items() if k != "correlated"}
    rows = [
        sparse_row(panel, method, -1.0, size)
        for sizes in (small, published)
        for panel, size in sizes.items()
        for method in sparse.study.OF_PANEL["noiseless"]
    ]
    known = [*sparse.quantities(rows)]
    assert missing(read_expectations(FOLDER / "sparse_recovery/expectations.toml"), known) == []
    marks = [0, *lasso.study.MARKS]
    rows = [
        lasso_row(method, [1.0] * len(marks), size, at=marks)
        for method in (*lasso.NAMES, "rnnprop-v1")
        for size in (5, 25)
    ]
    known = [*lasso.quantities(rows)]
    assert missing(read_expectations(FOLDER / "lasso/expectations.toml"), known) == []


def test_what_came_out_is_counted_by_suite_and_protocol():
    said = [
        Verdict("a", True, "1", suite="S1", protocol="published"),
        Verdict("b", False, "2", suite="S1", protocol="corrected", reason="few steps"),
        Verdict("c", True, "3", suite="L1", protocol="corrected"),
        Verdict("d", False, "4", suite="L1", protocol="corrected", unjudged="not measured"),
        Verdict("e", False, "5", suite="L1", protocol="published", unjudged="not claimed"),
    ]
    assert outcome.summary(said).startswith("2 of 3 claimed expectations reproduce (67 %). 1 more")
    assert [[cell for cell in line if cell != line[1]] for line in outcome.count_rows(said)] == [
        ["S1", "1 of 1", "0 of 1", "–", "–"], ["L1", "–", "1 of 1", "1", "1"],
    ]  # fmt: skip
    cost = Cost(suite="L1", method="GD", kind="by hand", parameters=1200, gradients=1.0)
    text = outcome.text(said, [cost])
    assert "| L1 | GD | by hand | 1,200 | – | 1 | – | 0 | – |" in text
    assert "not reproduced  b (2; the reason: few steps)" in text


def test_the_conclusion_and_the_page_tell_all_and_load_nothing(tmp_path):
    said = open_l2o.conclude(SCALES["small"], MADE_UP)
    words = {v.claim: v.word for v in said.verdicts}
    assert words["noiseless: ALISTA at most -32 dB, mean"] == "reproduced"
    assert words["ALISTA within 0.7 dB of the published −20.1"] == "not reproduced"
    assert words["25 × 50: tuned GD above FISTA, 1/L after 1000 by 10 ×"] == "reproduced"
    assert words["25 × 50: RNNProp below tuned Adam after 1000"] == "not measured"
    assert {v.word for v in said.verdicts} == {"reproduced", "not reproduced", "not measured", "not claimed"}  # noqa: E501  # fmt: skip
    assert content(said)["quantities"]["L1.25.gd.1000"] == "inf"
    said.files["report.html"](tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    held, judged = outcome.tally(said.verdicts)
    assert f"<strong>{held} of {judged}</strong> claimed expectations" in page
    assert page.count("<figure") == 4 and not re.search(r'(src|href)="https?:', page)
    assert "Figure 6: 25 × 50" in page and "abacus, 2 cores" in page
    assert "steppe reproduce open-l2o --scale small" in page
    part = dataclasses.replace(SCALES["tiny"], suites=("L",), optimizers=("a.safetensors",))
    assert open_l2o.page.command(part).endswith("tiny --suites L1 --optimizers a.safetensors")


def test_a_suite_whose_records_cannot_be_used_leaves_the_others_as_they_are(tmp_path):
    part = dataclasses.replace(SCALES["small"], suites=("S1", "L1"))
    broken = row({"suite": "L1", "method": "FISTA", "layers": 16}, at=MARKS, rows=[{"rows": 5}])
    said = open_l2o.conclude(part, [*MADE_UP[:1], broken])
    assert said.text.startswith("LASSO: the records are not complete, or of other work (KeyError")
    words = {v.claim: v.word for v in said.verdicts}
    assert words["noiseless: ALISTA at most -32 dB, mean"] == "reproduced"
    assert {v.word for v in said.verdicts if v.suite == "L1"} == {"not measured", "not claimed"}
    said.files["report.html"](tmp_path / "a.html")
    assert "LASSO: the records are not complete" in (tmp_path / "a.html").read_text()


def test_records_of_the_scale_tiny_decide_nothing():
    part = dataclasses.replace(SCALES["tiny"], suites=("L1",))
    cells = [cell for cell in open_l2o.cells(part) if cell["method"] in ("FISTA", "dm-v1")]
    one = {"at": MARKS, "R": [9.0, 9, 9, 9, 9], "numbers": 0, "cost": 1e-6, "training": 0.0}
    rows = [dataclasses.replace(lasso_row("FISTA", []), cell=c, result=dict(one)) for c in cells]
    assert open_l2o.that_decide(lasso.SUITE, rows) == []
    assert open_l2o.that_decide(lasso.SUITE, [*rows, *MADE_UP[4:]]) == MADE_UP[4:]
    said = open_l2o.conclude(part, rows)
    assert {v.word for v in said.verdicts} == {"not measured", "not claimed"}
    assert "| L1 | FISTA (5 × 10) |" in said.text
    ids = lambda scale: {cell_id(c) for c in open_l2o.cells(SCALES[scale]) if "digest" not in c}
    assert not ids("tiny") & (ids("small") | ids("paper"))


def test_records_of_other_work_are_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"lr": 0.5}\n')
    with pytest.raises(ValueError, match="no record is of a suite"):
        conclude(open_l2o.STUDY, SCALES["tiny"], tmp_path / "rows.jsonl")


def test_reasons_are_of_claims_that_there_are_and_told_where_they_do_not_hold():
    claims = {v.claim: v for v in lasso.verdicts([])}
    assert set(lasso.REASONS) <= set(claims) and all(v.reason == "" for v in claims.values())
    rows = [lasso_row("LISTA", [9, 9, R, 9, 9], 5, seed=0) for R in (0.03, 0.05)]
    met, missed = (next(v for v in lasso.verdicts([r]) if "after 16 layers" in v.claim and not v.unjudged) for r in rows)  # noqa: E501  # fmt: skip
    assert met.holds and not met.reason and not missed.holds and "meta-steps" in missed.reason


def line(name: str, *middle: float | None, **more) -> Line:
    return Line(name, tuple(float(k) for k in range(len(middle))), middle, **more)


def test_a_figure_ends_a_little_above_where_lines_begin():
    plain = Panel("S1", "a", "x", "y", (line("a", 0.0, -50.0), line("b", 0.0, 120.0)))
    low, high = figures.limits(plain, plain.lines)
    assert low == -52.5 and high == 15.0
    log = Panel("L1", "a", "x", "y", (line("a", 100.0, 1e-4), line("b", 10.0, None)), log_y=True)
    low, high = figures.limits(log, log.lines)
    assert 1e-5 < low < 1e-4 and 100 < high < 1000
    rising = Panel("M1", "a", "x", "y", (line("a", 1.0, 5.0),))
    assert figures.limits(rising, rising.lines)[1] > 2
    assert figures.limits(log, [line("a", None, 0.0, -1.0)]) == (0.1, 1.0)


def test_a_figure_names_its_lines_and_those_for_which_there_is_no_room():
    names = [f"m{i}" for i in range(14)]
    lines = tuple(line(name, 1.0, 0.5, low=(0.9, 0.4), high=(1.1, None)) for name in names)
    panel = Panel("L1", "many", "x", "y", (*lines, line("none", None, None)), True, True)
    found = figures.drawn(panel)
    assert [mark.name for mark in found.legend] == names[:12] and found.left_out == names[12:]
    assert [mark.dotted for mark in found.legend].count(True) == 6 and "<svg" in found.svg
    few = Panel("L1", "few", "x", "y", lines[3:5])
    style = figures.style_of([Panel("L1", "", "x", "y", lines[:5]), few])
    assert [mark.colour for mark in figures.drawn(few, style).legend] == [3, 4]


def test_the_line_says_what_it_runs(capsys):
    assert main(["reproduce", "open-l2o", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--suites" in said and "--optimizers" in said and "S1, S2, S3" in said
    assert main(["reproduce", "open-l2o", "--suites", "X"]) == 2
    assert "there is no 'X'" in capsys.readouterr().err
    assert main(["reproduce", "open-l2o", "--suites", "L", "--optimizers", "none.safetensors"]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def from_record() -> str:
    """The part of README that the record says, in Markdown; lists and costs are folded."""
    if not RECORD.exists():
        return "There is no record yet."
    summary, counts, about, costs, *suites = conclude(
        open_l2o.STUDY, SCALES["small"], RECORD
    ).text.split("\n\n")
    fold = lambda words, text: f"<details><summary>{words}</summary>\n\n{text}\n\n</details>"
    lines = (part.partition("\n") for part in suites)
    told = [fold(head, f"```\n{rest}\n```") for head, _, rest in lines]
    return "\n\n".join([summary, counts, *told, fold(about.rstrip(":"), costs)])


def test_readme_is_what_the_record_says():
    assert parts(README)[1] == from_record(), "write it anew: python tests/studies/test_open_l2o.py"


if __name__ == "__main__":
    write(README, from_record())
