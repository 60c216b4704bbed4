"""Update rules that are formulas: known rules, features, meta-gradients, files."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import steppe
from steppe.core.episode import begin, unroll
from steppe.core.expression import functions
from steppe.core.optimizer import join_meta, split_meta
from steppe.estimators.bptt import BPTT
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


@pytest.mark.parametrize("block", [2, 1024])
def test_rows_without_a_finite_update_add_nothing_to_the_meta_gradient(block):
    """5 rows in blocks of 2: one row of padding, in which the rule is 0/0."""
    opt = Symbolic("c0 * g / sqrt(ms9)", (-0.1,), block=block)
    params, g = jnp.ones(5), jnp.arange(1.0, 6.0)

    def f(theta):
        u, _ = join_meta(theta, split_meta(opt)[1]).update(g, opt.init(params), params)
        return jnp.sum(u)

    grad = jax.grad(f)(split_meta(opt)[0]).theta
    np.testing.assert_allclose(grad, [-0.5 * np.sqrt(10)], rtol=1e-5)


def test_meta_training_lowers_the_loss_and_the_result_is_saved(tmp_path):
    opt = Symbolic("-0.05 * tanh(0.5 * mn9) - 0.01 * g[1]")
    trained, losses = meta_train(opt, Ellipse(), length=3)
    assert float(losses[-1]) < 0.9 * float(losses[0])
    assert all(abs(trained.theta) > 1e-3)
    steppe.save(tmp_path / "opt", trained, task="ellipse")
    assert eqx.tree_equal(steppe.load(tmp_path / "opt"), trained)
    assert steppe.manifest(tmp_path / "opt")["hyper"] == {
        "formula": "c0 * tanh(c1 * mn9) - c2 * g[1]", "coefficients": [-0.05, 0.5, 0.01],
        "block": opt.block,
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
