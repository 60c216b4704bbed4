"""Tiny programs by NumPy, the first times they run: to compile one takes ten times as long.

Eager JAX makes a program for every operation on every shape, and most run once or twice in a test
run. Here those that only move numbers about, or compute each by one operation that IEEE 754 rounds
in one way, are done by NumPy until they have come often: the same bits. All others, and whatever is
large, donated, or committed to a device, are compiled as ever.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from weakref import WeakKeyDictionary

import jax
import numpy as np
from jax._src import array, config, core, pjit
from jax._src.interpreters import pxla
from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]
from jax._src.named_sharding import UnspecifiedValue
from jax._src.sharding_impls import SingleDeviceSharding

OFTEN = 50  # calls of one program: then to compile it pays
LARGE = 4096  # entries
ROUNDED = ("add", "sub", "mul", "div", "sqrt", "integer_pow", "square")
EXACT = (np.dtype(np.float32), np.dtype(np.float64))


def install() -> None:
    """Have JAX ask here before it lowers and compiles."""
    compiled = pjit._pjit_call_impl_python

    def impl(*args, jaxpr, **params):
        outs = run(jaxpr, args, params)
        if outs is None:
            return compiled(*args, jaxpr=jaxpr, **params)
        return outs, None, None, []

    pjit._pjit_call_impl_python = impl


class Plan:
    """The steps of a program and how often it ran."""

    def __init__(self, steps: list | None):
        self.steps, self.runs = steps, 0


plans: WeakKeyDictionary = WeakKeyDictionary()


def run(closed: core.ClosedJaxpr, args: tuple, params: dict) -> list | None:
    """The results of a tiny program; None if it is to be compiled."""
    plan = plans.get(closed)
    if plan is None:
        able = plain(params) and rounded_once(closed.jaxpr)
        plan = plans[closed] = Plan(steps(closed) if able else None)
    if plan.steps is None or config.default_device.value is not None:
        return None
    plan.runs += 1
    if plan.runs > OFTEN:
        if plan.runs == OFTEN + 1:  # JAX has noted that this program is not to be called from C++
            _jax.PjitFunctionCache.clear_all()
        return None
    with np.errstate(all="ignore"):
        values = [host(x, aval) for x, aval in zip(args, closed.in_avals, strict=True)]
        if any(x is None for x in values):
            return None
        results = evaluate(closed, plan.steps, values)
    return None if results is None else list(map(device, results, closed.out_avals))


def plain(params: dict) -> bool:
    """Whether nothing is said about devices, memory or the compiler."""
    free = lambda kind: all(isinstance(x, UnspecifiedValue) for x in params[f"{kind}_shardings"])
    return (
        free("in")
        and free("out")
        and all(x is None for x in (*params["in_layouts"], *params["out_layouts"]))
        and not any(params["donated_invars"])
        and not params["compiler_options_kvs"]
        and params["ctx_mesh"].empty
    )


def operations(jaxpr: core.Jaxpr) -> Iterator[core.JaxprEqn]:
    """All of them, those of programs inside in place of the call."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "jit":
            yield from operations(eqn.params["jaxpr"].jaxpr)
        else:
            yield eqn


def rounded_once(jaxpr: core.Jaxpr) -> bool:
    """Whether at most one operation rounds, so that XLA has nothing to fuse or rearrange."""
    done = list(operations(jaxpr))
    rounding = [eqn for eqn in done if eqn.primitive.name in ROUNDED]
    rounding = [eqn for eqn in rounding if shaped(eqn.outvars[0]).dtype in EXACT]
    # To divide by one number for all XLA multiplies by its inverse.
    spread = any(eqn.primitive.name == "broadcast_in_dim" for eqn in done)
    return len(rounding) <= 1 and not any(
        spread or shaped(eqn.invars[1]).shape != shaped(eqn.outvars[0]).shape
        for eqn in rounding
        if eqn.primitive.name == "div"
    )


