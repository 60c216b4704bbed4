"""Objects as JSON and back: how a checkpoint rebuilds the optimizer it was saved from.

    describe(opt)          → {"kind": "RNNprop", "hyper": {"hidden": 20, …}}
    rebuild(that, kinds)   → the same object with shapes in place of arrays, for `load`

It rests on one rule: constructor arguments are kept as fields under the same names. Numbers,
strings, booleans, None, tuples and dicts of them pass as they are, 0-d arrays as numbers,
modules (a wrapper's `base`) as descriptions of their own. `key` is no hyper-parameter.

What is not kept: a list comes back as a tuple, since static fields must be hashable, and the
dtype of a 0-d array is the constructor's to choose.
"""

import dataclasses
import inspect
from collections.abc import Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ..core.messages import did_you_mean
from .manifest import CheckpointError, plain

# A constructor that looks at the value of an array (`if not self.rho > 0`) says one of these
# when there are only shapes.
NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)

VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def describe(obj: eqx.Module) -> dict:
    """`{"kind": class name, "hyper": constructor arguments}`, ready for JSON."""
    kind = type(obj).__name__
    fields = {field.name for field in dataclasses.fields(obj)}
    hyper = {}
    for name in _arguments(type(obj)):
        if name == "key":
            continue
        if name not in fields:
            raise CheckpointError(
                f"{kind} takes the argument {name!r} but has no field of that name, so it cannot "
                f"be described: keep the argument as the field `{name}`."
            )
        hyper[name] = plain(getattr(obj, name), f"{kind}.{name}", _special)
    return {"kind": kind, "hyper": hyper}


def rebuild(description: Mapping, kinds: Mapping[str, type[eqx.Module]]) -> eqx.Module:
    """Call the constructors again, with `ShapeDtypeStruct`s in place of arrays.

    `kinds` maps class names to classes. Nothing is computed, unless a
    constructor looks at the values of its arrays.
    """

    if not isinstance(description, Mapping) or set(description) != {"kind", "hyper"}:
        raise CheckpointError(
            f"{description!r} is no description: expected a dict with the entries 'kind' and "
            "'hyper', as `describe` returns."
        )

    def build():
        return _build(description, kinds)

    try:
        return eqx.filter_eval_shape(build)
    except NEEDS_VALUES:
        module = build()
        return eqx.filter_eval_shape(lambda: module)


def _arguments(cls: type) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cls).parameters


def _special(value: object, where: str) -> object:
    """JSON form of modules and 0-d arrays; the rest is refused."""
    if isinstance(value, eqx.Module):
        return describe(value)
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        if value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.floating):
            return float(value)
        if value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.bool_):
            return bool(value)
        if value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.integer):
            return int(value)
        what = f"an array {value.dtype}{list(value.shape)}"
        todo = "build it inside the constructor from sizes, the checkpoint holds its numbers"
    elif callable(value):
        what = f"the callable {getattr(value, '__name__', type(value).__name__)}"
        todo = "take its name as a string and look the function up where it is used"
    else:
        what = f"a {type(value).__name__}"
        todo = "take numbers, strings, tuples, dicts or modules as arguments"
    raise CheckpointError(f"{where} is {what}, which a description cannot hold: {todo}.")


def _build(part: object, kinds: Mapping[str, type]) -> object:
    if isinstance(part, list):
        return tuple(_build(p, kinds) for p in part)
    if not isinstance(part, Mapping):
        return part
    if set(part) != {"kind", "hyper"}:
        return {name: _build(p, kinds) for name, p in part.items()}
    kind, hyper = part["kind"], part["hyper"]
    if kind not in kinds:
        raise CheckpointError(
            f"No class of the name {kind!r} is known; {did_you_mean(kind, kinds)} "
            "Add it to `kinds`, or rename the class back."
        )
    signature = inspect.signature(kinds[kind])
    known = signature.parameters
    for name in hyper:
        if name not in known:
            raise CheckpointError(
                f"{kind} has no argument {name!r}; {did_you_mean(name, known)} Rename the "
                "argument back, or read the checkpoint with the steppe that wrote it."
            )
    given = {name: _build(hyper[name], kinds) for name in known if name in hyper}
    if "key" in known:
        given["key"] = jr.key(0)
    for name, argument in known.items():
        optional = argument.default is not argument.empty or argument.kind in VARIADIC
        if name not in given and not optional:
            raise CheckpointError(
                f"{kind} needs the argument {name!r}, which the description lacks: give the "
                "argument the default that old checkpoints imply."
            )
    bound = inspect.BoundArguments(signature, given)
    try:
        return kinds[kind](*bound.args, **bound.kwargs)
    except ValueError as error:
        raise CheckpointError(f"The file describes no valid {kind}: {error}") from error
