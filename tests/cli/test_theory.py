"""`steppe theory`: what it prints, and that a failed check is an exit code."""

import json

import jax
import pytest

from steppe.studies.theory import bounds, table
from steppe.studies.theory.row import at_most, equal

GOOD = [
    equal("E1.1", "one is one", 1.0, 1.0, relative=1e-9),
    at_most("E1.2", "one is at most two", 1.0, 2.0),
]
BAD = equal("E2.1", "[bold]one[/bold] is two", 1.0, 2.0, relative=1e-9)


@pytest.fixture
def found(monkeypatch):
    """Say which parts the table shall have; the keys that it was asked with."""
    keys = []

    def give(*parts):
        monkeypatch.setattr(table, "parts", lambda key: keys.append(key) or iter(parts))
        return keys

    return give


def test_a_part_of_the_real_table_holds(steppe, monkeypatch):
    monkeypatch.setattr(table, "PARTS", (bounds,))
    answer = steppe("theory")
    assert answer.code == 0 and answer.err == ""
    lines = answer.out.splitlines()
    assert lines[-1] == "13 of 13 hold"
    assert bounds.TITLE in lines[0]
    assert max(map(len, lines)) <= 100
    for i in range(1, 14):  # each on one line, unbroken
        assert sum(line.startswith(f"E4.{i} ") for line in lines) == 1


def test_all_good_is_code_0_and_quiet_says_nothing(steppe, found):
    found(("first", GOOD))
    answer = steppe("theory")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "2 of 2 hold")
    assert "FAIL" not in answer.out
    assert steppe("theory", "--quiet") == (0, "", "")


def test_a_failed_check_is_code_1_and_is_shown_even_if_quiet(steppe, found):
    found(("first", GOOD), ("second", [BAD]))
    answer = steppe("theory")
    assert (answer.code, answer.out.splitlines()[-1]) == (1, "2 of 3 hold")
    [line] = [line for line in answer.out.splitlines() if "FAIL" in line]
    assert " ".join(line.split()) == "E2.1 [bold]one[/bold] is two 1 = 2 5e-01 1e-09 FAIL"
    quiet = steppe("theory", "--quiet")
    assert quiet.code == 1
    assert "E2.1" in quiet.out and "E1" not in quiet.out and "hold" not in quiet.out


def test_json_is_one_document_with_null_for_nan(steppe, found):
    lost = equal("E2.2", "not a number", float("nan"), 1.0, relative=1.0)
    found(("first", GOOD), ("second", [lost]))
    answer = steppe("theory", "--json", "--quiet")
    document = json.loads(answer.out)
    assert answer.code == 1 and document["holds"] is False
    assert [row["name"] for row in document["rows"]] == ["E1.1", "E1.2", "E2.2"]
    assert document["rows"][1] == GOOD[1]._asdict()
    assert document["rows"][2]["computed"] is None


def test_the_seed_is_that_of_the_line(steppe, found):
    keys = found(("first", GOOD))
    steppe("theory"), steppe("theory", "--seed", 7)
    assert keys == [jax.random.key(0), jax.random.key(7)]
    assert "--seed must be from 0" in steppe("theory", "--seed", -1).sentence
