"""Speed and memory of a deployed step: a trained optimizer updates n parameters, gradients given.

    steppe reproduce speed.deployed --scale small

n parameters are a network of 20 equal square layers with biases, 40 tensors. In each framework, in
turn, round by round: our optimizer, Adam of the framework, and the straightforward form of the
same rule: tensor by tensor, (coordinates, features), a library's LSTM cell. A figure is nanoseconds
of wall-clock a parameter; ratios are taken round by round. The straightforward forms are compared
with ours in value first.

The floor is what no form of the same arithmetic can do without, each part timed alone.

Memory: what the peak of a process rises by above parameters and gradients, a process for each.
bfloat16: the same training of 64-20-10 on digits with the state in float32 and in bfloat16.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ...evaluation.engines import Row
from ..study import Cell
from . import per_tensor
from .clock import CORES, benchmark, cell, found, peak_mib, resident
from .settings import Deployed

NAMES = ("dm-v1", "rnnprop-v1", "l2o-scale-v1")
LAYERS = 20
CHECKED = 5  # steps over which the two forms are compared
CHECKED_ON = 100_000  # parameters
Call = Callable[[], object]


def shapes(n: int) -> list[tuple[int, ...]]:
    """Shapes of 20 layers, about n parameters in all."""
    width = round(math.sqrt(n / LAYERS))
    return [(width, width), (width,)] * LAYERS


def arrays(n: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes(n)]


# JAX.


def in_jax(kind: str, n: int) -> tuple[Call, Callable[[], np.ndarray]]:
    """One step, and the parameters where it stands.

    - `kind`: adam, NAME, NAME/per tensor, or a formula
    """
    import jax
    import jax.numpy as jnp
    import optax

    import steppe
    from steppe.optimizers.learned.symbolic import Symbolic

    name, _, form = kind.partition("/")
    if kind == "adam":
        tx = optax.adam(1e-3)
    elif form == "per tensor":
        tx = per_tensor.in_jax(steppe.load(name))
    else:
        tx = steppe.to_optax(steppe.load(kind) if kind in NAMES else Symbolic(kind))
    params = [jnp.asarray(x) for x in arrays(n, 0)]
    grads = [jnp.asarray(x) for x in arrays(n, 1)]

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    now = [params, tx.init(params)]

    def call() -> None:
        now[:] = step(now[0], now[1], grads)
        jax.block_until_ready(now[0])

    return call, lambda: np.concatenate([np.ravel(x) for x in now[0]])


# PyTorch.


def in_torch(kind: str, n: int) -> tuple[Call, Callable[[], np.ndarray]]:
    import torch

    from ...torch import LearnedOptimizer, read_rule
    from ...torch.symbolic import of_text

    torch.set_num_threads(CORES)
    params = [torch.nn.Parameter(torch.from_numpy(x)) for x in arrays(n, 0)]
    for p, g in zip(params, arrays(n, 1), strict=True):
        p.grad = torch.from_numpy(g)
    name, _, form = kind.partition("/")
    if kind == "adam":
        opt = torch.optim.Adam(params, 1e-3, foreach=True)
    elif form == "per tensor":
        opt = per_tensor.in_torch(params, read_rule(name))
    else:
        dtype = torch.bfloat16 if form == "bfloat16" else None
        opt = LearnedOptimizer(params, name if name in NAMES else of_text(kind), state_dtype=dtype)
    whole = lambda: np.concatenate([p.detach().numpy().ravel() for p in params])
    return opt.step, whole


# What is measured.

MAKE = {"jax": in_jax, "torch": in_torch}


def contenders(framework: str) -> list[str]:
    found = ["adam"]
    for name in NAMES:
        found += [name] + [f"{name}/per tensor"] * (not name.startswith("l2o-scale"))
        found += [f"{name}/bfloat16"] * (framework == "torch")
    return found


def agree(framework: str, n: int = CHECKED_ON) -> dict[str, float]:
    """Largest difference of the two forms after some steps, relative to the way gone."""
    found = {}
    for name in NAMES[:2]:
        ends = []
        for kind in (name, f"{name}/per tensor"):
            call, where = MAKE[framework](kind, n)
            start = where().copy()
            for _ in range(CHECKED):
                call()
            ends.append(where() - start)
        found[name] = float(np.abs(ends[0] - ends[1]).max() / np.abs(ends[1]).max())
        assert found[name] < 1e-3, (framework, name, found[name])
    return found


def in_turn(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds of every call in every round, in each of which all are called in turn."""
    for call in calls.values():
        call()
        call()
    taken: dict[str, list[float]] = {kind: [] for kind in calls}
    for _ in range(rounds):
        for kind, call in calls.items():
            began = time.perf_counter()
            call()
            taken[kind].append(time.perf_counter() - began)
    return taken


