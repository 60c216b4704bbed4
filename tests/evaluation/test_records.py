"""Records survive a file, and damaged files are named."""

import dataclasses
import json
import math

import pytest

from steppe.evaluation.records import Record, number, read_records, write_records
from steppe.store.untrusted import FileError
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


def edited(old, new):
    """The same file with other words in its record."""

    def change(lines):
        assert old in lines[1]
        return [lines[0], lines[1].replace(old, new)]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [lines[0], lines[1][:50]], "line 2: found no JSON"),
        (lambda lines: lines[1:], "no file of records"),
        (lambda lines: ['{"steppe": "records", "format": 99}'], "format 99"),
        (lambda lines: [lines[0], '{"task": "a"}'], "line 2: found no entry 'optimizer'"),
        (
            lambda lines: [lines[0], lines[1].replace("[0, 1]", "[0]")],
            "expected 1 rows of 3 numbers, one a seed",
        ),
        (edited("[0, 2, 4]", "[0, 4, 2]"), "found points up to 2, expected rising ones, up to 4"),
        (edited("[0, 2, 4]", "[0, 0, 4]"), "rising ones"),
        (edited('"horizon": 4', '"horizon": 5'), "up to 5"),
        (edited('"train_loss"', '"test_loss"'), "no train_loss"),
        (edited('"seeds": [0, 1]', '"seeds": []'), "seeds: found a length of 0"),
        (edited('"ms_per_step": 0.5', '"ms_per_step": 0'), "ms_per_step: found 0"),
        (edited('"ms_per_step": 0.5', '"ms_per_step": NaN'), "NaN is no number of JSON"),
        (edited('"params": 10', '"params": -1'), "params: found -1"),
        (edited('"params": 10', '"params": true'), "params: found true, expected a whole number"),
        (edited('"params": 10', f'"params": {"1" * 5000}'), "line 2: found no JSON"),
        (edited('"trials": 33', '"trails": 33'), "tuning.trials: found null"),
        (edited('"best": 0.1', '"best": "0.1"'), "tuning.best: found '0.1', expected a number"),
        (edited('"task": "a task"', '"task": "a", "task": "b"'), "given twice"),
        (edited("null", "[" * 99999), "levels|no JSON"),
        (
            lambda lines: [lines[0], lines[1].replace('"Adam"', "3")],
            "line 2, optimizer: found 3, expected words",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path, change, words):
    path = tmp_path / "records.jsonl"
    write_records(path, [record()], {})
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(FileError, match=words) as caught:
        read_records(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


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
