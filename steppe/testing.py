"""Does an optimizer work wherever optax goes? `check_optax(opt)` tries.

    from steppe.testing import check_optax
    check_optax(MyRule(key=jax.random.key(0)))       # silent, or AssertionError with the list

Every item runs three steps on a few small tensors: alone, in every dtype, and inside optax's own
wrappers. Items are independent: the error names all that failed, one sentence each.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import PyTree

from .core import tree
from .core.optimizer import AbstractOptimizer, join_meta, split_meta
from .core.types import Params, Updates
from .interop.optax import to_optax

Transform = optax.GradientTransformation
STEPS = 3


@dataclasses.dataclass
class Subject:
    """The transformation that is checked, and how to call it."""

    opt: AbstractOptimizer | Transform
    needs_params: bool = False

    def tx(
        self, lr: float | jax.Array | optax.Schedule = 1.0
    ) -> optax.GradientTransformationExtraArgs:
        if isinstance(self.opt, AbstractOptimizer):
            return to_optax(self.opt, lr=lr)
        behind = optax.scale_by_schedule(lr) if callable(lr) else optax.scale(lr)
        return optax.chain(self.opt, behind)

    @functools.cached_property
    def plain(self) -> list[Updates]:
        """Its updates in float32 under jit: what other items compare with."""
        return run(self.tx(), example())


def check_optax(
    opt: AbstractOptimizer | Transform,
    *,
    needs_params: bool = False,
    items: Sequence[Callable[[Subject], None]] = (),
) -> None:
    """Raise an AssertionError with one sentence for each rule of optax that `opt` breaks.

    `opt` is a steppe optimizer or an optax transformation, whose updates on small gradients are
    finite and not all zero. `needs_params=True` for a rule that reads the parameters' values,
    such as weight decay: it need not work without them. `items` are those of `CHECKS` to try,
    all if empty.
    """
    subject = Subject(opt, needs_params)
    items = items or CHECKS
    failures = []
    # optax's own transformations mix dtypes, which a test suite may forbid.
    with jax.numpy_dtype_promotion("standard"):
        for check in items:
            title = check.__name__.replace("_", " ")
            try:
                check(subject)
            except AssertionError as error:
                failures.append(f"{title}: {error}")
            except Exception as error:  # anything may go wrong in a rule that we do not know
                first = str(error).strip().split("\n")[0]
                failures.append(f"{title}: raised {type(error).__name__}: {first}")
    summary = f"{type(opt).__name__} fails {len(failures)} of {len(items)} items:"
    expect(not failures, "\n  - ".join([summary, *failures]))


def alone(subject: Subject) -> None:
    expect(len(subject.plain) == STEPS, "it does not run.")


def strong_types(subject: Subject) -> None:
    tx, params = subject.tx(), example()
    state = tx.init(params)
    updates, after = tx.update(gradients(params, 0), state, params)
    for what, x in (("initial state", state), ("state", after), ("updates", updates)):
        for where, leaf in jtu.tree_leaves_with_path(x):
            expect(
                not (isinstance(leaf, (int, float)) or getattr(leaf, "weak_type", False)),
                f"the {what} has a weakly typed leaf at {jtu.keystr(where) or 'its root'}, which "
                "costs further compilations; make it with an explicit dtype.",
            )


def eager_as_jitted(subject: Subject) -> None:
    eager = run(subject.tx(), example(), jit=False)
    expect(close(subject.plain, eager), "the updates differ with and without jit.")


def repeatable(subject: Subject) -> None:
    tx, params = subject.tx(), example()
    grads, state = gradients(params, 0), tx.init(params)
    twice = [tx.update(grads, state, params)[0] for _ in range(2)]
    expect(close(*twice), "the same call gives two results; memory belongs in the state.")


def unknown_keywords(subject: Subject) -> None:
    value = jnp.ones((), jnp.float32)
    known = run(subject.tx(), example(), jit=False, value=value)
    both = run(subject.tx(), example(), jit=False, value=value, surely_unknown=value)
    expect(close(known, both), "a keyword that it cannot know changes the updates.")


def without_params(subject: Subject) -> None:
    if subject.needs_params:
        return
    without = run(subject.tx(), example(), jit=False, give_params=False)
    expect(close(subject.plain, without), "the updates depend on whether params are given.")


def half_precision(subject: Subject) -> None:
    for dtype in (jnp.bfloat16, jnp.float16):
        run(subject.tx(), example(dtype))


def float64(subject: Subject) -> None:
    with jax.enable_x64(True):
        run(subject.tx(), example(jnp.float64))


def mixed_dtypes(subject: Subject) -> None:
    run(subject.tx(), {**example(jnp.bfloat16), "wide": jnp.ones((2, 2), jnp.float32)})


def gradients_in_other_dtypes(subject: Subject) -> None:
    if not isinstance(subject.opt, AbstractOptimizer):
        return  # optax's own transformations follow the gradients
    for params, grads in itertools.product((jnp.float32, jnp.bfloat16, jnp.float16), repeat=2):
        traced(subject.tx(), example(params), gradients(example(grads), 0))


def strict_promotion(subject: Subject) -> None:
    if not isinstance(subject.opt, AbstractOptimizer):
        return  # optax's own transformations do not work under it
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        for params, grads in ((jnp.float32, jnp.float32), (jnp.bfloat16, jnp.float32)):
            traced(subject.tx(), example(params), gradients(example(grads), 0))


def numbers_as_leaves(subject: Subject) -> None:
    arrays = {"a": jnp.full((2,), 0.5, jnp.float32), "b": jnp.asarray(0.5, jnp.float32)}
    numbers = {"a": np.full((2,), 0.5, np.float32), "b": 0.5}
    tx, grads = subject.tx(), gradients(arrays, 0)
    expected, _ = tx.update(grads, tx.init(arrays), arrays)
    for given in (grads, {"a": np.asarray(grads["a"]), "b": float(grads["b"])}):
        updates, _ = tx.update(given, tx.init(numbers), numbers)
        expect(close(updates, expected), "NumPy arrays and floats are moved unlike JAX's arrays.")


def complex_parameters(subject: Subject) -> None:
    tx, z = subject.tx(), jnp.asarray([1 + 1j, 2 - 1j], jnp.complex64)
    try:
        updates, _ = tx.update(z, tx.init(z), z)
    except (TypeError, ValueError):
        return
    both = bool(np.all(np.asarray(updates).view(np.float32) != 0))
    expect(both, "of complex parameters one part is left as it is; refuse them in `init`.")


def schedule_as_lr(subject: Subject) -> None:
    tx = subject.tx(lambda count: 1.0 / (1 + count))
    scaled, plain = run(tx, example(), jit=False), subject.plain
    for t in range(1 if subject.needs_params else STEPS):
        same = close(scaled[t], tree.scale(1.0 / (1 + t), plain[t]))
        expect(same, f"a schedule of 1/(1 + t) as lr does not scale the updates of step {t}.")


def batched(subject: Subject) -> None:
    tx, params = subject.tx(), example()
    grads = [gradients(params, t) for t in range(2)]
    stack = lambda *trees: jtu.tree_map(lambda *leaves: jnp.stack(leaves), *trees)

    def step(grads: Updates, params: Params) -> Updates:
        return tx.update(grads, tx.init(params), params)[0]

    each = stack(*(step(g, params) for g in grads))
    together = jax.vmap(step)(stack(*grads), stack(params, params))
    expect(close(together, each), "under vmap the updates are not those of each one alone.")
    again = jax.vmap(jax.checkpoint(step))(stack(*grads), stack(params, params))
    expect(close(again, each), "under jax.checkpoint the updates are others.")


def scalar_and_empty(subject: Subject) -> None:
    run(subject.tx(), jnp.ones((), jnp.float32))
    run(subject.tx(), {}, moves=False)


def none_leaves(subject: Subject) -> None:
    run(subject.tx(), {**example(), "frozen": None})
    run(subject.tx(), eqx.filter(Neuron(jnp.ones(3, jnp.float32)), eqx.is_inexact_array))


def masked(subject: Subject) -> None:
    mask = {"matrix": True, "scalar": False, "vector": True}
    for t, updates in enumerate(run(optax.masked(subject.tx(), mask), example())):
        untouched = close(updates["scalar"], gradients(example(), t)["scalar"])
        expect(untouched, "a gradient that optax.masked hides from it is changed.")


def partition(subject: Subject) -> None:
    labels = {"matrix": "ours", "scalar": "frozen", "vector": "ours"}
    tx = optax.partition({"ours": subject.tx(), "frozen": optax.set_to_zero()}, labels)
    for updates in run(tx, example()):
        expect(not np.any(updates["scalar"]), "it moves a tensor of another part of a partition.")


def chained(subject: Subject) -> None:
    clip, decay = optax.clip_by_global_norm(1.0), optax.add_decayed_weights(1e-2)
    run(optax.chain(clip, subject.tx(), decay), example())
    run(optax.chain(subject.tx(), optax.ema(0.9)), example())


def multi_steps(subject: Subject) -> None:
    first, second, _ = run(optax.MultiSteps(subject.tx(), 2).gradient_transformation(), example())
    expect(not any_nonzero(first), "MultiSteps moves at half a step.")
    expect(any_nonzero(second), "MultiSteps never moves.")


def apply_if_finite(subject: Subject) -> None:
    tx, params = optax.apply_if_finite(subject.tx(), 3), example()
    bad = jtu.tree_map(lambda g: g * jnp.nan, gradients(params, 0))
    update, state = jax.jit(tx.update), tx.init(params)
    none, state = update(bad, state, params)
    expect(not any_nonzero(none), "it moves on a gradient of NaNs.")
    updates, _ = update(gradients(params, 0), state, params)
    expect(close(updates, subject.plain[0]), "a skipped gradient of NaNs changes the next update.")


def inject_hyperparams(subject: Subject) -> None:
    factory = optax.inject_hyperparams(lambda lr: subject.tx(lr))
    # The first step: from the second on the parameters differ.
    half, full = run(factory(lr=0.5), example())[0], subject.plain[0]
    expect(close(half, tree.scale(0.5, full)), "an injected factor 1/2 does not halve the updates.")


def new_weights_same_program(subject: Subject) -> None:
    if not isinstance(subject.opt, AbstractOptimizer):
        return
    theta, rest = split_meta(subject.opt)
    params, traces = example(), []

    @eqx.filter_jit
    def step(opt, state, grads):
        traces.append(1)
        return to_optax(opt).update(grads, state, params)

    for factor in (1.0, 1.25):
        opt = tree.strongly_typed(join_meta(jtu.tree_map(lambda w, f=factor: w * f, theta), rest))
        step(opt, to_optax(opt).init(params), gradients(params, 0))
    expect(len(traces) == 1, "new weights compile the step again; keep weights in array fields.")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    *(alone, strong_types, eager_as_jitted, repeatable, unknown_keywords, without_params),
    *(half_precision, float64, mixed_dtypes, gradients_in_other_dtypes, strict_promotion),
    *(scalar_and_empty, none_leaves, numbers_as_leaves, complex_parameters),
    *(masked, partition, chained, multi_steps, apply_if_finite, inject_hyperparams),
    *(schedule_as_lr, batched, new_weights_same_program),
)


class Neuron(eqx.Module):
    """A model with a leaf that is no array."""

    weight: jax.Array
    activation: Callable = jnp.tanh


def example(dtype: jnp.dtype = jnp.float32) -> dict[str, jax.Array]:
    """Parameters: a matrix, a scalar and a vector."""
    return {
        "matrix": jnp.arange(6, dtype=dtype).reshape(2, 3) / 4,
        "scalar": jnp.ones((), dtype),
        "vector": jnp.arange(1, 4, dtype=dtype) / 2,
    }


def gradients(params: Params, t: int) -> Updates:
    """The gradients of step t: smooth in t, all different, none zero, below 1 in size."""
    leaves, treedef = jtu.tree_flatten(params)
    offsets = np.cumsum([0, *(leaf.size for leaf in leaves)])
    grads = []
    for p, start in zip(leaves, offsets[:-1], strict=True):
        wave = np.sin(1 + t + start + np.arange(p.size)).reshape(p.shape)
        grads.append(jnp.asarray(wave, p.dtype))
    return jtu.tree_unflatten(treedef, grads)


def run(
    tx: Transform,
    params: Params,
    *,
    jit: bool = True,
    give_params: bool = True,
    moves: bool = True,
    **extra,
) -> list[Updates]:
    """The updates of three steps, after checking what holds for every optimizer anywhere.

    The state keeps its structure, shapes and dtypes; the updates have those of the parameters,
    are finite, and (`moves`) not all zero; the steps compile once.
    """
    traces, every, state = [], [], tx.init(params)

    def step(grads, state, params):
        traces.append(1)
        return tx.update(grads, state, params, **extra)

    update = jax.jit(step) if jit else step
    for t in range(STEPS):
        updates, after = update(gradients(params, t), state, params if give_params else None)
        compare(f"the state after step {t}", after, "the initial state", state)
        compare(f"the updates of step {t}", updates, "the parameters", params)
        expect(bool(tree.finite(updates)), f"the updates of step {t} are not finite.")
        params, state = optax.apply_updates(params, updates), after
        every.append(updates)
    expect(len(traces) == 1 or not jit, "the second step compiles again; see the state's types.")
    expect(any_nonzero(every) or not moves, "all updates of three steps are zero.")
    return every


def traced(tx: Transform, params: Params, grads: Updates) -> None:
    """Compare types as `run` does, of one step that is not computed."""
    state = tx.init(params)
    updates, after = jax.eval_shape(tx.update, grads, state, params)
    compare("the state after a step", after, "the initial state", state)
    compare("the updates", updates, "the parameters", params)


def compare(what: str, x: PyTree, whose: str, like: PyTree) -> None:
    """Equal structure, and leaf by leaf equal shape and dtype."""
    found, expected = jtu.tree_structure(x), jtu.tree_structure(like)
    expect(found == expected, f"{what} has the structure {found}, {whose} {expected}.")
    pairs = zip(jtu.tree_leaves_with_path(x), jtu.tree_leaves(like), strict=True)
    for (where, leaf), target in pairs:
        found, expected = (f"{jnp.result_type(y)}{list(jnp.shape(y))}" for y in (leaf, target))
        place = jtu.keystr(where) or "its root"
        expect(found == expected, f"{what} is {found} at {place}, {whose} {expected}.")


def expect(fact: bool, otherwise: str) -> None:
    """`assert` that python -O does not remove."""
    if not fact:
        raise AssertionError(otherwise)


def close(x: PyTree, y: PyTree) -> bool:
    """Equal but for rounding in float32."""
    pairs = zip(jtu.tree_leaves(x), jtu.tree_leaves(y), strict=True)
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in pairs)


def any_nonzero(x: PyTree) -> bool:
    return any(bool(np.any(leaf)) for leaf in jtu.tree_leaves(x))
