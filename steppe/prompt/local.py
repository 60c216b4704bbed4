"""A small language model on this machine, behind the same protocol as any other server.

    with serve() as server:                     after `steppe fetch xllamacpp smollm2`
        client = HTTPClient(server.base_url, server.model)

llama.cpp runs in a process of its own (`local_server.py`), which listens on the loopback address
alone and ends with the block, or with this process however it ends. Nothing is downloaded, and
nothing of a package is run whose SHA-256 is not the one in `data/fetch.py`.
"""

import contextlib
import dataclasses
import json
import os
import platform
import re
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..core.arguments import real, whole
from ..data.fetch import PACKAGES, fetched, pinned
from ..store.hints import one_line
from ..store.untrusted import FileError, Source, open_file, parse_json

SERVER, MODEL = "xllamacpp", "smollm2"  # names of packages
NAME = "smollm2-135m-instruct"
SCRIPT = Path(__file__).with_name("local_server.py")
CONTEXT = 4096  # tokens of a question and its answer together
PATIENCE = 300.0  # seconds that a model may take to load
NEEDED = ("PATH", "LD_LIBRARY_PATH", "HOME", "LANG", "TMPDIR")  # of the environment
STAMP = re.compile(r"[\d.]+ [A-Z] +")  # of a line of llama.cpp
LINE = 2**16  # bytes of what the process says first


class ServeError(OSError):
    """The server does not start. The message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Server:
    """A server of this machine while it runs.

    - `base_url`, `model`: as `HTTPClient` takes them
    - `process`: in which it runs
    """

    base_url: str
    model: str
    process: subprocess.Popen = dataclasses.field(repr=False)


@contextlib.contextmanager
def serve(
    weights: str | os.PathLike | None = None,
    *,
    port: int = 0,
    context: int = CONTEXT,
    threads: int | None = None,
    patience: float = PATIENCE,
) -> Iterator[Server]:
    """A language model that answers until the end of the block.

    - `weights`: a GGUF file of yours; None: the SmolLM2-135M that was fetched
    - `port`: on 127.0.0.1; 0: one that is free
    - `context`: tokens of a question and its answer together
    - `threads`: that compute; None: half as many as there are cores
    - `patience`: seconds to wait for the model to load

    Raises FileError where a file is missing, and ServeError where the server does not start; each
    is one sentence.
    """
    whole("serve: port", port, least=0, most=2**16 - 1)
    whole("serve: context", context, least=64, most=2**22)
    if threads is not None:
        whole("serve: threads", threads, least=1, most=1024)
    asked = _files(weights) | {
        "model": NAME if weights is None else Path(weights).stem[:100],
        "port": port,
        "context": context,
        "threads": max(1, (os.cpu_count() or 1) // 2) if threads is None else threads,
        "parent": os.getpid(),
    }
    if real("serve: patience", patience) <= 0:
        raise ValueError(f"serve: patience must be positive, got {patience}.")
    _check_free(port)
    with tempfile.TemporaryFile() as log, contextlib.ExitStack() as stack:
        process = _started(asked, log)
        stack.callback(_ended, process)
        yield Server(_address(process, asked, log, patience), asked["model"], process)


def check_fetched(weights: str | os.PathLike | None = None) -> None:
    """Raise FileError, one sentence with the command that fetches them, if files are missing.

    - `weights`: a file of one's own, in the place of the model that is fetched

    Raises ServeError on a machine that the server is not made for.
    """
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ServeError(
            "The server that can be fetched is for Linux on x86-64; on this machine start another, "
            "such as llama-server or Ollama, and name it as `base_url`."
        )
    needed, missing = (SERVER,) if weights is not None else (SERVER, MODEL), []
    for name in needed:
        try:
            fetched(name)
        except FileError:
            missing.append(name)
    if missing:
        size = sum(PACKAGES[name].size for name in missing) / 1e6
        raise FileError(
            f"A language model on this machine needs {' and '.join(missing)}, which "
            f"{'is' if len(missing) == 1 else 'are'} not in the cache folder: run `steppe fetch "
            f"{' '.join(missing)}` ({size:.0f} MB) first."
        )


def _files(weights: str | os.PathLike | None) -> dict[str, Any]:
    """The two files, each with the SHA-256 that it must have."""
    check_fetched(weights)
    library, digest = pinned(SERVER)
    found = {"library": str(library), "library_sha256": digest}
    if weights is None:
        own, digest = pinned(MODEL)
        return found | {"weights": str(own), "weights_sha256": digest}
    source = Source(str(weights), "give a language model as a GGUF file")
    with open_file(weights, source) as file:
        if (begin := file.read(4)) != b"GGUF":
            raise source.refuse(f"the first bytes {begin!r}", "those of a GGUF file")
    return found | {"weights": str(Path(weights).absolute()), "weights_sha256": None}


def _check_free(port: int) -> None:
    """Raise ServeError if another program listens at a port of the loopback address."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServeError(
                f"Port {port} cannot be taken ({error.strerror}); give another `port`, or 0 for "
                "one that is free."
            ) from None


def _started(asked: dict[str, Any], log: IO[bytes]) -> subprocess.Popen:
    command = [sys.executable, "-I", "-S", "-B", str(SCRIPT), json.dumps(asked, allow_nan=False)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
    # Of the environment only what a process needs: there may be keys in it. Threads that wait
    # sleep: spinning takes nine times the work where others compute on the same cores.
    env = {name: os.environ[name] for name in NEEDED if name in os.environ}
    env["OMP_WAIT_POLICY"] = "passive"
    try:
        return subprocess.Popen(command, cwd="/", env=env, **pipes)
    except OSError as error:
        raise ServeError(f"No process for the server can be started ({error}).") from None


def _address(
    process: subprocess.Popen, asked: dict[str, Any], log: IO[bytes], patience: float
) -> str:
    """The address that the process tells as soon as it answers. Raises ServeError."""
    assert process.stdout is not None
    line = _line(process.stdout, patience)
    if line is None:
        raise ServeError(
            f"The model was not loaded within {patience:g} s; give it more patience, or a smaller "
            "model."
        )
    said = {} if not line else parse_json(line, Source("server", "report it", FileError))
    address = said.get("base_url")
    if isinstance(address, str):
        return address
    words = said.get("error") or f"its process ended with code {process.wait(10)}"
    cause = _cause(log) or one_line(ValueError(str(words)))
    again = f"run `steppe fetch {SERVER} {MODEL}` once more"
    raise ServeError(
        f"The server did not start ({cause}); see that its files are whole, or {again}."
    )


def _line(stream: IO[bytes], patience: float) -> bytes | None:
    """The first line of a pipe, b"" if it ends before, None if it does not come in time."""
    line, deadline = b"", time.monotonic() + patience
    with selectors.DefaultSelector() as waiting:
        waiting.register(stream, selectors.EVENT_READ)
        while not line.endswith(b"\n") and len(line) < LINE:
            if not waiting.select(max(0.0, deadline - time.monotonic())):
                return None
            part = os.read(stream.fileno(), LINE)
            if not part:
                return b""
            line += part
    return line


def _cause(log: IO[bytes]) -> str:
    """The first line of what the process said aloud, which tells the cause of what follows."""
    log.seek(0)
    lines = log.read(20_000).decode("utf-8", "replace").split("\n")
    line = next((line for line in lines if line.strip()), "")
    return one_line(ValueError(STAMP.sub("", line)))


def _ended(process: subprocess.Popen) -> None:
    """End the process at once; it keeps nothing that could be lost."""
    for end in (process.terminate, process.kill):
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
            break
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
