"""The client against a server of this machine that has every fault one by one."""

import dataclasses
import email.utils
import json
import logging
import pickle
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prompt.server import good, send, serving

from steppe.prompt.breaker import Breaker
from steppe.prompt.cache import CachedClient
from steppe.prompt.chat import ChatError, Message, Request
from steppe.prompt.client import HTTPClient, _Bad, _complaint, _read
from steppe.prompt.scripted import FunctionClient, ScriptedClient
from steppe.prompt.wire import Address, Limits

KEY = "sk-very-secret-0123456789"
NOW = 1_800_000_000.0
ASK = [Message("user", "Three colours, please.")]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "list", "schema": {"type": "array"}}}


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self):
        self.time, self.slept = 0.0, []

    def __call__(self):
        return self.time

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("TINY_KEY", KEY)


def client(server, **how):
    clock = Clock()
    how = {"key": "TINY_KEY", "sleep": clock.sleep, "jitter": lambda: 1.0, "now": lambda: NOW} | how
    made = HTTPClient(getattr(server, "url", server), "tiny", **how)
    return made, clock


def test_only_what_was_chosen_is_sent_and_all_of_the_answer_is_read():
    with serving(send(200, good("red", "blue"))) as server:
        found = client(server)[0].complete(
            ASK, n=2, temperature=0.5, stop="\n", seed=3, max_tokens=9, top_p=1.0
        )
        plain = client(server, key=None)[0].complete(ASK)
    (path, headers, body), (_, without, short) = server.asked
    assert path == "/v1/chat/completions" and headers["Authorization"] == f"Bearer {KEY}"
    messages = [{"role": "user", "content": "Three colours, please."}]
    assert body == {
        "model": "tiny", "messages": messages, "n": 2, "temperature": 0.5, "stop": ["\n"],
        "seed": 3, "max_tokens": 9, "top_p": 1.0,
    }  # fmt: skip
    assert short == {"model": "tiny", "messages": messages} and "Authorization" not in without
    assert found.texts == ("red", "blue") and plain.texts == ("red",)
    assert dataclasses.astuple(found.usage) == (7, 3, False)
    assert found.model == "tiny-1" and found.finish_reasons == ("stop", "stop")
    assert not found.cached and len(found.request_hash) == 64