def steps(closed: core.ClosedJaxpr) -> list | None:
    """Each operation with what does it; None if there is one that NumPy is not to do."""
    jaxpr = closed.jaxpr
    if jaxpr.effects or len(jaxpr.eqns) > 8 or not all(map(known, (*jaxpr.invars, *jaxpr.outvars))):
        return None
    made = []
    for eqn in jaxpr.eqns:
        if not all(map(known, (*eqn.invars, *eqn.outvars))):
            return None
        if eqn.primitive.name == "jit":
            inner = eqn.params["jaxpr"]
            act = steps(inner) if plain(eqn.params) else None
            act = act if act is None else lambda *x, j=inner, s=act: evaluate(j, s, x)
        else:
            make = OPERATIONS.get(eqn.primitive.name)
            act = make and make([v.aval for v in eqn.invars], eqn.outvars[0].aval, eqn.params)
            if act and not eqn.primitive.multiple_results:
                act = lambda *x, a=act: None if (y := a(*x)) is None else [y]
        if act is None:
            return None
        made.append((act, eqn.invars, eqn.outvars))
    return made


def shaped(atom) -> core.ShapedArray:
    """Its shape and kind."""
    return atom.aval


def known(atom) -> bool:
    """Whether NumPy can hold it and it is small."""
    aval = atom.aval
    return (
        isinstance(aval, core.ShapedArray)
        and isinstance(aval.dtype, np.dtype)
        and aval.size <= LARGE
        and aval.sharding.mesh.empty
    )


def evaluate(closed: core.ClosedJaxpr, made: list, values: Iterable) -> list | None:
    jaxpr = closed.jaxpr
    env = dict(zip(jaxpr.constvars, map(np.asarray, closed.consts), strict=True))
    env.update(zip(jaxpr.invars, values, strict=True))
    read = lambda atom: (
        np.asarray(atom.val, shaped(atom).dtype) if isinstance(atom, core.Literal) else env[atom]
    )
    for act, ins, outs in made:
        results = act(*map(read, ins))
        if results is None:
            return None
        env.update(zip(outs, results, strict=True))
    return list(map(read, jaxpr.outvars))


def host(x, aval) -> np.ndarray | None:
    """As an array of NumPy; None if the number's place or kind matters."""
    if isinstance(x, array.ArrayImpl):
        if x._committed or x.is_deleted():
            return None
        return np.asarray(x)
    plain = isinstance(x, bool | int | float | complex | np.ndarray | np.generic)
    return np.asarray(x, aval.dtype) if plain else None


def device(x: np.ndarray, aval: core.ShapedArray) -> jax.Array:
    """As an array of JAX with memory of its own."""
    if x.shape != aval.shape or x.dtype != aval.dtype:
        raise AssertionError(f"{x.dtype}{x.shape} for {aval}")
    [first, *_] = jax.local_devices()
    own = np.array(x, order="C")
    return pxla.batched_device_put(aval, SingleDeviceSharding(first), [own], [first], False)


def exact(act: Callable, others: tuple[np.dtype, ...] = ()) -> Callable:
    """An operation of one number by one rounding."""

    def make(ins, out, params):
        kinds = {aval.dtype for aval in ins}
        if not all(kind in EXACT or kind.kind in "iu" or kind in others for kind in kinds):
            return None
        if not kinds & set(EXACT):
            return act

        def guarded(*xs):
            y = act(*xs)
            return None if any(map(subnormal, (*xs, y))) else y

        return guarded

    return make


def subnormal(x: np.ndarray) -> bool:
    """Whether it has numbers that XLA for CPU takes for zero."""
    if x.dtype not in EXACT:
        return False
    return bool(np.any((np.abs(x) < np.finfo(x.dtype).tiny) & (x != 0)))


def moved(act: Callable) -> Callable:
    """An operation that only moves numbers about."""
    return lambda ins, out, params: lambda *xs: act(out, params, *xs)


def broadcast(out, params, x):
    shape = [1] * len(params["shape"])
    for at, size in zip(params["broadcast_dimensions"], x.shape, strict=True):
        shape[at] = size
    return np.broadcast_to(x.reshape(shape), params["shape"])


