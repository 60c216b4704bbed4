"""Texts with labels: what is read from each layout, what is refused, and how they are cut."""

import json

import jax
import numpy as np
import pytest
from tasks.text.tiny import write

from steppe.data.texts import TASKS, Texts, divide, orange, superglue, table
from steppe.data.tokens import TextTokenizer, tokenised
from steppe.store.untrusted import FileError

PLAIN = Texts((("a b",), ("c",), ("d",)), (1, 0, 1), ("no", "yes"))


def put(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_table_is_read_in_three_layouts(tmp_path):
    lines = [{"text": t[0], "label": PLAIN.names[y], "more": [1]} for t, y in
             zip(PLAIN.texts, PLAIN.labels, strict=True)]  # fmt: skip
    files = {
        "a.csv": 'label,text\r\nyes,"a b"\r\nno,c\r\nyes,d\r\n',
        "a.tsv": "\ufefftext\tlabel\na b\tyes\nc\tno\nd\tyes\n",
        "a.jsonl": "\n".join(map(json.dumps, lines)) + "\n",
    }
    for name, text in files.items():
        assert table(put(tmp_path / name, text)) == PLAIN
    quoted = put(tmp_path / "b.csv", 'say,kind\n"two\nlines, ""so""",x\n')
    assert table(quoted, text="say", label="kind").texts == (('two\nlines, "so"',),)
    truths = put(tmp_path / "c.jsonl", '{"text": "a", "label": true}\n{"text": "b", "label": 3}\n')
    assert table(truths).names == ("3", "true")


def test_the_layout_of_orange_is_read(tmp_path):
    header = "Category\tText\nd\tstring\nclass\t\n"
    found = orange(put(tmp_path / "a.tab", header + "\nyes\ta b\nno\tc\nyes\td\n"))
    assert found == PLAIN
    swapped = "Text\tCategory\nstring\td\nmeta\tclass\nc\tno\n"
    assert orange(put(tmp_path / "b.tab", swapped)).texts == (("c",),)


ROWS = {
    "BoolQ": {"question": "is it", "passage": "It is.", "label": True, "idx": 0},
    "CB": {"premise": "p", "hypothesis": "h", "label": "neutral", "idx": 0},
    "COPA": {"premise": "I ran.", "choice1": "I was late.", "choice2": "It rained.",
             "question": "cause", "label": 1, "idx": 0},
    "RTE": {"premise": "p", "hypothesis": "h", "label": "not_entailment", "idx": 0},
    "WiC": {"word": "bed", "sentence1": "A bed.", "sentence2": "In bed.", "label": False,
            "start1": 0, "version": 1.1},
    "WSC": {"text": "He ran.", "label": True,
            "target": {"span1_index": 0, "span1_text": "Mark", "span2_text": "He"}},
}  # fmt: skip
READ = {
    "BoolQ": (("is it", "It is."), "true"),
    "CB": (("p", "h"), "neutral"),
    "COPA": (("I ran. because", "I was late.", "I ran. because", "It rained."), "choice2"),
    "RTE": (("p", "h"), "not_entailment"),
    "WiC": (("A bed. In bed.", "Does bed have the same meaning in both sentences?"), "false"),
    "WSC": (("He: He ran.", "Mark"), "true"),
}


def test_superglue_is_read_in_its_own_layout(tmp_path):
    assert set(ROWS) == set(READ) == set(TASKS)
    for task, row in ROWS.items():
        put(tmp_path / task / "val.jsonl", json.dumps(row))
        found = superglue(tmp_path, task, "val")
        assert (found.texts[0], found.names[found.labels[0]]) == READ[task]
    with pytest.raises(ValueError, match="did you mean 'RTE'"):
        superglue(tmp_path, "RTF")
    with pytest.raises(ValueError, match="part must be train or val"):
        superglue(tmp_path, "RTE", "test")


BAD = {
    "ending": ("a.txt", "x", "found the ending '.txt'"),
    "column": ("a.csv", "text,kind\nx,y\n", "found the columns text, kind, expected one .* label"),
    "short row": ("a.tsv", "text\tlabel\nx\n", "line 2: found 1 columns"),
    "no label": ("a.tsv", "text\tlabel\nx\t\n", "line 2: found a label without"),
    "empty": ("a.tsv", "text\tlabel\n", "found no rows"),
    "nothing": ("a.tsv", "", r"found the columns \(none\)"),
    "no text": ("a.csv", b"text,label\n\xff\xfe,1\n", "line 2: found no UTF-8"),
    "long field": ("a.csv", "text,label\n" + "x" * 140_000 + ",1\n", "found no table"),
    "never closed": ("a.csv", 'text,label\n"x,1\n' + "y\n" * 9, "found no table"),
    "classes": ("a.tsv", "text\tlabel\n" + "".join(f"x\t{i}\n" for i in range(1001)), "1000 c"),
    "no json": ("a.jsonl", "{", "line 1: found no JSON"),
    "no field": ("a.jsonl", '{"text": "x"}', "line 1: found no label"),
    "kind": ("a.jsonl", '{"text": 3, "label": "x"}', "line 1, text: found 3"),
    "list": ("a.jsonl", "[1]", "line 1: found"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_tables_are_refused_in_one_sentence(case, tmp_path):
    name, text, words = BAD[case]
    with pytest.raises(FileError, match=words) as caught:
        table(put(tmp_path / name, text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_other_bad_files_are_refused(tmp_path):
    with pytest.raises(FileError, match="found no file"):
        table(tmp_path / "none.csv")
    for header in ("a\tb\n", "a\tb\nd\tstring\n\t\n", "a\tb\nd\td\nclass\t\n"):
        with pytest.raises(FileError, match="a header without a column of texts"):
            orange(put(tmp_path / "a.tab", header + "x\ty\n"))
    for change, words in [
        ({"label": "maybe"}, "row 1: found the label 'maybe'"),
        ({"label": True}, "label: found true"),
        ({"premise": None}, "premise: found null"),
    ]:
        put(tmp_path / "RTE" / "train.jsonl", json.dumps(ROWS["RTE"] | change))
        with pytest.raises(FileError, match=words):
            superglue(tmp_path, "RTE")
    for change, words in [
        ({"label": 2}, "row 1: found the label 2, expected 0 to 1"),
        ({"label": True}, "label: found true"),
        ({"question": "why"}, "question: found 'why'"),
    ]:
        put(tmp_path / "COPA" / "train.jsonl", json.dumps(ROWS["COPA"] | change))
        with pytest.raises(FileError, match=words):
            superglue(tmp_path, "COPA")
    for target in ({"span1_text": "x"}, {"span1_text": 3, "span2_text": "x"}):
        put(tmp_path / "WSC" / "train.jsonl", json.dumps(ROWS["WSC"] | {"target": target}))
        with pytest.raises(FileError, match=r"row 1: found (no 'span2_text'|a number as text)"):
            superglue(tmp_path, "WSC")


def many(n, names=("a", "b", "c")):
    return Texts(
        tuple((f"t{i // 2}",) for i in range(n)), tuple(i // 2 % 3 for i in range(n)), names
    )


def test_no_text_is_in_two_splits():
    parts = divide(many(60), (10, 8, 6))
    seen = [set(part.texts) for part in parts.values()]
    assert list(map(len, parts.values())) == list(map(len, seen)) == [10, 8, 6]
    assert len(set.union(*seen)) == 24
    for part in parts.values():
        assert all(
            y == int(text[1:]) % 3 for (text,), y in zip(part.texts, part.labels, strict=True)
        )
    assert divide(many(60), (10, 8, 6)) == parts != divide(many(60), (10, 8, 6), seed=1)
    own = divide(many(60), (10, 8, 6), test=many(20))
    assert set(own["test"].texts) <= set(many(20).texts)
    assert not (set(own["train"].texts) | set(own["valid"].texts)) & set(many(20).texts)
    with pytest.raises(ValueError, match="pool has 20 different texts for 21 rows"):
        divide(many(60), (20, 1, 6), test=many(20))
    with pytest.raises(ValueError, match="test has other classes than pool"):
        divide(many(60), (9, 1, 6), test=many(20, ("a", "b", "d")))


def test_classes_are_chosen_by_name():
    found = PLAIN.only(["yes"])
    assert found == Texts((("a b",), ("d",)), (0, 0), ("yes",))
    with pytest.raises(ValueError, match="no class 'yess'; did you mean 'yes'"):
        PLAIN.only(["yess"])


def test_texts_to_choose_from_stay_together(tmp_path):
    rows = [ROWS["COPA"] | {"premise": f"oil {i}", "label": i % 2} for i in range(6)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    put(
        tmp_path / "COPA" / "train.jsonl",
        lines.replace("It rained.", "engine").replace("I was late.", "moon"),
    )
    found = superglue(tmp_path, "COPA")
    assert (found.choices, found.names) == (2, ("choice1", "choice2"))
    with pytest.raises(ValueError, match="names are those of the places of a choice"):
        found.only(["choice1"])
    parts = divide(found, (3, 2, 1))
    labels = {row[0]: label for row, label in zip(found.texts, found.labels, strict=True)}
    assert [labels[row[0]] for part in parts.values() for row in part.texts] == [
        label for part in parts.values() for label in part.labels
    ]
    with pytest.raises(ValueError, match="test has other classes"):
        divide(found, (3, 2, 1), test=Texts((("a",),), (0,), found.names))
    own = TextTokenizer(write(tmp_path))
    tokens = tokenised(parts, own, length=8)
    ids = np.asarray(tokens.ids)
    assert ids.shape == (6, 2, 8) and tokens.batch(jax.random.key(0), 4, "train")[0].shape[0] == 4
    # "oil", a number, "because": one known word and two unknown ones, then the choice.
    np.testing.assert_array_equal(ids[:, 1], [[2, 7, 1, 1, 3, 5, 3, 0]] * 6)
    np.testing.assert_array_equal(ids[:, 0], [[2, 7, 1, 1, 3, 8, 3, 0]] * 6)
    odd = Texts((("a", "b", "c"),), (0,), found.names, 2)
    with pytest.raises(ValueError, match="a row of 3 parts is not 2 texts"):
        tokenised(dict.fromkeys(("train", "valid", "test"), odd), own)


def test_texts_are_cut_and_padded(tmp_path):
    own = TextTokenizer(write(tmp_path))
    assert own.size == 11 and own.special == {0, 1, 2, 3}
    assert own.encode("The engine runs [CLS]") == [4, 5, 9, 2]
    assert own.decode([5, 10, 2]) == "engines [CLS]" and own.decode([10]) == "##s"
    long = Texts((("the engine runs",), ("moon", "the oil")), (0, 1), ("a", "b"))
    parts = dict(zip(("train", "valid", "test"), (long,) * 3, strict=True))
    found = tokenised(parts, own, length=6)
    np.testing.assert_array_equal(found.ids[:2], [[2, 4, 5, 9, 3, 0], [2, 8, 3, 4, 7, 3]])
    np.testing.assert_array_equal(found.mask[:2].sum(axis=1), [5, 6])
    assert found.splits == ((0, 2), (2, 4), (4, 6)) and found.vocabulary == 10
    cut = tokenised(parts, own, length=4)
    np.testing.assert_array_equal(cut.ids[:2], [[2, 4, 5, 3], [2, 3, 4, 3]])
    with pytest.raises(ValueError, match="3 tokens leave no room beside 3 special ones"):
        tokenised(parts, own, length=3)
    with pytest.raises(ValueError, match="parts must be train, valid and test"):
        tokenised({"train": long}, own)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": {"type": "WordPiece"}}', b"\xff"])
def test_what_is_no_tokenizer_is_refused(text, tmp_path):
    put(tmp_path / "tokenizer.json", text)
    with pytest.raises(FileError, match="found no tokenizer") as caught:
        TextTokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"steppe\[text\]"):
        TextTokenizer(tmp_path)
