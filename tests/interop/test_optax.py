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
from steppe.optimizers.classic.from_optax import FromOptax, adam, rmsprop, sgd
from steppe.optimizers.learned.dm import DM
from steppe.optimizers.learned.gru import CoordinatewiseGRU
from steppe.optimizers.learned.learned_adam import LearnedAdam, LearningRateSchedule
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.learned.scale import Scale
from steppe.optimizers.watchdog import Watchdog
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
    "updates like the gradients": (
        each(lambda g: -g),
        testing.gradients_in_other_dtypes,
        r"updates is bfloat16\[2, 3\] at \['matrix'\], the parameters float32\[2, 3\]",
    ),
    "implicit promotion": (
        each(lambda g: (-jnp.asarray(0.1, jnp.float32) * g.astype(jnp.bfloat16)).astype(g.dtype)),
        testing.strict_promotion,
        "raised TypePromotionError",
    ),
    "arrays only": (
        optax.GradientTransformation(
            lambda params: jtu.tree_map(lambda p: p.size, params),
            lambda g, s, p=None: (minus(g), s),
        ),
        testing.numbers_as_leaves,
        "raised AttributeError: .*'size'",
    ),
    "real parts alone": (
        optax.stateless(lambda g, p: jtu.tree_map(lambda x: jnp.real(x).astype(x.dtype), g)),
        testing.complex_parameters,
        "of complex parameters one part is left as it is",
    ),
    "calls counted outside the state": (
        Broken(remember_calls),
        testing.schedule_as_lr,
        "does not scale the updates of step 0",
    ),
    "values on the host": (
        each(lambda g: -0.1 * g * (1 if float(jnp.max(g)) < 9 else 2)),
        testing.batched,
        "raised ConcretizationTypeError",
    ),
    "needs the value": (optax.scale_by_polyak(), testing.alone, "raised TypeError: .*'value'"),
}


OTHERS = {
    "l2o-scale": lambda: Scale((2, 2, 2), 2, key=jr.key(0)),
    "gru": lambda: CoordinatewiseGRU((2,), lr=0.1, key=jr.key(0)),
    "learned-adam": lambda: LearnedAdam(0.1),
    "learned-schedule": lambda: LearningRateSchedule(2, 0.1),
    "rmsprop": lambda: rmsprop(0.1),
    "guarded": lambda: Watchdog(GOOD["dm"](), adam(0.1)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_others_conform_to_optax(name):
    check_optax(OTHERS[name](), needs_params=name == "guarded")


def test_l2o_scale_looks_at_gradients_alone():
    tx, g = to_optax(OTHERS["l2o-scale"]()), {"a": jnp.ones(2, jnp.float32)}
    update = jax.jit(tx.update)
    state = tx.init(g)
    assert eqx.tree_equal(update(g, state), update(g, state, g))


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


def steps(tx, n=4):
    """The updates of n steps from gradients of ones."""
    g = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones((), jnp.float32)}
    state, seen = tx.init(g), []
    for _ in range(n):
        updates, state = tx.update(g, state, g)
        seen.append([updates["a"].tolist(), float(updates["b"])])
    return seen


def test_a_schedule_as_lr_counts_the_updates():
    tx = to_optax(sgd(1.0), lr=optax.piecewise_constant_schedule(0.5, {2: 0.5}))
    assert steps(tx) == [[[-a, -a], -a] for a in (0.5, 0.5, 0.25, 0.25)]
    assert steps(optax.MultiSteps(tx, 2), 3)[1:] == [[[-0.5, -0.5], -0.5], [[0.0, 0.0], 0.0]]


def test_a_state_has_a_count_only_with_a_schedule():
    x, opt = jnp.ones(2), sgd(1.0)
    plain = to_optax(opt).init(x)
    assert jtu.tree_structure(plain) == jtu.tree_structure(to_optax(opt, lr=jnp.ones(())).init(x))
    assert (
        jtu.tree_leaves(to_optax(opt, lr=optax.constant_schedule(0.1)).init(x))[-1].dtype == "int32"
    )


@pytest.mark.parametrize(
    ("lr", "given"),
    [
        (float("nan"), "lr is nan"),
        (float("inf"), "lr is inf"),
        (-1, r"lr is -1\.0"),
        (np.float32(-0.5), r"lr is -0\.5"),
        ("0.1", "lr is '0.1'"),
        (None, "lr is None"),
        (True, "lr is True"),
        (1j, "lr is 1j"),
        (jnp.ones(1), r"lr is float64 of shape \(1,\)"),
        (jnp.ones((), jnp.complex64), "lr is complex64"),
        ([0.1], r"lr is \[0\.1\]"),
        (lambda count: jnp.ones(3), r"lr\(0\) is float64 of shape \(3,\)"),
        (lambda count: float("nan"), r"lr\(0\) is nan"),
        (lambda count: None, r"lr\(0\) is None"),
    ],
)
def test_what_is_no_learning_rate_is_refused_at_once(lr, given):
    with pytest.raises(ValueError, match=rf"^to_optax: {given}, expected a finite number.*\.$"):
        to_optax(sgd(1.0), lr=lr)


def test_lr_may_be_traced():
    x = jnp.ones(2)
    step = lambda lr: to_optax(sgd(1.0), lr=lr).update(x, to_optax(sgd(1.0)).init(x), x)[0]
    np.testing.assert_array_equal(jax.jit(step)(0.5), [-0.5, -0.5])


@pytest.mark.parametrize("opt", ["rnnprop-v1", optax.sgd(0.1), RNNProp])
def test_what_is_no_optimizer_is_refused_at_once(opt):
    with pytest.raises(ValueError, match=r"to_optax: opt is a \w+, expected a steppe optimizer"):
        to_optax(opt)


X = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}


