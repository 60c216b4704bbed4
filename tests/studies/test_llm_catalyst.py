"""The study of the catalyst: what is concluded from made-up records, and runs that are replayed."""

import json
import math
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prompt.server import good, send, serving
from tasks.text import tiny
from tasks.text.tiny import write

from steppe.evaluation.engines import Row
from steppe.studies.llm_catalyst import llm_catalyst as study
from steppe.studies.llm_catalyst import problems, summary
from steppe.studies.llm_catalyst.made import problem
from steppe.studies.llm_catalyst.settings import ANSWERS, ASKED, FIRST, SCALES, Catalysed
from steppe.studies.study import read

RECORD = Path(study.__file__).with_name("llm_catalyst.jsonl")
SIZES = {"problem": "numbers", "seed": FIRST, "rounds": 2, "candidates": 3, "factor": 1}
USED = {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0, "estimated": False}


def made(arm: str, loss: float, seed: int = 0, **other) -> dict:
    """A record of a run with one question, by which gradients alone come to 5."""
    marks = [[0, 9.0, 9.0], [4, min(loss, 6.0), 6.0], [12, min(loss, 5.0), 5.0]]
    return {
        "problem": "numbers", "seed": seed, "arm": arm, "loss": loss, "alone": 5.0, "test": None,
        "gradients": 12, "budget": 12, "marks": [] if arm == "alone" else marks,
        "looks": [[0, 9.0], [4, 6.0], [8, 5.0]], "texts": 3, "unreadable": 1, "adopted": 1,
        "said": [[["x = 1", 8.0, loss, True], ["?", None, None, False]]], "used": USED, **other,
    }  # fmt: skip


def rows_of(records: list[dict]) -> list[Row]:
    cell = lambda r: {k: r[k] for k in ("problem", "seed", "model") if k in r}
    return [Row(str(k), cell(r), r, None, 1.0, 1, {}) for k, r in enumerate(records)]


def known(records: list[dict]) -> dict[str, float]:
    return summary.quantities(summary.records_of(rows_of(records)))


def five(arm: str, losses, **other) -> list[dict]:
    return [made(arm, loss, seed, **other) for seed, loss in enumerate(losses)]


CHANCE = five("random", (3.0, 4.0, 3.0, 4.0, 3.0))


def test_a_gain_is_an_interval_below_chance_seed_by_seed():
    llm = five("llm", (2.1, 3.0, 1.9, 3.0, 2.0))  # minus chance: −0.9, −1, −1.1, −1, −1
    found = known([*CHANCE, *llm])
    half = 2.7764451 * (0.02 / 4) ** 0.5 / 5**0.5  # t₀.₉₇₅(4)
    assert found["numbers.llm.mean"] == pytest.approx(-1)
    assert found["numbers.llm.high"] == pytest.approx(-1 + half, abs=1e-6)
    said = summary.answers(summary.records_of(rows_of([*CHANCE, *llm])))
    assert said == ["SmolLM2-135M, beside chance: helps more on numbers (-1 [-1.09, -0.912])."]
    verdicts = {v.claim: v for v in conclude([*CHANCE, *llm]).verdicts}
    claim = "numbers: SmolLM2-135M does not help more than chance"
    assert not verdicts[claim].holds
    level = five("llm", (2.0, 5.0, 2.5, 4.5, 3.0))
    assert {v.claim: v for v in conclude([*CHANCE, *level]).verdicts}[claim].holds
    assert "no difference on numbers" in conclude([*CHANCE, *level]).text


def test_fewer_than_five_seeds_say_nothing():
    few = [*CHANCE[:4], *five("llm", (0.0, 0.1, 0.0, 0.1))]
    assert not [name for name in known(few) if "llm" in name]
    found = summary.records_of(rows_of(few))
    assert summary.answers(found) == [] and "Too few seeds" in summary.lead(found)


def test_another_model_is_not_taken_for_ours():
    other = five("llm", (0.0,) * 5, model="large-9b")
    found = summary.records_of(rows_of([*CHANCE, *other]))
    assert "numbers.llm.low" not in summary.quantities(found)
    assert summary.lead(found) == "Large-9b (llm) helped more than chance on numbers (1 tried)."


