"""The page of the catalyst, from hand-made records."""

import dataclasses

import pytest

from steppe.prompt.alternation import Alternation, Paid, Way
from steppe.prompt.history import Best, Contender, Counts, History, Round, Used
from steppe.report.alternation import candidates, lowest, parts, shown, write_alternation_page

HOSTILE = (
    '"><script>alert(1)</script><svg onload=alert(2)>{{ 7 * 7 }}\u202e\x1b[31m$x_1$' + "z" * 900
)
NAME = HOSTILE[:200]


def contender(who, *losses, text=""):
    return Contender(who, text, losses)


ROUNDS = (
    Round(0, 4, ("a", HOSTILE, "?"), (("?", HOSTILE),), (
        contender("gradients", 3.0, 2.9, 2.8), contender("proposal", 5.0, 2.0, 1.0, text="a"),
        contender("proposal", None, 9.0, text=HOSTILE),
    ), "a"),
    Round(1, 8, ("b",), (), (
        contender("gradients", 2.7, 2.6), contender("current", 0.9, 0.8),
        contender("proposal", 4.0, 0.85, text="b"),
    )),
    Round(2, 12, error=HOSTILE),
)  # fmt: skip
HISTORY = History(
    best=Best(0.5, 14, "current", HOSTILE),
    alone=2.5,
    gradients=((0, 4.0), (4, 3.0), (6, 2.8), (8, 2.7), (9, 2.6), (12, 2.5)),
    current=((6, 1.0), (8, 0.9), (9, 0.8), (12, None), (14, 0.5)),
    rounds=ROUNDS,
    pool=(),
    counts=Counts(gradients=40, asked=3, failures=1, used=Used(3, 30, 20)),
    notes=(HOSTILE,),
)
FOUND = Alternation(
    problem=NAME, optimizer=NAME, proposer="llm", model=NAME, rounds=3, steps=4,
    probation=2, candidates=3, seed=0, gradients=40, catalyst=Way(history=HISTORY, test=0.7),
    alone=Way(history=dataclasses.replace(HISTORY, rounds=(), best=Best(2.4, 9, "gradients"))),
    restart=None, found={NAME: HOSTILE, "x": 0.125}, paid=Paid(calls=2, seconds=3.0, cost=0.25),
    seconds=1.0, environment={},
)  # fmt: skip


def test_whatever_a_model_writes_is_no_markup(tmp_path):
    page = write_alternation_page(tmp_path / "a.html", FOUND, command=HOSTILE).read_text()
    assert "<script" not in page and "onload=alert" not in page.replace("&lt;svg onload=alert", "")
    assert "\x1b" not in page and "\u202e" not in page
    assert "{{ 7 * 7 }}" in page and "z" * 401 not in page.split("Reproduce this")[0]
    assert "&lt;script&gt;" in page and page.count("<svg") == 3  # the land, and two figures
    assert "0.5" in page and "at a cost of 0.25" in page and "3 questions to" in page


def test_a_record_without_anything(tmp_path):
    none = History(Best(None, 0, "gradients"), None, ((0, None),), (), (), (), Counts(), ())
    bare = dataclasses.replace(
        FOUND, catalyst=Way(history=none), alone=None, proposer="random", gradients=None, found={}
    )
    page = write_alternation_page(tmp_path / "b.html", bare).read_text()
    assert "nothing finite" in page and "Nothing was proposed" in page
    assert "No model was asked" in page and page.count("<svg") == 2


def test_candidates_by_what_became_of_them():
    rows = candidates(ROUNDS[0])
    assert [row["fate"][:12] for row in rows] == ["adopted", "left out on ", 'not read: ">']
    assert [row["ours"] for row in rows] == [True, False, False]
    assert (rows[0]["start"], rows[0]["end"], rows[0]["lead"]) == ("5.00", "1.00", "2.80")
    assert [row["fate"] for row in candidates(ROUNDS[1])] == ["not below the others"]
    assert candidates(ROUNDS[2]) == []


def test_the_way_is_one_line_until_another_is_adopted():
    assert parts(HISTORY) == [list(HISTORY.current)]
    again = dataclasses.replace(
        HISTORY, current=((6, 1.0), (8, 0.9), (9, 0.8), (9, 0.7), (12, 0.6))
    )
    assert [len(part) for part in parts(again)] == [3, 2]
    back = dataclasses.replace(
        HISTORY,
        rounds=(ROUNDS[0], dataclasses.replace(ROUNDS[0], number=1, step=8)),
        current=((6, 1.0), (8, 3.0), (10, 1.5), (12, 1.4)),
    )
    assert [len(part) for part in parts(back)] == [2, 2]


def test_the_lowest_loss_so_far():
    assert lowest(HISTORY) == [
        (0, 4.0), (4, 3.0), (6, 2.8), (6, 1.0), (8, 1.0), (8, 0.9), (9, 0.9), (9, 0.8), (12, 0.8),
        (12, 0.8), (14, 0.5), (14, 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["\x00\u202e\u2066", "a" * 401, "é½→"])
def test_shown_texts_can_be_seen(text):
    assert shown(text).isprintable() and len(shown(text)) <= 401
    assert shown("é½→") == "é½→"
