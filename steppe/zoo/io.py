"""Optimizers on disk, in a run, in the package, on the Hub, and what is known of each.

    save("rnnprop.safetensors", opt, task="mlp", steps=5000)
    opt = load("rnnprop.safetensors")
    manifest("rnnprop.safetensors")["recipe"]
    card("rnnprop-v1").failures

Those that come trained are one safetensors file each, in `weights/`: the numbers, and in the
manifest the card. Nothing of a card is written by hand: `steppe reproduce shipped_weights` trains,
judges, and writes both; `steppe reproduce symbolic` adds the formula, `steppe reproduce
shipped_weights.cifar10` what is known of it.

JAX is imported by `save` and `load` alone.
"""

import dataclasses
import importlib.metadata
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from ..core.entry import find
from ..optimizers.proofs import check_claims, claims
from ..store.fit import FLOATS
from ..store.manifest import (
    SAVED,
    CheckpointError,
    Header,
    described,
    read_manifest,
    warn_of,
)
from ..store.untrusted import Between, FileError, Length, Source, checked
from .registry import PRETRAINED, WEIGHTS, classes
from .resolve import resolve

if TYPE_CHECKING:
    from ..core.optimizer import AbstractOptimizer

LICENCE = "Apache-2.0"
Words = Annotated[str, Length(2000)]
Count = Annotated[int, Between(0, 2**53)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One number of the optimizer, and the same of its rivals by their names; means over `n` runs.

    None where it is not defined in each of them: a training diverged, or did not come so far.
    """

    task: Words
    metric: Words
    ours: float | None
    rivals: Annotated[dict[Words, float | None], Length(32)]
    n: Count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Likeness:
    """Loss of a formula over that of its optimizer, on examples that were not trained on.

    - `steps`: after so many; `n`: fresh trainings
    - `mean`: geometric mean of the ratios; `low`, `high`: its 95 % interval; None if all diverged
    """

    task: Words
    steps: Count
    n: Count
    mean: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Formula:
    """An optimizer as a formula, by `steppe distill`, and how well it does in its place.

    - `optimizer`: the one it was made from
    - `text`: the update, to be added to the parameters; `nodes`: its size
    - `r2`: R² of its updates on held-out runs; None if it was tuned, and imitates no more
    - `likeness`: on the optimizer's own task first, then on tasks that neither has seen
    """

    optimizer: Words
    text: Words
    nodes: Count
    r2: float | None
    likeness: Annotated[tuple[Likeness, ...], Length(100)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """The facts about a pretrained optimizer. Plain data.

    - `recipe`: as `zoo.recipe_json.to_flat` gives it; `meta_task`: arguments of `tasks.build`;
      `others`: further tasks of meta-training, label → arguments
    - `meta_steps`: done; `kept`: the one whose optimizer is kept, the last where it is a mean
    - `seconds`: of meta-training, on `cores` cores of `processor`
    - `tasks`: what it was judged on, for `horizon` steps: label → arguments of `tasks.build`
    - `table`: what came out; `against`: the rivals in it, and how they were tuned
    - `failures`: where it should not be trusted
    - `known`: what studies found of its recipe, and of it elsewhere
    - `formula`: the optimizer, or the one that it stands for, as a formula
    """

    name: Words
    summary: Words
    recipe: dict[str, Any]
    meta_task: dict[str, Any]
    meta_seed: int
    meta_steps: Count
    kept: Count
    seconds: Annotated[float, Between(0, 1e9)]
    processor: Words
    cores: Count
    commit: Words
    date: Words
    horizon: Count
    tasks: dict[str, dict[str, Any]]
    table: Annotated[tuple[Line, ...], Length(1000)]
    against: Words
    failures: Annotated[tuple[Words, ...], Length(1000)]
    licence: Words = LICENCE
    others: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    known: Annotated[tuple[Words, ...], Length(1000)] = ()
    formula: Formula | None = None

    @property
    def kept_is(self) -> str:
        """The optimizer of meta-training that it is, in words."""
        if self.recipe.get("keep") == "average":
            return "the mean of the weights over the last quarter"
        return f"the optimizer of {self.kept}"

    @property
    def rivals(self) -> tuple[str, ...]:
        """Names of the rivals of the table, in its order."""
        return tuple(dict.fromkeys(name for line in self.table for name in line.rivals))


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
    described = describe(opt)
    if proven := claims(**described):
        recipe["claims"] = proven
    checkpoint.save(path, opt, manifest={**described, **recipe, **about})


def load(source: str | os.PathLike) -> "AbstractOptimizer":
    """The trained optimizer of a file, a run folder, a shipped name, or hub://owner/name.

    Numbers come back in the dtype they were saved in. Raises CheckpointError where there is no
    optimizer, or not all of it.
    """
    import jax
    import jax.numpy as jnp
    import jax.tree_util as jtu
    import numpy as np

    from ..store import checkpoint
    from ..store.describe import rebuild

    path = resolve(source)
    numbers = lambda leaf: isinstance(leaf, jax.Array | jax.ShapeDtypeStruct)

    def skeleton(header: Header):
        check_claims(header, path)

        def as_saved(where: tuple, leaf: Any):
            """float32 weights are for a session in float64 too."""
            tensor = header.tensors.get(jtu.keystr(where))
            if tensor is None or tensor.dtype not in FLOATS:
                return leaf
            if numbers(leaf) and str(leaf.dtype) in FLOATS:
                return jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(tensor.dtype))
            if isinstance(leaf, float):  # as descriptions have a 0-d array
                return jax.ShapeDtypeStruct((), jnp.dtype(tensor.dtype))
            return leaf

        count = sum(math.prod(tensor.shape) for tensor in header.tensors.values())
        words = Source(os.fspath(path), SAVED, CheckpointError)
        found = rebuild(described(header, path), classes(), words, numbers=count)
        return jtu.tree_map_with_path(as_saved, found)

    opt = checkpoint.load_as(path, skeleton)[0]
    arrays = [(jtu.keystr(where), leaf) for where, leaf in jtu.tree_leaves_with_path(opt)]
    warn_of(path, [name for name, x in arrays if numbers(x) and not np.isfinite(x).all()])
    return opt


def manifest(source: str | os.PathLike) -> dict[str, Any]:
    """All that the file of a trained optimizer says of it, without reading its numbers.

    `kind` and `hyper`: class and constructor arguments; `recipe`: how it was trained; `steppe`: the
    version that wrote it; `claims`: what is proven of it, by name; `card` and `certificate` of
    those that come trained.
    """
    return read_manifest(resolve(source))


def card(source: str | os.PathLike) -> Card:
    """The card in the file of a trained optimizer, which those have that come with steppe.

    `source`: anything that `load` takes. Raises CheckpointError where there is none.
    """
    found = read_card(manifest(source))
    if found is None:
        raise CheckpointError(
            f"{os.fspath(source)} has no card of this version; `steppe.manifest` gives all that is "
            "known of it."
        )
    return found


def path(name: str) -> Path:
    """The file of a pretrained optimizer."""
    return WEIGHTS / f"{find('pretrained optimizer', PRETRAINED, name).name}.safetensors"


def write_shipped(
    path: str | os.PathLike,
    opt: "AbstractOptimizer",
    card: Card,
    certificate: Mapping[str, Any] | None = None,
) -> None:
    """Write an optimizer and its card to one file.

    - `certificate`: the document of one about this optimizer, which `steppe verify` checks
    """
    options = {name: x for name, x in card.meta_task.items() if name != "name"}
    # What `steppe eval` goes by.
    recipe = {"task": card.meta_task["name"], "horizon": card.recipe["horizon"]}
    write(path, opt, recipe=recipe | {"task_options": options}, **_entries(card, certificate))


def write_card(
    path: str | os.PathLike,
    source: str | os.PathLike,
    card: Card,
    certificate: Mapping[str, Any] | None = None,
) -> None:
    """Write a trained optimizer as its file has it, with another card, or another certificate.

    - `path`: the file, replaced if there is one
    - `source`: anything that `load` takes
    - `certificate`: the document of one about this optimizer; None: that of the file, if any
    """
    from ..store import checkpoint

    told = manifest(source) | _entries(card, certificate)
    checkpoint.save(path, load(source), manifest=told)


def _entries(card: Card, certificate: Mapping[str, Any] | None) -> dict[str, Any]:
    """The entries of a manifest."""
    kept = {} if certificate is None else {"certificate": dict(certificate)}
    return {"card": _facts(card), **kept}


def _facts(card: Card) -> dict[str, Any]:
    """The card as it is written, without what there is nothing of."""
    nothing = {"formula": None, "known": (), "others": {}}
    facts = dataclasses.asdict(card).items()
    return {name: x for name, x in facts if name not in nothing or x != nothing[name]}


def certificate(source: str | os.PathLike) -> Mapping[str, Any] | None:
    """The document of the certificate in the file of an optimizer, None if there is none.

    It is not checked: `steppe verify` does so. `source`: anything that `load` takes.
    """
    found = manifest(source).get("certificate")
    return found if isinstance(found, Mapping) else None


def certified(manifest: Mapping[str, Any]) -> list[str]:
    """The sentence of the certificate in a manifest, and its warnings; [] if there is none.

    They are as the file has them: `steppe verify` checks it.
    """
    found = manifest.get("certificate")
    if not isinstance(found, Mapping):
        return []
    warnings = found.get("warnings")
    said = [found.get("statement"), *(warnings if isinstance(warnings, list) else [])]
    return [words for words in said if isinstance(words, str) and len(words) <= 2000]


def read_card(manifest: Mapping[str, Any]) -> Card | None:
    """The card in a manifest, None if there is none that this version reads."""
    try:
        return checked(manifest.get("card"), Card, Source("the card"))
    except FileError:
        return None
