"""Unrolled networks against NumPy, their weights against published ones, and what they refuse."""

import re
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import pytest
from scipy.optimize import linprog

from steppe.cli.main import main
from steppe.core import tree
from steppe.core.episode import begin, unroll
from steppe.core.optimizer import join_meta, split_meta
from steppe.optimizers.unrolled.analytic import closed_form, coherence, linear_program
from steppe.optimizers.unrolled.coupled import ALISTA, LISTACP, TiLISTA
from steppe.optimizers.unrolled.lista import LFISTA, LISTA
from steppe.optimizers.unrolled.step_lista import StepLISTA
from steppe.optimizers.unrolled.thresholds import largest, soft_except, spared_counts
from steppe.tasks.inverse.logistic import SparseLogistic
from steppe.tasks.inverse.recovery import SparseRecovery
from steppe.tasks.synthetic.quadratic import Quadratic
from steppe.zoo import build, save
from steppe.zoo.assemble import assemble
from steppe.zoo.presets import recipe

TASK = SparseRecovery(rows=6, n=10, weight=0.05, density=0.3, seed=0)
KEY = jr.key(4)
LAYERS, AFTER = 5, 4
EXACT = {"rtol": 0, "atol": 1e-12}


def problem():
    """A, b and L of the episode that begins with KEY."""
    episode = begin(TASK, StepLISTA(), KEY)
    loss = TASK.loss(episode.instance, (), KEY)
    return np.array(loss.smooth.A), np.array(loss.smooth.b), float(loss.lipschitz)


def path(opt, steps=LAYERS, task=TASK):
    run = lambda opt: unroll(task, opt, begin(task, opt, KEY), steps, lambda s: s.after.params)[1]
    return np.array(eqx.filter_jit(run)(opt))


def soft(z, threshold):
    return np.sign(z) * np.maximum(np.abs(z) - threshold, 0)


def ista(A, b, weight, L, steps):
    x, found = np.zeros(A.shape[1]), []
    for _ in range(steps):
        x = soft(x - A.T @ (A @ x - b) / L, weight / L)
        found.append(x)
    return np.array(found)


def fista(A, b, weight, L, steps, x=None, restart=False):
    x = np.zeros(A.shape[1]) if x is None else x
    y, t, found = x, 1.0, []
    for _ in range(steps):
        after = soft(y - A.T @ (A @ y - b) / L, weight / L)
        ahead = (1 + np.sqrt(1 + 4 * t * t)) / 2
        uphill = restart and (y - after) @ (after - x) > 0
        y, t = (after, 1.0) if uphill else (after + (t - 1) / ahead * (after - x), ahead)
        x = after
        found.append(x)
    return np.array(found)


@pytest.mark.parametrize(
    "make",
    [LISTA.from_task, lambda *a, **k: LISTA.from_task(*a, tied=True, **k), LISTACP.from_task],
    ids=["lista", "tied", "lista-cp"],
)
def test_untrained_it_is_ista_and_then_fista_with_restart(make):
    A, b, L = problem()
    expected = ista(A, b, 0.3, 1.001 * L, LAYERS)
    then = fista(A, b, 0.05, L, AFTER, x=expected[-1], restart=True)
    found = path(make(TASK, layers=LAYERS, threshold=0.3), LAYERS + AFTER)
    np.testing.assert_allclose(found, np.concatenate([expected, then]), **EXACT)


def test_step_lista_is_ista_with_the_weight_of_the_problem_for_any_matrix():
    A, b, L = problem()
    np.testing.assert_allclose(path(StepLISTA(LAYERS)), ista(A, b, 0.05, L, LAYERS), **EXACT)
    halved = eqx.tree_at(lambda net: net.steps, StepLISTA(LAYERS), jnp.full(LAYERS, 0.5))
    np.testing.assert_allclose(path(halved), ista(A, b, 0.05, 2 * L, LAYERS), **EXACT)
    other = SparseRecovery(rows=6, n=10)
    assert tree.finite(path(StepLISTA.from_task(other, layers=LAYERS), LAYERS, other))


def test_lfista_is_fista_unless_its_momentum_is_one_step_early_as_published():
    A, b, L = problem()
    expected = fista(A, b, 0.3, 1.001 * L, LAYERS)
    how = {"layers": LAYERS, "threshold": 0.3}
    np.testing.assert_allclose(path(LFISTA.from_task(TASK, **how)), expected, **EXACT)
    published = path(LFISTA.from_task(TASK, shift=0, **how))
    np.testing.assert_allclose(published[0], expected[0], **EXACT)
    assert np.abs(published[1] - expected[1]).max() > 1e-2


