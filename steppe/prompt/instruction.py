"""The message to a language model, in four parts: role, scored examples, what to do, requirements.

The pool's best and newest entries stand from the worst to the best, so that the best is nearest to
what is asked. Texts of the pool come from models and users: they are escaped before they go in.
"""

import dataclasses
import json

from ..core.arguments import expect_kind, whole
from .chat import Message
from .codecs import AbstractCodec, is_table
from .parse import escaped, worded
from .pool import Pool, Scored

ROLE = (
    "You study texts that were scored, find out what makes one good, and write better ones. "
    "You answer with JSON and nothing else."
)
SHOWN = 3  # metrics of an entry


@dataclasses.dataclass(frozen=True)
class Example:
    """A question and a right answer that are shown first: small models need one to follow.

    - `scored`: texts with their losses
    - `answer`: texts that would be a good answer
    """

    scored: tuple[tuple[str, float], ...]
    answer: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Instruction:
    """The words about a task.

    - `task`: a sentence about it, such as "The texts are prompts by which posts are sorted."
    - `labels`: names of classes, where there are some
    - `example`: shown first; its texts are no candidates
    - `top`, `recent`: entries of the pool that are shown, the best and the newest others
    """

    task: str
    labels: tuple[str, ...] = ()
    example: Example | None = None
    role: str = ROLE
    top: int = 8
    recent: int = 2

    def __post_init__(self):
        expect_kind("Instruction: task", self.task, str, "a sentence")
        whole("Instruction: top", self.top, least=1, most=1000)
        whole("Instruction: recent", self.recent, least=0, most=1000)

    def messages(self, pool: Pool, codec: AbstractCodec, n: int) -> tuple[Message, ...]:
        """The chat that asks for `n` texts."""
        said = [Message("system", self.role)]
        if self.example is not None:
            scored = [Scored(text, loss) for text, loss in self.example.scored]
            shown = Pool.of(*scored).shown(len(scored) or 1, 0)
            asked = self._question(shown, codec, len(self.example.answer))
            said += [
                Message("user", asked),
                Message("assistant", worded(self.example.answer, is_table(codec))),
            ]
        return (*said, Message("user", self._question(pool.shown(self.top, self.recent), codec, n)))

    @property
    def shown(self) -> tuple[str, ...]:
        """Texts that stand in the example, which a model may give back."""
        if self.example is None:
            return ()
        return (*(text for text, _ in self.example.scored), *self.example.answer)

    def _question(self, shown: list[Scored], codec: AbstractCodec, n: int) -> str:
        labels = ", ".join(escaped(label, 100) for label in self.labels)
        parts = [self.task.strip() + (f" The classes are: {labels}." if labels else "")]
        if shown:
            rows = "\n".join(_row(record, is_table(codec)) for record in shown)
            parts.append(
                "Texts and their loss on held-out data, the worst first; a lower loss is better:\n"
                f"{rows}"
            )
            todo = (
                "Something makes some of them better than others. Find it, and write "
                f"{n} new {'text' if n == 1 else 'texts'}, unlike those above, with a loss as low "
                "as possible."
            )
        else:
            todo = f"Write {n} {'text' if n == 1 else 'texts'} with a loss as low as possible."
        kind = "tables" if is_table(codec) else "strings"
        parts += [todo, f"Each is {codec.describe()}. Answer with one JSON list of {n} {kind}."]
        return "\n\n".join(parts)


def response_format(codec: AbstractCodec, n: int) -> dict[str, object]:
    """The form of an answer for servers that can hold a model to it: a table with one list."""
    items = {"type": "array", "items": codec.schema(), "minItems": n, "maxItems": n}
    schema = {
        "type": "object",
        "properties": {"candidates": items},
        "required": ["candidates"],
        "additionalProperties": False,
    }
    return {
        "type": "json_schema",
        "json_schema": {"name": "candidates", "strict": True, "schema": schema},
    }


def _row(record: Scored, table: bool) -> str:
    numbers = {"loss": record.loss, **dict(list(record.metrics.items())[:SHOWN])}
    said = [f"{name} {_three(x)}" for name, x in numbers.items() if x is not None]
    return f"- {_said(record.text, table)} {', '.join(said)}"


def _said(text: str, table: bool) -> str:
    """A text as it may stand in a message: in quotes, or a table as such."""
    if table:
        try:
            return json.dumps(json.loads(text), allow_nan=False)
        except (ValueError, RecursionError):
            pass
    return f'"{escaped(text)}"'


def _three(x: float) -> str:
    """Three decimals, without a sign before 0."""
    return f"{round(x, 3) + 0.0:.3f}"
