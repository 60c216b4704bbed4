"""Steadiness of a run and likeness of two: against numbers worked out by hand."""

import json
import math
import statistics

import pytest

from steppe.cli.main import main
from steppe.runs.steadiness import gate, parting, spread, steady, tail


def log(values, column="meta_loss"):
    return [{"step": 10 * i, "time": 0.1 * i, column: x} for i, x in enumerate(values, 1)]


EARLY = [9.0] * 12  # three quarters of sixteen rows
ROWS = log([*EARLY, 2.0, 2.2, 1.8, 2.0])


def test_the_sd_is_that_of_the_last_quarter_over_its_mean():
    found = tail(ROWS)
    assert (found.mean, found.rows) == (pytest.approx(2.0), 4)
    assert found.sd == pytest.approx(statistics.stdev([2.0, 2.2, 1.8, 2.0]) / 2)
    assert tail(log([-x for x in (*EARLY, 2.0, 2.2, 1.8, 2.0)])).sd == pytest.approx(found.sd)


def test_a_difference_of_logarithms_is_relative_already():
    """ln a, with a about 1: the mean is near 0, the sd is that of a."""
    shifted = log([*EARLY, 0.0, 0.2, -0.2, 0.0])
    assert tail(shifted, logarithmic=True).sd == pytest.approx(0.16330, rel=1e-4)
    assert tail(shifted).sd > 1e6
    again = log([*EARLY, 0.1, 0.3, -0.1, 0.1])
    assert spread(shifted, again, logarithmic=True) == pytest.approx(0.1)


@pytest.mark.parametrize("rows", [[], log([1.0] * 9), log([*EARLY, 2.0, math.nan, 2.0, 2.0])])
def test_of_few_rows_or_broken_ones_nothing_is_said(rows):
    assert math.isnan(tail(rows).sd)
    finding = steady(rows)
    assert finding.ok and "not to be said" in finding.evidence
    [judged] = gate(rows)
    assert not judged.ok  # what is not known to be steady does not pass


def test_the_gate_is_at_a_tenth_and_a_twentieth():
    about = lambda sd: log([*EARLY, 1 - sd, 1 + sd, 1 - sd, 1 + sd])  # stdev 2/√3 sd
    assert gate(about(0.08))[0].ok and not gate(about(0.09))[0].ok
    assert all(finding.fix for rows in (about(0.09),) for finding in gate(rows))
    other = log([*EARLY, *[2.05] * 4])
    _, alike = gate(ROWS, other)
    assert alike.ok and alike.numbers["spread"] == pytest.approx(0.05 / 2.025)
    _, apart = gate(ROWS, log([*EARLY, *[2.2] * 4]))
    assert not apart.ok and apart.numbers["parts_at"] == 130


def test_runs_part_at_the_first_row_that_differs_times_apart():
    later = [row | {"time": 99.0, "inner_steps_per_s": 1.0} for row in ROWS]
    assert parting(ROWS, later) is None
    assert parting(ROWS, later[:-2]) == parting(later[:-2], ROWS) == 150
    changed = [*later[:3], later[3] | {"meta_loss": 9.0 + 5e-16}, *later[4:]]
    assert parting(ROWS, changed) is None  # equal as floats
    changed[3] = later[3] | {"meta_loss": math.nextafter(9.0, 10)}
    assert parting(ROWS, changed) == 40
    broken = [row | {"meta_loss": math.nan} for row in ROWS]
    assert parting(broken, list(broken)) is None


def test_validations_can_be_judged_alike():
    assert tail(log([*EARLY, 1.0, 1.0, 1.0, 1.0], "valid_loss"), column="valid_loss").sd == 0


def test_the_doctor_compares_two_runs(tmp_path, capsys):
    for name, rows in (("a", ROWS), ("b", ROWS), ("empty", [])):
        (tmp_path / name).mkdir()
        extra = {"grad_norm": 1.0, "nonfinite": 0, "episodes": 4, "resets": 0}
        lines = [json.dumps(row | extra) + "\n" for row in rows]
        (tmp_path / name / "metrics.jsonl").write_text("".join(lines))
    doctor = lambda *words: main(["doctor", *map(str, words)])
    doctor(tmp_path / "a", "--rerun", tmp_path / "b", "--json")
    found = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert found["gate: steadiness"]["ok"] and found["gate: rerun"]["ok"]
    assert "equal to the last digit" in found["gate: rerun"]["evidence"]
    assert doctor(tmp_path / "a", "--rerun", tmp_path / "empty") == 2
    assert "another run of the same recipe" in capsys.readouterr().err
    assert doctor("--rerun", tmp_path / "b") == 2