def test_what_is_promised_is_checked_in_every_run():
    assert "Of 5 runs with proposals, 0 were" in summary.promised(
        summary.records_of(rows_of(CHANCE))
    )
    assert {name: known(CHANCE)[f"numbers.{name}"] for name in ("worse", "moved", "unequal")} == {
        "worse": 0, "moved": 0, "unequal": 0,
    }  # fmt: skip
    worse = made("bad", 5.5)  # at the end
    early = made("bad", 5.0, 1, marks=[[0, 9.0, 9.0], [4, 6.1, 6.0], [12, 5.0, 5.0]])
    assert known([worse, early])["numbers.worse"] == 2
    assert known([made("bad", 5.0, gradients=11)])["numbers.unequal"] == 1
    without = made("alone", 4.0, looks=[[0, 9.0], [4, 6.0], [12, 4.0]])
    assert known([without, made("bad", 5.0)])["numbers.moved"] == 0
    other = made("bad", 5.0, looks=[[0, 9.0], [4, math.nextafter(6.0, 7.0)]])
    assert known([without, other])["numbers.moved"] == 1


def conclude(records: list[dict]):
    return study.conclude(SCALES["small"], rows_of(records))


def test_the_conclusion_tells_all_and_the_page_loads_nothing(tmp_path):
    alone = five("alone", (5.0,) * 5, looks=[[0, 9.0], [4, 6.0], [8, None], [12, 5.0]])
    used = USED | {"calls": 2, "prompt_tokens": 300, "completion_tokens": 90}
    said = conclude([*alone, *CHANCE, *five("llm", (3.0,) * 5, used=used)])
    assert "| SmolLM2-135M | 5 | 3 | -0.4 [-1.08, +0.28] | no difference |" in said.text
    said.files["report.html"](tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("</figure>") == 1 and not re.search(r'(src|href)="https?:', page)
    for words in ("helped more than chance on no problem", "x = 1", "1,500", "--scale small"):
        assert words in page


# Who takes part.


def test_models_without_answers_are_left_out(tmp_path):
    small = Catalysed(problems=("numbers",), seeds=2)
    asked = lambda settings: {arm for cell in study.cells(settings) for arm in cell["arms"]}
    nobody = Catalysed(problems=("numbers",), seeds=2, answers=str(tmp_path))
    assert not asked(nobody) & set(ASKED) and "alone" in asked(nobody)
    assert "on numbers: no answers of a model are here" in study.conclude(nobody, []).text
    assert (set(ASKED) & asked(small) == set(ASKED)) is any(ANSWERS.glob("*.json"))
    url = Catalysed(problems=("numbers",), seeds=2, answers=str(tmp_path), base_url="http://x")
    assert set(ASKED) <= asked(url)
    assert study.silent("newsgroups", SCALES["small"]) and not study.silent("newsgroups", url)
    with pytest.raises(ValueError, match=r"`base_url` needs `answers`"):
        Catalysed(base_url="http://localhost:8080")


def test_problems_whose_data_are_not_here_are_left_out(monkeypatch, tmp_path):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path))
    said = study.conclude(SCALES["small"], rows_of(CHANCE)).text
    assert "Left out: " in said and "run steppe fetch minilm" in said
    cells = list(study.cells(Catalysed(problems=("newsgroups", "numbers"), seeds=2)))
    assert {cell["problem"] for cell in cells} == {"numbers"}


# Runs.


@pytest.fixture(scope="module")
def by_hand() -> dict[str, dict]:
    arms = ["alone", "random", "good", "bad", "echo"]
    return {row["arm"]: row for row in study.run({**SIZES, "arms": arms})["rows"]}


def test_all_arms_take_as_many_gradients_and_the_one_that_knows_finds_the_minimum(by_hand):
    rows = [Row(arm, SIZES, row, None, 1.0, 1, {}) for arm, row in by_hand.items()]
    found = summary.quantities(summary.records_of(rows))
    assert found["numbers.worse"] == found["numbers.moved"] == found["numbers.unequal"] == 0
    assert {row["gradients"] for row in by_hand.values()} == {172}
    without = dict(by_hand["alone"]["looks"])
    assert all(step in without for row in by_hand.values() for step, _ in row["looks"])
    assert by_hand["good"]["loss"] < 1e-6 < by_hand["alone"]["loss"]
    assert json.loads(json.dumps(by_hand)) == by_hand


def test_answers_of_a_server_are_kept_and_replayed_bit_by_bit_without_one(
    by_hand, tmp_path, monkeypatch
):
    candidates = [{"x": 0.5, "y": 1.5}, {"x": 9, "y": 0}, {"x": -1.0, "y": 0.25}]
    others = [{"x": 1.25, "y": -0.5}, {"x": -2.0, "y": 2.0}]
    body = lambda tables: send(body=good(json.dumps({"candidates": tables})))
    cell = {**SIZES, "arms": ["llm"], "model": "tiny", "answers": str(tmp_path / "kept")}
    with serving(body(candidates), body(others)) as server:
        first = study.run({**cell, "base_url": server.url})["rows"][0]
        assert len(server.asked) == 2 and len(list((tmp_path / "kept").iterdir())) == 2

    def refuse(*args, **named):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    again = study.run(cell)["rows"][0]
    assert again == first and len(first["digest"]) == 64
    assert (first["texts"], first["unreadable"]) == (5, 1)
    lane = dict(by_hand["alone"]["looks"])
    assert all(lane[step] == loss for step, loss in first["looks"])
    with pytest.raises(RuntimeError, match="no such answer was recorded"):
        study.run({**cell, "seed": FIRST + 1})


