"""Certificates of classical and learned solvers, and of the shipped optimizers.

    python -m steppe.studies.certificates.certificates run        # appends to certificates.jsonl
    python -m steppe.studies.certificates.certificates table

Everything is fixed here before anything runs. What came out is in `README.md` beside this file.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import steppe

from ...certificates import Episodes, FixedPoint
from ...train.environment import environment
from ...train.mesh import use_cores
from . import families

RECORDS = Path(__file__).parent / "certificates.jsonl"
SHIPPED = ("dm-v1", "dm-flat-v1", "rnnprop-v1", "rnnprop-flat-v1", "l2o-scale-v1",
           "l2o-scale-flat-v1")  # fmt: skip
TRAINING = 0x7EA1  # root of the keys that solvers are trained with, none of the certificates'


def cells() -> Iterator[tuple[str, Callable, dict]]:
    """Name, what makes the runs, and what is certified of them."""
    lasso = {"steps": 1000, "tolerances": [1e-2, 1e-3, 1e-4], "levels": [0.9], "delta": 1e-4}
    for method in ("ista", "fista"):
        for n in (100, 1000):
            for semantics in ("first_hit", "stay"):
                yield (
                    f"lasso, {method}",
                    lambda method=method: families.lasso(method),
                    lasso | {"n": n, "semantics": semantics, "simultaneous": "pointwise"},
                )
    quadratic = {"steps": 800, "tolerances": [1e-2, 1e-3, 1e-4], "levels": [0.5, 0.9], "n": 1000}
    yield "quadratic, cold", lambda: families.quadratic(), quadratic
    yield "quadratic, learned start", learned_start, quadratic
    codes = {"steps": 10, "tolerances": [-5.0, -10.0, -15.0], "levels": [0.9], "n": 1000}
    yield "sparse coding, ISTA", lambda: families.sparse_coding(None), codes
    yield "sparse coding, ALISTA", learned_layers, codes
    images = {"steps": 500, "tolerances": [0.1, 0.01], "levels": [0.5, 0.9], "n": 200}
    yield "deblurring, OSQP", lambda: families.deblur(digits()), images
    paths = {"steps": 300, "tolerances": [1e-2, 1e-4], "levels": [0.5, 0.9], "n": 1000}
    yield "Kalman, ADMM", lambda: families.kalman(), paths
    curves = {"steps": 10, "tolerances": [0.501, 1.0, 1.995], "levels": [0.5, 0.9], "n": 1000}
    yield "sine, untrained", lambda: families.sine(families.network(jr.key(0)), "untrained"), curves
    yield "sine, learned start", learned_curve, curves
    for name in SHIPPED:
        yield (
            f"digits, {name}",
            lambda name=name: shipped(name),
            {"steps": 200, "tolerances": [0.3, 0.2], "levels": [0.5, 0.9], "n": 200},
        )


def shipped(name: str) -> Episodes:
    how = dict(steppe.zoo.card(name).meta_task)
    task = steppe.tasks.build(how.pop("name"), **how)
    return Episodes(task, steppe.zoo.load(name), name=name)


def digits() -> np.ndarray:
    return np.asarray(steppe.data.mnist5k().x, np.float64).reshape(-1, 28, 28) / 255


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


def run(only: str) -> None:
    use_cores()
    jax.config.update("jax_enable_x64", True)
    done = {line["key"] for line in read()}
    for name, make, how in cells():
        key = json.dumps([name, how], sort_keys=True)
        if key in done or only not in name:
            continue
        subject = make()
        began = time.perf_counter()
        cert = steppe.certify(subject, **how)
        seconds = time.perf_counter() - began
        line = {
            "key": key,
            "name": name,
            "n": cert.n,
            "semantics": how.get("semantics", "first_hit"),
            "seconds": float(f"{seconds:.3g}"),
            "joint_delta": cert.joint_delta,
            "metric": cert.metric["name"],
            "claims": [
                {x: v for x, v in claim.items() if x != "evidence"} for claim in cert.claims
            ],
            "warnings": cert.warnings,
            "digest": cert.digest,
            "environment": environment(),
        }
        with RECORDS.open("a") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
        print(name, cert.n, f"{seconds:.1f} s", cert.statement, sep="\n  ")


def read() -> list[dict]:
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    return [json.loads(line) for line in lines]


def table() -> str:
    lines = ["| solver | n | claim | certified | δ |", "|---" * 5 + "|"]
    for record in read():
        for claim in record["claims"]:
            bound = claim["bound"]
            if claim["type"] == "success":
                said = f"{record['metric']} ≤ {claim['tolerance']:g} after {claim['k']}"
                value = f"{100 * (1 - bound):.1f} %"
            else:
                word = "for good" if claim["semantics"] == "stay" else "first"
                said = f"{100 * claim['level']:.0f} % reach {claim['tolerance']:g}, {word}"
                value = "–" if bound is None else f"{bound:.0f} iterations"
            lines.append(
                f"| {record['name']} | {record['n']} | {said} | {value} | {claim['delta']:.2g} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--only", default="", help="names that contain this")
    given = parser.parse_args()
    if given.what == "run":
        run(given.only)
    else:
        print(table())
