"""The gate for files: what passes, what is refused and in which words, and what it costs."""

import dataclasses
import json
import os
import tracemalloc
from typing import Annotated, Any, Literal, TypedDict

import pytest

from steppe.store.untrusted import (
    Between,
    ByName,
    FileError,
    Length,
    Line,
    NonFinite,
    OneOf,
    Source,
    checked,
    parse_json,
    read_bytes,
    read_lines,
)

SOURCE = Source("box.json", "mend it")


@dataclasses.dataclass(frozen=True)
class Leaf:
    size: Annotated[int, Between(1, 9)]
    share: float | None = None

    def __post_init__(self):
        if self.share is not None and self.share > self.size:
            raise ValueError("a share above the size")


@dataclasses.dataclass(frozen=True)
class Tree:
    kind: Literal["oak", "elm"]
    leaves: list[Leaf]
    names: tuple[Annotated[str, Length(4)], ...] = ()
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)


def test_a_document_becomes_the_dataclass_it_describes():
    leaf = '{"size": 2, "share": 0.5}'
    text = f'{{"kind": "oak", "leaves": [{leaf}], "names": ["a"], "notes": {{"x": [1]}}}}'
    tree = checked(parse_json(text, SOURCE), Tree, SOURCE)
    assert tree == Tree("oak", [Leaf(2, 0.5)], ("a",), {"x": [1]})


