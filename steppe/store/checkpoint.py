"""Checkpoints: a pytree on disk, every array under the name of its place in the tree.

    save(path, tree, manifest=…)      load(path, like) → (tree, manifest)

One safetensors file, readable by NumPy, PyTorch and the model hubs; its layout is in
`manifest.py`. Leaves are matched by name, never by position, so that swapping two fields of
equal shape cannot swap their values. What is not an array (sizes, functions, Python numbers)
is not in the file: it comes from `like`, which `describe.rebuild` makes from the manifest.
No pickle is read or written.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, PyTree

from ..core.messages import at_least
from .files import write_atomically
from .fit import Spec, check_fit, specs
from .manifest import (
    DTYPES,
    CheckpointError,
    Header,
    Tensor,
    complaint,
    pack,
    parse_header,
    plain,
    read,
    read_header,
    read_manifest,
    verify,
)
from .untrusted import Source

__all__ = ["CheckpointError", "keep_last", "load", "newest", "read_manifest", "save"]


def save(path: str | os.PathLike, tree: PyTree, *, manifest: Mapping) -> None:
    """Write a tree of arrays to one file, or change nothing.

    - `path`: the file, replaced if there is one
    - `tree`: a pytree; leaves that are no arrays are not written
    - `manifest`: words about it that JSON has

    Two saves of equal trees and manifests give equal files. The file appears
    under its name only when it is complete and on disk.
    """
    leaves = _named(tree)
    arrays = {name: _to_numpy(name, leaf) for name, leaf in leaves.items()}
    keys = {name: str(jr.key_impl(leaf)) for name, leaf in leaves.items() if _is_key(leaf)}
    tensors, bodies, stop = {}, [], 0
    # Widest numbers first: then every tensor begins at a multiple of its width.
    for name, array in sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize):
        start, stop = stop, stop + array.nbytes
        tensors[name] = Tensor(array.dtype.name, array.shape, start, stop)
        bodies.append(array.tobytes())
    body = b"".join(bodies)
    content = plain(manifest, "manifest", _refuse)
    header = pack(tensors, keys, content, hashlib.sha256(body).hexdigest())
    todo = "nothing was written: save less, or what is said of it in fewer words"
    parse_header(header[8:], Source(os.fspath(path), todo, CheckpointError))  # as `load` will
    _write(path, header, body)


def load(
    path: str | os.PathLike, like: PyTree, *, renamed: Mapping[str, str] | None = None
) -> tuple[PyTree, dict]:
    """Read a checkpoint into the structure of `like`; return it with the manifest.

    `like` holds arrays or `ShapeDtypeStruct`s, as from `eqx.filter_eval_shape`;
    its other leaves are kept. All arrays come back with a strong type. `renamed` is {name of a
    field in older files: its name now}, for fields that hold an array.
    """
    return load_as(path, lambda header: like, renamed=renamed)


def load_as(
    path: str | os.PathLike,
    tree: Callable[[Header], PyTree],
    *,
    renamed: Mapping[str, str] | None = None,
) -> tuple[PyTree, dict]:
    """Read a checkpoint into the tree that its header calls for; else as `load`."""
    likes: list[PyTree] = []

    def expect(header: Header) -> None:
        likes.append(tree(header))
        _check_types(path, _renamed(header, now), _named(likes[0]))

    def now(name: str) -> str:
        for old, new in (renamed or {}).items():
            name = re.sub(rf"\.{old}$", f".{new}", name)
        return name

    header, body = read(path, expect)
    header, body = _renamed(header, now), {now(name): body[name] for name in header.tensors}

    def restore(where, leaf):
        if not _is_array(leaf):
            return leaf
        name = _name(where)
        return _to_jax(header.tensors[name], header.keys.get(name), body.pop(name))

    return jtu.tree_map_with_path(restore, likes[0]), header.manifest


def newest(
    folder: str | os.PathLike, pattern: str = "*.safetensors"
) -> tuple[Path | None, dict[Path, str]]:
    """The newest intact checkpoint, and for each broken one passed over on the way, why.

    Newest is the highest number in the name (step-9 before step-10), then the
    latest modification: copying a folder does not reorder numbered files.
    """
    skipped = {}
    for path in _by_age(folder, pattern):
        try:
            verify(path)
        except CheckpointError as error:
            skipped[path] = str(error)
        else:
            return path, skipped
    return None, skipped


def keep_last(folder: str | os.PathLike, pattern: str, k: int) -> list[Path]:
    """Delete all but the newest checkpoints of a folder; return the deleted files.

    - `pattern`: of file names, as in `Path.glob`. Only checkpoints among them are deleted: other
      files, and those too damaged to be recognised, stay
    - `k`: number of intact checkpoints to keep, at least 1; broken files do not count
    """
    at_least(1, "keep_last", k=k)
    deleted = []
    for path in _by_age(folder, pattern):
        try:
            if k > 0:
                verify(path)
                k -= 1
            else:
                read_header(path)
                path.unlink(missing_ok=True)
                deleted.append(path)
        except CheckpointError:
            continue
    return deleted


def _renamed(header: Header, now: Callable[[str], str]) -> Header:
    tensors = {now(name): tensor for name, tensor in header.tensors.items()}
    return header._replace(tensors=tensors, keys={now(k): impl for k, impl in header.keys.items()})


def _is_array(leaf: object) -> bool:
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, jax.ShapeDtypeStruct))


def _is_key(leaf) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _name(where: tuple) -> str:
    """A path in the tree as text: `.opt.cell.weight_hh`, `.windows[0]`; `.` is the root."""
    return jtu.keystr(where) or "."


def _named(tree: PyTree) -> dict:
    """The array leaves of `tree` by name."""
    named = {}
    for where, leaf in jtu.tree_leaves_with_path(tree):
        if not _is_array(leaf):
            continue
        name = _name(where)
        if name in named:
            raise CheckpointError(
                f"Two arrays of the tree are both called {name}, because two of its dictionary "
                "keys print alike: use strings as keys."
            )
        named[name] = leaf
    return named


def _to_numpy(name: str, leaf) -> np.ndarray:
    """The numbers of a leaf, for a PRNG key its data."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        raise CheckpointError(
            f"The leaf {name} is a ShapeDtypeStruct, which has no numbers to save: "
            "`load` into the skeleton first."
        )
    array = np.asarray(jr.key_data(leaf) if _is_key(leaf) else leaf)
    known = [dtype for dtype, _ in DTYPES.values()]
    if array.dtype.name not in known:
        raise CheckpointError(
            f"The leaf {name} has dtype {array.dtype}, which a checkpoint cannot hold: "
            f"convert it to one of {', '.join(known)}."
        )
    if array.dtype.byteorder == ">":  # safetensors is little endian throughout
        array = array.astype(array.dtype.newbyteorder("<"))
    return array


