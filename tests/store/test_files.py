"""Files that are complete whenever they are there."""

import ast
import os
import stat
from pathlib import Path

import pytest

import steppe
from steppe.store import checkpoint
from steppe.store.files import sweep, to_json, write_atomically
from steppe.store.manifest import CheckpointError


def test_parts_are_put_together_text_in_utf8(tmp_path):
    write_atomically(tmp_path / "a", "ü\n", b"\x00\xff")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xbc\n\x00\xff"


@pytest.mark.parametrize("length", [250, 255])
def test_the_longest_name_that_a_file_system_takes(tmp_path, length):
    write_atomically(tmp_path / ("n" * length), "x")
    assert (tmp_path / ("n" * length)).read_text() == "x"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call):
    path = tmp_path / "a"
    path.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_access_rights_are_those_of_the_old_file_else_of_any_new_one(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new", "x")
        (tmp_path / "old").write_text("x")
        (tmp_path / "old").chmod(0o604)
        write_atomically(tmp_path / "old", "y")
    finally:
        os.umask(before)
    rights = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert rights == {"new": 0o640, "old": 0o604}


def test_nobody_else_renames_files():
    """One place knows how a file is replaced; `shutil.move` and the like are not used either."""
    hand_made = {"os.replace", "os.rename", "shutil.move", "tempfile.NamedTemporaryFile"}
    for path in sorted(Path(steppe.__file__).parent.rglob("*.py")):
        if path.name == "files.py" and path.parent.name == "store":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in hand_made, f"{path}:{node.lineno} calls {called}"
                # Path.replace takes the new path alone, str.replace and dataclasses.replace more.
                renames = isinstance(node.func, ast.Attribute) and node.func.attr == "rename"
                renames |= called.endswith(".replace") and len(node.args) == 1 and not node.keywords
                assert not renames, f"{path}:{node.lineno} renames a file"


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path):
    (tmp_path / "far").mkdir()
    target, link = tmp_path / "far" / "a", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_atomically(link, "new")
    assert link.is_symlink() and target.read_text() == "new"
    target.unlink()  # a link to where no file is yet
    write_atomically(link, "newer")
    assert link.is_symlink() and target.read_text() == "newer"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "far", "link"]


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800"])
def test_what_no_file_can_be_called_is_refused_by_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ValueError, match=r"is no name that a file or folder can have; give another"
    ):
        write_atomically(name, "x")
    with pytest.raises(CheckpointError, match=r"^\S+ is no name that a file or folder can have"):
        checkpoint.save(name, {}, manifest={})
    assert not list(tmp_path.iterdir())


def test_only_temporary_files_of_ours_are_swept_away(tmp_path):
    for name in (".0123456789abcdef.tmp", ".mine.tmp", "0123456789abcdef.tmp"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "0123456789abcdef.tmp"]


def test_json_is_written_without_nan():
    """Every `json.dumps` refuses NaN, but for the headers of checkpoints, which say it in words."""
    assert to_json({"a": [float("nan"), 1.5], 2: (float("-inf"),)}) == (
        '{"a": [null, 1.5], "2": [null]}'
    )
    home = Path(steppe.__file__).parent
    for path in sorted(home.rglob("*.py")):
        if path.name == "manifest.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            called = isinstance(node, ast.Call) and ast.unparse(node.func)
            if called in ("json.dumps", "json.dump"):
                assert any(word.arg == "allow_nan" for word in node.keywords), (path, node.lineno)
