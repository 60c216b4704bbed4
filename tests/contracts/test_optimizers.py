"""What every optimizer promises, tried on an example of every final class in the package."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from examples_optimizers import MATRIX, OPTIMIZERS
from jax._src.interpreters.partial_eval import dce_jaxpr
from jax.extend.core import jaxprs_in_params

from examples import final_classes
from steppe.cli.info import trained
from steppe.core import tree
from steppe.core.coordinatewise import AbstractCoordinatewise
from steppe.core.episode import begin, unroll
from steppe.core.loss import AbstractLoss, Composite, LeastSquares, Plain, Saddle, Stacked
from steppe.core.optimizer import AbstractOptimizer, join_meta, split_meta
from steppe.core.regularizer import L1
from steppe.core.task import AbstractFormula, Problem
from steppe.optimizers.classic.entropy_sgd import EntropySGD
from steppe.optimizers.classic.from_optax import FromOptax
from steppe.optimizers.classic.sam import SAM
from steppe.optimizers.names import OPTIMIZERS as NAMES
from steppe.optimizers.unrolled.base import AbstractUnrolled
from steppe.store.describe import describe, rebuild
from steppe.store.manifest import read_header
from steppe.testing import gradients
from steppe.zoo import classes, load, manifest, save

STEPS = 3
ROUNDING = {"rtol": 1e-10, "atol": 1e-13}  # of float64, through a few hundred operations
# Their kinds, without computing a weight.
MADE = {name: eqx.filter_eval_shape(make) for name, make in OPTIMIZERS.items()}
COORDINATEWISE = [name for name, opt in MADE.items() if isinstance(opt, AbstractCoordinatewise)]
IN_BLOCKS = [name for name in COORDINATEWISE if not MADE[name].elementwise]
KINDS = classes()
SAVED = [name for name, opt in MADE.items() if type(opt) in KINDS.values()]

TREES = {
    "shapes": lambda: {"a": jnp.ones((2, 3)), "b": (jnp.ones(()), jnp.ones(4)), "c": jnp.ones(0)},
    "scalar": lambda: jnp.ones(()),
    "empty": lambda: {},
    "dtypes": lambda: [jnp.ones(2, d) for d in (jnp.float64, jnp.bfloat16, jnp.float32)],
}


class Waves(AbstractFormula):
    """Σ cos over all entries of any tree of parameters, with a little of their ℓ1 norm."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.ones(3)

    def loss(self, instance, batch, key):
        def f(params):
            waves = [jnp.sum(jnp.cos(leaf.astype(jnp.float64))) for leaf in jtu.tree_leaves(params)]
            return sum(waves, start=jnp.zeros(()))

        return Composite(Plain(f), L1(1e-3), jnp.ones(()))

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


PROBLEM = Problem(Waves(), (), (), jr.key(0))  # as `unroll` hands one to every update
SQUARES = {
    entry.load() for entry in NAMES.values() if entry.needs == "LeastSquares"
}  # they know of A and b

SWARMS = {entry.load() for entry in NAMES.values() if entry.needs == "Stacked"}
PARTICLES = 3


PLAYERS = {
    entry.load() for entry in NAMES.values() if entry.needs == "Saddle"
}  # they know of the two players of a game


class Waving(AbstractFormula):
    """Two players, each with any tree of parameters, that wave and disturb one another."""

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return {"min": jnp.ones(3), "max": 2 * jnp.ones(3)}

    def loss(self, instance, batch, key):
        return Saddle(disturbed)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


def disturbed(params):
    """Waves of the first player less those of the second, and a product."""
    wide = jtu.tree_map(lambda leaf: leaf.astype(jnp.float64), params)
    waves, sums = (
        {player: sum((jnp.sum(f(leaf)) for leaf in jtu.tree_leaves(own)), start=jnp.zeros(()))
         for player, own in wide.items()}
        for f in (jnp.cos, jnp.sin)
    )  # fmt: skip
    return waves["min"] - waves["max"] + sums["min"] * sums["max"] / 2


GAME = Problem(Waving(), (), (), jr.key(0))


class Squares(AbstractFormula):
    """½‖Ax − b‖² + 1e-3 ‖x‖₁ in the coordinates of any tree of parameters."""

    def sample(self, key):
        return LeastSquares(*(jnp.asarray(part) for part in equations(3)))

    def init(self, instance, key):
        return jnp.ones(3)

    def loss(self, instance, batch, key):
        return Composite(instance, L1(1e-3), jnp.asarray(20.0))

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


