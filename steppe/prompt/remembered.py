"""A descent that remembers what it has computed, so that a run that broke off need not do it again.

    descent = Remembered(descent, "kept", identity)
    Catalyst(proposer, schedule).run(descent)         broken off, and begun anew by the same line

All of a run follows from where it begins, what is proposed, and arithmetic that gives the same bits
again. So a lane is known by how it came about: the SHA-256 of where it began, of the texts that it
was begun again from, and of the steps between. By that its score and its text are looked up, and
gradient steps are taken only where something is asked that nobody knows. What a run that is begun
anew computes is the steps of those lanes that lived; scores, which often cost more, and lanes that
lost are not computed again.

In one process, the ways that are compared share the lane of gradients alone in the same manner.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from ..store.files import to_json, write_atomically
from ..store.lock import exclusive
from ..store.untrusted import Length, Source, checked, parse_json, read_bytes
from .codecs import CodecError
from .descent import AbstractDescent, Lane, Score
from .history import Number, Words, plain
from .pool import Name, Text

MOST = 2**28  # bytes of a file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """One line of the file: an answer about one lane.

    - `lane`: how it came about
    - `kind`: its score, its text, or whether it could be begun from one
    - `loss`: None if it is not finite
    - `refused`: the sentence of a CodecError, "" if there was none
    """

    lane: Annotated[str, Length(64)]
    kind: Literal["score", "text", "restart"]
    loss: Number = None
    metrics: dict[Name, Number] = dataclasses.field(default_factory=dict)
    text: Text = ""
    refused: Words = ""


class _Way:
    """A lane of the descent beneath, or how to come to it from another.

    - `root`: how the way began; `steps`: since then. It does not matter how often one looked
    """

    def __init__(
        self,
        root: str,
        steps: int,
        lane: Lane | None = None,
        parent: "_Way | None" = None,
        act: Callable[[Lane], Lane] | None = None,
    ):
        self.root, self.steps, self.lane, self.parent, self.act = root, steps, lane, parent, act

    @property
    def digest(self) -> str:
        return _digest(f"{self.root} {self.steps}")


class Remembered(AbstractDescent):
    """`base`, whose scores and texts are kept in a file.

    - `folder`: where the file is; None: they are kept in memory alone
    - `identity`: tells this problem, its data, the optimizer and the machine from all others: two
      runs of the same are taken to give the same bits

    Raises FileError for a file that is not what it should be.
    """

    def __init__(
        self, base: AbstractDescent, folder: str | os.PathLike | None = None, identity: str = ""
    ):
        self.base, self._root = base, _digest(identity)
        self.path = None if folder is None else Path(folder) / f"scores-{self._root[:16]}.jsonl"
        self._known = {} if self.path is None else _read(self.path)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def gradients_per_step(self) -> int | None:
        return self.base.gradients_per_step

    @property
    def texts_say(self) -> Literal["where", "how"]:
        return self.base.texts_say

    def begin(self) -> Lane:
        lane = self.base.begin()
        return Lane(_Way(self._root, 0, lane), lane.step)

    def advance(self, lane: Lane, steps: int) -> Lane:
        way: _Way = lane.value
        act = lambda own: self.base.advance(own, steps)
        later = _Way(way.root, way.steps + steps, parent=way, act=act)
        return Lane(later, lane.step + steps)

    def score(self, lane: Lane) -> Score:
        known = self._known.get((lane.value.digest, "score"))
        if known is None:
            score = self.base.score(self._there(lane.value))
            numbers = {name: plain(float(x)) for name, x in score.metrics.items()}
            self._keep(lane.value, "score", loss=plain(score.loss), metrics=numbers)
            return score
        return Score(_number(known.loss), {k: _number(x) for k, x in known.metrics.items()})

    def text(self, lane: Lane) -> str:
        known = self._known.get((lane.value.digest, "text"))
        if known is None:
            found, refused = "", ""
            try:
                found = self.base.text(self._there(lane.value))
            except CodecError as error:
                refused = str(error)
            known = self._keep(lane.value, "text", text=found, refused=refused)
        if known.refused:
            raise CodecError(known.refused)
        return known.text

    def restart(self, lane: Lane, text: str) -> Lane:
        act = lambda own: self.base.restart(own, text)
        root = _digest(f"{lane.value.digest} {text}")
        way = _Way(root, 0, parent=lane.value, act=act)
        known = self._known.get((way.digest, "restart"))
        if known is None:
            refused = ""
            try:
                self._there(way)
            except CodecError as error:
                refused = str(error) or "It cannot be read."
            known = self._keep(way, "restart", refused=refused)
        if known.refused:
            raise CodecError(known.refused)
        return Lane(way, lane.step)

    def params(self, lane: Lane) -> Any:
        return self.base.params(self._there(lane.value))

    def _there(self, way: _Way) -> Lane:
        """The lane itself; what leads to it is computed where nobody did so before."""
        todo = []
        while way.lane is None:
            todo.append(way)
            way = cast(_Way, way.parent)
        lane = way.lane
        for way in reversed(todo):
            lane = way.lane = cast(Callable[[Lane], Lane], way.act)(lane)
            way.parent = way.act = None  # so that lanes of the past are not held
        return lane

    def _keep(self, way: _Way, kind: Literal["score", "text", "restart"], **found: Any) -> Known:
        known = self._known[way.digest, kind] = Known(lane=way.digest, kind=kind, **found)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            line = (to_json(dataclasses.asdict(known)) + "\n").encode()
            with open(self.path, "ab") as file, exclusive(file):
                file.write(line)
        return known


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _number(x: Number) -> float:
    return float("nan") if x is None else x


def _read(path: Path) -> dict[tuple[str, str], Known]:
    """The answers in a file; a last line that was cut short is taken off it."""
    if not path.exists():
        return {}
    source = Source(str(path), "remove it: it only saves time")
    data = read_bytes(path, MOST, source)
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        write_atomically(path, whole)
    found = {}
    for number, line in enumerate(whole.splitlines(), 1):
        part = source.part(f"line {number}")
        known = checked(parse_json(line, part), Known, part)
        found[known.lane, known.kind] = known
    return found
