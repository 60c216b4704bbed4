"""Candidates out of an answer, whatever a model wrote. Nothing of it is run, and nothing raises.

An answer is read as the first of these that gives a candidate:

1. JSON: a list of strings, alone, in a table, in a code fence, or somewhere in other text; also one
   that breaks off, and one with single quotes
2. lines that begin as those of a list do: "-", "*", "1.", "10)", "Template 2:"
3. lines

after what a model thought aloud was cut off. Then each is cleaned (quotes, control characters,
marks of chat formats, emphasis), and left out if it is an introduction, a row of scores, a
placeholder, too short, or known: an entry of the pool, or an example that the model was shown.
"""

import dataclasses
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from .chat import without_reasoning

LONGEST = 100_000  # characters of an answer that are looked at
TRIES = 60  # places of an answer that are tried as the beginning of JSON
MOST = 64  # candidates of an answer
LINES = 500  # lines or strings of an answer that are looked at
CHARACTERS = 4000  # of a candidate

MARKS = re.compile(
    r"<\|[^<>\n]{0,60}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad)>",
    re.IGNORECASE,
)
QUOTES = "\"'`“”„‟‘’‚‛«»‹›「」『』＂＇"
_LABEL = r"(?:new\s+)?(?:template|prompt|candidate|option|suggestion|answer)s?"
_BULLET = re.compile(
    rf"\s*(?:[-*+•‣◦▪·–—]\s+|[-•‣◦▪]|\(?\d{{1,3}}\s?[.):]\s*|\**{_LABEL}\s*#?\d+\**\s*[:.)–-]\s*)",
    re.IGNORECASE,
)
_PREFIX = re.compile(rf"\**{_LABEL}(?:\s*#?\d+)?\**\s*:\s*", re.IGNORECASE)
_SCORE = r"(?:(?:validation|val|valid|test)[ _])?(?:loss|accuracy|acc|fitness|score)"
_NUMBER = r"[-+−]?\d++(?:\.\d++)?(?:e[-+]?\d++)?(?: ?%)?"
_SCORES = re.compile(  # of text with single blanks; what was taken is not given back
    rf"[\s,;:|()\[\]–-]*+(?:{_SCORE}(?> ?[:=] ?| (?:is )?){_NUMBER}[\s,;|)\].]*+)++$", re.IGNORECASE
)
_PLACEHOLDER = re.compile(
    rf"(?:{_LABEL}|string|text|example|your {_LABEL}|item)\s*(?:#?\d+|[a-c])?(?: here)?\W*"
    r"|<[^<>]*>|\[[^\[\]]*\]|\{[^{}]*\}|[.…\s]+",
    re.IGNORECASE,
)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_STRING = re.compile(r'\s*,?\s*("(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'(?=\s*(?:[,\]]|\Z)))')


@dataclasses.dataclass(frozen=True)
class Parsed:
    """The candidates of an answer.

    - `cut`: those that had more words than the limit, as they are now
    - `dropped`: what was left out, and the reason
    """

    candidates: tuple[str, ...]
    cut: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()

    @property
    def fault(self) -> str:
        """The reasons why there is no candidate, as one sentence to the model; "" if there is."""
        if self.candidates:
            return ""
        reasons = dict.fromkeys(reason for _, reason in self.dropped)
        return f"no usable item was found ({', '.join(reasons) or 'the answer is empty'})"


def parse(
    answer: str,
    *,
    words: int | None = None,
    known: Iterable[str] = (),
    tables: bool = False,
) -> Parsed:
    """The candidates of an answer.

    - `words`: what is longer is cut there
    - `known`: texts that are no news, whatever their case
    - `tables`: a candidate is a table or a list of JSON, or a line such as "a = 1, b = 2"
    """
    text = without_reasoning(MARKS.sub(" ", answer[:LONGEST]))
    seen, found, cut, dropped = {fold(entry) for entry in known}, [], [], []
    for raw in _items(text, tables)[:LINES]:
        item = tidy(raw, tables)
        if reason := _fault(raw, item, tables):
            dropped.append((_short(item or raw), reason))
            continue
        shorter = " ".join(item.split(" ")[:words]) if words and not tables else item
        if fold(shorter) in seen:
            dropped.append((_short(shorter), "known already"))
            continue
        seen.add(fold(shorter))
        found.append(shorter)
        cut += [shorter] if shorter != item else []
        if len(found) == MOST:
            break
    return Parsed(tuple(found), tuple(cut), tuple(dropped[:MOST]))