def equations(n):
    """A and b, five measurements of n coordinates."""
    rng = np.random.default_rng(n)
    return rng.standard_normal((5, n)), rng.standard_normal(5)


def problem(opt, params):
    """A problem of these parameters, with the structure that the optimizer needs."""
    if type(opt) in PLAYERS:
        return GAME
    if type(opt) in SWARMS:
        return Problem(Swarming(PROBLEM.loss()), (), (), jr.key(0))
    if type(opt) not in SQUARES:
        return PROBLEM
    A, b = (jnp.asarray(part) for part in equations(tree.size(params)))
    squares = LeastSquares(A, b)
    if isinstance(opt, AbstractUnrolled):  # made for a matrix; what it is handed over to is strict
        squares = tree.cast(LeastSquares(MATRIX, b[: len(MATRIX)]), params.dtype)
    return Problem(Squares(), squares, (), jr.key(0))


class Swarming(AbstractFormula):
    """A loss seen by particles of one coordinate."""

    alone: AbstractLoss

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.arange(1.0, 1 + PARTICLES)

    def loss(self, instance, batch, key):
        return Stacked(self.alone)

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


def parameters(opt, tree_of="shapes"):
    """Parameters that an optimizer takes: one of `TREES`, a vector for an unrolled network.

    Both players have the same tree. Of a swarm, each particle has one, or no coordinate.
    """
    if type(opt) in SWARMS:
        apart = lambda leaf: jnp.stack([(1 + i / 2) * leaf for i in range(PARTICLES)])
        each = jnp.ones(0) if tree_of == "empty" else TREES[tree_of]()
        return jtu.tree_map(lambda leaf: apart(leaf).astype(leaf.dtype), each)
    if not isinstance(opt, AbstractUnrolled):
        return played(opt, TREES[tree_of]())
    kinds = {"scalar": jnp.float32, "empty": jnp.float16, "dtypes": jnp.bfloat16}
    return jnp.ones(MATRIX.shape[1], kinds.get(tree_of, jnp.float64))


def played(opt, params):
    """The parameters, for both players if the optimizer knows of such."""
    return {"min": params, "max": params} if type(opt) in PLAYERS else params


class Counted(AbstractFormula):
    """`Waves` or `Waving`, every gradient of whose smooth part calls back."""

    game: bool = False

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return Waving().init((), key) if self.game else jnp.ones(3)

    def loss(self, instance, batch, key):
        if self.game:
            return Saddle(counted)
        return Composite(Plain(counted), L1(1e-3), jnp.ones(()))

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


def plain(params):
    return GAME if isinstance(params, dict) else PROBLEM


@jax.custom_vjp
def counted(params):
    return plain(params).value(params)


def forward(params):
    return counted(params), params


def backward(params, cotangent):
    like = jax.ShapeDtypeStruct((), cotangent.dtype)
    one = jax.pure_callback(np.ones_like, like, cotangent, vmap_method="broadcast_all")
    return (tree.scale(cotangent * one, plain(params).grad(params)),)


counted.defvjp(forward, backward)


def callbacks(jaxpr):
    """How often a program calls back. It does not in its loops of unknown length."""
    total = 0
    for eqn in jaxpr.eqns:
        inside = sum(map(callbacks, jaxprs_in_params(eqn.params)))
        assert not (inside and eqn.primitive.name in ("while", "cond"))
        total += inside * eqn.params.get("length", 1) if inside else 0
        total += eqn.primitive.name == "pure_callback"
    return total


@functools.cache
def example(name) -> AbstractOptimizer:
    return tree.strongly_typed(OPTIMIZERS[name]())


@pytest.fixture(params=OPTIMIZERS)
def opt(request) -> AbstractOptimizer:
    return example(request.param)


def run(opt, params, key, scale=1.0, **extra):
    """The updates of a few steps, stacked, and the state after them.

    One program for each example and shape of the parameters: all that varies is an argument.
    """
    return compiled(opt, params, key, jnp.asarray(scale, jnp.float64), extra)


@eqx.filter_jit
def compiled(opt, params, key, scale, extra):

    def step(carry, g):
        params, state = carry
        updates, state = opt.update(g, state, params, problem=problem(opt, params), **extra)
        return (tree.apply_updates(params, updates), state), updates

    table = [tree.scale(scale, gradients(params, t)) for t in range(STEPS)]
    table = jtu.tree_map(lambda *g: jnp.stack(g), *table)
    (_, state), updates = jax.lax.scan(step, (params, opt.init(params, key=key)), table)
    return updates, state


def types(x):
    return jtu.tree_map(lambda leaf: (leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)), x)


