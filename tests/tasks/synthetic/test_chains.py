"""Chain: each form against a slow loop; where its gradients vanish; the law of its batches."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.synthetic.chains import FORMS, Chain

N, ROWS = 4, 30


def slow(form, x, c):
    rest = range(1, len(x))
    if form == "min-max-well":
        return max(z**2 for z in x) + 1 / min(z**2 for z in x) - 2
    if form == "dependency-chain":
        return sum(x[0] ** 2 + x[i] ** 2 / (x[i - 1] ** 2 + 1e-6) for i in rest)
    if form == "outward-snake":
        bends = sum(c[i] * (x[i] - np.pi * np.cos(x[i - 1])) ** 2 for i in rest)
        return c[0] / (np.sqrt(sum(z**2 for z in x)) + 1e-6) + bends
    return sum(c[i] * x[i] ** 2 for i in range(len(x)))


@pytest.fixture(scope="module")
def seen():
    """Of each form: x, 400 batches, whole, value and gradient on the first batch. One program."""

    def one(form, key):
        task = Chain(form, N, ROWS)
        x = task.init((), key)
        keys = jr.split(key, 400)
        batches = jax.vmap(lambda key: task.batch((), key))(keys)
        c = jax.tree.map(lambda batch: batch[0], batches)
        value, slope = jax.value_and_grad(task.loss((), c, key))(x)
        return x, batches, task.full_batch((), split="test"), value, slope

    every = jax.jit(lambda key: {form: one(form, key) for form in FORMS})
    return jax.tree.map(np.asarray, every(jr.key(5)))


@pytest.mark.parametrize("form", FORMS)
def test_the_loss_equals_a_slow_loop(form, seen):
    x, batches, _, value, _ = seen[form]
    c = batches[0] if len(batches) else ()
    assert float(value) == pytest.approx(slow(form, x, c), rel=1e-10)


def test_only_the_largest_and_the_smallest_have_a_gradient_in_the_well(seen):
    x, _, _, _, slope = seen["min-max-well"]
    assert set(np.flatnonzero(slope)) == {np.argmax(np.abs(x)), np.argmin(np.abs(x))}


@pytest.mark.parametrize(
    ("form", "x", "lowest"),
    [
        ("min-max-well", [1.0, -1.0, 1.0, 1.0], 1e-12),
        ("dependency-chain", [0.0] * 4, 0.0),
        ("projection-quadratic", [0.0] * 4, 0.0),
    ],
)
def test_the_lowest_value_is_where_the_docstring_says(form, x, lowest):
    task = Chain(form, N, ROWS)
    c = task.full_batch((), split="train")
    assert float(task.loss((), c, jr.key(0))(jnp.array(x))) == pytest.approx(lowest, rel=1e-3)


def test_the_snake_falls_towards_infinity():
    """Along the path xᵢ = π cos xᵢ₋₁ only the first term is left: x₀ may grow for ever."""
    task = Chain("outward-snake", N, ROWS)

    @jax.jit
    def along(start):
        x = [start]
        for _ in range(N - 1):
            x.append(jnp.pi * jnp.cos(x[-1]))
        return task.loss((), task.full_batch((), split="train"), jr.key(0))(jnp.stack(x))

    near, far = along(100.0), along(10_000.0)
    assert float(near) == pytest.approx(15 / 100, rel=0.01)
    assert float(far) == pytest.approx(15 / 10_000, rel=0.01)


def test_batches_have_the_law_of_summed_rows_and_whole_its_mean(seen):
    """Sums of 30 fair coins, and χ² with 30 degrees of freedom."""
    for form, mean, variance in (
        ("outward-snake", ROWS / 2, ROWS / 4),
        ("projection-quadratic", ROWS, 2 * ROWS),
    ):
        _, c, whole, _, _ = seen[form]
        np.testing.assert_allclose(c.mean(0), mean, atol=4 * np.sqrt(variance / len(c)))
        np.testing.assert_allclose(c.var(0), variance, rtol=4 * np.sqrt(3 / len(c)))
        np.testing.assert_array_equal(whole, np.full(N, mean))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"form": "chain"}, "form must be one of min-max-well, .*, got 'chain'"),
        ({"n": 1}, "n must be at least 2, got 1"),
        ({"rows": 0}, "rows must be at least 1, got 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Chain(**arguments)
