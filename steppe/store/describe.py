"""Objects as JSON and back: how a checkpoint rebuilds the optimizer it was saved from.

    describe(opt)          → {"kind": "RNNprop", "hyper": {"hidden": 20, …}}
    rebuild(that, kinds)   → the same object with shapes in place of arrays, for `load`
    check(that, kinds, …)  every name and number of it, before anything is called

It rests on one rule: constructor arguments are kept as fields under the same names. Numbers,
strings, booleans, None, tuples and dicts of them pass as they are, 0-d arrays as numbers,
modules (a wrapper's `base`) as descriptions of their own. `key` is no hyper-parameter.

What is not kept: a list comes back as a tuple, since static fields must be hashable, and the
dtype of a 0-d array is the constructor's to choose.
"""

import contextlib
import dataclasses
import functools
import inspect
import itertools
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from .hints import Check, Checker, Wrong, checker, shown, table
from .manifest import SAVED, CheckpointError, plain
from .untrusted import Between, Length, NonFinite, OneOf, Real, Source, built, checked

# A constructor that looks at the value of an array (`if not self.rho > 0`) says one of these
# when there are only shapes.
NEEDS_VALUES = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)

DEPTH, MODULES = 8, 64  # modules in one another, and in all
ITEMS = 4096  # of a list, entries of a table
MADE = 2**20  # numbers that a constructor may make only to look at them

DIFFERENT = "give it settings, or type hints, that agree"
DESCRIPTION = Source("the description", SAVED, CheckpointError)


def describe(obj: eqx.Module) -> dict:
    """`{"kind": class name, "hyper": constructor arguments}`, ready for JSON."""
    kinds: dict[str, type[eqx.Module]] = {}
    found = _describe(obj, kinds)
    check(found, kinds, Source(type(obj).__name__, DIFFERENT, CheckpointError))
    return found


def _describe(obj: eqx.Module, kinds: dict[str, type[eqx.Module]]) -> dict:
    """Its description, and that of modules in it, whose classes are added to `kinds`."""
    kind = type(obj).__name__
    kinds[kind] = type(obj)
    special = functools.partial(_special, kinds)
    fields = {field.name for field in dataclasses.fields(obj)}
    hyper = {}
    for name in inspect.signature(type(obj)).parameters:
        if name == "key":
            continue
        if name not in fields:
            raise CheckpointError(
                f"{kind} takes the argument {name!r} but has no field of that name, so it cannot "
                f"be described: keep the argument as the field `{name}`."
            )
        hyper[name] = plain(getattr(obj, name), f"{kind}.{name}", special)
    return {"kind": kind, "hyper": hyper}


def rebuild(
    description: object,
    kinds: Mapping[str, type[eqx.Module]],
    source: Source = DESCRIPTION,
    *,
    numbers: int = 0,
) -> Any:
    """Call the constructors again, with `ShapeDtypeStruct`s in place of arrays.

    - `kinds`: class names → classes, the only ones that are called
    - `source`: where the description stands
    - `numbers`: how many numbers the file has

    Every argument is checked first, by `check`. Nothing is computed, unless a constructor looks at
    the values of its arrays, and then little more than `numbers`. Raises the error of `source`.
    """
    check(description, kinds, source)

    def build():
        return _build(description, kinds, source)

    def skeleton():
        try:
            return eqx.filter_eval_shape(build)
        except NEEDS_VALUES:
            most = 16 * numbers + MADE
            if (made := _made(build)) > most:
                raise source.refuse(f"sizes of {made} numbers", f"at most {most}") from None
            module = build()
            return eqx.filter_eval_shape(lambda: module)

    return built(skeleton, {}, source, "object")


def check(description: object, kinds: Mapping[str, type[eqx.Module]], source: Source) -> None:
    """Check a description by the type hints of the constructors that it names.

    Whole numbers have 64 bits, lists 4096 items; modules are nested 8 deep. An argument without a
    hint, or with one that says nothing of JSON, is anything within these limits. Raises the error
    of `source`.
    """
    count = itertools.count(1)

    def module(base: type, depth: int, value: object) -> object:
        if not _is_description(value):
            raise Wrong(shown(value), "a table of the two entries 'kind' and 'hyper'")
        if depth > DEPTH or next(count) > MODULES:
            raise Wrong("modules in modules", f"{MODULES} of them, {DEPTH} deep, at most")
        named: Any = value
        known = [name for name, cls in kinds.items() if issubclass(cls, base)]
        kind = named["kind"]
        try:
            table({"kind": checker(Annotated[str, OneOf(known)])}, ())({"kind": kind})
        except Wrong as wrong:
            if not (isinstance(kind, str) and kind.isidentifier()) or kind in kinds:
                raise
            line = f"steppe.register({kind[:40]})"
            own = f"{wrong.expected}; if it is your own, the line {line} is missing before this"
            raise Wrong(wrong.found, own, wrong.place) from None
        inner = lambda base: functools.partial(module, base, depth + 1)
        arguments, needed = _arguments(kinds[kind])
        checks = {
            name: _defaulting(checker(_of_json(hint, inner)), default)
            for name, (hint, default) in arguments.items()
        }
        try:
            return table(checks, needed)(named["hyper"])
        except Wrong as wrong:
            raise wrong.within(f".{kind}") from None

    checked(description, Annotated[Any, Check(functools.partial(module, object, 1))], source)