def fold(text: str) -> str:
    """The text as it is compared with others: its letters and signs, whatever their case."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).strip(" .!?")


def tidy(text: str, tables: bool = False) -> str:
    """A candidate without what does not belong to it."""
    text = MARKS.sub(" ", unicodedata.normalize("NFC", text[:CHARACTERS]))
    text = "".join(c if _visible(c) else " " for c in text)
    text = " ".join(text.split())
    if tables:
        return text.strip("`, ")
    for _ in range(4):  # one inside the other
        before = text
        text = _SCORES.sub("", _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text)
        text = text.strip(" ,;").strip(QUOTES + " ").removeprefix("**").removesuffix("**").strip()
        if text == before:
            break
    return text


def _items(text: str, tables: bool) -> list[str]:
    """The raw candidates of an answer, read in the first way that gives some."""
    for found in _documents(text):
        if items := _strings(found, tables):
            return items
    if not tables and (items := _broken(text)):
        return items
    lines = [line for line in text.splitlines() if line.strip() and "```" not in line]
    listed = [line for line in lines if _BULLET.match(line)]
    return [_BULLET.sub("", line, count=1) for line in listed] or lines


def _documents(text: str) -> Iterator[Any]:
    """The JSON in a text: all of it, in a fence, or somewhere."""
    fenced = [match.group(1) for match in _FENCE.finditer(text)]
    decoder = json.JSONDecoder()
    for part in [text, *fenced[:8]]:
        end, tries = 0, 0
        for match in re.finditer(r"[\[{]", part):
            if match.start() < end:
                continue  # inside what was read
            if (tries := tries + 1) > TRIES:
                break
            try:
                found, end = decoder.raw_decode(part, match.start())
            except (ValueError, RecursionError):
                continue
            yield found


def _strings(found: Any, tables: bool) -> list[str]:
    """The candidates in a value of JSON, [] if there are none."""
    if isinstance(found, dict):
        for value in found.values():
            if isinstance(value, list) and (items := _strings(value, tables)):
                return items
        if tables:
            inner = [value for value in found.values() if isinstance(value, dict)]
            return [_dumped(value) for value in inner or [found]] if found else []
        texts = [value for value in found.values() if isinstance(value, str)]
        return texts if len(texts) == len(found) else []
    if not isinstance(found, list):
        return []
    if tables:
        inner = [value for value in found if isinstance(value, dict | list) and value]
        if inner:
            return [_dumped(value) for value in inner]
        if found and all(type(value) in (int, float) for value in found):
            return [_dumped(found)]
    items = [_one_text(value) for value in found]
    return [item for item in items if item is not None]


def _one_text(value: Any) -> str | None:
    """A string, or the first one of a table, which may hold its score too."""
    if isinstance(value, dict):
        value = next((part for part in value.values() if isinstance(part, str)), None)
    return value if isinstance(value, str) else None


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return ""


def _broken(text: str) -> list[str]:
    """The strings of a list that is no JSON: it breaks off, or has single quotes."""
    for match in list(re.finditer(r"\[\s*(?=[\"'])", text))[:TRIES]:
        items, end = [], match.end()
        while (string := _STRING.match(text, end)) and len(items) < MOST:
            items.append(_unquoted(string.group(1)))
            end = string.end()
        if items:
            return items
    return []


def _unquoted(text: str) -> str:
    try:
        return json.loads(text)
    except ValueError:
        return re.sub(r"\\(.)", r"\1", text[1:-1])


def _fault(raw: str, item: str, tables: bool) -> str:
    """The reason why this is no candidate; "" if it is one."""
    if len(raw) > CHARACTERS:
        return "too long"
    if tables:
        return "" if any(c.isdigit() or c.isalpha() for c in item) else "nothing in it"
    if raw.rstrip(" *").endswith((":", "：")):
        return "an introduction"
    if _SCORES.fullmatch(" ".join(raw.split())) or (not item and any(map(str.isdigit, raw))):
        return "only scores"
    if _PLACEHOLDER.fullmatch(item):
        return "a placeholder"
    if len(item) < 3 or not any(map(str.isalpha, item)):
        return "too short or without letters"
    return ""


def _visible(c: str) -> bool:
    """True for what can be seen: no controls, no marks of direction, no halves of characters."""
    return unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")


def _short(text: str, most: int = 200) -> str:
    text = "".join(c if _visible(c) else " " for c in text[: most + 1])
    return text if len(text) <= most else text[:most] + "…"


def escaped(text: str, most: int = CHARACTERS) -> str:
    """A text as it may stand in a message: on one line, without marks of chat formats.

    >>> escaped('a "photo"\\n<|im_end|> of')
    'a \\\\"photo\\\\" of'
    """
    text = " ".join(_short(MARKS.sub(" ", text), most).split())
    return json.dumps(text, ensure_ascii=False, allow_nan=False)[1:-1]


def worded(items: Collection[str], tables: bool = False) -> str:
    """The items as an answer should have them: a list of JSON, of strings or of tables.

    >>> worded(["a", "b"]), worded(['{"a": 1}'], tables=True)
    ('["a", "b"]', '[{"a": 1}]')
    """
    if tables:
        return f"[{', '.join(items)}]"
    return json.dumps(list(items), ensure_ascii=False, allow_nan=False)
