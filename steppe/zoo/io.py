"""Optimizers on disk, in a run, in the package, on the Hub.

    save("rnnprop.safetensors", opt, task="mlp", steps=5000)
    opt = load("rnnprop.safetensors")
    manifest("rnnprop.safetensors")["recipe"]

JAX is imported by `save` and `load` alone.
"""

import importlib.metadata
import os
from typing import TYPE_CHECKING, Any

from ..store.manifest import described, read_header, read_manifest
from .registry import classes
from .resolve import resolve

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer


def save(path: str | os.PathLike, opt: "AbstractOptimizer", **recipe: Any) -> None:
    """Write an optimizer to one file.

    - `path`: the file, replaced if there is one
    - `opt`: of a class in `optimizers.names`
    - `recipe`: how it was trained, in words that JSON has
    """
    write(path, opt, recipe=recipe)


def write(path: str | os.PathLike, opt: "AbstractOptimizer", **about: Any) -> None:
    """Write an optimizer, what rebuilds it, and more entries of the manifest."""
    from ..store import checkpoint
    from ..store.describe import describe

    version = importlib.metadata.version("steppe")
    recipe = {"recipe": about.pop("recipe"), "steppe": version}
    checkpoint.save(path, opt, manifest={**describe(opt), **recipe, **about})


def load(source: str | os.PathLike) -> "AbstractOptimizer":
    """The trained optimizer of a file, a run folder, a shipped name, or hub://owner/name.

    Numbers come back in the dtype they were saved in. Raises CheckpointError where there is no
    optimizer, or not all of it.
    """
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import jax.tree_util as jtu

    from ..store import checkpoint
    from ..store.describe import rebuild

    path = resolve(source)
    header = read_header(path)

    def as_saved(where: tuple, leaf):
        """float32 weights are for a session in float64 too."""
        tensor = header.tensors.get(jtu.keystr(where))
        if tensor is None or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(tensor.dtype))

    skeleton = rebuild(described(header, path), classes())
    numbers = lambda leaf: isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)
    arrays, rest = eqx.partition(skeleton, numbers)
    like = eqx.combine(jtu.tree_map_with_path(as_saved, arrays), rest)
    return checkpoint.load(path, like)[0]


def manifest(source: str | os.PathLike) -> dict[str, Any]:
    """All that the file of a trained optimizer says of it, without reading its numbers.

    `kind` and `hyper`: class and constructor arguments; `recipe`: how it was trained; `steppe`: the
    version that wrote it; `card` of those that come trained, see `card`.
    """
    return read_manifest(resolve(source))