def window(out, params, x):
    steps = params["strides"] or (1,) * x.ndim
    return x[tuple(map(slice, params["start_indices"], params["limit_indices"], steps))]


def dynamic_window(out, params, x, *starts):
    sizes = params["slice_sizes"]
    starts = [min(max(int(s), 0), n - k) for s, n, k in zip(starts, x.shape, sizes, strict=True)]
    return x[tuple(slice(s, s + k) for s, k in zip(starts, sizes, strict=True))]


def reshape(ins, out, params):
    return (lambda x, *_: x.reshape(out.shape)) if params["dimensions"] is None else None


def iota(out, params):
    shape, axis = params["shape"], params["dimension"]
    line = np.arange(shape[axis]).astype(params["dtype"])
    return broadcast(out, {"shape": shape, "broadcast_dimensions": [axis]}, line)


def unstack(out, params, x):
    return list(np.moveaxis(x, params["axis"], 0))


def split(out, params, x):
    return np.split(x, np.cumsum(params["sizes"])[:-1], params["axis"])


def convert(ins, out, params):
    old, new = ins[0].dtype, out.dtype
    from_whole = old.kind in "biu" and (new.kind in "iu" or new in EXACT)
    if not (old == new or from_whole or (old in EXACT and new in EXACT)):
        return None

    def act(x):
        y = x.astype(new)
        return None if old != new and (subnormal(x) or subnormal(y)) else y

    return act


def select(ins, out, params):
    if len(ins) != 3 or ins[0].dtype != bool:
        return None
    return lambda which, no, yes: np.where(which, yes, no)


def only(condition: Callable, make: Callable) -> Callable:
    """An operation where the condition holds for its inputs and parameters."""
    return lambda ins, out, params: make(ins, out, params) if condition(ins, params) else None


def reduced(act: Callable) -> Callable:
    """A reduction in which the order does not matter."""
    return only(
        lambda ins, params: ins[0].dtype.kind in "biu",
        moved(lambda out, params, x: act(x, axis=tuple(params["axes"]), dtype=x.dtype)),
    )


compare = functools.partial(exact, others=(np.dtype(bool),))
floating = functools.partial(only, lambda ins, params: ins[0].dtype in EXACT)
squared = only(lambda ins, params: params.get("y", 2) == 2, exact(lambda x: x * x))

OPERATIONS = {
    "broadcast_in_dim": moved(broadcast),
    "concatenate": moved(lambda out, params, *xs: np.concatenate(xs, params["dimension"])),
    "copy": moved(lambda out, params, x: x),
    "dynamic_slice": moved(dynamic_window),
    "iota": moved(iota),
    "reshape": reshape,
    "select_n": select,
    "slice": moved(window),
    "split": moved(split),
    "squeeze": moved(lambda out, params, x: np.squeeze(x, params["dimensions"])),
    "stack": moved(lambda out, params, *xs: np.stack(xs, params["axis"])),
    "transpose": moved(lambda out, params, x: np.transpose(x, params["permutation"])),
    "unstack": moved(unstack),
    "convert_element_type": convert,
    "abs": exact(np.abs),
    "add": exact(np.add),
    "sub": exact(np.subtract),
    "mul": exact(np.multiply),
    "div": floating(exact(np.divide)),
    "neg": exact(np.negative),
    "sqrt": floating(exact(np.sqrt)),
    "integer_pow": squared,
    "square": squared,
    "eq": compare(np.equal),
    "ne": compare(np.not_equal),
    "lt": compare(np.less),
    "le": compare(np.less_equal),
    "gt": compare(np.greater),
    "ge": compare(np.greater_equal),
    "and": compare(np.bitwise_and),
    "or": compare(np.bitwise_or),
    "not": compare(np.bitwise_not),
    "is_finite": floating(exact(np.isfinite)),
    "reduce_and": reduced(np.logical_and.reduce),
    "reduce_or": reduced(np.logical_or.reduce),
    "reduce_sum": reduced(np.add.reduce),
    "reduce_max": reduced(np.maximum.reduce),
    "reduce_min": reduced(np.minimum.reduce),
}
