"""Files of a run and of its settings that are not what they should be."""

import dataclasses
import json

import pytest

from steppe.evaluation import curvature_record
from steppe.evaluation.update_curve import HISTORIES, from_plain
from steppe.runs import config, diagnostics, folder
from steppe.runs.folder import BadInput
from steppe.store.untrusted import FileError, Source
from steppe.zoo.recipe import Recipe

NESTED = "[" * 100_000


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.yaml", "a: &x [1, 2]\nb: *x\n", "an alias in line 2"),
        ("a.yml", "a: !!python/object/apply:os.getcwd []\n", "a tag in line 1"),
        ("a.yaml", "a: !!binary aGVsbG8=\n", "a tag in line 1"),
        ("a.yaml", "task: 2001-12-14\n", "found a date, expected numbers, text, lists and tables"),
        ("a.yaml", "meta:\n  1: 2\n", "a name that is no text"),
        ("a.yaml", "- 1\n", "expected names and values"),
        ("a.yaml", "task: " + "[\n" * 1001, "1000 brackets"),
        ("a.toml", "task = 07:32:00\n", "found a time"),
        ("a.toml", "meta.lr = nan\n", "NaN or a number too large"),
        ("a.toml", f"run.seed = {10**30}\n", "a whole number of 100 bits"),
        ("a.toml", ".".join("a" * 3000) + " = 1\n", "a line of over 4000 bytes"),
        ("a.toml", ".".join("a" * 100) + " = 1\n", "more than 32 levels"),
        ("a.toml", "task = [" + "[" * 400 + "]" * 401, "is not TOML|more than 32 levels"),
        ("a.toml", "# " + "\n# " * 20_000, "bytes, expected at most"),
        ("a.toml", "\udcff = 1", "is not TOML"),
        ("a.toml", '"a\\nb" = 1', "no option"),
    ],
)
def test_settings_that_no_run_has_are_refused(name, text, words, tmp_path):
    path = tmp_path / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises((BadInput, ValueError), match=words) as caught:
        config.read_file(Recipe, path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NESTED, "levels|no JSON"),
        ('{"recipe": {}, "recipe": {}}', "given twice"),
        ("[]", "found a list of 0, expected a table"),
        ('{"recipe": 5}', "has no options"),
        ('{"recipe": {"optimizer": []}}', "config.json: "),
        ('{"recipe": {"optimizer": {"name": "dm"}}, "preset": ["dm"]}', "is no name"),
        ('{"recipe": {"run": {"steps": "' + "x" * 10_000 + '"}}}', "must be a whole number"),
    ],
)
def test_a_config_that_no_run_wrote_is_refused(text, words, tmp_path):
    (tmp_path / folder.CONFIG).write_text(text)
    with pytest.raises(BadInput, match=words) as caught:
        config.read(tmp_path)
        config.preset_of(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_folder_in_which_nothing_was_written_goes_again(tmp_path):
    with pytest.raises(ZeroDivisionError), folder.new_files(tmp_path / "a/b/c", ("x",)):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    with pytest.raises(KeyboardInterrupt), folder.new_files(tmp_path / "mine/b", ("x",)):
        raise KeyboardInterrupt
    with pytest.raises(ZeroDivisionError), folder.new_files(tmp_path / "a/b", ("x",)):
        for name in ("a/b/x", "a/y"):  # one of its own, and one of somebody else's
            (tmp_path / name).touch()
        raise ZeroDivisionError
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == ["a", "a/y", "mine"]
    with folder.new_files(tmp_path / "a", ("x",)), folder.new_files(None, ("x",)):
        (tmp_path / "a/x").touch()
    for place, words in (("a", "a/x exists already"), ("a/x/z", "cannot be written")):
        with pytest.raises(BadInput, match=words), folder.new_files(tmp_path / place, ("x",)):
            pass


@pytest.mark.parametrize(
    "text",
    [
        NESTED,
        '{"findings": 5}',
        '{"findings": [5]}',
        '{"findings": [{"what": 5, "ok": true, "evidence": ""}]}',
        '{"findings": [{"what": "probe", "ok": "yes", "evidence": ""}]}',
        '{"findings": [{"what": "probe", "ok": true, "evidence": "", "numbers": {"a": "b"}}]}',
    ],
)
def test_findings_that_none_wrote_are_not_shown(text, tmp_path):
    (tmp_path / folder.FINDINGS).write_text(text)
    assert diagnostics.probed(tmp_path) == []


def test_findings_survive_their_file(tmp_path):
    probe = diagnostics.Finding(
        "probe: growth", False, "a", "b", {"growth": 3.0, "n": float("nan")}
    )
    diagnostics.keep(tmp_path, [probe])
    [found] = diagnostics.probed(tmp_path)
    assert found == dataclasses.replace(probe, numbers={"growth": 3.0, "n": None})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"g": [0.0]}, "curves of another length, expected 1 points"),
        ({"curves": {"a": [0.0]}}, "found the histories a, expected those"),
        ({"unit": "1"}, "unit: found '1', expected a number"),
        ({"more": 1}, "the entry 'more'"),
    ],
)
def test_a_rule_that_nobody_measured_is_refused(change, words):
    curves = {name: [0.0, 1.0] for name in HISTORIES}
    rule = {"optimizer": "a", "learned": True, "unit": 1.0, "g": [0.0, 1.0], "curves": curves}
    assert dataclasses.asdict(from_plain(rule, Source("rule.json"))) == rule
    with pytest.raises(FileError, match=words):
        from_plain(rule | change, Source("rule.json"))


def test_curvature_that_nobody_measured_is_refused():
    row = {"symbol": "λ", "value": 1.0, "error": None, "relative": None, "how": "exact"}
    line = [0.0, 1.0]
    record = {
        "task": "t", "optimizer": "o", "steps": 1, "params": 1, "examples": 0, "dtype": "float32",
        "gamma": 1.0, "temperature": 1.0, "rho": 1.0, "k": 1, "probes": 1, "start_loss": None,
        "below": 0, "rows": [{"name": name, **row} for name in curvature_record.NEEDED],
        "density": {"grid": line, "values": line, "error": line, "sigma": 1.0},
        "slices": [{"name": "u", "offsets": line, "train": line, "valid": line, "slope": 0.0,
                    "curvature": 0.0}],
        "plane": {"offsets": line, "values": [line, line]},
    }  # fmt: skip
    assert json.loads(json.dumps(dataclasses.asdict(curvature_record.from_plain(record)))) == record
    for change, words in (
        ({"rows": record["rows"][1:]}, "no row"),
        ({"plane": {"offsets": line, "values": [line]}}, "unequal length"),
        ({"plane": {"offsets": line, "values": [line, [0.0]]}}, "unequal length"),
        ({"density": {"grid": [], "values": [], "error": [], "sigma": 1.0}}, "a length of 0"),
        ({"slices": []}, "a length of 0"),
        ({"gamma": True}, "gamma: found true"),
        ({"steps": -1}, "steps: found -1"),
    ):
        with pytest.raises(FileError, match=words):
            curvature_record.from_plain(record | change)
