"""Ctrl-C (SIGINT) and SIGTERM, which schedulers send: a run saves, says how to go on, and ends.

The first signal asks a run to stop after the meta-step at hand, the second ends it at once. Both
end in an exception, so that everything on the way out is cleaned up: KeyboardInterrupt, and
`Terminated`, with which a process ends with code 143. Signals reach the main thread alone, and
where the program has its own handlers they stay. Standard library only.
"""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn


class Terminated(SystemExit):
    """The process was asked to end by SIGTERM; exit code 143, as shells have it."""

    def __init__(self, sentence: str = "Stopped."):
        SystemExit.__init__(self, sentence)
        self.code = 128 + signal.SIGTERM


def terminate(number: int, frame: FrameType | None) -> NoReturn:
    """Handle SIGTERM by `Terminated`, so that what is open is closed and half a file removed."""
    raise Terminated


# Handlers that are nobody's own, and what each does at once
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler, terminate)


class Stop:
    """The wish to stop, of a run that looks for it between two meta-steps.

    - `patient`: True while the run looks; else the first signal ends it at once
    - `signal`: the signal that came, None before
    """

    def __init__(self):
        self.patient = False
        self.signal: int | None = None
        self._alone = True  # nobody above prints the sentence of `Terminated`

    def _handle(self, number: int, frame: FrameType | None) -> None:
        first, self.signal = self.signal is None, number
        if not (self.patient and first):
            self.end("Stopped.")

    def end(self, sentence: str) -> NoReturn:
        """End by the signal that came, with a sentence about how to go on."""
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt(sentence)
        if self._alone:
            print(sentence, file=sys.stderr, flush=True)
        raise Terminated(sentence)


@contextlib.contextmanager
def heeded() -> Iterator[Stop]:
    """Take the two signals, where this is the main thread and the handlers are Python's or ours."""
    stop, before = Stop(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(number)
            if handler in DEFAULTS:
                before[number] = handler
        stop._alone = before.get(signal.SIGTERM) is not terminate
    try:
        for number in before:
            signal.signal(number, stop._handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminated() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` in the main thread, unless the program handles it."""
    ours = threading.current_thread() is threading.main_thread()
    if not (ours and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL):
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
