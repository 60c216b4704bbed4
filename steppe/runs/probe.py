"""The doctor: what went wrong in a meta-training, from its log and a short run of the optimizer.

The probe trains a few problems for LONGER horizons with Adam watching: at every step Adam gets
the same gradients, and its update is compared with the optimizer's, but not applied. One program,
forward only. `findings.py` says what the numbers mean.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from ..core import rollout, tree
from ..core.episode import Episode, merit_of_steps
from ..core.optimizer import AbstractOptimizer
from ..core.task import AbstractTask, Problem
from ..core.types import Key, OptState, Params, Scalar, Updates
from ..train import mesh as meshes
from .findings import Finding, Probe, of_probe, of_rows
from .steadiness import steady

ADAM = optax.adam(1e-3)  # the usual rate, a yardstick and no rival
LONGER = 5  # horizons of meta-training
EPISODES = 4
NEAR = 0.99  # of the largest update there can be
TAIL = 0.1  # of a horizon, over which the training loss at its end is averaged
FLOOR = 1e-6  # of the first loss: what happens below is not called a rise
CELL = jtu.GetAttrKey("c")
NONE = -1.0  # of a number that cannot be negative: this optimizer has none


def examine(
    task: AbstractTask,
    opt: AbstractOptimizer,
    rows: Sequence[Mapping],
    *,
    horizon: int | None,
    key: Key,
    logarithmic: bool = False,
) -> list[Finding]:
    """All findings about a run, good and bad: of its rows, and of a probe of what came of it.

    - `horizon`: that of meta-training; None leaves the probe out. A probe that fails is a finding
    - `logarithmic`: the meta-loss is a mean of logarithms
    """
    found = [*of_rows(rows), steady(rows, logarithmic=logarithmic)]
    if horizon is None:
        return found
    try:
        return [*found, *of_probe(probe(task, opt, horizon=horizon, key=key))]
    except Exception as error:  # whatever it is: the run itself is over and saved
        sentence = " ".join(str(error).split())[:200]
        fix = "try the optimizer by `steppe eval`; if that works, report this as a bug of steppe"
        return [*found, Finding("probe", False, f"{type(error).__name__}: {sentence}", fix)]


class StepStats(eqx.Module):
    """Numbers of one step, of the updates and of Adam beside them."""

    square: Float[Array, ""]  # mean square of the updates
    square_adam: Float[Array, ""]  # of Adam's
    at_bound: Float[Array, ""]  # share of the updates at the bound, −1 without one
    cells: Float[Array, ""]  # largest |c|, −1 without an LSTM


class WithReference(AbstractOptimizer):
    """`base` with Adam beside it: the state has Adam's state and the numbers of the last step."""

    base: AbstractOptimizer

    def init(
        self, params: Params, *, key: Key | None = None
    ) -> tuple[OptState, optax.OptState, StepStats]:
        blank = StepStats(*[jnp.zeros((), jnp.float32)] * 4)
        return self.base.init(params, key=key), tree.strongly_typed(ADAM.init(params)), blank

    def update(
        self,
        grads: Updates,
        state: tuple[OptState, optax.OptState, StepStats],
        params: Params,
        **extra,
    ) -> tuple[Updates, tuple[OptState, optax.OptState, StepStats]]:
        updates, base = self.base.update(grads, state[0], params, **extra)
        with jax.numpy_dtype_promotion("standard"):  # as optax counts on
            adams, adam = ADAM.update(tree.cast_like(grads, params), state[1], params)
        bound = getattr(self.base, "bound", math.inf)
        at_bound = _mean(lambda u: jnp.abs(u) >= NEAR * bound, updates)
        stats = StepStats(
            _mean(jnp.square, updates),
            _mean(jnp.square, adams),
            at_bound if 0 < bound < math.inf else jnp.asarray(NONE, jnp.float32),
            _largest_cell(base),
        )
        return updates, (base, adam, stats)


def probe(
    task: AbstractTask,
    opt: AbstractOptimizer,
    *,
    horizon: int,
    key: Key,
    episodes: int = EPISODES,
) -> Probe:
    """Train `episodes` fresh problems with `opt` for LONGER horizons, and look."""
    began = time.perf_counter()
    watched, steps = WithReference(opt), LONGER * horizon
    value = merit_of_steps(task)
    at = range(0, steps + 1, horizon)

    @eqx.filter_jit
    def run(task: AbstractTask, watched: WithReference, keys: Key) -> rollout.Records:
        begins, *draws = jax.vmap(lambda key: jr.split(key, 3), out_axes=1)(keys)

        def look(episode: Episode, keys: list[Key]) -> Scalar:
            batch = task.batch(episode.instance, keys[0], split="train")
            return Problem(task, episode.instance, batch, keys[1]).merit(episode.params)

        see = lambda step: (value(step), step.after.opt_state[2])
        return rollout.episodes(
            task, watched, begins, steps, look, beside=draws, at=at, observe=see
        )

    with meshes.active(meshes.episode_mesh()):
        losses, seen = jax.device_get(run(task, watched, jr.split(key, episodes)))
    by_horizon = lambda leaf: leaf.reshape(len(leaf), LONGER, horizon)
    values, stats = jax.tree.map(by_horizon, seen)
    seconds = time.perf_counter() - began
    found = _summary(horizon, losses[:, 0], losses[:, 1:], values, stats, seconds=seconds)
    scale = getattr(opt, "scale", None)
    return dataclasses.replace(found, scale=scale if isinstance(scale, float) else None)


def _summary(
    horizon: int,
    first: Float[np.ndarray, " episodes"],
    losses: Float[np.ndarray, "episodes horizons"],
    values: Float[np.ndarray, "episodes horizons steps"],
    stats: StepStats,  # of arrays like `values`
    *,
    seconds: float,
) -> Probe:
    bad = ~np.isfinite(values.reshape(len(values), -1)).all(0)
    tail = max(1, round(TAIL * horizon))
    early, *_, late = np.moveaxis(values[..., -tail:].mean(-1), 0, -1)  # (episodes,) each
    size = np.maximum(np.abs(early), FLOOR * np.abs(values[:, 0, 0]))
    rise = (late - early) / np.where(size > 0, size, 1)
    root = lambda squares: float(np.sqrt(squares[:, 0].mean()))
    share = float(stats.at_bound[:, 0].mean())
    cells = tuple(map(float, stats.cells.max((0, 2))))
    return Probe(
        horizon=horizon,
        first=float(first.mean()),
        losses=tuple(map(float, losses.mean(0))),
        lost=int(bad.argmax()) if bad.any() else None,
        gap=float(np.median(rise)),
        rms=root(stats.square),
        rms_adam=root(stats.square_adam),
        at_bound=None if share == NONE else share,
        cells=() if cells[0] == NONE else cells,
        seconds=seconds,
    )


def _mean(f: Callable[[Array], Array], x: PyTree) -> Float[Array, ""]:
    """Mean of f over all coordinates."""
    sums = [jnp.sum(f(leaf.astype(jnp.float32)), dtype=jnp.float32) for leaf in jtu.tree_leaves(x)]
    return sum(sums, start=jnp.zeros((), jnp.float32)) / max(tree.size(x), 1)


def _largest_cell(state: OptState) -> Float[Array, ""]:
    """max |c| over the LSTM states in an optimizer's state, which are known by their field `c`."""
    leaves, _ = jtu.tree_flatten_with_path(state)
    cells = [jnp.max(jnp.abs(leaf)) for path, leaf in leaves if path[-1:] == (CELL,)]
    return jnp.asarray(jnp.max(jnp.stack(cells)) if cells else NONE, jnp.float32)
