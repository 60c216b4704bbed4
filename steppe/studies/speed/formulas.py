"""Time of a step by a formula, beside Adam of the same framework and beside its limit.

    steppe reproduce speed.formulas --scale small

The network of `speed.deployed`: 40 tensors, n parameters in all, gradients given. In each
framework, in turn, round by round: Adam (optax; torch.optim, all tensors at once), Adam written as
a formula, a formula of two inputs, and one of two inputs and three steps back.

The limit is what has to be moved: gradients, parameters and state are read once, parameters and
state are written once. Adam as a formula moves 7 numbers a parameter, and so does one of two inputs
that share two averages; each earlier input adds two. Its time is that of as many passes of the same
length over numbers that are multiplied in place, each of which moves two.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...evaluation.engines import Row
from ..study import Cell
from . import deployed
from .clock import CORES, benchmark, cell, found
from .settings import Formulas

RULES = {
    "adam as a formula": "-0.001 * mn9_999",
    "two inputs": "-0.01 * mn95 - 0.002 * gn95",
    "two inputs, tanh": "-0.01 * tanh(1.3 * mn95) - 0.002 * tanh(gn95)",
    "two inputs, three steps back": "-0.01 * ("
    + " + ".join(
        f"{w} * tanh(1.3 * {name}[{lag}])"
        for name in ("mn95", "gn95")
        for lag, w in enumerate((0.5, 0.3, 0.2, 0.1))
    )
    + ")",
}


def moved(text: str) -> int:
    """Numbers that a step has to read and write for each parameter."""
    from ...optimizers.formulas import plan

    return 3 + 2 * plan(text).floats


def times(framework: str, n: int, rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds a parameter, and in pairs how many times Adam's and the limit's time it is."""
    calls = {"adam": deployed.MAKE[framework]("adam", n)[0]}
    for name, text in RULES.items():
        calls[name] = deployed.MAKE[framework](text, n)[0]
        calls[f"{name}, limit"] = limit(framework, n, moved(text))
    taken = deployed.in_turn(calls, rounds)
    found = {}
    for name, ours in taken.items():
        found[name] = {"ns": float(np.median(ours)) * 1e9 / n, "fastest": min(ours) * 1e9 / n}
        for other, words in (("adam", "adam"), (f"{name}, limit", "limit")):
            if name in RULES:
                ratios = np.divide(ours, taken[other])
                found[name][f"this / {words}"] = float(np.median(ratios))
    return found


def limit(framework: str, n: int, numbers: int) -> deployed.Call:
    """A call that moves so many numbers for each of n parameters, in place."""
    if framework == "torch":
        import torch

        torch.set_num_threads(CORES)
        x = torch.ones(numbers * n // 2)
        return lambda: x.mul_(1.000001)
    import jax

    step = jax.jit(lambda x: x * 1.000001, donate_argnums=0)
    held = [jax.numpy.ones((numbers * n // 2,))]

    def call() -> None:
        held[0] = jax.block_until_ready(step(held[0]))

    return call


def cells(settings: Formulas) -> Iterator[Cell]:
    for framework in deployed.MAKE:
        for n in settings.sizes:
            yield cell(times, framework=framework, n=n, rounds=settings.rounds)


def report(settings: Formulas, rows: Sequence[Row]) -> dict[str, Any]:
    done = found(rows, times)
    named = {f"{how['framework']}, {how['n']} parameters": result for how, result in done}
    return {"rounds": settings.rounds, "formulas": RULES, "times": named}


STUDY = benchmark(cells, report)
