"""The Hub: a local folder, and a made-up server on the loopback address."""

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
import time

import pytest

hub = pytest.importorskip(
    "steppe.zoo.hub", reason="huggingface_hub is not installed: pip install 'steppe[hub]'"
)

from steppe.store.manifest import CheckpointError, read  # noqa: E402
from steppe.zoo.io import path  # noqa: E402
from steppe.zoo.resolve import reachable, resolve  # noqa: E402

NAME = "someone/rnnprop"


class Server(http.server.ThreadingHTTPServer):
    """As much of the Hub as one repository needs: create, commit, ask, download."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, bytes]] = {}  # repository → path → content
        self.asked: list[str] = []
        self.fault = ""  # "cut": half of a file; "silent": no answer
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def answer(self, content: bytes = b"{}", status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(f"POST {self.path}")
        if self.headers.get("Authorization") != "Bearer hf_test":
            return self.answer(b'{"error": "who are you?"}', 401)
        if self.path == "/api/repos/create":
            given = json.loads(body)
            name = f"{given.get('organization', 'someone')}/{given['name']}"
            self.server.files.setdefault(name, {})
            return self.answer(json.dumps({"url": f"{self.server.address}/{name}"}).encode())
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            return self.answer(json.dumps({"files": files}).encode())
        if "/commit/" in self.path:
            name = "/".join(self.path.split("/")[3:5])
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.files[name][line["value"]["path"]] = content
            said = {"commitUrl": f"{self.server.address}/{name}/commit/{'a' * 40}"}
            return self.answer(json.dumps(said | {"commitOid": "a" * 40}).encode())
        return self.answer()

    def do_HEAD(self):
        return self.do_GET()

    def do_GET(self):
        self.server.asked.append(f"{self.command} {self.path}")
        if self.path.startswith("/api/"):
            return self.answer(b'{"error": "who are you?"}', 401)
        owner, repository, _, revision, file = self.path.lstrip("/").split("/", 4)
        files = self.server.files.get(f"{owner}/{repository}")
        for missing, code in (
            (files is None, "RepoNotFound"),
            (revision != "main", "RevisionNotFound"),
            (files is not None and file not in files, "EntryNotFound"),
        ):
            if missing:
                return self.answer(b"", 404, X_Error_Code=code)
        content = files[file]
        if self.command == "GET" and self.server.fault == "cut":
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            return self.wfile.flush()
        if self.server.fault == "silent":
            return time.sleep(3)
        tag = hashlib.sha1(content).hexdigest()
        return self.answer(content, ETag=f'"{tag}"', X_Repo_Commit="a" * 40)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(server, tmp_path):
    """A command in a process of its own, for which the server is the Hub."""

    def run(*words: str, **settings: str) -> subprocess.CompletedProcess:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        ours = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
        ours |= {"HF_TOKEN": "hf_test", "HF_HUB_DISABLE_TELEMETRY": "1"} | settings
        return subprocess.run(
            [sys.executable, *words], capture_output=True, text=True, env=kept | ours, timeout=120
        )

    return run


PUSH = "import sys; from steppe.zoo.hub import push; print(push(sys.argv[1], sys.argv[2]))"
FIND = "import sys; from steppe.zoo.resolve import resolve; print(resolve(sys.argv[1]))"


def test_what_is_pushed_is_found_again_byte_for_byte_and_then_without_the_hub(run, server):
    pushed = run("-c", PUSH, "rnnprop-v1", NAME)
    assert pushed.returncode == 0, pushed.stderr
    files = server.files[NAME]
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    assert files["model.safetensors"] == path("rnnprop-v1").read_bytes()
    assert json.loads(files["config.json"])["kind"] == "RNNProp"

    card = files["README.md"].decode()
    head = card.split("---")[1]
    assert "library_name: steppe" in head and "- learned-optimizer" in head
    assert "license: apache-2.0" in head
    for said in (
        "# rnnprop-v1",
        f'"hub://{NAME}"',
        "## Known failures",
        "## Certified",
        "With confidence 99 %: at least 90 % of future tasks end, after 500 iterations, with test",
        "| Adam |",
        '"opt": "rnnprop"',
    ):
        assert said in card
    assert "PytorchModelHubMixin" not in card and "None" not in card

    found = run("-c", FIND, f"hub://{NAME}")
    assert found.returncode == 0, found.stderr
    again = found.stdout.strip()
    assert read(again)[0].manifest["card"]["name"] == "rnnprop-v1"

    asked = len(server.asked)
    offline = run("-c", FIND, f"hub://{NAME}", HF_HUB_OFFLINE="1")
    assert offline.stdout.strip() == again and len(server.asked) == asked


def test_the_command_line_and_pytorch_take_the_same_word(run, server):
    pytest.importorskip("torch")
    assert run("-c", PUSH, "dm-v1", NAME).returncode == 0
    info = run("-m", "steppe", "info", f"hub://{NAME}")
    assert info.returncode == 0 and "dm-v1" in info.stdout, info.stderr
    code = (
        "import torch; from steppe.torch import LearnedOptimizer; "
        f"print(LearnedOptimizer([torch.nn.Parameter(torch.ones(2))], 'hub://{NAME}').rule.floats)"
    )
    assert run("-c", code).stdout == "40\n"


def test_export_publishes(run, server):
    done = run("-m", "steppe", "export", "dm-v1", "--to", "hub", "--out", NAME)
    assert done.returncode == 0 and f'steppe.load("hub://{NAME}")' in done.stdout, done.stderr
    assert server.files[NAME]["model.safetensors"] == path("dm-v1").read_bytes()
    refused = run("-m", "steppe", "export", "dm-v1", "--to", "hub", "--out", NAME, HF_TOKEN="no")
    assert refused.returncode == 2 and len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("word", "settings", "said"),
    [
        ("hub://no/body", {}, "there is no such repository"),
        (f"hub://{NAME}@v9", {}, "there is no such revision"),
        ("hub://a/b/c/d", {}, "that is no name of a repository"),
        (f"hub://{NAME}", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE"),
        ("hub://someone/empty", {}, "has no model.safetensors"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_the_hub_does_not_have_is_one_sentence(run, server, word, settings, said):
    server.files[NAME] = {"model.safetensors": path("dm-v1").read_bytes()}
    server.files["someone/empty"] = {}
    failed = run("-m", "steppe", "info", word, **settings)
    assert failed.returncode == 2
    assert said in failed.stderr and len(failed.stderr.strip().splitlines()) == 1, failed.stderr


@pytest.mark.slow  # the Hub's client tries five times
@pytest.mark.parametrize("fault", ["cut", "silent"])
def test_a_hub_that_breaks_off_is_one_sentence(run, server, fault):
    server.files[NAME] = {"model.safetensors": path("dm-v1").read_bytes()}
    server.fault = fault
    quick = {"HF_HUB_ETAG_TIMEOUT": "1", "HF_HUB_DOWNLOAD_TIMEOUT": "1"}
    failed = run("-m", "steppe", "info", f"hub://{NAME}", HF_HUB_DISABLE_PROGRESS_BARS="1", **quick)
    assert failed.returncode == 2
    assert failed.stderr.count("\n") == 1 and "report it" not in failed.stderr, failed.stderr
    assert f"hub://{NAME}: " in failed.stderr


@pytest.mark.parametrize("kind", ["RemoteProtocolError", "ReadTimeout", "ConnectError"])
def test_what_the_client_raises_is_one_sentence(kind, monkeypatch):
    from huggingface_hub import errors

    client = sys.modules[errors.HTTPError.__module__.partition(".")[0]]

    def broken(*_, **__):
        raise getattr(client, kind)("peer closed connection\nwithout sending complete body")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", broken)
    monkeypatch.setattr("steppe.zoo.resolve.reachable", lambda address: True)
    with pytest.raises(CheckpointError, match=rf"hub://{NAME}: .*\({kind}\); try again") as caught:
        resolve(f"hub://{NAME}")
    assert "\n" not in str(caught.value)


def test_without_a_network_the_cache_is_asked_at_once(run, server):
    """A port that nobody listens at: in 2 s where the machine is idle, most of it imports."""
    assert run("-c", PUSH, "dm-v1", NAME).returncode == 0
    found = run("-c", FIND, f"hub://{NAME}")
    gone = {"HF_ENDPOINT": "http://127.0.0.1:1"}
    assert run("-c", FIND, f"hub://{NAME}", **gone).stdout == found.stdout != ""
    failed = run("-m", "steppe", "info", "hub://someone/else", **gone)
    assert failed.returncode == 2 and failed.stderr.count("\n") == 1, failed.stderr
    assert "it is not in the cache and the Hub cannot be reached" in failed.stderr


def test_a_name_that_is_looked_up_for_long_is_not_waited_for(monkeypatch):
    def slow(*_, **__):
        time.sleep(2)
        raise OSError("no such name")

    monkeypatch.setattr("socket.create_connection", slow)
    monkeypatch.setattr("steppe.zoo.resolve.PATIENCE", 0.1)
    began = time.perf_counter()
    assert not reachable("https://hub.invalid")
    assert time.perf_counter() - began < 1.9


def test_a_hub_out_of_reach_is_one_sentence(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def unreachable(*_, **__):  # after half a minute of trying
        raise LocalEntryNotFoundError("An error happened while trying to locate the file …")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", unreachable)
    with pytest.raises(CheckpointError, match=f"hub://{NAME}: .* cannot be reached"):
        resolve(f"hub://{NAME}")


def test_what_is_no_optimizer_is_not_published(run, server, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(path("dm-v1").read_bytes()[:-1])
    refused = run("-c", PUSH, str(tmp_path / "model.safetensors"), NAME)
    assert refused.returncode == 1 and "CheckpointError" in refused.stderr
    stranger = run("-c", PUSH, "dm-v1", NAME, HF_TOKEN="hf_other")
    assert stranger.returncode == 1 and f"hub://{NAME}: " in stranger.stderr
    assert not any("/commit/" in asked for asked in server.asked)


def test_a_local_folder_is_a_repository_too(tmp_path):
    hub.Published(path("dm-v1")).save_pretrained(tmp_path / "repository")
    again = hub.Published.from_pretrained(tmp_path / "repository")
    assert again.file.read_bytes() == path("dm-v1").read_bytes()
    assert resolve(tmp_path / "repository") == tmp_path / "repository" / "model.safetensors"


def test_places_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match="did you mean 'dm-v1'"):
        resolve("dm-v11")
    with pytest.raises(CheckpointError, match="does not exist"):
        resolve(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="no finished optimizer"):
        resolve(tmp_path)
    for name in "ab":
        (tmp_path / f"{name}.safetensors").touch()
    with pytest.raises(CheckpointError, match="2 checkpoints"):
        resolve(tmp_path)


ADAPTED = {"from": {"name": "dm-v1"}, "to": "lasso-dm", "verdict": "Adaptation helps."}


@pytest.mark.parametrize(
    "told",
    [None, "x", {}, ADAPTED | {"from": 3}, ADAPTED | {"to": ["a"]}, ADAPTED | {"to": "a" * 9999}],
)
def test_the_card_tells_what_an_optimizer_was_adapted_from_and_to(told):
    assert hub.shown({"adapted": ADAPTED})["origin"] == (
        "From dm-v1, adapted to lasso-dm. Adaptation helps."
    )
    assert hub.shown({"adapted": told})["origin"] == ""
    published = hub.Published(path("dm-v1"))
    published.manifest = published.manifest | {"adapted": ADAPTED}
    assert "## Adaptation\n\nFrom dm-v1, adapted to lasso-dm." in str(
        published.generate_model_card()
    )
