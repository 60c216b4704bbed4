"""Proposers: a language model, chance, what is there already, or a script.

    LLM(client, Instruction(task="…"), codec)     asks, and asks again if the answer is of no use
    RandomRestart(codec, seed=0)                  the control: what it gains, no model need explain
    Echo()                                        the best that is known, once more
    Scripted([["a text"], []])                    for tests; or a function of the pool

Whatever they know is in the pool they are handed: equal pools get equal proposals, but for a model.
"""

import abc
import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..core.arguments import expect_kind, real, whole
from .chat import AbstractClient, BudgetError, ChatError, ChatResult, Message
from .codecs import AbstractCodec, is_table
from .history import Used
from .instruction import Instruction, response_format
from .parse import MARKS, parse
from .pool import Pool
from .transcript import Asked, Transcript, said

LARGEST = 2**31 - 1


class AbstractProposer(abc.ABC):
    """Somebody who writes texts that may be better than those of a pool."""

    @abc.abstractmethod
    def propose(self, pool: Pool, n: int) -> list[str]:
        """Up to `n` texts; more are cut off. May raise ChatError and BudgetError."""

    @property
    @abc.abstractmethod
    def used(self) -> Used:
        """Calls and tokens up to now."""


class LLM(AbstractProposer):
    """A language model that is shown the pool.

    - `client`: who is asked
    - `codec`: what a text is
    - `temperature`, `max_tokens`, `seed`: as in `Request`; a seed is another for each question
    - `repairs`: questions more, with what was wrong, when an answer holds no text that is new; the
      last of several shows no texts, since a small model may do nothing but copy them
    - `shuffled`: a seed by which the scores shown are dealt out anew among the texts: a control,
      which tells whether the model makes use of them
    - `structured`: servers that can are told the form of an answer as a JSON schema
    - `transcript`: where each question is written
    """

    def __init__(
        self,
        client: AbstractClient,
        instruction: Instruction,
        codec: AbstractCodec,
        *,
        temperature: float | None = 0.8,
        max_tokens: int = 200,
        seed: int | None = None,
        repairs: int = 2,
        structured: bool = True,
        shuffled: int | None = None,
        transcript: Transcript | None = None,
    ):
        expect_kind("LLM: client", client, AbstractClient, "a client such as HTTPClient(…)")
        expect_kind("LLM: instruction", instruction, Instruction, "an Instruction(task=…)")
        expect_kind("LLM: codec", codec, AbstractCodec, "a codec such as SoftPrompt(…)")
        self.client, self.instruction, self.codec = client, instruction, codec
        self.temperature = None if temperature is None else real("LLM: temperature", temperature)
        self.max_tokens = whole("LLM: max_tokens", max_tokens, least=1, most=LARGEST)
        self.seed = None if seed is None else whole("LLM: seed", seed, least=0, most=2**30)
        self.repairs = whole("LLM: repairs", repairs, least=0, most=100)
        self.structured, self.shuffled, self.transcript = structured, shuffled, transcript
        self._used, self._guard = Used(), threading.Lock()

    @property
    def used(self) -> Used:
        with self._guard:
            return self._used

    def propose(self, pool: Pool, n: int) -> list[str]:
        shown = pool if self.shuffled is None else pool.shuffled(self.shuffled)
        messages = self.instruction.messages(shown, self.codec, n)
        for attempt in range(1 + self.repairs):
            if attempt == self.repairs > 1:
                messages = self.instruction.messages(Pool(), self.codec, n)
            line = self._asked(pool, messages, n, attempt)
            if line.candidates:
                return list(line.candidates[:n])
            answer = (line.texts or ("",))[0]
            fault = parse("").fault if not line.dropped else _fault(line)
            messages = (
                *messages,
                Message("assistant", MARKS.sub(" ", answer[:4000]) or "[]"),
                Message("user", f"This cannot be used: {fault}. Answer with JSON alone, with {n} "
                        "new texts that stand nowhere above."),
            )  # fmt: skip
        return []

    def _asked(self, pool: Pool, messages: tuple[Message, ...], n: int, attempt: int) -> Asked:
        """One question, written down with its answer."""
        choices: dict[str, Any] = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        if self.seed is not None:
            choices["seed"] = self.seed + pool.asked * (1 + self.repairs) + attempt
        if self.structured:
            choices["response_format"] = response_format(self.codec, n)
        line = Asked(
            round=pool.asked,
            attempt=attempt,
            model=self.client.model[:200],
            messages=said(messages),
            choices=choices,
        )
        try:
            result = self.client.complete(messages, **choices)
        except ChatError as error:
            self._book(Used(calls=1))
            self._write(dataclasses.replace(line, error=str(error)))
            raise
        except BudgetError as error:
            if error.result is not None:
                self._book(_taken(error.result))
            self._write(dataclasses.replace(line, error=str(error)))
            raise
        self._book(_taken(result))
        line = dataclasses.replace(line, **self._read(result, pool))
        self._write(line)
        return line

    def _read(self, result: ChatResult, pool: Pool) -> dict[str, Any]:
        """The part of a transcript that is about an answer."""
        known = [record.text for record in pool.records] + list(self.instruction.shown)
        found: list[str] = []
        cut: list[str] = []
        dropped: list[tuple[str, str]] = []
        for text in result.texts:
            parsed = parse(
                text, words=self.codec.words, known=known + found, tables=is_table(self.codec)
            )
            found += parsed.candidates
            cut += parsed.cut
            dropped += parsed.dropped
        return {
            "request_hash": result.request_hash,
            "texts": result.texts,
            "candidates": tuple(found),
            "cut": tuple(cut),
            "dropped": tuple(dropped),
            "prompt_tokens": result.usage.prompt,
            "completion_tokens": result.usage.completion,
            "estimated": result.usage.estimated,
            "latency": result.latency,
        }

    def _book(self, used: Used) -> None:
        with self._guard:
            self._used += used

    def _write(self, line: Asked) -> None:
        if self.transcript is not None:
            self.transcript.write(line)


