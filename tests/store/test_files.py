"""Files that are complete whenever they are there."""

import ast
import os
import stat
from pathlib import Path

import pytest

import steppe
from steppe.store.files import write_atomically


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