@pytest.mark.parametrize(
    ("grads", "sentence"),
    [
        ({**X, "w": jnp.ones((3, 2))}, r"shape \(3, 2\) at \['w'\], params \(2, 3\): give"),
        ({**X, "b": 0.0}, r"shape \(\) at \['b'\], params \(3,\): give"),
        ({"w": X["w"]}, r"grads have the structure .*, params .*: give"),
        ({**X, "b": None}, r"grads have the structure .*, params .*: give"),
        ([X["b"], X["w"]], r"grads have the structure .*, params .*: give"),
        ({**X, "b": jnp.ones(3, complex)}, r"grads has complex128 at \['b'\], expected real"),
        ({**X, "b": jnp.ones(3, int)}, r"grads has int64 at \['b'\], expected"),
    ],
)
def test_gradients_unlike_the_parameters_are_refused_in_one_sentence(grads, sentence):
    tx = to_optax(GOOD["dm"]())
    with pytest.raises(ValueError, match=sentence) as refusal:
        tx.update(grads, tx.init(X), X)
    assert "\n" not in str(refusal.value)


def test_a_state_of_other_parameters_is_refused_in_one_sentence():
    tx = to_optax(GOOD["rnnprop"]())
    with pytest.raises(ValueError, match=r"^RNNProp: the state holds 1 × 4 rows, but 9 coord.*\.$"):
        tx.update(X, tx.init(jnp.ones(4)), X)


def test_a_filtered_module_is_trained_and_a_whole_one_refused(getkey):
    mlp, tx = eqx.nn.MLP(2, "scalar", 3, 1, key=getkey()), to_optax(sgd(1.0))
    with pytest.raises(ValueError, match=r"at \.activation.*eqx\.filter\(params"):
        tx.init(mlp)
    arrays = eqx.filter(mlp, eqx.is_inexact_array)
    updates, _ = tx.update(arrays, tx.init(arrays), arrays)
    assert eqx.tree_equal(updates, jtu.tree_map(jnp.negative, arrays))


def test_complex_parameters_go_through_the_wrapper_that_the_sentence_names():
    tx = optax.contrib.split_real_and_imaginary(to_optax(sgd(1.0)))
    z = jnp.asarray([1 + 2j, -1j])
    updates, _ = tx.update(z, tx.init(z), z)
    np.testing.assert_array_equal(updates, -z)


def test_every_device_may_train_parameters_of_its_own():
    """As `pmap` did: states and gradients are split over the devices."""
    tx, devices = to_optax(GOOD["dm"]()), np.array(jax.devices())
    mesh, lots = jax.sharding.Mesh(devices, ("lot",)), jax.sharding.PartitionSpec("lot")
    grads = {"a": jnp.linspace(-1, 1, 4 * mesh.size).reshape(2 * mesh.size, 2)}

    def step(grads):
        return jax.vmap(lambda g: tx.update(g, tx.init(g), g)[0])(grads)

    apart = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=lots, out_specs=lots))
    np.testing.assert_allclose(apart(grads)["a"], step(grads)["a"], rtol=1e-12)


def test_a_guard_is_a_watchdog():
    x, g = {"a": jnp.ones(2, jnp.bfloat16)}, {"a": jnp.full(2, 0.5, jnp.bfloat16)}
    opt, whole = sgd(1.0), Watchdog(sgd(1.0), adam(1e-3))
    state = whole.init(x)
    for guard in (True, "adam", adam(1e-3)):
        assert eqx.tree_equal(to_optax(opt, guard=guard).init(x).opt_state, state)
    for guard in (None, False):
        assert to_optax(opt, guard=guard).init(x) == to_optax(opt).init(x)
    tx = to_optax(opt, guard=optax.adam(1e-3))
    theirs, after = tx.update(g, tx.init(x), x)
    ours, _ = whole.update(g, state, x)
    assert eqx.tree_equal(theirs, ours)
    assert after.opt_state.turn.leads and theirs["a"].tolist() == [-0.5, -0.5]
    with pytest.raises(ValueError, match="call `update"):
        tx.update(g, tx.init(x))


def test_lr_multiplies_both_rules_of_a_guard_and_not_the_way_back():
    x, g = jnp.ones(2), jnp.full(2, 0.5)
    for lr in (0.5, lambda count: 1.0 / (2 + count)):
        base = to_optax(sgd(1.0), lr=lr, guard=sgd(0.1))
        ours, state = base.update(g, base.init(x), x)
        np.testing.assert_allclose(ours, -0.25)
        # All the way back from where there is no gradient, whatever lr is.
        home, state = base.update(jnp.nan * g, state, x + 9)
        np.testing.assert_allclose(home, -9.0)
        broken = to_optax(sgd(jnp.nan), lr=lr, guard=sgd(0.1))
        np.testing.assert_allclose(broken.update(g, broken.init(x), x)[0], -0.025)
    assert state.count == 2 and base.update(g, state, x)[1].count == 3


@pytest.mark.parametrize("guard", ["adm", 3, optax.adam, jnp.ones(2), (1, 2)])
def test_what_is_no_guard_is_refused_at_once(guard):
    with pytest.raises(
        ValueError, match=r"^to_optax: guard is .*, expected True \(Adam at 0.001\)"
    ):
        to_optax(sgd(1.0), guard=guard)


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
