"""A circuit breaker: who fails again and again is asked no more."""

import threading

from ..core.arguments import whole
from .chat import AbstractClient, ChatError, ChatResult, Request


class Breaker(AbstractClient):
    """`inner`, until it has failed `failures` times in a row; then it is asked no more."""

    def __init__(self, inner: AbstractClient, failures: int = 3):
        self.inner, self.failures = inner, whole("failures", failures, least=1, most=1000)
        self._row, self._last = 0, ""
        self._guard = threading.Lock()

    @property
    def model(self) -> str:
        return self.inner.model

    def send(self, request: Request) -> ChatResult:
        with self._guard:
            if self._row >= self.failures:
                raise ChatError(
                    f"It failed {self.failures} times in a row and is asked no more; at last: "
                    f"{self._last}"
                )
        try:
            result = self.inner.send(request)
        except ChatError as error:
            with self._guard:
                self._row, self._last = self._row + 1, str(error)
            raise
        with self._guard:
            self._row = 0
        return result
