"""xllamacpp as far as local_server.py uses it, in Python, and a cache folder that has it fetched.

As the library it is loaded under another name, and answers by Python's own HTTP server; the weights
say how it fails. As a module of the tests it puts itself into a cache.

    python -m tests.prompt.stand_in FOLDER prompt serve     the command line, with that cache
"""

import dataclasses
import hashlib
import http.server
import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

WEIGHTS = b"GGUF good"
TEXTS = '{"candidates": [{"x1": -0.5, "x2": 2.4}]}'


class CommonParams(SimpleNamespace):
    def __init__(self):
        cpus = {name: SimpleNamespace() for name in ("cpuparams", "cpuparams_batch")}
        super().__init__(model=SimpleNamespace(), **cpus)


class Server:
    def __init__(self, params):
        said = Path(params.model.path).read_bytes()
        if said == b"GGUF bad":
            print("0.00.001.002 E model_load: not whole\n0.00.003.004 E init: exiting", flush=True)
            raise RuntimeError("Failed")
        if said == b"GGUF crash":
            os.abort()
        if said == b"GGUF slow":
            time.sleep(60)
        self.own = http.server.HTTPServer((params.hostnames[0], params.port), handler(params))
        threading.Thread(target=self.own.serve_forever, args=(0.01,), daemon=True).start()
        self.listening_address = f"http://127.0.0.1:{self.own.server_address[1]}"


def handler(params):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            choice = {"message": {"content": TEXTS}, "finish_reason": "stop"}
            data = json.dumps({"model": params.model_alias[0], "choices": [choice]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format, *args):
            pass

    return Handler


def fetched(folder, patch):
    """Put both packages into a cache folder, in the place of the real ones."""
    from steppe.data.fetch import PACKAGES

    patch.setenv("STEPPE_CACHE", str(folder))
    data = {"xllamacpp": ("xllamacpp.py", Path(__file__).read_bytes()),
            "smollm2": ("tiny.gguf", WEIGHTS)}  # fmt: skip
    for name, (file, content) in data.items():
        place = Path(folder) / "fetched" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(content)
        package = dataclasses.replace(
            PACKAGES[name],
            members={file: len(content)},
            pinned=hashlib.sha256(content).hexdigest(),
        )
        patch.setitem(PACKAGES, name, package)


if __name__ == "__main__":
    from pytest import MonkeyPatch

    from steppe.cli.main import main

    with MonkeyPatch.context() as context:
        fetched(sys.argv[1], context)
        sys.exit(main(sys.argv[2:]))