def test_made_up_texts_are_of_two_classes_half_each():
    rng = np.random.default_rng(0)
    encoder = problems.small_encoder(rng)
    texts = problems.labelled(encoder, np.arange(problems.PROMPT_ROWS), rng)
    assert [stop - start for start, stop in texts.splits] == list(problems.SIZES.values())
    assert 2 * int(texts.y.sum()) == len(texts.y) == sum(problems.SIZES.values())


def test_tasks_of_superglue_are_read_from_folders(tmp_path):
    """COPA in its official layout, by a small encoder."""
    encoder = write(tmp_path / "encoder", words=tiny.WORDS)
    rows = [
        {"premise": f"the oil {i}", "choice1": "moon runs", "choice2": "engines", "label": i % 2,
         "question": ("cause", "effect")[i % 2], "idx": i}
        for i in range(40)
    ]  # fmt: skip
    for part, of in (("train", rows[:30]), ("val", rows[30:])):
        path = tmp_path / "data" / "COPA" / f"{part}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row | {"premise": f"{row['premise']} {part}"}) + "\n"
                                for row in of))  # fmt: skip
    folders = {"superglue": str(tmp_path / "data"), "encoder": str(encoder)}
    sizes = Catalysed(problems=("copa",), seeds=2, length=12, arms=("bad",), **folders)
    first = next(study.cells(sizes))
    assert first["problem"] == "copa" and first["encoder"] == str(encoder)
    task = problem(first).descent.task
    assert task.texts.ids.shape == (40, 2, 12) and task.batch_size == 16
    assert [stop - start for start, stop in task.texts.splits] == [20, 10, 10]
    nobody = Catalysed(problems=("copa",), seeds=2)
    assert list(study.cells(nobody)) == []
    assert "SuperGLUE needs `superglue`" in study.conclude(nobody, []).text


# The record.

needs_record = pytest.mark.skipif(not RECORD.exists(), reason="there is no record of the study yet")


@needs_record
def test_the_record_has_all_cells_of_the_scale_small_but_those_of_newsgroups():
    kept = [row.cell for row in read(RECORD)]
    small = [cell for cell in study.cells(SCALES["small"]) if cell["problem"] != "newsgroups"]
    key = lambda cell: json.dumps(cell, sort_keys=True)
    assert sorted(map(key, kept)) == sorted(map(key, small))


@needs_record
def test_the_answers_of_readme_are_those_of_the_record():
    found = summary.records_of(read(RECORD))
    page = RECORD.with_name("README.md").read_text(encoding="utf-8")
    said = [*summary.answers(found), summary.promised(found)]
    assert len(said) == 6 and [sentence for sentence in said if sentence not in page] == []
    lead = "SmolLM2-135M helped more than chance on no problem, and less on settings (3 tried)."
    assert summary.lead(found).startswith(lead)


@needs_record
def test_the_record_is_replayed_from_the_answers_without_a_network():
    """In a process of its own: the record was made in float32, and compiled as users compile."""
    rows = [row for row in read(RECORD) if row.cell["problem"] == "numbers"]
    row = next(row for row in rows if row.cell["arms"] == ["llm"])
    code = (
        "import json, socket, sys\n"
        "def refuse(*a, **b): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = socket.create_connection = refuse\n"
        "from steppe.studies.llm_catalyst.llm_catalyst import run\n"
        "print(json.dumps(run(json.loads(sys.argv[1]))))"
    )
    clean = {k: v for k, v in os.environ.items() if k not in ("XLA_FLAGS", "JAX_ENABLE_X64")}
    command = [sys.executable, "-c", code, json.dumps(row.cell)]
    out = subprocess.run(command, capture_output=True, text=True, env=clean, check=True).stdout
    [found], [kept] = json.loads(out)["rows"], row.result["rows"]
    texts = lambda record: [[text for text, *_ in said] for said in record["said"]]
    assert texts(found) == texts(kept)
    assert found["loss"] == pytest.approx(kept["loss"], rel=1e-4, abs=1e-4)
