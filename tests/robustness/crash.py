"""Crash images: a folder as it would be found had the process ended between two file operations.

Python tells an audit hook of every operation on files before it happens, so a run is recorded
without knowing how it writes. What the recorder sees before each operation is an image; a file
that grows or appears from one image to the next is also cut at random places, as by a process that
ended in the midst of a write, and rows that are not synced are dropped, as by a power cut.
"""

import contextlib
import itertools
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.tree_util as jtu

from steppe.train import loop
from steppe.train import mesh as meshes

Image = dict[str, bytes | None]  # path in the folder → content; None for a folder

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link")
LOG = "metrics.jsonl"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

os_fsync = os.fsync
_recorders: list["Recorder"] = []  # a hook stays for good, so it asks who listens


def _hook(event: str, arguments: tuple) -> None:
    if _recorders and (event in CHANGES or (event == "open" and (arguments[2] or 0) & WRITES)):
        for recorder in _recorders:
            recorder.look()


class Recorder:
    """The images of a folder while something works in it.

    - `lost`: those in which the log is as it was when it was last synced, as after a power cut
    """

    def __init__(self, folder: Path):
        self.folder, self.images, self.lost = folder, [], []
        self._synced = self._log()
        self._busy = False  # it reads files too

    def look(self) -> None:
        if self._busy:
            return
        self._busy = True
        image = read(self.folder)
        if not self.images or image != self.images[-1]:
            self.images.append(image)
            if image.get(LOG, self._synced) != self._synced:
                self.lost.append(image | {LOG: self._synced})
        self._busy = False

    def fsync(self, descriptor: int) -> None:
        self.look()
        os_fsync(descriptor)
        log = self.folder / LOG
        if log.exists() and os.path.samestat(os.fstat(descriptor), log.stat()):
            self._synced = self._log()

    def _log(self) -> bytes:
        log = self.folder / LOG
        return log.read_bytes() if log.exists() else b""


@contextlib.contextmanager
def recorded(folder: Path) -> Iterator[Recorder]:
    """All images from here on, the last one when it is over."""
    if not getattr(sys, "_steppe_hooked", False):
        sys.addaudithook(_hook)
        sys._steppe_hooked = True  # pyright: ignore
    recorder = Recorder(folder)
    _recorders.append(recorder)
    os.fsync = recorder.fsync
    try:
        yield recorder
        recorder.look()
    finally:
        _recorders.remove(recorder)
        os.fsync = os_fsync


def read(folder: Path) -> Image:
    if not folder.exists():
        return {}
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes() for p in paths}


def build(image: Image, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in image.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


def torn(images: list[Image], rng: random.Random) -> list[Image]:
    """For each two images in a row: a file that grew in between, cut somewhere."""
    found = []
    for before, after in itertools.pairwise(images):
        for name, content in after.items():
            old = before.get(name, b"")
            grows = name == LOG or name.endswith(".tmp")  # others appear by a change of name
            if not grows or content is None or old is None or len(content) <= len(old) + 1:
                continue
            if content.startswith(old):
                found.append(before | {name: content[: rng.randrange(len(old), len(content))]})
    return found


# ---- one compilation for many runs ----


def shared_programs(patch: Callable[[Any, str, Any], None]) -> None:
    """Let runs of the same shapes share their compiled programs.

    - `patch`: sets an attribute for a while, such as `monkeypatch.setattr`

    Two runs are taken for equal by the shapes and static fields of their state and the values of
    what else they are given.
    """
    steps, numbers = {}, {}
    compile_step, compile_number = loop.compile_step, loop._compile_number

    def step(task, state, estimator, objective, meta_tx, mesh, *, stage=None):
        name = _name((task, estimator, objective, stage)), _shapes(state)
        if name not in steps:
            steps[name] = compile_step(
                task, state, estimator, objective, meta_tx, mesh, stage=stage
            )
            return steps[name]
        arrays, static = eqx.partition(state, eqx.is_array)
        placed = meshes.place(arrays, meshes.shardings(arrays, mesh))
        return steps[name][0], eqx.combine(placed, static), 0.0

    def number(f, shared, like):
        name = f.__qualname__, _name(shared), _shapes(like)
        if name not in numbers:
            numbers[name] = compile_number(f, shared, like)
        return numbers[name]

    patch(loop, "compile_step", step)
    patch(loop, "_compile_number", number)


def _name(tree: Any) -> bytes:
    return meshes._digest(tree)


def _shapes(tree: Any) -> str:
    leaves, structure = jtu.tree_flatten(eqx.filter(tree, eqx.is_array))
    return f"{structure} {[(leaf.shape, leaf.dtype) for leaf in leaves]}"