def _to_jax(tensor: Tensor, impl: str | None, data: bytearray) -> Array:
    flat = np.frombuffer(data, np.dtype(tensor.dtype))
    array = jnp.array(flat.reshape(tensor.shape))  # a copy, so that it may be donated
    return array if impl is None else jr.wrap_key_data(array, impl=impl)


def _refuse(value: object, where: str) -> object:
    raise CheckpointError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold: store a number "
        "(`float(x)`, `int(x)`), a string, a list or a dict instead."
    )


def _write(path: str | os.PathLike, *parts: bytes) -> None:
    """Put a complete file at `path`, or raise and leave what was there."""
    try:
        write_atomically(path, *parts)
    except ValueError as error:  # a name that no file can have
        raise CheckpointError(str(error)) from None
    except OSError as error:
        found = f"that it cannot be written ({error.strerror})"
        todo = "what was there before is unchanged: check the folder and its free space"
        raise complaint(path, found, "a writable file", todo) from error


def _by_age(folder, pattern: str) -> list[Path]:
    """Matching files, newest first; unfinished temporary files are no matches."""

    def age(path: Path):
        numbers = [int(digits) for digits in re.findall(r"\d+", path.stem)]
        return numbers, path.stat().st_mtime_ns, path.name

    found = [p for p in Path(folder).glob(pattern) if p.is_file() and p.suffix != ".tmp"]
    return sorted(found, key=age, reverse=True)


def _check_types(path, header: Header, expected: Mapping) -> None:
    found = specs(header)
    for name in header.keys:
        found[name] = _key_spec(header.tensors[name], header.keys[name])
    check_fit(path, found, {name: (str(x.dtype), x.shape) for name, x in expected.items()})
    wide = [t.dtype for t in header.tensors.values() if t.dtype.endswith(("int64", "float64"))]
    if wide and jnp.result_type(float) == jnp.float32:  # only a NumPy `like` gets here
        todo = "turn on jax_enable_x64, or they would lose half their digits"
        raise complaint(path, f"{wide[0]} arrays", "32 bits at most", todo)


def _key_spec(tensor: Tensor, impl: str) -> Spec:
    """Dtype and shape of an array of keys, from those of its data; these if they are no keys."""
    try:
        key = jr.key(0, impl=impl)
    except ValueError:  # of a type that is not registered here
        return f"key<{impl}>", tensor.shape
    data = jr.key_data(key)
    batch = tensor.shape[: len(tensor.shape) - data.ndim]
    fits = (tensor.dtype, tensor.shape) == (str(data.dtype), (*batch, *data.shape))
    return (str(key.dtype), batch) if fits else (tensor.dtype, tensor.shape)
