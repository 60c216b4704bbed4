"""Texts with labels, read from files, and cut into train, valid and test.

    table("posts.tsv")                          CSV, TSV or JSON lines with columns text and label
    orange("20newsgroups-train.tab")            the layout of Orange: three lines of header
    superglue("data", "RTE")                    SuperGLUE's JSON lines, one folder for each task

Each gives `Texts`. A text has one part or two (a question and a passage), which a tokenizer marks
as it likes to. In COPA each row has two texts, one of which is right. Nothing is downloaded here.
"""

import csv
import dataclasses
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np

from ..core.arguments import whole
from ..core.messages import did_you_mean
from ..core.types import Split
from ..store.untrusted import Length, Source, checked, listed, parse_json, read_lines, shown

LARGEST = 2**28  # bytes of a file
ROWS = 2_000_000
LONGEST = 2**17  # characters of a field, as Python's csv has it
CLASSES = 1000
NAME = 200  # characters of the name of a class
AGAIN = "give a file with a text and a label in each row"

Text = Annotated[str, Length(LONGEST)]
Question = Literal["cause", "effect"]  # of COPA


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts and their labels.

    - `texts`: each of one part or two; where there is a choice, the parts of all texts that are to
      choose from, one after the other
    - `labels`: places in `names`
    - `names`: of the classes, or of the places of a choice
    - `choices`: texts of a row, one of which is right; 1: a row is a text with a class
    """

    texts: tuple[tuple[str, ...], ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]
    choices: int = 1

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, names: Sequence[str]) -> "Texts":
        """The rows of these classes, which are numbered as they are given."""
        for name in names:
            if name not in self.names:
                known = did_you_mean(str(name), self.names)
                raise ValueError(f"There is no class {name!r}; {known}")
        if self.choices > 1:
            raise ValueError("only: the names are those of the places of a choice, and no classes.")
        place = {self.names.index(name): i for i, name in enumerate(names)}
        kept = [i for i, label in enumerate(self.labels) if label in place]
        return Texts(
            tuple(self.texts[i] for i in kept),
            tuple(place[self.labels[i]] for i in kept),
            tuple(names),
        )


def table(path: str | os.PathLike, *, text: str = "text", label: str = "label") -> Texts:
    """Texts from CSV (.csv), tabs (.tsv) or lines of JSON (.jsonl), by the ending of the name.

    - `text`, `label`: names of the columns, which the first line of a CSV or TSV file gives

    Classes are in the order of the alphabet. Raises FileError, one sentence.
    """
    path = Path(path)
    source = Source(str(path), AGAIN)
    if path.suffix == ".jsonl":
        needed = {text: Text, label: Text | int | bool}
        rows = ((row[text], row[label]) for row in _json_lines(path, needed, source))
        return _collected(((str(x),), _name(y)) for x, y in _bounded(rows, source))
    if path.suffix not in (".csv", ".tsv"):
        raise source.refuse(f"the ending {path.suffix!r}", ".csv, .tsv or .jsonl")
    rows = _columns(path, "," if path.suffix == ".csv" else "\t", source)
    _, header = next(rows, (0, []))
    columns = _place(header, text, source), _place(header, label, source)
    return _collected(_chosen(rows, *columns, source))


def orange(path: str | os.PathLike) -> Texts:
    """Texts in the layout of Orange's data: names, kinds and roles of the columns, then rows.

    The label is the column whose role is `class`, the text the first one of the kind `string`.
    Raises FileError, one sentence.
    """
    path = Path(path)
    source = Source(str(path), AGAIN)
    rows = _columns(path, "\t", source)
    header = [row for _, row in itertools.islice(rows, 3)]
    kinds, roles = header[1:] if len(header) == 3 else ([], [])
    kinds = [kind.strip() for kind in kinds]
    place = lambda words, of: next((i for i, word in enumerate(of) if word in words), None)
    text = place(("string", "s"), kinds)
    label = place(("class",), [role.strip() for role in roles])
    if text is None or label is None:
        raise source.refuse("a header without a column of texts and one of the class", "both")
    return _collected(_chosen(rows, text, label, source))


TRUTH = (("false", "true"), bool)
ENTAILS = (("not_entailment", "entailment"), str)


def _word_in_context(row: Mapping[str, Any]) -> tuple[str, str]:
    both = f"{row['sentence1']} {row['sentence2']}"
    return both, f"Does {row['word']} have the same meaning in both sentences?"


def _pronoun(row: Mapping[str, Any]) -> tuple[str, str]:
    target = row["target"]
    return f"{target['span2_text']}: {row['text']}", target["span1_text"]


def _premise(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["premise"], row["hypothesis"]


def _cause_or_effect(row: Mapping[str, Any]) -> tuple[str, ...]:
    begun = f"{row['premise']} {QUESTIONS[row['question']]}"
    return begun, row["choice1"], begun, row["choice2"]


QUESTIONS = {"cause": "because", "effect": "so"}
SPANS = dict[Annotated[str, Length(80)], Text | int]
PAIR = {"premise": Text, "hypothesis": Text}
CLAIMS = (("contradiction", "entailment", "neutral"), str)
ENDINGS = {"premise": Text, "choice1": Text, "choice2": Text, "question": Question}
TASKS = {  # fields beside the label; the label's names and type; a row as texts
    "BoolQ": ({"question": Text, "passage": Text}, TRUTH, lambda x: (x["question"], x["passage"])),
    "CB": (PAIR, CLAIMS, _premise),
    "COPA": (ENDINGS, (("choice1", "choice2"), int), _cause_or_effect),
    "RTE": (PAIR, ENTAILS, _premise),
    "WiC": ({"sentence1": Text, "sentence2": Text, "word": Text}, TRUTH, _word_in_context),
    "WSC": ({"text": Text, "target": SPANS}, TRUTH, _pronoun),
}


def superglue(folder: str | os.PathLike, task: str, part: str = "train") -> Texts:
    """Texts of a task of SuperGLUE from its official files, `folder/task/part.jsonl`.

    - `task`: a name of `TASKS`
    - `part`: train or val; the official test has no labels

    A row of COPA has two texts, "premise because" or "premise so" and either choice. MultiRC and
    ReCoRD, with many answers to one passage, are not read. Raises FileError, one sentence. Wang et
    al., "SuperGLUE", NeurIPS 2019.
    """
    if task not in TASKS:
        raise ValueError(f"There is no task {task!r} of SuperGLUE; {did_you_mean(task, TASKS)}")
    if part not in ("train", "val"):
        raise ValueError(f"superglue: part must be train or val, which have labels, got {part!r}.")
    fields, (names, kind), texts = TASKS[task]
    path = Path(folder) / task / f"{part}.jsonl"
    source = Source(str(path), "give the folder into which SuperGLUE's archives were unpacked")

    def rows() -> Iterator[tuple[tuple[str, ...], str]]:
        for number, row in enumerate(_json_lines(path, fields | {"label": kind}, source), 1):
            label = row["label"]
            at = source.part(f"row {number}")
            if kind is int:
                if not 0 <= label < len(names):
                    raise at.refuse(f"the label {label}", f"0 to {len(names) - 1}")
                label = names[label]
            found = str(label).lower() if kind is bool else label
            if found not in names:
                raise at.refuse(f"the label {shown(found)}", f"one of {', '.join(names)}")
            try:
                said = texts(row)
            except KeyError as error:
                raise at.refuse(f"no {error}", "it in `target`") from None
            if not all(isinstance(each, str) for each in said):
                raise at.refuse("a number as text", "words")
            yield said, found

    return _collected(_bounded(rows(), source), names, 2 if task == "COPA" else 1)


def divide(
    pool: Texts, sizes: Sequence[int] = (128, 256, 512), *, test: Texts | None = None, seed: int = 0
) -> dict[Split, Texts]:
    """Train, valid and test of so many rows each, drawn at random; no text is in two of them.

    - `pool`: what train and valid are drawn from, and test where nothing else is given
    - `test`: data of their own for test, such as an official test set
    - `seed`: of the draw

    A text that comes twice is taken once; one that is in `test` is not in the others.
    """
    if len(sizes) != len(get_args(Split)):
        raise ValueError(f"divide: sizes must be those of train, valid, test, got {sizes}.")
    sizes = [whole("divide: a size", size, least=1, most=ROWS) for size in sizes]
    rng = np.random.default_rng(whole("divide: seed", seed, least=0, most=2**63 - 1))
    if test is not None and (test.names, test.choices) != (pool.names, pool.choices):
        raise ValueError("divide: test has other classes than pool; use `only` on both.")
    others = _drawn(test, rng, set(), "test", sizes[2]) if test is not None else None
    taken = set(test.texts) if test is not None else set()
    wanted = sizes[:2] if test is not None else sizes
    rows = _drawn(pool, rng, taken, "pool", sum(wanted))
    stops = np.cumsum([0, *wanted])
    parts = [_rows(pool, rows[a:b]) for a, b in itertools.pairwise(stops)]
    if test is not None and others is not None:
        parts.append(_rows(test, others))
    return dict(zip(get_args(Split), parts, strict=True))


def _drawn(
    texts: Texts, rng: np.random.Generator, taken: Collection[Any], what: str, count: int
) -> list[int]:
    """So many rows at random, of different texts that are not taken."""
    first: dict[Any, int] = {}
    for i, text in enumerate(texts.texts):
        if text not in taken:
            first.setdefault(text, i)
    if len(first) < count:
        raise ValueError(
            f"divide: {what} has {len(first)} different texts for {count} rows; ask for fewer."
        )
    return [int(i) for i in rng.permutation(list(first.values()))[:count]]


def _rows(texts: Texts, rows: Sequence[int]) -> Texts:
    return dataclasses.replace(
        texts,
        texts=tuple(texts.texts[i] for i in rows),
        labels=tuple(texts.labels[i] for i in rows),
    )


def _collected(
    rows: Iterable[tuple[tuple[str, ...], str]],
    names: Sequence[str] | None = None,
    choices: int = 1,
) -> Texts:
    texts, labels = [], []
    for text, label in rows:
        texts.append(text)
        labels.append(label)
    names = sorted(set(labels)) if names is None else names
    place = {name: i for i, name in enumerate(names)}
    return Texts(tuple(texts), tuple(place[label] for label in labels), tuple(names), choices)


def _bounded(rows: Iterable[Any], source: Source) -> Iterator[Any]:
    """The rows, if there are some and not too many, of not too many classes."""
    count, names = 0, set()
    for row in rows:
        count += 1
        names.add(row[-1])
        if count > ROWS or len(names) > CLASSES:
            raise source.refuse(
                f"more than {ROWS} rows or {CLASSES} classes", "fewer; is the label another column?"
            )
        yield row
    if not count:
        raise source.refuse("no rows", "one at least")


def _name(label: object) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def _json_lines(path: Path, fields: Mapping[str, Any], source: Source) -> Iterator[dict[str, Any]]:
    """The named fields of each line, checked; others are let lie."""
    for number, line in read_lines(path, LARGEST, source):
        if not line.strip():
            continue
        at = source.part(f"line {number}")
        row = checked(parse_json(line, at, values=10_000), dict[str, Any], at)
        for name in fields:
            if name not in row:
                raise at.refuse(f"no {name}", f"the fields {', '.join(fields)}")
        yield {name: checked(row[name], hint, at, name) for name, hint in fields.items()}


def _columns(path: Path, parted: str, source: Source) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table of text with the number of their last line."""

    def lines() -> Iterator[str]:
        for number, line in read_lines(path, LARGEST, source):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise source.part(f"line {number}").refuse("no UTF-8", "UTF-8") from None

    # Tabs are no part of a text there, so that quotes are letters.
    quoting = csv.QUOTE_NONE if parted == "\t" else csv.QUOTE_MINIMAL
    reader = csv.reader(lines(), delimiter=parted, quoting=quoting, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise source.part(f"line {reader.line_num}").refuse(
            f"no table ({error})", "rows of columns"
        ) from None


def _place(header: Sequence[str], name: str, source: Source) -> int:
    if name not in header:
        raise source.refuse(f"the columns {listed(header)}", f"one that is called {name}")
    return header.index(name)


def _chosen(
    rows: Iterable[tuple[int, list[str]]], text: int, label: int, source: Source
) -> Iterator[tuple[tuple[str], str]]:
    def chosen() -> Iterator[tuple[tuple[str], str]]:
        for number, row in rows:
            if not row:
                continue
            at = source.part(f"line {number}")
            if len(row) <= max(text, label):
                raise at.refuse(f"{len(row)} columns", f"{1 + max(text, label)} at least")
            if not 0 < len(row[label]) <= NAME:
                raise at.refuse("a label without or with very many letters", "the name of a class")
            yield (row[text],), row[label]

    return _bounded(chosen(), source)
