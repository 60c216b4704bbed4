"""The page of a search for a solver, from its record alone."""

import dataclasses
import re

import numpy as np
import pytest

from steppe.report.solver import ranked, write_solver_page
from steppe.solvers.record import Record, Row, judged
from steppe.solvers.verdict import duration, short, verdict


def row(name, kind, rate, **more):
    errors = 10.0 ** (-rate * np.arange(61) + np.linspace(0, 1, 5)[:, None])
    return dataclasses.replace(
        judged(errors, (1e-3, 1e-6), Row(name=name, about=f"about {name}", kind=kind)), **more
    )


FISTA = row("FISTA", "by hand", 0.2, batch=(1e-3, 2e-3), alone=(3e-3, 6e-3), step_batch=4e-5)
NET = row("<net>", "learned", 0.4, batch=(2e-4, 5e-4), alone=(9e-3, 2e-2), step_batch=2e-5)
BROKEN = Row(name="broken", about="", kind="learned", fault="ValueError: it & that failed")
SLOW = row("ISTA", "by hand", 0.05)
RECORD = Record(
    family="sparse-recovery, n 8",
    goal="objective",
    error="gap",
    tolerances=(1e-3, 1e-6),
    by="batch",
    steps=60,
    problems=5,
    width=4,
    rows=(SLOW, FISTA, NET, BROKEN),
    winner="<net>",
    budget=60.0,
    seconds=61.0,
    seed=0,
    notes=("One thing.",),
    environment={},
)


def test_the_page_begins_with_the_verdict_and_loads_nothing(tmp_path):
    page = write_solver_page(tmp_path / "a.html", RECORD, command="steppe learn x").read_text()
    body = page[page.index("<main>") :]
    assert body.index("Take &lt;net&gt;: 500 µs a problem in batches") < body.index("<table")
    assert "ValueError: it &amp; that failed" in page and "One thing." in page
    assert "<net>" not in page and "steppe learn x" in page
    assert not re.search(r"(src|href)=[\"']http", page)
    assert page.count("<svg") == 3  # the land, by iteration, by wall-clock
    assert "to 1e-6" in page and "5 ms" not in page and "20 ms" in page


def test_nothing_timed_no_columns_of_time(tmp_path):
    rows = tuple(dataclasses.replace(r, batch=(), alone=(), step_batch=None) for r in (FISTA, NET))
    record = dataclasses.replace(RECORD, rows=rows, by="iterations")
    page = write_solver_page(tmp_path / "a.html", record).read_text()
    assert "in batches" not in page and page.count("<svg") == 2 and "by wall-clock" not in page


def test_the_winner_first_what_was_left_out_last():
    assert [r.name for r in ranked(RECORD)] == ["<net>", "FISTA", "ISTA", "broken"]


VERDICTS = {
    "learned": (
        RECORD,
        "Take <net>: 500 µs a problem in batches to a relative gap of 1e-6; the best solver made "
        "by hand, FISTA, takes 2 ms, 4 times as long (16.6 iterations against 32.8).",
    ),
    "by hand": (
        dataclasses.replace(RECORD, winner="FISTA", by="alone"),
        "Take FISTA: 6 ms a problem one at a time to a relative gap of 1e-6; the best learned "
        "solver, <net>, takes 20 ms, 3.33 times as long (32.8 iterations against 16.6).",
    ),
    "alone": (
        dataclasses.replace(RECORD, winner="FISTA", rows=(FISTA, BROKEN)),
        "Take FISTA: 2 ms a problem in batches to a relative gap of 1e-6; no learned solver could "
        "be judged.",
    ),
    "not all": (
        dataclasses.replace(RECORD, winner="ISTA", rows=(SLOW,), by="iterations"),
        "Take ISTA: a relative gap of 1e-6 on 0 % of 5 problems; no learned solver could be "
        "judged.",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_in_one_sentence(name):
    record, said = VERDICTS[name]
    assert verdict(record) == said


def test_numbers_in_few_signs():
    assert [duration(x) for x in (2.0, 1e-3, 1.5e-6, 0.0)] == ["2 s", "1 ms", "1.5 µs", "0 µs"]
    assert [short(x) for x in (1e-3, 1e-6, 1e-12, -40.0)] == ["0.001", "1e-6", "1e-12", "−40"]
