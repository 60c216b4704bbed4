"""A server of the chat protocol on this machine that misbehaves as it is told."""

import contextlib
import http.server
import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator


def good(*texts, usage=(7, 3), reason="stop"):
    """A body as servers send it."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": reason}
        for i, text in enumerate(texts)
    ]
    body = {"model": "tiny-1", "choices": choices}
    if usage:
        body["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return body


def send(status=200, body=b"", **headers):
    """An act: send this."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Type": "application/json"}
    fields |= {name.replace("_", "-"): str(value) for name, value in headers.items()}

    def act(handler):
        handler.send_response(status)
        for name, value in (fields | {"Content-Length": str(len(data))}).items():
            handler.send_header(name, value)
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(data)

    return act


class Server:
    """Acts one after the other, the last of them again and again; what was asked is kept."""

    def __init__(self, *acts: Callable):
        self.acts, self.asked, self.stop = list(acts), [], threading.Event()
        self.url = ""


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Say nothing of who hangs up, or does not trust a certificate."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def serving(*acts: Callable, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """A server that does these acts.

    - `tls`: with a certificate, for https
    """
    server = Server(*acts)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            server.asked.append((self.path, dict(self.headers), json.loads(data)))
            act = server.acts.pop(0) if len(server.acts) > 1 else server.acts[0]
            act(self)

        def log_message(self, format, *args):
            pass

    with Quiet(("127.0.0.1", 0), Handler) as own:
        own.daemon_threads, own.block_on_close = True, False
        if tls is not None:
            own.socket = tls.wrap_socket(
                own.socket, server_side=True, do_handshake_on_connect=False
            )
        server.url = f"{'https' if tls else 'http'}://127.0.0.1:{own.server_address[1]}"
        thread = threading.Thread(target=own.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            own.shutdown()
            thread.join()
