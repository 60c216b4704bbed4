"""Losses on problems of a larger spread, after none, a few, and more updates of adaptation there.

Problems that are adapted to and those that are judged on are different ones, and none is among
those of training. A seed's are the same for all arms, so that arms are compared in pairs.
"""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
from jaxtyping import Array, Float, PyTree

from ...core import tree
from ...core.optimizer import AbstractOptimizer, join_meta, split_meta
from ...core.types import Key
from ...evaluation.tuning import tune
from ...optimizers.adaptable import Adaptable
from ...optimizers.classic.from_optax import adam
from ...train.adapt import Inner
from .arms import OBJECTIVE, adapter, inner, losses, problems
from .settings import ALONE, RUNNING

JUDGED, TUNED = 0x1D6ED, 0x7E57  # keys of the problems
MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 300, 500, 1000)
WORST = 1e9  # stands for a loss that is not finite, or larger
RATES = tuple(float(10 ** (k / 4)) for k in range(-20, 1))  # 1e-5 … 1, of tuned Adam


def judged(arm: str, opt: AbstractOptimizer, seed: int, cell: dict[str, Any]) -> dict[str, Any]:
    """Mean ln losses by spread and by number of updates."""
    found = {}
    for spread in cell["spreads"]:
        counts = tuple(cell["adapted"]) if adapts(arm) else (0,)
        key = key_of(seed, spread)
        ends, moved = after_adaptation(inner(arm), opt, key, spread, counts, sizes(cell))
        found[f"{spread:g}"] = {
            str(count): told(np.asarray(ends[:, i]), float(np.mean(moved[:, i])))
            for i, count in enumerate(counts)
        }
    return found


def adapts(arm: str) -> bool:
    return arm not in ("tuned", *ALONE, *RUNNING)


def key_of(seed: int, spread: float) -> Key:
    return jr.fold_in(jr.fold_in(jr.key(JUDGED), seed), round(1000 * spread))


def sizes(cell: dict[str, Any]) -> tuple[int, int, int, int]:
    """Systems of a problem, adaptations, problems for each, steps."""
    return cell["instances"], cell["draws"], cell["problems"], cell["steps"]


@eqx.filter_jit
def after_adaptation(
    inner: Inner,
    opt: AbstractOptimizer,
    key: Key,
    spread: float,
    counts: tuple[int, ...],
    sizes: tuple[int, int, int, int],
) -> tuple[Float[Array, "draws counts problems steps"], Float[Array, "draws counts"]]:
    """Losses after every step, and how far adaptation has moved θ, in units of its length."""
    instances, draws, each, steps = sizes
    task = problems(spread, instances)
    first, rest = split_meta(opt)
    adapt = adapter(inner, max(counts))

    def draw(key: Key) -> tuple[Array, Array]:
        key_adapt, key_judge = jr.split(key)
        if max(counts):
            thetas, _ = adapt.path(task, opt, OBJECTIVE, key=key_adapt)
        else:
            thetas = jtu.tree_map(lambda x: x[None], first)
        some = jtu.tree_map(lambda x: x[jnp.array(counts)], thetas)

        def judge(theta) -> tuple[Array, Array]:
            off = tree.norm(jtu.tree_map(jnp.subtract, theta, first)) / tree.norm(rule(first))
            keys = jr.split(key_judge, each)
            return losses(task, join_meta(theta, rest), keys, steps), off

        return jax.lax.map(judge, some)

    return jax.lax.map(draw, jr.split(key, draws))


def rule(theta: PyTree) -> PyTree:
    """θ without rates of adaptation, which the adaptation does not change."""
    return theta.base if isinstance(theta, Adaptable) else theta


def told(losses: Float[np.ndarray, "draws problems steps"], moved: float) -> dict[str, Any]:
    """Mean ln loss at the marks, and of the lowest loss so far at the last one."""
    paths = np.minimum(np.where(np.isfinite(losses), losses, WORST), WORST).astype(np.float64)
    logs = np.log(np.maximum(paths, 1 / WORST)).reshape(-1, paths.shape[-1])
    marks = [mark for mark in MARKS if mark <= logs.shape[1]]
    rounded = lambda x: float(f"{x:.5g}")
    return {
        "ln_loss": {str(mark): rounded(logs[:, mark - 1].mean()) for mark in marks},
        "ln_best": rounded(logs.min(axis=1).mean()),
        "moved": rounded(moved),
    }


def tuned(seed: int, cell: dict[str, Any]) -> tuple[dict[str, Any], dict[str, float]]:
    """Adam with the best of a grid of rates for each spread, and those rates."""
    found, rates = {}, {}
    for spread in cell["spreads"]:
        rates[f"{spread:g}"] = rate = best_rate(spread, cell["instances"], cell["steps"])
        found |= judged("tuned", adam(jnp.asarray(rate)), seed, cell | {"spreads": [spread]})
    return found, rates


@functools.cache
def best_rate(spread: float, instances: int, steps: int) -> float:
    """The rate of the least loss after the last step, on problems that nobody is judged on."""
    key = jr.fold_in(jr.key(TUNED), round(1000 * spread))
    task = problems(spread, instances)
    return tune(task, adam, horizon=steps, key=key, grid=RATES, seeds=8).best
