"""Answers that must come at once, and mistakes on the line."""

import json
import os
import re
import subprocess
import sys
import time

import pytest

from steppe.cli.main import VERBS, explain, main, options_of
from steppe.core.settings import settings_of
from steppe.studies.names import STUDIES
from steppe.tasks.names import SUITES

HEAVY = ("jax", "jaxlib", "numpy", "scipy", "matplotlib", "equinox", "optax", "tyro", "rich")
QUICK = [
    ["--help"],
    ["--version"],
    ["list"],
    ["list", "tasks", "--json"],
    ["list", "measures"],
    ["list", "presets"],
    ["list", "pretrained"],
    ["list", "suites"],
    *([verb, "--help"] for verb in VERBS),
    ["trian"],
    ["train", "--task", "quadratc", "--opt", "dm"],
    ["train", "--task", "quadratic", "--opt", "dm", "--flat.kind", "trace"],
    ["eval", "nobody"],
    ["curvature", "nobody"],
    ["curvature", "adam", "--task", "quadratic", "--gamma", "0"],
    ["info", "nothing.safetensors"],
    ["info", "dm-v1"],
    ["info", "dm-v"],
    ["report", "nowhere"],
    ["convert", "nothing.npz", "x.safetensors"],
    ["doctor", "nowhere"],
]


def python(*words: str, **env: str) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "STEPPE_DEBUG"} | env
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env)


@pytest.mark.parametrize("words", QUICK, ids=" ".join)
def test_quick_answers_import_nothing_heavy(words):
    done = python("-X", "importtime", "-m", "steppe", *words)
    imported = {
        match[1]
        for line in done.stderr.splitlines()
        if (match := re.match(r"import time:.*\|\s+(\w+)", line))
    }
    assert "dataclasses" in imported  # the listing is understood
    assert not imported & set(HEAVY)


@pytest.mark.parametrize("words", [*QUICK[:6], ["trian"]], ids=" ".join)
def test_quick_answers_take_less_than_04_s(words):
    times = []
    for _ in range(10):
        began = time.perf_counter()
        python("-m", "steppe", *words)
        times.append(time.perf_counter() - began)
        if times[-1] < 0.4:
            return
    raise AssertionError(f"best of {len(times)}: {min(times):.2f} s")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian", "There is no command 'trian'; did you mean 'train'?"),
        ("--verson", "did you mean '--version'?"),
        ("list taks", "did you mean 'tasks'?"),
        ("list tasks data", "Did not expect 'data' here"),
        ("train --task quadratc --opt dm", "There is no task 'quadratc'; did you mean 'quadratic'"),
        ("train --task quadratic --opt rnnprp", "did you mean 'rnnprop'?"),
        ("train --task quadratic --opt adam", "--opt adam is made by hand"),
        (
            "train --task sparse-recovery --opt hyperlista",
            "its numbers c1, c2, c3 are found by trying, which `steppe learn TASK --goal recovery`",
        ),
        ("train --task quadratic", "--opt NAME is missing"),
        ("train --task quadratic --opt dm --steps -3", "--steps must be at least 1, got -3"),
        ("train --task quadratic --opt dm --config no.toml", "--config no.toml: found no file"),
        ("train --resume nowhere", "nowhere is no run folder"),
        ("eval adam", "add --task NAME"),
        ("eval adm --task quadratic", "did you mean 'adam'?"),
        ("eval dm --task quadratic", "has to be trained before it can be judged"),
        ("eval adam --task quadratic --baselines sdg", "did you mean 'sgd'?"),
        ("eval adam --task quadratic --horizons 0", "--horizons must be steps of at least 1"),
        ("eval adam --task quadratic --seeds -1", "--seeds must be at least 1, got -1"),
        ("info", "CKPT is missing"),
        ("report", "RUNS … is missing"),
        ("report nowhere", "nowhere is no folder"),
        ("doctor nowhere", "nowhere is no run folder"),
        ("convert a.npz", "TARGET is missing"),
        ("convert a.npz b.npz", "must end in .safetensors"),
        ("convert a.npz b.safetensors", "a.npz does not exist"),
        ("demo --seed -1", "--seed must be from 0"),
    ],
)
def test_bad_usage_is_one_sentence_and_code_2(steppe, words, said):
    answer = steppe(*words.split())
    assert answer.code == 2
    assert answer.out == ""
    assert said in answer.sentence


def test_help_goes_to_stdout(steppe):
    for verb in VERBS:
        assert verb in steppe("--help").out
    assert steppe("--help").code == 0
    assert steppe().code == 2
    assert steppe("train", "--steps", "x", "--help").code == 0


RELATIVE = re.compile(r"(what|whether|of|where|from|whoever|which|how|that|its|it|their)\b", re.I)


@pytest.mark.parametrize("verb", VERBS)
def test_a_line_of_help_stands_alone(verb):
    options = options_of(verb)
    texts = {path: setting.text for path, setting in settings_of(options).items()}
    texts |= {"summary": VERBS[verb].summary, "description": options.__doc__ or ""}
    wrong = {path: text for path, text in texts.items() if not text or RELATIVE.match(text)}
    assert not wrong


def test_list_as_json_is_one_document(steppe):
    from steppe.zoo.registry import TABLES

    tables = {what: {n: e.line for n, e in table.items()} for what, table in TABLES.items()}
    tables["suites"] = {name: list(held) for name, held in SUITES.items()}
    tables["studies"] = {name: study.question for name, study in STUDIES.items()}
    assert json.loads(steppe("list", "--json").out) == tables
    assert json.loads(steppe("list", "data", "--json").out) == {"data": tables["data"]}
    for table in tables.values():
        assert set(table) <= set(steppe("list").out.split())


def test_list_suites_names_every_task_they_hold(steppe):
    words = steppe("list", "suites").out.replace(",", " ").split()
    assert words[0] == "suites"
    for name, held in SUITES.items():
        at = words.index(name)
        assert tuple(words[at + 1 : at + 1 + len(held)]) == held


def test_a_bug_is_no_bad_input():
    sentence, code = explain(RuntimeError("two\nlines"))
    assert code == 1
    assert sentence.startswith("RuntimeError: two lines")


def test_too_little_memory_is_no_bug():
    xla = RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    for error in (MemoryError(), xla):
        said, code = explain(error)
        assert code == 2 and "not enough memory" in said and "report it" not in said


def test_debug_shows_the_traceback(steppe, monkeypatch):
    monkeypatch.setenv("STEPPE_DEBUG", "1")
    with pytest.raises(Exception, match="There is no command"):
        main(["trian"])


def test_a_closed_pipe_is_no_error():
    command = f"{sys.executable} -m steppe list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout == "tasks\n"
    assert done.stderr == ""


def test_a_terminal_without_our_letters_is_no_error():
    done = python("-m", "steppe", "list", "tasks", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "quadratic" in done.stdout
