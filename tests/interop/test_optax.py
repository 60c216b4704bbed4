"""Optimizers work where optax goes, and `check_optax` notices when one does not."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest
from jaxtyping import Array

from steppe import testing
from steppe.core.optimizer import AbstractOptimizer
from steppe.interop.optax import to_optax
from steppe.optimizers.classic.from_optax import FromOptax, adam, sgd
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.testing import check_optax

GOOD = {
    "dm": lambda: DM(hidden=(2,), key=jr.key(0)),
    "rnnprop": lambda: RNNProp(hidden=(2,), features=2, key=jr.key(0)),
    "adam": lambda: adam(0.1),
    "optax.sgd": lambda: optax.sgd(0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", GOOD)
def test_conforms_to_optax(name):
    check_optax(GOOD[name]())


def test_rule_that_needs_params_says_so():
    adamw = FromOptax("adamw", learning_rate=0.1)
    items = [testing.without_params]
    with pytest.raises(AssertionError, match="without params: raised ValueError"):
        check_optax(adamw, items=items)
    check_optax(adamw, needs_params=True, items=items)


def minus(grads, rate=0.1):
    return jtu.tree_map(lambda g: (-rate * g).astype(g.dtype), grads)


class Broken(AbstractOptimizer):
    """A rule without a state, unless told otherwise."""

    rule: Callable = eqx.field(static=True)
    start: Callable = eqx.field(static=True, default=lambda params: ())

    def init(self, params, *, key=None):
        return self.start(params)

    def update(self, grads, state, params, **extra):
        return self.rule(grads, state, **extra)


class NoExtras(AbstractOptimizer):
    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params):
        return minus(grads), state


class BakedWeights(AbstractOptimizer):
    rate: Array = eqx.field(converter=jnp.asarray)

    def init(self, params, *, key=None):
        return ()

    def update(self, grads, state, params, **extra):
        return minus(grads, float(self.rate)), state


calls = []
zero = lambda params: jnp.zeros((), jnp.int32)
float32_zeros = lambda params: jtu.tree_map(lambda p: jnp.zeros(p.shape, jnp.float32), params)
each = lambda f: Broken(lambda grads, state, **extra: (jtu.tree_map(f, grads), state))


def remember_calls(grads, state, **extra):
    calls.append(1)
    return minus(grads, 0.1 * len(calls)), state


def sum_up(grads, state, **extra):
    state = jtu.tree_map(jnp.add, state, grads)
    return jtu.tree_map(lambda m, g: (-m).astype(g.dtype), state, grads), state


def by_name(grads, state, **extra):
    total = sum(jnp.sum(g) for g in grads.values())
    return minus(grads, 0.1 + 0 * total), state


BROKEN = {
    "wide updates": (
        each(lambda g: -g.astype(jnp.float32)),
        testing.half_precision,
        r"updates of step 0 is float32\[2, 3\] at \['matrix'\], the parameters bfloat16\[2, 3\]",
    ),
    "flat updates": (
        Broken(lambda grads, state, **extra: (jtu.tree_leaves(minus(grads)), state)),
        testing.alone,
        "the updates of step 0 has the structure .* the parameters PyTreeDef",
    ),
    "zero updates": (each(jnp.zeros_like), testing.multi_steps, "updates of three steps are zero"),
    "infinite updates": (each(lambda g: g / 0), testing.alone, "step 0 are not finite"),
    "growing state": (
        Broken(lambda grads, state, **extra: (minus(grads), (*state, jnp.zeros(())))),
        testing.alone,
        "the state after step 0 has the structure",
    ),
    "widening state": (
        Broken(lambda grads, state, **extra: (minus(grads), state + jnp.ones(())), zero),
        testing.alone,
        "the state after step 0 is float64.*, the initial state int32",
    ),
    "state that is float32 only": (
        Broken(sum_up, float32_zeros),
        testing.float64,
        "the state after step 0 is float64.*, the initial state float32",
    ),
    "weak state": (
        Broken(lambda grads, state, **extra: (minus(grads), jnp.asarray(1)), zero),
        testing.strong_types,
        "the state has a weakly typed leaf at .opt_state",
    ),
    "weak updates": (
        each(lambda g: jnp.full(g.shape, 0.1)),
        testing.strong_types,
        r"the updates has a weakly typed leaf at \['matrix'\]",
    ),
    "no extras": (NoExtras(), testing.unknown_keywords, "raised TypeError"),
    "reads strangers": (
        Broken(lambda grads, state, **extra: (minus(grads, 0.1 * len(extra)), state)),
        testing.unknown_keywords,
        "a keyword that it cannot know changes the updates",
    ),
    "hidden memory": (
        Broken(remember_calls),
        testing.repeatable,
        "the same call gives two results",
    ),
    "names of tensors": (Broken(by_name), testing.none_leaves, "raised TypeError"),
    "no empty tree": (
        Broken(lambda grads, state, **extra: (minus(grads, 0.1 / len(grads)), state)),
        testing.scalar_and_empty,
        "raised",
    ),
    "baked weights": (
        BakedWeights(0.1),
        testing.new_weights_same_program,
        "raised ConcretizationTypeError",
    ),
    "needs the value": (optax.scale_by_polyak(), testing.alone, "raised TypeError: .*'value'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_optax_finds(name):
    opt, item, words = BROKEN[name]
    with pytest.raises(AssertionError, match=words):
        check_optax(opt, items=[item])


def test_check_optax_lists_all_that_failed():
    wide = BROKEN["wide updates"][0]
    words = r"Broken fails 2 of 3 items:\n  - half precision: .*\n  - float64: .*\.$"
    with pytest.raises(AssertionError, match=words):
        check_optax(wide, items=[testing.alone, testing.half_precision, testing.float64])


def quadratic(params):
    return 0.5 * sum(jnp.sum(p**2) for p in jtu.tree_leaves(params))


def test_view_takes_the_same_steps_as_the_optimizer(getkey):
    opt, params = GOOD["rnnprop"](), {"a": jr.normal(getkey(), (3,)), "b": jr.normal(getkey())}
    tx, q = to_optax(opt), params
    state, own = tx.init(params), opt.init(params)
    for _ in range(3):
        updates, own = opt.update(jax.grad(quadratic)(params), own, params)
        params = optax.apply_updates(params, updates)
        updates, state = tx.update(jax.grad(quadratic)(q), state)
        q = optax.apply_updates(q, updates)
    assert eqx.tree_equal(params, q)


def test_lr_multiplies_the_updates_and_keeps_their_dtype():
    grads = {"a": jnp.ones(2, jnp.bfloat16)}
    for lr in (0.5, jnp.asarray(0.5, jnp.float64)):
        tx = to_optax(sgd(1.0), lr=lr)
        updates, _ = tx.update(grads, tx.init(grads), grads)
        assert updates["a"].dtype == jnp.bfloat16
        assert updates["a"].tolist() == [-0.5, -0.5]


class Noise(AbstractOptimizer):
    """Needs a key to start, and one at every step."""

    def init(self, params, *, key=None):
        return jr.normal(key)

    def update(self, grads, state, params, *, key, **extra):
        return jtu.tree_map(lambda g: jr.normal(key, g.shape), grads), state


def test_key_reaches_init_and_every_step(getkey):
    key, x = getkey(), jnp.zeros(2)
    tx = to_optax(Noise(), key=key)
    start = tx.init(x)
    first, after = tx.update(x, start)
    second, _ = tx.update(x, after)
    assert not np.array_equal(first, second)
    assert (
        start.opt_state == tx.init(x).opt_state != to_optax(Noise(), key=getkey()).init(x).opt_state
    )


def test_rule_without_its_params_is_told_what_to_do():
    tx = to_optax(FromOptax("adamw", learning_rate=0.1))
    x = jnp.zeros(2)
    with pytest.raises(
        ValueError, match=r"without parameters.*call `update\(grads, state, params\)`"
    ):
        tx.update(x, tx.init(x))
