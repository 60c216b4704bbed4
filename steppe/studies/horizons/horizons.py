"""Search for the best learning rate of a long episode by meta-gradients of short windows.

Gradient descent on a noisy quadratic, where the best constant rate over the whole episode is known
in closed form, and so is the rate at which short windows, each on its own, are content:

    f(x; c) = ½ Σ_i h_i (x_i − c_i)²,   c ~ N(0, s² I) new at each step,   x₀ = h^{−½}
    E x_i² ← (1 − α h_i)² E x_i² + (α h_i s)²

A short window sees what the rate does to the noise, which is soon, and little of what it does to
the flat direction, which is late (Wu, Ren, Liao & Grosse, "Understanding short-horizon bias in
stochastic meta-optimization", ICLR 2018). ln α is meta-trained from one start by each estimator,
with the same number of inner steps.

    python -m steppe.studies.horizons.horizons run       # writes horizons.jsonl
    python -m steppe.studies.horizons.horizons table
    python -m steppe.studies.horizons.horizons picture   # docs/horizons.png

What came out: `README.md` beside this file.
"""

import argparse
import json
import math
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import scipy.optimize
from jaxtyping import Array, Float

from ...core.estimator import AbstractEstimator
from ...core.task import AbstractTask
from ...estimators.bptt import BPTT
from ...estimators.es import ES
from ...estimators.pes import PES
from ...evaluate.stats import interval, paired
from ...objectives.trajectory import Trajectory
from ...optimizers.learned.rates import global_learning_rate
from ...train.step import meta_step, start

HERE = Path(__file__).parent
RECORDS = HERE / "horizons.jsonl"
PICTURE = HERE.parents[2] / "docs" / "horizons.png"

CURVATURES = (1.0, 0.02)
NOISE = 0.3
HORIZON, WINDOW = 200, 10
FIRST = 0.1  # learning rate before meta-training
SIGMA = 0.1  # of the perturbations of ln α
PAIRS = 16
BUDGET = 1_280_000  # inner steps of one meta-training
META = optax.adam(0.03)
SEEDS = range(100, 110)  # seeds below were used to find the settings above
RANGE = math.log(0.02), math.log(1.3)  # of ln α, where the closed forms look
POINTS = 64  # of a recorded curve
OBJECTIVE = Trajectory("uniform", "identity", "same")


class NoisyQuadratic(AbstractTask):
    """½ Σ h_i (x_i − c_i)² in as many unknowns as there are curvatures."""

    curvatures: tuple[float, ...] = eqx.field(static=True, default=CURVATURES)
    noise: float = eqx.field(static=True, default=NOISE)

    def sample(self, key):
        return ()

    def init(self, instance, key):
        return jnp.asarray(self.curvatures) ** -0.5

    def batch(self, instance, key, *, split="train"):
        return self.noise * jr.normal(key, (len(self.curvatures),))

    def whole(self, instance, *, split):
        return jnp.zeros(len(self.curvatures))

    def loss(self, params, instance, batch, key):
        return 0.5 * jnp.sum(jnp.asarray(self.curvatures) * (params - batch) ** 2)

    def metrics(self, params, instance, batch, key):
        return {}


ESTIMATORS: dict[str, tuple[Callable[..., AbstractEstimator], int, int]] = {
    # name: (kind, window, inner steps of a lane and window)
    f"BPTT, windows of {WINDOW}": (BPTT, WINDOW, WINDOW),
    f"ES, windows of {WINDOW}": (ES, WINDOW, 3 * WINDOW),
    f"PES, windows of {WINDOW}": (PES, WINDOW, 2 * WINDOW),
    "ES, whole episodes": (ES, HORIZON, 2 * HORIZON),
    "BPTT, whole episodes": (BPTT, HORIZON, HORIZON),
}