def hints_of(make: Callable) -> dict[str, Any]:
    """Hints of JSON for each argument of a class or function; modules cannot be said."""

    def refuse(base: type) -> Checker:
        def check(value: object) -> object:
            raise Wrong(shown(value), "nothing that a file can say")

        return check

    return {name: _of_json(hint, refuse) for name, (hint, _) in _arguments(make)[0].items()}


Inner = Callable[[type], Checker]  # from a class to the check of a description of one


@functools.lru_cache(maxsize=256)
def _arguments(cls: Callable) -> tuple[dict[str, tuple[Any, Any]], list[str]]:
    """Hint and default of each argument but the key, and the names of those without a default."""
    hints: dict[str, Any] = {}
    for of in (cls, cls.__init__):
        with contextlib.suppress(Exception):  # a name that is defined for type checkers alone
            hints |= typing.get_type_hints(of, include_extras=True)
    found, needed = {}, []
    for name, argument in inspect.signature(cls).parameters.items():
        hint = hints.get(name, Any)
        if name == "key":
            continue
        if argument.kind is argument.VAR_POSITIONAL:
            hint = tuple[hint, ...]
        elif argument.kind is argument.VAR_KEYWORD:
            hint = dict[str, hint]
        elif argument.default is argument.empty:
            needed.append(name)
        found[name] = hint, argument.default
    return found, needed


def _defaulting(check: Checker, default: object) -> Checker:
    """A check that a default passes, whatever the hint: `width: int = None` is common."""
    if not isinstance(default, bool | int | float | str | None):
        return check
    return lambda value: (
        value if type(value) is type(default) and value == default else check(value)
    )


def _of_json(hint: Any, inner: Inner) -> Any:
    """A hint of a constructor, as one of what JSON has for it."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    again = functools.partial(_of_json, inner=inner)
    if hint is float or hint == Real:
        return Real
    if origin is Annotated:
        base = again(parts[0])  # the bounds of a hint come before our own
        within = base.__metadata__ if typing.get_origin(base) is Annotated else ()
        return Annotated[(base.__origin__ if within else base, *parts[1:], *within)]
    if origin in (typing.Union, types.UnionType):
        arms = [again(arm) for arm in parts if Callable not in (arm, typing.get_origin(arm))]
        return typing.Union[tuple(arms)]  # noqa: UP007
    if origin in (tuple, list, dict, Mapping):
        held = tuple[*map(again, parts)] if origin in (tuple, list) else dict[str, again(parts[1])]
        held = tuple[again(parts[0]), ...] if origin is list or parts[1:] == (...,) else held
        return Annotated[held, Length(ITEMS)]
    if hint is int:
        return Annotated[int, Between(-(2**63), 2**64 - 1)]
    if hint in (bool, str, None, type(None)) or origin is typing.Literal:
        return hint
    if isinstance(hint, type) and issubclass(hint, eqx.Module):
        return Annotated[Any, Check(inner(hint))]
    if getattr(hint, "__module__", "").partition(".")[0] in ("jax", "jaxlib", "jaxtyping", "numpy"):
        return Annotated[Real, NonFinite()] | bool  # an array of no dimensions, as a number
    return Annotated[Any, Check(functools.partial(_anything, inner))]


def _anything(inner: Inner, value: object) -> object:
    """Check the descriptions in a value, and the lengths of lists and tables."""
    if _is_description(value):
        return inner(object)(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if len(parts) > ITEMS:
        raise Wrong(shown(value), f"a length of at most {ITEMS}")
    for part in parts:
        _anything(inner, part)
    return value


def _is_description(value: object) -> bool:
    return isinstance(value, dict) and set(value) == {"kind", "hyper"}


def _made(build: Callable[[], object]) -> int:
    """How many numbers a constructor makes before it looks at one."""

    def trace() -> None:
        with contextlib.suppress(*NEEDS_VALUES):
            build()

    made = jax.make_jaxpr(trace)().jaxpr.eqns
    return sum(math.prod(out.aval.shape) for line in made for out in line.outvars)


def _special(kinds: dict[str, type[eqx.Module]], value: object, where: str) -> object:
    """JSON form of modules and 0-d arrays; the rest is refused."""
    if isinstance(value, eqx.Module):
        return _describe(value, kinds)
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


def _build(part: Any, kinds: Mapping[str, type], source: Source) -> Any:
    """The object of a checked description, or of a part of one."""
    if isinstance(part, list):
        return tuple(_build(p, kinds, source) for p in part)
    if not isinstance(part, Mapping):
        return part
    if not _is_description(part):
        return {name: _build(p, kinds, source) for name, p in part.items()}
    kind, hyper = part["kind"], part["hyper"]
    signature = inspect.signature(kinds[kind])
    known = signature.parameters
    given = {name: _build(hyper[name], kinds, source) for name in known if name in hyper}
    if "key" in known:
        given["key"] = jr.key(0)
    bound = inspect.BoundArguments(signature, given)  # pyright: ignore
    make = lambda: kinds[kind](*bound.args, **bound.kwargs)
    return built(make, {}, source, kind, passing=NEEDS_VALUES)
