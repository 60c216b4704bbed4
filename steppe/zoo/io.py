"""Optimizers by name, and on disk.

    opt = build("rnnprop", key=jax.random.key(0), hidden=(10,))
    save_optimizer("rnnprop.safetensors", opt, task="mlp", steps=5000)
    opt, manifest = load_optimizer("rnnprop.safetensors")

`KINDS` is the one dictionary from the class names in checkpoints to the classes.
"""

import importlib.metadata
import inspect
import os
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu

from ..core.messages import did_you_mean
from ..core.optimizer import AbstractOptimizer
from ..core.types import Key
from ..optimizers.classic.entropy_sgd import EntropySGD
from ..optimizers.classic.from_optax import FromOptax, adam, momentum, rmsprop, sgd
from ..optimizers.classic.sam import SAM
from ..optimizers.learned.dm import DM
from ..optimizers.learned.gru import CoordinatewiseGRU
from ..optimizers.learned.learned_adam import LearnedAdam
from ..optimizers.learned.rates import LearningRateSchedule, global_learning_rate
from ..optimizers.learned.rnnprop import RNNProp
from ..optimizers.learned.scale import Scale
from ..store import checkpoint
from ..store.describe import describe, rebuild
from ..store.manifest import described, read_header
from .resolve import locate

KINDS: dict[str, type[AbstractOptimizer]] = {
    "DM": DM,
    "RNNProp": RNNProp,
    "Scale": Scale,
    "CoordinatewiseGRU": CoordinatewiseGRU,
    "LearnedAdam": LearnedAdam,
    "LearningRateSchedule": LearningRateSchedule,
    "FromOptax": FromOptax,
    "SAM": SAM,
    "EntropySGD": EntropySGD,
}

BUILDERS: dict[str, Callable[..., AbstractOptimizer]] = {  # described in names.py
    "dm": DM,
    "rnnprop": RNNProp,
    "l2o-scale": Scale,
    "gru": CoordinatewiseGRU,
    "learned-adam": LearnedAdam,
    "learned-schedule": LearningRateSchedule,
    "learned-rate": global_learning_rate,
    "sgd": sgd,
    "momentum": momentum,
    "adam": adam,
    "rmsprop": rmsprop,
    "optax": FromOptax,
}


def build(name: str, *, key: Key | None = None, **options: object) -> AbstractOptimizer:
    """The optimizer of this name; `key` is for those with random weights."""
    if name not in BUILDERS:
        raise ValueError(f"There is no optimizer {name!r}; {did_you_mean(name, BUILDERS)}")
    builder = BUILDERS[name]
    arguments = inspect.signature(builder).parameters
    takes_any = any(a.kind is a.VAR_KEYWORD for a in arguments.values())
    known = [
        a
        for a in arguments
        if a != "key" and arguments[a].kind is not inspect.Parameter.VAR_KEYWORD
    ]
    for option in options:
        if option not in known and not takes_any:
            raise ValueError(f"{name} has no option {option!r}; {did_you_mean(option, known)}")
    for option in known:
        if arguments[option].default is inspect.Parameter.empty and option not in options:
            raise ValueError(f"{name} needs the option {option!r}; give {option}=….")
    if "key" not in arguments:
        return builder(**options)
    if key is None:
        raise ValueError(f"{name} starts from random weights; give key=jax.random.key(seed).")
    return builder(**options, key=key)


def save_optimizer(path: str | os.PathLike, opt: AbstractOptimizer, **recipe: object) -> None:
    """Write an optimizer to one file, with `recipe`: how it was trained, in JSON-able words."""
    manifest = {
        **describe(opt),
        "recipe": recipe,
        "steppe": importlib.metadata.version("steppe"),
    }
    checkpoint.save(path, opt, manifest=manifest)


def load_optimizer(word: str | os.PathLike) -> tuple[AbstractOptimizer, dict]:
    """A trained optimizer and its manifest.

    `word`: a file that `save_optimizer` wrote, a run folder, the name of a pretrained optimizer, or
    hub://owner/name, see `places.locate`. Numbers come back in the dtype they were saved in.
    """
    path = locate(word)
    header = read_header(path)

    def as_saved(where: tuple, leaf):
        """float32 weights are for a session in float64 too."""
        tensor = header.tensors.get(jtu.keystr(where))
        if tensor is None or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(tensor.dtype))

    arrays, rest = eqx.partition(rebuild(described(header, path), KINDS), _has_dtype)
    like = eqx.combine(jtu.tree_map_with_path(as_saved, arrays), rest)
    return checkpoint.load(path, like)


def _has_dtype(leaf: object) -> bool:
    return isinstance(leaf, (jax.Array, jax.ShapeDtypeStruct))
