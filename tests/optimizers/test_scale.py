"""L2O-Scale against a slow loop over tensors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from reference import scale as slow

from steppe.core import tree
from steppe.core.optimizer import join_meta, split_meta
from steppe.estimators.bptt import BPTT
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.learned.scale import Scale
from steppe.optimizers.learned.tensors import Layout, height
from steppe.tasks.synthetic.quadratic import Quadratic

SHAPES = ((3,), (2, 2), (), (5, 3))
SMALL = {"levels": (3, 2, 2), "scales": 2}


def named(opt: Scale) -> dict[str, np.ndarray]:
    """θ under the names of the reference."""
    w = {}
    for k, cell in enumerate(opt.cells):
        w |= {f"{k}/gates/w": cell.w_gates, f"{k}/gates/b": cell.b_gates}
        w |= {f"{k}/candidate/w": cell.w_candidate, f"{k}/candidate/b": cell.b_candidate}
        start = jnp.zeros_like(cell.b_candidate) if opt.starts is None else opt.starts[k]
        w[f"{k}/start"] = start
    maps = {"param": opt.bias_tensor, "global": opt.bias_problem, "global1": opt.bias_upper}
    for name, affine in maps.items():
        w |= {} if affine is None else {f"{name}/w": affine.w, f"{name}/b": affine.b}
    readouts = {"decay": opt.read_decay, "inp_decay": opt.read_input_decay, "lr": opt.read_lr}
    constants = {"decay": np.log(0.93 / 0.07), "inp_decay": np.log(0.89 / 0.11), "lr": 0.0}
    for name, read in readouts.items():
        zero = np.zeros((opt.levels[0], 1))
        w[f"{name}/w"] = zero if read is None else read.w[:, None]
        w[f"{name}/b"] = constants[name] if read is None else read.b
    ahead = opt.read_step if opt.read_ahead is None else opt.read_ahead
    w |= {"update/w": opt.read_step[:, None], "attend/w": ahead[:, None]}
    w["short"] = None if opt.shortcut is None else opt.shortcut[:, None]
    w |= {"momentum": opt.lr_momentum, "offset": opt.log_step}
    return {name: value if value is None else np.asarray(value) for name, value in w.items()}


def gradients(rng, scale=1.0):
    return [scale * rng.normal(size=shape) * 10.0 ** rng.integers(-4, 1, shape) for shape in SHAPES]


def shaken(opt):
    """The same with all of θ random: nothing starts at zero."""
    theta, rest = split_meta(opt)
    leaves, treedef = jtu.tree_flatten(theta)
    rng = np.random.default_rng(5)
    new = [w + 0.3 * rng.normal(size=w.shape) for w in leaves]
    return join_meta(jtu.tree_unflatten(treedef, new), rest)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {**SMALL, "pool": "last", "problem_mean": False, "decay_scales": True},
        {**SMALL, "levels": (3, 2), "extreme": True, "lr_shortcut": True, "products": False},
        {**SMALL, "levels": (3,), "gradient_shortcut": False, "learn_decay": False},
        {"levels": (3, 2, 2), "scales": 1, "log_squares": False, "relative_lr": False},
        {**SMALL, "dynamic": False, "relative_lr": False, "learn_start": False},
        {**SMALL, "learn_input_decay": False, "max_log_lr": -6.0},
    ],
    ids=lambda options: ",".join(options) or "defaults",
)
def test_updates_are_those_of_a_loop_over_tensors(options):
    opt = shaken(Scale(**options, key=jr.key(0)))
    rng = np.random.default_rng(1)
    params = [jnp.asarray(g) for g in gradients(rng)]
    state = opt.init(params, key=jr.key(2))
    rates = [np.zeros(shape) for shape in SHAPES]
    if opt.dynamic:
        rates = [np.asarray(leaf) for leaf in Layout(params).unpack(state.log_lr)]
    flags = {name: getattr(opt, name) for name in slow.FLAGS if name not in ("levels", "last")}
    flags |= {"levels": len(opt.levels), "last": opt.pool == "last"}
    w = named(opt)
    memory = slow.start(w, SHAPES, rates, **flags)
    update = eqx.filter_jit(opt.update)
    for _ in range(4):
        g = gradients(rng)
        expected, _, memory = slow.step(w, g, memory, **flags)
        updates, state = update([jnp.asarray(x) for x in g], state, params)
        for a, b in zip(updates, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)


def test_attention_takes_the_gradient_at_the_point_of_the_reference():
    opt = shaken(Scale(levels=(3,), scales=2, attention=True, key=jr.key(0)))
    rng = np.random.default_rng(1)
    params = [jnp.asarray(g) for g in gradients(rng)]
    layout, w = Layout(params), named(opt)
    flags = {"levels": 1, "scales": 2, "attention": True}
    state = opt.init(params)
    rates = [np.asarray(leaf) for leaf in layout.unpack(state.log_lr)]
    memory = slow.start(w, SHAPES, rates, **flags)
    advance = eqx.filter_jit(opt.advance)
    for _ in range(2):
        g = gradients(rng)
        expected, ahead, memory = slow.step(w, g, memory, **flags)
        u, state = advance(layout.pack([jnp.asarray(x) for x in g], jnp.float64), state, layout)
        for a, b in zip(layout.unpack(u), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10)
        for a, b in zip(layout.unpack(state.ahead), ahead, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9)


def test_attention_without_a_problem_is_refused_in_a_sentence():
    opt = Scale(levels=(2,), attention=True, key=jr.key(0))
    with pytest.raises(ValueError, match=r"gradient at a point of its own, .*Run it in `unroll`"):
        opt.update(jnp.ones(2), opt.init(jnp.ones(2)), jnp.ones(2))


def test_tensors_in_another_order_get_the_same_updates():
    opt = shaken(Scale(levels=(3, 2, 2), scales=2, key=jr.key(0)))
    g = [jnp.asarray(x) for x in gradients(np.random.default_rng(1))]

    @jax.jit
    def two(g):
        _, state = opt.update(g, opt.init(g), g)
        return opt.update(g, state, g)[0]

    for a, b in zip(two(g)[::-1], two(g[::-1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11)


def test_default_theta_has_8349_numbers():
    opt = eqx.filter_eval_shape(lambda: Scale(key=jr.key(0)))
    assert sum(leaf.size for leaf in jtu.tree_leaves(opt)) == 8349


def test_equations_beyond_pack_and_unpack_do_not_grow_with_tensors():
    opt = Scale(levels=(3, 2, 2), scales=2, key=jr.key(0))

    def equations(tensors):
        params = [jnp.ones(5)] * tensors
        layout, state = Layout(params), opt.init(params)
        g = layout.pack(params, jnp.float64)
        return len(jax.make_jaxpr(lambda g, s: opt.advance(g, s, layout))(g, state).eqns)

    assert equations(2) == equations(40)


def test_rates_start_in_the_middle_or_drawn_within_the_range():
    opt = Scale(levels=(2,), lr_range=(1e-6, 1e-2), key=jr.key(0))
    params = [jnp.ones(50), jnp.ones(50)]
    np.testing.assert_allclose(opt.init(params).log_lr, np.log(1e-4))
    drawn = opt.init(params, key=jr.key(1)).log_lr
    assert np.log(1e-6) <= drawn.min() < drawn.max() <= np.log(1e-2)


def test_layout_packs_sums_and_spreads():
    x = {"a": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(()), "c": jnp.zeros(0), "d": jnp.ones(9)}
    layout = Layout(x)
    packed = layout.pack(x, jnp.float64)
    assert eqx.tree_equal(layout.unpack(packed), x)
    np.testing.assert_allclose(layout.sums(packed + 1), [21, 2, 18])  # padding is left out
    np.testing.assert_allclose(layout.means(packed), [2.5, 1, 1])
    spread = jnp.broadcast_to(layout.spread(jnp.array([1.0, 2.0, 3.0])), layout.shape)
    back = layout.unpack(spread)
    assert [float(back[name].max()) for name in "abd"] == [1, 2, 3]
    assert (height((1000, 1000)), height((3, 3)), height(())) == (128, 1, 128)


def test_packing_and_unpacking_are_each_others_transpose():
    """⟨pack x, y⟩ = ⟨x, packᵀ y⟩ and the like, in the linear maps that JAX makes of both."""
    rng = np.random.default_rng(0)
    like = {"a": jnp.zeros((2, 70)), "b": jnp.zeros(()), "c": jnp.zeros(0), "d": jnp.zeros(9)}
    layout = Layout(like)
    assert layout.height > 1 and layout.shape[0] * layout.shape[1] > 150  # some padding
    normal = lambda leaf: jnp.asarray(rng.normal(size=leaf.shape))
    x, y = jtu.tree_map(normal, like), normal(jnp.zeros(layout.shape))
    pack = lambda x: layout.pack(x, jnp.float64)
    for f, a, b in ((pack, x, y), (layout.unpack, y, x)):
        value, pull = jax.vjp(f, a)
        np.testing.assert_allclose(tree.dot(value, b), tree.dot(a, pull(b)[0]), rtol=1e-12)
        _, again = jax.vjp(lambda b, pull=pull: pull(b)[0], b)  # second order
        np.testing.assert_allclose(tree.dot(pull(b)[0], a), tree.dot(b, again(a)[0]), rtol=1e-12)


@pytest.mark.parametrize("second_order", [False, True])
def test_meta_gradient_is_that_of_central_differences(second_order):
    task = Quadratic(n=3, instances=1, data="normal", start=1.0)
    levels = (2, 2, 2) if second_order else (2,)
    opt = shaken(Scale(levels=levels, scales=2, lr_range=(0.1, 0.1), key=jr.key(0)))
    # First order drops ∂g/∂θ: one step, after which no gradient depends on θ.
    estimator = BPTT(2, 3 if second_order else 1, 3, second_order=second_order, stagger=False)
    objective = Trajectory("uniform" if second_order else "last", "identity")
    state = eqx.filter_jit(estimator.init)(task, opt, objective, key=jr.key(1))
    theta, rest = split_meta(opt)

    @jax.jit
    def both(theta):
        opt = join_meta(theta, rest)
        grads, _, stats = estimator(task, opt, state, objective, key=jr.key(2))
        return stats.loss, grads

    rng = np.random.default_rng(3)
    direction = jtu.tree_map(lambda w: rng.normal(size=w.shape), theta)
    moved = lambda h: jtu.tree_map(lambda w, d: np.asarray(w) + h * d, theta, direction)
    h = 1e-5
    ends = [both(moved(a * h))[0] for a in (1, -1)]
    slope = float(tree.dot(both(theta)[1], direction))
    assert slope != 0
    assert slope == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-5)
