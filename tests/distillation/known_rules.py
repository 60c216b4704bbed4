"""Hand-made rules on noisy quadratics, recorded: what a search should find again."""

import numpy as np

START, BETA = 20, 0.9  # rows from this step on, when all lags are there


def history(seed, runs=24, steps=60, dims=6):
    """(g, m̂, v̂), each (steps, runs, dims), of Adam on quadratics of many curvatures."""
    draw = np.random.default_rng(seed)
    h = 10 ** draw.uniform(-2, 1, (runs, dims))
    x = draw.normal(size=(runs, dims))
    m, v, seen = np.zeros_like(x), np.zeros_like(x), []
    for t in range(1, steps + 1):
        g = h * x + 0.1 * h * draw.normal(size=x.shape)
        m, v = BETA * m + (1 - BETA) * g, BETA * v + (1 - BETA) * g**2
        m_hat, v_hat = m / (1 - BETA**t), v / (1 - BETA**t)
        x = x - 0.05 * m_hat / (np.sqrt(v_hat) + 1e-8)
        seen.append((g, m_hat, v_hat))
    return [np.stack(part) for part in zip(*seen, strict=True)]


def column(x, lag=0):
    return x[START - lag : len(x) - lag].ravel()


def sgd(g, m, v):
    return -0.01 * column(g)


def adam(g, m, v):
    return column(m) / np.sqrt(column(v))


def rmsprop(g, m, v):
    return -1e-3 * column(g) / np.sqrt(column(v))


def lion(g, m, v):
    return np.sign(0.9 * column(m) + 0.1 * column(g))


def momentum(g, m, v):
    return sum(0.5 ** (k + 1) * column(g, k) for k in range(START))


def moments(g, m, v):
    return {("g", 0): column(g), ("m9", 0): column(m), ("v9", 0): column(v)}


def lags(g, m, v):
    return {("g", k): column(g, k) for k in range(10)}
