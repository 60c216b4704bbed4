"""The picture of `wells.jsonl`: runs in one pair of wells, and how many more of them end wide."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from ...core.episode import begin
from ...core.rollout import rollout
from ...evaluation.stats import paired
from ...tasks.synthetic.wells import Minima, Wells
from ..study import Record
from .experiment import STRENGTHS, TEST_HORIZON, cooled

# n, measure, weight, records with that weight, records without it in the same order of seeds
Pair = tuple[int, str, float, list[Record], list[Record]]
WIDE, NARROW, NEITHER = "#0072b2", "#d55e00", "#5f6b73"


def picture(pairs: list[Pair], path: Path) -> None:
    """Paths in one pair of wells, and the shares of all measures."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    dims = sorted({n for n, *_ in pairs})
    figure, axes = plt.subplots(
        1, 2 + len(dims), figsize=(7.4 + 3.4 * len(dims), 3.4), layout="constrained",
        width_ratios=[1, 1] + [0.95] * len(dims),
    )  # fmt: skip
    two = [c for c in pairs if c[0] == 2 and c[1] == "trace"]
    if two:
        _, _, s, ours, plain = two[-1]
        paths(axes[0], plain[0], "meta-trained on the loss alone")
        paths(axes[1], ours[0], f"… and on {s:g} · trace of the Hessian")
    for axis, n in zip(axes[2:], dims, strict=True):
        shares(axis, [c for c in pairs if c[0] == n], n)
    for axis in axes[3:]:
        axis.set_yticklabels([])
    figure.savefig(path, dpi=130)


def paths(axis, record: Record, title: str, count: int = 12) -> None:
    """A few runs of the optimizer that a record tells of, in one landscape."""
    task = Wells(2)
    half = task.distance / 2
    minima = Minima(jnp.array([half, 0.0]), jnp.array([-half, 0.0]))
    opt = cooled(np.log(record["noise"]), np.log(record["power"]))

    def one(key):
        episode = begin(task, opt, key)
        episode = dataclasses.replace(
            episode, instance=minima, params=task.init(minima, jr.fold_in(key, 1))
        )
        seen = lambda step: step.before.params
        nothing = lambda episode: ()
        return rollout(task, opt, episode, TEST_HORIZON, nothing, observe=seen).steps

    x, y = np.meshgrid(np.linspace(-1.15, 1.15, 160), np.linspace(-0.95, 0.95, 120))
    at = jnp.stack([x, y], axis=-1).reshape(-1, 2)
    f = jax.vmap(lambda p: task.loss(minima, (), jr.key(0))(p))(at).reshape(x.shape)
    axis.contour(x, y, np.sqrt(f), levels=18, colors="0.8", linewidths=0.7)
    for line in jax.vmap(one)(jr.split(jr.key(3), count)):
        end = task.metrics(line[-1], minima, (), jr.key(0))["wide"]
        color = WIDE if end else NARROW
        axis.plot(*line.T, color=color, lw=0.9, alpha=0.75)
        axis.plot(*line[0], "o", ms=2.5, color="0.3")
        axis.plot(*line[-1], "o", ms=5, color=color)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("narrow well left, wide well right", fontsize=8)
    axis.set_aspect("equal")
    axis.set_xticks([])
    axis.set_yticks([])


def shares(axis, found: list, n: int) -> None:
    """Differences of shares, in percentage points, with their intervals."""
    places = []
    for row, (_, name, s, ours, plain) in enumerate(found):
        d = paired([r["wide"] for r in ours], [r["wide"] for r in plain]).difference
        ends = 100 * np.array([d.low, d.high, d.mean], float)
        y = row + 0.6 * list(STRENGTHS).index(name)
        color = NEITHER if "1e-8" in name else WIDE
        axis.plot(ends[:2], [y, y], color=color, lw=2)
        axis.plot(ends[2], y, "o", color=color, ms=5)
        places.append((y, f"{name}, λ = {s:g}"))
    axis.axvline(0, color="0.3", lw=0.8)
    axis.set_yticks([y for y, _ in places], [label for _, label in places], fontsize=8)
    axis.invert_yaxis()
    base = np.mean([r["wide"] for _, _, _, _, plain in found for r in plain])
    axis.set_title(f"n = {n}: {base:.0%} end wide at λ = 0", fontsize=9)
    axis.set_xlabel("points more at λ > 0, 95 % interval", fontsize=8)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
