"""Kept answers and limits of what is spent: exact, and safe with several threads."""

import json
import socket
import threading

import pytest

from steppe.prompt.budget import Budget, BudgetedClient, Spent
from steppe.prompt.cache import CachedClient, ReplayError
from steppe.prompt.chat import (
    AbstractClient,
    BudgetError,
    ChatError,
    ChatResult,
    Message,
    Request,
    Usage,
)
from steppe.prompt.client import HTTPClient
from steppe.prompt.scripted import FunctionClient, ScriptedClient
from steppe.store.untrusted import FileError

ASK = [Message("user", "Three colours, please.")]  # 22 characters: 6 tokens by the estimate
TOLD = ChatResult(texts=("red",), usage=Usage(10, 4), model="tiny")


class Counting(AbstractClient):
    """A client that counts what it is asked, and takes a second for it."""

    def __init__(self, clock=None, result=TOLD):
        self.clock, self.result, self.requests = clock, result, []

    @property
    def model(self):
        return "tiny"

    def send(self, request):
        self.requests.append(request)
        if self.clock is not None:
            self.clock.time += 1.0
        return self.result


class Clock:
    time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)


def test_answers_are_replayed_without_a_network_bit_by_bit(tmp_path, no_network):
    texts = iter(["rot", "grün", "blau \U0001f600", "x"])
    recording = CachedClient(FunctionClient(lambda _: next(texts), "tiny"), tmp_path)
    how = {"temperature": 0.8, "max_tokens": 9, "stop": ("\n",), "response_format": {"a": [1.5]}}
    first = [recording.complete(ASK, **how) for _ in range(3)]
    server = HTTPClient("http://steppe.invalid", "tiny", key="NOT_SET")
    for mode in ("replay", "use"):
        again = CachedClient(server, tmp_path, mode)
        second = [again.complete(ASK, **how) for _ in range(3)]
        assert all(result.cached for result in second)
        assert [(x.texts, x.usage, x.request_hash, x.latency, x.model) for x in first] == [
            (x.texts, x.usage, x.request_hash, x.latency, x.model) for x in second
        ]
    assert len({result.request_hash for result in first}) == 3
    with pytest.raises(ReplayError, match="no such answer was recorded"):
        CachedClient(server, tmp_path, "replay").complete(ASK, **how | {"max_tokens": 10})


def test_modes(tmp_path):
    inner = Counting()
    ask = lambda mode: CachedClient(inner, tmp_path, mode).complete(ASK)
    ask("off")
    assert not list(tmp_path.iterdir())
    ask("use"), ask("use")
    assert len(inner.requests) == 2 and len(list(tmp_path.iterdir())) == 1
    ask("refresh")
    assert len(inner.requests) == 3 and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="mode must be"):
        CachedClient(inner, tmp_path, "sometimes")


def test_the_question_and_nothing_else_is_the_name(tmp_path):
    base = Request(messages=tuple(ASK))
    digest = base.digest("tiny")
    others = [
        base.digest("other"),
        base.digest("tiny", 1),
        *(
            Request(messages=tuple(ASK), **how).digest("tiny")
            for how in ({"n": 2}, {"temperature": 0.0}, {"seed": 0}, {"max_tokens": 1},
                        {"top_p": 0.5}, {"stop": ("a",)}, {"response_format": {}})
        ),
        Request(messages=(Message("system", ASK[0].content),)).digest("tiny"),
    ]  # fmt: skip
    assert len({digest, *others}) == len(others) + 1
    assert Request(messages=tuple(ASK), patience=3.0).digest("tiny") == digest
    a = Request(messages=tuple(ASK), response_format={"a": 1, "b": 2})
    b = Request(messages=tuple(ASK), response_format={"b": 2, "a": 1})
    assert a.digest("tiny") == b.digest("tiny")


