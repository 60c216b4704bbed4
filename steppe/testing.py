"""Does an optimizer work wherever optax goes? `check_optax(opt)` tries.

    from steppe.testing import check_optax
    check_optax(MyRule(key=jax.random.key(0)))       # silent, or AssertionError with the list

Every item runs three steps on a few small tensors: alone, in every dtype, and inside optax's own
wrappers. Items are independent: the error names all that failed, one sentence each.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import PyTree

from .core import tree
from .core.optimizer import AbstractOptimizer, join_meta, split_meta
from .core.types import Params, Updates
from .interop.optax import to_optax

Transform = optax.GradientTransformation


class Subject(eqx.Module):
    """What is being checked."""

    opt: AbstractOptimizer | Transform
    needs_params: bool

    def tx(self, lr: float | jax.Array = 1.0) -> optax.GradientTransformationExtraArgs:
        if isinstance(self.opt, AbstractOptimizer):
            return to_optax(self.opt, lr=lr)
        scaled = optax.chain(self.opt, optax.scale(lr))
        plain = isinstance(lr, float) and lr == 1.0
        return optax.with_extra_args_support(self.opt) if plain else scaled


def check_optax(opt: AbstractOptimizer | Transform, *, needs_params: bool = False) -> None:
    """Raise an AssertionError with one sentence for each rule of optax that `opt` breaks.

    `opt` is a steppe optimizer or an optax transformation, whose updates on small gradients are
    finite and not all zero. `needs_params=True` for a rule that reads the parameters' values,
    such as weight decay: it need not work without them.
    """
    subject = Subject(opt, needs_params)
    failures = []
    # optax's own transformations mix dtypes, which a test suite may forbid.
    with jax.numpy_dtype_promotion("standard"):
        for check in CHECKS:
            try:
                check(subject)
            except AssertionError as error:
                failures.append(f"{_title(check)}: {error}")
            except Exception as error:  # anything may go wrong in a rule that we do not know
                first = str(error).strip().split("\n")[0]
                failures.append(f"{_title(check)}: raised {type(error).__name__}: {first}")
    name = type(opt).__name__
    listed = "".join(f"\n  - {failure}" for failure in failures)
    expect(not failures, f"{name} fails {len(failures)} of {len(CHECKS)} items:{listed}")


def alone(subject: Subject) -> None:
    run(subject.tx(), example())


def strong_types(subject: Subject) -> None:
    tx, params = subject.tx(), example()
    state = tx.init(params)
    updates, after = tx.update(gradients(params, 0), state, params)
    for what, x in (("initial state", state), ("state", after), ("updates", updates)):
        for where, leaf in jtu.tree_leaves_with_path(x):
            weak = isinstance(leaf, (int, float)) or getattr(leaf, "weak_type", False)
            expect(
                not weak,
                f"the {what} has a weakly typed leaf at {jtu.keystr(where) or 'its root'}, which "
                "costs further compilations; make it with an explicit dtype.",
            )


def eager_as_jitted(subject: Subject) -> None:
    jitted, eager = (run(subject.tx(), example(), jit=jit) for jit in (True, False))
    expect(close(jitted, eager), "the updates differ with and without jit.")


def repeatable(subject: Subject) -> None:
    tx, params = subject.tx(), example()
    grads, state = gradients(params, 0), tx.init(params)
    twice = [tx.update(grads, state, params) for _ in range(2)]
    expect(close(*twice), "the same call gives two results; memory belongs in the state.")


def unknown_keywords(subject: Subject) -> None:
    value = jnp.ones((), jnp.float32)
    plain = run(subject.tx(), example(), value=value)
    extra = run(subject.tx(), example(), value=value, surely_unknown=value)
    expect(close(plain, extra), "a keyword that it cannot know changes the updates.")


def without_params(subject: Subject) -> None:
    if subject.needs_params:
        return
    updates = run(subject.tx(), example(), give_params=False)
    expect(
        close(updates, run(subject.tx(), example())),
        "the updates differ with and without params; pass needs_params=True if they should.",
    )


def bfloat16(subject: Subject) -> None:
    run(subject.tx(), example(jnp.bfloat16))


def float16(subject: Subject) -> None:
    run(subject.tx(), example(jnp.float16))


def float64(subject: Subject) -> None:
    with jax.enable_x64(True):
        run(subject.tx(), example(jnp.float64))


def mixed_dtypes(subject: Subject) -> None:
    run(subject.tx(), {**example(jnp.bfloat16), "wide": jnp.ones((2, 2), jnp.float32)})


def scalar_and_empty(subject: Subject) -> None:
    run(subject.tx(), jnp.ones((), jnp.float32))
    run(subject.tx(), {}, moves=False)


def none_leaves(subject: Subject) -> None:
    run(subject.tx(), {**example(), "frozen": None})


def equinox_module(subject: Subject) -> None:
    model = eqx.nn.MLP(2, 1, 3, 1, dtype=jnp.float32, key=jr.key(0))
    run(subject.tx(), eqx.filter(model, eqx.is_inexact_array))


def masked(subject: Subject) -> None:
    mask = {"matrix": True, "scalar": False, "vector": True}
    every = run(optax.masked(subject.tx(), mask), example())
    for t, updates in enumerate(every):
        expect(
            close(updates["scalar"], gradients(example(), t)["scalar"]),
            "optax.masked does not leave the masked tensor's gradient as it is.",
        )


def partition(subject: Subject) -> None:
    labels = {"matrix": "ours", "scalar": "frozen", "vector": "ours"}
    parts = {"ours": subject.tx(), "frozen": optax.set_to_zero()}
    for updates in run(optax.partition(parts, labels), example()):
        expect(not np.any(updates["scalar"]), "it moves a tensor of another part of a partition.")


def chain_with_clip_and_decay(subject: Subject) -> None:
    links = (optax.clip_by_global_norm(1.0), subject.tx(), optax.add_decayed_weights(1e-2))
    run(optax.chain(*links), example())


def multi_steps(subject: Subject) -> None:
    first, second, _ = run(optax.MultiSteps(subject.tx(), 2).gradient_transformation(), example())
    expect(not any(np.any(u) for u in jtu.tree_leaves(first)), "MultiSteps moves at half a step.")
    expect(any(np.any(u) for u in jtu.tree_leaves(second)), "MultiSteps never moves.")


def apply_if_finite(subject: Subject) -> None:
    tx, params = optax.apply_if_finite(subject.tx(), 3), example()
    clean = run(tx, params)
    bad = jtu.tree_map(lambda g: g * jnp.nan, gradients(params, 0))
    update, state = jax.jit(tx.update), tx.init(params)
    none, state = update(bad, state, params)
    expect(not any(np.any(u) for u in jtu.tree_leaves(none)), "it moves on a gradient of NaNs.")
    updates, _ = update(gradients(params, 0), state, params)
    expect(close(updates, clean[0]), "a skipped gradient of NaNs changes the next update.")


def inject_hyperparams(subject: Subject) -> None:
    factory = optax.inject_hyperparams(lambda lr: subject.tx(lr))
    # One step: from the second on the parameters differ.
    half, full = run(factory(lr=0.5), example())[0], run(subject.tx(), example())[0]
    expect(close(half, tree.scale(0.5, full)), "an injected factor 1/2 does not halve the updates.")


def chain_with_ema(subject: Subject) -> None:
    run(optax.chain(subject.tx(), optax.ema(0.9)), example())


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
        opt = tree.strong(join_meta(jtu.tree_map(lambda w, f=factor: w * f, theta), rest))
        step(opt, to_optax(opt).init(params), gradients(params, 0))
    expect(len(traces) == 1, "new weights compile the step again; keep weights in array fields.")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    *(alone, strong_types, eager_as_jitted, repeatable, unknown_keywords, without_params),
    *(bfloat16, float16, float64, mixed_dtypes, scalar_and_empty, none_leaves, equinox_module),
    *(masked, partition, chain_with_clip_and_decay, multi_steps, apply_if_finite),
    *(inject_hyperparams, chain_with_ema, new_weights_same_program),
)


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
    for t in range(3):
        updates, after = update(gradients(params, t), state, params if give_params else None)
        compare(f"the state after step {t}", after, "the initial state", state)
        compare(f"the updates of step {t}", updates, "the parameters", params)
        expect(bool(tree.finite(updates)), f"the updates of step {t} are not finite.")
        params, state = optax.apply_updates(params, updates), after
        every.append(updates)
    expect(len(traces) == 1 or not jit, "the second step compiles again; see the state's types.")
    nonzero = any(np.any(u) for u in jtu.tree_leaves(every))
    expect(nonzero or not moves, "all updates of three steps are zero.")
    return every


def compare(what: str, x: PyTree, whose: str, like: PyTree) -> None:
    """Equal structure, and leaf by leaf equal shape and dtype."""
    found, expected = jtu.tree_structure(x), jtu.tree_structure(like)
    expect(found == expected, f"{what} has the structure {found}, {whose} {expected}.")
    for (where, leaf), target in zip(
        jtu.tree_leaves_with_path(x), jtu.tree_leaves(like), strict=True
    ):
        place = jtu.keystr(where) or "its root"
        expect(
            _type(leaf) == _type(target),
            f"{what} is {_type(leaf)} at {place}, {whose} {_type(target)}.",
        )


def expect(fact: bool, otherwise: str) -> None:
    """`assert` that python -O does not remove."""
    if not fact:
        raise AssertionError(otherwise)


def close(x: PyTree, y: PyTree) -> bool:
    """Equal but for rounding in float32."""
    pairs = zip(jtu.tree_leaves(x), jtu.tree_leaves(y), strict=True)
    return all(np.allclose(_numbers(a), _numbers(b), rtol=1e-4, atol=1e-6) for a, b in pairs)


def _numbers(leaf) -> np.ndarray:
    is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
    return np.asarray(jr.key_data(leaf) if is_key else leaf)


def _type(leaf) -> str:
    return f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"


def _title(check: Callable) -> str:
    return check.__name__.replace("_", " ")
