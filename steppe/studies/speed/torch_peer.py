"""The PyTorch peer: one truncated-BPTT meta-step as a good user would write it in eager mode.

    θ ← Adam(∇θ J),   J = (1/T) Σ_{t=1..T} f(params_t; batch_t),   averaged over the episodes
    params_{t+1} = params_t + u(g_t, state_t; θ),   g_t = ∇f(params_t; batch_t), detached

f is the mean cross-entropy of an MLP with one sigmoid hidden layer; u is DM or RNNProp with the
constants of `steppe/optimizers/learned/`. All n coordinates of an episode form one matrix
(n, features); `episodes_together` puts all E episodes into one matrix (E·n, features).
The constant term t = 0 is left out and params_T is scored on a fresh batch, so T steps
read T + 1 batches. Recurrent states, m and v start at zero.

Nothing here imports steppe: inputs and results are explicit, so that another implementation
can be compared on the same numbers (`dtype=torch.float64`) and timed in the same run.
"""

import math
import os
import resource
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Kind = Literal["dm", "rnnprop"]
Cell = Literal["gates", "transposed", "lstm_cell", "lstm"]
LSTMStates = list[tuple[Tensor, Tensor]]  # (h, c) of each layer, or one pair (layers, rows, hidden)
Arrays = dict[str, np.ndarray]

THREADS = 2
P = 5.0  # LogAndSign, published Open-L2O code
EPSILON = 1.1920929e-07  # float32 machine epsilon, also in float64 (published code)
BETA = 0.95  # β₁ = β₂ of RNNProp
EPS = 1e-8  # added to √v̂ (published code)
SCALE = 0.01  # of the updates, published Open-L2O code


class Meta:
    """A learned optimizer as PyTorch leaves, with the Adam that trains it.

    `weights` names its arrays "lstm.0.w" (inputs + hidden, 4·hidden) with gates i, j, f, o,
    "lstm.0.b", "lstm.1.w", …, "head.w" (hidden, 1), "head.b" (1,), and for RNNProp
    "inputs.w" (2, features), "inputs.b".
    """

    def __init__(
        self,
        kind: Kind,
        weights: Arrays,
        *,
        cell: Cell = "gates",
        dtype: torch.dtype = torch.float32,
        learning_rate: float = 1e-3,
        compile: bool = False,
    ):
        if kind not in RULES:
            raise ValueError(f"Meta: kind is {kind!r}, expected one of {sorted(RULES)}.")
        if cell not in CELLS:
            raise ValueError(f"Meta: cell is {cell!r}, expected one of {sorted(CELLS)}.")
        self.kind, self.cell, self.dtype = kind, cell, dtype
        self.theta = {
            name: torch.tensor(w, dtype=dtype, requires_grad=True) for name, w in weights.items()
        }
        self.adam = torch.optim.Adam(self.theta.values(), lr=learning_rate)
        self.rule = torch.compile(RULES[kind]) if compile else RULES[kind]

    def weights(self) -> Arrays:
        return {name: w.detach().numpy().copy() for name, w in self.theta.items()}


def meta_step(
    meta: Meta,
    x: Tensor,
    y: Tensor,
    params: list[np.ndarray],
    batches: np.ndarray,
    *,
    episodes_together: bool = False,
) -> tuple[float, Arrays]:
    """One Adam update of `meta`; returns the objective and its gradient before the update.

    `x` (N, pixels) and `y` (N,) int64 are the training set; `params` is [W₁, b₁, W₂, b₂] with
    a leading axis of E episodes, W of shape (E, inputs, outputs); `batches` (E, T + 1, batch)
    holds indices into the training set.
    """
    x = x.to(meta.dtype)
    start = [torch.as_tensor(p, dtype=meta.dtype) for p in params]
    table = torch.as_tensor(batches)
    episodes = len(table)
    group = episodes if episodes_together else 1

    value = 0.0
    sums = {name: torch.zeros_like(w) for name, w in meta.theta.items()}
    for e in range(0, episodes, group):
        total = unroll(meta, x, y, [p[e : e + group] for p in start], table[e : e + group])
        objective = total / episodes
        grads = torch.autograd.grad(objective, list(meta.theta.values()))
        value += objective.item()
        for summed, grad in zip(sums.values(), grads, strict=True):
            summed += grad

    for w, summed in zip(meta.theta.values(), sums.values(), strict=True):
        w.grad = summed
    meta.adam.step()
    return value, {name: g.numpy().copy() for name, g in sums.items()}


