"""A client of any server that speaks OpenAI's chat protocol: vLLM, Ollama, llama.cpp, hosted ones.

    POST {base_url}/chat/completions    {"model": …, "messages": […], only what was chosen}

Servers differ. One that refuses a field (`response_format`, `seed`, `max_tokens`, …) is asked once
more without it, or with the name that it knows, and what helped is remembered; one that gives fewer
answers than `n` is asked again for the rest. What fails by chance (no connection, no answer in
time, 408, 409, 425, 429, 500, 502–504, half an answer) is tried again after a random part of
½ · 2ⁱ seconds, at most 30, or as long as the server says; all within one deadline.

The key is in one header and nowhere else: it is looked up for each question, and covered wherever
a server repeats it.
"""

import datetime
import email.utils
import json
import random
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..core.arguments import expect_kind, real, told, whole
from ..store.hints import one_line
from .chat import (
    AbstractClient,
    ChatError,
    ChatResult,
    Request,
    Usage,
    tokens_of,
    whole_text,
    without_reasoning,
)
from .secret import Secret, hide
from .wire import Address, Limits, Reply, WireError, post

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
REFUSED = (400, 422)  # a field may be to blame
RENAMED = {"max_tokens": "max_completion_tokens"}
FIRST, LONGEST = 0.5, 30.0  # seconds before another try
ADVICE = {
    401: "check the key",
    403: "check the key, and whether it may use this model",
    404: "check base_url and the name of the model",
    413: "ask for less at once",
    429: "wait, or ask less often",
}


class _Bad(Exception):
    """An answer that is none: the words of what is wrong with it."""


class _Read(NamedTuple):
    texts: list[str]
    reasons: list[str]
    usage: Usage
    model: str


