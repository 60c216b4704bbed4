"""Speed of a meta-step of unrolled networks, beside JAX written by hand, in pairs.

    steppe reproduce speed.unrolled --scale small

Whole episodes of as many steps as there are layers, the squared distance to the truth after the
last one, Adam, float32, all episodes at once on one device. By hand: the network as a scan over
stacked weights on a batch of rows, Adam of optax, and nothing else. Ours also looks whether all is
finite, and takes the norm of the gradient.

Every round runs all contenders once, one after the other. Ratios are of processor time, round by
round: wall-clock says little on a machine that others use too.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...evaluation.engines import Row
from ..study import Cell
from .clock import benchmark, cell, found, peak_mib
from .settings import Unrolled


def measure(
    kind: str, rows: int, n: int, layers: int, episodes: int, rounds: int
) -> dict[str, Any]:
    """Core-milliseconds and milliseconds of a gradient and of a meta-step, ours and by hand."""
    import jax
    import jax.random as jr
    import optax

    from ...core.optimizer import join_meta, split_meta
    from ...estimators.whole import Whole
    from ...objectives.supervised import Supervised
    from ...tasks.inverse.recovery import SparseRecovery
    from ...train.loop import compile_step
    from ...train.step import start
    from ...zoo.registry import build

    task = SparseRecovery(rows=rows, n=n, weight=0.05, seed=0)
    opt = build(kind, task=task, layers=layers)
    estimator, objective = Whole(episodes, layers), Supervised()
    tx, key = optax.adam(1e-3), jr.key(1)
    how = {"estimator": estimator, "objective": objective, "meta_tx": tx}
    state = start(task, opt, **how, key=key)
    run, state, seconds = compile_step(task, state, estimator, objective, tx, None)
    held = [state]

    def step():
        held[0], stats = run(held[0])
        return jax.block_until_ready(stats)

    theta, rest = split_meta(opt)
    slope = jax.jit(
        lambda theta, key: estimator(task, join_meta(theta, rest), (), objective, key=key)[0]
    )
    step()
    peak = peak_mib()
    hand_slope, hand_step = by_hand(kind, task, opt, layers, episodes)
    return {
        "kind": kind,
        "size": [rows, n, layers, episodes],
        "compile_s": seconds,
        "peak_mib": peak,
        **timed(
            {
                "gradient": lambda: jax.block_until_ready(slope(theta, key)),
                "gradient by hand": hand_slope,
                "meta-step": step,
                "meta-step by hand": hand_step,
            },
            rounds,
        ),
    }


def by_hand(
    kind: str, task: Any, opt: Any, layers: int, episodes: int
) -> tuple[Callable[[], object], Callable[[], object]]:
    """A gradient and a meta-step as one would write them for this network alone."""
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import optax

    from ...optimizers.unrolled.thresholds import spared_counts

    A, n = task.shared.A, task.n
    counts = spared_counts(n, layers, opt.p, opt.p_max)
    theta = {"threshold": opt.thresholds}
    theta |= {"step": opt.steps} if kind == "alista" else {"W": opt.W}
    shrink = lambda z, t: jnp.sign(z) * jnp.maximum(jnp.abs(z) - t, 0)

    def layer(x, b, weights, count):
        if kind == "lista-cp":
            return shrink(x + (b - x @ A.T) @ weights["W"], weights["threshold"])
        z = x + weights["step"] * ((b - x @ A.T) @ opt.W.value)
        size = jnp.abs(jax.lax.stop_gradient(z))
        level = jax.lax.top_k(size, max(counts) + 1)[0][:, count][:, None]
        kept = (size > level) & (size > weights["threshold"])
        return jnp.where(kept, z, shrink(z, weights["threshold"]))

    def loss(theta, key):
        key_x, key_support = jr.split(key)
        shape = episodes, n
        truth = jr.normal(key_x, shape) * jr.bernoulli(key_support, task.density, shape)
        b = truth @ A.T
        body = lambda x, of: (layer(x, b, *of), None)
        x, _ = jax.lax.scan(body, jnp.zeros(shape), (theta, jnp.asarray(counts)))
        return jnp.sum((x - truth) ** 2) / (2 * episodes)

    tx, key = optax.adam(1e-3), jr.key(1)

    @jax.jit
    def step(theta, state, key):
        key, key_loss = jr.split(key)
        value, grads = jax.value_and_grad(loss)(theta, key_loss)
        updates, state = tx.update(grads, state)
        return (optax.apply_updates(theta, updates), state, key), value

    held, slope = [(theta, tx.init(theta), key)], jax.jit(jax.grad(loss))

    def move():
        held[0], value = step(*held[0])
        return jax.block_until_ready(value)

    return lambda: jax.block_until_ready(slope(theta, key)), move


def timed(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Median times of all contenders, run in turn, and ratios of ours to those by hand."""
    cores, clock = ({name: [] for name in contenders} for _ in range(2))
    for call in contenders.values():
        call()
    for _ in range(rounds):
        for name, call in contenders.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            cores[name].append(1e3 * (time.process_time() - cpu))
            clock[name].append(1e3 * (time.perf_counter() - wall))
    medians = lambda times: {name: statistics.median(of) for name, of in times.items()}

    def ratio(name: str) -> list[float]:
        pairs = zip(cores[name], cores[f"{name} by hand"], strict=True)
        ratios = sorted(ours / hand for ours, hand in pairs)
        return [statistics.median(ratios), ratios[0], ratios[-1]]

    return {
        "core_ms": medians(cores),
        "ms": medians(clock),
        "ratio": {name: ratio(name) for name in ("gradient", "meta-step")},  # median, least, most
    }


def cells(settings: Unrolled) -> Iterator[Cell]:
    for rows, n, layers, episodes in settings.sizes:
        for kind in ("alista", "lista-cp"):
            sizes = {"rows": rows, "n": n, "layers": layers, "episodes": episodes}
            yield cell(measure, kind=kind, rounds=settings.rounds, **sizes)


def report(settings: Unrolled, rows: Sequence[Row]) -> dict[str, Any]:
    return {"runs": [result for _, result in found(rows, measure)]}


STUDY = benchmark(cells, report)