def unroll(meta: Meta, x: Tensor, y: Tensor, params: list[Tensor], batches: Tensor) -> Tensor:
    """(1/T) Σ_{t=1..T} f(params_t; batch_t), summed over the episodes in `params`."""
    shapes = [p.shape for p in params]
    flat = torch.cat([p.flatten(1) for p in params], 1).requires_grad_()  # (E, n)
    steps = batches.shape[1] - 1

    theta = meta.theta
    prepare, start, advance = CELLS[meta.cell]
    layers = prepare([(theta[f"lstm.{k}.w"], theta[f"lstm.{k}.b"]) for k in range(depth(theta))])
    state = start(layers, flat.numel(), flat.dtype)
    moments = (torch.zeros_like(flat).view(-1), torch.zeros_like(flat).view(-1))

    total = torch.zeros((), dtype=flat.dtype)
    for t in range(steps):
        index = batches[:, t]
        loss = mlp_loss(flat, shapes, x[index], y[index])
        # The loss is back-propagated a second time at the end, hence retain_graph.
        (g,) = torch.autograd.grad(loss, flat, retain_graph=t > 0)  # (E, n), detached
        if t > 0:
            total = total + loss
        u, state, moments = meta.rule(g.view(-1), state, moments, t + 1, theta, layers, advance)
        flat = flat + u.view_as(flat)
    index = batches[:, steps]
    return (total + mlp_loss(flat, shapes, x[index], y[index])) / steps


def mlp_loss(flat: Tensor, shapes: list[torch.Size], x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of each episode's MLP on its batch, summed over episodes."""
    pieces = flat.split([shape[1:].numel() for shape in shapes], 1)
    w1, b1, w2, b2 = (piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))
    hidden = torch.sigmoid(torch.baddbmm(b1[:, None], x, w1))  # (E, batch, hidden)
    logits = torch.baddbmm(b2[:, None], hidden, w2)  # (E, batch, classes)
    return F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum") / y.shape[1]


# ------------------------------------------------------------------------ update rules


def dm(g, state, moments, tau, theta, layers, advance):
    """u = scale · (w · LSTM(LogAndSign(g)) + b), Andrychowicz et al. 2016."""
    size = (torch.log(g.abs() + EPSILON) / P).clamp(min=-1.0)
    sign = (g * np.exp(P)).clamp(-1.0, 1.0)
    h, state = advance(torch.stack([size, sign]).T, state, layers)  # (rows, 2) -> (rows, hidden)
    return SCALE * torch.addmm(theta["head.b"], h, theta["head.w"])[:, 0], state, moments


def rnnprop(g, state, moments, tau, theta, layers, advance):
    """u = scale · tanh(w · LSTM(ELU(W [m̃, g̃] + b)) + b), Lv et al. 2017."""
    m, v = moments
    m = BETA * m + (1 - BETA) * g
    v = BETA * v + (1 - BETA) * g**2
    root = (v / (1 - BETA**tau)).sqrt() + EPS
    features = torch.stack([m / (1 - BETA**tau) / root, g / root])  # (2, rows)
    x = F.elu(torch.addmm(theta["inputs.b"][:, None], theta["inputs.w"].T, features))
    h, state = advance(x.T, state, layers)
    u = SCALE * torch.tanh(torch.addmm(theta["head.b"], h, theta["head.w"]))[:, 0]
    return u, state, (m, v)


RULES: dict[str, Callable] = {"dm": dm, "rnnprop": rnnprop}


# ------------------------------------------------------- the recurrent layers, four ways
#
# Each way is (prepare weights once per unroll, zero state, one step of all layers). The
# forget bias + 1 is folded into the biases, which leaves the function unchanged.


def depth(theta: dict[str, Tensor]) -> int:
    return sum(name.startswith("lstm.") and name.endswith(".w") for name in theta)


