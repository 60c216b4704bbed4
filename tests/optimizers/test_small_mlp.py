"""The small MLP against its equations, tensor by tensor in NumPy, and what follows from them."""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
import pytest

from steppe.core import tree
from steppe.optimizers.learned import small_mlp
from steppe.optimizers.learned.rnnprop import RNNProp
from steppe.optimizers.learned.small_mlp import SmallMLP
from steppe.testing import gradients
from steppe.zoo import build
from tests.optimizers.learning import followed, meta_train
from tests.reference.lstm import logistic
from tests.reference.small_mlp import steps

STEPS = 5
SHAPES = {"a": (4, 3), "b": (5,), "c": ()}


def rule(**changes):
    """One whose rate and decay differ from tensor to tensor and from step to step."""
    opt = SmallMLP((3, 2), weight_decay=0.1, key=jr.key(0), **changes)
    read = jr.normal(jr.key(1), (2, len(opt.of_tensor), 1))
    where = lambda o: (o.read_rate.w, o.read_decay.w, o.head.w)
    return eqx.tree_at(where, opt, (read[0], read[1], 10 * opt.head.w))


def problem(seed=0):
    rng = np.random.default_rng(seed)
    params = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    grads = {name: rng.standard_normal((STEPS, *shape)) for name, shape in SHAPES.items()}
    return params, grads


def untrained(n, vanishing=1.0):
    """Size of the step of a tensor of n numbers before training, over `scale`.

    - `vanishing`: ‖g‖/‖√v̂‖
    """
    return np.exp(3 * np.tanh((np.log(1000 / n) / 4 + np.log(vanishing)) / 3))


def shrunk(grads):
    """‖g‖/‖√v̂‖ of the last gradient."""
    weights = 0.999 ** np.arange(len(grads))[::-1]
    mean = np.tensordot(weights / weights.sum(), np.square(grads), 1)
    return np.sqrt(np.mean(np.square(grads[-1])) / np.mean(mean))


def test_a_slow_loop_over_tensors_takes_the_same_steps():
    opt, (params, grads) = rule(), problem()
    found = followed(opt, jtu.tree_map(jnp.asarray, grads), jtu.tree_map(jnp.asarray, params))
    w = {jtu.keystr(at): np.asarray(x) for at, x in jtu.tree_leaves_with_path(opt)}
    for name in SHAPES:
        expected = steps(w, vars(opt), grads[name], params[name])
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-12)


def test_without_gradients_parameters_shrink_by_exactly_the_learned_share():
    opt = SmallMLP(weight_decay=0.01, key=jr.key(0))
    opt = eqx.tree_at(lambda o: o.read_decay.b, opt, jnp.array([0.7]))
    params = jtu.tree_map(jnp.asarray, problem()[0])
    zeros = jtu.tree_map(lambda p: jnp.zeros((STEPS, *p.shape)), params)
    found = followed(opt, zeros, params)
    factor = (1 - 0.01 * logistic(0.7)) ** STEPS
    for name in SHAPES:
        np.testing.assert_allclose(found[name][-1], factor * params[name], rtol=1e-12)
    still = followed(SmallMLP(key=jr.key(0)), zeros, params)
    assert eqx.tree_equal(jtu.tree_map(lambda x: x[-1], still), params)


@pytest.mark.parametrize("betas", [(0.9, 0.99, 0.999), (0.5, 0.9)])
def test_an_untrained_rule_steps_along_the_direction_of_adam(betas):
    opt, (params, grads) = SmallMLP(betas=betas, scale=0.02, key=jr.key(0)), problem()
    opt = eqx.tree_at(lambda o: o.head.w, opt, 0 * opt.head.w)  # the shortcut alone
    params, grads = (jtu.tree_map(jnp.asarray, x) for x in (params, grads))
    found = followed(opt, grads, params)
    adam = optax.scale_by_adam(b1=betas[0], b2=0.999, eps=0.0)
    state, at = adam.init(params), dict(params)
    for t in range(STEPS):
        d, state = adam.update(jtu.tree_map(lambda g, t=t: g[t], grads), state)
        for name in SHAPES:
            size = 0.02 * untrained(at[name].size, shrunk(grads[name][: t + 1]))
            at[name] = at[name] - size * d[name] / jnp.sqrt(jnp.mean(d[name] ** 2))
            np.testing.assert_allclose(found[name][t], at[name], rtol=1e-9)


def test_an_untrained_rule_steps_shorter_as_gradients_vanish():
    opt, (params, grads) = SmallMLP(key=jr.key(0)), problem()
    params, first = (
        jtu.tree_map(jnp.asarray, params),
        {n: jnp.asarray(g[0]) for n, g in grads.items()},
    )
    _, state = opt.update(first, opt.init(params), params)
    sizes = [
        np.sqrt(np.mean(np.square(opt.update(tree.scale(a, first), state, params)[0]["a"])))
        for a in (1.0, 1e-1, 1e-6)
    ]
    assert sizes[1] / sizes[0] == pytest.approx(0.14, rel=0.2)
    assert sizes[0] > sizes[1] > sizes[2] > 0


