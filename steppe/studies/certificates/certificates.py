"""Certificates of classical and learned solvers, and of the shipped optimizers.

    steppe reproduce certificates --scale small

Everything is fixed here before anything runs. What came out is in `README.md` beside this file.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

from ...certificates import Episodes, FixedPoint
from ...certificates.certify import certify
from ...certificates.runs import AbstractRun
from ...data import mnist5k
from ...evaluation.engines import Row
from ...tasks import build
from ...zoo.io import card, load
from ..study import Cell, Conclusion, Study, markdown, records, use_cores
from . import families
from .settings import Certificates

SHIPPED = ("dm-v1", "dm-flat-v1", "rnnprop-v1", "rnnprop-flat-v1", "l2o-scale-v1",
           "l2o-scale-flat-v1")  # fmt: skip
TRAINING = 0x7EA1  # root of the keys that solvers are trained with, none of the certificates'


def cells(settings: Certificates) -> Iterator[Cell]:
    """The name of a solver, and the arguments of `steppe.certify`."""
    for name, how in claims():
        if settings.only in name:
            yield {"name": name, "how": how}


def claims() -> Iterator[tuple[str, dict[str, Any]]]:
    lasso = {"steps": 1000, "tolerances": [1e-2, 1e-3, 1e-4], "levels": [0.9], "delta": 1e-4}
    for method in ("ista", "fista"):
        for n in (100, 1000):
            for semantics in ("first_hit", "stay"):
                how = {"n": n, "semantics": semantics, "simultaneous": "pointwise"}
                yield f"lasso, {method}", lasso | how
    quadratic = {"steps": 800, "tolerances": [1e-2, 1e-3, 1e-4], "levels": [0.5, 0.9], "n": 1000}
    yield "quadratic, cold", quadratic
    yield "quadratic, learned start", quadratic
    codes = {"steps": 10, "tolerances": [-5.0, -10.0, -15.0], "levels": [0.9], "n": 1000}
    yield "sparse coding, ISTA", codes
    yield "sparse coding, ALISTA", codes
    images = {"steps": 500, "tolerances": [0.1, 0.01], "levels": [0.5, 0.9], "n": 200}
    yield "deblurring, OSQP", images
    paths = {"steps": 300, "tolerances": [1e-2, 1e-4], "levels": [0.5, 0.9], "n": 1000}
    yield "Kalman, ADMM", paths
    curves = {"steps": 10, "tolerances": [0.501, 1.0, 1.995], "levels": [0.5, 0.9], "n": 1000}
    yield "sine, untrained", curves
    yield "sine, learned start", curves
    networks = {"steps": 200, "tolerances": [0.3, 0.2], "levels": [0.5, 0.9], "n": 200}
    for name in SHIPPED:
        yield f"digits, {name}", networks


def solver(name: str) -> AbstractRun:
    """The solver of this name, trained if it is a learned one."""
    if name.startswith("digits, "):
        return shipped(name.removeprefix("digits, "))
    makers: dict[str, Callable[[], AbstractRun]] = {
        "lasso, ista": lambda: families.lasso("ista"),
        "lasso, fista": lambda: families.lasso("fista"),
        "quadratic, cold": families.quadratic,
        "quadratic, learned start": learned_start,
        "sparse coding, ISTA": lambda: families.sparse_coding(None),
        "sparse coding, ALISTA": learned_layers,
        "deblurring, OSQP": lambda: families.deblur(digits()),
        "Kalman, ADMM": families.kalman,
        "sine, untrained": lambda: families.sine(families.network(jr.key(0)), "untrained"),
        "sine, learned start": learned_curve,
    }
    return makers[name]()


def shipped(name: str) -> Episodes:
    how = dict(card(name).meta_task)
    return Episodes(build(how.pop("name"), **how), load(name), name=name)


def digits() -> np.ndarray:
    return np.asarray(mnist5k().x, np.float64).reshape(-1, 28, 28) / 255


def learned_start() -> FixedPoint:
    """A network 20-10-20 says where to begin; trained on the residual 15 steps later."""
    p, scale = jnp.asarray(families.P), jnp.asarray(families.SCALE)

    def start(weights: list, c: jax.Array) -> jax.Array:
        x = c
        for i, (W, b) in enumerate(weights):
            x = (jax.nn.relu(x) if i else x) @ W + b
        return x * jnp.asarray(families.SCALE / families.P)

    def loss(weights: list, key: jax.Array) -> jax.Array:
        c = scale * jr.uniform(key, (20,), p.dtype, -1, 1)
        z = start(weights, c / scale)
        for _ in range(15):
            z = z - (p * z + c) / 100
        return jnp.linalg.norm((p * z + c) / 100)

    first = families.network(jr.key(TRAINING), (20, 10, 20))
    weights = descend(loss, first, steps=3000, batch=100, rate=1e-3)
    return families.quadratic(lambda c: start(weights, c))


def learned_layers(layers: int = 10) -> FixedPoint:
    """ALISTA's steps and thresholds, trained on ‖z_K − z*‖²."""
    host = families.dictionary(64, 128)
    D, W = jnp.asarray(host), jnp.asarray(families.analytic(host))

    def loss(weights: jax.Array, key: jax.Array) -> jax.Array:
        z, y = families.code(D, key)
        return jnp.sum((families.alista(D, W, weights, y)[-1] - z) ** 2)

    first = jnp.tile(jnp.asarray([1.0, 0.1]), (layers, 1))
    return families.sparse_coding(descend(loss, first, steps=2000, batch=64, rate=1e-2))