def make(name: str) -> tuple[AbstractEstimator, int]:
    """The estimator, and the meta-steps that its share of inner steps is enough for."""
    kind, window, cost = ESTIMATORS[name]
    special = {"second_order": True} if kind is BPTT else {"sigma": SIGMA}
    estimator = kind(PAIRS, window, HORIZON, together=PAIRS, **special)
    return estimator, BUDGET // (PAIRS * cost)


def curve(name: str, meta_steps: int, seed: Array) -> tuple[Float[Array, " meta_steps"], Array]:
    """ln α after each meta-step, and how many lanes were not finite in all."""
    estimator, _ = make(name)
    task, opt = NoisyQuadratic(), global_learning_rate(FIRST)
    state = start(
        task, opt, estimator=estimator, objective=OBJECTIVE, meta_tx=META, key=jr.key(seed)
    )

    def step(state, _):
        state, stats = meta_step(task, state, estimator, OBJECTIVE, META)
        return state, (state.opt.log_lrs[0], stats.nonfinite)

    _, (log_lr, nonfinite) = jax.lax.scan(step, state, length=meta_steps)
    return log_lr, nonfinite.sum()


# Closed forms, in NumPy.


def losses(lr: float, squares: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """E f after each step, and E x² after the last, from E x² before the first."""
    h, out = np.array(CURVATURES), []
    for _ in range(steps):
        squares = (1 - lr * h) ** 2 * squares + (lr * h * NOISE) ** 2
        out.append(0.5 * np.sum(h * (squares + NOISE**2)))
    return np.array(out), squares


def whole(log_lr: float) -> float:
    """The objective of the whole episode."""
    return losses(math.exp(log_lr), 1 / np.array(CURVATURES), HORIZON)[0].mean()


def slope_of_windows(log_lr: float, h: float = 1e-4) -> float:
    """Mean over the windows of an episode of d/d ln α, each from where it begins."""
    squares, total = 1 / np.array(CURVATURES), 0.0
    for _ in range(HORIZON // WINDOW):
        up, down = (losses(math.exp(log_lr + d), squares, WINDOW)[0].mean() for d in (h, -h))
        total += (up - down) / (2 * h)
        _, squares = losses(math.exp(log_lr), squares, WINDOW)
    return total / (HORIZON // WINDOW)


def smoothed(f: Callable[[float], float], log_lr: float) -> float:
    """E f(ln α + ε), ε ~ N(0, SIGMA²), by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    return weights @ [f(log_lr + SIGMA * x) for x in nodes] / weights.sum()


def best_rate(soft: bool) -> float:
    """The rate of the least loss of a whole episode; `soft`: of the smoothed loss."""
    f = (lambda x: smoothed(whole, x)) if soft else whole
    found = scipy.optimize.minimize_scalar(f, bounds=RANGE, method="bounded")
    return math.exp(found.x)


def content_rate() -> float:
    """The rate at which short windows, on average, want neither more nor less."""
    return math.exp(scipy.optimize.brentq(slope_of_windows, *RANGE))


# Records, table, picture.


def run(names: list[str]) -> None:
    kept = [row for row in rows() if row["estimator"] not in names] if RECORDS.exists() else []
    least = whole(math.log(best_rate(False)))
    for name in names:
        began = time.perf_counter()
        _, meta_steps = make(name)
        lanes = jax.jit(jax.vmap(lambda seed, name=name, n=meta_steps: curve(name, n, seed)))
        curves, nonfinite = jax.device_get(lanes(jnp.array(SEEDS)))
        seconds = time.perf_counter() - began
        for seed, log_lr, bad in zip(SEEDS, curves, nonfinite, strict=True):
            late = log_lr[-meta_steps // 4 :]
            at = np.linspace(0, meta_steps, POINTS + 1)[1:].astype(int) - 1
            kept.append(
                {
                    "estimator": name,
                    "seed": seed,
                    "lr": round(float(np.exp(late.mean())), 5),
                    "wander": round(float(late.std()), 5),
                    "excess": round(whole(float(late.mean())) / least - 1, 6),
                    "nonfinite": int(bad),
                    "meta_steps": meta_steps,
                    "inner_steps": BUDGET,
                    "curve": np.exp(log_lr[at]).round(4).tolist(),
                    "seconds": round(seconds, 1),
                    "commit": commit(),
                    "date": datetime.now(UTC).date().isoformat(),
                }
            )
        print(name, [row["lr"] for row in kept[-len(SEEDS) :]], f"{seconds:.0f} s", flush=True)
    order = list(ESTIMATORS)
    kept.sort(key=lambda row: (order.index(row["estimator"]), row["seed"]))
    RECORDS.write_text("".join(json.dumps(row) + "\n" for row in kept))


def rows() -> list[dict]:
    return [json.loads(line) for line in RECORDS.read_text().splitlines()]


def tabulate(records: list[dict]) -> str:
    lines = [
        f"best rate {best_rate(False):.3f}, of the smoothed loss {best_rate(True):.3f}; "
        f"short windows are content at {content_rate():.3f}",
        "",
        "| estimator | meta-steps | learned rate | wanders (ln α) | loss above the least | "
        "PES less this |",
        "|---|---|---|---|---|---|",
    ]
    by = {name: [row for row in records if row["estimator"] == name] for name in ESTIMATORS}
    excess = lambda name: [100 * row["excess"] for row in by[name]]
    pes = next(name for name in ESTIMATORS if name.startswith("PES"))
    for name, found in by.items():
        lr, above = interval([row["lr"] for row in found]), interval(excess(name))
        less = paired(excess(pes), excess(name)).difference
        cells = [
            name,
            str(found[0]["meta_steps"]),
            f"{lr.mean:.3f} [{lr.low:.3f}, {lr.high:.3f}]",
            f"{np.mean([row['wander'] for row in found]):.3f}",
            f"{above.mean:.2f} % [{above.low:.2f}, {above.high:.2f}]",
            "" if name == pes else f"{less.mean:+.2f} [{less.low:+.2f}, {less.high:+.2f}]",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def picture(records: list[dict]) -> None:
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.4, 3.6), layout="constrained", width_ratios=[1.6, 1], sharey=True
    )
    colors = ("#d55e00", "#cc79a7", "#0072b2", "#56b4e9", "#5f6b73")
    best, content = best_rate(False), content_rate()
    x = np.linspace(0, BUDGET / 1e6, POINTS + 1)
    for name, color in zip(ESTIMATORS, colors, strict=True):
        found = np.array([[FIRST, *row["curve"]] for row in records if row["estimator"] == name])
        for line in found:
            left.plot(x, line, color=color, lw=0.5, alpha=0.35)
        left.plot(x, np.exp(np.log(found).mean(0)), color=color, lw=2, label=name)
    grid = np.linspace(0.08, 1.25, 200)
    right.plot([whole(math.log(lr)) for lr in grid], grid, color="0.2", lw=1.4)
    for axis in (left, right):
        axis.axhline(best, color="0.2", lw=0.9, ls="--")
        axis.axhline(content, color=colors[0], lw=0.9, ls=":")
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    left.set_xlabel("million inner steps spent")
    left.set_ylabel("learned rate α")
    left.set_title(f"Meta-training of α for episodes of {HORIZON} steps", fontsize=9)
    left.legend(fontsize=7.5, frameon=False, loc="lower right", ncols=2)
    right.set_xlabel("loss of the whole episode, closed form")
    right.set_title("dashed: its least; dotted: short windows are content", fontsize=9)
    figure.savefig(PICTURE, dpi=130)


def commit() -> str:
    shown = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE
    )
    return shown.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run")
    command.add_argument("--estimators", nargs="+", default=list(ESTIMATORS), choices=ESTIMATORS)
    commands.add_parser("table")
    commands.add_parser("picture")
    args = parser.parse_args()
    if args.command == "run":
        run(args.estimators)
    elif args.command == "table":
        print(tabulate(rows()))
    else:
        picture(rows())


if __name__ == "__main__":
    main()
