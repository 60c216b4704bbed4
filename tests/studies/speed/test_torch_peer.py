"""The PyTorch peer computes the first-order meta-gradient: against NumPy and finite differences."""

import functools
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the PyTorch peer needs torch, which is not installed")

from steppe.studies.speed import torch_peer as peer  # noqa: E402

SIZES = (6, 4, 3)  # pixels, hidden, classes
STEPS, EPISODES, BATCH, EXAMPLES = 3, 2, 5, 12
H = 1e-4  # finite differences: of order four, error ≈ H⁴ + 1e-16 / H


@functools.cache
def case(kind):
    rng = np.random.default_rng(7)
    pixels, hidden, classes = SIZES
    x = rng.standard_normal((EXAMPLES, pixels))
    y = rng.integers(classes, size=EXAMPLES)
    shapes = [(pixels, hidden), (hidden,), (hidden, classes), (classes,)]
    params = [rng.standard_normal((EPISODES, *shape)) for shape in shapes]
    batches = rng.integers(EXAMPLES, size=(EPISODES, STEPS + 1, BATCH))
    weights = peer.draw_weights(kind, seed=3, hidden=(3, 3), features=4)
    # Zero biases would hide a forgotten one.
    weights = {n: w + 0.1 * rng.standard_normal(w.shape) for n, w in weights.items()}
    return x, y, params, batches, weights


def sigma(z):
    return 1 / (1 + np.exp(-z))


def mlp(params, x, y):
    """Mean cross-entropy and its gradient by hand."""
    w1, b1, w2, b2 = params
    a = sigma(x @ w1 + b1)
    z = a @ w2 + b2
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    loss = -np.mean(np.log(q[np.arange(len(y)), y]))
    dz = (q - np.eye(len(b2))[y]) / len(y)
    da = (dz @ w2.T) * a * (1 - a)
    return loss, [x.T @ da, da.sum(0), a.T @ dz, dz.sum(0)]


def update(kind, weights, g, memory, tau):
    """One tensor's update; `memory` is [m, v, h₀, c₀, h₁, c₁] of its coordinates."""
    n, width = g.size, 3
    m, v, *states = memory or [np.zeros(n), np.zeros(n), *(np.zeros((n, width)) for _ in range(4))]
    g = g.ravel()
    if kind == "dm":
        rows = []
        for one in g:  # the two-branch form of the paper is the clamped form up to ε
            size = math.log(abs(one) + 1.1920929e-07) / 5
            rows.append([max(size, -1.0), min(max(one * math.exp(5), -1.0), 1.0)])
        x = np.array(rows)
    else:
        m, v = 0.95 * m + 0.05 * g, 0.95 * v + 0.05 * g * g
        root = np.sqrt(v / (1 - 0.95**tau)) + 1e-8
        z = np.outer(m / (1 - 0.95**tau) / root, weights["inputs.w"][0])
        z = z + np.outer(g / root, weights["inputs.w"][1]) + weights["inputs.b"]
        x = np.where(z > 0, z, np.exp(z) - 1)
    after = []
    for k in range(2):
        h, c = states[2 * k : 2 * k + 2]
        z = np.concatenate([x, h], 1) @ weights[f"lstm.{k}.w"] + weights[f"lstm.{k}.b"]
        i, j, f, o = (z[:, s * width : (s + 1) * width] for s in range(4))
        c = sigma(f + 1) * c + sigma(i) * np.tanh(j)
        x = sigma(o) * np.tanh(c)
        after += [x, c]
    y = x @ weights["head.w"][:, 0] + weights["head.b"][0]
    return 0.01 * (y if kind == "dm" else np.tanh(y)), [m, v, *after]


def objective(kind, weights, frozen=None):
    """(J, gradients handed over); with `frozen` those are handed over instead of the true ones."""
    x, y, params, batches, _ = case(kind)
    total, seen = 0.0, {}
    for e in range(EPISODES):
        at = [p[e] for p in params]
        memory = [None] * len(at)
        for t in range(STEPS + 1):
            index = batches[e, t]
            loss, grads = mlp(at, x[index], y[index])
            total += loss if t > 0 else 0.0
            seen[e, t] = grads
            if t == STEPS:
                break
            for k, g in enumerate(frozen[e, t] if frozen else grads):
                u, memory[k] = update(kind, weights, g, memory[k], t + 1)
                at[k] = at[k] + u.reshape(at[k].shape)
    return total / (STEPS * EPISODES), seen


@functools.cache
def reference(kind):
    """J and its gradient by central differences, gradients frozen at the nominal trajectory."""
    weights = case(kind)[-1]
    value, frozen = objective(kind, weights)
    grads = {}
    for name, w in weights.items():
        grads[name] = np.zeros_like(w)
        for where in np.ndindex(w.shape):
            at = lambda h, name=name, where=where: objective(
                kind, weights | {name: shifted(weights[name], where, h)}, frozen
            )[0]
            slope = 8 * (at(H) - at(-H)) - (at(2 * H) - at(-2 * H))
            grads[name][where] = slope / (12 * H)
    return value, grads


def shifted(w, where, h):
    w = w.copy()
    w[where] += h
    return w


def run(kind, cell, together, dtype):
    x, y, params, batches, weights = case(kind)
    meta = peer.Meta(kind, weights, cell=cell, dtype=dtype)
    x, y = torch.tensor(x, dtype=dtype), torch.tensor(y)
    value, grads = peer.meta_step(meta, x, y, params, batches, episodes_together=together)
    return meta, value, grads


def distance(a, b):
    """Largest relative error over the tensors."""
    assert a.keys() == b.keys()
    return max(np.linalg.norm(a[k] - b[k]) / np.linalg.norm(b[k]) for k in b)


@pytest.mark.parametrize("kind", peer.RULES)
@pytest.mark.parametrize("cell", peer.CELLS)
@pytest.mark.parametrize("together", [False, True], ids=["one_by_one", "together"])
def test_meta_gradient_is_the_first_order_one(kind, cell, together):
    _, value, grads = run(kind, cell, together, torch.float64)
    expected_value, expected_grads = reference(kind)
    assert value == pytest.approx(expected_value, rel=1e-12)
    assert distance(grads, expected_grads) < 1e-7


@pytest.mark.parametrize("kind", peer.RULES)
@pytest.mark.parametrize("cell", peer.CELLS)
def test_float32_kernels_compute_the_same_gradient(kind, cell):
    # torch.lstm takes another kernel (oneDNN) in float32.
    _, _, grads = run(kind, cell, True, torch.float32)
    assert distance(grads, reference(kind)[1]) < 1e-3


@pytest.mark.parametrize("kind", peer.RULES)
def test_meta_step_is_adam_on_that_gradient(kind):
    before = case(kind)[-1]
    meta, _, grads = run(kind, "gates", False, torch.float64)
    for name, after in meta.weights().items():
        # First step of Adam: its bias-corrected moments are g and g².
        expected = before[name] - 1e-3 * grads[name] / (np.abs(grads[name]) + 1e-8)
        np.testing.assert_allclose(after, expected, rtol=1e-12)


def test_reference_workload_has_15910_coordinates():
    _, _, params, batches = peer.reference_workload(examples=1)
    assert sum(p[0].size for p in params) == 15_910
    assert batches.shape == (8, 21, 128)