def cut(handler):
    """Half of a body, and then nothing."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(json.dumps(good("red")).encode()[:30])
    handler.close_connection = True


def drop(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


ONE = send(200, good("red"))
DATE = email.utils.formatdate(NOW + 7, usegmt=True)
PARTS = [{"type": "text", "text": "re"}, {"type": "image"}, "x", {"type": "text", "text": "d"}]
THOUGHT = good("<think>Hm, blue?</think>red")
THOUGHT["choices"][0]["message"]["reasoning_content"] = "green"
SURVIVED = {  # acts of the server, seconds slept, and whether the usage is estimated
    "429 with seconds": ((send(429, Retry_After=3), ONE), [3.0], False),
    "429 with a date": ((send(429, Retry_After=DATE), ONE), [7.0], False),
    "429 with a long wait": ((send(429, Retry_After=9999), ONE), [30.0], False),
    "429 with nonsense": ((send(429, Retry_After="soon"), ONE), [0.5], False),
    "500 twice": ((send(500), send(503), ONE), [0.5, 1.0], False),
    "a connection that breaks": ((drop, ONE), [0.5], False),
    "half a body": ((cut, ONE), [0.5], False),
    "half a JSON": ((send(200, b'{"choices": ['), ONE), [0.5], False),
    "a deep JSON": ((send(200, b"[" * 100_000), ONE), [0.5], False),
    "a page of HTML": ((send(200, b"<html>", Content_Type="text/html"), ONE), [0.5], False),
    "no choices": ((send(200, {"error": "busy"}), ONE), [0.5], False),
    "choices of numbers": ((send(200, {"choices": [1]}), ONE), [0.5], False),
    "another type of content": ((send(200, good("red"), Content_Type="text/plain"),), [], False),
    "no usage": ((send(200, good("red", usage=None)),), [], True),
    "usage of words": ((send(200, good("red", usage=("a", -1))),), [], True),
    "content in parts": ((send(200, good(PARTS)),), [], False),
    "thoughts": ((send(200, THOUGHT),), [], False),
    "bytes that are no UTF-8": ((send(200, b'{"choices": [{"message": {"content": "red"}}], '
                                     b'"model": "\xff\xfe"}'),), [], True),
}  # fmt: skip


def test_faults_by_chance_are_survived():
    for name, (acts, slept, estimated) in SURVIVED.items():
        with serving(*acts) as server:
            own, clock = client(server)
            found = own.complete(ASK)
        assert found.texts == ("red",), name
        assert clock.slept == pytest.approx(slept), name
        assert found.usage.estimated is estimated, name


def loud(status, **more):
    """A server that repeats the key in its complaint."""
    error = {"message": f"no entry for {KEY}", "type": "auth", "code": None, **more}
    return send(status, {"error": error})


LONG = send(200, good("x" * 2**21))
REFUSED = {  # acts, the words of the error, how often the server is asked
    "401": ((loud(401),), r"401 \(no entry for \[key\]\); check the key\.", 1),
    "403": ((send(403, b"go away"),), r"403 \(go away\)", 1),
    "404": ((send(404, b"<html>"),), r"404 \(a page of HTML\); check base_url", 1),
    "413": ((send(413),), "413; ask for less", 1),
    "400 about nothing": ((send(400, {"detail": "odd"}),), r"400 \(odd\)", 1),
    "500 for ever": ((send(500),), r"500, 5 times; see the log", 5),
    "HTML for ever": ((send(200, b"<html>"),), r"its answer is a page of HTML, 5 times", 5),
    "too long": ((LONG,), "longer than 2097152 bytes", 1),
    "another host": ((send(307, Location="http://localhost:9/v1"),), "not followed", 1),
    "another method": ((send(303, Location="/v1/there"),), "not followed", 1),
    "round and round": ((send(308, Location="/v1/there"),), "more than 3 times", 4),
    "an odd port": ((send(307, Location="http://a:b/"),), "not followed", 1),
}


def test_other_faults_end_in_one_sentence():
    for name, (acts, words, times) in REFUSED.items():
        with serving(*acts) as server:
            with pytest.raises(ChatError, match=words) as refusal:
                client(server)[0].complete(ASK)
            assert len(server.asked) == times, name
        assert "\n" not in str(refusal.value) and str(refusal.value).endswith("."), name
        assert KEY not in repr(refusal.value) and refusal.value.__cause__ is None


def test_a_redirect_on_the_same_host_is_followed():
    with serving(send(307, Location="/v2/there"), ONE) as server:
        assert client(server)[0].complete(ASK).texts == ("red",)
    assert [path for path, *_ in server.asked] == ["/v1/chat/completions", "/v2/there"]


def test_a_body_of_unknown_length_is_bounded_too():
    def endless(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + b" " * 100_000)
        handler.close_connection = True

    with serving(endless) as server, pytest.raises(ChatError, match="longer than 5000 bytes"):
        client(server, limits=Limits(most=5000))[0].complete(ASK)


def test_who_hangs_or_drips_is_left_in_time():
    def hang(handler):
        server.stop.wait(10)

    def drip(handler):
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        for _ in range(1000):
            handler.wfile.write(b"x")
            if server.stop.wait(0.02):
                return

    for act, how in (
        (hang, {"limits": Limits(read=0.1), "retries": 1}),
        (drip, {"limits": Limits(read=5), "deadline": 0.4}),
    ):
        began = time.monotonic()
        with serving(act) as server, pytest.raises(ChatError, match=r"in time|no time was left"):
            client(server, **how)[0].complete(ASK)
        assert time.monotonic() - began < 8


def test_the_deadline_holds_over_all_tries():
    clock = Clock()
    with serving(send(500)) as server:
        own, _ = client(server, clock=clock, sleep=clock.sleep, deadline=2.0)
        with pytest.raises(ChatError, match="3 times, and no time is left"):
            own.complete(ASK)
        with pytest.raises(ChatError, match="500, and no time is left"):
            own.complete(ASK, patience=0.25)
    assert clock.slept == [0.5, 1.0]


def test_the_wait_is_a_random_share_that_doubles_up_to_thirty_seconds():
    with serving(send(500)) as server:
        own, clock = client(server, retries=8, jitter=lambda: 0.5)
        with pytest.raises(ChatError):
            own.complete(ASK)
    assert clock.slept == [0.25, 0.5, 1, 2, 4, 8, 15, 15]


def test_a_field_that_a_server_refuses_is_left_out_or_renamed_and_remembered():
    complaint = lambda words, **more: send(400, {"error": {"message": words, **more}})
    acts = (
        complaint("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'."),
        complaint("x" * 300, param="seed"),
        complaint("grammar not supported"),
        ONE,
    )
    with serving(*acts) as server:
        own, clock = client(server)
        for _ in range(2):
            own.complete(ASK, max_tokens=9, seed=1, response_format=SCHEMA, temperature=0.0)
    bodies = [set(body) - {"model", "messages"} for _, _, body in server.asked]
    assert bodies == [
        {"max_tokens", "seed", "response_format", "temperature"},
        {"max_completion_tokens", "seed", "response_format", "temperature"},
        {"max_completion_tokens", "response_format", "temperature"},
        {"max_completion_tokens", "temperature"},
        {"max_completion_tokens", "temperature"},
    ]
    assert not clock.slept


def test_both_names_of_a_limit_may_be_refused():
    acts = [send(422, {"detail": f"{name}: extra fields"}) for name in
            ("max_tokens", "max_completion_tokens")]  # fmt: skip
    with serving(*acts, ONE) as server:
        assert client(server)[0].complete(ASK, max_tokens=9).texts == ("red",)
    assert set(server.asked[-1][2]) == {"model", "messages"}


def test_a_server_that_ignores_or_refuses_n_is_asked_again():
    refuse = send(400, {"error": {"message": "only n = 1 is possible", "param": "n"}})
    for acts, sent in (
        ((ONE,), [(3, 5), (2, 6), (None, 7)]),
        ((refuse, ONE), [(3, 5), (None, 5), (None, 6), (None, 7)]),
    ):
        with serving(*acts) as server:
            found = client(server)[0].complete(ASK, n=3, seed=5)
        assert found.texts == ("red",) * 3 and found.usage.prompt == 21
        assert [(body.get("n"), body["seed"]) for _, _, body in server.asked] == sent


def test_an_answer_without_content_is_empty():
    with serving(send(200, good(None, reason="length"))) as server:
        found = client(server)[0].complete(ASK)
    assert found.texts == ("",) and found.finish_reasons == ("length",)


def test_the_key_is_nowhere_but_in_its_header(tmp_path, caplog, capsys):
    caplog.set_level(logging.DEBUG)
    escaped = json.dumps(good(f"red {KEY}")).replace("secret", "\\u0073ecret").encode()
    with serving(send(200, escaped), loud(401)) as server:
        own = CachedClient(Breaker(client(server)[0]), tmp_path)
        found = own.complete(ASK)
        with pytest.raises(ChatError) as refusal:
            own.complete(ASK)
        assert server.asked[0][1]["Authorization"] == f"Bearer {KEY}"
    said = [repr(x) for x in (own, own.inner, own.inner.inner, vars(own.inner.inner), found)]
    said += [repr(refusal.value), caplog.text, *capsys.readouterr()]
    said += [path.read_text() + path.name for path in tmp_path.iterdir()]
    assert found.texts == ("red [key]",) and len(list(tmp_path.iterdir())) == 1
    assert not any(KEY in text for text in said)


def test_what_cannot_be_a_key_is_refused_without_being_shown(monkeypatch):
    for bad in (KEY, "", 3, "OPENAI-KEY"):
        with pytest.raises(ValueError, match="name of an environment variable") as refusal:
            HTTPClient("http://a", "tiny", key=bad)
        assert KEY not in str(refusal.value)

    def fails():
        raise RuntimeError(KEY)

    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("SPLIT", f"{KEY}\r\nHost: b")
    for source, words in (("NOT_SET", "no key"), ("EMPTY", "no key"), ("SPLIT", "no header"),
                          (fails, "raised a RuntimeError"), (lambda: 3, "no header")):  # fmt: skip
        with pytest.raises(ChatError, match=words) as refusal:
            HTTPClient("http://127.0.0.1:9", "tiny", key=source).complete(ASK)
        assert KEY not in str(refusal.value) and refusal.value.__cause__ is None
    with pytest.raises(TypeError, match="not written to a file"):
        pickle.dumps(HTTPClient("http://a", "tiny", key="NOT_SET")._secret)


def test_a_key_without_encryption_is_told_of_once(monkeypatch):
    own, _ = client("http://steppe.invalid", retries=0, key=lambda: KEY)
    monkeypatch.setattr("steppe.prompt.client.post", lambda *_: pytest.fail("sent"))
    with pytest.warns(UserWarning, match="without encryption"):
        own._warn_of_plain_http(KEY)
    own._warn_of_plain_http(KEY)
    client("http://127.0.0.1:1")[0]._warn_of_plain_http(KEY)
    client("https://steppe.invalid")[0]._warn_of_plain_http(KEY)


def test_proxies_are_taken_for_other_machines_alone(monkeypatch):
    with serving(ONE) as server:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        assert client(server)[0].complete(ASK).texts == ("red",)
        monkeypatch.setenv("http_proxy", server.url.replace("//", "//me:pass@"))
        own, _ = client("http://steppe.invalid", key=None)
        assert own.complete(ASK).texts == ("red",)
    path, headers, _ = server.asked[-1]
    assert path == "http://steppe.invalid/v1/chat/completions"
    assert headers["Proxy-Authorization"] == "Basic bWU6cGFzcw=="


def test_nobody_there_is_said():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        own, clock = client(f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(ChatError, match="nobody listens there, 5 times; see that"):
            own.complete(ASK)
    assert len(clock.slept) == 4


def test_addresses():
    for url, expected in {
        "http://localhost:8000": "http://localhost:8000/v1",
        "http://localhost:8000/": "http://localhost:8000/v1",
        "http://localhost:8000/v1": "http://localhost:8000/v1",
        " https://a.b:443/v1/ ": "https://a.b/v1",
        "https://a.b/openai": "https://a.b/openai/v1",
        "https://a.b/api/v3//": "https://a.b/api/v3",
        "https://a.b/v1beta/openai/": "https://a.b/v1beta/openai",
        "http://[::1]:8080/v1/chat/completions": "http://[::1]:8080/v1",
    }.items():
        assert str(Address.of(url)) == expected
    for url in ("", "localhost:8000", "ftp://a", "http://", "http://a:x", "http://a:99999", None,
                "http://a b/", "file:///etc", "http://é.fr"):  # fmt: skip
        with pytest.raises(ValueError, match="base_url must be an address"):
            Address.of(url)
    for url in (f"http://me:{KEY}@a/v1", f"http://a/v1?key={KEY}", f"http://a/#{KEY}"):
        with pytest.raises(ValueError, match="not shown") as refusal:
            Address.of(url)
        assert KEY not in str(refusal.value)
    local = ("http://127.1.2.3", "http://[::1]", "http://localhost", "http://a.localhost")
    assert all(Address.of(url).loopback for url in local)
    assert not Address.of("http://localhost.evil.com").loopback


NAMES = ["choices", "message", "content", "finish_reason", "usage", "prompt_tokens", "model",
         "completion_tokens", "error", "param", "type", "text"]  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(KEY),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
CONTENT = st.fixed_dictionaries({"content": ANYTHING})
CHOICE = st.fixed_dictionaries({"message": CONTENT, "finish_reason": ANYTHING})
BODIES = st.one_of(
    ANYTHING.map(json.dumps),
    st.fixed_dictionaries(
        {"choices": st.lists(CHOICE | ANYTHING, max_size=3), "usage": ANYTHING, "model": ANYTHING}
    ).map(json.dumps),
    st.text(max_size=30),
).map(str.encode) | st.binary(max_size=60)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(BODIES)
def test_any_body_is_an_answer_or_a_fault_and_shows_no_key(body):
    payload = {"messages": [{"role": "user", "content": "Hi"}], "n": 2}
    said = [_complaint(body, KEY)]
    try:
        found = _read(body, payload, KEY)
    except _Bad as fault:
        said.append(str(fault))
    else:
        assert 1 <= len(found.texts) == len(found.reasons) <= 2
        assert min(found.usage.prompt, found.usage.completion) >= 0
        said += [*found.texts, *found.reasons, found.model]
    for text in said:
        text.encode("utf-8")
        assert KEY not in text


def test_bad_requests_are_refused():
    for how, words in (
        ({"n": 0}, "n must be a whole number from 1"),
        ({"temperature": -1}, "temperature must lie between 0 and inf"),
        ({"temperature": "hot"}, "temperature must be a finite number"),
        ({"top_p": 2.0}, "top_p must lie between 0 and 1"),
        ({"max_tokens": 0}, "max_tokens must be a whole number from 1"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"patience": -1.0}, "patience must lie between 0"),
        ({"response_format": {"a": object()}}, "what JSON can say"),
    ):
        with pytest.raises(ValueError, match=words):
            ScriptedClient([]).complete(ASK, **how)
    for messages, words in (([], "one message at least"), ("hello", "a list"), ([1], "Message")):
        with pytest.raises(ValueError, match=words):
            ScriptedClient([]).complete(messages)
    with pytest.raises(ValueError, match="Limits: read must be positive"):
        Limits(read=0)


def test_a_breaker_opens_after_three_failures_in_a_row_and_not_before():
    bad = ChatError("gone.")
    own = Breaker(ScriptedClient([bad, bad, "red", bad, bad, bad, "never"]))
    for _ in range(6):
        try:
            assert own.complete(ASK).texts == ("red",)
        except ChatError as error:
            assert str(error) == "gone."
    with pytest.raises(ChatError, match=r"3 times in a row and is asked no more; at last: gone\."):
        own.complete(ASK)
    assert len(own.inner.requests) == 6


def test_scripts_and_functions_answer():
    own = ScriptedClient([["a", "b"], "c"])
    assert own.complete(ASK, n=2).texts == ("a", "b") and own.complete(ASK, n=2).texts == ("c", "c")
    with pytest.raises(ChatError, match="2 answers"):
        own.complete(ASK)
    found = FunctionClient(lambda request: request.messages[0].content[:5]).complete(ASK)
    assert found.texts == ("Three",) and found.usage.estimated


def test_many_threads_may_ask_at_once():
    with serving(send(200, good("red"))) as server:
        own, _ = client(server)
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(own.send(Request(messages=tuple(ASK)))))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [result.texts for result in found] == [("red",)] * 8
