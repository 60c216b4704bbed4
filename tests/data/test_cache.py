"""The cache: it may save time, it may never cost a result."""

import sys

import numpy as np
import pytest

from steppe.data import cache


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Build:
    """Makes the arrays and counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"x": np.arange(1000, dtype=np.uint8), "y": np.linspace(0, 1, 7)}


def same(arrays):
    return all(np.array_equal(arrays[name], array) for name, array in Build()().items())


def test_the_second_fetch_builds_nothing_and_gives_the_same_arrays():
    build = Build()
    cache.fetch("a", build)
    assert same(cache.fetch("a", build)) and build.calls == 1


def test_names_do_not_share_a_file():
    build = Build()
    cache.fetch("a", build)
    cache.fetch("b", build)
    assert build.calls == 2


def test_a_write_leaves_only_the_finished_file(place):
    cache.fetch("a", Build())
    assert [path.name for path in place.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("size", [0, 10, 200, -1], ids=["empty", "head", "half", "one short"])
def test_a_truncated_cache_is_rebuilt(place, size):
    build = Build()
    cache.fetch("a", build)
    whole = (place / "a.npz").read_bytes()
    (place / "a.npz").write_bytes(whole[:size])
    assert same(cache.fetch("a", build)) and build.calls == 2
    assert same(cache.fetch("a", build)) and build.calls == 2  # and is whole again


def test_no_flipped_byte_changes_what_is_read(place):
    build = Build()
    cache.fetch("a", build)
    whole = (place / "a.npz").read_bytes()
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0xFF
        (place / "a.npz").write_bytes(damaged)
        arrays = cache.read("a")
        assert arrays is None or same(arrays)


def test_values_that_do_not_match_their_sha256_are_rebuilt(place):
    build = Build()
    cache.fetch("a", build)
    with np.load(place / "a.npz") as file:
        entries = dict(file)
    np.savez(place / "a.npz", **(entries | {"x": entries["x"] + 1}))  # a valid zip, other numbers
    assert same(cache.fetch("a", build)) and build.calls == 2


def test_a_cache_of_something_else_than_the_known_digests_is_rebuilt():
    cache.write("a", {"x": np.zeros(3)})  # intact in itself
    build = Build()
    assert same(cache.fetch("a", build, cache.digests(build()))) and build.calls == 2


def test_a_cache_with_pickled_objects_is_rebuilt_and_not_unpickled(place):
    place.mkdir()
    np.savez(place / "a.npz", x=np.array([{}], dtype=object), sha256=np.array("{}"))
    assert same(cache.fetch("a", Build()))


def test_a_cache_folder_that_cannot_be_made_is_not_fatal(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STEPPE_CACHE", str(tmp_path / "file" / "cache"))
    build = Build()
    assert same(cache.fetch("a", build)) and same(cache.fetch("a", build))
    assert build.calls == 2
    assert cache.write("a", build()) is False


def test_a_failed_write_leaves_the_old_cache_and_no_litter(place, monkeypatch):
    cache.write("a", {"x": np.zeros(3)})

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(cache.os, "replace", full)
    assert cache.write("a", {"x": np.ones(3)}) is False
    assert [path.name for path in place.iterdir()] == ["a.npz"]
    np.testing.assert_array_equal(cache.read("a")["x"], np.zeros(3))


def test_a_missing_home_folder_is_not_fatal(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("STEPPE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(cache.Path, "home", homeless)
    assert same(cache.fetch("a", Build()))


@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have other cache folders")
def test_the_folder_follows_the_xdg_variable_and_then_home(tmp_path, monkeypatch):
    monkeypatch.delenv("STEPPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "steppe"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder() == tmp_path / ".cache" / "steppe"