@pytest.mark.parametrize("make", [ALISTA, TiLISTA])
def test_a_layer_with_support_selection_is_that_of_numpy(make):
    """Weights drawn at random; the percentile is NumPy's, of the nearest rank."""
    A, b, _ = problem()
    opt = make.from_task(TASK, layers=LAYERS, p=15.0, p_max=50.0)
    rng = np.random.default_rng(0)
    steps, thresholds = rng.uniform(0.5, 1, LAYERS), rng.uniform(-0.05, 0.2, LAYERS)
    opt = eqx.tree_at(
        lambda o: (o.steps, o.thresholds), opt, tuple(map(jnp.array, (steps, thresholds)))
    )
    W = np.array(opt.W.value if make is ALISTA else opt.W)
    x, found = np.zeros(10), []
    for k in range(LAYERS):
        z = x + steps[k] * W.T @ (b - A @ x)
        level = np.percentile(np.abs(z), 100 - min(15 * (k + 1), 50), method="nearest")
        spared = (np.abs(z) > level) & (np.abs(z) > thresholds[k])
        x = np.where(spared, z, soft(z, thresholds[k]))
        found.append(x)
    np.testing.assert_allclose(path(opt), found, **EXACT)


def test_support_selection_at_its_ends():
    z = jnp.array([3.0, -1.0, 0.5, -2.0, 0.1])
    mask = lambda p: largest(z, spared_counts(5, 1, p, 100.0), jnp.array(0))
    np.testing.assert_array_equal(soft_except(z, 0.7, mask(0.0)), soft(z, 0.7))
    hard = np.where(np.abs(z) > 0.7, z, 0)
    np.testing.assert_allclose(soft_except(z, 0.7, mask(100.0)), hard)
    slope = jax.grad(lambda z: jnp.sum(soft_except(z, 0.7, mask(50.0)) * jnp.arange(5.0)))(z)
    np.testing.assert_allclose(slope, [0, 1, 0, 3, 0])


