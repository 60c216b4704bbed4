"""Answers kept in a folder, so that a run is done again without a server, bit by bit.

    CachedClient(client, "cache")                     asks what is not there
    CachedClient(client, "cache", mode="replay")      never asks: what is missing is an error

One JSON file an answer, named by the SHA-256 of the question: model, messages, choices, and how
often the same was asked before, so that repeated samples stay different. The server and the key are
no part of it. Files are written whole or not at all, and are untrusted when they are read.
"""

import dataclasses
import json
import os
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

from ..store.files import write_atomically
from ..store.untrusted import (
    Between,
    FileError,
    Length,
    Source,
    checked,
    read_document,
)
from .chat import VERSION, AbstractClient, ChatResult, Request, Usage

Mode = Literal["off", "use", "refresh", "replay"]
MOST = 8 * 2**20  # bytes of a file
Count = Annotated[int, Between(0, 2**53)]


class ReplayError(RuntimeError):
    """An answer that should be replayed was never recorded."""


@dataclasses.dataclass(frozen=True)
class _Stored:
    """A file of the cache."""

    version: Literal[1]
    request: dict[str, Any]
    texts: Annotated[tuple[str, ...], Length(1000)]
    prompt_tokens: Count
    completion_tokens: Count
    estimated: bool
    model: Annotated[str, Length(1000)]
    finish_reasons: Annotated[tuple[Annotated[str, Length(100)], ...], Length(1000)]
    latency: Annotated[float, Between(0, 1e9)]


class CachedClient(AbstractClient):
    """`inner`, whose answers are kept in `folder`.

    - `mode`: "use" what is there and keep what is new; "refresh": ask anew and keep it; "replay":
      only what is there, else ReplayError; "off": as without a cache

    Raises FileError for a file that is not what it should be.
    """

    def __init__(self, inner: AbstractClient, folder: str | os.PathLike, mode: Mode = "use"):
        if mode not in ("off", "use", "refresh", "replay"):
            raise ValueError(f"mode must be off, use, refresh or replay, got {mode!r}.")
        self.inner, self.folder, self.mode = inner, Path(folder), mode
        self._asked: dict[str, int] = {}  # digest: how often
        self._guard = threading.Lock()

    @property
    def model(self) -> str:
        return self.inner.model

    def send(self, request: Request) -> ChatResult:
        if self.mode == "off":
            return self.inner.send(request)
        first = request.digest(self.model)
        with self._guard:
            attempt = self._asked.get(first, 0)
            self._asked[first] = attempt + 1
        digest = request.digest(self.model, attempt)
        path = self.folder / f"{digest}.json"
        if self.mode == "replay" or (self.mode == "use" and path.exists()):
            return self._found(path, request, digest)
        result = dataclasses.replace(self.inner.send(request), request_hash=digest)
        self._keep(path, request, result)
        return result

    def _found(self, path: Path, request: Request, digest: str) -> ChatResult:
        if not path.exists():
            raise ReplayError(
                f"{path}: no such answer was recorded: the question, the model or what was asked "
                'before it has changed; record it with mode="use" and a server.'
            )
        source = Source(str(path), 'remove it, or record it again with mode="refresh"', FileError)
        stored = checked(read_document(path, source, most=MOST), _Stored, source)
        if stored.request != _plain(request):
            raise source.refuse("another question than its name says", "the one asked")
        if len(stored.texts) != request.n:
            raise source.refuse(f"{len(stored.texts)} answers", f"{request.n}")
        return ChatResult(
            texts=stored.texts,
            usage=Usage(stored.prompt_tokens, stored.completion_tokens, stored.estimated),
            model=stored.model,
            finish_reasons=stored.finish_reasons,
            latency=stored.latency,
            cached=True,
            request_hash=digest,
        )

    def _keep(self, path: Path, request: Request, result: ChatResult) -> None:
        stored = _Stored(
            VERSION,
            _plain(request),
            result.texts,
            result.usage.prompt,
            result.usage.completion,
            result.usage.estimated,
            result.model,
            result.finish_reasons,
            result.latency,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(dataclasses.asdict(stored), indent=1, allow_nan=False))


def _plain(request: Request) -> dict[str, Any]:
    """The question as JSON gives it back."""
    return json.loads(json.dumps(request.plain(), allow_nan=False))
