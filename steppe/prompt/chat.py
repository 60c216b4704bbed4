"""A chat with a language model as values: what is asked, what came back, and who answers.

    client = HTTPClient("http://localhost:8080", "smollm2")
    client.complete([Message("user", "Three colours, please.")], max_tokens=40).texts

Clients are put into one another, and each adds one thing: `Cached(Breaker(Budgeted(HTTPClient(…),
Budget(calls=10))), "cache")`. Nothing here opens a connection; standard library only.
"""

import abc
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..core.arguments import check_list, expect_kind, real, whole

VERSION = 1  # of what is hashed, and of a file of the cache
LARGEST = 2**31 - 1
CHARACTERS = 4  # to a token of English, where a server does not count

Role = Literal["system", "user", "assistant"]


class ChatError(RuntimeError):
    """No answer could be had. The message is one sentence, and holds no secret.

    - `status`: the status of HTTP, where a server refused
    """

    def __init__(self, sentence: str, status: int | None = None):
        self.args, self.status = (sentence,), status


class BudgetError(RuntimeError):
    """The budget is spent, or might be by the next answer.

    - `result`: the answer that was too much, where it came
    """

    def __init__(self, sentence: str, result: "ChatResult | None" = None):
        self.args, self.result = (sentence,), result


@dataclasses.dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: Role
    content: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """A question, and how it is to be answered; None leaves a choice to the server.

    - `n`: answers
    - `temperature`: 0 for the likeliest answer, about 1 for variety
    - `top_p`: share of the likeliest tokens that are drawn from
    - `max_tokens`: of one answer
    - `stop`: texts that end an answer
    - `response_format`: a table as servers of this protocol take it, `json_schema` for one
    - `patience`: seconds for the whole, if less than those of the client; not part of the question
    """

    messages: tuple[Message, ...]
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    response_format: Mapping[str, Any] | None = None
    patience: float | None = None

    def __post_init__(self):
        check_list("messages", self.messages)
        if not self.messages:
            raise ValueError("messages must hold one message at least, got none.")
        for message in self.messages:
            expect_kind("messages", message, Message, "a list of Message")
        whole("n", self.n, least=1, most=100)
        for name, most in (("temperature", math.inf), ("top_p", 1.0), ("patience", math.inf)):
            value = getattr(self, name)
            if value is not None and not 0 <= real(name, value) <= most:
                raise ValueError(f"{name} must lie between 0 and {most}, got {value}.")
        for name, least in (("max_tokens", 1), ("seed", 0)):
            if (value := getattr(self, name)) is not None:
                whole(name, value, least=least, most=LARGEST)
        check_list("stop", self.stop)
        try:
            json.dumps(self.plain(), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"A question must be what JSON can say ({error}).") from None

    def fields(self) -> dict[str, Any]:
        """The choices that are made, by the names of the protocol; not the messages."""
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "n": self.n if self.n > 1 else None,
            "stop": list(self.stop) or None,
            "seed": self.seed,
            "response_format": self.response_format,
        }
        return {name: value for name, value in given.items() if value is not None}

    def plain(self) -> dict[str, Any]:
        """The question as a table of JSON."""
        return {"messages": [dataclasses.asdict(m) for m in self.messages], **self.fields()}

    def digest(self, model: str, attempt: int = 0) -> str:
        """SHA-256 of the question as canonical JSON.

        - `attempt`: how often the same was asked before
        """
        said = {"version": VERSION, "model": model, "attempt": attempt, **self.plain()}
        text = json.dumps(said, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    @property
    def prompt_tokens(self) -> int:
        """An estimate of the tokens of the messages."""
        return sum(tokens_of(message.content) for message in self.messages)


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens of a question and of its answers; `estimated` where a server did not count them."""

    prompt: int = 0
    completion: int = 0
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.estimated or other.estimated,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChatResult:
    """Answers to a question.

    - `finish_reasons`: the server's words why each answer ends, "" if it gave none
    - `latency`: seconds that it took, when it was first given
    - `cached`: it was not asked for now
    - `request_hash`: see `Request.digest`
    """

    texts: tuple[str, ...]
    usage: Usage
    model: str
    finish_reasons: tuple[str, ...] = ()
    latency: float = 0.0
    cached: bool = False
    request_hash: str = ""


class AbstractClient(abc.ABC):
    """Somebody who answers. Safe to be asked by several threads."""

    @property
    @abc.abstractmethod
    def model(self) -> str:
        """The name of the model that is asked for."""

    @abc.abstractmethod
    def send(self, request: Request) -> ChatResult:
        """The answers to a question. Raises ChatError where there are none."""

    def complete(
        self,
        messages: Sequence[Message],
        *,
        stop: str | Sequence[str] | None = None,
        **choices: Any,
    ) -> ChatResult:
        """The answers to these messages.

        - `choices`: `n`, `temperature`, `top_p`, `max_tokens`, `seed`, `response_format`,
          `patience`, as in `Request`
        """
        check_list("messages", messages)
        stops = (stop,) if isinstance(stop, str) else tuple(stop or ())
        return self.send(Request(messages=tuple(messages), stop=stops, **choices))


def tokens_of(text: str) -> int:
    """An estimate of the tokens of a text.

    >>> tokens_of("twelve chars"), tokens_of("")
    (3, 0)
    """
    return -(-len(text) // CHARACTERS)


def whole_text(text: str) -> str:
    """The text without halves of characters, which no file can hold.

    >>> whole_text("half \\ud83d")
    'half ?'
    """
    return text.encode("utf-8", "replace").decode("utf-8")


TAG = re.compile(r"<(/?)(?:think|thinking|thought|reasoning|reflection)>", re.IGNORECASE)


def without_reasoning(text: str) -> str:
    """The answer without what a model thought aloud before it, between tags.

    A tag that is never closed hides the rest; one that was never opened, all before it.

    >>> without_reasoning("<think>Hm, [1].</think> red")
    'red'
    >>> without_reasoning("Hm.</think>red"), without_reasoning("<think>Hm, red")
    ('red', '')
    """
    kept, begin, inside = [], 0, False
    for tag in TAG.finditer(text):
        closing = bool(tag.group(1))
        if closing and not inside:
            kept.clear()
        elif not inside:
            kept.append(text[begin : tag.start()])
        begin, inside = tag.end(), not closing
    return "".join(kept if inside else [*kept, text[begin:]]).strip()