def learned_curve() -> FixedPoint:
    """Weights from which two gradient steps fit a sine (MAML, second order)."""

    def loss(weights: list, key: jax.Array) -> jax.Array:
        task = families.curve(key)
        for _ in range(2):
            weights = families.adapted(weights, task)
        return jnp.mean((families.predict(weights, task[0][10:]) - task[1][10:]) ** 2)

    weights = descend(loss, families.network(jr.key(0)), steps=60_000, batch=25, rate=1e-3)
    return families.sine(weights, "learned start")


def descend(loss: Callable, weights, *, steps: int, batch: int, rate: float):
    """Adam, with a rate that decays to nothing, on fresh problems."""
    tx = optax.adam(optax.cosine_decay_schedule(rate, steps))
    batched = lambda weights, keys: jnp.mean(jax.vmap(lambda key: loss(weights, key))(keys))

    @jax.jit
    def step(carry, key):
        weights, state = carry
        grads = jax.grad(batched)(weights, jr.split(key, batch))
        updates, state = tx.update(grads, state)
        return (optax.apply_updates(weights, updates), state), None

    keys = jr.split(jr.fold_in(jr.key(TRAINING), 1), steps)
    (weights, _), _ = jax.lax.scan(step, (weights, tx.init(weights)), keys)
    return jax.block_until_ready(weights)


def run(cell: Cell) -> dict[str, Any]:
    """The claims of one certificate, in float64."""
    use_cores()
    with jax.enable_x64(True):
        cert = certify(solver(cell["name"]), **cell["how"])
    return {
        "n": cert.n,
        "semantics": cell["how"].get("semantics", "first_hit"),
        "joint_delta": cert.joint_delta,
        "metric": cert.metric["name"],
        "claims": [{x: v for x, v in claim.items() if x != "evidence"} for claim in cert.claims],
        "warnings": cert.warnings,
        "digest": cert.digest,
    }


def conclude(settings: Certificates, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    head = ["solver", "n", "claim", "certified", "δ"]
    lines = []
    for record in found:
        for claim in record["claims"]:
            bound = claim["bound"]
            if claim["type"] == "success":
                said = f"{record['metric']} ≤ {claim['tolerance']:g} after {claim['k']}"
                value = f"{100 * (1 - bound):.1f} %"
            else:
                word = "for good" if claim["semantics"] == "stay" else "first"
                said = f"{100 * claim['level']:.0f} % reach {claim['tolerance']:g}, {word}"
                value = "–" if bound is None else f"{bound:.0f} iterations"
            line = [record["name"], str(record["n"]), said, value, f"{claim['delta']:.2g}"]
            lines.append(line)
    return Conclusion(text=markdown(head, lines), content={"records": found})


STUDY = Study(cells, f"{__name__}:run", conclude)
