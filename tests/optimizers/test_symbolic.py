"""Update rules that are formulas: known rules, features, meta-gradients, files."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import steppe
from steppe.core import coordinatewise
from steppe.core.coordinatewise import joined, parted
from steppe.core.episode import begin, unroll
from steppe.core.expression import functions
from steppe.core.optimizer import AbstractOptimizer, join_meta, split_meta
from steppe.core.task import AbstractFormula
from steppe.estimators.bptt import BPTT
from steppe.estimators.imitation import Imitation
from steppe.interop.optax import to_optax
from steppe.objectives.trajectory import Trajectory
from steppe.optimizers.formulas import FLOATS, NAMES, inputs, plan
from steppe.optimizers.formulas import advance as averaged
from steppe.optimizers.guarded import Guarded
from steppe.optimizers.learned.coordinates import log_and_sign
from steppe.optimizers.learned.symbolic import Symbolic
from tests.optimizers.learning import meta_train
from tests.tasks.ellipse import Ellipse

N, STEPS = 6, 12
GRADS = np.random.default_rng(0).normal(size=(STEPS, N)) * 10.0 ** np.arange(-3, 3)
GRADS[:3, 0] = 0  # a coordinate that wakes up later


def run(tx, grads=GRADS):
    """All updates of a transformation on given gradients."""
    params = jnp.zeros(N)

    def step(state, g):
        u, state = tx.update(g, state, params)
        return state, u

    return jax.jit(lambda grads: jax.lax.scan(step, tx.init(params), grads)[1])(jnp.array(grads))


KNOWN = {
    "-0.01 * g": optax.sgd(0.01),
    "-0.1 * mom9": optax.sgd(0.01, momentum=0.9),
    "-0.001 * mn9_999": optax.adam(1e-3),
    "-0.01 * g / sqrt(ms9 + 1e-8)": optax.rmsprop(0.01),
    "-0.01 * m9 / (sqrt(v99) + 1e-8)": optax.adam(0.01, b2=0.99),
    "-0.01 * sign(0.9 * mom99[1] + 0.1 * g)": optax.lion(0.01, weight_decay=0.0),
}


@pytest.mark.parametrize("text", KNOWN)
def test_known_rules_are_formulas(text):
    ours, theirs = run(to_optax(Symbolic(text))), run(KNOWN[text])
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-16)


def test_inputs_are_what_they_are_called():
    """Every kind of input against a slow loop over the definition."""
    g = GRADS[:4, 1:]
    found = plan("+".join(["g", "mom95", "ms5", "m95", "v5", "mn9_999", "gn5", "size5", "sign7"]))
    state = [np.zeros(N - 1) for _ in found.averages]
    for row in g:
        state = averaged(found.averages, state, row)
    now = inputs(found, g[-1], state, 4.0, functions(np))

    def mean(beta, power):
        return sum((1 - beta) * beta ** (3 - k) * g[k] ** power for k in range(4))

    fair = lambda beta, power: mean(beta, power) / (1 - beta**4)
    size, sign = np.asarray(log_and_sign(g[-1], 5.0)), np.clip(g[-1] * np.exp(7), -1, 1)
    expected = {
        "g": g[-1], "mom95": mean(0.95, 1), "ms5": mean(0.5, 2), "m95": fair(0.95, 1),
        "v5": fair(0.5, 2), "gn5": g[-1] / (np.sqrt(fair(0.5, 2)) + 1e-8),
        "mn9_999": fair(0.9, 1) / (np.sqrt(fair(0.999, 2)) + 1e-8), "sign7": sign,
    }  # fmt: skip
    assert now.keys() == expected.keys() | {"size5"}
    for name, x in expected.items():
        np.testing.assert_allclose(now[name], x, rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(now["size5"], size[0], rtol=1e-5)


def test_lags_look_back_and_are_zero_before_the_first_step():
    u = run(to_optax(Symbolic("c0 * g[1] + g[3]", (2.0,))))
    expected = np.zeros_like(GRADS)
    expected[1:] += 2 * GRADS[:-1]
    expected[3:] += GRADS[:-3]
    np.testing.assert_allclose(u, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "floats"),
    [
        ("-0.01 * g", 0),
        ("mn95 + gn95 + m95 + v95 + mom95 + ms950", 2),  # shared by all of them
        ("mn95[3] + gn95[1] + mn95[2]", 2 + 4),
        ("size5[10] + sign5", 10),
        ("mn9_999", 2),
    ],
)
def test_state_is_averages_and_lags(text, floats):
    state = Symbolic(text).init(jnp.zeros(7)).rows
    assert sum(leaf.size for leaf in jax.tree.leaves(state)) == 7 * floats == 7 * plan(text).floats


def test_numbers_are_lifted_and_printed():
    opt = Symbolic("-0.012345 * tanh(1.3 * mn95[2]) / g^3")
    assert opt.formula == "c0 * tanh(c1 * mn95[2]) / g^3"
    assert opt.coefficients == (-0.012345, 1.3)
    assert opt.text(2) == "-0.012 * tanh(1.3 * mn95[2]) / g^3"
    assert opt.latex(2) == (
        r"\frac{-0.012 \cdot \tanh\left(1.3 \cdot \tilde{m}_{.95,\,t-2}\right)}{{g_{t}}^{3}}"
    )
    moved = eqx.tree_at(lambda opt: opt.theta, opt, jnp.array([1.0, -2.0]))
    np.testing.assert_allclose(moved.numbers, [-0.02469, -1.3])
    assert Symbolic(moved.text()).formula == opt.formula
    fixed = Symbolic("c0 * g / sqrt(ms9 + 1e-8)", (0.0,))
    assert fixed.formula == "c0 * g / sqrt(ms9 + 1e-08)"
    assert eqx.tree_at(lambda opt: opt.theta, fixed, jnp.ones(1)).numbers == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("g +",), "expected a number, a name"),
        (("-0.1 * mn",), "no input 'mn'; did you mean 'mn9'"),
        (("-0.1 * grad",), "no input 'grad'"),
        (("-0.1 * m_hat",), "no input 'm_hat'"),
        (("m95x",), "no input 'm95x'"),
        (("mn9_",), "no input 'mn9_'"),
        (("sign0",), "no input 'sign0'"),
        (("m" + "9" * 5000,), "no input 'm9"),
        (("c0 * g",), "1 coefficients, but coefficients has no numbers"),
        (("c0 * g", (1.0, 2.0)), "1 coefficients, but coefficients has 2 numbers"),
        (("g", (1.0,)), "0 coefficients, but coefficients has 1 numbers"),
        (("c0 * g", (np.nan,)), "coefficients must be a finite number, got nan"),
        (("c0 * g", ("1",)), "coefficients must be a finite number, got '1'"),
        (("c0 * g", 3.0), "coefficients must be a tuple of numbers, got 3.0"),
        (("c1 * g", (1.0, 2.0)), "c1 is there but c0 is not"),
        (("+".join(f"m{k}[100]" for k in range(11, 30)),), f"{FLOATS} at most"),
    ],
)
def test_what_is_no_rule_is_refused_in_one_sentence(arguments, words):
    with pytest.raises(ValueError) as caught:
        Symbolic(*arguments)
    said = str(caught.value)
    assert words in said and len(said) < 300 and said.isprintable(), said


def test_suggested_names_are_inputs():
    for name in NAMES:
        plan(name)


def test_meta_gradients_are_those_of_finite_differences():
    opt = Symbolic("-0.1 * tanh(1.3 * mn9[1] + gn99) - 0.1 * aq(g, abs(m5))")
    theta, rest = split_meta(opt)
    f = jax.jit(lambda theta: jnp.sum(run(to_optax(join_meta(theta, rest))) ** 2))
    grad = jax.jit(jax.grad(f))(theta).theta
    ahead = lambda k, h: eqx.tree_at(lambda opt: opt.theta, theta, jnp.zeros(3).at[k].set(h))
    slope = [(f(ahead(k, 1e-5)) - f(ahead(k, -1e-5))) / 2e-5 for k in range(3)]
    np.testing.assert_allclose(grad, slope, rtol=1e-7)


def test_rows_without_a_finite_update_add_nothing_to_the_meta_gradient():
    opt = Symbolic("c0 * g / sqrt(ms9)", (-0.1,))
    params, g = jnp.ones(5), jnp.arange(5.0)  # the first is 0/0

    def f(theta):
        u, _ = join_meta(theta, split_meta(opt)[1]).update(g, opt.init(params), params)
        return jnp.sum(u[1:])

    grad = jax.grad(f)(split_meta(opt)[0]).theta
    np.testing.assert_allclose(grad, [-0.4 * np.sqrt(10)], rtol=1e-5)


TREE = {"a": (2, 3), "b": (), "c": (5,), "d": (0,), "e": (2, 1)}


@pytest.fixture
def tensors_alone(monkeypatch):
    """Tensors of 5 numbers and more are parts of their own, as those of thousands are."""
    monkeypatch.setattr(coordinatewise, "LARGE_TENSOR", 5)


def test_large_tensors_are_parts_of_their_own(tensors_alone):
    opt = Symbolic("-0.1 * tanh(mn9[2]) - 0.3 * gn99[1] * m5")
    params = {name: jnp.ones(shape) for name, shape in TREE.items()}
    flat = lambda tree: jnp.concatenate([x.ravel() for x in jax.tree.leaves(tree)])
    state, alone = opt.init(params), opt.init(jnp.ones(4))  # one part, as of a small model
    assert [part.past[0].shape for part in state.rows] == [(1, 6), (1, 5), (1, 3)]
    together = opt.init(jnp.ones(14))
    for t in range(4):
        g = {
            name: jnp.sin(x + t + jnp.arange(x.size).reshape(x.shape)) for name, x in params.items()
        }
        u, state = opt.update(g, state, params)
        v, together = opt.update(flat(g), together, jnp.ones(14))
        np.testing.assert_allclose(flat(u), v, rtol=1e-13)
    rows = joined(opt, state.rows, params)
    for x, y in zip(jax.tree.leaves(rows), jax.tree.leaves(together.rows), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-13)
    assert eqx.tree_equal(parted(opt, rows, params), state.rows)
    for other in (alone, together):
        with pytest.raises(ValueError, match="belongs to other parameters"):
            opt.update(params, other, params)
    with pytest.raises(ValueError, match=r"6 × 5 × 3 .*9 × 5 × 3.*call init"):
        opt.update(g | {"a": jnp.ones((3, 3))}, state, params | {"a": jnp.ones((3, 3))})


class Tensors(AbstractFormula):
    """A bowl whose parameters are several tensors."""

    def sample(self, key):
        return jr.uniform(key, ())

    def init(self, instance, key):
        return {name: jr.normal(key, shape) for name, shape in TREE.items()}

    def loss(self, instance, batch, key):
        square = lambda x: jnp.sum((x - instance) ** 2 * jnp.arange(1, 1 + x.size).reshape(x.shape))
        return lambda params: sum(map(square, jax.tree.leaves(params)))

    def target(self, instance):
        return None

    def metrics(self, params, instance, batch, key):
        return {}


class Plain(AbstractOptimizer):
    """Hides that `base` is coordinatewise, so that the unroll itself is differentiated."""

    base: Symbolic

    def init(self, params, *, key=None):
        return self.base.init(params, key=key)

    def update(self, grads, state, params, **extra):
        return self.base.update(grads, state, params, **extra)


@pytest.mark.parametrize("remat", [False, True])
def test_replay_of_parts_is_the_gradient_through_the_unroll(remat, tensors_alone):
    opt, task, key = Symbolic("-0.1 * g / sqrt(ms5) - 0.2 * tanh(2 * mn9[1])"), Tensors(), jr.key(0)

    def gradient(opt):
        estimator = BPTT(2, 3, 8, remat=remat)
        state = estimator.init(task, opt, Trajectory(), key=key)
        run = eqx.filter_jit(lambda state: estimator(task, opt, state, Trajectory(), key=key))
        return [run(run(state)[1])[0]]

    (fast,), (slow,) = gradient(opt), gradient(Plain(opt))
    np.testing.assert_allclose(fast.theta, slow.base.theta, rtol=1e-10)


def test_imitation_of_parts_finds_the_teacher(tensors_alone):
    opt, task, key = Symbolic("-0.01 * g / sqrt(ms9) - 0.01 * g[1]"), Tensors(), jr.key(0)
    estimator = Imitation(Symbolic("-0.02 * g / sqrt(ms9)"), 2, 3, 6)
    state = estimator.init(task, opt, Trajectory(), key=key)
    run = eqx.filter_jit(lambda opt, state: estimator(task, opt, state, Trajectory(), key=key))
    grads, state, stats = run(opt, state)
    ahead = lambda h: eqx.tree_at(lambda o: o.theta, opt, jnp.array([h, 0.0]))
    start = estimator.init(task, opt, Trajectory(), key=key)
    slope = (run(ahead(1e-5), start)[2].loss - run(ahead(-1e-5), start)[2].loss) / 2e-5
    assert float(grads.theta[0]) == pytest.approx(float(slope), rel=1e-6)
    assert bool(jnp.isfinite(stats.loss)) and all(
        jnp.isfinite(x).all() for x in jax.tree.leaves(eqx.filter(state, eqx.is_inexact_array))
    )


def test_meta_training_lowers_the_loss_and_the_result_is_saved(tmp_path):
    opt = Symbolic("-0.05 * tanh(0.5 * mn9) - 0.01 * g[1]")
    trained, losses = meta_train(opt, Ellipse(), length=3)
    assert float(losses[-1]) < 0.9 * float(losses[0])
    assert all(abs(trained.theta) > 1e-3)
    steppe.save(tmp_path / "opt", trained, task="ellipse")
    assert eqx.tree_equal(steppe.load(tmp_path / "opt"), trained)
    assert steppe.manifest(tmp_path / "opt")["hyper"] == {
        "formula": "c0 * tanh(c1 * mn9) - c2 * g[1]", "coefficients": [-0.05, 0.5, 0.01],
    }  # fmt: skip


def test_sampled_coordinates_train_it_too():
    estimator = BPTT(2, 3, 6, rows=2)
    trained, history = steppe.meta_train(
        Ellipse(), Symbolic("-0.01 * mn9"), estimator=estimator, objective=Trajectory(),
        meta_tx=optax.adam(0.1), steps=3, key=jr.key(0),
    )  # fmt: skip
    assert float(trained.theta[0]) > 0.1 and history


def test_a_guard_keeps_a_formula_that_climbs_from_climbing():
    climbs, descends = Symbolic("0.1 * mn9"), Symbolic("-0.1 * g")
    task, key = Ellipse(), jr.key(0)
    final = lambda opt: unroll(task, opt, begin(task, opt, key), 8, value)[1][-1]
    value = lambda step: step.problem.value(step.after.params)
    assert final(Guarded(climbs, descends)) < 0.5 * final(climbs)