def assert_close(x, y):
    jtu.tree_map(lambda a, b: np.testing.assert_allclose(bare(a), bare(b), **ROUNDING), x, y)


def bare(leaf):
    """A PRNG key by its data."""
    return jr.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def at(x, i):
    return jtu.tree_map(lambda leaf: leaf[i], x)


def scaled_theta(opt, a):
    theta, rest = split_meta(opt)
    return join_meta(tree.scale(a, theta), rest)


def test_every_final_class_has_an_example():
    without = final_classes(AbstractOptimizer) - {type(opt) for opt in MADE.values()}
    assert not without, f"add to tests/examples_optimizers.py: {without}"


def test_every_class_of_the_optimizers_package_can_be_read_from_a_checkpoint():
    final = final_classes(AbstractOptimizer)
    public = {cls for cls in final if cls.__module__.startswith("steppe.optimizers.")}
    assert public == set(KINDS.values())
    assert all(cls.__name__ == name for name, cls in KINDS.items())


def test_theta_is_floating_and_not_empty(opt):
    theta, rest = split_meta(opt)
    leaves = jtu.tree_leaves(theta)
    assert leaves and all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves)
    assert eqx.tree_equal(join_meta(theta, rest), opt)


@pytest.mark.parametrize("shape", TREES)
def test_updates_are_like_params_and_the_state_stays_like_itself(opt, shape, getkey):
    params = parameters(opt, shape)
    start = eqx.filter_eval_shape(opt.init, params, key=getkey())
    assert not any(getattr(leaf, "weak_type", False) for leaf in jtu.tree_leaves(start))
    own = problem(opt, params)
    step = lambda state: opt.update(gradients(params, 0), state, params, problem=own)
    updates, state = eqx.filter_eval_shape(step, start)
    assert types(updates) == types(params)
    assert types(state) == types(start)


FLOATS = (jnp.float32, jnp.bfloat16, jnp.float16, jnp.float64)
# Each with each in trees of all, and trees of one alone, with gradients of the next.
PAIRS = [(FLOATS, FLOATS[i:] + FLOATS[:i]) for i in range(4)]
ONES = list(zip(*PAIRS[1], strict=True))  # a network takes a vector: each with itself and the next
PAIRS += [((mine, mine), (theirs, theirs)) for mine, theirs in ONES]
ONES += list(zip(*PAIRS[0], strict=True))


def test_types_are_those_of_params_whatever_the_gradients_and_without_implicit_promotion(opt):
    network = isinstance(opt, AbstractUnrolled)  # takes a vector
    shape = MATRIX.shape[1:] if network else (3,)
    one = lambda kind: np.ones(shape, kind)
    make = one if network else lambda kinds: played(opt, list(map(one, kinds)))
    with jax.numpy_dtype_promotion("strict"):
        for mine, theirs in ONES if network else PAIRS:
            params, grads = make(mine), make(theirs)
            own = problem(opt, params)
            start = eqx.filter_eval_shape(opt.init, params, key=jr.key(0))
            step = lambda g, s, p: opt.update(g, s, p, problem=own)  # noqa: B023
            updates, state = eqx.filter_eval_shape(step, grads, start, params)
            assert types(updates) == types(params), (mine, theirs)
            assert types(state) == types(start), (mine, theirs)


BAD = {
    "complex": ({"w": jnp.ones(2, jnp.complex64)}, r"complex64 at \['w'\], expected real numbers"),
    "a complex number": ([1j], r"complex 1j at \[0\], expected real numbers"),
    "whole numbers": ((jnp.ones(2), jnp.ones(2, jnp.int8)), r"int8 at \[1\].* give 1\.0 for 1"),
    "a whole number": ([0.5, 3], r"int 3 at \[1\].* give 1\.0 for 1"),
    "a truth value": ([True], r"bool True at \[0\]"),
    "a key": ({"k": jr.key(0)}, r"key<fry> at \['k'\]"),
    "a word": (["adam"], r"str 'adam' at \[0\]"),
    "a function": ([jnp.sin], r"sin at \[0\].*eqx\.filter\(params, eqx\.is_inexact_array\)"),
    "a module": (eqx.nn.MLP(2, 1, 2, 1, key=jr.key(0)), r"at \.activation.*eqx\.filter\(params"),
    "eight bits": ([jnp.ones(2, jnp.float8_e4m3fn)], r"float8_e4m3fn at \[0\].* or float64"),
    "long doubles": ([np.ones(2, np.longdouble)], r"at \[0\].* or float64"),
}


