"""Exactness of the curvature numbers: products in float32 against a dense Hessian in float64.

A perceptron 64-20-10 on digits (1 510 parameters, the shape of the reference workload made
small), at the start and after 300 steps of Adam, batch 512. Dense: `jax.hessian` and its
eigenvalues. By products: what `steppe.flatness` returns in float32, with its own error bar.

    steppe reproduce speed.curvature --scale small
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ...evaluation.engines import Row
from ..study import Cell
from .clock import benchmark, cell, found
from .settings import Curvature


def measure(probes: int) -> dict[str, list[dict[str, Any]]]:
    """Every quantity at both points, by products and dense."""
    import jax
    import jax.numpy as jnp
    import jax.random as jr
    import jax.tree_util as jtu
    import numpy as np
    import optax
    from jax.flatten_util import ravel_pytree

    from ...core.task import Problem
    from ...data import digits
    from ...flatness.lanczos import top_eigenpair
    from ...flatness.products import hvp
    from ...flatness.slq import quadrature
    from ...tasks.classify import Classify
    from ...tasks.networks import MLP

    task = Classify(digits(), MLP(hidden=(20,)), batch_size=512)
    problem = Problem(task, (), task.batch((), jr.key(1)), jr.key(2))
    params = task.init((), jr.key(0))
    tx = optax.adam(1e-2)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(problem.grad(params), state)
        return (optax.apply_updates(params, updates), state), None

    trained = jax.jit(lambda c: jax.lax.scan(step, c, length=300)[0])((params, tx.init(params)))[0]
    rows = []
    for where, point in (("start", params), ("after 300 steps", trained)):
        with jax.enable_x64(True):
            wide = jtu.tree_map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), point)
            flat, unravel = ravel_pytree(wide)
            at = lambda x, unravel=unravel: problem.value(unravel(x))
            dense = jax.jit(jax.hessian(at))(flat)
            eigenvalues = np.linalg.eigvalsh(np.asarray(dense))
        n, largest = len(eigenvalues), float(eigenvalues[-1])
        matvec = lambda v, point=point: hvp(problem.value, point, v)
        pair = top_eigenpair(matvec, point, which="algebraic", products=20, key=jr.key(3))
        rows.append(row(where, "top eigenvalue", largest, pair.value, pair.residual, "residual"))
        for scale in (0.1, 1.0):
            gamma = scale * largest + max(0.0, -1.1 * float(eigenvalues[0]))
            rules = quadrature(matvec, point, k=20, probes=probes, key=jr.key(4))
            for name, f, truth in (
                ("ln det(H + γI)", lambda x, g=gamma: jnp.log(x + g), np.log(eigenvalues + gamma)),
                (
                    "½ ln det(I + H/γ)",
                    lambda x, g=gamma: 0.5 * jnp.log1p(x / g),
                    0.5 * np.log1p(eigenvalues / gamma),
                ),
            ):
                got = rules.trace(f)
                label = f"{name}, γ = {gamma:.3g}"
                found = row(where, label, float(truth.sum()), got.value, got.standard_error, "s.e.")
                rows.append(found | {"probes": probes, "k": 20, "n": n})
    return {"rows": rows}


def row(where: str, name: str, truth: float, got, bar, kind: str) -> dict:
    got, bar = float(got), float(bar)
    return {
        "where": where, "quantity": name, "dense": truth, "products": got, "bar": bar,
        "bar_is": kind, "relative_error": abs(got / truth - 1),
        "errors_in_bars": abs(got - truth) / bar,
    }  # fmt: skip


def cells(settings: Curvature) -> Iterator[Cell]:
    yield cell(measure, probes=settings.probes)


def report(settings: Curvature, rows: Sequence[Row]) -> dict[str, Any]:
    return {"rows": [row for _, result in found(rows, measure) for row in result["rows"]]}


STUDY = benchmark(cells, report)
