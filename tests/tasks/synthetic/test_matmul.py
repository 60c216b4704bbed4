"""Matmul: Strassen's algorithm has loss 0; elsewhere the loss is that of least squares."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.tasks.synthetic.matmul import Matmul, answers

# The seven products of Strassen (1969): (combination of a) x (combination of b), entries
# 11, 12, 21, 22.
STRASSEN = [
    ([1, 0, 0, 1], [1, 0, 0, 1]),
    ([0, 0, 1, 1], [1, 0, 0, 0]),
    ([1, 0, 0, 0], [0, 1, 0, -1]),
    ([0, 0, 0, 1], [-1, 0, 1, 0]),
    ([1, 1, 0, 0], [0, 0, 0, 1]),
    ([-1, 0, 1, 0], [1, 1, 0, 0]),
    ([0, 1, 0, -1], [0, 0, 1, 1]),
]


@pytest.fixture(scope="module")
def look():
    """(A, B) → value and gradient of the problem with n = 2, k = 7."""
    return jax.jit(jax.value_and_grad(lambda params: Matmul(2, 7).loss((), (), jr.key(0))(params)))


def test_strassen_multiplies(look):
    A, B = (jnp.array(np.array(part, float).T) for part in zip(*STRASSEN, strict=True))
    value, slope = look((A, B))
    assert abs(value) < 1e-24
    np.testing.assert_allclose(jnp.stack(slope), 0, atol=1e-10)


def test_the_loss_is_what_least_squares_leaves(look, getkey):
    A, B = params = Matmul(2, 7).init((), getkey())
    P = np.array([np.asarray(A)[i] * np.asarray(B)[j] for i in range(4) for j in range(4)])
    T = np.asarray(answers(2))
    left = T - P @ np.linalg.lstsq(P, T)[0]
    value, _ = look(params)
    assert float(value) == pytest.approx(np.sum(left**2), rel=1e-9)


def test_answers_are_products_of_unit_matrices():
    T = np.asarray(answers(2)).reshape(4, 4, 2, 2)
    for i in range(4):
        for j in range(4):
            E_i, E_j = np.eye(4)[i].reshape(2, 2), np.eye(4)[j].reshape(2, 2)
            np.testing.assert_array_equal(T[i, j], E_i @ E_j)


def test_columns_start_on_the_unit_sphere(getkey):
    for factor in Matmul(2, 7).init((), getkey()):
        assert factor.shape == (4, 7)
        np.testing.assert_allclose(jnp.linalg.norm(factor, axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"n": 1}, "n must be at least 2, got 1"),
        ({"n": 2, "k": 9}, "k is 9, expected n² ≤ k ≤ n³, from 4 to 8 multiplications"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Matmul(**arguments)