def test_sums_for_many_coordinates_are_the_products_for_few(monkeypatch):
    opt, (params, grads) = rule(), problem()
    params, grads = (jtu.tree_map(jnp.asarray, x) for x in (params, grads))
    products = followed(opt, grads, params)
    monkeypatch.setattr(small_mlp, "MANY", 0)
    sums = eqx.filter_jit(lambda *x: followed.__wrapped__(*x))(opt, grads, params)
    for name in SHAPES:
        np.testing.assert_allclose(sums[name], products[name], rtol=1e-10)


@pytest.mark.parametrize("a", [1e-6, 1e8])
def test_the_scale_of_the_loss_does_not_matter(a):
    opt, (params, grads) = rule(), problem()
    params, grads = (jtu.tree_map(jnp.asarray, x) for x in (params, grads))
    plain, scaled = followed(opt, grads, params), followed(opt, tree.scale(a, grads), params)
    for name in SHAPES:
        np.testing.assert_allclose(scaled[name], plain[name], rtol=1e-7)


def test_a_step_has_the_size_that_is_said_for_its_tensor():
    """Before training about (1000/n)^(1/4) of `scale`; between e^-3 and e^3 of it ever after."""
    params, grads = (jtu.tree_map(jnp.asarray, x) for x in problem())
    first = jtu.tree_map(lambda g: g[0], grads)
    size = lambda opt, name: np.sqrt(
        np.mean(np.square(opt.update(first, opt.init(params), params)[0][name]))
    )
    opt = SmallMLP(scale=0.3, key=jr.key(3))
    for name in SHAPES:
        n = max(1, np.prod(SHAPES[name]))
        assert size(opt, name) == pytest.approx(0.3 * untrained(n), rel=1e-10)
    assert untrained(1000) == 1 and untrained(16_000) == pytest.approx(16**-0.25, rel=0.02)
    far = eqx.tree_at(lambda o: o.read_rate.b, opt, jnp.array([1e6]))
    assert size(far, "a") == pytest.approx(0.3 * np.exp(3), rel=1e-10)


@pytest.mark.parametrize("a", [0.0, 1e30, 1e-40])
def test_gradients_of_any_size_give_finite_steps_in_float32(a):
    params, grads = (jtu.tree_map(lambda x: jnp.asarray(x, "float32"), x) for x in problem())
    opt = jtu.tree_map(lambda x: x.astype(jnp.float32), SmallMLP(key=jr.key(0)))
    found = followed(opt, jtu.tree_map(lambda g: g * jnp.float32(a), grads), params)
    assert tree.finite(found)


def test_it_learns():
    """Its rate goes down where that is what pays: at the minimum of a parabola."""
    from tests.optimizers.test_rates import Bowl

    opt = SmallMLP((4, 4), scale=0.3, time_scales=(2.0, 8.0), key=jr.key(0))
    _, losses = meta_train(opt, Bowl(), length=8, episodes=1, steps=60, lr=0.03)
    assert float(losses[-1]) < 0.2 * float(losses[0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"betas": ()}, "betas must be some numbers"),
        ({"betas": (0.9, 1.0)}, r"betas must be in \[0, 1\), got 1.0"),
        ({"beta": -0.1}, r"beta must be in \[0, 1\)"),
        ({"time_scales": (0.0,)}, "time_scales must be positive"),
        ({"scale": 0.0}, "scale must be positive"),
        ({"weight_decay": 1.0}, r"weight_decay must be in \[0, 1\)"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(changes, words):
    with pytest.raises(ValueError, match=f"SmallMLP: {words}"):
        build("small-mlp", key=jr.key(0), **changes)


def test_it_needs_the_parameters():
    opt = SmallMLP(key=jr.key(0))
    with pytest.raises(ValueError, match="looks at the parameters"):
        opt.update(jnp.ones(2), opt.init(jnp.ones(2)), None)


@pytest.mark.slow
def test_a_step_costs_less_than_a_quarter_of_that_of_an_lstm():
    """In pairs, so that other work on the machine slows both down."""
    like = {"w": (300, 300), "b": (300,), "out": (300, 33)}
    params = {name: jnp.ones(shape, jnp.float32) for name, shape in like.items()}
    grads = gradients(params, 0)
    steps = {}
    for name, opt in {"small": SmallMLP(key=jr.key(0)), "lstm": RNNProp(key=jr.key(0))}.items():
        opt = jtu.tree_map(lambda x: x.astype(jnp.float32), opt)
        step = eqx.filter_jit(lambda state, opt=opt: opt.update(grads, state, params))
        state = step(opt.init(params))[1]
        steps[name] = lambda step=step, state=state: jax.block_until_ready(step(state)[0])
    ratios = []
    for _ in range(9):
        took = {}
        for name, step in steps.items():
            began = time.process_time()
            step()
            took[name] = time.process_time() - began
        ratios.append(took["small"] / took["lstm"])
    assert np.median(ratios) < 0.25
