"""Inequalities about numbers of records: read from a file, and judged."""

import math
from pathlib import Path

import pytest

from steppe.store.untrusted import FileError
from steppe.studies.page import write_study_page
from steppe.studies.study import Conclusion, content, reproduced
from steppe.studies.suite import Expectation, Line, judge, missing, read_expectations, tally

BOTH = {"R2.swarm": 3.0, "R2.pso": 5.0}


def line(**changed) -> Expectation:
    given = {"suite": "R2", "claim": "It is low", "of": "R2.swarm", "at_most": 0.7}
    return Expectation(**{**given, **changed})


@pytest.mark.parametrize(
    ("changed", "holds", "because"),
    [
        ({"at_most": 3.0}, True, "3, at most 3"),
        ({"at_most": 2.9}, False, "3, at most 2.9"),
        ({"at_most": None, "at_least": 3.1}, False, "3, at least 3.1"),
        ({"at_least": 2.0, "at_most": 4.0}, True, "3, at least 2 and at most 4"),
        ({"at_least": 3.5, "at_most": 4.0}, False, "3, at least 3.5 and at most 4"),
        ({"times": "R2.pso"}, True, "3, at most 3.5 = 0.7 × 5"),
        ({"times": "R2.pso", "at_most": 0.5}, False, "3, at most 2.5 = 0.5 × 5"),
        ({"plus": "R2.pso", "at_most": -2.0}, True, "3, at most 3 = 5 − 2"),
        ({"plus": "R2.pso", "at_most": -2.5}, False, "3, at most 2.5 = 5 − 2.5"),
    ],
)
def test_a_bound_is_a_number_a_factor_or_a_difference(changed, holds, because):
    (verdict,) = judge([line(**changed)], BOTH)
    assert (verdict.holds, verdict.because) == (holds, because)
    assert (verdict.suite, verdict.protocol, verdict.expected) == ("R2", "corrected", True)


@pytest.mark.parametrize(
    ("value", "other", "below", "above"),
    [
        (math.nan, 1.0, False, False),
        (1.0, math.nan, False, False),
        (math.inf, 1.0, False, True),  # it diverged
        (1.0, math.inf, True, False),
        (math.inf, math.inf, False, False),
    ],
)
def test_what_is_not_finite_keeps_no_bound_but_to_have_diverged(value, other, below, above):
    lines = [line(times="R2.pso"), line(times="R2.pso", at_most=None, at_least=1.0)]
    found = judge(lines, {"R2.swarm": value, "R2.pso": other})
    assert [verdict.holds for verdict in found] == [below, above]


def test_what_was_not_measured_or_is_not_claimed_is_neither_reproduced_nor_not():
    lines = [
        line(at_most=4.0),
        line(times="R2.cma"),
        line(of="R2.dm", times="R2.cma"),
        Expectation(suite="S6", claim="Order", claimed=False, reason="An artefact"),
    ]  # fmt: skip
    found = judge(lines, {**BOTH, "R2.dm": None})
    assert [v.word for v in found] == ["reproduced", "not measured", "not measured", "not claimed"]
    assert found[2].because == "no R2.dm and no R2.cma in the records"
    assert tally(found) == (1, 1) and missing(lines, BOTH) == ["R2.cma", "R2.dm"]
    assert reproduced(found[3:]) == "not claimed     Order (An artefact)"
    assert content(Conclusion("", verdicts=found[:1]))["verdicts"] == [
        {"claim": "It is low", "holds": True, "because": "3, at most 4", "expected": True,
         "suite": "R2", "protocol": "corrected"}
    ]  # fmt: skip


def test_a_reason_is_told_where_it_does_not_hold_and_there_alone():
    missed, met = judge([line(reason="few steps", at_most=x) for x in (1.0, 9.0)], BOTH)
    assert reproduced([missed]).endswith("(3, at most 1; the reason: few steps)")
    assert met.reason == "" and tally([missed, met]) == (1, 2)


def test_a_page_counts_what_was_judged(tmp_path):
    found = judge([line(reason="few steps", at_most=x) for x in (1.0, 9.0)], BOTH)
    found += judge([line(of="R2.dm")], BOTH)
    page = write_study_page(tmp_path / "a.html", title="?", answer="!", verdicts=found).read_text()
    assert "Not reproduced: 1 of 2" in page and "; the reason: few steps" in page
    assert "Not claimed here, or not measured: 1" in page


FILE = """
[[expectation]]
suite = "M1"
protocol = "published"
claim = "Twin on seesaw is at 1e-2 or less after 50 iterations"
of = "M1.seesaw.twin.50"
at_most = 1e-2

[[expectation]]
suite = "S6"
claimed = false
claim = "Figure 5, panel (c)"
reason = "Its dictionary is not known."
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "expectations.toml"
    path.write_text(text)
    return path


def test_a_file_is_read_in_order(tmp_path):
    first, second = read_expectations(written(tmp_path, FILE))
    assert (first.protocol, first.at_most, first.at_least) == ("published", 0.01, None)
    assert not second.claimed and second.protocol == "corrected"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("at_most = 1e-2", "", "`of` and one of `at_most` and `at_least` are needed"),
        ("at_most = 1e-2", "at_most = nan", "NaN"),
        ("at_most = 1e-2", 'at_most = "small"', "'small'"),
        ("at_most = 1e-2", "most = 1e-2", "most"),
        ('"published"', '"wrong"', "corrected"),
        ('of = "M1', 'times = "a"\nplus = "b"\nof = "M1', "exclude each other"),
        ('reason = "Its dictionary is not known."', "", "has a `reason`"),
        ("claimed = false", "claimed = false\nat_most = 1", "neither `of` nor a bound"),
        ("[[expectation]]", "[expectation]", "TOML"),
        ("suite", "[[[", "TOML"),
        ("Twin", "a" * 5000, "a line of over 4000 bytes"),
        ("Twin", "\\u0007", "one line"),
        (FILE, "", "expectation"),
        (FILE, "[" * 2000, "1000 brackets"),
    ],
)
def test_a_file_that_is_none_gets_one_sentence(tmp_path, old, new, said):
    path = written(tmp_path, FILE.replace(old, new))
    with pytest.raises(FileError, match=r"expectations\.toml") as caught:
        read_expectations(path)
    text = str(caught.value)
    assert said in text and "\n" not in text and text.endswith("mend that line, or restore a copy.")


def test_no_file_and_a_huge_one_are_refused(tmp_path):
    with pytest.raises(FileError, match="no file"):
        read_expectations(tmp_path / "none.toml")
    with pytest.raises(FileError, match="at most 262144"):
        read_expectations(written(tmp_path, "#" * 300_000))


def test_a_line_of_a_figure_has_a_number_for_each_place_and_both_ends_of_a_band():
    for wrong in ({"middle": (1.0,)}, {"middle": (1.0, None), "low": (1.0, 1.0)}):
        with pytest.raises(ValueError, match="Adam"):
            Line("Adam", (1.0, 2.0), **wrong)
