"""`steppe VERB …`: find the verb, read its options, turn what goes wrong into one sentence.

Exit codes: 0 done, 1 a failed check or run, 2 bad usage or input, 130 stopped by Ctrl-C, 143 by
SIGTERM.
"""

import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import NamedTuple

from ..core.allocator import keep_freed
from ..core.messages import did_you_mean, missing
from ..runs.folder import BadInput, Failed
from ..train.stopping import Terminated, terminated
from .parse import columns, help_text, paragraphs, parse_argv, reword


class Verb(NamedTuple):
    file: str  # in this package
    options: str  # the class of its options, or a function that takes the line and returns it
    summary: str
    run: str = "run"  # the function that takes their values and returns an exit code


VERBS = {
    "demo": Verb("demo", "Demo", "train a learned optimizer in about a minute and judge it"),
    "list": Verb("listing", "List", "tasks, optimizers, data and measures by name"),
    "train": Verb("train", "Train", "meta-train a learned optimizer, or go on with a run"),
    "learn": Verb("learn", "Learn", "find the best solver for a family of problems"),
    "adapt": Verb("adapt", "Adapt", "adapt a trained optimizer to other problems"),
    "catalyst": Verb("catalyst", "Catalyst", "tune numbers by gradients and a language model"),
    "prompt": Verb("prompt", "Prompt", "serve a small language model on this machine"),
    "distill": Verb("distill", "Distill", "turn an optimizer into a formula"),
    "eval": Verb("evaluate", "Eval", "compare an optimizer with tuned baselines on a task"),
    "curvature": Verb("curvature", "Curvature", "curvature of the loss where an optimizer ends"),
    "certify": Verb("certify", "Certify", "guarantees for future problems"),
    "verify": Verb("verify", "Verify", "check a certificate by other code"),
    "report": Verb("report", "Report", "one HTML page about runs"),
    "info": Verb("info", "Info", "contents of a checkpoint"),
    "doctor": Verb("doctor", "Doctor", "check the installation, or why a run went wrong"),
    "theory": Verb("theory", "Theory", "check the theory of flatness by numbers"),
    "reproduce": Verb("reproduce", "options", "do a study again: tables and verdicts"),
    "fetch": Verb("fetch", "Fetch", "models, texts and llama.cpp, into the cache"),
    "export": Verb("export", "Export", "hand a trained optimizer on: file, Hub"),
    "convert": Verb(
        "export", "Convert", "published Open-L2O weights to a checkpoint", "run_convert"
    ),
}

OUT = "Out of memory"  # as XLA says it
GLOBAL = ("--help", "--version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal without ½ and → shows a question mark
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with terminated(), warnings.catch_warnings():
            warnings.showwarning = note
            return dispatch(words)
    except BrokenPipeError:  # `steppe list | head -1`: nobody reads on, and that is fine
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python flushes stdout once more at exit
        return 0
    except (Exception, KeyboardInterrupt, Terminated) as error:
        if os.environ.get("STEPPE_DEBUG", "0") not in ("", "0"):
            raise
        sentence, code = explain(error)
        if words[0] in VERBS:
            sentence = reword(sentence, options_of(words[0], words[1:]))
        print(f"steppe: {sentence}", file=sys.stderr)
        return code


def note(message: Warning | str, *_: object, **__: object) -> None:
    """Show a warning as a line of its own, without the place in the code."""
    print(f"steppe: note: {' '.join(str(message).split())}", file=sys.stderr)


def dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"steppe {version('steppe')}")
        return 0
    name, *rest = words
    if name not in VERBS:
        kind = "option" if name.startswith("-") else "command"
        near = did_you_mean(name, [*VERBS, *GLOBAL], see="`steppe --help`")
        raise BadInput(f"There is no {kind} {name!r}; {near}")
    options = options_of(name, rest)
    if "-h" in rest or "--help" in rest:
        print(help_text(name, options))
        return 0
    keep_freed()
    return getattr(module(name), VERBS[name].run)(parse_argv(options, rest))


def module(name: str) -> ModuleType:
    """The file of a verb."""
    return import_module(f"{__package__}.{VERBS[name].file}")


def options_of(name: str, words: Sequence[str] = ()) -> type:
    """The class of a verb's options.

    - `name`: the verb
    - `words`: the rest of the line, which may decide on it
    """
    found = getattr(module(name), VERBS[name].options)
    return found if isinstance(found, type) else found(words)


def overview() -> str:
    said = (
        "Learned optimizers in JAX: meta-train them, compare them, look into them.",
        "steppe COMMAND --help says what a command takes; --version prints the version.",
        "STEPPE_DATA names the folder of local data sets, STEPPE_DEBUG=1 shows tracebacks.",
    )
    first, *rest = map(paragraphs, said)
    verbs = columns([(name, verb.summary) for name, verb in VERBS.items()])
    head = ["usage: steppe COMMAND [options]", "", *first, "", *verbs, ""]
    return "\n".join(head + [line for part in rest for line in part])


def explain(error: BaseException) -> tuple[str, int]:
    """One sentence about an error, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "Stopped.", 130
    if isinstance(error, Terminated):
        return str(error), 143
    if isinstance(error, ModuleNotFoundError):
        return missing(error), 2
    sentence = " ".join(str(error).split())
    if isinstance(error, Failed):
        return sentence, 1
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}; check the path and its permissions.", 2
    # The library raises these three for what it was given, each with a sentence of its own.
    if isinstance(error, (BadInput, ValueError, OSError, ImportError)):
        return sentence, 2
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in sentence or OUT in sentence:
        return f"There is not enough memory for these sizes ({sentence[:200]}); give smaller.", 2
    kind = type(error).__name__
    return f"{kind}: {sentence} (STEPPE_DEBUG=1 shows where; please report it.)", 1
