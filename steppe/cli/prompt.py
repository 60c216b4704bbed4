"""`steppe prompt serve`: a language model on this machine, until Ctrl-C."""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from ..core.settings import check, setting
from ..runs.folder import Failed
from .parse import document, make

PORT = 8080  # where `--proposer llm` looks, as llama.cpp and its clients do


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """Serve a small language model on this machine, for `steppe catalyst` or any other client.

    It speaks OpenAI's chat protocol, on the loopback address alone, until Ctrl-C or SIGTERM. The
    server and the model are those of `steppe fetch xllamacpp smollm2`; nothing is downloaded here.
    A model of 135 million weights writes texts that can be read, but knows little; another one, as
    a GGUF file, takes its place.
    """

    action: Literal["serve"] = setting(
        dataclasses.MISSING, "serve a language model until Ctrl-C", positional=True
    )
    weights: Path | None = setting(
        None,
        "language model as a file of your own (default: SmolLM2-135M-Instruct, as fetched)",
        positional=True,
        metavar="GGUF",
    )
    port: int = setting(PORT, "port on 127.0.0.1; 0 for one that is free", least=0, most=2**16 - 1)
    context: int = setting(
        4096, "tokens of a question and its answer together", least=64, most=2**22
    )
    cores: int | None = setting(
        None, "processor cores to use (default: half of them)", least=1, most=1024
    )
    json: bool = setting(False, "print where it answers as one JSON document")
    quiet: bool = setting(False, "print where it answers only")

    def __post_init__(self):
        check(self)


def run(values: dict) -> int:
    options = make(Prompt, values)

    from ..prompt.local import serve

    how = {"port": options.port, "context": options.context, "threads": options.cores}
    with serve(options.weights, **how) as server:
        if options.json:
            about = {"base_url": server.base_url, "model": server.model, "pid": server.process.pid}
            document(about)
        else:
            print(server.base_url)
            if not options.quiet:
                print(
                    f"{server.model} answers there until Ctrl-C, for instance to\n"
                    f"  steppe catalyst rastrigin-shifted --lr 0.01 --base-url {server.base_url}"
                )
        sys.stdout.flush()
        code = server.process.wait()
    raise Failed(f"The server ended by itself, with code {code}; is there enough memory?")
