"""Rastrigin: the published forms against NumPy; the bound keeps f from going below 0."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.names import TASKS
from steppe.tasks.synthetic.equations import Equations
from steppe.tasks.synthetic.rastrigin import Rastrigin, Ripples

NAMES = ("rastrigin-dm", "rastrigin", "square-cos-dm")
DM, SCALE, SQUARE_COS = (dict(TASKS[name].arguments) for name in NAMES)


def parts(instance, x):
    """(A x − y, c, cos 2πx) of each instance."""
    A, y, c = (np.asarray(a) for a in (instance.bowl.W, instance.bowl.y, instance.c))
    return [(A[b] @ z - y[b], c[b], np.cos(2 * np.pi * z)) for b, z in enumerate(np.asarray(x))]


FORMS = {  # §9.2 and §9.3 of the specification, n = 2
    "dm": (DM, lambda r, c, w: r @ r / 2 - 10 * c @ w + 10 * 2),
    "square-cos": (SQUARE_COS, lambda r, c, w: r @ r - np.sum(c * 10 * w) + 10 * 2),
    "scale": (SCALE, lambda r, c, w: np.mean(r**2) / 2 - 10 * np.sum(c * w) + 10 * 2**2),
}


@pytest.fixture(scope="module")
def seen():
    """Of each form: instance, x₀ and loss. One program."""

    def one(arguments, key):
        task = Rastrigin(**arguments)
        key_instance, key_x = jr.split(key)
        instance = task.sample(key_instance)
        x = task.init(instance, key_x)
        return instance, x, task.loss(instance, (), key)(x)

    every = jax.jit(
        lambda key: {form: one(arguments, key) for form, (arguments, _) in FORMS.items()}
    )
    return jax.tree.map(np.asarray, every(jr.key(4)))


@pytest.mark.parametrize("form", FORMS)
def test_the_published_forms(form, seen):
    arguments, f = FORMS[form]
    instance, x, value = seen[form]
    assert x.shape == (arguments["instances"], 2)
    expected = np.mean([f(*part) for part in parts(instance, x)])
    assert float(value) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("form", "law", "start"), [("dm", (0, 1), 1), ("square-cos", (0.5, 1 / 12), 0.01)]
)
def test_the_laws_of_the_data(form, law, start, seen):
    instance, x, _ = seen[form]
    mean, variance = law
    drawn = np.concatenate([a.ravel() for a in jax.tree.leaves(instance)])
    assert drawn.mean() == pytest.approx(mean, abs=4 * np.sqrt(variance / drawn.size))
    assert drawn.var() == pytest.approx(variance, rel=4 * np.sqrt(2 / drawn.size))
    assert x.std() == pytest.approx(start, rel=4 * np.sqrt(1 / 2 / x.size))


def test_the_textbook_function_and_which_offsets_keep_f_from_going_below_zero():
    """A = I, y = 0: ½‖x‖² + 10 (offset − Σ cᵢ cos 2πxᵢ). With c = 1 the minimum is 0, at 0."""
    bowl = Equations(jnp.eye(2)[None], jnp.zeros((1, 2)))

    @jax.jit
    def look(x, c):
        f = lambda x, offset: Rastrigin(offset=offset).loss(Ripples(bowl, c), (), jr.key(0))(
            x[None]
        )
        slope = jax.grad(f)(x, "n")
        return {offset: f(x, offset) for offset in ("n", "n2", "bound")}, slope

    zero, x = np.zeros(2), np.array([0.3, -1.2])
    lows, slope = look(zero, jnp.ones((1, 2)))
    assert lows["n"] == 0 and lows["bound"] == 0 and not np.any(slope)
    expected = x @ x / 2 + 10 * np.sum(1 - np.cos(2 * np.pi * x))
    assert float(look(x, jnp.ones((1, 2)))[0]["n"]) == pytest.approx(expected, rel=1e-12)
    lows, _ = look(zero, jnp.array([[4.0, 1.0]]))
    assert lows["n"] < 0 and lows["n2"] < 0 and lows["bound"] == 0


def test_the_shifted_function_has_its_drawn_minimum_and_tells_it():
    task = Rastrigin(**dict(TASKS["rastrigin-shifted-10"].arguments))

    @jax.jit
    @jax.vmap
    def look(key):
        instance = task.sample(key)
        x, best, f = task.init(instance, key), task.target(instance), task.loss(instance, (), key)
        return x, best, f(x), f(best), jax.grad(f)(best)

    x, best, value, lowest, slope = jax.device_get(look(jr.split(jr.key(7), 200)))
    assert x.shape == best.shape == (200, 1, 10)
    z = (x - best)[:, 0]
    expected = np.sum(z**2 - 10 * np.cos(2 * np.pi * z) + 10, -1)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert np.abs(lowest).max() < 1e-12 and np.abs(slope).max() < 1e-12
    for drawn, end in ((x, 3), (best, 2)):  # uniform on ±end
        assert 0.99 * end < np.abs(drawn).max() < end
        assert drawn.var() == pytest.approx(end**2 / 3, rel=4 * np.sqrt(0.8 / drawn.size))
    assert Rastrigin(data="normal").target(Rastrigin(data="normal").sample(jr.key(0))) is None
    still = Rastrigin(data="textbook")
    assert not np.any(still.target(still.sample(jr.key(0))))


def test_ripples_have_the_period_that_was_drawn():
    """‖x‖² + 10 Σ (1 − cos 2πx/p) with p one of two, where x is measured from the optimum."""
    task = Rastrigin(**dict(TASKS["rastrigin-shifted"].arguments), period=(0.5, 2.0))

    @jax.jit
    @jax.vmap
    def look(key):
        instance = task.sample(key)
        x = task.init(instance, key)
        return instance.period, (x - instance.center)[0], task.loss(instance, (), key)(x)

    period, z, value = jax.device_get(look(jr.split(jr.key(1), 40)))
    assert set(period) == {0.5, 2.0}
    expected = np.sum(z**2 + 10 * (1 - np.cos(2 * np.pi * z / period[:, None])), -1)
    np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"reduce": "max"}, "reduce must be one of sum, mean, got 'max'"),
        ({"offset": "none"}, "offset must be one of n, n2, bound, got 'none'"),
        ({"factor": 0.0}, "factor must be positive, got 0.0"),
        ({"start": -1.0}, "start must not be negative, got -1.0"),
        ({"shift": -1.0}, "shift must not be negative, got -1.0"),
        ({"period": (1.0, 0.0)}, "period must be one or more positive numbers"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Rastrigin(**arguments)