def _taken(result: ChatResult) -> Used:
    usage = result.usage
    return Used(1, usage.prompt, usage.completion, usage.estimated)


def _fault(line: Asked) -> str:
    """The reasons why nothing of an answer can be used."""
    return "its texts are " + ", ".join(dict.fromkeys(reason for _, reason in line.dropped))


class RandomRestart(AbstractProposer):
    """Texts drawn at random by the codec; others for each question."""

    def __init__(self, codec: AbstractCodec, seed: int = 0):
        expect_kind("RandomRestart: codec", codec, AbstractCodec, "a codec such as Numeric(…)")
        self.codec, self.seed = codec, whole("RandomRestart: seed", seed, least=0, most=LARGEST)

    @property
    def used(self) -> Used:
        return Used()

    def propose(self, pool: Pool, n: int) -> list[str]:
        rng = np.random.default_rng([self.seed, pool.asked])
        return [self.codec.draw(rng) for _ in range(n)]


class Echo(AbstractProposer):
    """The best texts of the pool: a control that brings nothing new."""

    @property
    def used(self) -> Used:
        return Used()

    def propose(self, pool: Pool, n: int) -> list[str]:
        return [record.text for record in pool.best(n)]


class Scripted(AbstractProposer):
    """Texts of a list, for one question after the other, and then none; or of a function.

    - `script`: a list of lists of texts, or (pool, n) → texts
    """

    def __init__(self, script: Sequence[Sequence[str]] | Callable[[Pool, int], Sequence[str]]):
        self.script = script

    @property
    def used(self) -> Used:
        return Used()

    def propose(self, pool: Pool, n: int) -> list[str]:
        if callable(self.script):
            return list(self.script(pool, n))
        return list(self.script[pool.asked]) if pool.asked < len(self.script) else []
