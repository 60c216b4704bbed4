"""GLISTA against a loop over entries, with all numbers away from where they start."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.optimizer import split_meta
from steppe.optimizers.unrolled.glista import GATES, GLISTA
from steppe.optimizers.unrolled.thresholds import spared_counts
from tests.optimizers.unrolled.layers import measured, path

ROWS, N, LAYERS = 6, 10, 4
A, _, B = measured(0, ROWS, N, 3, density=0.4)
GAINS = {
    "relu": lambda z: max(0.0, 1 - max(0.0, z)),
    "inverse": lambda z: 0.2 / (0.001 + z),
    "exp": lambda z: np.exp(-z),
    "sigmoid": lambda z: 1 / (1 + np.exp(z)),
    "none": lambda z: 0.0,
}


def loop(opt, b):
    """The formulas, entry by entry."""
    W, theta, a, over, D = map(
        np.asarray, (opt.W, opt.thresholds, opt.gains, opt.overshoots, opt.scales)
    )
    counts = spared_counts(N, LAYERS, opt.p, opt.p_max)
    x, shrunk, found = [0.0] * N, [1.0] * N, []
    for k in range(LAYERS):
        u = [1 + a[k] * GAINS[opt.gate](D[k, i] * abs(x[i])) for i in range(N)]
        ux = [u[i] * x[i] for i in range(N)]
        r = [b[j] - sum(A[j, i] * ux[i] for i in range(N)) for j in range(ROWS)]
        z = [ux[i] + sum(W[k, j, i] * r[j] for j in range(ROWS)) for i in range(N)]
        biggest = sorted(range(N), key=lambda i: -abs(z[i]))[: counts[k]]
        after, taken = [], []
        for i in range(N):
            keep = i in biggest and abs(z[i]) > theta[k]
            new = z[i] if keep else np.sign(z[i]) * max(abs(z[i]) - theta[k], 0)
            before = theta[0] if k == 0 else theta[k - 1] * shrunk[i]
            o = 1 - over[k] * before / (abs(new - x[i]) + 0.1)
            after.append(o * new + (1 - o) * x[i])
            taken.append(0.0 if keep else 1.0)
        x, shrunk = after, taken
        found.append(x)
    return np.array(found)


@pytest.mark.parametrize("gate", GATES)
def test_layers_are_those_of_a_loop(gate):
    rng = np.random.default_rng(2)
    opt = GLISTA.from_dictionary(A, layers=LAYERS, gate=gate, p=20.0, p_max=50.0)
    where = lambda net: (net.W, net.thresholds, net.gains, net.overshoots, net.scales)
    moved = [
        jnp.asarray(np.asarray(leaf) * s)
        for leaf, s in zip(
            where(opt),
            (
                rng.uniform(0.8, 1.2, (LAYERS, ROWS, N)),
                rng.uniform(0.5, 1.5, LAYERS),
                rng.uniform(0.1, 0.3, LAYERS),
                rng.uniform(0.1, 0.3, LAYERS),
                rng.uniform(0.5, 2, (LAYERS, N)),
            ),
            strict=True,
        )
    ]
    opt = eqx.tree_at(where, opt, tuple(moved))
    found = path(opt, jnp.asarray(A), jnp.asarray(B), LAYERS)
    expected = np.stack([loop(opt, b) for b in B])
    assert len(np.unique(expected != 0)) == 2
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_it_has_as_many_numbers_as_published():
    assert tree.size(split_meta(GLISTA(256, 512))[0]) == 2_105_392


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gate": "tanh"}, "GLISTA: gate is 'tanh', expected one of"),
        ({"gain": float("nan")}, "GLISTA: gain must be a finite number, got nan"),
        ({"p": 101.0}, "GLISTA: p is in percent, from 0 to 100, got 101.0"),
    ],
)
def test_what_it_cannot_start_with_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        GLISTA(ROWS, N, **options)
