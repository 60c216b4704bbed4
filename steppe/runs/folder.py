"""The run folder: one process at a time writes there, and files are whole whenever they are there.

`config.json` is written once the run can begin, and a run goes on by what it says. A folder is
held by a lock while a process trains in it; the system frees the lock if the process dies.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..store.files import made, sweep, temporary_beside, to_json, write_atomically
from ..store.lock import FolderInUseError, locked
from ..store.manifest import STEPS, CheckpointError, read_manifest
from ..store.untrusted import FileError, Source, checked, read_document, shown


class BadInput(Exception):
    """The input cannot be used; exit code 2 of the command line."""


class Failed(Exception):
    """The run failed, or found a failure; exit code 1 of the command line."""


CONFIG = "config.json"
MODEL = "model.safetensors"
METRICS = "metrics.jsonl"
RECORDS = "records.jsonl"  # of comparisons
FINDINGS = "findings.json"
ENVIRONMENT = "env.json"
TENSORBOARD = "tensorboard"
EARLY = (ENVIRONMENT, TENSORBOARD)  # written before `config.json`, which makes a folder a run


def read_config(folder: Path) -> dict:
    """The content of `config.json` of a run of `steppe train`."""
    path = folder / CONFIG
    if not path.exists():
        raise BadInput(
            f"{folder} is no run folder, it has no {CONFIG}; give a folder that `steppe train` "
            "wrote."
        )
    try:
        source = Source(str(path), "mend it, or begin a new run with `out`")
        config = checked(read_document(path, source, nonfinite=True), dict[str, Any], source)
    except FileError as error:
        raise BadInput(str(error)) from None
    if not is_training(folder):
        raise BadInput(
            f"{path} has no options of `steppe train`, but is of {shown(config.get('command'))}; "
            "give another folder."
        )
    return config


def check_new_checkpoint(path: Path) -> None:
    """Refuse a name under which no new checkpoint can be written."""
    if path.suffix != ".safetensors":
        raise BadInput(f"{path} must end in .safetensors, the format that is written there.")
    if path.exists():
        raise BadInput(f"{path} exists already; move it away or give another name.")
    if not path.absolute().parent.is_dir():
        raise BadInput(f"{path.parent} is no folder; make it, or give another name.")


@contextlib.contextmanager
def new_files(folder: Path | None, names: Sequence[str]) -> Iterator[None]:
    """A folder in which these files are to be new, made if need be; None: nothing is written.

    Where something goes wrong, those that were written are taken back. A new folder that is empty
    at the end goes again.
    """
    if folder is None:
        yield
        return
    paths = [folder / name for name in names]
    for path in paths:
        if path.exists():
            raise BadInput(f"{path} exists already; give another folder as `out`.")
    with _made(folder):
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                for path in paths:
                    path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _made(folder: Path) -> Iterator[None]:
    """`files.made` of a folder that can be written, or a sentence."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(made(folder))
            probe = temporary_beside(folder / CONFIG)
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise BadInput(
                f"{folder} cannot be written ({error.strerror}); give a writable folder as `out`."
            ) from error
        yield


def check_page(path: Path) -> None:
    """Refuse a name under which no page can be written; what is there is overwritten."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise BadInput(f"{path} is no place for a file; give its name in a folder there is.")


def begun(folder: Path) -> bool:
    return (folder / CONFIG).exists()


def is_training(folder: Path) -> bool:
    """True for a run of `steppe train`, of this version or 0.1."""
    config = read_json(folder / CONFIG)
    return any(isinstance(config.get(name), dict) for name in ("recipe", "options"))


def done_steps(folder: Path) -> int:
    """Meta-steps of the newest checkpoint whose header is intact, 0 if there is none."""
    for path in sorted(folder.glob(STEPS), reverse=True):
        with contextlib.suppress(CheckpointError, KeyError, TypeError, ValueError):
            return int(read_manifest(path)["step"])
    return 0


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder, made if need be, locked, and writable; gone again if nothing was begun in it."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(_made(folder))
        try:
            stack.enter_context(locked(folder))
        except FolderInUseError as error:
            raise BadInput(
                f"{folder} is in use by another `steppe train`; wait for it, or give another "
                "folder as `out`."
            ) from error
        foreign = (path.name for path in folder.iterdir() if path.name not in EARLY)
        if not begun(folder) and not all(name.startswith(".") for name in foreign):
            raise BadInput(
                f"{folder} holds files, but no run ({CONFIG} is missing); give a new or empty "
                "folder as `out`."
            )
        sweep(folder)
        yield


def read_json(path: Path) -> dict:
    """The table in a JSON file, {} where there is none."""
    try:
        content = read_document(path, Source(str(path)), nonfinite=True)
    except FileError:
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: object) -> None:
    """Write a file that is complete whenever it is there."""
    write_atomically(path, to_json(content, indent=2, ensure_ascii=False), "\n")
