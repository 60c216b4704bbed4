"""Records survive a file, and damaged files are named."""

import dataclasses
import json
import math

import pytest

from steppe.evaluation.records import Record, number, read_records, write_records
from steppe.train.environment import environment


def record(**changes) -> Record:
    plain = {
        "task": "a task",
        "optimizer": "Adam",
        "learned": False,
        "hyper": {"kind": "FromOptax", "hyper": {"make": "adam"}},
        "horizon": 4,
        "seeds": [0, 1],
        "points": [0, 2, 4],
        "metrics": {"train_loss": [[1.0, 0.5, 0.25], [1.0, 0.4, None]]},
        "curve_steps": [0.0, 1.0, 2.0, 3.0],
        "curve": [[1.0, 0.7, 0.5, 0.3], [1.0, 0.6, None, None]],
        "diverged": [1],
        "params": 10,
        "ms_per_step": 0.5,
        "gradients_per_step": 1,
        "state_bytes_per_param": 8.0,
        "tuning": {"best": 0.1, "trials": 33},
    }
    return Record(**{**plain, **changes})


def test_round_trip(tmp_path):
    path = tmp_path / "records.jsonl"
    records = [record(), record(optimizer="SGD", ms_per_step=1)]
    write_records(path, records, {"date": "today"})
    assert read_records(path) == (records, {"date": "today"})


def test_file_is_plain_json_without_infinities(tmp_path):
    path = tmp_path / "records.jsonl"
    write_records(path, [record()], {})
    for line in path.read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    with pytest.raises(ValueError, match="JSON compliant"):
        write_records(path, [record(ms_per_step=math.inf)], {})
    assert len(read_records(path)[0]) == 1  # the failed write changed nothing


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [lines[0], lines[1][:50]], "line 2: not JSON"),
        (lambda lines: lines[1:], "no file of records"),
        (lambda lines: ['{"steppe": "records", "format": 99}'], "format 99"),
        (lambda lines: [lines[0], '{"task": "a"}'], "line 2: lacks 'curve'"),
        (lambda lines: [lines[0], lines[1].replace("[0, 1]", "[0]")], "must have 1 rows"),
        (lambda lines: [lines[0], lines[1].replace('"Adam"', "3")], "'optimizer' is a int"),
    ],
)
def test_damaged_files_are_named(tmp_path, change, words):
    path = tmp_path / "records.jsonl"
    write_records(path, [record()], {})
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(ValueError, match=words):
        read_records(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.jsonl does not exist"):
        read_records(tmp_path / "nothing.jsonl")


def test_unknown_metric_is_named():
    with pytest.raises(ValueError, match="no metric 'loss'; use one of train_loss"):
        record().final("loss")


def test_numbers_are_finite_or_none():
    assert number(1 / 3) == 0.333333
    assert number(math.inf) is number(math.nan) is None


def test_environment_is_plain():
    found = environment()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["steppe"] != "not installed"
    assert {"date", "device", "commit", "python"} <= set(found)


def test_records_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().task = "other"
