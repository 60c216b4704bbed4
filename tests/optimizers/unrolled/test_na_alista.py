"""NA-ALISTA: ALISTA before training, and one layer of its LSTM in NumPy."""

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from steppe.core import tree
from steppe.core.optimizer import split_meta
from steppe.optimizers.unrolled.coupled import ALISTA
from steppe.optimizers.unrolled.na_alista import NAALISTA
from steppe.optimizers.unrolled.thresholds import spared_counts
from tests.optimizers.unrolled.layers import measured, path

ROWS, N, LAYERS, HIDDEN = 6, 10, 3, 4
A, _, B = measured(0, ROWS, N, 2, density=0.4)


def made(**options):
    return NAALISTA.from_dictionary(A, layers=LAYERS, hidden=HIDDEN, key=jr.key(0), **options)


def test_without_its_lstm_it_is_alista():
    opt = made(p=20.0)
    quiet = eqx.tree_at(lambda net: net.head.w, opt, jnp.zeros_like(opt.head.w))
    twin = ALISTA.from_dictionary(A, layers=LAYERS, p=20.0)
    found, expected = (path(net, jnp.asarray(A), jnp.asarray(B), LAYERS) for net in (quiet, twin))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert np.abs(path(opt, jnp.asarray(A), jnp.asarray(B), LAYERS) - expected).max() > 1e-3


def test_layers_are_those_of_the_published_formulas():
    opt = made(p=20.0, p_max=40.0)
    W, usual = np.asarray(opt.W.value), np.asarray(opt.usual.value)
    gates = [np.asarray(x) for x in (opt.lstm.w_gates, opt.lstm.b_gates)]
    sigmoid = lambda z: 1 / (1 + np.exp(-z))
    counts = spared_counts(N, LAYERS, 20.0, 40.0)
    for b, found in zip(B, path(opt, jnp.asarray(A), jnp.asarray(B), LAYERS), strict=True):
        x, h, c = np.zeros(N), np.asarray(opt.h)[:, 0], np.asarray(opt.c)[:, 0]
        for k in range(LAYERS):
            r = A @ x - b
            back = W.T @ r
            seen = (np.array([np.abs(r).sum(), np.abs(back).sum()]) - usual[0]) / usual[1]
            i, j, f, o = np.split(np.concatenate([seen, h]) @ gates[0] + gates[1], 4)
            c = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(j)
            h = sigmoid(o) * np.tanh(c)
            mixed = np.maximum(c @ np.asarray(opt.mixing.w) + np.asarray(opt.mixing.b), 0)
            gamma, theta = np.log1p(np.exp(mixed @ np.asarray(opt.head.w) + np.asarray(opt.head.b)))
            z = x - gamma * back
            keep = np.zeros(N, bool)
            keep[np.argsort(-np.abs(z))[: counts[k]]] = True
            small = np.sign(z) * np.maximum(np.abs(z) - theta, 0)
            x = np.where(keep & (np.abs(z) > theta), z, small)
            np.testing.assert_allclose(found[k], x, rtol=0, atol=1e-12)


def test_its_numbers_do_not_grow_with_the_layers():
    count = lambda layers: tree.size(
        split_meta(NAALISTA(2, 3, layers, hidden=HIDDEN, key=jr.key(0)))[0]
    )
    gates = (2 + HIDDEN + 1) * 4 * HIDDEN
    assert count(2) == count(9) == gates + HIDDEN * (HIDDEN + 1) + 2 * (HIDDEN + 1) + 2 * HIDDEN


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hidden": 0}, "NAALISTA: hidden must be at least 1, got 0."),
        ({"threshold": 0.0}, "NAALISTA: threshold must be positive, got 0.0."),
        ({"density": 2.0}, r"NAALISTA: density must be in \(0, 1\], got 2.0."),
    ],
)
def test_what_it_cannot_start_with_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        NAALISTA(ROWS, N, **options, key=jr.key(0))
