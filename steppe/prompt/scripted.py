"""Answers without a network: of a list, or of a function."""

import threading
from collections.abc import Callable, Sequence

from .chat import AbstractClient, ChatError, ChatResult, Request, Usage, tokens_of, whole_text

Answer = str | Sequence[str] | Exception


class ScriptedClient(AbstractClient):
    """Answers that stand in a list, one for each question; an exception among them is raised."""

    def __init__(self, answers: Sequence[Answer], model: str = "scripted"):
        self.answers, self._model, self.requests = tuple(answers), model, []
        self._guard = threading.Lock()

    @property
    def model(self) -> str:
        return self._model

    def send(self, request: Request) -> ChatResult:
        with self._guard:
            at = len(self.requests)
            self.requests.append(request)
        if at >= len(self.answers):
            raise ChatError(f"The script has {len(self.answers)} answers, asked for another.")
        answer = self.answers[at]
        if isinstance(answer, Exception):
            raise answer
        return _answered(request, answer, self.model)


class FunctionClient(AbstractClient):
    """Answers of a function of the request: a text, or one for each of `n`."""

    def __init__(self, f: Callable[[Request], str | Sequence[str]], model: str = "function"):
        self.f, self._model = f, model

    @property
    def model(self) -> str:
        return self._model

    def send(self, request: Request) -> ChatResult:
        return _answered(request, self.f(request), self.model)


def _answered(request: Request, answer: str | Sequence[str], model: str) -> ChatResult:
    said = (answer,) * request.n if isinstance(answer, str) else tuple(answer)
    texts = tuple(map(whole_text, said))
    return ChatResult(
        texts=texts,
        usage=Usage(request.prompt_tokens, sum(map(tokens_of, texts)), True),
        model=model,
        finish_reasons=("stop",) * len(texts),
        request_hash=request.digest(model),
    )