def test_leaves_that_are_no_floats_are_refused_in_one_sentence(opt):
    for params, sentence in BAD.values():
        with pytest.raises(ValueError, match=sentence) as refusal:
            opt.init(params, key=jr.key(0))
        assert "\n" not in str(refusal.value)


def test_floats_and_numpy_arrays_start_like_jax_arrays(opt):
    wide = np.ones(3)
    plain, arrays = {"a": 1.0, "b": wide}, {"a": jnp.ones(()), "b": jnp.asarray(wide)}
    if isinstance(opt, AbstractUnrolled):
        plain, arrays = np.ones(MATRIX.shape[1]), parameters(opt)
    plain, arrays = played(opt, plain), played(opt, arrays)
    if type(opt) in SWARMS:
        plain, arrays = {"a": np.ones(3), "b": np.ones((3, 2))}, {"a": wide, "b": np.ones((3, 2))}
        arrays = jtu.tree_map(jnp.asarray, arrays)
    start = lambda params: opt.init(params, key=jr.key(0))
    assert types(start(plain)) == types(start(arrays))


def test_a_step_takes_as_many_gradients_as_it_says(opt):
    if type(opt) in SQUARES:  # one product with A and one with Aᵀ
        assert opt.gradients_per_step == 1
        return
    if opt.gradients_per_step is None:  # the rule counts by itself
        assert "gradients" in opt.counts(opt.init(parameters(opt), key=jr.key(0)))
        return
    task = Counted(game=type(opt) in PLAYERS)
    task = Swarming(Plain(counted)) if type(opt) in SWARMS else task
    key = jr.key(0)
    steps = lambda opt: unroll(task, opt, begin(task, opt, key), STEPS, lambda step: ())[0].params
    arrays, static = eqx.partition(opt, eqx.is_array)
    program = jax.make_jaxpr(lambda arrays: steps(eqx.combine(arrays, static)))(arrays)
    used, _ = dce_jaxpr(program.jaxpr, [True] * len(program.jaxpr.outvars))
    # Rules that leave the gradient they are handed unused have one traced that is not computed.
    assert callbacks(used) <= STEPS * opt.gradients_per_step <= callbacks(program.jaxpr)
    own = ("ISTA", "FISTA", "StepFISTA", "MathL2O", "GoMathL2O", "Scale", "Guarded")
    own += ("PSO", "FromEvosax")  # they use none
    own += ("ScheduleFree",)  # one at another point in its place
    assert callbacks(used) == callbacks(program.jaxpr) or type(opt).__name__ in own


def test_the_gradients_of_a_line_search_are_not_fixed():
    search = FromOptax("lbfgs")
    assert search.gradients_per_step is None and SAM(search).gradients_per_step is None
    assert FromOptax("lbfgs", learning_rate=0.1, linesearch=None).gradients_per_step == 1


def test_gradients_of_optimizers_inside_add_up():
    assert SAM(SAM(EntropySGD(0.5, steps=3))).gradients_per_step == 5


def test_updates_are_finite_and_move_every_coordinate(opt, getkey):
    updates, state = run(opt, parameters(opt), getkey())
    assert tree.finite((updates, state))
    assert all(bool(jnp.all(leaf != 0)) for leaf in jtu.tree_leaves(updates))


def test_jit_changes_nothing_nor_do_unknown_extras(opt, getkey):
    """Step by step without jit; the last step also with extras that it cannot know."""
    params, key = parameters(opt), getkey()
    extras, own = {"stranger": key, "value": jnp.ones(())}, problem(opt, params)
    expected, state = run(opt, params, key)[0], opt.init(params, key=key)
    for t in range(STEPS):
        before = state
        step = functools.partial(opt.update, gradients(params, t), problem=own)
        updates, state = step(before, params)
        assert_close(updates, at(expected, t))
        if t == STEPS - 1:
            assert_close(step(before, params, **extras), (updates, state))
        params = tree.apply_updates(params, updates)


def test_vmap_over_episodes_and_theta_is_a_loop(opt, getkey):
    """Inside, two episodes share a θ; outside, two θ share the episodes."""
    params, key = parameters(opt), getkey()
    many = jtu.tree_map(lambda p: jnp.stack([p, 2 * p]), params)
    theta, rest = split_meta(opt)
    grid = jtu.tree_map(lambda w: jnp.stack([w, 1.1 * w]), theta)
    scales = (1.0, 1.1)

    def episodes(theta):
        opt = join_meta(theta, rest)
        return jax.vmap(lambda p, a: run(opt, p, key, a))(many, jnp.array(scales))

    together = jax.jit(jax.vmap(episodes))(grid)
    for i, a in enumerate((1.0, 1.1)):
        for j, scale in enumerate(scales):
            alone = run(scaled_theta(opt, a), at(many, j), key, scale)
            assert_close(at(at(together, i), j), alone)