def times(framework: str, n: int, rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds a parameter, median and range; ratios of the other forms to ours, in pairs."""
    count = sum(math.prod(shape) for shape in shapes(n))
    calls = {kind: MAKE[framework](kind, n)[0] for kind in contenders(framework)}
    taken = {kind: [1e9 * s / count for s in x] for kind, x in in_turn(calls, rounds).items()}
    found = {}
    for kind, ours in taken.items():
        found[kind] = {"ns": float(np.median(ours)), "range": [min(ours), max(ours)]}
        for other in ("adam", f"{kind}/per tensor"):
            if other in taken and other != kind:
                ratios = [b / a for a, b in zip(ours, taken[other], strict=True)]
                found[kind][f"{other.rpartition('/')[2]} / this"] = float(np.median(ratios))
    return found


def floor(block: int = 2**14, rounds: int = 200) -> dict[str, dict[str, float]]:
    """Nanoseconds a parameter of what no form can do without, each alone, and their sum.

    Products, sigmoid and tanh in a block that stays in the cache; the state read and written once.
    """
    import torch

    from ...torch import read_rule

    torch.set_num_threads(CORES)

    def ns(call: Call, numbers: int) -> float:
        taken = []
        for _ in range(rounds):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        return 1e9 * float(np.median(taken)) / numbers

    found = {}
    long = torch.ones(40_000_000)
    a_float = ns(lambda: long.mul_(1.0), len(long))
    for name in NAMES[:2]:
        rule = read_rule(name)
        parts = {"products": 0.0, "sigmoid_tanh": 0.0, "state": rule.floats * a_float}
        for key, w in rule.weights.items():
            if w.ndim == 2:
                x, z = torch.randn(len(w), block), torch.empty(w.shape[1], block)
                parts["products"] += ns(lambda w=w, x=x, z=z: torch.mm(w.T, x, out=z), block)
            if key.endswith("w_gates"):
                gates, cells = (torch.randn(k * w.shape[1] // 4, block) for k in (3, 1))
                parts["sigmoid_tanh"] += ns(gates.sigmoid_, block) + 2 * ns(cells.tanh_, block)
        found[name] = parts | {"sum": sum(parts.values())}
    return found


def memory(framework: str, kind: str, n: int) -> dict[str, float]:
    """MiB: the peak above parameters and gradients, two steps; and a parameter's bytes of it."""
    if framework == "jax":
        import jax.numpy as jnp

        jnp.ones(3).block_until_ready()  # the runtime itself
    else:
        import torch

        torch.ones(3).sum()
    before = resident()
    call, where = MAKE[framework](kind, n)
    call()
    call()
    count = len(where())
    own = 2 * 4 * count / 2**20  # parameters and gradients
    peak = peak_mib() - before - own
    return {"mib": round(peak), "bytes_a_parameter": round(peak * 2**20 / count, 1)}


def bfloat16(seeds: int = 10, steps: int = 500) -> dict[str, dict[str, list[float]]]:
    """Test loss and accuracy on digits after training, the state in either precision."""
    import torch

    from ...data import digits
    from ...torch import LearnedOptimizer

    data = digits()
    (first, last), _, (first_test, last_test) = data.splits
    inputs = torch.from_numpy(np.asarray(data.x, np.float32) * data.scale).flatten(1)
    labels = torch.from_numpy(np.array(data.y)).long()
    x, y = inputs[first:last], labels[first:last]
    x_test, y_test = inputs[first_test:last_test], labels[first_test:last_test]
    found: dict[str, dict[str, list[float]]] = {}
    for name in NAMES:
        for dtype in (torch.float32, torch.bfloat16):
            key = f"{name}, {str(dtype).removeprefix('torch.')}"
            found[key] = {"test_loss": [], "test_accuracy": []}
            for seed in range(seeds):
                torch.manual_seed(seed)
                model = torch.nn.Sequential(
                    torch.nn.Linear(64, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10)
                )
                opt = LearnedOptimizer(model.parameters(), name, state_dtype=dtype)
                for _ in range(steps):
                    rows = torch.randint(len(x), (128,))
                    opt.zero_grad()
                    torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
                    opt.step()
                with torch.no_grad():
                    out = model(x_test)
                    loss = torch.nn.functional.cross_entropy(out, y_test)
                    found[key]["test_loss"].append(float(loss))
                    found[key]["test_accuracy"].append(
                        float((out.argmax(1) == y_test).float().mean())
                    )
    return found


def both(framework: str, sizes: Sequence[int], rounds: int) -> dict[str, Any]:
    """Difference of the two forms, and times at every size."""
    timed = {str(n): times(framework, n, rounds) for n in sizes}
    return {"agree": agree(framework)} | timed


def cells(settings: Deployed) -> Iterator[Cell]:
    for framework in MAKE:
        sizes = list(settings.sizes)
        yield cell(both, framework=framework, sizes=sizes, rounds=settings.rounds)
        for kind in contenders(framework):
            if not kind.endswith("per tensor"):
                yield cell(memory, framework=framework, kind=kind, n=max(sizes))
    yield cell(bfloat16)
    yield cell(floor)


def report(settings: Deployed, rows: Sequence[Row]) -> dict[str, Any]:
    alone = {name: found(rows, f) for name, f in (("bfloat16", bfloat16), ("floor", floor))}
    return {
        "rounds": settings.rounds,
        "times": {how["framework"]: result for how, result in found(rows, both)},
        "memory": {
            framework: {
                how["kind"]: result
                for how, result in found(rows, memory)
                if how["framework"] == framework
            }
            for framework in MAKE
        },
        **{name: results[0][1] for name, results in alone.items() if results},
    }


STUDY = benchmark(cells, report)
