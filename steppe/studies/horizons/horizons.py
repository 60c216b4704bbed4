"""Search for the best learning rate of a long episode by meta-gradients of short windows.

Gradient descent on a noisy quadratic, where the best constant rate over the whole episode is known
in closed form, and so is the rate at which short windows, each on its own, are content:

    f(x; c) = ½ Σ_i h_i (x_i − c_i)²,   c ~ N(0, s² I) new at each step,   x₀ = h^{−½}
    E x_i² ← (1 − α h_i)² E x_i² + (α h_i s)²

A short window sees what the rate does to the noise, which is soon, and little of what it does to
the flat direction, which is late (Wu, Ren, Liao & Grosse, "Understanding short-horizon bias in
stochastic meta-optimization", ICLR 2018). ln α is meta-trained from one start by each estimator,
with the same number of inner steps.

    steppe reproduce horizons --scale small

What came out: `README.md` beside this file.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

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
from ...estimators.es import ES, PES
from ...evaluation.engines import Row
from ...evaluation.stats import interval, paired
from ...objectives.trajectory import Trajectory
from ...optimizers.learned.learned_adam import global_learning_rate
from ...train.step import meta_step, start
from ..study import Cell, Conclusion, Record, Study, Verdict, markdown, records, sentences
from .settings import BUDGET, Horizons

CURVATURES = (1.0, 0.02)
NOISE = 0.3
HORIZON, WINDOW = 200, 10
FIRST = 0.1  # learning rate before meta-training
SIGMA = 0.1  # of the perturbations of ln α
PAIRS = 16
META = optax.adam(0.03)
FIRST_SEED = 100  # seeds below were used to find the settings above
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

    def full_batch(self, instance, *, split):
        return jnp.zeros(len(self.curvatures))

    def loss(self, instance, batch, key):
        return lambda params: 0.5 * jnp.sum(jnp.asarray(self.curvatures) * (params - batch) ** 2)

    def target(self, instance):
        return None

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


def make(name: str, budget: int = BUDGET) -> tuple[AbstractEstimator, int]:
    """The estimator, and the meta-steps that `budget` inner steps are enough for."""
    kind, window, cost = ESTIMATORS[name]
    special = {"second_order": True} if kind is BPTT else {"sigma": SIGMA}
    estimator = kind(PAIRS, window, HORIZON, together=PAIRS, **special)
    return estimator, budget // (PAIRS * cost)


def curve(name: str, meta_steps: int, seed: Array) -> tuple[Float[Array, " meta_steps"], Array]:
    """ln α after each meta-step, and how many lanes were not finite in all."""
    estimator, _ = make(name)
    task, opt = NoisyQuadratic(), global_learning_rate(FIRST)
    state = start(
        task, opt, estimator=estimator, objective=OBJECTIVE, meta_tx=META, key=jr.key(seed)
    )

    def step(state, _):
        state, stats = meta_step(task, state, estimator, OBJECTIVE, META)
        return state, (state.opt.log_lrs[0], stats.nonfinite)  # pyright: ignore[reportAttributeAccessIssue]

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
    low, high = RANGE
    return math.exp(float(scipy.optimize.brentq(slope_of_windows, low, high)))  # pyright: ignore[reportArgumentType]


# Cells, table, picture.


def cells(settings: Horizons) -> Iterator[Cell]:
    """One an estimator: its meta-seeds are lanes of one program."""
    seeds = list(range(FIRST_SEED, FIRST_SEED + settings.seeds))
    for name in ESTIMATORS:
        yield {"estimator": name, "seeds": seeds, "budget": settings.budget}


def run(cell: Cell) -> dict[str, Any]:
    """The learned rate of each meta-seed, its loss in closed form, and the way there."""
    name, seeds = cell["estimator"], cell["seeds"]
    _, meta_steps = make(name, cell["budget"])
    lanes = jax.jit(jax.vmap(lambda seed: curve(name, meta_steps, seed)))
    curves, nonfinite = jax.device_get(lanes(jnp.array(seeds)))
    least, found = whole(math.log(best_rate(False))), []
    for seed, log_lr, bad in zip(seeds, curves, nonfinite, strict=True):
        late = log_lr[-meta_steps // 4 :]
        at = np.linspace(0, meta_steps, POINTS + 1)[1:].astype(int) - 1
        found.append(
            {
                "seed": seed,
                "lr": round(float(np.exp(late.mean())), 5),
                "wander": round(float(late.std()), 5),
                "excess": round(whole(float(late.mean())) / least - 1, 6),
                "nonfinite": int(bad),
                "meta_steps": meta_steps,
                "inner_steps": cell["budget"],
                "curve": np.exp(log_lr[at]).round(4).tolist(),
            }
        )
    return {"rows": found}


def conclude(settings: Horizons, rows: Sequence[Row]) -> Conclusion:
    found = records(rows)
    said = verdicts(found)
    return Conclusion(
        text=f"{table(found)}\n\n{sentences(said)}",
        content={"records": found},
        verdicts=said,
        files={"horizons.png": functools.partial(picture, found)},
    )


def verdicts(found: list[Record]) -> list[Verdict]:
    """Does PES find from short windows a better rate than BPTT and ES from the same ones?"""
    excess = lambda start: [
        100 * record["excess"] for record in found if record["estimator"].startswith(start)
    ]
    said = []
    for other in ("BPTT, windows", "ES, windows"):
        d = paired(excess("PES"), excess(other)).difference
        if d.high is not None:
            said.append(
                Verdict(
                    f"PES ends at a better rate than {other.replace(',', ' from the same')}",
                    d.high < 0,
                    f"loss {d.mean:+.2f} points [{d.low:+.2f}, {d.high:+.2f}]",
                )
            )
    return said


def table(found: list[Record]) -> str:
    head = ["estimator", "meta-steps", "learned rate", "wanders (ln α)", "loss above the least",
            "PES less this"]  # fmt: skip
    by = {name: [row for row in found if row["estimator"] == name] for name in ESTIMATORS}
    excess = lambda name: [100 * row["excess"] for row in by[name]]
    pes = next(name for name in ESTIMATORS if name.startswith("PES"))
    lines = []
    for name, own in by.items():
        if not own:
            continue
        lr, above = interval([row["lr"] for row in own]), interval(excess(name))
        less = paired(excess(pes), excess(name)).difference
        lines.append(
            [
                name,
                str(own[0]["meta_steps"]),
                f"{lr.mean:.3f} [{lr.low:.3f}, {lr.high:.3f}]",
                f"{np.mean([row['wander'] for row in own]):.3f}",
                f"{above.mean:.2f} % [{above.low:.2f}, {above.high:.2f}]",
                "" if name == pes else f"{less.mean:+.2f} [{less.low:+.2f}, {less.high:+.2f}]",
            ]
        )
    return (
        f"best rate {best_rate(False):.3f}, of the smoothed loss {best_rate(True):.3f}; short "
        f"windows are content at {content_rate():.3f}\n\n{markdown(head, lines)}"
    )


def picture(found: list[Record], path: Path) -> None:
    """The learned rate over meta-training; the loss of a whole episode."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.4, 3.6), layout="constrained", width_ratios=[1.6, 1], sharey=True
    )
    colors = ("#d55e00", "#cc79a7", "#0072b2", "#56b4e9", "#5f6b73")
    best, content = best_rate(False), content_rate()
    x = np.linspace(0, found[0]["inner_steps"] / 1e6, POINTS + 1)
    for name, color in zip(ESTIMATORS, colors, strict=True):
        lines = np.array([[FIRST, *row["curve"]] for row in found if row["estimator"] == name])
        for line in lines:
            left.plot(x, line, color=color, lw=0.5, alpha=0.35)
        left.plot(x, np.exp(np.log(lines).mean(0)), color=color, lw=2, label=name)
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
    figure.savefig(path, dpi=130)


STUDY = Study(cells, f"{__name__}:run", conclude)