WRONG = {
    "a bool for a number": (True, int, "found true, expected a whole number"),
    "a float for a whole number": (2.0, int, "found 2.0, expected a whole number"),
    "a whole number no float holds": (10**400, float, "a whole number of 1329 bits"),
    "NaN": (float("nan"), float, "found nan, expected a number"),
    "a number for a name": (3, Literal["a"], "found 3, expected one of 'a'"),
    "1 for true": (1, Literal[True], "found 1, expected one of true"),
    "an unknown name": ("elk", Annotated[str, OneOf({"elm"})], "a known name such as 'elm'"),
    "a list for a name": ([], Annotated[str, OneOf({"elm"})], "found a list of 0, expected words"),
    "too many": ([1, 2, 3], Annotated[list[int], Length(2)], "found a length of 3"),
    "too small": (0, Annotated[int, Between(1, 9)], "found 0, expected a number from 1 to 9"),
    "a table for a list": ({}, list[int], "found a table of 0, expected a list"),
    "deep inside": ({"a": [1, "b"]}, dict[str, list[int]], "box.json, a[1]: found 'b'"),
    "two arms": ([None], list[int | str], "found null, expected a whole number or words"),
    "nullable": ("x", int | None, "expected a whole number or null"),
    "wrong length": ([1], tuple[int, int], "found a list of 1, expected a list of 2"),
    "unknown entry": ({"sise": 2}, Leaf, "the entry 'sise', expected a known name such as 'size'"),
    "missing entry": ({}, Leaf, "found no entry 'size', expected one"),
    "whole": ({"size": 1, "share": 3.0}, Leaf, "a share above the size"),
    "in a dataclass": ({"kind": "oak", "leaves": [{"size": 99}]}, Tree, "leaves[0].size: found 99"),
    "a control character": ("a\nb\ud800", Literal["x"], r"found 'a\nb\ud800'"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_a_hint_does_not_allow_is_one_sentence(name):
    value, hint, words = WRONG[name]
    with pytest.raises(FileError) as error:
        checked(value, hint, SOURCE)
    message = str(error.value)
    assert words in message and message.endswith("; mend it.") and len(message.splitlines()) == 1


def test_what_a_hint_allows_passes_as_it_is():
    assert checked(float("inf"), Annotated[float, NonFinite], SOURCE) == float("inf")
    assert type(checked(3, float, SOURCE)) is int
    assert checked(None, float | None, SOURCE) is None
    assert checked([1, "a"], tuple[int, str], SOURCE) == (1, "a")


BAD_JSON = {
    "NaN": "[NaN]",
    "infinite": "[1e999]",
    "many digits": "1" * 5000,
    "80 bits": str(2**80),
    "cut": '{"a": 1',
    "two names": '{"a": 1, "a": 2}',
    "not UTF-8": b'{"a": "\xff"}',
    "deep": "[" * 40 + "]" * 40,
    "very deep": "[" * 200_000,
    "much": "[" + "0," * 5000 + "0]",
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_a_text_that_is_no_modest_json_is_one_sentence(name):
    with pytest.raises(FileError, match=r"box\.json: found ") as error:
        parse_json(BAD_JSON[name], SOURCE, values=4000)
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 300


def test_json_as_python_writes_it_is_read_where_asked():
    assert parse_json("[Infinity, 1e400]", SOURCE, nonfinite=True) == [float("inf")] * 2
    assert parse_json("[" * 32 + "]" * 32, SOURCE)


def test_memory_goes_by_the_limit_and_not_by_the_text():
    text = "[" + "[]," * 3_000_000 + "[]]"
    tracemalloc.start()
    with pytest.raises(FileError, match="more than 1000000 values"):
        parse_json(text, SOURCE)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_files_are_regular_short_and_named(tmp_path):
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.truncate(2**33)
    os.mkfifo(tmp_path / "pipe")
    for path, words in [
        (sparse, "found 8589934592 bytes, expected at most 1000"),
        (tmp_path / "pipe", "a pipe or device"),
        (tmp_path, "a folder"),
        (tmp_path / "none", "no file"),
        ("", "no file"),
        ("a\0b", "a name that no file can have"),
        (tmp_path / ("x" * 300), "cannot be read"),
    ]:
        with pytest.raises(FileError, match=words):
            read_bytes(path, 1000, SOURCE)
    with pytest.raises(FileError, match="8589934592 bytes"):
        list(read_lines(sparse, 1000, SOURCE))
    (tmp_path / "lines").write_bytes(b"one\ntwo" + b"o" * 50)
    with pytest.raises(FileError, match=r"box\.json, line 2: found more than 10 bytes"):
        list(read_lines(tmp_path / "lines", 1000, SOURCE, longest=10))
    assert next(iter(read_lines(tmp_path / "lines", 1000, SOURCE))) == (1, b"one\n")


def test_its_own_error_type_is_raised():
    class OwnError(FileError):
        pass

    with pytest.raises(OwnError):
        checked(json.loads("1"), str, SOURCE._replace(error=OwnError))


class AbstractShape(TypedDict):
    kind: str


class Square(AbstractShape):
    side: float


class Disc(AbstractShape, total=False):
    radius: float


SHAPE = Annotated[dict, ByName("kind", {"square": Square, "disc": Disc})]


def test_a_table_is_of_the_kind_that_it_names():
    for shape in ({"kind": "square", "side": 2.0}, {"kind": "disc"}):
        assert checked(shape, SHAPE, SOURCE) == shape


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ({"kind": "square"}, "found no entry 'side', expected one"),
        ({"kind": "disc", "side": 1.0}, "found the entry 'side'"),
        ({"kind": "disc", "radius": True}, "radius: found true, expected a number"),
        ({"kind": "cone"}, "kind: found 'cone', expected one of 'square', 'disc'"),
        ({"kind": ["disc"]}, "kind: found a list of 1, expected one of 'square', 'disc'"),
        ({"side": 1.0}, "found no entry 'kind', expected one"),
        (["disc"], "found a list of 1, expected a table"),
    ],
)
def test_a_table_of_no_kind_is_refused(shape, sentence):
    with pytest.raises(FileError, match=sentence):
        checked(shape, SHAPE, SOURCE)


def test_text_that_cannot_be_shown_or_written():
    with pytest.raises(FileError, match="one line of characters that can be shown"):
        checked("a\x1b[2J", Annotated[str, Line], SOURCE)
    for text in ('{"a": "\\ud800"}', '{"\\udfff": 1}'):
        with pytest.raises(FileError, match="found half a character"):
            parse_json(text, SOURCE)
    assert parse_json('"\\ud83d\\ude00"', SOURCE) == "😀"


def test_a_long_name_of_a_file_is_cut_short_in_a_sentence():
    with pytest.raises(FileError, match=r"box\.json, xxx") as caught:
        checked("a", int, SOURCE, "x" * 70_000)
    assert len(str(caught.value)) < 300
    with pytest.raises(FileError) as caught:
        checked({"y" * 70_000: "a"}, dict[str, int], SOURCE)
    assert len(str(caught.value)) < 300
