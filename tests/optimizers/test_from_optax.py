"""optax optimizers keep optax's numbers, and gain a θ."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

from steppe.core.episode import begin, unroll
from steppe.core.optimizer import join_meta, split_meta
from steppe.core.task import AbstractFormula
from steppe.optimizers.classic import from_optax
from steppe.optimizers.classic.from_optax import FACTORIES, FromOptax, adam, momentum, rmsprop, sgd
from steppe.store.checkpoint import CheckpointError
from steppe.store.describe import describe, rebuild
from steppe.testing import gradients


class Bowl(AbstractFormula):
    """f(x) = ½ Σ dᵢ xᵢ², from x = (1, 1)."""

    d: tuple[float, ...] = eqx.field(static=True, default=(1.0, 10.0))

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.ones(2)

    def loss(self, instance, batch, key):
        return lambda params: 0.5 * jnp.sum(jnp.asarray(self.d) * params**2)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


@eqx.filter_jit
def losses(opt, length, task=Bowl()):  # noqa: B008
    """The loss before each of so many steps."""
    episode = begin(task, opt, jr.key(0))
    return unroll(task, opt, episode, length, lambda step: step.value)[1]


def run(init, update, params, steps=5):
    state, update = init(params), eqx.filter_jit(update)
    for t in range(steps):
        updates, state = update(gradients(params, t), state, params)
        params = optax.apply_updates(params, updates)
    return params, state


PAIRS = {
    "sgd": (sgd(0.1), optax.sgd(0.1)),
    "momentum": (momentum(0.1, 0.8), optax.sgd(0.1, momentum=0.8)),
    "adam": (adam(0.1), optax.adam(0.1)),
    "rmsprop": (rmsprop(0.1), optax.rmsprop(0.1)),
    "adamw": (
        FromOptax("adamw", learning_rate=0.1, b2=0.99, weight_decay=0.1, nesterov=True),
        optax.adamw(0.1, b2=0.99, weight_decay=0.1, nesterov=True),
    ),
    "factory": (
        FromOptax(
            lambda lr, bound: optax.chain(optax.clip(bound), optax.sgd(lr)), lr=0.1, bound=0.5
        ),
        optax.chain(optax.clip(0.5), optax.sgd(0.1)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_same_parameters_and_state_as_optax(name, dtype):
    opt, tx = PAIRS[name]
    params = {"a": jnp.ones((2, 3), dtype), "b": jnp.ones((), dtype)}
    ours, expected = (
        run(opt.init, opt.update, params),
        run(tx.init, tx.update, params),
    )
    assert jtu.tree_structure(ours) == jtu.tree_structure(expected)
    # 1 − β₂ is a difference of float32 numbers here, and exact in optax.
    rtol = 2e-5 if dtype == jnp.float32 else 1e-13
    for a, b in zip(jtu.tree_leaves(ours), jtu.tree_leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol)


def test_adam_in_bfloat16_remembers_as_in_float32():
    params = jnp.ones(3, jnp.bfloat16)
    opt = FromOptax("adam", learning_rate=0.1, b2=0.999)
    _, state = run(opt.init, opt.update, params)
    v = 0.0
    for t in range(5):
        v = 0.999 * v + 0.001 * np.float32(gradients(params, t)) ** 2
    np.testing.assert_allclose(state[0].nu, v, rtol=1e-4)


def test_numbers_are_theta_and_the_rest_is_static():
    opt = FromOptax("sgd", learning_rate=0.1, momentum=np.float32(0.9), nesterov=True)
    theta, _ = split_meta(opt)
    assert jtu.tree_leaves(theta) == jtu.tree_leaves(opt)
    assert sorted(opt.hyper) == ["learning_rate", "momentum"]
    assert opt.settings == (("nesterov", True),)


def test_grid_of_learning_rates_is_one_vmap():
    grid = jnp.array([0.05, 0.1, 0.15])
    together = jax.vmap(lambda lr: losses(momentum(lr), 10))(grid)
    for i, lr in enumerate(grid):
        np.testing.assert_allclose(together[i], losses(momentum(lr), 10), rtol=1e-12)


def test_meta_gradient_of_the_learning_rate_in_closed_form():
    """x_T = Π(1 − lr dᵢ)ᵀ, so that dL/dlr = −T Σ dᵢ² (1 − lr dᵢ)^(2T − 1)."""
    theta, rest = split_meta(sgd(0.05))
    last = lambda theta: losses(join_meta(theta, rest), 5)[-1]
    d, steps = np.array([1.0, 10.0]), 4
    expected = -steps * np.sum(d**2 * (1 - 0.05 * d) ** (2 * steps - 1))
    # In first-order mode the gradients are constants: xₜ = x₀ − lr Σ gₛ, dL/dlr = −Σ d x Σ g.
    x = (1 - 0.05 * d) ** np.arange(5)[:, None]  # (t, i)
    first_order = -np.sum(d * x[-1] * np.sum(d * x[:-1], axis=0))
    found = jax.grad(last)(theta).hyper["learning_rate"]
    assert float(found) == pytest.approx(first_order)
    assert abs(first_order - expected) > 0.1


def test_line_search_gets_value_and_value_fn():
    assert losses(FromOptax("lbfgs", memory_size=3), 8)[-1] < 1e-20


def test_polyak_step_gets_the_value():
    assert losses(FromOptax("polyak_sgd", max_learning_rate=1.0), 30)[-1] < 1e-3


def sam(lr, opaque):
    ascent = optax.chain(optax.contrib.normalize(), optax.sgd(0.01))
    return optax.contrib.sam(optax.sgd(lr), ascent, sync_period=2, opaque_mode=opaque)


def test_transformation_is_not_sent_what_it_does_not_declare():
    """optax.contrib.sam fails on an unexpected `value`."""
    assert losses(FromOptax(sam, lr=0.1, opaque=False), 8)[-1] < losses(sgd(0.1), 1)[0]


def test_sam_steps_with_the_gradient_at_the_worst_nearby_point():
    d = np.array([1.0, 10.0])
    worst = 1 + 0.01 * d / np.linalg.norm(d)
    x = 1 - 0.1 * d * worst
    second = losses(FromOptax(sam, lr=0.1, opaque=True), 2)[1]
    assert float(second) == pytest.approx(0.5 * np.sum(d * x**2))


def test_works_where_dtypes_must_not_mix():
    with jax.numpy_dtype_promotion("strict"):
        params = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2, jnp.float32)}
        run(adam(0.1).init, adam(0.1).update, params)


def test_state_with_a_random_key_keeps_its_type():
    opt = FromOptax("noisy_sgd", learning_rate=0.1, key=1)
    a, b = losses(opt, 3), losses(FromOptax("noisy_sgd", learning_rate=0.1, key=2), 3)
    assert a[1] != b[1]


@pytest.mark.parametrize(
    "opt",
    [
        adam(0.1),
        FromOptax("sgd", learning_rate=0.1, nesterov=True, momentum=0.5),
        FromOptax("contrib.prodigy", settings={"estim_lr0": 1e-5}, learning_rate=1.0),
        FromOptax("adam", learning_rate=0.1, mu_dtype="bfloat16"),
    ],
    ids=lambda opt: opt.make,
)
def test_description_rebuilds_it(opt):
    skeleton = rebuild(describe(opt), {"FromOptax": FromOptax})
    assert jtu.tree_structure(skeleton) == jtu.tree_structure(opt)
    assert FromOptax(**{"make": opt.make, "settings": opt.settings}, **opt.hyper) == opt


def test_description_of_a_function_is_refused():
    with pytest.raises(
        CheckpointError, match=r"FromOptax.make is the callable sam.*name as a string"
    ):
        describe(FromOptax(sam, lr=0.1, opaque=True))
    schedule = optax.linear_schedule(1.0, 0.0, 10)
    with pytest.raises(CheckpointError, match=r"settings\[0\]\[1\] is the callable schedule"):
        describe(FromOptax("sgd", learning_rate=schedule))


@pytest.mark.parametrize(
    ("make", "hyper", "words"),
    [
        ("adm", {}, "knows no factory 'adm', did you mean 'adam'"),
        ("adam", {"learning_rat": 0.1}, "adam has no argument 'learning_rat'; did you mean 'learn"),
        ("adam", {}, "optax.adam cannot be called .*learning_rate"),
        ("adam", {"learning_rate": jnp.ones(3)}, r"learning_rate .* shape \(3,\).*inside a `vmap`"),
        ("adam", {"learning_rate": 0.1, "mu_dtype": [1]}, "cannot be hashed"),
        (optax.constant_schedule, {"value": 1.0}, "a pair"),
        (3, {}, "make is 3, expected the name of an optax factory"),
    ],
)
def test_mistakes_are_explained(make, hyper, words):
    with pytest.raises(ValueError, match=words):
        FromOptax(make, **hyper)


@pytest.mark.parametrize(
    "name",
    [
        "_src.linesearch.inspect.os.system",
        "_src.alias.base.jax.numpy.load",
        "contrib._src.sam",
        "chain",
        "inject_hyperparams",
        "tree_utils.tree_map_params",
        "linear_schedule",
        "adam.__class__",
        "contrib.sgd",
        "",
        ".",
    ],
)
def test_a_name_outside_the_table_is_refused_before_any_look_up(name, monkeypatch):
    monkeypatch.setattr(from_optax, "optax", None)  # whoever looks would fail otherwise
    with pytest.raises(ValueError, match="FromOptax knows no factory"):
        FromOptax(name, command="true")


@pytest.mark.parametrize("name", sorted(FACTORIES))
def test_the_table_has_factories_of_transformations_alone(name):
    module, _, last = name.rpartition(".")
    factory = getattr(optax.contrib if module else optax, last)
    assert "GradientTransformation" in str(inspect.signature(factory).return_annotation)
