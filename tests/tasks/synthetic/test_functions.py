"""Formula: textbook values, minima where the table has them, starts in their box."""

import math

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.synthetic.functions import FUNCTIONS, Formula

e, pi = math.e, math.pi
cos, sin, exp = np.cos, np.sin, np.exp
B, C, T = 5.1 / (4 * pi**2), 5 / pi, 1 / (8 * pi)
TEXTBOOK = {  # as in tables of test functions, with the constants of the published set
    "ackley": lambda x, y: (
        -20 * exp(-0.2 * np.sqrt((x**2 + y**2) / 2))
        - exp((cos(2 * pi * x) + cos(2 * pi * y)) / 2) + e + 20
    ),
    "beale": lambda x, y: sum(
        (c - x + x * y**k) ** 2 for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))
    ),
    "booth": lambda x, y: (x + 2 * y - 7) ** 2 + (2 * x + y - 5) ** 2,
    "branin": lambda x, y: (y - B * x**2 + C * x - 6) ** 2 + 10 * (1 - T) * cos(x) + 10,
    "log-sum-exp": lambda x, y: np.log(
        exp(x + 3 * y - 0.1) + exp(x - 3 * y - 0.1) + exp(-x - 0.1) + 1
    ),
    "matyas": lambda x, y: 0.26 * (x**2 + y**2) - 0.48 * x * y,
    "michalewicz": lambda x, y: (
        2 - sum(sin(z) * sin(i * z**2 / pi) ** 10 for i, z in ((1, x), (2, y)))
    ),
    "rosenbrock": lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    "styblinski-tang": lambda x, y: sum(z**4 - 16 * z**2 + 5 * z for z in (x, y)) / 2 + 80,
}  # fmt: skip
BOXES = {
    "ackley": ([-32.768] * 2, [32.768] * 2),
    "beale": ([-4.5] * 2, [4.5] * 2),
    "booth": ([-10] * 2, [10] * 2),
    "branin": ([-5, 0], [10, 15]),
    "matyas": ([-10] * 2, [10] * 2),
    "michalewicz": ([0, 0], [pi, pi]),
    "rosenbrock": ([-5] * 2, [10] * 2),
    "styblinski-tang": ([-5] * 2, [5] * 2),
}


@pytest.fixture(scope="module")
def looked():
    """All functions, compiled as one program: name → value, gradient, metrics at (500, 2) starts,
    and at the minimisers of the table."""

    def look(name, x):
        task = Formula(name)
        value, slope = jax.value_and_grad(task.loss((), (), jr.key(0)))(x)
        return value, slope, task.metrics(x, (), (), jr.key(0))

    @jax.jit
    def everything(keys):
        out = {}
        for name, row in FUNCTIONS.items():
            starts = jax.vmap(lambda key, name=name: Formula(name).init((), key))(keys)
            x = jnp.concatenate([jnp.array(row.at), starts])
            out[name] = x, jax.vmap(lambda x, name=name: look(name, x))(x)
        return out

    return jax.tree.map(np.asarray, everything(jr.split(jr.key(0), 500)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_are_those_of_the_textbook(name, looked):
    x, (value, _, _) = looked[name]
    np.testing.assert_allclose(value, TEXTBOOK[name](*x.T), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_gradient_vanishes_at_the_minimisers_and_nothing_is_lower(name, looked):
    _, (value, slope, metrics) = looked[name]
    minima = len(FUNCTIONS[name].at)
    np.testing.assert_allclose(slope[:minima], 0, atol=1e-9)
    np.testing.assert_allclose(value[:minima], FUNCTIONS[name].lowest, rtol=1e-12, atol=1e-13)
    assert np.all(metrics["gap"] > -1e-12) and np.all(value >= 0)
    np.testing.assert_allclose(metrics["distance"][:minima], 0, atol=1e-12)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_grid_holds_nothing_lower_than_the_table_says(name, looked):
    """So the minima are global, at least on the box of the starts at a fineness of 1/500."""
    low, high = BOXES.get(name, ([-3, -3], [3, 3]))
    x, y = np.meshgrid(*(np.linspace(a, b, 501) for a, b in zip(low, high, strict=True)))
    assert TEXTBOOK[name](x, y).min() >= FUNCTIONS[name].lowest - 1e-12


@pytest.mark.parametrize("name", BOXES)
def test_starts_fill_their_box(name, looked):
    starts = looked[name][0][len(FUNCTIONS[name].at) :]
    low, high = map(np.array, BOXES[name])
    u = (starts - low) / (high - low)
    assert np.all(u >= 0) and np.all(u <= 1)
    np.testing.assert_allclose(u.mean(0), 0.5, atol=4 / np.sqrt(12 * 500))
    np.testing.assert_allclose(u.var(0), 1 / 12, rtol=0.2)


def test_distance_is_to_the_nearest_of_three_minima(looked):
    x, (_, _, metrics) = looked["branin"]
    at = np.array(FUNCTIONS["branin"].at)
    expected = np.linalg.norm(x[:, None] - at[None], axis=-1).min(-1)
    np.testing.assert_allclose(metrics["distance"], expected, rtol=1e-12)


def test_ackley_keeps_its_sign_in_float32():
    """20 + e − 20 − e would round to a number below 0, and its logarithm to NaN."""
    x = jnp.array([1e-7, -1e-7], jnp.float32)
    loss = jax.jit(lambda x: Formula("ackley").loss((), (), jr.key(0))(x))
    assert 0 < loss(x) < 1e-5


def test_a_wrong_name_is_refused():
    with pytest.raises(ValueError, match=r"function must be one of ackley, .*, got 'rosenbrok'"):
        Formula("rosenbrok")
