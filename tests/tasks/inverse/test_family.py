"""Families of one's own: parts as they are given, L as it is, and what solves them."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import steppe
from steppe.core.episode import begin
from steppe.core.loss import LeastSquares, Logistic
from steppe.core.regularizer import L1, Box, Zero
from steppe.core.rollout import rollout
from steppe.optimizers.classic.proximal import FISTA, ISTA
from steppe.optimizers.learned.math_l2o import MathL2O
from steppe.tasks import Family
from steppe.tasks.inverse.family import curvature
from steppe.tasks.inverse.optimum import optimum

KEY = jr.key(2)
A = np.random.default_rng(0).standard_normal((8, 5))
draw = lambda key: jr.normal(key, (8,))
squares = lambda b: LeastSquares(jnp.asarray(A), b)
FAMILIES = {
    "least squares": lambda: Family(draw, squares, L1(0.5)),
    "a function of a tree": lambda: Family(
        draw,
        lambda b: lambda p: jnp.sum(jnp.sqrt(1 + (A @ p["x"] + p["shift"] - b) ** 2)),
        L1(0.5),
        start={"x": jnp.zeros(5), "shift": jnp.zeros(())},
    ),
    "a weight for each problem": lambda: Family(
        draw, squares, lambda b: L1(0.1 * jnp.max(jnp.abs(A.T @ b)))
    ),
    "no regularizer": lambda: Family(draw, squares),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_classical_and_learned_solvers_come_to_the_optimum(name):
    task = FAMILIES[name]()
    first = begin(task, ISTA(), KEY)
    loss = task.loss(first.instance, (), KEY)
    least = optimum(loss, start=first.params)
    assert least.proven == (name in ("least squares", "a weight for each problem"))
    value = lambda episode: task.loss(episode.instance, (), KEY)(episode.params)
    run = lambda opt, steps: float(
        jax.jit(lambda key: rollout(task, opt, key, steps, value).looks)(KEY)
    )
    assert run(FISTA(restart=True), 800) == pytest.approx(least.value, rel=1e-9)
    assert (
        least.value
        < run(MathL2O(hidden=(2,), monotone=True, key=KEY), 20)
        < float(loss(first.params))
    )


def test_data_are_drawn_and_L_is_that_of_the_parts():
    task = FAMILIES["least squares"]()
    one, two = (task.sample(key) for key in jr.split(KEY))
    assert not np.array_equal(one.data, two.data)
    assert float(one.lipschitz) == pytest.approx(np.linalg.norm(A, 2) ** 2)
    labels = lambda key: jnp.round(jr.uniform(key, (8,)))
    odds = Family(labels, lambda y: Logistic(jnp.asarray(A), y), L1(0.1))
    assert float(odds.sample(KEY).lipschitz) == pytest.approx(np.linalg.norm(A, 2) ** 2 / 32)
    assert float(Family(draw, squares, lipschitz=99.0).sample(KEY).lipschitz) == 99
    own = Family(draw, squares, lipschitz=lambda b: 7 + 0 * b[0])
    assert float(own.sample(KEY).lipschitz) == 7
    assert isinstance(Family(draw, squares).loss(one, (), KEY).regularizer, Zero)
    known = Family(draw, squares, truth=lambda b: b[:5]).loss(one, (), KEY)
    assert np.array_equal(known.truth, one.data[:5])


def test_the_estimate_of_L_is_the_largest_curvature_of_a_quadratic():
    top = np.linalg.norm(A, 2) ** 2
    f = lambda x: jnp.sum((A @ x) ** 2) / 2
    assert float(curvature(f, jnp.zeros(5), KEY)) == pytest.approx(top, rel=1e-3)
    task = Family(lambda key: (), lambda _: f, start=jnp.zeros(5))
    assert top < float(task.sample(KEY).lipschitz) < 1.2 * top


@pytest.mark.slow
def test_it_is_trained_on_like_any_other():
    opt, history = steppe.meta_train(
        FAMILIES["least squares"](),
        MathL2O(hidden=(2,), key=KEY),
        estimator=steppe.BPTT(episodes=2, length=2, horizon=4),
        steps=2,
        objective=steppe.Trajectory(),
        meta_tx=optax.adam(0.01),
        key=KEY,
    )
    assert isinstance(opt, MathL2O) and history


vector = jnp.zeros(5)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ((jnp.ones(3), squares), TypeError, "data must be a function, got Array"),
        ((draw, LeastSquares), TypeError, "missing 1 required positional argument"),
        ((lambda key: {"a": "b"}, squares), TypeError, "data has 'b', expected arrays and numbers"),
        ((draw, squares, None, None, None, 3), TypeError, "truth must be a function, got int"),
        (
            (draw, squares, None, None, None, jnp.sum),
            ValueError,
            r"truth is \(\), expected",
        ),
        ((draw, lambda b: b), TypeError, "A loss must be a function of the parameters, got"),
        ((draw, lambda b: jnp.sum), ValueError, "does not tell how many unknowns there are; give"),
        ((draw, squares, 0.1), TypeError, "the regularizer must be one of .* such as L1"),
        ((draw, squares, jnp.abs), TypeError, "the regularizer must be one of"),
        ((draw, squares, None, {"x": 1}), ValueError, "Family: start has the int 1 at"),
        ((draw, squares, Box(1.0, 2.0)), ValueError, "at the start the smooth part is .*start="),
        ((draw, lambda b: lambda x: x, None, vector), ValueError, "expected one number; sum"),
        ((draw, lambda b: jnp.argmax, None, vector), ValueError, "expected one number; sum"),
        ((draw, lambda b: lambda x: jnp.log(-x[0]), None, vector + 1), ValueError, "part is nan"),
        ((draw, lambda b: jnp.sum, None, vector), ValueError, "lipschitz must be positive, got 0"),
        ((draw, squares, None, None, -1.0), ValueError, "lipschitz must be positive, got -1"),
        ((draw, squares, None, None, vector), ValueError, r"lipschitz must be one number, got the"),
        (
            (draw, lambda b: LeastSquares(jnp.ones((7, 5)), b)),
            ValueError,
            r"LeastSquares: A is \(7, 5\) and b is \(8,\), expected \(rows, n\) and \(rows,\)",
        ),
        (
            (draw, lambda b: Logistic(jnp.ones(5), b)),
            ValueError,
            r"Logistic: A is \(5,\) and y is \(8,\)",
        ),
        (
            (draw, lambda b: LeastSquares(jnp.full((8, 5), jnp.nan), b)),
            ValueError,
            "the smooth part is nan",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_a_sentence(given, error, words):
    with pytest.raises(error, match=words) as refusal:
        Family(*given)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("kind", [LeastSquares, Logistic])
@pytest.mark.parametrize("A", [np.ones((3, 4), int), np.ones((3, 4), bool), np.ones((3, 4)) + 1j])
def test_a_matrix_that_is_not_of_real_numbers_is_refused_where_it_is_given(kind, A):
    with pytest.raises(ValueError, match=f"^{kind.__name__}: A is of {A.dtype}, expected an array"):
        kind(jnp.asarray(A), jnp.ones(3))
    with pytest.raises(ValueError, match="A is of list, expected an array of real numbers"):
        kind([[1.0, 2.0]], jnp.ones(1))
