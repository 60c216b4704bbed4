"""A process of its own with a language model behind OpenAI's chat protocol, for this machine alone.

    python -I -S local_server.py '{"library": …, "library_sha256": …, "weights": …, …}'

It is started by `local.serve` and imported by nobody. Its one line on stdout is {"base_url": …} as
soon as the model answers, or {"error": …}; what llama.cpp says goes to stderr. It ends when its
standard input ends or its parent is gone, so that it outlives nobody, however they end.

Standard library, and one file of xllamacpp, which is loaded only if its SHA-256 is the one given;
nothing else of that package is run, and no other folder is searched for modules.
"""

import hashlib
import importlib.util
import json
import os
import select
import signal
import sys
import threading
from types import ModuleType
from typing import Any

LOOK = 1.0  # seconds between two looks for the parent
TOGETHER = 128  # tokens of a question that are read at once: memory goes by it


def main(asked: dict[str, Any]) -> None:
    said = os.dup(1)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, for the parent to act on
    threading.Thread(target=watch, args=(asked["parent"],), daemon=True).start()
    try:
        for name in ("library", "weights"):
            verify(asked[name], asked[f"{name}_sha256"])
        server, answer = None, {}
        server = started(load(asked["library"]), asked)
        answer = {"base_url": server.listening_address}
    except Exception as error:
        answer = {"error": " ".join(str(error).split()) or type(error).__name__}
    os.write(said, json.dumps(answer, allow_nan=False).encode("ascii") + b"\n")
    os.close(said)
    if "error" in answer:
        os._exit(1)
    threading.Event().wait()


def watch(parent: int) -> None:
    """End this process once nobody holds its standard input, or its parent is another."""
    while os.getppid() == parent:
        if select.select([0], [], [], LOOK)[0] and not os.read(0, 4096):
            break
    os._exit(0)  # nothing is kept in memory that should be on disk


def verify(path: str, sha256: str | None) -> None:
    """Raise ValueError unless the file is the one meant; None: any will do."""
    if sha256 is None:
        return
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        name = os.path.basename(path)
        raise ValueError(f"{name} has the SHA-256 {found[:12]}…, expected {sha256[:12]}…")


def load(path: str) -> ModuleType:
    """The module in one file."""
    spec = importlib.util.spec_from_file_location("xllamacpp", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module of Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(library: ModuleType, asked: dict[str, Any]) -> Any:
    """A server that answers one question at a time."""
    params = library.CommonParams()
    params.model.path, params.model_alias = asked["weights"], [asked["model"]]
    params.hostnames, params.port = ["127.0.0.1"], asked["port"]
    params.n_ctx, params.n_ubatch, params.n_parallel = asked["context"], TOGETHER, 1
    # Of what was asked before, the last question alone is kept: what it has in common with the next
    # need not be read again.
    params.cache_prompt, params.cache_ram_mib, params.n_ctx_checkpoints = True, 0, 0
    params.cache_idle_slots = params.warmup = params.fit_params = False
    # No page in a browser may read the answers, nothing is downloaded, and there is no other door.
    params.cors_origins, params.cors_credentials = "http://127.0.0.1", False
    params.offline, params.ui, params.endpoint_slots = True, False, False
    params.n_threads_http, params.verbosity = 2, 1
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.poll, cpu.n_threads = 0, asked["threads"]  # without spinning
    return library.Server(params)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