PUBLISHED = {  # numbers of a network for 256 × 512 with 16 layers, in the published code
    "lista": 4_063_248,
    "lista-tied": 393_216 + 32,
    "lfista": 7_995_408,
    "lista-cp": 2_097_168,
    "lista-cpss": 2_097_168,
    "tilista": 131_104,
    "alista": 32,
    "step-lista": 16,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_has_as_many_numbers_as_published_and_each_has_a_first_layer(name):
    sizes = {} if name == "step-lista" else {"rows": 256, "n": 512}
    opt = eqx.filter_eval_shape(lambda: build(name, **sizes))
    theta = eqx.filter(opt, lambda x: isinstance(x, jax.ShapeDtypeStruct))
    small = build(name, **{"layers": 3} | ({} if name == "step-lista" else {"rows": 2, "n": 4}))
    theta, first = split_meta(small)[0], small.first_layer()
    assert jtu.tree_structure(theta) == jtu.tree_structure(first)
    for leaf, layer in zip(jtu.tree_leaves(theta), jtu.tree_leaves(first), strict=True):
        assert np.broadcast_shapes(leaf.shape, layer.shape) == leaf.shape
        assert layer.max() == 3 or layer.size == 1
    fixed = tree.size(opt.W) if name == "alista" else 0
    assert tree.size(eqx.filter(opt, lambda x: hasattr(x, "shape"))) - fixed == PUBLISHED[name]


def second(theta, rest):
    """Sum of the second iterate."""
    opt = join_meta(theta, rest)
    return unroll(TASK, opt, begin(TASK, opt, KEY), 2, lambda s: ())[0].params.sum()


def test_layers_are_trained_by_the_numbers_that_first_appear_in_them():
    """The slope of the k-th iterate is zero in all that appears later, and not in the rest."""
    for make in (LFISTA, LISTACP):
        opt = make.from_task(TASK, layers=4, threshold=0.1)
        theta, rest = split_meta(opt)
        slopes = jax.jit(jax.grad(second), static_argnums=1)(theta, rest)
        first = opt.first_layer()
        later = jtu.tree_map(lambda g, k: jnp.where(k > 2, g, 0), slopes, first)
        assert not any(leaf.any() for leaf in jtu.tree_leaves(later))
        assert slopes.thresholds[:2].all()


def test_lanes_share_the_counter_so_that_one_branch_is_computed():
    opt = LISTACP.from_task(TASK, layers=LAYERS)
    run = lambda key: unroll(TASK, opt, begin(TASK, opt, key), LAYERS, lambda s: ())[0].params
    program = str(jax.make_jaxpr(jax.vmap(run))(jr.split(KEY, 3)))
    assert program.count("cond[") == 1


def test_a_loop_for_the_layers_and_one_for_fista_take_the_same_steps():
    opt, nudges = LFISTA.from_task(TASK, layers=2), 0.01 * jnp.arange(40.0).reshape(4, 10)

    def run(fresh):
        see = lambda step: step.after
        return unroll(TASK, opt, begin(TASK, opt, KEY), 4, see, nudges=nudges, fresh=fresh)

    (one, seen), (two, told) = (jax.jit(run, static_argnums=0)(fresh) for fresh in (True, False))
    program = str(jax.make_jaxpr(run, static_argnums=0)(True))
    assert program.count("cond[") == 0 and program.count("scan[") == 2
    same = lambda x, y: np.testing.assert_allclose(bare(x), bare(y), rtol=1e-12, atol=1e-14)
    jtu.tree_map(same, (one, seen), (two, told))


def bare(leaf):
    """A PRNG key by its data."""
    return jr.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_weights_are_those_of_the_lagrangian_and_tell_columns_apart():
    for shape in ((6, 10), (10, 6)):
        A = np.random.default_rng(1).normal(size=shape)
        W = closed_form(A)
        gram = W.T @ A
        np.testing.assert_allclose(np.diag(gram), 1, atol=1e-12)
        # A Aᵀ wᵢ is a multiple of aᵢ.
        ahead = A @ A.T @ W
        factor = (ahead * A).sum(0) / (A * A).sum(0)
        np.testing.assert_allclose(ahead, factor * A, atol=1e-9)
        M = np.random.default_rng(2).normal(size=(shape[0], shape[0]))
        np.testing.assert_allclose(closed_form(M @ A).T @ (M @ A), gram, atol=1e-8)


def test_weights_by_linear_programs_are_the_least_coherent():
    A = np.array(SparseRecovery(rows=5, n=9, seed=3).shared.A)
    W = linear_program(A)
    np.testing.assert_allclose(np.diag(W.T @ A), 1, atol=1e-9)
    least = max(least_coherence(A, i) for i in range(9))
    assert coherence(W, A) == pytest.approx(least, rel=1e-6)
    assert coherence(closed_form(A), A) >= least - 1e-9


def least_coherence(A, i):
    """max_j |wᵀaⱼ| at its least with wᵀaᵢ = 1, by the dual program: another way to it."""
    # min t: ±wᵀaⱼ ≤ t, wᵀaᵢ = 1. Dual: max μ with Σ (u⁺ⱼ − u⁻ⱼ) aⱼ = μ aᵢ, Σ (u⁺ + u⁻) = 1, u ≥ 0.
    rest = np.delete(A, i, axis=1)
    m = rest.shape[1]
    equal = np.hstack([rest, -rest, -A[:, [i]]])
    equal = np.vstack([equal, np.append(np.ones(2 * m), 0)])
    right = np.append(np.zeros(len(A)), 1)
    found = linprog(
        np.append(np.zeros(2 * m), -1),
        A_eq=equal,
        b_eq=right,
        bounds=[(0, None)] * 2 * m + [(None, None)],
    )
    return -found.fun


PUBLISHED_WEIGHTS = Path(__file__).parents[3] / "shared" / "reference" / "sparse-recovery"


@pytest.mark.parametrize(
    ("name", "matrix", "apart"), [("hyperlista", "A", 1e-4), ("alista", "D", 3e-3)]
)
def test_weights_are_the_published_ones(name, matrix, apart):
    """HyperLISTA's by the formula, ALISTA's by projected gradient, whose diagonal is 0.9975."""
    path = PUBLISHED_WEIGHTS / f"{name}.npz"
    if not path.exists():
        pytest.skip("the published weights are not beside the repository")
    with np.load(path) as file:
        A, published = file[matrix].astype(np.float64), file["W"]
    W = closed_form(A)
    assert np.linalg.norm(W - published) <= apart * np.linalg.norm(published)
    gram = W.T @ A
    energy = np.sum(gram**2) - np.sum(np.diag(gram) ** 2)
    assert energy == pytest.approx({"hyperlista": 502.0490, "alista": 502.27}[name], abs=5e-3)


PAGE = Path(__file__).parents[2] / "docs" / "unrolled.md"


@pytest.mark.parametrize("name", ["lista-cp", "lista-cpss", "tilista", "alista"])
def test_the_reader_of_the_docs_solves_like_jax_without_it(name, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [block] = [block for block in blocks if "def read(" in block]
    assert len([line for line in block.splitlines() if line.strip()]) <= 20 and "jax" not in block
    opt = build(name, task=TASK, layers=LAYERS, **{} if name == "lista-cp" else {"p": 15.0})
    theta, rest = split_meta(opt)
    rng = np.random.default_rng(5)
    moved = lambda w: jnp.asarray(w * rng.uniform(0.5, 1.5, w.shape))
    opt = join_meta(jtu.tree_map(moved, theta), rest)
    save(tmp_path / "opt.safetensors", opt)
    exec(block, names := {})
    A, b, _ = problem()
    x = names["solve"](names["read"](tmp_path / "opt.safetensors"), A, b)
    np.testing.assert_allclose(x, path(opt)[-1], rtol=0, atol=1e-12)
    assert np.count_nonzero(x)


MATRIX = np.cos(np.arange(24.0) ** 2).reshape(4, 6)
BAD_MATRICES = {
    "a zero column": (MATRIX * (np.arange(6) != 2), r"column 2 of A is zero, .*leave it out"),
    "a tiny column": (MATRIX * np.where(np.arange(6) == 2, 1e-30, 1), r"column 2 of A is shorter"),
    "not finite": (
        np.where(np.arange(24).reshape(4, 6) == 3, np.nan, MATRIX),
        "not finite; clean the data",
    ),
    "infinite": (
        np.where(np.arange(24).reshape(4, 6) == 3, np.inf, MATRIX),
        "not finite; clean the data",
    ),
    "a vector": (MATRIX[0], r"must be a matrix \(rows, n\), got the shape \(6,\)"),
    "a stack": (MATRIX[None], r"got the shape \(1, 4, 6\)"),
    "empty": (np.zeros((0, 3)), r"got the shape \(0, 3\)"),
    "complex": (MATRIX + 1j, "must be a matrix of real numbers"),
    "texts": ([["1", "2"], ["3", "4"]], "must be a matrix of real numbers, got .*'1'"),
    "ragged": ([[1, 2], [3]], r"must be a matrix of real numbers, got \[\[1, 2\], \[3\]\]"),
    "nothing": (None, "must be a matrix of real numbers, got None"),
    "huge": (MATRIX * 1e200, r"up to 1e\+200, whose squares are out of the range of float64"),
}


@pytest.mark.parametrize("kind", BAD_MATRICES)
def test_a_matrix_that_cannot_be_meant_is_refused_in_one_sentence(kind):
    A, sentence = BAD_MATRICES[kind]
    with pytest.raises(ValueError, match=sentence) as refusal:
        ALISTA.from_dictionary(A)
    assert "\n" not in str(refusal.value) and str(refusal.value).startswith("ALISTA: ")


def test_units_of_a_matrix_do_not_matter_to_its_weights():
    small, large = (closed_form(MATRIX * scale) * scale for scale in (1e-150, 1e150))
    np.testing.assert_allclose(small, large, rtol=1e-12)


OTHERS = {
    "own matrices": (SparseRecovery(rows=4, n=6), "every problem of SparseRecovery has its own"),
    "no structure": (Quadratic(6), r"form Composite\(smooth, regularizer, lipschitz\)"),
    "no squares": (SparseLogistic(rows=4, n=6), r"form LeastSquares\(A, b\), got Logistic"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_task_that_it_cannot_be_made_for_is_refused(kind):
    task, sentence = OTHERS[kind]
    with pytest.raises(ValueError, match=sentence):
        ALISTA.from_task(task)


@pytest.mark.parametrize(
    ("rows", "n", "sentence"),
    [(4, 7, "for 6 unknowns, got a problem of 7"), (5, 6, r"shape \(4, 6\), got .*\(5, 6\)")],
)
def test_a_problem_of_another_shape_is_refused(rows, n, sentence):
    task, opt = SparseRecovery(rows=rows, n=n, seed=0), ALISTA.from_dictionary(MATRIX)
    with pytest.raises(ValueError, match=sentence):
        unroll(task, opt, begin(task, opt, KEY), 2, lambda s: ())


def test_parameters_that_are_no_vector_and_no_problem_are_refused():
    opt = ALISTA.from_dictionary(MATRIX)
    for params in ({"x": jnp.ones(6)}, jnp.ones((6, 1)), jnp.ones(())):
        with pytest.raises(ValueError, match=r"one vector x of shape \(n,\), got parameters of"):
            opt.init(params)
    with pytest.raises(ValueError, match="needs the problem that it solves"):
        opt.update(jnp.ones(6), opt.init(jnp.ones(6)), jnp.ones(6))
    with pytest.raises(ValueError, match="120 linear programs for 120 unknowns"):
        linear_program(np.ones((2, 120)))


@pytest.mark.parametrize(
    ("task", "sentence"),
    [("lasso-sparse", "give the task a seed"), ("quadratic", "needs a loss of the form Composite")],
)
def test_the_command_line_refuses_with_exit_2(task, sentence, tmp_path, capsys):
    words = ["train", "--opt", "alista", "--task", task, "--steps", "2"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 2
    *_, last = capsys.readouterr().err.strip().splitlines()
    assert last.startswith("steppe: ALISTA ") and sentence in last


def test_the_command_line_makes_the_network_for_the_matrix_of_the_task():
    opt, how = assemble(recipe("dm", opt="alista", unroll=4, horizon=4), TASK, key=KEY)
    np.testing.assert_array_equal(opt.W.value, ALISTA.from_task(TASK).W.value)
    assert how["task"] is TASK