class HTTPClient(AbstractClient):
    """A server at `base_url`, and one of its models.

    - `base_url`: "http://localhost:11434", with or without /v1
    - `key`: the *name* of an environment variable, or a function that returns the key
    - `limits`: seconds to connect and between two reads, bytes of an answer
    - `deadline`: seconds for all tries of one question together
    - `retries`: further tries of what fails by chance
    - `clock`, `now`, `sleep`, `jitter`: seconds that only grow, seconds since 1970, waiting, and a
      random number in [0, 1): for tests
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key: str | Callable[[], str] | None = None,
        limits: Limits | None = None,
        deadline: float = 600.0,
        retries: int = 4,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ):
        self.address, self._model, self._secret = Address.of(base_url), model, Secret(key)
        expect_kind("model", model, str, "the name of a model")
        self.limits, self.retries = limits or Limits(), whole("retries", retries, least=0, most=100)
        self.deadline = real("deadline", deadline)
        self._clock, self._now, self._sleep, self._jitter = clock, now, sleep, jitter
        self._learned: dict[str, str | None] = {}  # field: the name that the server knows, or none
        self._guard = threading.Lock()
        self._warned = False

    def __repr__(self) -> str:
        return f"HTTPClient({str(self.address)!r}, {self.model!r})"

    @property
    def model(self) -> str:
        return self._model

    def send(self, request: Request) -> ChatResult:
        began = self._clock()
        allowed = min(self.deadline, request.patience if request.patience is not None else 1e30)
        left = lambda: began + allowed - self._clock()
        key = self._secret.read()
        self._warn_of_plain_http(key)
        texts, reasons, usage, model = [], [], Usage(), self.model
        while len(texts) < request.n:
            part = self._ask(request, request.n - len(texts), len(texts), key, left)
            texts, reasons = texts + part.texts, reasons + part.reasons
            usage, model = usage + part.usage, part.model or model
        return ChatResult(
            texts=tuple(texts),
            usage=usage,
            model=model,
            finish_reasons=tuple(reasons),
            latency=self._clock() - began,
            request_hash=request.digest(self.model),
        )

    def _warn_of_plain_http(self, key: str | None) -> None:
        if key and self.address.scheme == "http" and not self.address.loopback and not self._warned:
            self._warned = True
            warnings.warn(
                f"The key goes to {self.address} without encryption; use https.", stacklevel=4
            )

    def _ask(
        self, request: Request, n: int, had: int, key: str | None, left: Callable[[], float]
    ) -> _Read:
        """Some answers, n at most, to one message; tried again as the server allows."""
        tries = 0
        with self._guard:
            known = dict(self._learned)
        while True:
            payload = self._payload(request, n, had, known)
            wait = None
            try:
                reply = self._post(payload, key, left)
                if 200 <= reply.status < 300:
                    read = _read(reply.body, payload, key)
                    with self._guard:
                        self._learned |= known
                    return read
                complaint, status = _complaint(reply.body, key), reply.status
                if status in REFUSED and (field := _blamed(payload, complaint)):
                    known[field] = None if field in known else RENAMED.get(field)
                    continue
                detail = one_line(ValueError(complaint))
                words = f"it answered {status}" + (f" ({detail})" if detail else "")
                again, wait = status in AGAIN, self._wait(reply)
            except WireError as error:
                words, again, status = error.words, error.again, None
            except _Bad as error:
                words, again, status = str(error), True, None
            if not again or tries >= self.retries:
                raise self._error(words, status, tries)
            delay = min(LONGEST, FIRST * 2**tries) * self._jitter() if wait is None else wait
            if delay >= left():
                raise self._error(words, status, tries, ", and no time is left to try again")
            self._sleep(delay)
            tries += 1

    def _error(self, words: str, status: int | None, tries: int, more: str = "") -> ChatError:
        often = f", {tries + 1} times" if tries else ""
        advice = ADVICE.get(status or 0, "see that the server runs, and base_url")
        if status and status not in ADVICE:
            advice = "see the log of the server"
        return ChatError(f"{self.address}: {words}{often}{more}; {advice}.", status)

    def _post(
        self, payload: Mapping[str, Any], key: str | None, left: Callable[[], float]
    ) -> Reply:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": "steppe",  # some servers answer nobody without a name
        }
        if key:
            headers["Authorization"] = f"Bearer {key}"
        body = json.dumps(payload, allow_nan=False).encode("ascii")
        path = f"{self.address.path}/chat/completions"
        return post(self.address, path, body, headers, self.limits, left)

    def _payload(
        self, request: Request, n: int, had: int, known: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """The body to send: the fields chosen, by the names that this server knows."""
        fields = request.fields()
        if n > 1:
            fields["n"] = n
        else:
            fields.pop("n", None)
        if had and "seed" in fields:  # else the answers would be the same
            fields["seed"] += had
        for name, renamed in known.items():
            if name in fields:
                value = fields.pop(name)
                fields |= {renamed: value} if renamed else {}
        return {"model": self.model, "messages": request.plain()["messages"], **fields}

    def _wait(self, reply: Reply) -> float | None:
        """Seconds that the server wants us to wait, at most LONGEST; None if it does not say."""
        said = (reply.headers.get("Retry-After") or "").strip()
        try:
            if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", said):
                seconds = float(said)
            else:
                when = email.utils.parsedate_to_datetime(said)
                when = when if when.tzinfo else when.replace(tzinfo=datetime.UTC)
                seconds = when.timestamp() - self._now()
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(seconds, 0.0), LONGEST)


def _blamed(payload: Mapping[str, Any], words: str) -> str:
    """The field that a server refuses by its own words, else the likeliest; "" if there is none."""
    asked = {renamed: name for name, renamed in RENAMED.items()}
    sent = [name for name in payload if name not in ("model", "messages")]
    named = [name for name in sent if re.search(rf"\b{name}\b", words)]
    if named:
        return asked.get(named[0], named[0])
    return "response_format" if "response_format" in sent else ""


def _read(body: bytes, payload: Mapping[str, Any], key: str | None) -> _Read:
    """The answers in a body, of which nothing is believed. Raises _Bad."""
    document = _document(body)
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices:
        raise _Bad("its answer has no `choices`")
    texts, reasons = [], []
    for choice in choices[: payload.get("n", 1)]:
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            raise _Bad("a choice in its answer has no `message`")
        reason = choice.get("finish_reason")
        texts.append(hide(without_reasoning(whole_text(_content(message.get("content")))), key))
        reasons.append(_word(reason, key)[:80])
    model = document.get("model")
    usage = _usage(document.get("usage"), payload, texts)
    return _Read(texts, reasons, usage, _word(model, key)[:200])


def _word(said: object, key: str | None) -> str:
    return hide(whole_text(said), key) if isinstance(said, str) else ""


def _document(body: bytes) -> dict[str, Any]:
    text = body.decode("utf-8", "replace").removeprefix("\ufeff").strip()
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        what = "a page of HTML" if text[:1] == "<" else "no whole JSON" if text else "nothing"
        raise _Bad(f"its answer is {what}") from None
    if not isinstance(document, dict):
        raise _Bad("its answer is no table")
    return document


def _content(content: object) -> str:
    """The text of a message: itself, or that of its parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    if content is None or isinstance(content, str):
        return content or ""
    raise _Bad("the content of its answer is no text")


def _usage(said: object, payload: Mapping[str, Any], texts: list[str]) -> Usage:
    """The tokens that a server counted; an estimate where it did not."""
    table = said if isinstance(said, dict) else {}
    counted = [table.get("prompt_tokens"), table.get("completion_tokens")]
    sure = [x if type(x) is int and 0 <= x < 2**40 else None for x in counted]
    prompt, completion = sure
    if prompt is None:
        prompt = sum(tokens_of(message["content"]) for message in payload["messages"])
    if completion is None:
        completion = sum(map(tokens_of, texts))
    return Usage(prompt, completion, None in sure)


def _complaint(body: bytes, key: str | None) -> str:
    """A server's own words about an error, "" if there are none."""
    text = body[:20_000].decode("utf-8", "replace").strip()
    if text[:1] == "<":
        return "a page of HTML"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = text
    if isinstance(document, dict):
        error = document.get("error", document)
        if isinstance(error, dict):
            said = [error.get(name) for name in ("param", "message", "detail", "code")]
            document = ": ".join(part for part in said if isinstance(part, str) and part)
        else:
            document = error
    words = document if isinstance(document, str) else told(document)
    return whole_text(hide(words, key))
