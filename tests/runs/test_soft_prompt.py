"""The task of a soft prompt by its name or from a file."""

import numpy as np
import pytest
from tasks.text.tiny import write

from steppe.runs import soft_prompt
from steppe.runs.soft_prompt import NEWSGROUPS, prompt_task
from steppe.tasks.text.prompts import TOPICS


def posts(path, count, word):
    rows = [f"{TOPICS[i % 4]}\t{word} {'oil ' * i}" for i in range(count)]
    path.write_text("\n".join(["class\ttext", "d\tstring", "class\tmeta", *rows]) + "\n")


def test_named_posts_are_those_that_were_fetched(tmp_path, monkeypatch):
    write(tmp_path / "minilm")
    (tmp_path / "newsgroups").mkdir()
    posts(tmp_path / "newsgroups/20newsgroups-train.tab", 40, "engine")
    posts(tmp_path / "newsgroups/20newsgroups-test.tab", 120, "moon")
    monkeypatch.setattr(soft_prompt, "fetched", lambda name: tmp_path / name)
    task, folder = prompt_task(NEWSGROUPS, rows=3, sizes=(8, 4, 16), length=6)
    assert folder == tmp_path / "minilm" and task.rows == 3 and task.texts.names == TOPICS
    assert [len(task.full_batch((), split=part)[0]) for part in ("train", "valid", "test")] == [
        8, 4, 16,
    ]  # fmt: skip
    own, there = prompt_task(
        tmp_path / "newsgroups/20newsgroups-train.tab", folder, sizes=(8, 4, 2), length=6, seed=1
    )
    assert there == folder and own.texts.names == tuple(sorted(TOPICS))
    assert np.asarray(own.full_batch((), split="test")[0]).shape[0] == 2


def test_files_that_are_missing_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match="run steppe fetch minilm"):
        prompt_task(NEWSGROUPS)