def test_files_are_not_believed(tmp_path):
    CachedClient(Counting(), tmp_path).complete(ASK)
    (path,) = tmp_path.iterdir()
    right = json.loads(path.read_text())
    replay = lambda: CachedClient(Counting(), tmp_path, "replay").complete(ASK)
    assert replay().texts == ("red",)
    for wrong in (
        right | {"version": 2},
        right | {"texts": "red"},
        right | {"texts": ["red", "blue"]},
        right | {"prompt_tokens": -1},
        right | {"prompt_tokens": True},
        right | {"more": 1},
        right | {"request": {"messages": [{"role": "user", "content": "Two"}]}},
        [right],
        {name: value for name, value in right.items() if name != "model"},
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(FileError, match=r"expected .*; remove it, or record it again") as error:
            replay()
        assert "\n" not in str(error.value)
    for text in ("", "{", "[" * 5000, '{"version": 1, "version": 1}', "\x00" * 100):
        path.write_text(text)
        with pytest.raises(FileError):
            replay()


def test_threads_write_whole_files_of_their_own(tmp_path):
    own = CachedClient(FunctionClient(lambda _: "red" * 1000), tmp_path)
    threads = [threading.Thread(target=lambda: own.complete(ASK)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{Request(messages=tuple(ASK)).digest('function', i)}.json" for i in range(8)
    )
    assert all(json.loads(path.read_text())["texts"] for path in tmp_path.iterdir())


def test_every_limit_is_exact():
    for budget, done, asked in (
        (Budget(calls=3), 3, 3),
        (Budget(calls=0), 0, 0),
        (Budget(prompt_tokens=20), 2, 2),  # of 20, 20 are used; 26 might be
        (Budget(prompt_tokens=26), 2, 3),  # 26 might be, and 30 are
        (Budget(prompt_tokens=5), 0, 0),
        (Budget(completion_tokens=9), 2, 2),  # 4 and at most 5, 8 and at most 5
        (Budget(completion_tokens=8), 1, 1),
        (Budget(completion_tokens=4), 0, 0),
        (Budget(seconds=3.0), 3, 3),
        (Budget(seconds=2.5), 3, 3),  # the third is asked with half a second left
        (Budget(cost=0.180016, price=(1.0, 2.0e4)), 2, 2),  # 0.08001 and at most 0.100006
        (Budget(cost=0.180015, price=(1.0, 2.0e4)), 1, 1),
    ):
        clock, answers = Clock(), 0
        own = BudgetedClient(Counting(clock), budget, clock=clock)
        with pytest.raises(BudgetError, match=r"^The budget of .*\.$"):
            for _ in range(9):
                own.complete(ASK, max_tokens=5)
                answers += 1
        assert (answers, len(own.inner.requests)) == (done, asked), budget
        assert own.spent == Spent(
            calls=asked,
            prompt_tokens=10 * asked,
            completion_tokens=4 * asked,
            seconds=asked,
            cost=(80010 * asked / 10**6 if budget.price else 0.0),
        )


def test_a_question_is_hurried_by_the_seconds_that_are_left():
    clock = Clock()
    own = BudgetedClient(Counting(clock), Budget(seconds=2.5), clock=clock)
    for patience, expected in ((None, 2.5), (0.5, 0.5), (9.0, 0.5)):
        own.complete(ASK, patience=patience)
        assert own.inner.requests[-1].patience == expected


def test_answers_of_a_cache_cost_nothing_and_failures_are_calls(tmp_path):
    CachedClient(Counting(), tmp_path).complete(ASK)
    own = BudgetedClient(CachedClient(Counting(), tmp_path), Budget(calls=1))
    own.complete(ASK)
    assert own.spent.calls == 0
    own.complete(ASK)
    assert own.spent.calls == 1
    failing = BudgetedClient(ScriptedClient([ChatError("gone")]), Budget(calls=1))
    with pytest.raises(ChatError):
        failing.complete(ASK)
    with pytest.raises(BudgetError, match="1 calls might be exceeded: 2"):
        failing.complete(ASK)


def test_what_is_on_its_way_is_set_aside():
    gate, inside = threading.Event(), threading.Event()

    def slow(request):
        inside.set()
        gate.wait(10)
        return "red"

    own = BudgetedClient(FunctionClient(slow), Budget(calls=1))
    thread = threading.Thread(target=lambda: own.complete(ASK))
    thread.start()
    inside.wait(10)
    with pytest.raises(BudgetError):
        own.complete(ASK)
    gate.set()
    thread.join()
    assert own.spent.calls == 1


def test_bad_budgets_are_refused():
    for how, words in (
        ({"calls": -1}, "calls must be a whole number from 0"),
        ({"calls": 1.5}, "calls must be a whole number"),
        ({"seconds": -1.0}, "seconds must not be negative"),
        ({"seconds": float("nan")}, "seconds must be a finite number"),
        ({"cost": 1.0}, "needs the price"),
        ({"price": 3.0}, "price must be two numbers"),
        ({"price": (-1.0, 0.0)}, "price must not be negative"),
    ):
        with pytest.raises(ValueError, match=words):
            Budget(**how)
    with pytest.raises(ValueError, match="needs `max_tokens`"):
        BudgetedClient(Counting(), Budget(completion_tokens=9)).complete(ASK)
