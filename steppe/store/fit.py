"""The tensors of a checkpoint against those that are expected: names, dtypes, shapes.

Asked between a header and its tensors, so that a file that does not fit costs no memory. JAX and
PyTorch ask in the same way. Standard library only.
"""

import os
from collections.abc import Mapping

from ..core.messages import nearest
from .manifest import LISTED, Header, complaint, some

Spec = tuple[str, tuple[int, ...]]  # dtype as NumPy has it, and shape
NEAR = 100  # names, and letters of each, looked through for one spelled alike
FLOATS = {"float16", "bfloat16", "float32", "float64"}  # what an optimizer's weights may be


def specs(header: Header) -> dict[str, Spec]:
    """Dtype and shape of each tensor; a PRNG key has its implementation for a dtype."""
    return {
        name: (header.keys.get(name, tensor.dtype), tensor.shape)
        for name, tensor in header.tensors.items()
    }


def as_saved(header: Header, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Spec]:
    """Weights of these shapes, in the dtypes that the file has, if these are floats."""
    saved = {name: dtype for name, (dtype, _) in specs(header).items() if dtype in FLOATS}
    return {name: (saved.get(name, "float32"), shape) for name, shape in shapes.items()}


def check_fit(
    path: str | os.PathLike, found: Mapping[str, Spec], expected: Mapping[str, Spec]
) -> None:
    """Refuse a file whose tensors are not the expected ones, by name, dtype and shape."""
    _check_names(path, set(found), set(expected))
    wrong = [name for name, spec in expected.items() if found[name] != spec]
    if wrong:
        listed = lambda of: some([f"{name}: {of[name][0]}{list(of[name][1])}" for name in wrong])
        todo = "load into the tree it was saved from: same hyper-parameters, same jax_enable_x64"
        raise complaint(path, listed(found), listed(expected), todo)


def _check_names(path, found: set[str], expected: set[str]) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if not missing and not unknown:
        return

    short = [name for name in unknown if len(name) <= NEAR][:NEAR]

    def with_guess(name: str) -> str:
        near = nearest(name[:NEAR], short)
        return f"{name} (did you mean {near}, which the file has?)" if near else name

    listed = (
        [f"no {some([with_guess(n) for n in missing[:LISTED]] + missing[LISTED:])}"]
        if missing
        else []
    )
    listed += [f"unknown {some(unknown)}"] if unknown else []
    todo = "load into the tree it was saved from, or give a renamed field its old name back"
    raise complaint(path, " and ".join(listed), f"{len(expected)} known arrays", todo)