def test_three_steps_and_new_weights_compile_once(opt, getkey):
    """Without compiling: one trace serves what comes out, and other weights."""
    params, traces = parameters(opt, "dtypes"), []
    grads, state = gradients(params, 0), eqx.filter_eval_shape(opt.init, params, key=getkey())

    @jax.jit
    def step(opt, grads, state, params):
        traces.append(1)
        updates, state = opt.update(grads, state, params, problem=problem(opt, params))
        return tree.apply_updates(params, updates), state

    for a in (1.0, 1.0, 1.1):
        made = (scaled_theta(opt, a), grads, state, params)
        params, state = eqx.filter_eval_shape(step, *made)
    assert len(traces) == 1


@pytest.mark.parametrize("name", SAVED)
def test_saved_and_loaded_it_gives_the_same_updates(name, getkey, tmp_path):
    opt = example(name)
    save(tmp_path / "opt.safetensors", opt, seed=1)
    loaded, said = load(tmp_path / "opt.safetensors"), manifest(tmp_path / "opt.safetensors")
    assert said["kind"] == type(opt).__name__ and said["recipe"] == {"seed": 1}
    counted = trained(read_header(tmp_path / "opt.safetensors"))
    assert counted == tree.size(split_meta(opt)[0])
    assert eqx.tree_equal(loaded, opt)
    params, key = parameters(opt), getkey()
    assert eqx.tree_equal(run(loaded, params, key), run(opt, params, key))


def test_meta_gradient_is_that_of_finite_differences_and_finite_where_gradients_are_zero(
    opt, getkey
):
    theta, rest = split_meta(opt)
    params, key, h = played(opt, jnp.ones(3)), getkey(), 1e-6
    params = parameters(opt) if isinstance(opt, AbstractUnrolled) else params
    params = parameters(opt, "scalar") if type(opt) in SWARMS else params

    @jax.jit
    @jax.value_and_grad
    def both(theta, scale):
        updates, _ = run(join_meta(theta, rest), params, key, scale)
        updates = jnp.concatenate(jtu.tree_leaves(updates), axis=1)
        return jnp.sum(jnp.sin(1.0 + jnp.arange(STEPS))[:, None] * updates)

    one, zero = jnp.ones(()), jnp.zeros(())
    direction = gradients(theta, 0)
    moved = lambda h: jtu.tree_map(lambda w, d: np.asarray(w) + h * np.asarray(d), theta, direction)
    ends = [both(moved(a * h), one)[0] for a in (1, -1)]
    slope = float(tree.dot(both(theta, one)[1], direction))
    assert slope == pytest.approx(float(ends[0] - ends[1]) / (2 * h), rel=1e-5, abs=1e-8)
    assert tree.finite(both(theta, zero)[1])


@pytest.mark.parametrize("name", COORDINATEWISE)
def test_coordinates_are_interchangeable(name, getkey):
    opt, order, key = example(name), jnp.asarray([3, 0, 4, 1, 2]), getkey()
    state = permuted = opt.init(jnp.ones(5), key=key)
    update = eqx.filter_jit(opt.update)
    for t in range(STEPS):
        g = gradients(jnp.ones(5), t)
        u, state = update(g, state, g)
        v, permuted = update(g[order], permuted, g[order])
        assert_close(u[order], v)


@pytest.mark.parametrize("name", IN_BLOCKS)
@pytest.mark.parametrize("block", [1, 7])
def test_block_size_does_not_change_the_updates(name, block, getkey):
    opt = example(name)
    assert opt.block > 11  # all coordinates in one block
    description = describe(opt)
    description["hyper"]["block"] = block
    structure = jtu.tree_structure(rebuild(description, KINDS))
    cut = jtu.tree_unflatten(structure, jtu.tree_leaves(opt))
    params, key = TREES["shapes"](), getkey()
    assert len(jtu.tree_leaves(cut.init(params).rows)[0]) == {1: 11, 7: 2}[block]
    assert_close(run(cut, params, key)[0], run(opt, params, key)[0])


@pytest.mark.parametrize("name", COORDINATEWISE)
def test_tensors_are_only_a_way_to_arrange_coordinates(name, getkey):
    opt, key = example(name), getkey()
    whole = run(opt, jnp.ones(11), key)[0]
    parts = run(opt, TREES["shapes"](), key)[0]
    assert_close(jnp.concatenate([u.reshape(STEPS, -1) for u in jtu.tree_leaves(parts)], 1), whole)