def forget_bias(b: Tensor) -> Tensor:
    """Gates i, j, f, o: add 1 to f."""
    one = torch.zeros(4, b.numel() // 4, dtype=b.dtype)
    one[2] = 1.0
    return b + one.view(-1)


def gates_prepare(layers):
    return [(w, forget_bias(b)) for w, b in layers]


def gates_start(layers, rows, dtype) -> LSTMStates:
    hidden = [b.numel() // 4 for _, b in layers]
    return [(torch.zeros(rows, h, dtype=dtype), torch.zeros(rows, h, dtype=dtype)) for h in hidden]


def gates_advance(x, state, layers):
    after = []
    for (w, b), (h, c) in zip(layers, state, strict=True):
        i, j, f, o = torch.addmm(b, torch.cat([x, h], 1), w).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(j)
        x = torch.sigmoid(o) * torch.tanh(c)
        after.append((x, c))
    return x, after


def transposed_prepare(layers):
    return [(w.T.contiguous(), b[:, None]) for w, b in gates_prepare(layers)]


def transposed_start(layers, rows, dtype) -> LSTMStates:
    hidden = [len(b) // 4 for _, b in layers]
    return [(torch.zeros(h, rows, dtype=dtype), torch.zeros(h, rows, dtype=dtype)) for h in hidden]


def transposed_advance(x, state, layers):
    """`gates_advance` with the rows last: each gate is then a contiguous slice."""
    x, after = x.T, []
    for (w, b), (h, c) in zip(layers, state, strict=True):
        i, j, f, o = torch.addmm(b, w, torch.cat([x, h])).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(j)
        x = torch.sigmoid(o) * torch.tanh(c)
        after.append((x, c))
    return x.T, after


def fused_prepare(layers):
    """PyTorch's own layout: gates i, f, g, o in the rows, inputs and state apart, two biases."""
    out = []
    for w, b in layers:
        i, j, f, o = w.chunk(4, 1)
        w = torch.cat([i, f, j, o], 1).T  # (4·hidden, inputs + hidden)
        i, j, f, o = forget_bias(b).chunk(4)
        b = torch.cat([i, f, j, o])
        w_ih, w_hh = w.split([w.shape[1] - b.numel() // 4, b.numel() // 4], 1)
        out.append((w_ih.contiguous(), w_hh.contiguous(), b, torch.zeros_like(b)))
    return out


def lstm_cell_start(layers, rows, dtype) -> LSTMStates:
    hidden = [w_hh.shape[1] for _, w_hh, _, _ in layers]
    return [(torch.zeros(rows, h, dtype=dtype), torch.zeros(rows, h, dtype=dtype)) for h in hidden]


def lstm_cell_advance(x, state, layers):
    """`torch.nn.LSTMCell`, functional."""
    after = []
    for weights, before in zip(layers, state, strict=True):
        x, c = torch.lstm_cell(x, before, *weights)
        after.append((x, c))
    return x, after


def lstm_start(layers, rows, dtype) -> LSTMStates:
    shape = (len(layers), rows, layers[0][1].shape[1])
    return [(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype))]


def lstm_advance(x, state, layers):
    """`torch.nn.LSTM` over a sequence of one element (oneDNN in float32), all layers at once."""
    weights = [w for layer in layers for w in layer]
    y, h, c = torch.lstm(x[None], state[0], weights, True, len(layers), 0.0, True, False, False)
    return y[0], [(h, c)]


CELLS: dict[str, tuple[Callable, Callable, Callable]] = {
    "gates": (gates_prepare, gates_start, gates_advance),
    "transposed": (transposed_prepare, transposed_start, transposed_advance),
    "lstm_cell": (fused_prepare, lstm_cell_start, lstm_cell_advance),
    "lstm": (fused_prepare, lstm_start, lstm_advance),
}


# ----------------------------------------------------------------------------- timing


def reference_workload(
    seed: int = 0, *, episodes: int = 8, steps: int = 20, batch: int = 128, examples: int = 10_000
) -> tuple[Tensor, Tensor, list[np.ndarray], np.ndarray]:
    """x, y, params, batches of the 784-20-10 MLP (n = 15 910) on MNIST-like noise, 4/5 black."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(examples, 784)) * (rng.uniform(size=(examples, 784)) < 0.2)
    y = rng.integers(10, size=examples)
    shapes = [(784, 20), (20,), (20, 10), (10,)]
    params = [0.1 * rng.standard_normal((episodes, *shape)) for shape in shapes]
    batches = rng.integers(examples, size=(episodes, steps + 1, batch))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y), params, batches


def draw_weights(
    kind: Kind, seed: int = 0, *, hidden: tuple[int, ...] = (20, 20), features: int = 20
) -> Arrays:
    """Random weights with the published spread 1/√fan-in, in the layout of `Meta`."""
    rng = np.random.default_rng(seed)
    normal = lambda fan_in, *shape: rng.standard_normal(shape) / np.sqrt(fan_in)
    weights, width = {}, 2
    if kind == "rnnprop":
        weights |= {"inputs.w": normal(2, 2, features), "inputs.b": np.zeros(features)}
        width = features
    for k, h in enumerate(hidden):
        weights[f"lstm.{k}.w"] = normal(width + h, width + h, 4 * h)
        weights[f"lstm.{k}.b"] = normal(width + h, 4 * h)
        width = h
    return weights | {"head.w": normal(width, width, 1), "head.b": np.zeros(1)}


def measure(
    kind: Kind,
    cell: Cell,
    *,
    episodes_together: bool,
    compile: bool = False,
    repeats: int = 3,
) -> dict[str, object]:
    """Time the reference meta-step after one warm-up; ms per inner step and episode.

    `peak_mib` is the growth of the process's peak memory over the workload's inputs, so it
    means something only in a fresh process.
    """
    torch.set_num_threads(THREADS)
    x, y, params, batches = reference_workload()
    meta = Meta(kind, draw_weights(kind), cell=cell, compile=compile)
    inner = batches.shape[0] * (batches.shape[1] - 1)
    before, load = peak_memory_mib(), os.getloadavg()[0]
    wall, user, system, value = [], [], [], math.nan
    for _ in range(1 + repeats):
        began, cpu = time.perf_counter(), os.times()
        value, _ = meta_step(meta, x, y, params, batches, episodes_together=episodes_together)
        wall.append(time.perf_counter() - began)
        user.append(os.times().user - cpu.user)
        system.append(os.times().system - cpu.system)
    per_step = lambda seconds: [round(1e3 * s / inner, 2) for s in seconds[1:]]
    return {
        "kind": kind,
        "cell": cell,
        "episodes_together": episodes_together,
        "compile": compile,
        "ms": per_step(wall),
        # CPU time summed over threads: user + system well below 2·ms means a busy machine.
        "user_ms": per_step(user),
        "system_ms": per_step(system),
        "warm_up_s": round(wall[0], 2),
        "peak_mib": round(peak_memory_mib() - before),
        "objective": value,
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],  # 1 min, before and after
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def peak_memory_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
