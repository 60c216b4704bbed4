"""LAMP before training is approximate message passing, written down once more in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.optimizer import split_meta
from steppe.optimizers.unrolled.lamp import ALPHA, LAMP
from tests.optimizers.unrolled.layers import measured, path, soft

ROWS, N, LAYERS = 8, 12, 6
A, TRUTH, B = measured(0, ROWS, N, 3, density=0.3)


def amp(W, alpha, b):
    """AMP of Donoho et al., with A in the residual and W back."""
    x, v, found = np.zeros(N), np.zeros(ROWS), []
    for _ in range(LAYERS):
        v = b - A @ x + np.sum(x != 0) / ROWS * v
        x = soft(x + W.T @ v, alpha * np.sqrt(np.mean(v**2)))
        found.append(x)
    return np.stack(found)


@pytest.mark.parametrize("options", [{}, {"weights": "A/L", "alpha": 0.4}])
def test_before_training_it_is_amp(options):
    opt = LAMP.from_dictionary(A, layers=LAYERS, **options)
    W = A / (1.001 * np.linalg.norm(A, 2) ** 2) if options else A
    expected = np.stack([amp(W, options.get("alpha", ALPHA), b) for b in B])
    found = path(opt, jnp.asarray(A), jnp.asarray(B), LAYERS)
    assert np.abs(expected[:, -1]).max() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_longer_columns_make_the_solution_shorter():
    """With A and b in other units, x is in other units and nothing else changes."""
    found, scaled = (
        path(LAMP.from_dictionary(s * A, layers=LAYERS), jnp.asarray(s * A), jnp.asarray(B), LAYERS)
        for s in (1.0, 50.0)
    )
    np.testing.assert_allclose(50 * scaled, found, rtol=0, atol=1e-12)


def test_it_has_as_many_numbers_as_published():
    opt = LAMP(256, 512)
    assert tree.size(split_meta(opt)[0]) == 2_097_168


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"alpha": -1.0}, "LAMP: alpha must be zero or positive, got -1.0. AMP takes 1.1402."),
        ({"weights": "W"}, "LAMP: weights is 'W', expected 'A' or 'A/L'."),
        ({"layers": 0}, "LAMP: layers must be at least 1, got 0."),
    ],
)
def test_what_it_cannot_start_with_is_refused(options, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        LAMP(ROWS, N, **options)
